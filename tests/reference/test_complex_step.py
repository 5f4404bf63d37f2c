"""The complex step, and every continued function: its real values and its derivative, in extremes as well."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import complex_step as cs
from reference import finite_differences as fd
from reference.probing import digits_agreed, inner, random_directions

rng = np.random.default_rng(0)


def sech2(x):
    q = np.exp(-2 * np.abs(x))
    return 4 * q / (1 + q) ** 2


def slope_sigmoid(x):
    q = np.exp(-np.abs(x))
    return q / (1 + q) ** 2


def density(x):
    return np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


MODERATE = np.concatenate([-np.logspace(-8, 1.4, 60), np.logspace(-8, 1.4, 60)])
EXTREME = np.concatenate([MODERATE, [-1e4, -700.0, -100.0, 100.0, 700.0, 1e4, -1e-150, 1e-150]])
POSITIVE = np.logspace(-150, 150, 61)

# (continuation, its values, its derivative, where)
CLOSED_FORMS = [
    (cs.abs, np.abs, np.sign, np.append(EXTREME, 0.0)),
    (cs.sign, np.sign, np.zeros_like, EXTREME),
    (cs.relu, lambda x: np.maximum(x, 0), lambda x: 1.0 * (x > 0), np.append(EXTREME, 0.0)),
    (cs.leaky_relu, lambda x: np.where(x > 0, x, 0.01 * x), lambda x: np.where(x > 0, 1, 0.01), EXTREME),
    (cs.elu, lambda x: np.where(x > 0, x, np.expm1(x)), lambda x: np.exp(np.minimum(x, 0)), EXTREME),
    (cs.sigmoid, scipy.special.expit, slope_sigmoid, np.append(EXTREME, 0.0)),
    (cs.softplus, lambda x: np.logaddexp(0, x), scipy.special.expit, np.append(EXTREME, 0.0)),
    (cs.tanh, np.tanh, sech2, np.append(EXTREME, 0.0)),
    (
        cs.silu,
        lambda x: x * scipy.special.expit(x),
        lambda x: scipy.special.expit(x) + x * slope_sigmoid(x),
        np.append(EXTREME, 0.0),
    ),
    (cs.erf, scipy.special.erf, lambda x: 2 / math.sqrt(math.pi) * np.exp(-x * x), np.append(EXTREME, 0.0)),
    (cs.erfc, scipy.special.erfc, lambda x: -2 / math.sqrt(math.pi) * np.exp(-x * x), np.append(EXTREME, 0.0)),
    (
        cs.gelu,
        lambda x: x * scipy.special.ndtr(x),
        lambda x: scipy.special.ndtr(x) + x * density(x),
        np.append(EXTREME, 0.0),
    ),
    (cs.expm1, np.expm1, np.exp, MODERATE),
    (cs.log1p, np.log1p, lambda x: 1 / (1 + x), np.concatenate([POSITIVE, -np.logspace(-15, -0.01, 40)])),
    (cs.log, np.log, lambda x: 1 / x, POSITIVE),
    (cs.sqrt, np.sqrt, lambda x: 0.5 / np.sqrt(x), POSITIVE),
    (
        lambda x: cs.clip(x, -1.0, 2.0),
        lambda x: np.clip(x, -1, 2),
        lambda x: 1.0 * ((x >= -1) & (x <= 2)),
        np.append(EXTREME, [-1.0, 2.0]),
    ),
    (lambda x: cs.clip(x, high=0.5), lambda x: np.minimum(x, 0.5), lambda x: 1.0 * (x <= 0.5), EXTREME),
    (lambda x: cs.power(x, 3), lambda x: x**3, lambda x: 3 * x**2, np.append(EXTREME[np.abs(EXTREME) > 1e-9], 0.0)),
    (lambda x: cs.power(x, -2.0), lambda x: x**-2.0, lambda x: -2 * x**-3.0, MODERATE),
    (lambda x: cs.power(x, 0.3), lambda x: x**0.3, lambda x: 0.3 * x**-0.7, POSITIVE),
    (lambda x: cs.power(x, 1.0), lambda x: x, np.ones_like, np.array([0.0, -2.0, 3.0])),
    (lambda x: cs.power(x, 0), np.ones_like, np.zeros_like, np.array([0.0, -2.0, 3.0])),
]


@pytest.mark.parametrize("function, value, slope, x", CLOSED_FORMS)
@pytest.mark.filterwarnings("ignore:overflow", "ignore:underflow")
def test_closed_forms(function, value, slope, x) -> None:
    """Values and derivatives to 13 digits of their own size, entry by entry (absolutely below 1e-300)."""
    np.testing.assert_allclose(function(x), value(x), rtol=1e-13, atol=1e-300)
    (ours,) = cs.gradient(function, (x,), np.ones_like(x))
    expected = slope(x)
    well = np.abs(expected) < 1e290
    np.testing.assert_allclose(ours[well], expected[well], rtol=4e-13, atol=1e-250)


# fmt: off
SMOOTH = [
    cs.abs, cs.relu, cs.elu, cs.sigmoid, cs.softplus, cs.tanh, cs.silu, cs.erf, cs.gelu, cs.softmax, cs.log_softmax,
    cs.logsumexp, cs.norm, cs.var, cs.std, cs.amax, cs.amin, cs.sort, cs.log1p, cs.expm1, cs.sqrt, cs.log,
    lambda x: cs.power(x, 0.5), lambda x: cs.clip(x, 0.3, 0.6), lambda x: cs.maximum(x, 0.5 * x),
]
# fmt: on


@pytest.mark.parametrize("function", SMOOTH)
def test_float32_stays_float32(function) -> None:
    assert function(rng.uniform(0.1, 0.9, (3, 4)).astype(np.float32)).dtype == np.float32


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_finite_in_float32_for_extreme_arguments() -> None:
    x = np.array([[-1e4, 0.0, 1e4], [1e4, 1e4, -1e4]], np.float32)
    for function in (cs.sigmoid, cs.softplus, cs.tanh, cs.silu, cs.elu, cs.gelu, cs.softmax, cs.log_softmax, cs.norm):
        assert np.isfinite(function(x)).all(), function
    assert cs.logsumexp(np.full(3, -np.inf)) == -np.inf


AXES = [(None, False), (0, False), (-1, True), ((0, 2), False), ((0, 1, 2), True)]
REDUCTIONS = [
    (cs.logsumexp, lambda x, d, k: scipy.special.logsumexp(x, axis=d, keepdims=k)),
    (cs.amax, lambda x, d, k: x.max(axis=d, keepdims=k)),
    (cs.amin, lambda x, d, k: x.min(axis=d, keepdims=k)),
    (lambda x, d, k: cs.var(x, d, 1, k), lambda x, d, k: x.var(axis=d, keepdims=k, ddof=1)),
    (lambda x, d, k: cs.std(x, d, 0, k), lambda x, d, k: x.std(axis=d, keepdims=k)),
    (lambda x, d, k: cs.norm(x, 2.0, d, k), lambda x, d, k: np.sqrt((x * x).sum(axis=d, keepdims=k))),
    (lambda x, d, k: cs.norm(x, 3.0, d, k), lambda x, d, k: (np.abs(x) ** 3).sum(axis=d, keepdims=k) ** (1 / 3)),
    (lambda x, d, k: cs.norm(x, 1.0, d, k), lambda x, d, k: np.abs(x).sum(axis=d, keepdims=k)),
    (lambda x, d, k: cs.norm(x, math.inf, d, k), lambda x, d, k: np.abs(x).max(axis=d, keepdims=k)),
    (lambda x, d, k: cs.norm(x, -math.inf, d, k), lambda x, d, k: np.abs(x).min(axis=d, keepdims=k)),
]


@pytest.mark.parametrize("dim, keepdim", AXES)
@pytest.mark.parametrize("function, plain", REDUCTIONS)
def test_reductions(function, plain, dim, keepdim) -> None:
    x = rng.permutation(np.arange(24.0)).reshape(2, 3, 4) / 7 - 1.6
    value = function(x, dim, keepdim)
    np.testing.assert_allclose(value, plain(x, dim, keepdim), rtol=1e-13)
    g = rng.standard_normal(value.shape)
    (ours,) = cs.gradient(lambda x: function(x, dim, keepdim), (x,), g)
    (numeric,) = fd.gradient(lambda x: plain(x, dim, keepdim), (x,), g)
    assert digits_agreed(numeric, ours) > 10


@pytest.mark.parametrize(
    "function, plain", [(cs.softmax, scipy.special.softmax), (cs.log_softmax, scipy.special.log_softmax)]
)
@pytest.mark.parametrize("dim", [0, 1])
def test_softmax_along_axes(function, plain, dim) -> None:
    x, g = rng.standard_normal((3, 4)), rng.standard_normal((3, 4))
    np.testing.assert_allclose(function(x, dim), plain(x, axis=dim), rtol=1e-13)
    (ours,) = cs.gradient(lambda x: function(x, dim), (x,), g)
    (numeric,) = fd.gradient(lambda x: plain(x, axis=dim), (x,), g)
    assert digits_agreed(numeric, ours) > 10


def test_softmax_in_the_extreme_closed_form() -> None:
    x = np.array([1e4, 1e4 - 1, -1e4])
    p = scipy.special.softmax(x)
    for i in range(3):
        (ours,) = cs.gradient(cs.softmax, (x,), np.eye(3)[i])
        np.testing.assert_allclose(ours, p[i] * (np.eye(3)[i] - p), rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize(
    "function, plain", [(cs.maximum, np.maximum), (cs.minimum, np.minimum), (cs.arctan2, np.arctan2)]
)
def test_two_operands(function, plain) -> None:
    a, b = rng.standard_normal((2, 3, 40))
    g = rng.standard_normal((3, 40))
    np.testing.assert_allclose(function(a + 0j, b + 0j).real, plain(a, b), rtol=1e-15)
    ours, numeric = cs.gradient(function, (a, b), g), fd.gradient(plain, (a, b), g)
    assert all(digits_agreed(n, o) > 8 for o, n in zip(ours, numeric, strict=True))


def test_arctan2_on_the_axes() -> None:
    y, x = np.array([0.0, 2.0, -2.0, 1e-150]), np.array([3.0, 0.0, 0.0, -4.0])
    dy, dx = cs.gradient(cs.arctan2, (y, x), np.ones(4))
    np.testing.assert_allclose(dy, x / (x * x + y * y), rtol=1e-14, atol=1e-30)
    np.testing.assert_allclose(dx, -y / (x * x + y * y), rtol=1e-14, atol=1e-30)


def test_ties_are_shared_as_in_pytorch() -> None:
    a = np.array([1.0, 2.0])
    assert [g.tolist() for g in cs.gradient(cs.maximum, (a, a.copy()), np.ones(2))] == [[0.5, 0.5], [0.5, 0.5]]
    assert cs.gradient(cs.amax, (np.array([3.0, 1.0, 3.0]),))[0].tolist() == [0.5, 0.0, 0.5]
    assert cs.gradient(cs.amin, (np.array([3.0, 1.0, 1.0]),))[0].tolist() == [0.0, 0.5, 0.5]


def test_sort_and_where_choose_by_the_real_part() -> None:
    x, g = rng.standard_normal((3, 5)), rng.standard_normal((3, 5))
    (ours,) = cs.gradient(lambda x: cs.sort(x, 1), (x,), g)
    np.testing.assert_allclose(ours, np.take_along_axis(g, np.argsort(np.argsort(x, 1), 1), 1), rtol=1e-15)
    (ours,) = cs.gradient(lambda x: cs.where(x.real > 0, x * x, -x), (x,), g)
    np.testing.assert_allclose(ours, g * np.where(x > 0, 2 * x, -1), rtol=1e-15)


def test_exponent_has_a_derivative_too() -> None:
    x, p = rng.uniform(0.1, 3, 20), rng.standard_normal(20)
    _, dp = cs.gradient(cs.power, (x, p), np.ones(20))
    np.testing.assert_allclose(dp, x**p * np.log(x), rtol=1e-13, atol=1e-15)
    assert np.isnan(cs.gradient(cs.power, (np.array(-2.0), np.array(3.0)), argnums=(1,))[0])


def test_power_at_zero() -> None:
    slopes = [cs.gradient(cs.power, (np.array(0.0), np.array(p)))[0].item() for p in (0.0, 0.5, 1.0, 1.5, 2.0)]
    np.testing.assert_array_equal(slopes, [0, np.nan, 1, 0, 0])
    assert cs.gradient(cs.power, (np.array(0.0), np.array(0.5)), argnums=(1,))[0] == 0
    assert np.isinf(cs.power(np.array(0j), -1.0).real)


def test_norm_of_zero_has_slope_zero_as_in_pytorch() -> None:
    x = np.array([[0.0, 0.0], [0.0, 2.0]])
    for p in (1.0, 2.0, 3.0):
        assert cs.norm(x, p, 1).tolist() == [0, 2]
        (slope,) = cs.gradient(lambda x, p=p: cs.norm(x, p, 1), (x,), np.ones(2))
        np.testing.assert_allclose(slope, [[0, 0], [0, 1]], rtol=1e-15)


def test_out_of_the_real_domain_is_nan() -> None:
    for function in (cs.sqrt, cs.log, cs.log1p, lambda x: cs.power(x, 0.5)):
        assert np.isnan(cs.gradient(function, (np.array(-2.0),))[0])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**30))
def test_directional_derivative_is_the_gradient_times_the_direction(seed) -> None:
    draw = np.random.default_rng(seed)
    x, w = draw.standard_normal((4, 3)), draw.standard_normal((3, 5))
    g = draw.standard_normal((4, 5))

    def f(x, w):
        return cs.softmax(cs.tanh(x) @ w)

    directions = random_directions((x, w), seed=seed)
    along = cs.directional(f, (x, w), directions, g)
    assert along == pytest.approx(inner(cs.gradient(f, (x, w), g), directions), rel=1e-11, abs=1e-13)
    assert along == pytest.approx(fd.directional(f, (x, w), directions, g), rel=1e-8, abs=1e-10)


def test_wrong_by_a_thousandth_is_caught() -> None:
    x = rng.standard_normal(5)
    (right,) = cs.gradient(np.sin, (x,), np.ones(5))
    assert digits_agreed(np.cos(x), right) > 15
    assert digits_agreed(np.cos(x) * 1.001, right) == pytest.approx(3, abs=0.01)


@pytest.mark.parametrize("dropping", [np.abs, lambda x: x.real * 1.0, lambda x: 1.0 * (x > 0)])
def test_refuses_a_function_that_drops_the_imaginary_part(dropping) -> None:
    with pytest.raises(TypeError, match="dropped the imaginary part"):
        cs.gradient(dropping, (rng.standard_normal(3),), np.ones(3))


def test_refuses_float32() -> None:
    with pytest.raises(TypeError, match="must be float64, got float32"):
        cs.gradient(np.sin, (np.ones(3, np.float32),), np.ones(3))
    with pytest.raises(TypeError, match="must be float64, got float32"):
        cs.directional(np.sin, (np.ones(3, np.float32),), (np.ones(3),), np.ones(3))
