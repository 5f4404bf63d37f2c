"""Finite differences are right to many digits, say how sure they are, and refuse what they cannot do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import finite_differences as fd
from reference.probing import digits_agreed, inner, random_directions, varied, weigh

rng = np.random.default_rng(0)

SMOOTH = [
    (np.exp, np.exp, (-3.0, 3.0)),
    (np.sin, np.cos, (-30.0, 30.0)),
    (np.log, lambda x: 1 / x, (0.05, 50.0)),
    (np.tanh, lambda x: 1 / np.cosh(x) ** 2, (-4.0, 4.0)),
    (lambda x: 1 / x, lambda x: -1 / x**2, (0.1, 10.0)),
    (np.sqrt, lambda x: 0.5 / np.sqrt(x), (0.01, 1e4)),
]


@pytest.mark.parametrize("f, slope, domain", SMOOTH)
def test_smooth_functions_to_ten_digits(f, slope, domain) -> None:
    x = rng.uniform(*domain, 50)
    for value in x:
        ours = fd.gradient(f, (np.array([value]),), np.ones(1))[0][0]
        assert abs(ours - slope(value)) <= 1e-10 * abs(slope(value)) + 1e-12


@pytest.mark.parametrize("f, slope, domain", SMOOTH)
def test_error_estimate_covers_the_error(f, slope, domain) -> None:
    x = rng.uniform(*domain, 200)
    (value,), (error,) = fd.gradient_with_error(f, (x,), np.ones(200))
    covered = np.abs(value - slope(x)) <= 10 * error + 1e-13 * np.abs(slope(x))
    assert covered.mean() > 0.98


@settings(max_examples=30, deadline=None)
@given(
    shape=st.lists(st.integers(0, 3), max_size=3).map(tuple),
    coefficients=st.lists(st.floats(-3, 3), min_size=5, max_size=5),
    seed=st.integers(0, 2**20),
)
def test_polynomials_of_any_shape(shape, coefficients, seed) -> None:
    x = np.random.default_rng(seed).uniform(-2, 2, shape)
    g = np.random.default_rng(seed + 1).standard_normal(shape)
    slope = np.polyval(np.polyder(coefficients), x)
    (ours,) = fd.gradient(lambda x: np.polyval(coefficients, x), (x,), g)
    assert ours.shape == shape
    np.testing.assert_allclose(ours, g * slope, rtol=1e-9, atol=1e-10)


def test_wrong_by_a_thousandth_is_caught() -> None:
    x, g = rng.standard_normal((3, 4)), rng.standard_normal((3, 4))
    (numeric,) = fd.gradient(np.sin, (x,), g)
    assert digits_agreed(g * np.cos(x), numeric) > 10
    assert digits_agreed(1.001 * g * np.cos(x), numeric) == pytest.approx(3, abs=0.01)
    one_entry = g * np.cos(x)
    one_entry[2, 1] *= 1.001
    assert digits_agreed(one_entry, numeric) < 6


def test_several_outputs_and_arguments() -> None:
    a, b = rng.standard_normal((2, 3)), rng.standard_normal((3, 2))
    g = rng.standard_normal((2, 2)), None, np.asarray(2.0)

    def f(a, labels, b):
        return a @ b, a, (a**2).sum()

    da, db = fd.gradient(f, (a, np.arange(2), b), g)
    np.testing.assert_allclose(da, g[0] @ b.T + 4 * a, rtol=1e-10)
    np.testing.assert_allclose(db, a.T @ g[0], rtol=1e-10)
    (only_b,) = fd.gradient(f, (a, np.arange(2), b), g, argnums=(2,))
    np.testing.assert_array_equal(only_b, db)


def test_directional_derivative_is_the_gradient_times_the_direction() -> None:
    x, w = rng.standard_normal((200, 30)), rng.standard_normal((30, 20))
    g = rng.standard_normal((200, 20))
    gradients = g @ w.T * 1.0, x.T @ g
    for seed in range(3):
        directions = random_directions((x, w), seed=seed)
        value, error = fd.directional_with_error(np.matmul, (x, w), directions, g)
        assert value == pytest.approx(inner(gradients, directions), rel=1e-10)
        assert error < 1e-8 * abs(value)
        wrong = gradients[0], 1.001 * gradients[1]
        assert value != pytest.approx(inner(wrong, directions), rel=1e-6)


def test_directions_are_isotropic_and_differ() -> None:
    draws = np.array([random_directions((np.zeros(3),), seed=seed)[0] for seed in range(2000)])
    assert np.abs(draws.T @ draws / 2000 - np.eye(3)).max() < 0.1


def test_steps_out_of_the_domain_are_passed_over() -> None:
    np.testing.assert_allclose(fd.gradient(np.log, (np.array(0.01),))[0], 100, rtol=1e-7)
    barely = np.diag([1.0, 1e-2])
    (slope,) = fd.gradient(lambda a: np.linalg.cholesky(a).sum(), (barely,))
    assert slope[1, 1] == pytest.approx(0.5 / np.sqrt(1e-2), rel=1e-7)


def test_a_kink_within_reach_shows_in_the_error() -> None:
    (_,), (error,) = fd.gradient_with_error(np.abs, (np.array([1e-5, 0.5]),), np.ones(2))
    assert error[0] > 1e-5 and error[1] < 1e-12


@pytest.mark.parametrize(
    "args, g, exception, words",
    [
        ((np.ones(2, np.float32),), np.ones(2), TypeError, "argument 0 must be float64, got float32"),
        ((np.ones(2), np.ones(2, np.float16)), np.ones(2), TypeError, "argument 1 must be float64, got float16"),
        ((np.arange(2),), np.ones(2), ValueError, "nothing to differentiate"),
        ((np.ones(2),), np.ones(3), ValueError, r"output has shape \(2,\), cotangent g has \(3,\)"),
        ((np.ones(2),), None, ValueError, "needs a cotangent"),
    ],
)
def test_refusals(args, g, exception, words) -> None:
    with pytest.raises(exception, match=words):
        fd.gradient(lambda x, y=0: x, args, g)


def test_refuses_a_chosen_argument_that_is_no_float64_array_and_float32_inside() -> None:
    with pytest.raises(TypeError, match="argument 1 must be an array of float64, got int"):
        varied((np.ones(2), 3), (1,))
    with pytest.raises(TypeError, match="must compute in float64, it returned float32"):
        fd.gradient(lambda x: x.astype(np.float32), (np.ones(2),), np.ones(2))


def test_weigh_counts_outputs() -> None:
    with pytest.raises(ValueError, match="2 outputs need as many cotangents"):
        weigh((np.ones(2), np.ones(2)), (np.ones(2),))
    with pytest.raises(ValueError, match="2 outputs need as many cotangents"):
        weigh((np.ones(2), np.ones(2)), (None, None))
    assert weigh((np.ones(2), np.ones(3)), (np.array([1.0, 2.0]), None)) == 3.0


def test_digits_agreed() -> None:
    assert digits_agreed(np.ones(3), np.ones(3)) == 16
    assert digits_agreed(np.ones(3), np.ones(4)) == 0
    assert digits_agreed(np.array([1.0, np.nan]), np.ones(2)) == 0
    assert digits_agreed(np.ones(2), np.zeros(2)) == 0
    assert digits_agreed(-np.ones(2), np.ones(2)) == 0
    assert digits_agreed(np.array([1.0, 0.01]), np.array([1.0, 0.0])) == pytest.approx(2)
