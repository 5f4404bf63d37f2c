"""Entry-by-entry operations where the table cannot go: kinks, corners, limits, promotion, and laws."""

from __future__ import annotations

import math
import operator
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_hw as tg
from tinygrad_hw import functional as F

ANY_FLOAT = st.floats(width=32)
FINITE = st.floats(-100, 100, width=32)


def leaf(values, dtype=np.float64):
    return tg.tensor(np.array(values, dtype), requires_grad=True)


def gradient(function, *inputs):
    """The gradient of the sum of ``function`` with respect to each input, as lists."""
    output = function(*inputs)
    with np.errstate(all="ignore"):
        found = tg.grad(output, inputs, np.ones(output.shape, output.dtype), allow_unused=True)
    return [g.tolist() for g in found]


# ------------------------------------------------------------------------------------------------- kinks, ties, corners


@pytest.mark.parametrize(
    ("function", "x", "expected"),
    [
        (F.abs, [-2.0, -0.0, 0.0, 3.0], [-1.0, 0.0, 0.0, 1.0]),
        (F.sign, [-2.0, 0.0, 3.0], [0.0, 0.0, 0.0]),
        (F.round, [0.5, 1.5, -0.5], [0.0, 0.0, 0.0]),
        (F.floor, [0.0, 1.5], [0.0, 0.0]),
        (F.ceil, [0.0, 1.5], [0.0, 0.0]),
        (F.sqrt, [0.0, 4.0], [math.inf, 0.25]),
        (lambda x: F.clip(x, -1, 1), [-2.0, -1.0, 0.0, 1.0, 2.0], [0.0, 1.0, 1.0, 1.0, 0.0]),
        (lambda x: F.clip(x, 0), [-1.0, 0.0, math.inf], [0.0, 1.0, 1.0]),
        (lambda x: F.clip(x, max=0), [-math.inf, 0.0, 1.0], [1.0, 1.0, 0.0]),
        (lambda x: F.maximum(x, 0), [-1.0, 0.0, 1.0], [0.0, 0.5, 1.0]),
        (lambda x: F.minimum(0.0, x), [-1.0, 0.0, 1.0], [1.0, 0.5, 0.0]),
        (lambda x: x**0, [0.0, 2.0], [0.0, 0.0]),
        (lambda x: x**1, [0.0, 2.0], [1.0, 1.0]),
        (lambda x: x**2, [0.0, -2.0], [0.0, -4.0]),
        (lambda x: x**3, [0.0, -2.0], [0.0, 12.0]),
        (lambda x: x**0.5, [0.0, 4.0], [math.inf, 0.25]),
        (lambda x: 0.0**x, [0.0, 2.0], [0.0, 0.0]),
    ],
)
def test_gradient_where_the_derivative_jumps(function, x, expected):
    assert gradient(function, leaf(x)) == [expected]


def test_rounding_takes_halves_to_even_and_leaves_integers_alone():
    assert F.round(np.array([0.5, 1.5, 2.5, -0.5, -1.5])).tolist() == [0, 2, 2, 0, -2]
    for function in (F.round, F.floor, F.ceil):
        x = tg.tensor([2**53 + 1, -7])
        assert function(x).dtype == np.int64 and function(x).tolist() == x.tolist()


def test_operands_that_tie_share_the_gradient_also_at_infinity():
    for function in (F.maximum, F.minimum):
        a, b = leaf([1.0, math.inf, -math.inf]), leaf([1.0, math.inf, -math.inf])
        assert gradient(function, a, b) == [[0.5] * 3, [0.5] * 3]
        assert np.isnan(function(leaf([math.nan, 1.0]), leaf([0.0, math.nan]))._data).all()


def test_power_of_arrays_at_a_base_of_zero():
    x, p = leaf([0.0, 0.0, 0.0, 0.0, 3.0, -2.0]), leaf([0.0, 1.0, 2.0, 0.5, 0.0, 3.0])
    assert (x**p).tolist() == [1, 0, 0, 0, 1, -8]
    gx, gp = gradient(lambda x, p: x**p, x, p)
    assert gx == [0, 1, 0, math.inf, 0, 12]
    assert gp[:5] == [0, 0, 0, 0, math.log(3)] and math.isnan(gp[5])


def test_second_derivatives_of_powers_at_zero():
    for power, expected in ((0, 0.0), (1, 0.0), (2, 2.0), (3, 0.0)):
        x = leaf([0.0])
        slope = tg.grad(x**power, x, create_graph=True)
        second = tg.grad(slope, x, allow_unused=True) if slope.requires_grad else None
        assert (0.0 if second is None else second.item()) == expected


def test_the_mixed_second_derivative_of_a_power_at_exponent_zero():
    """∂²/∂x∂p xᵖ = (1 + p log x) xᵖ⁻¹ = 1/x at p = 0, though ∂/∂x is 0 there."""
    x, p = leaf([4.0]), leaf([0.0])
    slope = tg.grad(x**p, x, create_graph=True)
    assert slope.item() == 0.0 and tg.grad(slope, p).item() == pytest.approx(0.25)


@pytest.mark.parametrize("p", [-17, -16, -3, -2, -1, 0, 1, 2, 3, 5, 16, 17, 3.0])
def test_whole_powers_of_negative_numbers(p):
    x = leaf([-2.0, -0.5, 1.5])
    expected = np.array([float(v) ** p for v in (-2.0, -0.5, 1.5)])
    np.testing.assert_allclose((x**p)._data, expected, rtol=1e-14)
    np.testing.assert_allclose(gradient(lambda x: x**p, x)[0], p * expected / [-2.0, -0.5, 1.5], rtol=1e-14, atol=0)


def test_the_first_power_is_a_copy():
    x = np.ones(3)
    assert not np.shares_memory(F.pow(x, 1), x)


def test_clip_with_tensors_as_bounds():
    x, low, high = leaf([-2.0, 0.0, 2.0, 0.5]), leaf([-1.0, -1.0, -1.0, 1.0]), leaf([1.0, 1.0, 1.0, -1.0])
    assert F.clip(x, low, high).tolist() == [-1, 0, 1, -1]  # the upper bound wins where they cross
    assert gradient(F.clip, x, low, high) == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1]]
    assert F.clip(tg.tensor([1, 5]), 2, 3).tolist() == [2, 3]
    with pytest.raises(TypeError, match=r"^clip: expected a Tensor or an array, got float$"):
        F.clip(1.0, low, high)


# ---------------------------------------------------------------------------------------- gradients that are no numbers


def test_where_keeps_infinities_and_nan_out_of_the_branch_not_taken():
    a, b = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    ga, gb = tg.grad(F.where(np.array([True, False]), a, b), (a, b), np.array([math.inf, math.nan]))
    assert ga.tolist() == [math.inf, 0.0] and gb.tolist()[0] == 0.0 and math.isnan(gb.tolist()[1])
    x = np.array([math.nan, math.inf, 3.0])
    assert F.masked(x, np.array([False, False, True])).tolist() == [0.0, 0.0, 3.0]


def test_the_square_root_of_a_relu_has_no_nan_gradient():
    assert gradient(lambda x: F.sqrt(F.relu(x)), leaf([-1.0, 4.0])) == [[0.0, 0.25]]


def test_double_where():
    """The trick that where's docstring tells, and what it is needed for."""
    x = leaf([-1.0, 0.0, 4.0])
    naive = gradient(lambda x: F.where(x > 0, F.sqrt(F.clip(x, 0)), 0), x)[0]
    assert math.isnan(naive[1])
    assert gradient(lambda x: F.where(x > 0, F.sqrt(F.where(x > 0, x, 1)), 0), x) == [[0.0, 0.0, 0.25]]


@given(
    mask=hnp.arrays(bool, (3, 4)),
    a=hnp.arrays(np.float32, (3, 4), elements=ANY_FLOAT),
    b=hnp.arrays(np.float32, (4,), elements=ANY_FLOAT),
)
def test_where_chooses_bit_by_bit(mask, a, b):
    expected = np.where(mask, a, b)
    assert F.where(mask, a, b).tobytes() == expected.tobytes()
    assert F.masked(a, mask).tobytes() == np.where(mask, a, np.float32(0)).tobytes()


# ------------------------------------------------------------------------------------------------------------ promotion


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (lambda: tg.tensor([1, 2]) + 1.5, np.float32),
        (lambda: tg.tensor([1, 2]) + 1, np.int64),
        (lambda: tg.tensor([1, 2]) / 2, np.float32),
        (lambda: tg.tensor([1, 2]) ** 0.5, np.float32),
        (lambda: tg.tensor([True, False]) * 1.5, np.float32),
        (lambda: tg.tensor([True, False]) * tg.zeros(2, dtype=np.float64), np.float64),
        (lambda: tg.zeros(2) + np.array(1.0), np.float32),
        (lambda: tg.zeros(2) + np.float64(1.0), np.float32),
        (lambda: tg.zeros(2) + np.array([1, 2]), np.float32),
        (lambda: F.exp(tg.tensor([1, 2])), np.float32),
        (lambda: F.reciprocal(tg.tensor([1, 2])), np.float32),
        (lambda: F.square(tg.tensor([1, 2])), np.int64),
        (lambda: F.where(np.array([True, False]), 1.0, 0), np.float32),
        (lambda: F.where(np.array([True, False]), 1, 0), np.int64),
        (lambda: F.where(np.array([1, 0]), tg.zeros(2), 1), np.float32),
        (lambda: F.where(tg.tensor([True, False]), 1.5, tg.tensor([1, 2])), np.float32),
        (lambda: F.where(np.array([True, False]), np.array([True, True]), tg.zeros(2)), np.float32),
        (lambda: F.maximum(tg.tensor([1, 2]), 1.5), np.float32),
        (lambda: F.clip(tg.tensor([1, 2]), 1.5), np.float32),
    ],
)
def test_dtypes_mix_as_in_pytorch(value, dtype):
    assert value().dtype == dtype


def test_where_on_numbers_and_mixed_operands_has_the_right_values():
    assert F.where(np.array([True, False]), 1.0, 0).tolist() == [1.0, 0.0]
    assert F.where(tg.tensor([True, False]), 1.5, tg.tensor([1, 2])).tolist() == [1.5, 2.0]
    assert F.where(np.array([2, 0]), 1, tg.tensor([True, False])).tolist() == [1, 0]


# ----------------------------------------------------------------------------------------------------------- accuracy


@pytest.mark.parametrize(("dtype", "bound"), [(np.float64, 6e-16), (np.float32, 3e-7)])
def test_error_function_against_the_standard_library(dtype, bound):
    x = np.concatenate([np.linspace(-7, 7, 4001), np.geomspace(1e-30, 1, 400), [0.46875, 0.5, 4.0, 5.95]]).astype(dtype)
    expected = np.array([math.erf(v) for v in x.tolist()])
    found = F.erf(x)
    assert found.dtype == dtype
    nonzero = expected != 0
    assert np.abs(found[nonzero] / expected[nonzero] - 1).max() < bound
    assert np.abs(found).max() <= 1 and (F.erf(-x) == -found).all()
    assert F.erf(np.array([-math.inf, -1e4, 1e4, math.inf], dtype)).tolist() == [-1, -1, 1, 1]
    assert np.isnan(F.erf(np.array(math.nan, dtype)))


def test_small_arguments_keep_their_digits():
    x = leaf([1e-20, -1e-12])
    for function in (F.expm1, F.log1p, F.sin, F.tan, F.asin, F.atan, F.sinh, F.tanh, F.asinh, F.atanh):
        np.testing.assert_allclose(function(x)._data, x._data, rtol=2e-12)


def test_functions_of_large_arguments_are_finite_and_silent():
    x = np.array([-1e4, -90.0, 90.0, 1e4], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for function in (F.tanh, F.atan, F.asinh, F.erf, F.sigmoid, F.softplus, F.gelu, F.silu, F.elu):
            tensor = tg.tensor(x, requires_grad=True)
            function(tensor).backward(np.ones(4, np.float32))
            assert np.isfinite(tensor.grad.numpy()).all(), function.__name__


@given(hnp.arrays(np.float64, 5, elements=st.floats(0.1, 10)))
def test_inverse_functions(x):
    for function, inverse in (
        (F.exp, F.log), (F.expm1, F.log1p), (F.sqrt, F.square), (F.sinh, F.asinh), (F.reciprocal, F.reciprocal),
    ):  # fmt: skip
        np.testing.assert_allclose(inverse(function(x)), x, rtol=1e-12)
    np.testing.assert_allclose(F.acosh(F.cosh(x)), x, rtol=1e-9)
    for function, inverse in ((F.sin, F.asin), (F.tan, F.atan), (F.tanh, F.atanh)):
        np.testing.assert_allclose(inverse(function(x / 10)), x / 10, rtol=1e-12)
    np.testing.assert_allclose(F.acos(F.cos(x / 10)), x / 10, rtol=1e-9)


@given(hnp.arrays(np.float64, (2, 5), elements=FINITE))
def test_sums_of_complements(pair):
    a, b = pair
    np.testing.assert_array_equal(F.maximum(a, b) + F.minimum(a, b), a + b)
    np.testing.assert_array_equal(F.floor(a), -F.ceil(-a))
    np.testing.assert_array_equal(F.sign(a) * F.abs(a), a)
    np.testing.assert_array_equal(F.clip(a, -1, 2), F.minimum(F.maximum(a, -1), 2))
    np.testing.assert_allclose(F.square(F.sin(a)) + F.square(F.cos(a)), np.ones(5), rtol=1e-14)
    np.testing.assert_allclose(F.tan(F.atan2(a, np.abs(b) + 1)), a / (np.abs(b) + 1), rtol=1e-12)


# ------------------------------------------------------------------------------------------------- what fits a gradient


def test_operations_that_change_nothing_return_their_argument():
    x = leaf([[1.0, 2.0]])
    assert F.expand(x, 1, 2) is x and F.expand(x, -1, -1) is x and F.sum_to(x, (1, 2)) is x
    assert F.cast(x, np.float64) is x and F.to_device(x, "cpu") is x


def test_without_axes_saved_outputs_are_differentiated_twice():
    """NumPy gives scalars there; they must still be recognised as the operation's output."""
    for function, second in ((F.exp, math.exp(0.5)), (F.tanh, None), (F.sqrt, -0.25 * 0.5**-1.5)):
        x = leaf(0.5)
        slope = tg.grad(function(x), x, create_graph=True)
        t = math.tanh(0.5)
        assert tg.grad(slope, x).item() == pytest.approx(-2 * t * (1 - t * t) if second is None else second)


def test_a_derivative_of_high_order():
    x = leaf([0.7])
    y = F.sin(x)
    for _ in range(6):
        y = tg.grad(y, x, create_graph=True)
    assert y.item() == pytest.approx(-math.sin(0.7))


# ----------------------------------------------------------------------------------------- comparisons and positions


def test_nan_is_told_apart():
    x = tg.tensor([math.nan, math.inf, -math.inf, 0.0])
    assert F.isnan(x).tolist() == [True, False, False, False]
    assert F.isinf(x).tolist() == [False, True, True, False]
    assert F.isfinite(x).tolist() == [False, False, False, True]
    assert (x == x).tolist() == [False, True, True, True] and (x != x).tolist() == [True, False, False, False]
    assert not any((c(x, 0.0)).tolist()[0] for c in (F.lt, F.le, F.gt, F.ge))
    assert F.argmax(x).item() == 0 and F.argmin(x).item() == 0


def test_comparisons_of_tensors_give_constants_of_any_kind_of_operand():
    x = leaf([1.0, 2.0, 3.0])
    assert (x > 2).tolist() == [False, False, True] and operator.le(2, x).tolist() == [False, True, True]
    assert (x < np.array([2.0, 2.0, 9.0])).tolist() == [True, False, True]
    assert ((x > 1) & ~(x > 2)).tolist() == [False, True, False] and ((x < 2) | (x > 2)).tolist() == [True, False, True]
    assert not (x > 2).requires_grad and F.eq(2, 2) is True
    assert (tg.tensor([0.1]) == np.array(0.1)).tolist() == [True]  # a number without axes adapts to float32


def test_one_hot_takes_its_size_from_the_classes_and_trains():
    index = np.array([[0, 2], [1, 1]])
    hot = F.one_hot(tg.tensor(index))
    assert hot.dtype == np.int64 and hot.shape == (2, 2, 3) and F.argmax(hot, -1).tolist() == index.tolist()
    x = tg.tensor(np.ones((2, 2, 3), np.float32), requires_grad=True)
    (x * hot).sum().backward()
    assert x.grad.dtype == np.float32 and x.grad.tolist() == hot.tolist()


# ---------------------------------------------------------------------------------------------- PyTorch at the corners


@pytest.mark.parametrize(
    "function",
    [
        lambda lib, x: lib.abs(x),
        lambda lib, x: lib.clip(x, -1, 1),
        lambda lib, x: x**0,
        lambda lib, x: x**2,
        lambda lib, x: x**1.5,
        lambda lib, x: x**-1,
        lambda lib, x: 0.0**x,
        lambda lib, x: x**x,
        lambda lib, x: lib.maximum(x, x * x),
        lambda lib, x: lib.minimum(x, x * x),
        lambda lib, x: lib.sqrt(x),
        lambda lib, x: lib.log(x),
        lambda lib, x: lib.asin(x),
        lambda lib, x: lib.acosh(x),
        lambda lib, x: lib.atanh(x),
        lambda lib, x: lib.atan2(x, x),
        lambda lib, x: lib.where(x > 0, lib.log(x), x),
    ],
)
def test_corners_agree_with_pytorch(function):
    torch = pytest.importorskip("torch")
    values = [-2.0, -1.0, -0.0, 0.0, 0.5, 1.0, 2.0, math.inf, math.nan]
    ours, theirs = leaf(values), torch.tensor(values, dtype=torch.float64, requires_grad=True)
    with np.errstate(all="ignore"):
        y, expected = function(F, ours), function(torch, theirs)
        y.backward(np.ones(len(values)))
    expected.backward(torch.ones_like(expected))
    np.testing.assert_allclose(y._data, expected.detach().numpy(), rtol=1e-15)
    inside = ~np.isnan(y._data)
    np.testing.assert_allclose(ours.grad._data[inside], theirs.grad.numpy()[inside], rtol=1e-14)
