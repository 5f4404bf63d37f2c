"""Picking entries out and adding entries in: getitem, index_select, take_along_axis, embedding, index_add.

Picking and adding are each other's adjoint: the gradient of ``x[key]`` is zeros with the gradient added at ``key``
(:class:`_Scatter`), and the gradient of that is ``grad[key]`` again.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_hw.autograd import Function
from tinygrad_hw.backend import Array, array_module, device_of, is_array, to_device
from tinygrad_hw.tensor import raw_of

__all__ = ["embedding", "getitem", "index_add", "index_select", "take_along_axis"]

Key = tuple[Any, ...]


def _index_array(index: Any, device: str) -> Any:
    """An array to index with, on ``device``: from a Tensor, an array or a list; anything else as it is."""
    index = raw_of(index)
    if isinstance(index, np.integer):
        return int(index)
    if isinstance(index, (list, np.generic)):
        listed = np.asarray(index)
        index = listed.astype(np.intp) if listed.size == 0 else listed
    return to_device(index, device) if is_array(index) and device_of(index) != device else index


def _normalised(key: Any, device: str) -> Key:
    """``key`` as a tuple of slices, numbers, None, Ellipsis and index arrays on ``device``."""
    return tuple(_index_array(part, device) for part in (key if isinstance(key, tuple) else (key,)))


def _is_integers(part: Any) -> bool:
    return is_array(part) and part.dtype.kind in "iu"


def _add_at(out: Array, key: Key, source: Array) -> None:
    """``out[key] += source`` in C order, entries named several times receiving every summand."""
    xp = array_module(out)
    if xp is np:
        # np.add.at takes one flat index five times faster than rows, or than several indices
        np.add.at(out.reshape(-1), _positions(out.shape, key).reshape(-1), source.reshape(-1))
    else:
        xp.add.at(out, key, source)


def _positions(shape: tuple[int, ...], key: Key) -> np.ndarray:
    """Where in the flattened array the entries ``[key]`` of an array of ``shape`` stand."""
    if not all(map(_is_integers, key)):
        return np.arange(math.prod(shape)).reshape(shape)[key]
    positions: Any = 0
    for part, size in zip(key, shape, strict=False):
        positions = positions * size + np.where(part < 0, part + size, part).astype(np.intp)
    rest = shape[len(key) :]
    inner = np.arange(math.prod(rest)).reshape(rest)
    return positions.reshape(positions.shape + (1,) * len(rest)) * inner.size + inner


class Getitem(Function):
    """y = x[key]; the gradient of x is zeros with ȳ added at ``key``."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any, key: Key) -> Any:
        ctx.shape = x.shape
        ctx.save_for_backward(*key)
        # take is twice as fast as x[key]
        out = x.take(key[0], axis=0) if len(key) == 1 and _is_integers(key[0]) and x.ndim else x[key]
        return out if is_array(out) else array_module(x).asarray(out)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return _Scatter.apply(grad, ctx.shape, ctx.saved_tensors)


class _Scatter(Function):
    """Zeros with ``source`` added at ``key``; the adjoint of :class:`Getitem`, which is its derivative in turn."""

    @staticmethod
    def forward(ctx: Any, source: Any, shape: tuple[int, ...], key: Key) -> Any:
        ctx.save_for_backward(*key)
        out = array_module(source).zeros(shape, dtype=source.dtype)
        if any(_is_integers(part) and part.size > 1 for part in key):
            _add_at(out, key, source)
        else:  # slices, numbers and masks name no entry twice
            out[key] = source
        return out

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return getitem(grad, ctx.saved_tensors)


class Embedding(Function):
    """y = W[index]; the gradient of W is zeros with ȳ's rows added at ``index``, those of ``padding_idx`` left out."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, weight: Any, key: Key, padding_idx: int | None) -> Any:
        ctx.shape, ctx.padding_idx = weight.shape, padding_idx
        ctx.save_for_backward(*key)
        return weight.take(key[0], axis=0)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        key = ctx.saved_tensors
        if ctx.padding_idx is not None:
            kept = key[0] % ctx.shape[0] != ctx.padding_idx
            grad = grad * kept[..., None].astype(grad.dtype)
        return _Scatter.apply(grad, ctx.shape, key)


class IndexAdd(Function):
    """y = x, and y[index[i]] += source[i] for every i; x̄ = ȳ, the gradient of the source is ȳ[index]."""

    broadcasts = True  # for the common dtype only: shapes must agree

    @staticmethod
    def forward(ctx: Any, x: Any, source: Any, key: Key) -> Any:
        ctx.save_for_backward(*key)
        out = x.copy()
        _add_at(out, key, source)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad, getitem(grad, ctx.saved_tensors) if ctx.needs_input_grad[1] else None


def scatter(source: Any, shape: tuple[int, ...], key: Key) -> Any:
    """Zeros of ``shape`` with ``source`` added at ``key``, entries named several times receiving every summand."""
    return _Scatter.apply(source, shape, _normalised(key, device_of(raw_of(source))))


def getitem(x: Any, key: Any) -> Any:
    """``x[key]`` as in NumPy: numbers, slices (negative steps too), None, Ellipsis, boolean masks, arrays of integers.

    Arrays may be NumPy arrays, lists or Tensors; they are moved to x's device. The gradient adds up where an array
    names an entry several times. Slices give views. Raises IndexError where an index is out of range (on a GPU CuPy
    wraps an array's indices around instead) or is neither integer nor boolean.
    """
    return Getitem.apply(x, _normalised(key, device_of(raw_of(x))))


def _along(name: str, x: Any, axis: int, index: Any) -> Key:
    """The key that indexes ``axis`` by ``index``."""
    if not -x.ndim <= axis < x.ndim:
        raise np.exceptions.AxisError(f"{name}: axis {axis} is out of bounds for {x.ndim} axes")
    return (*(slice(None),) * (axis % x.ndim), index)


def _integers(name: str, index: Any, device: str) -> Array:
    """An array of integers on ``device``; raises TypeError for anything else."""
    array = _index_array(index, device)
    array = array if is_array(array) else to_device(np.asarray(array), device)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected an index of integers, got {array.dtype}")
    return array


def index_select(x: Any, axis: int, index: Any) -> Any:
    """The slices number ``index`` (an array of integers of one axis) along ``axis``; slices may be named repeatedly.

    Raises TypeError for indices that are no integers, IndexError for those out of range.
    """
    array = _integers("index_select", index, device_of(raw_of(x)))
    if array.ndim != 1:
        raise ValueError(f"index_select: expected an index with one axis, got shape {tuple(array.shape)}")
    return getitem(x, _along("index_select", x, axis, array))


def take_along_axis(x: Any, indices: Any, axis: int) -> Any:
    """y[i, j, k] = x[i, indices[i, j, k], k] for axis 1 of three, as in NumPy (PyTorch's ``take_along_dim``).

    ``indices`` has as many axes as ``x``; axes other than ``axis`` broadcast. The gradient adds up where an entry is
    taken repeatedly. Raises TypeError, ValueError or IndexError for indices that are no integers, have other axes, or
    are out of range.
    """
    device = device_of(raw_of(x))
    array = _integers("take_along_axis", indices, device)
    if array.ndim != x.ndim:
        raise ValueError(f"take_along_axis: expected indices with {x.ndim} axes, got shape {tuple(array.shape)}")
    position = len(_along("take_along_axis", x, axis, None)) - 1
    key: list[Any] = list(np.ix_(*map(np.arange, x.shape)))  # each axis's numbers, along that axis
    key[position] = array
    return getitem(x, tuple(key))


def embedding(weight: Any, index: Any, padding_idx: int | None = None) -> Any:
    """The rows ``weight[index]``: (rows, features), an array of integers of any shape (...) → (..., features).

    Row ``padding_idx`` receives no gradient. Raises ValueError unless ``weight`` is a matrix, TypeError for indices
    that are no integers, IndexError for those out of range (on a GPU CuPy wraps them around instead).
    """
    if weight.ndim != 2:
        raise ValueError(f"embedding: expected weight (rows, features), got shape {tuple(weight.shape)}")
    if padding_idx is not None:
        if not -weight.shape[0] <= padding_idx < weight.shape[0]:
            raise IndexError(f"embedding: padding_idx {padding_idx} is out of range for {weight.shape[0]} rows")
        padding_idx %= weight.shape[0]
    key = (_integers("embedding", index, device_of(raw_of(weight))),)
    return Embedding.apply(weight, key, padding_idx)


def index_add(x: Any, axis: int, index: Any, source: Any) -> Any:
    """A copy of ``x`` with the slices of ``source`` along ``axis`` added to those of ``x`` with the numbers ``index``.

    For axis 0: y = x; y[index[i]] += source[i] for every i, so slices named repeatedly add up.

    Raises ValueError unless ``index`` has one axis and ``source`` has x's shape with ``axis`` as long as ``index``;
    TypeError for indices that are no integers; IndexError for those out of range.
    """
    array = _integers("index_add", index, device_of(raw_of(x)))
    key = _along("index_add", x, axis, array)
    position = len(key) - 1
    expected = (*x.shape[:position], array.size, *x.shape[position + 1 :])
    if array.ndim != 1 or tuple(source.shape) != expected:
        raise ValueError(
            f"index_add: expected an index with one axis and a source of shape {expected}, "
            f"got {tuple(array.shape)} and {tuple(source.shape)}"
        )
    return IndexAdd.apply(x, source, key)
