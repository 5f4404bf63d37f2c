"""Single passes over float32 arrays, compiled by Numba, with the bits of their NumPy forms.

Worth it where an array is small and each of several NumPy calls costs more than its work, and where it is large and
each makes an array between.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from tinygrad_hw.kernels.pool import compiled

_matrix, _written = types.Array(types.float32, 2, "C", readonly=True), types.Array(types.float32, 2, "C")
_each, _sums = types.Array(types.float32, 1, "C", readonly=True), types.Array(types.float32, 1, "C")
_labels = types.Array(types.int64, 1, "C", readonly=True)


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


@compiled(types.void(_each, _each, _sums))
def relu_slopes(y: Any, grad: Any, out: Any) -> None:
    """``out`` = ``grad`` where y > 0, else 0."""
    for i in range(out.size):
        out[i] = grad[i] if y[i] > 0 else np.float32(0)


@compiled(types.void(_each, _each, _sums))
def sigmoid_slopes(y: Any, grad: Any, out: Any) -> None:
    """``out`` = ``grad`` y (1 - y)."""
    for i in range(out.size):
        out[i] = grad[i] * (y[i] * (np.float32(1) - y[i]))


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
