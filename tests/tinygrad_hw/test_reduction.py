"""Reductions of ties, zeros, NaN and nothing at all, and the laws that they obey."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_hw as tg
from tinygrad_hw import functional as F

MATRICES = hnp.arrays(np.float64, (3, 4), elements=st.floats(-10, 10))


def leaf(values, dtype=np.float64):
    return tg.tensor(np.array(values, dtype), requires_grad=True)


def gradient(function, x):
    output = function(x)
    return tg.grad(output, x, np.ones(output.shape)).tolist()


# --------------------------------------------------------------------------------------------------------- ties and NaN


def test_entries_that_tie_share_the_gradient_evenly():
    x = leaf([[1.0, 3.0, 3.0, 3.0], [5.0, 5.0, 2.0, 1.0]])
    assert gradient(lambda x: F.max(x, 1), x) == [[0, 1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0, 0]]
    assert gradient(F.max, x) == [[0, 0, 0, 0], [0.5, 0.5, 0, 0]]
    assert gradient(lambda x: F.min(x, 0, keepdims=True), x) == [[1, 1, 0, 0], [0, 0, 1, 1]]
    assert gradient(F.max, leaf([math.inf, 0.0, math.inf])) == [0.5, 0, 0.5]


def test_nan_is_the_extreme():
    x = np.array([[1.0, math.nan], [2.0, 3.0]])
    for function in (F.max, F.min):
        assert np.isnan(function(x, 1)).tolist() == [True, False] and np.isnan(function(x))


# ------------------------------------------------------------------------------------------------------------- nothing


def test_sums_and_products_of_nothing():
    x = leaf(np.zeros((2, 0)))
    assert F.sum(x).item() == 0 and F.sum(x, 1).tolist() == [0, 0] and F.sum(x, 0).shape == (0,)
    assert F.prod(x).item() == 1 and F.prod(x, 1).tolist() == [1, 1]
    assert F.norm(x).item() == 0 and F.norm(x, 3, 1).tolist() == [0, 0] and F.norm(x, 1, 1).tolist() == [0, 0]
    for function in (F.sum, F.prod, F.norm, lambda x: F.norm(x, 3), lambda x: F.cumsum(x, 1)):
        assert np.array(gradient(function, x)).shape == (2, 0)


@pytest.mark.parametrize("function", [F.mean, F.var, F.std, F.max, F.min])
def test_reducing_no_entries_raises_where_undefined_but_having_no_lines_does_not(function):
    with pytest.raises(ValueError, match=r"entries, got 0 \(shape \(3, 0\), axis None\)"):
        function(leaf(np.zeros((3, 0))))
    x = leaf(np.zeros((3, 0)))
    assert function(x, 0).shape == (0,) and np.array(gradient(lambda x: function(x, 0), x)).shape == (3, 0)


# -------------------------------------------------------------------------------------------------- means and variances


def test_the_variance_of_a_sample_is_unbiased_unless_told_otherwise():
    x = np.array([1.0, 2.0, 4.0, 9.0])
    assert F.var(x) == pytest.approx(np.var(x, ddof=1)) and F.var(x, correction=0) == pytest.approx(np.var(x))
    assert F.std(x, correction=2) == pytest.approx(np.std(x, ddof=2))
    with pytest.raises(ValueError, match=r"^std: needs at least 5 entries, got 4"):
        F.std(x, correction=4)


def test_the_standard_deviation_of_equal_entries_has_gradient_zero():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = leaf([[2.0, 2.0], [1.0, 3.0]])
        slope = tg.grad(F.std(x, 1).sum(), x, create_graph=True)
        assert slope.tolist() == [[0, 0], pytest.approx([-(0.5**0.5), 0.5**0.5])]
        assert np.isfinite(tg.grad(slope.sum(), x).numpy()).all()


def test_a_variance_far_from_zero_keeps_its_digits():
    x = np.array([1e4, 1e4 + 1, 1e4 + 2], np.float32)
    assert F.var(x) == pytest.approx(1.0, rel=1e-6) and F.std(x).dtype == np.float32


@given(MATRICES)
def test_laws_of_sums_and_means(x):
    np.testing.assert_allclose(F.sum(F.sum(x, 0)), F.sum(x), atol=1e-12)
    np.testing.assert_allclose(F.mean(x, 1), F.sum(x, -1) / 4, atol=1e-13)
    np.testing.assert_allclose(F.var(x), F.mean((x - F.mean(x)) ** 2) * 12 / 11, atol=1e-12)
    np.testing.assert_allclose(F.mean(x, (0, 1), True), np.full((1, 1), x.mean()), atol=1e-13)
    np.testing.assert_allclose(F.cumsum(x, 1)[:, -1], F.sum(x, 1), atol=1e-12)
    np.testing.assert_array_equal(F.max(x, 0), -F.min(-x, 0))
    np.testing.assert_allclose(np.diff(F.cumsum(x, 0), axis=0), x[1:], atol=1e-12)


def test_dtypes():
    integers = tg.tensor([[1, 2], [3, 4]])
    assert F.sum(integers).dtype == np.int64 and F.sum(integers > 2).item() == 2
    assert F.max(integers, 0).tolist() == [3, 4] and F.prod(integers).dtype == np.int64
    assert all(f(integers).dtype == np.float32 for f in (F.mean, F.var, F.std, F.norm))
    singles = np.ones((3, 4), np.float32)
    assert all(f(singles).dtype == np.float32 for f in (F.sum, F.mean, F.var, F.std, F.max, F.min, F.prod, F.norm))


def test_axes_may_be_numpy_integers_and_lists():
    x = np.arange(6.0).reshape(2, 3)
    assert F.sum(x, np.int64(1)).tolist() == [3, 12] and F.sum(x, [0, 1]) == 15 and F.sum(x, ()).tolist() == x.tolist()
    with pytest.raises(TypeError, match=r"^sum: expected a Tensor or an array, got list$"):
        F.sum([1.0, 2.0])


# ------------------------------------------------------------------------------------------------------------- products


@given(
    hnp.arrays(np.float64, (2, 4), elements=st.sampled_from([0.0, 0.0, -1.5, 0.5, 2.0])), st.sampled_from([0, 1, None])
)
def test_products_with_zeros_are_differentiated_twice(x, axis):
    """Against the definition: ∂/∂xᵢ is the product without xᵢ, ∂²/∂xᵢ∂xⱼ that without both."""
    lines = [x.ravel()] if axis is None else list(np.moveaxis(x, axis, -1))
    without = lambda line, *left_out: math.prod(v for k, v in enumerate(line) if k not in left_out)
    first = np.array([[without(line, i) for i in range(len(line))] for line in lines])
    second = np.array(
        [[sum(without(line, i, j) for j in range(len(line)) if j != i) for i in range(len(line))] for line in lines]
    )
    t = leaf(x)
    plain = gradient(lambda x: F.prod(x, axis), t)
    slope = tg.grad(F.prod(t, axis).sum(), t, create_graph=True)
    curvature = tg.grad(slope.sum(), t)._data
    back = lambda a: a.reshape(x.shape) if axis is None else np.moveaxis(a, -1, axis)
    np.testing.assert_allclose(slope._data, back(first), rtol=1e-14)
    np.testing.assert_allclose(plain, back(first), rtol=1e-14)
    np.testing.assert_allclose(curvature, back(second), rtol=1e-14)


def test_product_over_several_axes():
    x = np.arange(1.0, 25.0).reshape(2, 3, 4)
    for axis in ((0, 2), (2, 0), -1, None, ()):
        for keepdims in (False, True):
            np.testing.assert_allclose(F.prod(x, axis, keepdims), np.prod(x, axis=axis, keepdims=keepdims))


# ---------------------------------------------------------------------------------------------------------------- norms


@pytest.mark.parametrize("p", [0.5, 1, 1.5, 2, 3, math.inf, -math.inf])
def test_the_gradient_of_a_norm_at_zero_is_zero(p):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = leaf([[0.0, 0.0], [3.0, 0.0]])
        slope = tg.grad(F.norm(x, p, 1).sum(), x, create_graph=True)
        expected = 0.0 if p == -math.inf else 1.0
        assert slope.tolist() == [[0.0, 0.0], [expected, 0.0]]
        if slope.requires_grad:
            second = tg.grad(slope.sum(), x, allow_unused=True)
            assert second is None or np.isfinite(second.numpy()).all()


def test_high_powers_do_not_overflow():
    x = leaf([1e4, 2e4], np.float32)
    assert F.norm(x, 20).item() == pytest.approx(2e4, rel=1e-6)
    assert gradient(lambda x: F.norm(x, 20), x)[1] == pytest.approx(1.0, rel=1e-5)


@given(MATRICES, st.sampled_from([1, 2, 3.5, math.inf]))
def test_laws_of_norms(x, p):
    a, b = x[:2]
    assert F.norm(a + b, p) <= F.norm(a, p) + F.norm(b, p) + 1e-9
    np.testing.assert_allclose(F.norm(-2.0 * x, p, 0), 2.0 * F.norm(x, p, 0), rtol=1e-12)
    np.testing.assert_allclose(F.norm(x, p, 1), np.linalg.norm(x, p, axis=1), rtol=1e-12)


# ---------------------------------------------------------------------------------------------- PyTorch at the corners


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda x: F.max(x, 1), lambda x: x.amax(1)),
        (F.max, lambda x: x.max()),
        (lambda x: F.min(x, 0), lambda x: x.amin(0)),
        (lambda x: F.prod(x, 1), lambda x: x.prod(1)),
        (F.prod, lambda x: x.prod()),
        (lambda x: F.std(x, 1), lambda x: x.std(1)),
        (lambda x: F.norm(x, 2, 1), lambda x: x.norm(2, 1)),
        (lambda x: F.norm(x, 1, 1), lambda x: x.norm(1, 1)),
        (lambda x: F.norm(x, 3, 1), lambda x: x.norm(3, 1)),
        (lambda x: F.norm(x, math.inf, 1), lambda x: x.norm(math.inf, 1)),
    ],
)
def test_corners_agree_with_pytorch(ours, theirs):
    torch = pytest.importorskip("torch")
    values = [[0.0, 0.0, 0.0], [2.0, -2.0, 2.0], [0.0, 3.0, 3.0], [5.0, 0.0, -1.0]]
    x, t = leaf(values), torch.tensor(values, dtype=torch.float64, requires_grad=True)
    y, expected = ours(x), theirs(t)
    y.backward(np.ones(y.shape))
    expected.backward(torch.ones_like(expected))
    np.testing.assert_allclose(y._data, expected.detach().numpy(), rtol=1e-14)
    np.testing.assert_allclose(x.grad._data, t.grad.numpy(), rtol=1e-14)
