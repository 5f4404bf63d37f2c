"""The compiled recurrences against the generic ones, and both within a layer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_hw as tg
from tinygrad_hw import functional as F
from tinygrad_hw import nn
from tinygrad_hw.functional.packing import Packing
from tinygrad_hw.kernels import cpu_module, recurrence
from tinygrad_hw.random import Stream

pytestmark = pytest.mark.skipif(cpu_module("products") is None, reason="needs Numba and a processor with AVX-512")


@pytest.fixture(autouse=True)
def however_small(monkeypatch):
    monkeypatch.setattr(recurrence, "_LEAST", 1)


def outcomes(function, *args):
    """What it returns and what it leaves in its arguments: compiled, then generic."""
    found = []
    for compiled in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            chosen = []
            original = recurrence._kernels

            def choose(*given, compiled=compiled, original=original, chosen=chosen):
                chosen.append(original(*given) if compiled else None)
                return chosen[-1]

            patch.setattr(recurrence, "_kernels", choose)
            own = [arg.copy() if isinstance(arg, np.ndarray) else arg for arg in args]
            result = function(*own)
            assert len(chosen) == 1 and (chosen[0] is not None) == compiled
        arrays = [arg for arg in own if isinstance(arg, np.ndarray)]
        found.append([*arrays, *(result if isinstance(result, tuple) else () if result is None else (result,))])
    return found


def compare(function, *args):
    for compiled, generic in zip(*outcomes(function, *args), strict=True):
        assert np.isfinite(generic).all()
        np.testing.assert_allclose(compiled, generic, rtol=1e-4, atol=1e-5 * np.abs(generic).max(initial=1e-6))


@st.composite
def packings(draw):
    steps, batch = draw(st.integers(1, 6)), draw(st.integers(1, 20))
    lengths = draw(st.none() | st.lists(st.integers(0, steps), min_size=batch, max_size=batch).filter(any))
    return Packing(steps, batch, None if lengths is None else tuple(lengths), False)


def numbers(seed):
    rng = np.random.default_rng(seed)
    return lambda *shape: rng.normal(size=shape).astype(np.float32)


SIZES = st.sampled_from([1, 7, 16, 63, 64, 65, 100, 130])


@settings(max_examples=30)
@given(pack=packings(), size=SIZES, relu=st.booleans(), seed=st.integers(0, 9))
def test_rnn(pack, size, relu, seed):
    draw, batch = numbers(seed), pack.size[1]
    weight, states = draw(size, size) / np.float32(size**0.5), draw(batch + pack.rows, size)
    compare(recurrence.rnn, states, weight, pack.counts, relu)
    compare(recurrence.rnn_backward, states, weight, draw(pack.rows, size), draw(batch, size), pack.counts, relu)


@settings(max_examples=30)
@given(pack=packings(), size=SIZES, seed=st.integers(0, 9))
def test_lstm(pack, size, seed):
    draw, batch = numbers(seed), pack.size[1]
    weight, gates = draw(4 * size, size) / np.float32(size**0.5), draw(pack.rows, 4 * size)
    states, cells, grad = draw(batch + pack.rows, size), draw(batch + pack.rows, size), draw(pack.rows, size)
    compare(recurrence.lstm, 5 * gates, weight, states, cells, pack.counts)
    opened = 1 / (1 + np.exp(-gates))
    ends = draw(batch, size), draw(batch, size)
    compare(recurrence.lstm_backward, opened, weight, cells, grad, *ends, pack.counts)


@settings(max_examples=30)
@given(pack=packings(), size=SIZES, biased=st.booleans(), seed=st.integers(0, 9))
def test_gru(pack, size, biased, seed):
    draw, batch = numbers(seed), pack.size[1]
    weight, gates = draw(3 * size, size) / np.float32(size**0.5), draw(pack.rows, 3 * size)
    states, inner, grad = draw(batch + pack.rows, size), draw(pack.rows, size), draw(pack.rows, size)
    compare(recurrence.gru, 5 * gates, weight, draw(size) if biased else None, states, pack.counts)
    opened = 1 / (1 + np.exp(-gates))
    compare(recurrence.gru_backward, opened, inner, weight, states, grad, draw(batch, size), pack.counts)


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-20, 1e-3, 0.6249, 0.6251, 3.0, 9.0, 100.0, 1e4, 1e30, np.inf])
def test_gates_are_right_to_the_last_places_near_and_far(value):
    """Through a state without weights: h' = tanh(a), and an LSTM's gates."""
    nothing = np.zeros((1, 1), np.float32)
    for sign in (1, -1):
        states = np.array([[0.0], [sign * value]], np.float32)
        recurrence.rnn(states, nothing, (1,), False)
        np.testing.assert_allclose(states[1], np.tanh(sign * value), rtol=3e-7, atol=0)
        gates = np.full((1, 4), sign * value, np.float32)
        recurrence.lstm(gates, np.zeros((4, 1), np.float32), *(np.zeros((2, 1), np.float32) for _ in "hc"), (1,))
        with np.errstate(over="ignore"):
            expected = 1 / (1 + np.exp(np.float64(-sign * value)))
        np.testing.assert_allclose(gates[0, [0, 1, 3]], expected, rtol=5e-7, atol=1e-38)


def test_nan_stays_where_it_is():
    states = np.zeros((6, 3), np.float32)
    states[2, 1] = np.nan
    recurrence.rnn(states, np.zeros((3, 3), np.float32), (2, 2), False)
    assert np.isnan(states[2]).tolist() == [False, True, False] and not np.isnan(states[[0, 1, 3, 5]]).any()
    gates = np.full((1, 9), np.nan, np.float32)
    states = np.zeros((2, 3), np.float32)
    recurrence.gru(gates, np.zeros((9, 3), np.float32), None, states, (1,))
    assert np.isnan(states[1]).all()


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_layer_gives_the_same_values_and_gradients_either_way(kind):
    x = np.random.default_rng(0).normal(size=(5, 7, 20)).astype(np.float32)
    found = []
    for least in (1, 2**60):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(recurrence, "_LEAST", least)
            layer = getattr(nn, kind)(20, 70, 2, bidirectional=True, batch_first=True, stream=Stream(0, "init"))
            leaf = tg.Tensor(x, requires_grad=True)
            output, _ = layer(leaf, lengths=[7, 0, 3, 5, 5])
            (output * output).sum().backward()
            found.append([output.detach().numpy(), leaf.grad.numpy(), *(p.grad.numpy() for p in layer.parameters())])
    for a, e in zip(*found, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-5 * np.abs(e).max())


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_gradients_lie_where_the_optimiser_wants_them(kind):
    layer = getattr(nn, kind)(20, 70, stream=Stream(0, "init"))
    x = tg.Tensor(np.random.default_rng(0).normal(size=(5, 7, 20)).astype(np.float32))

    def gradients():
        (layer(x)[0].sum() + layer(x)[0].mean()).backward()  # the layer twice: the second one's are added
        return [p.grad.numpy().copy() for p in layer.parameters()]

    apart = gradients()
    optimizer = tg.optim.SGD(layer.parameters(), 0.0)
    optimizer.zero_grad()
    for a, e in zip(gradients(), apart, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-5)


def test_a_gradient_that_is_broadcast_is_as_good_as_any():
    layer, x = nn.GRU(20, 70, stream=Stream(0, "init")), tg.Tensor(np.ones((5, 7, 20), np.float32))
    found = []
    for grad in (np.ones((5, 7, 70), np.float32), np.broadcast_to(np.float32(1), (5, 7, 70))):
        layer.zero_grad()
        layer(x)[0].backward(grad)
        found.append(layer.weight_hh_l0.grad.numpy().copy())
    np.testing.assert_array_equal(*found)


def test_other_dtypes_take_the_generic_path():
    x = np.random.default_rng(0).normal(size=(4, 3, 5))
    for dtype, digits in ((np.float64, 1e-12), (np.float16, 1e-2)):
        layer = nn.LSTM(5, 6, dtype=np.float64, stream=Stream(0, "init"))
        expected, _ = layer(tg.Tensor(x))
        weights = [p.data.astype(dtype) for p in layer.parameters()]
        output, _, _ = F.lstm(x.astype(dtype), None, *weights)
        assert output.dtype == dtype
        np.testing.assert_allclose(output, expected.detach().numpy(), atol=digits)
