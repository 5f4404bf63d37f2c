"""Recurrent layers and their backpropagation through time by hand, on plain arrays: one sequence after another.

A sequence of valid entries x_1 ... x_L goes through one cell, h_t = cell(x_t, h_(t-1)). With C the number to be
differentiated and g_t its direct gradient by the output h_t, the whole gradient by h_t is g_t plus what step t + 1
hands back (Werbos 1990, "Backpropagation through time: what it does and how to do it", Proc. IEEE 78). Each step's
slopes are those of its cell alone; each weight's gradient is the sum of its steps'.

Cells, with s the logistic function, a = W x + b, u = U h + d; gates in PyTorch's order:

    RNN   h' = phi(a + u)
    LSTM  (i, f, g, o) = (s, s, tanh, s)(a + u), c' = f c + i g, h' = o tanh(c')
    GRU   r, z = s(a + u), n = tanh(a_n + r u_n), h' = (1 - z) n + z h

Values accept complex input. ``g`` is the gradient of the value, a tuple where that is one; every ``hand_`` function
returns one gradient for each floating array argument, in order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reference.elementwise import Gradients
from tinygrad_hw.backend import Array, array_module

States = tuple[Array, ...]
Weights = tuple[Any, ...]  # W, U, and b, d or None
Slopes = tuple[Array, Array]  # of a and of u
Step = Callable[..., tuple[States, Any]]  # the next states, and what the way back needs
StepBack = Callable[[States, Any], tuple[Slopes, States]]  # slopes, and the gradients of the states before


def _parts(x: Array, count: int) -> list[Array]:
    size = x.shape[-1] // count
    return [x[..., k * size : (k + 1) * size] for k in range(count)]


def _logistic(a: Array) -> Array:
    return 1 / (1 + array_module(a).exp(-a))


def _sums(x: Array, h: Array, weights: Weights) -> tuple[Array, Array]:
    w, u, b, d = weights
    one, other = x @ w.T, h @ u.T
    return one if b is None else one + b, other if d is None else other + d


def _rnn_step(x: Array, states: States, weights: Weights, relu: bool = False) -> tuple[States, Any]:
    a, u = _sums(x, states[0], weights)
    xp = array_module(a)
    new = xp.where((a + u).real > 0, a + u, 0) if relu else xp.tanh(a + u)
    return (new,), (new, weights, relu)


def _rnn_back(g: States, kept: Any) -> tuple[Slopes, States]:
    """d tanh = 1 - tanh^2; of the rectifier 1 where the output is above 0."""
    new, weights, relu = kept
    slope = g[0] * (new > 0) if relu else g[0] * (1 - new**2)
    return (slope, slope), (slope @ weights[1],)


def _lstm_step(x: Array, states: States, weights: Weights) -> tuple[States, Any]:
    h, c = states
    a, u = _sums(x, h, weights)
    xp = array_module(a)
    i, f, g, o = _parts(a + u, 4)
    i, f, g, o = _logistic(i), _logistic(f), xp.tanh(g), _logistic(o)
    new = f * c + i * g
    return (o * xp.tanh(new), new), (i, f, g, o, c, xp.tanh(new), weights)


def _lstm_back(gradients: States, kept: Any) -> tuple[Slopes, States]:
    """dh' = tanh(c') do + o (1 - tanh^2 c') dc', dc' = c df + f dc + g di + i dg; ds = s (1 - s)."""
    i, f, g, o, c, level, weights = kept
    gh, gc = gradients
    gc = gc + gh * o * (1 - level**2)
    each = gc * g * i * (1 - i), gc * c * f * (1 - f), gc * i * (1 - g**2), gh * level * o * (1 - o)
    slope = array_module(gh).concatenate(each, axis=-1)
    return (slope, slope), (slope @ weights[1], gc * f)


def _gru_step(x: Array, states: States, weights: Weights) -> tuple[States, Any]:
    h = states[0]
    (a_r, a_z, a_n), (u_r, u_z, u_n) = (_parts(each, 3) for each in _sums(x, h, weights))
    r, z = _logistic(a_r + u_r), _logistic(a_z + u_z)
    n = array_module(h).tanh(a_n + r * u_n)
    return ((1 - z) * n + z * h,), (r, z, n, u_n, h, weights)


def _gru_back(gradients: States, kept: Any) -> tuple[Slopes, States]:
    """dh' = (h - n) dz + (1 - z) dn + z dh, dn = (1 - n^2)(da_n + u_n dr + r du_n); ds = s (1 - s)."""
    r, z, n, u_n, h, weights = kept
    (g,) = gradients
    slope_z = g * (h - n) * z * (1 - z)
    slope_n = g * (1 - z) * (1 - n**2)
    slope_r = slope_n * u_n * r * (1 - r)
    join = array_module(g).concatenate
    slope_a, slope_u = join((slope_r, slope_z, slope_n), axis=-1), join((slope_r, slope_z, slope_n * r), axis=-1)
    return (slope_a, slope_u), (slope_u @ weights[1] + g * z,)


# ----------------------------------------------------------------------------------------------------------- sequences


def _order(length: int, reverse: bool) -> list[int]:
    return list(range(length))[:: -1 if reverse else 1]


def _lengths(x: Array, lengths: Any) -> list[int]:
    return [len(x)] * x.shape[1] if lengths is None else [int(length) for length in lengths]


def _zeros_for(x: Array, states: Any, weights: Weights, count: int) -> States:
    """The initial states (B, H) of all sequences: those given, or zeros."""
    if states is None:
        return (array_module(x).zeros((x.shape[1], weights[1].shape[1]), x.dtype),) * count
    return states if isinstance(states, tuple) else (states,)


def _run(
    step: Step, x: Array, states: States, weights: Weights, lengths: Any, reverse: bool
) -> tuple[Array, States, list[list[Any]]]:
    """The output (T, B, H), the final states (B, H), and what each step of each sequence kept."""
    xp, kept = array_module(x), list[list[Any]]()
    dtype = xp.result_type(*(a for a in (x, *states, *weights) if a is not None))
    y = xp.zeros((*x.shape[:2], weights[1].shape[1]), dtype)
    finals = tuple(xp.array(state, dtype) for state in states)
    for b, length in enumerate(_lengths(x, lengths)):
        now: States = tuple(state[b : b + 1] for state in states)
        kept.append([])
        for t in _order(length, reverse):
            now, found = step(x[t, b : b + 1], now, weights)
            y[t, b] = now[0][0]
            kept[b].append(found)
        for final, each in zip(finals, now, strict=True):
            final[b] = each[0]
    return y, finals, kept


def _run_back(
    step: Step, back: StepBack, g: Any, x: Array, given: Any, weights: Weights, lengths: Any, reverse: bool
) -> Gradients:
    count = len(g) - 1
    states = _zeros_for(x, given, weights, count)
    xp, (_, _, kept) = array_module(x), _run(step, x, states, weights, lengths, reverse)
    g_x, g_states = xp.zeros_like(x), tuple(xp.zeros_like(state) for state in states)
    g_weights = [None if weight is None else xp.zeros_like(weight) for weight in weights]
    for b, length in enumerate(_lengths(x, lengths)):
        now: States = tuple(each[b : b + 1] for each in g[1:])
        order = _order(length, reverse)
        for place in range(length - 1, -1, -1):
            t = order[place]
            before = order[place - 1] if place else None
            found = kept[b][place]
            (slope_a, slope_u), now = back((now[0] + g[0][t, b : b + 1], *now[1:]), found)
            h = states[0][b : b + 1] if before is None else _output(kept[b][place - 1])
            g_x[t, b] = (slope_a @ weights[0])[0]
            for total, part in zip(
                g_weights, (slope_a.T @ x[t, b : b + 1], slope_u.T @ h, slope_a[0], slope_u[0]), strict=True
            ):
                if total is not None:
                    total += part
        for total, part in zip(g_states, now, strict=True):
            total[b] = part[0]
    return (g_x, *(g_states if given is not None else ()), *(each for each in g_weights if each is not None))


def _output(kept: Any) -> Array:
    """The state that a step made, from what it kept."""
    if len(kept) == 3:
        return kept[0]
    if len(kept) == 7:
        return kept[3] * kept[5]
    _, z, n, _, h, _ = kept
    return (1 - z) * n + z * h


def rnn(
    x: Array, h: Any, w: Array, u: Array, b: Any = None, d: Any = None, lengths: Any = None, reverse: bool = False,
    nonlinearity: str = "tanh",
) -> tuple[Array, ...]:  # fmt: skip
    """The output (T, B, H), zero beyond the lengths, and the final state (B, H)."""
    step = lambda x, states, weights: _rnn_step(x, states, weights, nonlinearity == "relu")
    y, finals, _ = _run(step, x, _zeros_for(x, h, (w, u), 1), (w, u, b, d), lengths, reverse)
    return y, *finals


def hand_rnn(
    g: Any, x: Array, h: Any, w: Array, u: Array, b: Any = None, d: Any = None, lengths: Any = None,
    reverse: bool = False, nonlinearity: str = "tanh",
) -> Gradients:  # fmt: skip
    """Backpropagation through time; the slope of a step is that of phi."""
    step = lambda x, states, weights: _rnn_step(x, states, weights, nonlinearity == "relu")
    return _run_back(step, _rnn_back, g, x, h, (w, u, b, d), lengths, reverse)


def lstm(
    x: Array, states: Any, w: Array, u: Array, b: Any = None, d: Any = None, lengths: Any = None, reverse: bool = False
) -> tuple[Array, ...]:
    """The output (T, B, H), zero beyond the lengths, and the final h and c, each (B, H)."""
    y, finals, _ = _run(_lstm_step, x, _zeros_for(x, states, (w, u), 2), (w, u, b, d), lengths, reverse)
    return y, *finals


def hand_lstm(
    g: Any, x: Array, states: Any, w: Array, u: Array, b: Any = None, d: Any = None, lengths: Any = None,
    reverse: bool = False,
) -> Gradients:  # fmt: skip
    """Backpropagation through time; h and c both hand gradients back."""
    return _run_back(_lstm_step, _lstm_back, g, x, states, (w, u, b, d), lengths, reverse)


def gru(
    x: Array, h: Any, w: Array, u: Array, b: Any = None, d: Any = None, lengths: Any = None, reverse: bool = False
) -> tuple[Array, ...]:
    """The output (T, B, H), zero beyond the lengths, and the final state (B, H)."""
    y, finals, _ = _run(_gru_step, x, _zeros_for(x, h, (w, u), 1), (w, u, b, d), lengths, reverse)
    return y, *finals


def hand_gru(
    g: Any, x: Array, h: Any, w: Array, u: Array, b: Any = None, d: Any = None, lengths: Any = None,
    reverse: bool = False,
) -> Gradients:  # fmt: skip
    """Backpropagation through time; a and u have slopes of their own, for r stands between them."""
    return _run_back(_gru_step, _gru_back, g, x, h, (w, u, b, d), lengths, reverse)


# ----------------------------------------------------------------------------------------------------------- one step


def _cell_back(slopes: Slopes, before: States, x: Array, h: Array, weights: Weights) -> Gradients:
    w, _, b, d = weights
    rows_a, rows_u = (slope.reshape(-1, slope.shape[-1]) for slope in slopes)
    by_weights = [rows_a.T @ x.reshape(-1, x.shape[-1]), rows_u.T @ h.reshape(-1, h.shape[-1])]
    by_biases = [rows.sum(axis=0) for rows, bias in ((rows_a, b), (rows_u, d)) if bias is not None]
    return (slopes[0] @ w, *before, *by_weights, *by_biases)


def rnn_cell(x: Array, h: Array, w: Array, u: Array, b: Any = None, d: Any = None, nonlinearity: str = "tanh") -> Array:
    """phi(a + u)."""
    return _rnn_step(x, (h,), (w, u, b, d), nonlinearity == "relu")[0][0]


def hand_rnn_cell(
    g: Array, x: Array, h: Array, w: Array, u: Array, b: Any = None, d: Any = None, nonlinearity: str = "tanh"
) -> Gradients:
    """One step of :func:`hand_rnn`."""
    weights = (w, u, b, d)
    _, kept = _rnn_step(x, (h,), weights, nonlinearity == "relu")
    return _cell_back(*_rnn_back((g,), kept), x, h, weights)


def lstm_cell(x: Array, states: States, w: Array, u: Array, b: Any = None, d: Any = None) -> States:
    """(h', c')."""
    return _lstm_step(x, states, (w, u, b, d))[0]


def hand_lstm_cell(g: Any, x: Array, states: States, w: Array, u: Array, b: Any = None, d: Any = None) -> Gradients:
    """One step of :func:`hand_lstm`."""
    weights = (w, u, b, d)
    _, kept = _lstm_step(x, states, weights)
    return _cell_back(*_lstm_back(g, kept), x, states[0], weights)


def gru_cell(x: Array, h: Array, w: Array, u: Array, b: Any = None, d: Any = None) -> Array:
    """(1 - z) n + z h."""
    return _gru_step(x, (h,), (w, u, b, d))[0][0]


def hand_gru_cell(g: Array, x: Array, h: Array, w: Array, u: Array, b: Any = None, d: Any = None) -> Gradients:
    """One step of :func:`hand_gru`."""
    weights = (w, u, b, d)
    _, kept = _gru_step(x, (h,), weights)
    return _cell_back(*_gru_back((g,), kept), x, h, weights)
