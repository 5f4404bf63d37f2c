"""Fused kernels behind some operations: one pass over memory where NumPy makes a dozen; products where BLAS is slow.

:func:`product` chooses by itself. For the others a caller asks :func:`fused` whether there is a kernel for its arrays,
and has a generic path where there is none. A test holds each kernel against its generic path.

Whether a kernel is taken depends on the arrays' dtype, shape and strides alone, never on what was computed before,
unless the bits are the same: a run that is resumed gives the same ones.
"""

from __future__ import annotations

import importlib
import sys
from functools import cache
from typing import Any

import numpy as np

from tinygrad_hw.backend import Array, array_module, device_of

_LEAST = 2**16  # entries: below, loading Numba would take longer than it saves
_PRODUCTS = (2**15, 2**30)  # multiply-adds: below, calling takes the time; above, OpenBLAS packs both operands
_OUTER, _INNER = (4, 4, 32), (2, 16, 4)  # the least m, k, n of each kernel: below, its blocks would be mostly empty
_LEAST_COPY = 2**12  # entries
_LEAST_SIGMOID = 2**12  # entries; its bits are not NumPy's, so whether Numba is loaded already must not matter
_FLOAT32 = np.dtype(np.float32)


@cache
def cpu_module(name: str) -> Any:
    """A module of compiled CPU kernels; None without a Numba that fits this NumPy, or without AVX-512 if it needs that.

    Those that need it say so by a name ``AVAILABLE``.
    """
    try:
        module = importlib.import_module(f"tinygrad_hw.kernels.{name}")
    except ImportError:
        return None
    return module if getattr(module, "AVAILABLE", True) else None


def fused(array: Array) -> bool:
    """Whether there are kernels for arrays of this dtype, device and size: long float32 or float64 ones on the CPU."""
    fits = array.size >= _LEAST and array.dtype.kind == "f" and array.dtype.itemsize in (4, 8)
    return fits and device_of(array) == "cpu" and cpu_module("cpu") is not None


def product(a: Any, b: Any, out: Array | None = None, bias: Any = None) -> Any:
    """``a @ b + bias`` for two matrices, and a bias along each row or None; written to ``out`` if that is given."""
    if type(a) is np.ndarray and type(b) is np.ndarray and _takes(a, b, bias):
        module = cpu_module("products")
        if module is not None:
            if out is None:
                out = np.empty((a.shape[0], b.shape[1]), np.float32)
            module.product(a, b, bias, out)
            return out
    result = a @ b if out is None else array_module(a).matmul(a, b, out=out)
    if bias is not None:
        _add_bias(result, bias)
    return result


def _add_bias(x: Any, bias: Any) -> None:
    module = loaded_passes()
    plain = type(x) is type(bias) is np.ndarray and x.dtype == bias.dtype == _FLOAT32
    if module is not None and plain and bias.shape == x.shape[1:] and x.flags.c_contiguous and bias.flags.c_contiguous:
        module.add_bias(x, bias)
    else:
        x += bias


def column_sums(g: Any, out: Array | None = None) -> Any:
    """``g.sum(axis=0)`` of a matrix, written to ``out`` if that is given; the same bits with and without a kernel.

    NumPy adds row to row, as the kernel does, but sums a single column pairwise: that is left to it.
    """
    module = loaded_passes()
    plain = type(g) is np.ndarray and g.dtype == _FLOAT32 and g.flags.c_contiguous
    if module is not None and plain and len(g) and g.shape[1] > 1:
        if out is None:
            out = np.empty(g.shape[1], np.float32)
        if out.flags.c_contiguous:
            module.column_sums(g, out)
            return out
    return g.sum(axis=0) if out is None else g.sum(axis=0, out=out)


def row_sums(x: Any) -> Any:
    """``x.sum(axis=1)`` of a matrix, column added to column: NumPy does few of them much faster so than row by row."""
    module = loaded_passes()
    plain = type(x) is np.ndarray and x.dtype == _FLOAT32 and x.flags.c_contiguous
    if module is not None and plain and len(x) > 1 and x.shape[1]:  # one row alone NumPy would sum pairwise
        out = np.empty(len(x), np.float32)
        module.row_sums(x, out)
        return out
    return array_module(x).ascontiguousarray(x.T).sum(axis=0)


def sigmoid(x: Any) -> Array | None:
    """1/(1 + e⁻ˣ) of many numbers; None where there is no kernel for the array."""
    if type(x) is not np.ndarray or x.dtype != _FLOAT32 or x.size < _LEAST_SIGMOID:
        return None
    module, out = cpu_module("passes"), np.empty_like(x)
    if module is None or out.strides != x.strides:  # the axes of x do not fill memory, in whatever order
        return None
    module.sigmoid(x.ravel("K"), out.ravel("K"))
    return out


def relu(x: Any) -> Array | None:
    """``x`` where that is not less than 0, else 0; None where there is no kernel for the array."""
    if type(x) is not np.ndarray or x.dtype != _FLOAT32 or x.size < _LEAST:
        return None
    module, out = cpu_module("passes"), np.empty_like(x)
    if module is None or out.strides != x.strides:
        return None
    module.relu(x.ravel("K"), out.ravel("K"))
    return out


def slopes(name: str, y: Any, grad: Any) -> Array | None:
    """The gradient that pass ``name`` makes of an operation's output and its gradient; None where the pass cannot."""
    module = loaded_passes()
    if module is None or type(y) is not np.ndarray or type(grad) is not np.ndarray:
        return None
    if y.dtype != _FLOAT32 or grad.dtype != _FLOAT32 or y.shape != grad.shape:
        return None
    out = np.empty_like(y)
    if not out.strides == y.strides == grad.strides:  # one order of axes, which fill memory one after another
        return None
    getattr(module, name)(y.ravel("K"), grad.ravel("K"), out.ravel("K"))
    return out


def by_rows(x: Any) -> Any:
    """A matrix, copied if it lies by columns, as flattened images whose batch is innermost do: products want rows."""
    if type(x) is not np.ndarray or x.ndim != 2 or x.dtype != _FLOAT32 or x.size < _LEAST_COPY:
        return x
    module = cpu_module("passes") if x.flags.f_contiguous and not x.flags.c_contiguous else None
    return x if module is None else module.transpose(x.T)


def loaded_passes() -> Any:
    """See :mod:`tinygrad_hw.kernels.passes`; None unless Numba is loaded for products: the bits are the same."""
    return None if "tinygrad_hw.kernels.products" not in sys.modules else cpu_module("passes")


def _takes(a: np.ndarray, b: np.ndarray, bias: Any) -> bool:
    """Whether a kernel multiplies these matrices, and does so faster than NumPy."""
    (m, k), (inner, n) = a.shape, b.shape
    if not _PRODUCTS[0] <= m * k * n <= _PRODUCTS[1] or a.dtype != _FLOAT32 or b.dtype != _FLOAT32:
        return False
    if k != inner:
        return False
    if bias is not None and not (type(bias) is np.ndarray and bias.dtype == _FLOAT32 and bias.shape == (n,)):
        return False
    if bias is not None and bias.strides != (4,):
        return False
    if b.strides[1] == 4:
        least = _OUTER
    elif b.strides[0] == a.strides[1] == 4:
        least = _INNER
    else:
        return False
    return m >= least[0] and k >= least[1] and n >= least[2]
