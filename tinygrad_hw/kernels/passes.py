"""Single passes over float32 arrays, compiled by Numba, with the bits of their NumPy forms; but for :func:`sigmoid`.

Worth it where an array is small and each of several NumPy calls costs more than its work, and where it is large and
each makes an array between.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from tinygrad_hw.backend import Array
from tinygrad_hw.kernels.loops import array
from tinygrad_hw.kernels.pool import compiled, float_of_bits, float_to_bits, kernel, pool, prepare, run, settings, share

_matrix, _written = types.Array(types.float32, 2, "C", readonly=True), types.Array(types.float32, 2, "C")
_each, _sums = types.Array(types.float32, 1, "C", readonly=True), types.Array(types.float32, 1, "C")
_labels = types.Array(types.int64, 1, "C", readonly=True)


_SHARE = 2**14  # entries of a part
_SHARED = 2**17  # entries from which threads are worth waking
_LINE = 16  # numbers of a line of the cache
_STRIPES = 8  # of a matrix to transpose, at most
_get, _ = array(types.float32, 0)
_get_grad, _ = array(types.float32, 1)
_, _set = array(types.float32, 2)

_ONE, _LOG2E, _FARTHEST = np.float32(1), np.float32(1.4426950408889634), np.float32(110)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)  # the product of the first and n is exact
_P = tuple(map(np.float32, (1.9875691e-4, 1.3981999e-3, 8.3334519e-3, 4.1665796e-2, 1.6666665e-1, 0.5)))
_ROUNDER = np.float32(1.5 * 2**23)  # added, it leaves no bits for a fraction, and a whole number in the last ones
_ROUNDER_BITS, _BIAS, _FRACTION = np.int32(_ROUNDER.view(np.int32)), np.int32(127), np.int32(23)


@compiled()
def exp(x: Any) -> Any:
    """eˣ = 2ⁿ eʳ with r = x - n ln 2, |r| <= ln 2 / 2, by the polynomial of Moshier's Cephes library (expf)."""
    x = _FARTHEST if x > _FARTHEST else x
    x = -_FARTHEST if x < -_FARTHEST else x
    rounded = x * _LOG2E + _ROUNDER
    n = rounded - _ROUNDER
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    p = ((((_P[0] * r + _P[1]) * r + _P[2]) * r + _P[3]) * r + _P[4]) * r + _P[5]
    p = p * (r * r) + r + _ONE
    # n may be one more, or far less, than an exponent can be: half of it at a time
    power = np.int32(float_to_bits(rounded) - _ROUNDER_BITS)
    half = np.int32(power >> np.int32(1))
    p = p * float_of_bits(np.int32((half + _BIAS) << _FRACTION))
    return p * float_of_bits(np.int32((power - half + _BIAS) << _FRACTION))


@compiled(types.void(_each, _sums))
def sigmoid(x: Any, out: Any) -> None:
    """``out`` = 1/(1 + e⁻ˣ), within 3 units in the last place; NumPy's form is within 4."""
    for i in range(out.size):
        out[i] = _ONE / (_ONE + exp(-x[i]))


@compiled(types.void(_matrix, _sums))
def row_sums(x: Any, out: Any) -> None:
    """``out`` = the sum of the columns of ``x``, from the first to the last."""
    for i in range(x.shape[0]):
        total = x[i, 0]
        for j in range(1, x.shape[1]):
            total += x[i, j]
        out[i] = total


@compiled(types.void(_matrix, _sums))
def column_sums(g: Any, out: Any) -> None:
    """``out`` = the sum of the rows of ``g``, from the first to the last."""
    out[:] = g[0]
    for i in range(1, g.shape[0]):
        for j in range(g.shape[1]):
            out[j] += g[i, j]


@compiled(types.void(_written, _each))
def add_bias(x: Any, bias: Any) -> None:
    """``x`` += ``bias``, in each row."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            x[i, j] += bias[j]


@kernel
def _relu(job: int, part: int, who: int) -> None:
    x, _, y, size, _, _, _, _, _, _, _, _ = settings(job)
    for i in range(part * _SHARE, min(size, (part + 1) * _SHARE)):
        entry = _get(x, i)
        _set(y, i, np.float32(0) if entry < 0 else entry)


@kernel
def _relu_slopes(job: int, part: int, who: int) -> None:
    y, grad, out, size, _, _, _, _, _, _, _, _ = settings(job)
    for i in range(part * _SHARE, min(size, (part + 1) * _SHARE)):
        slope = _get_grad(grad, i)
        _set(out, i, slope if _get(y, i) > 0 else np.float32(0))


@kernel
def _sigmoid_slopes(job: int, part: int, who: int) -> None:
    y, grad, out, size, _, _, _, _, _, _, _, _ = settings(job)
    for i in range(part * _SHARE, min(size, (part + 1) * _SHARE)):
        value = _get(y, i)
        _set(out, i, _get_grad(grad, i) * (value * (np.float32(1) - value)))


@compiled(types.void(types.int64, types.int64, types.int64, _each, _each, _sums))
def _each_entry(state: int, kernel: int, number: int, x: Any, grad: Any, out: Any) -> None:
    prepare(state, (x.ctypes.data, grad.ctypes.data, out.ctypes.data, out.size))
    run(state, kernel, -(-out.size // _SHARE), number)


def relu(x: Any, y: Any) -> None:
    """``y`` = ``x`` where that is not less than 0, else 0."""
    with pool.turn:
        _each_entry(pool.state, _relu.address, pool.number(x.size >= _SHARED), x, x, y)


def relu_slopes(y: Any, grad: Any, out: Any) -> None:
    """``out`` = ``grad`` where y > 0, else 0."""
    with pool.turn:
        _each_entry(pool.state, _relu_slopes.address, pool.number(y.size >= _SHARED), y, grad, out)


def sigmoid_slopes(y: Any, grad: Any, out: Any) -> None:
    """``out`` = ``grad`` y (1 - y)."""
    with pool.turn:
        _each_entry(pool.state, _sigmoid_slopes.address, pool.number(y.size >= _SHARED), y, grad, out)


@kernel
def _transpose(job: int, part: int, who: int) -> None:
    """Some of the columns of a matrix, which become rows."""
    source, target, rows, columns, stripe, _, _, _, _, _, _, _ = settings(job)
    for top in range(part * stripe, min(columns, (part + 1) * stripe), _LINE):
        bottom = min(columns, top + _LINE, (part + 1) * stripe)
        for j in range(rows):
            for i in range(top, bottom):
                _set(target, i * rows + j, _get(source, j * columns + i))


def transpose(x: Array) -> Array:
    """A copy of the transpose of a matrix that lies in one piece by rows; so does the copy."""
    rows, columns = x.shape
    out = np.empty((columns, rows), np.float32)
    stripe = _LINE * -(-columns // (_LINE * _STRIPES))
    share(
        _transpose, -(-columns // stripe), x.size >= _SHARED // 4,
        x.ctypes.data, out.ctypes.data, rows, columns, stripe,
    )  # fmt: skip
    return out


@compiled(types.boolean(_matrix, _labels, _written, _sums))
def shift(x: Any, labels: Any, shifted: Any, chosen: Any) -> bool:
    """``shifted`` = each row less its largest entry (NaN where there is one), ``chosen`` its entry at the label.

    False, with both left unfinished, when a label is none of the columns.
    """
    for i in range(x.shape[0]):
        largest = x[i, 0]
        for j in range(1, x.shape[1]):
            if x[i, j] > largest or x[i, j] != x[i, j]:
                largest = x[i, j]
        for j in range(x.shape[1]):
            shifted[i, j] = x[i, j] - largest
        if not 0 <= labels[i] < x.shape[1]:
            return False
        chosen[i] = shifted[i, labels[i]]
    return True


@compiled(types.void(_matrix, _each, _labels, types.float32, _written))
def softmax_slopes(exponentials: Any, sums: Any, labels: Any, each: Any, out: Any) -> None:
    """``out`` = (softmax - one-hot(label)) ``each``, given the exponentials and their sums by row."""
    for i in range(out.shape[0]):
        scale = each / sums[i]
        for j in range(out.shape[1]):
            out[i, j] = exponentials[i, j] * scale
        out[i, labels[i]] -= each
