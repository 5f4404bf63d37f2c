"""Straight-through operations: edges of their ranges, and laws that their values obey."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_hw as tg
from tinygrad_hw import functional as F

ENTRIES = st.floats(-100, 100, width=32, allow_subnormal=False)
ARRAYS = hnp.arrays(np.float64, hnp.array_shapes(min_dims=1, max_dims=3, max_side=6), elements=ENTRIES)


def value_and_gradient(function, x, *args, **kwargs):
    x = tg.tensor(x, requires_grad=True)
    y = function(x, *args, **kwargs)
    y.backward(np.full(y.shape, 2.0))
    return y.detach().numpy(), x.grad.numpy()


def test_sign_has_two_values_and_passes_the_gradient_within_one():
    x = np.array([-1.5, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 1.5])
    y, gradient = value_and_gradient(F.ste_sign, x)
    assert y.tolist() == [-1, -1, -1, 1, 1, 1, 1, 1]
    assert gradient.tolist() == [0, 2, 2, 2, 2, 2, 2, 0]


def test_round_takes_halves_to_even_and_passes_the_gradient():
    y, gradient = value_and_gradient(F.ste_round, np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.4, 1e4]))
    assert y.tolist() == [-2, -2, 0, 0, 2, 2, 1e4]
    assert (gradient == 2).all()


def test_clip_passes_the_gradient_out_of_range_where_the_plain_one_does_not():
    y, gradient = value_and_gradient(F.ste_clip, np.array([-3.0, 0.5, 3.0]))
    assert y.tolist() == [-1, 0.5, 1] and gradient.tolist() == [2, 2, 2]
    y, gradient = value_and_gradient(F.ste_clip, np.array([-3.0, 0.5, 3.0]), 0, 2)
    assert y.tolist() == [0, 0.5, 2] and gradient.tolist() == [2, 2, 2]


def test_quantize_at_its_limits():
    x = np.array([-0.1, 0.0, 0.49, 0.51, 1.0, 1.1])
    y, gradient = value_and_gradient(F.quantize, x, 1)
    assert y.tolist() == [0, 0, 0, 1, 1, 1] and gradient.tolist() == [0, 2, 2, 2, 2, 0]
    y, gradient = value_and_gradient(F.quantize, np.array([-3.0, -1.1, 0.2, 3.0]), 2, None)
    np.testing.assert_allclose(y, [-3, -1, 1, 3], rtol=1e-15)
    assert (gradient == 2).all()
    y, gradient = value_and_gradient(F.quantize, np.zeros(4), 3, None)
    assert not y.any() and (gradient == 2).all()


@given(x=ARRAYS, bits=st.integers(1, 10), symmetric=st.booleans())
def test_quantize_gives_few_values_near_by_and_once_is_enough(x, bits, symmetric):
    limits = None if symmetric else (-30.0, 70.0)
    low, high = (-np.abs(x).max(), np.abs(x).max()) if symmetric else limits
    y = F.quantize(x, bits, limits)
    step = (high - low) / (2**bits - 1)
    levels = (y - low) / step if step else y
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-6)
    assert y.min() >= low - 1e-9 * step and y.max() <= high + 1e-9 * step
    assert (np.abs(y - np.clip(x, low, high)) <= step * (0.5 + 1e-6)).all()
    np.testing.assert_allclose(F.quantize(y, bits, limits), y, atol=1e-9 * (step or 1))


@given(w=ARRAYS)
def test_binary_and_ternary_weights_are_the_nearest_of_their_pattern(w):
    """The remainder is orthogonal to the result: no other scale brings it nearer (Rastegari et al. 2016, eq. 4)."""
    for function, count in ((F.binarize, 2), (F.ternarize, 3)):
        y = function(w)
        assert len(np.unique(y)) <= count and y.shape == w.shape
        np.testing.assert_allclose(((w - y) * y).sum(), 0, atol=1e-9 * (w * w).sum())


def test_ternary_weights_of_the_paper():
    w = np.array([1.0, -2.0, 0.1, 0.0, 0.9])  # mean|w| = 0.8, threshold 0.56
    y, gradient = value_and_gradient(F.ternarize, w)
    np.testing.assert_allclose(y, np.array([1, -1, 0, 0, 1]) * 1.3, rtol=1e-15)
    assert (gradient == 2).all()


@pytest.mark.parametrize("function", [F.binarize, F.ternarize])
def test_one_scale_for_each_line_or_several_axes(function):
    w = np.random.default_rng(0).normal(size=(3, 4, 5))
    np.testing.assert_allclose(function(w, axis=(1, 2)), np.stack([function(part) for part in w]), rtol=1e-15)
    expected = np.stack([[function(line) for line in part] for part in w])
    np.testing.assert_allclose(function(w, axis=-1), expected, rtol=1e-15)
    assert function(np.zeros((0, 3))).shape == (0, 3) and function(np.zeros((3, 0)), axis=1).shape == (3, 0)


@pytest.mark.parametrize("function", [F.ste_sign, F.ste_round, F.ste_clip, F.binarize, F.ternarize])
def test_the_second_derivative_is_zero(function):
    x = tg.tensor(np.array([0.3, -0.6, 2.0]), requires_grad=True)
    (gradient,) = tg.grad((function(x) * x).sum(), [x], create_graph=True)
    assert gradient.requires_grad
    _, product = tg.hvp(lambda t: (function(t) * np.array([1.0, 2.0, 3.0])).sum(), x, np.ones(3))
    assert not product.numpy().any()
