"""Recurrences on plain arrays: what is left of a recurrent layer once the input's part of all steps is one product.

Rows are packed: those of one step lie together, ``counts[t]`` of them, never more than at the step before, and row p of
a step follows row p of that one (see :class:`tinygrad_hw.functional.packing.Packing`). States and cells are
(B + N, H), the B initial ones first, and filled in here. Backward, ``dh`` and ``dc`` (B, H) are given as the gradients
of the final states and become those of the initial ones.

The logistic function is σ(a) = ½ tanh(½ a) + ½ here: one transcendental function for all gates, and no overflow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_hw.backend import Array, array_module
from tinygrad_hw.kernels import cpu_module, product

Counts = tuple[int, ...]

_LEAST = 2**20  # multiply-adds with the state: below, loading Numba and laying out weights takes longer than it saves


def _kernels(counts: Counts, weight: Array, *others: Any) -> Any:
    """The compiled forms, see :mod:`tinygrad_hw.kernels.cpu_recurrence`; None where they cannot take these arrays."""
    if type(weight) is not np.ndarray or sum(counts) * weight.size < _LEAST or cpu_module("products") is None:
        return None
    for array in (weight, *others):
        if array is not None and not (type(array) is np.ndarray and array.dtype == np.float32):
            return None
        if array is not None and not array.flags.c_contiguous:
            return None
    return cpu_module("cpu_recurrence")


def _steps(counts: Counts, batch: int) -> Iterator[tuple[slice, slice]]:
    """Of each step: its rows, and the rows of states that it follows."""
    before = start = 0
    for count in counts:
        yield slice(start, start + count), slice(before, before + count)
        before, start = batch + start, start + count


def _backwards(counts: Counts, batch: int) -> Iterator[tuple[slice, slice]]:
    return reversed(list(_steps(counts, batch)))


def _logistic(a: Array) -> None:
    """σ in place."""
    a *= 0.5
    array_module(a).tanh(a, out=a)
    a *= 0.5
    a += 0.5


def rnn(states: Array, weight: Array, counts: Counts, relu: bool) -> None:
    """h' = φ(a + W h), φ = tanh or max(·, 0); ``states`` hold a where h' is to be."""
    compiled = _kernels(counts, weight, states)
    if compiled is not None:
        compiled.rnn(states, weight, counts, relu)
        return
    xp, batch = array_module(states), len(states) - sum(counts)
    room = xp.empty((max(counts, default=0), states.shape[1]), states.dtype)
    for rows, before in _steps(counts, batch):
        h = states[batch + rows.start : batch + rows.stop]
        h += product(states[before], weight.T, room[: len(h)])
        if relu:
            xp.maximum(h, 0, out=h)
        else:
            xp.tanh(h, out=h)


def rnn_backward(states: Array, weight: Array, grad: Array, dh: Array, counts: Counts, relu: bool) -> Array:
    """ā = h̄' φ'(a), h̄ = Wᵀ ā; φ' is 1 - h'² or [h' > 0]. Returns ā (N, H)."""
    compiled = _kernels(counts, weight, states, grad, dh)
    if compiled is not None:
        return compiled.rnn_backward(states, weight, grad, dh, counts, relu)
    batch = len(dh)
    slopes = array_module(grad).empty_like(grad)
    for rows, _ in _backwards(counts, batch):
        h, slope = states[batch + rows.start : batch + rows.stop], slopes[rows]
        carried = dh[: len(h)]
        carried += grad[rows]
        if relu:
            slope[...] = carried * (h > 0)
        else:
            slope[...] = carried * (1 - h * h)
        product(slope, weight, carried)
    return slopes


def lstm(gates: Array, weight: Array, states: Array, cells: Array, counts: Counts) -> None:
    """c' = f c + i g, h' = o tanh(c'), (i, f, g, o) = (σ, σ, tanh, σ)(a + W h); ``gates`` hold a, then the gates."""
    compiled = _kernels(counts, weight, gates, states, cells)
    if compiled is not None:
        compiled.lstm(gates, weight, states, cells, counts)
        return
    xp, (rows_before, size) = array_module(gates), states.shape
    batch = rows_before - len(gates)
    half = xp.full(4 * size, 0.5, gates.dtype)  # of the logistic gates alone
    half[2 * size : 3 * size] = 1
    shift = 1 - half
    room = xp.empty((max(counts, default=0), 4 * size), gates.dtype)
    for rows, before in _steps(counts, batch):
        a = gates[rows]
        a += product(states[before], weight.T, room[: len(a)])
        a *= half
        xp.tanh(a, out=a)
        a *= half
        a += shift
        i, f, g, o = (a[:, k * size : (k + 1) * size] for k in range(4))
        c, h = (kept[batch + rows.start : batch + rows.stop] for kept in (cells, states))
        xp.multiply(f, cells[before], out=c)
        c += i * g
        xp.tanh(c, out=h)
        h *= o


def lstm_backward(
    gates: Array, weight: Array, cells: Array, grad: Array, dh: Array, dc: Array, counts: Counts
) -> Array:
    """ō = h̄' tanh(c') o (1-o); c̄' += h̄' o (1 - tanh² c'); ī = c̄' g i (1-i), f̄ = c̄' c f (1-f), ḡ = c̄' i (1-g²);
    c̄ = c̄' f; h̄ = Wᵀ ā. Returns ā (N, 4 H)."""
    compiled = _kernels(counts, weight, gates, cells, grad, dh, dc)
    if compiled is not None:
        return compiled.lstm_backward(gates, weight, cells, grad, dh, dc, counts)
    batch, size = dh.shape
    xp, slopes = array_module(gates), array_module(gates).empty_like(gates)
    for rows, before in _backwards(counts, batch):
        a, slope = gates[rows], slopes[rows]
        carried, kept = dh[: len(a)], dc[: len(a)]
        i, f, g, o = (a[:, k * size : (k + 1) * size] for k in range(4))
        by_i, by_f, by_g, by_o = (slope[:, k * size : (k + 1) * size] for k in range(4))
        level = xp.tanh(cells[batch + rows.start : batch + rows.stop])
        carried += grad[rows]
        kept += carried * o * (1 - level * level)
        by_o[...] = carried * level * (o * (1 - o))
        by_i[...] = kept * g * (i * (1 - i))
        by_f[...] = kept * cells[before] * (f * (1 - f))
        by_g[...] = kept * i * (1 - g * g)
        kept *= f
        product(slope, weight, carried)
    return slopes


def gru(gates: Array, weight: Array, bias: Array | None, states: Array, counts: Counts) -> Array:
    """h' = n + z (h - n) with r, z = σ(a + W h), n = tanh(a + r u), u = W h + b; ``gates`` hold a, then (r, z, n).

    ``bias`` (H,) is b. Returns u (N, H).
    """
    compiled = _kernels(counts, weight, gates, bias, states)
    if compiled is not None:
        return compiled.gru(gates, weight, bias, states, counts)
    xp, (rows_before, size) = array_module(gates), states.shape
    batch = rows_before - len(gates)
    inner = xp.empty((len(gates), size), gates.dtype)
    room = xp.empty((max(counts, default=0), 3 * size), gates.dtype)
    for rows, before in _steps(counts, batch):
        a, h, u = gates[rows], states[before], inner[rows]
        found = product(h, weight.T, room[: len(a)])
        if bias is None:
            u[...] = found[:, 2 * size :]
        else:
            xp.add(found[:, 2 * size :], bias, out=u)
        switches, n = a[:, : 2 * size], a[:, 2 * size :]
        switches += found[:, : 2 * size]
        _logistic(switches)
        n += switches[:, :size] * u
        xp.tanh(n, out=n)
        new = states[batch + rows.start : batch + rows.stop]
        xp.subtract(h, n, out=new)
        new *= switches[:, size:]
        new += n
    return inner


def gru_backward(
    gates: Array, inner: Array, weight: Array, states: Array, grad: Array, dh: Array, counts: Counts
) -> tuple[Array, Array]:
    """z̄ = h̄' (h - n) z (1-z), n̄ = h̄' (1-z)(1-n²), r̄ = n̄ u r (1-r), ū = n̄ r; h̄ = h̄' z + Wᵀ (r̄, z̄, ū).

    Returns (r̄, z̄, n̄) and (r̄, z̄, ū), each (N, 3 H): the gradients of the input's part and of W h.
    """
    compiled = _kernels(counts, weight, gates, inner, states, grad, dh)
    if compiled is not None:
        return compiled.gru_backward(gates, inner, weight, states, grad, dh, counts)
    batch, size = dh.shape
    xp = array_module(gates)
    slopes, through = xp.empty_like(gates), xp.empty_like(gates)
    room = xp.empty((max(counts, default=0), size), gates.dtype)
    for rows, before in _backwards(counts, batch):
        carried = dh[: rows.stop - rows.start]
        r, z, n = (gates[rows, k * size : (k + 1) * size] for k in range(3))
        by_r, by_z, by_n = (slopes[rows, k * size : (k + 1) * size] for k in range(3))
        carried += grad[rows]
        by_z[...] = carried * (states[before] - n) * (z * (1 - z))
        by_n[...] = carried * (1 - z) * (1 - n * n)
        by_r[...] = by_n * inner[rows] * (r * (1 - r))
        through[rows, : 2 * size] = slopes[rows, : 2 * size]
        xp.multiply(by_n, r, out=through[rows, 2 * size :])
        carried *= z
        carried += product(through[rows], weight, room[: len(carried)])
    return slopes, through
