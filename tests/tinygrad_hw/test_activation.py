"""Activation functions at their kinks and in their tails, and the laws that tie f(x) to f(-x)."""

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

ARRAYS = hnp.arrays(np.float64, 6, elements=st.floats(-30, 30))


def leaf(values, dtype=np.float64):
    return tg.tensor(np.array(values, dtype), requires_grad=True)


def gradient(function, x):
    return tg.grad(function(x), x, np.ones(x.shape, x.dtype)).tolist()


@pytest.mark.parametrize(
    ("function", "at_zero"),
    [
        (F.relu, 0.0),
        (F.leaky_relu, 0.01),
        (lambda x: F.leaky_relu(x, 1.5), 1.5),
        (lambda x: F.leaky_relu(x, -0.5), -0.5),
        (F.elu, 1.0),
        (lambda x: F.elu(x, 0.5), 0.5),
        (F.sigmoid, 0.25),
        (F.silu, 0.5),
        (F.gelu, 0.5),
        (lambda x: F.gelu(x, "tanh"), 0.5),
        (F.softplus, 0.5),
    ],
)
def test_gradient_at_zero_is_pytorchs(function, at_zero):
    assert gradient(function, leaf([0.0, -0.0])) == [at_zero, at_zero]


def test_relu_of_integers_stays_integer_and_of_nan_stays_nan():
    assert F.relu(tg.tensor([-1, 2])).dtype == np.int64 and F.relu(tg.tensor([-1, 2])).tolist() == [0, 2]
    assert np.isnan(F.relu(np.array([math.nan]))).all()
    assert F.relu(np.array([-math.inf, math.inf])).tolist() == [0.0, math.inf]


def test_an_infinite_gradient_does_not_pass_where_relu_is_flat():
    x = leaf([-1.0, 1.0])
    assert tg.grad(F.relu(x), x, np.array([math.inf, math.inf])).tolist() == [0.0, math.inf]
    assert tg.grad(F.leaky_relu(x, 0.0), x, np.array([1.0, math.nan])).tolist()[0] == 0.0


def test_piecewise_linear_functions_have_no_second_derivative():
    for function in (F.relu, F.leaky_relu):
        x = leaf([-1.0, 0.0, 2.0])
        slope = tg.grad(function(x).sum(), x, create_graph=True)
        assert not slope.requires_grad or tg.grad(slope.sum(), x, allow_unused=True) is None


@given(ARRAYS)
def test_what_the_function_of_x_and_of_minus_x_add_up_to(x):
    for function in (F.relu, F.silu, F.gelu, F.softplus, lambda x: F.gelu(x, "tanh")):
        np.testing.assert_allclose(function(x) - function(-x), x, atol=1e-8 if function is F.softplus else 1e-13)
    np.testing.assert_allclose(F.sigmoid(x) + F.sigmoid(-x), np.ones(6), rtol=1e-14)
    np.testing.assert_allclose(F.leaky_relu(x, 0.25), 0.25 * x + 0.75 * F.relu(x), rtol=1e-14)
    np.testing.assert_allclose(F.elu(x, 2.0), F.relu(x) - 2 * F.relu(-F.expm1(np.minimum(x, 0))), rtol=1e-14)
    np.testing.assert_allclose(F.tanh(x), 2 * F.sigmoid(2 * x) - 1, atol=1e-14)


@given(ARRAYS)
def test_softplus_is_the_integral_of_sigmoid(x):
    beta_x = 2.0 * x
    slope = np.array(gradient(lambda x: F.softplus(x, beta=2.0), leaf(x)))
    np.testing.assert_allclose(slope, np.where(beta_x > 20, 1, F.sigmoid(beta_x)), rtol=1e-14)


def test_softplus_is_linear_above_its_threshold_alone():
    x = leaf([0.9, 1.1, 1e4])
    assert F.softplus(x, 1.0, 1.0).tolist()[1:] == [1.1, 1e4] and F.softplus(x, 1.0, 1.0).tolist()[0] > 1.2
    assert gradient(lambda x: F.softplus(x, 1.0, 1.0), x)[1:] == [1.0, 1.0]
    assert F.softplus(np.array([1e4], np.float32), threshold=2e4).tolist() == [1e4]  # no overflow below it either


def test_sigmoid_keeps_its_digits_in_the_left_tail():
    x = leaf([-80.0, -40.0, -20.0], np.float32)
    expected = np.exp(np.array([-80.0, -40.0, -20.0]))
    np.testing.assert_allclose(F.sigmoid(x)._data, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient(F.sigmoid, x), expected, rtol=1e-6)
    np.testing.assert_allclose(F.softplus(x)._data, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_limits(dtype):
    x = leaf([-1e4, 1e4], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for function, values, slopes in (
            (F.sigmoid, [0, 1], [0, 0]),
            (F.silu, [0, 1e4], [0, 1]),
            (F.gelu, [0, 1e4], [0, 1]),
            (lambda x: F.gelu(x, "tanh"), [0, 1e4], [0, 1]),
            (F.softplus, [0, 1e4], [0, 1]),
            (F.elu, [-1, 1e4], [0, 1]),
            (F.relu, [0, 1e4], [0, 1]),
        ):
            assert np.abs(function(x)._data).tolist() == np.abs(values).tolist()
            assert gradient(function, x) == slopes


def test_integers_give_the_default_floating_dtype():
    for function in (F.sigmoid, F.silu, F.gelu, F.softplus, F.elu, F.leaky_relu):
        assert function(tg.tensor([-1, 0, 2])).dtype == np.float32
