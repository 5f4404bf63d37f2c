"""Softmax, its logarithm and logsumexp on extreme and masked entries, and the laws that they obey."""

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

INF = math.inf
MATRICES = hnp.arrays(np.float64, (3, 4), elements=st.floats(-50, 50))
EXTREME = hnp.arrays(np.float32, (3, 4), elements=st.sampled_from([-1e4, -100.0, 0.0, 100.0, 1e4]))


def leaf(values, dtype=np.float64):
    return tg.tensor(np.array(values, dtype), requires_grad=True)


@given(MATRICES, st.floats(-1e3, 1e3))
def test_laws(x, shift):
    p = F.softmax(x)
    np.testing.assert_allclose(F.sum(p, -1), np.ones(3), rtol=1e-14)
    np.testing.assert_allclose(F.softmax(x + shift), p, atol=1e-12)
    np.testing.assert_allclose(F.exp(F.log_softmax(x)), p, rtol=1e-12)
    np.testing.assert_allclose(F.softmax(x, 0), F.softmax(x.T, 1).T, rtol=1e-15)
    np.testing.assert_allclose(F.logsumexp(x + shift), F.logsumexp(x) + shift, atol=1e-11)
    np.testing.assert_allclose(F.log_softmax(x), x - F.logsumexp(x, keepdims=True), atol=1e-13)
    np.testing.assert_allclose(F.logsumexp(F.logsumexp(x)[None]), np.array([F.logsumexp(x, None)]), atol=1e-12)
    np.testing.assert_allclose(F.logsumexp(np.stack([x, 0 * x])[:, 0], 0), F.softplus(x[0], threshold=800), atol=1e-12)


@given(EXTREME)
def test_extreme_entries_are_silent_and_exact(x):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for function in (F.softmax, F.log_softmax, F.logsumexp):
            t = tg.tensor(x, requires_grad=True)
            y = function(t)
            y.backward(np.ones(y.shape, np.float32))
            assert y.dtype == t.grad.dtype == np.float32
            assert np.isfinite(y._data).all() and np.isfinite(t.grad._data).all()
        np.testing.assert_allclose(F.sum(F.softmax(x), -1), np.ones(3), rtol=1e-6)
        assert (F.logsumexp(x) >= x.max(-1)).all()


def test_the_gradient_of_a_softmax_adds_up_to_zero():
    x = leaf(np.random.default_rng(0).normal(size=(3, 5)))
    weights = np.random.default_rng(1).normal(size=(3, 5))
    for function, total in ((F.softmax, 0.0), (F.log_softmax, 0.0), (F.logsumexp, 1.0)):
        g = tg.grad(function(x), x, weights if total == 0 else np.ones(3))
        np.testing.assert_allclose(g.numpy().sum(-1), np.full(3, total), atol=1e-13)


def test_masked_entries_get_no_weight_and_no_gradient():
    values = [[1.0, -INF, 2.0], [-INF, -INF, 0.5]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = leaf(values)
        p = F.softmax(x)
        assert p.tolist() == [pytest.approx([1 / (1 + math.e), 0, math.e / (1 + math.e)]), [0, 0, 1]]
        g = tg.grad(p, x, np.array([[1.0, 5.0, 2.0], [1.0, 2.0, 3.0]]), create_graph=True)
        assert np.isfinite(g._data).all() and g._data[0, 1] == 0 and g._data[1].tolist() == [0, 0, 0]
        assert np.isfinite(tg.grad(g.sum(), x)._data).all()
        logs = F.log_softmax(x)
        assert logs.tolist()[1] == [-INF, -INF, 0.0]
        assert tg.grad(logs, x, np.array([[1.0, 0, 0], [0, 0, 1.0]])).tolist()[1] == [0, 0, 0]
        assert F.logsumexp(x).tolist() == pytest.approx([math.log(math.e + math.e**2), 0.5])


def test_lines_where_everything_is_masked():
    x = leaf([[-INF, -INF], [0.0, -INF]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = F.logsumexp(x)
        assert y.tolist() == [-INF, 0.0]
        assert tg.grad(y, x, np.ones(2)).tolist() == [[0, 0], [1, 0]]
    with np.errstate(invalid="ignore"):
        assert np.isnan(F.softmax(x)._data).tolist() == [[True, True], [False, False]]
        assert np.isnan(F.log_softmax(x)._data[0]).all()
        assert F.logsumexp(leaf([INF, 0.0])).item() == INF


def test_integers_and_single_entries():
    assert F.softmax(tg.tensor([1, 2])).dtype == np.float32
    x = leaf([[3.0], [-2.0]])
    assert F.softmax(x).tolist() == [[1], [1]] and F.log_softmax(x).tolist() == [[0], [0]]
    assert F.logsumexp(x).tolist() == [3, -2] and F.logsumexp(np.array(1.5), None) == 1.5


def test_logsumexp_of_infinite_entries_agrees_with_pytorch():
    """But for the gradient where all are -∞, which is 0 here and NaN there."""
    torch = pytest.importorskip("torch")
    values = [[-INF, -INF, -INF], [-INF, 0.0, 1.0], [INF, 0.0, 1.0]]
    x, t = leaf(values), torch.tensor(values, dtype=torch.float64, requires_grad=True)
    with np.errstate(all="ignore"):
        y, expected = F.logsumexp(x), torch.logsumexp(t, -1)
        y.sum().backward()
    expected.sum().backward()
    np.testing.assert_allclose(y._data, expected.detach().numpy())
    np.testing.assert_allclose(x.grad._data[1:], t.grad.numpy()[1:])
    assert x.grad.tolist()[0] == [0, 0, 0]
