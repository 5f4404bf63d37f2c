"""Recurrences of float32 arrays on the CPU, compiled by Numba: each step a job of its own, gates done along with it.

A part of a step is some units of some sequences: the products that these units need, then everything else that is to be
done with them while they are in the first cache. A thread takes much the same units at every step, whose weights stay
in its second cache. Weights are laid out for :func:`tinygrad_hw.kernels.products.tile` once for all steps.

What a step works on is a row of a table of whole numbers: how many parts it has, sizes, and addresses.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from tinygrad_hw.backend import Array
from tinygrad_hw.kernels.loops import array, at
from tinygrad_hw.kernels.passes import exp, transpose
from tinygrad_hw.kernels.pool import compiled, kernel, longs, pool, prepare, run
from tinygrad_hw.kernels.products import COLUMNS, ROWS, tile
from tinygrad_hw.kernels.vectors import BYTES

_SHARED = 2**17  # multiply-adds of a step from which threads are worth waking
_EACH = 2  # parts for each thread, so that one that comes late finds some left

_arrays = [array(types.float32, number) for number in range(13)]
(
    (_get0, _set0), (_get1, _set1), (_get2, _set2), (_get3, _set3), (_get4, _set4), (_get5, _set5), (_get6, _set6),
    (_get7, _set7), (_get8, _set8), (_get9, _set9), (_get10, _set10), (_get11, _set11), (_get12, _set12),
) = _arrays  # fmt: skip

_ONE, _ZERO, _SMALL = np.float32(1), np.float32(0), np.float32(0.625)
_T = tuple(
    map(np.float32, (-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1))
)


@compiled()
def _logistic(x: Any) -> Any:
    return _ONE / (_ONE + exp(-x))


@compiled()
def _tanh(x: Any) -> Any:
    """By a polynomial near 0, else 1 - 2/(e²ˣ + 1), of Moshier's Cephes library (tanhf)."""
    z = x * x
    near = ((((_T[0] * z + _T[1]) * z + _T[2]) * z + _T[3]) * z + _T[4]) * z * x + x
    far = _ONE - (_ONE + _ONE) / (exp(x + x) + _ONE)
    return near if -_SMALL < x < _SMALL else far


# -------------------------------------------------------------------------------------------- the units of one sequence


@compiled()
def _rnn_units(h: int, count: int, relu: int) -> None:
    if relu:
        for u in range(count):
            a = _get0(h, u)
            _set0(h, u, _ZERO if a < 0 else a)
    else:
        for u in range(count):
            _set0(h, u, _tanh(_get0(h, u)))


@compiled()
def _rnn_slopes(h: int, grad: int, dh: int, slopes: int, count: int, relu: int) -> None:
    if relu:
        for u in range(count):
            carried = _get2(dh, u) + _get1(grad, u)
            _set3(slopes, u, carried if _get0(h, u) > 0 else carried * _ZERO)
    else:
        for u in range(count):
            value = _get0(h, u)
            _set3(slopes, u, (_get2(dh, u) + _get1(grad, u)) * (_ONE - value * value))


@compiled()
def _lstm_units(a: int, size: int, before: int, c: int, h: int, count: int) -> None:
    at_f, at_g, at_o = a + BYTES * size, a + 2 * BYTES * size, a + 3 * BYTES * size
    for u in range(count):
        i, f = _logistic(_get0(a, u)), _logistic(_get1(at_f, u))
        g, o = _tanh(_get2(at_g, u)), _logistic(_get3(at_o, u))
        _set0(a, u, i)
        _set1(at_f, u, f)
        _set2(at_g, u, g)
        _set3(at_o, u, o)
        new = f * _get4(before, u) + i * g
        _set5(c, u, new)
        _set6(h, u, o * _tanh(new))


@compiled()
def _lstm_slopes(a: int, slopes: int, size: int, before: int, c: int, grad: int, dh: int, dc: int, count: int) -> None:
    wide = BYTES * size
    for u in range(count):
        i, f, g, o = _get0(a, u), _get1(a + wide, u), _get2(a + 2 * wide, u), _get3(a + 3 * wide, u)
        level, carried = _tanh(_get5(c, u)), _get7(dh, u) + _get6(grad, u)
        kept = _get8(dc, u) + carried * o * (_ONE - level * level)
        _set9(slopes, u, kept * g * (i * (_ONE - i)))
        _set10(slopes + wide, u, kept * _get4(before, u) * (f * (_ONE - f)))
        _set11(slopes + 2 * wide, u, kept * i * (_ONE - g * g))
        _set12(slopes + 3 * wide, u, carried * level * (o * (_ONE - o)))
        _set8(dc, u, kept * f)


@compiled()
def _gru_units(a: int, size: int, inner: int, bias: int, before: int, h: int, count: int) -> None:
    at_z, at_n = a + BYTES * size, a + 2 * BYTES * size
    for u in range(count):
        r, z = _logistic(_get0(a, u)), _logistic(_get1(at_z, u))
        through = _get3(inner, u) + _get4(bias, u)
        n = _tanh(_get2(at_n, u) + r * through)
        _set0(a, u, r)
        _set1(at_z, u, z)
        _set2(at_n, u, n)
        _set3(inner, u, through)
        _set6(h, u, n + z * (_get5(before, u) - n))


@compiled()
def _gru_slopes(
    a: int, slopes: int, through: int, size: int, inner: int, before: int, grad: int, dh: int, count: int
) -> None:
    wide = BYTES * size
    for u in range(count):
        r, z, n = _get0(a, u), _get1(a + wide, u), _get2(a + 2 * wide, u)
        carried = _get6(dh, u) + _get5(grad, u)
        by_z = carried * (_get4(before, u) - n) * (z * (_ONE - z))
        by_n = carried * (_ONE - z) * (_ONE - n * n)
        by_r = by_n * _get3(inner, u) * (r * (_ONE - r))
        _set7(slopes, u, by_r)
        _set8(slopes + wide, u, by_z)
        _set9(slopes + 2 * wide, u, by_n)
        _set10(through, u, by_r)
        _set11(through + wide, u, by_z)
        _set12(through + 2 * wide, u, by_n * r)
        _set6(dh, u, carried * z)


# ------------------------------------------------------------------------------------------------------ parts of a step


@compiled()
def _place(step: Any, part: int) -> tuple[int, int, int, int, int]:
    """Of a part: its sequences, from the first to the last, its block of units, the first of them and how many."""
    share, count, size = step[1], step[3], step[4]
    groups = -(-count // share)
    block, group = part // groups, part % groups
    first = block * COLUMNS
    return group * share, min(count, (group + 1) * share), block, first, min(COLUMNS, size - first)


@compiled()
def _add_product(
    left: int, depth: int, panel: int, out: int, row: int, top: int, bottom: int, width: int, new: int
) -> None:
    """Rows ``top`` to ``bottom`` of ``left`` (rows of ``depth``) times a panel, added to ``out`` unless ``new``."""
    for i in range(top, bottom, ROWS):
        tile(
            left + i * depth * BYTES, depth * BYTES, BYTES, panel, BYTES * COLUMNS, out + i * row, row, depth,
            min(ROWS, bottom - i), width, new,
        )  # fmt: skip


@kernel
def _rnn(job: int, part: int, who: int) -> None:
    step = longs(longs(job)[0])
    top, bottom, block, first, width = _place(step, part)
    size, panels, before, h, relu = step[4], step[5], step[6], step[7] + BYTES * first, step[8]
    row = BYTES * size
    _add_product(before, size, panels + block * size * BYTES * COLUMNS, h, row, top, bottom, width, 0)
    for i in range(top, bottom):
        _rnn_units(h + i * row, width, relu)


@kernel
def _rnn_back(job: int, part: int, who: int) -> None:
    step = longs(longs(job)[0])
    top, bottom, block, first, width = _place(step, part)
    size, panels, later, after, relu = step[4], step[5], step[6], step[7], step[8]
    row, aside = BYTES * size, BYTES * first
    h, grad, dh, slopes = step[9] + aside, step[10] + aside, step[11] + aside, step[12]
    panel = panels + block * size * BYTES * COLUMNS
    _add_product(later, size, panel, dh, row, top, min(bottom, after), width, 1)
    for i in range(top, bottom if slopes else top):
        _rnn_slopes(h + i * row, grad + i * row, dh + i * row, slopes + aside + i * row, width, relu)


@kernel
def _lstm(job: int, part: int, who: int) -> None:
    step = longs(longs(job)[0])
    top, bottom, block, first, width = _place(step, part)
    blocks, size, panels, before, gates = step[2], step[4], step[5], step[6], step[7]
    row, aside = BYTES * size, BYTES * first
    for gate in range(4):
        panel = panels + (gate * blocks + block) * size * BYTES * COLUMNS
        _add_product(before, size, panel, gates + gate * row + aside, 4 * row, top, bottom, width, 0)
    gates, c_before, c, h = gates + aside, step[8] + aside, step[9] + aside, step[10] + aside
    for i in range(top, bottom):
        _lstm_units(gates + i * 4 * row, size, c_before + i * row, c + i * row, h + i * row, width)


@kernel
def _lstm_back(job: int, part: int, who: int) -> None:
    step = longs(longs(job)[0])
    top, bottom, block, first, width = _place(step, part)
    size, panels, later, after, gates, slopes = step[4], step[5], step[6], step[7], step[8], step[9]
    row, aside = BYTES * size, BYTES * first
    before, c, grad, dh, dc = step[10] + aside, step[11] + aside, step[12] + aside, step[13] + aside, step[14] + aside
    panel = panels + block * 4 * size * BYTES * COLUMNS
    _add_product(later, 4 * size, panel, dh, row, top, min(bottom, after), width, 1)
    for i in range(top, bottom if slopes else top):
        _lstm_slopes(
            gates + aside + i * 4 * row, slopes + aside + i * 4 * row, size, before + i * row, c + i * row,
            grad + i * row, dh + i * row, dc + i * row, width,
        )  # fmt: skip


@kernel
def _gru(job: int, part: int, who: int) -> None:
    step = longs(longs(job)[0])
    top, bottom, block, first, width = _place(step, part)
    blocks, size, panels, before, gates = step[2], step[4], step[5], step[6], step[7]
    row, aside = BYTES * size, BYTES * first
    inner, bias, h = step[8] + aside, step[9] + aside, step[10] + aside
    for gate in range(3):
        panel = panels + (gate * blocks + block) * size * BYTES * COLUMNS
        if gate < 2:
            _add_product(before, size, panel, gates + gate * row + aside, 3 * row, top, bottom, width, 0)
        else:
            _add_product(before, size, panel, inner, row, top, bottom, width, 1)
    gates, before = gates + aside, before + aside
    for i in range(top, bottom):
        _gru_units(gates + i * 3 * row, size, inner + i * row, bias, before + i * row, h + i * row, width)


@kernel
def _gru_back(job: int, part: int, who: int) -> None:
    step = longs(longs(job)[0])
    top, bottom, block, first, width = _place(step, part)
    size, panels, later, after, gates, slopes, through = step[4], step[5], step[6], step[7], step[8], step[9], step[10]
    row, aside = BYTES * size, BYTES * first
    inner, before, grad, dh = step[11] + aside, step[12] + aside, step[13] + aside, step[14] + aside
    panel = panels + block * 3 * size * BYTES * COLUMNS
    _add_product(later, 3 * size, panel, dh, row, top, min(bottom, after), width, 0)
    for i in range(top, bottom if slopes else top):
        _gru_slopes(
            gates + aside + i * 3 * row, slopes + aside + i * 3 * row, through + aside + i * 3 * row, size,
            inner + i * row, before + i * row, grad + i * row, dh + i * row, width,
        )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ the steps


@compiled(types.void(types.int64, types.int64, types.int64, types.Array(types.int64, 2, "C")))
def _through_time(state: int, kernel: int, number: int, table: Any) -> None:
    """Do one step after another; ``number`` is that of the first, 0 to do all of them alone."""
    for t in range(table.shape[0]):
        prepare(state, (table.ctypes.data + 8 * t * table.shape[1],))
        run(state, kernel, table[t, 0], number + t if number else 0)


def _run(kernel: Any, counts: Array, size: int, gates: int, panels: Array, *columns: Any) -> None:
    """Do steps of ``counts`` sequences each; ``columns`` are what the kernel reads from place 6 of a step's row on."""
    blocks = -(-size // COLUMNS)
    groups = np.clip(-(-counts // ROWS), 1, -(-_EACH * pool.count // blocks))
    share = ROWS * -(-counts // (ROWS * groups))
    table = np.empty((len(counts), 6 + len(columns)), np.int64)
    common = blocks * -(-counts // share), share, blocks, counts, size, at(panels)
    for place, column in enumerate((*common, *columns)):
        table[:, place] = column
    with pool.turn:
        number = pool.number(counts[0] * gates * size * size >= _SHARED, len(table))
        _through_time(pool.state, kernel.address, number, table)


def _forward_panels(weight: Array, gates: int) -> Array:
    """Wᵀ as (gate, block of units, H, 64)."""
    size = weight.shape[1]
    panels = np.empty((gates, -(-size // COLUMNS), size, COLUMNS), np.float32)
    for gate in range(gates):
        for block in range(panels.shape[1]):
            units = weight[gate * size + block * COLUMNS : gate * size + min(size, (block + 1) * COLUMNS)]
            panels[gate, block, :, : len(units)] = transpose(units)
    return panels


def _backward_panels(weight: Array) -> Array:
    """W as (block of units, gates x H, 64)."""
    rows, size = weight.shape
    panels = np.empty((-(-size // COLUMNS), rows, COLUMNS), np.float32)
    for block in range(len(panels)):
        units = weight[:, block * COLUMNS : (block + 1) * COLUMNS]
        panels[block, :, : units.shape[1]] = units
    return panels


class _Rows:
    """Addresses of the rows that each step works on; backward from the last to the first, then 0 for one step more.

    That step turns the slopes of the first one into the gradient of the initial state.
    """

    def __init__(self, counts: tuple[int, ...], batch: int, back: bool = False) -> None:
        self.counts = np.array(counts, np.int64)
        self._starts = np.cumsum(self.counts) - self.counts
        self._before = np.append(0, batch + self._starts[:-1])
        self._batch, self._back = batch, back

    def _at(self, array: Array, rows: Any) -> Any:
        found = at(array) + rows * array.strides[0]
        return np.append(found[::-1], 0) if self._back else found

    def of(self, array: Array) -> Any:
        """In an array (N, K)."""
        return self._at(array, self._starts)

    def after(self, states: Array) -> Any:
        """In states (B + N, H): those that a step makes."""
        return self._at(states, self._batch + self._starts)

    def before(self, states: Array) -> Any:
        """In states (B + N, H): those that a step starts from."""
        return self._at(states, self._before)

    def backwards(self, slopes: Array) -> tuple[Any, Any, Any]:
        """Sequences of each step; rows of slopes (N, K) of the step that came before it in this order, and how many."""
        counts = np.append(self.counts[::-1], self.counts[0])
        return counts, np.append(0, self.of(slopes)[:-1]), np.append(0, self.counts[::-1])


def rnn(states: Array, weight: Array, counts: tuple[int, ...], relu: bool) -> None:
    """See :func:`tinygrad_hw.kernels.recurrence.rnn`; so for those that follow."""
    rows = _Rows(counts, len(states) - sum(counts))
    panels = _forward_panels(weight, 1)
    _run(_rnn, rows.counts, len(weight), 1, panels, rows.before(states), rows.after(states), relu)


def rnn_backward(states: Array, weight: Array, grad: Array, dh: Array, counts: tuple[int, ...], relu: bool) -> Array:
    rows, slopes, panels = _Rows(counts, len(dh), True), np.empty_like(grad), _backward_panels(weight)
    steps, later, after = rows.backwards(slopes)
    columns = later, after, relu, rows.after(states), rows.of(grad), at(dh), rows.of(slopes)
    _run(_rnn_back, steps, len(weight), 1, panels, *columns)
    return slopes


def lstm(gates: Array, weight: Array, states: Array, cells: Array, counts: tuple[int, ...]) -> None:
    rows = _Rows(counts, len(states) - len(gates))
    panels = _forward_panels(weight, 4)
    columns = rows.before(states), rows.of(gates), rows.before(cells), rows.after(cells), rows.after(states)
    _run(_lstm, rows.counts, weight.shape[1], 4, panels, *columns)


def lstm_backward(
    gates: Array, weight: Array, cells: Array, grad: Array, dh: Array, dc: Array, counts: tuple[int, ...]
) -> Array:
    rows, slopes, panels = _Rows(counts, len(dh), True), np.empty_like(gates), _backward_panels(weight)
    steps, later, after = rows.backwards(slopes)
    columns = later, after, rows.of(gates), rows.of(slopes), rows.before(cells), rows.after(cells), rows.of(grad)
    _run(_lstm_back, steps, weight.shape[1], 4, panels, *columns, at(dh), at(dc))
    return slopes


def gru(gates: Array, weight: Array, bias: Array | None, states: Array, counts: tuple[int, ...]) -> Array:
    size = weight.shape[1]
    rows, inner = _Rows(counts, len(states) - len(gates)), np.empty((len(gates), size), np.float32)
    panels, bias = _forward_panels(weight, 3), np.zeros(size, np.float32) if bias is None else bias
    columns = rows.before(states), rows.of(gates), rows.of(inner), at(bias), rows.after(states)
    _run(_gru, rows.counts, size, 3, panels, *columns)
    return inner


def gru_backward(
    gates: Array, inner: Array, weight: Array, states: Array, grad: Array, dh: Array, counts: tuple[int, ...]
) -> tuple[Array, Array]:
    rows, panels = _Rows(counts, len(dh), True), _backward_panels(weight)
    slopes, through = np.empty_like(gates), np.empty_like(gates)
    steps, later, after = rows.backwards(through)
    columns = later, after, rows.of(gates), rows.of(slopes), rows.of(through), rows.of(inner), rows.before(states)
    _run(_gru_back, steps, weight.shape[1], 3, panels, *columns, rows.of(grad), at(dh))
    return slopes, through
