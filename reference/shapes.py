"""Derivatives by hand of reshaping, joining, indexing: operations that move entries and compute nothing.

Such an operation is linear, y = Jx with J of zeros and ones (1 where entry i of x went to entry j of y), so
dC/dx = J^T g: every entry of x collects the gradient from all the places that it went to. ``g`` is the gradient of the
value; settings follow PyTorch's names and meaning; every function returns a tuple, one gradient an array operand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from reference.elementwise import Gradients, unbroadcast
from tinygrad_hw.backend import Array, array_module


def collect(g: Array, x: Array, move: Callable[[Array], Array]) -> Array:
    """J^T g for the operation ``move``: move the number of each entry of ``x``, add ``g`` up by number."""
    xp = array_module(x)
    numbers = move(xp.arange(x.size).reshape(x.shape))
    return xp.bincount(numbers.reshape(-1), g.reshape(-1), x.size).reshape(x.shape).astype(g.dtype)


def hand_reshape(g: Array, x: Array, shape: Any) -> Gradients:
    """Entries keep their order."""
    return (g.reshape(x.shape),)


def hand_flatten(g: Array, x: Array, start_dim: int = 0, end_dim: int = -1) -> Gradients:
    """Entries keep their order."""
    return (g.reshape(x.shape),)


def hand_squeeze(g: Array, x: Array, dim: Any = None) -> Gradients:
    """Entries keep their order."""
    return (g.reshape(x.shape),)


def hand_unsqueeze(g: Array, x: Array, dim: int) -> Gradients:
    """Entries keep their order."""
    return (g.reshape(x.shape),)


def hand_transpose(g: Array, x: Array, dim0: int, dim1: int) -> Gradients:
    """Exchanging two axes undoes itself."""
    return (g.swapaxes(dim0, dim1),)


def hand_permute(g: Array, x: Array, dims: Sequence[int]) -> Gradients:
    """Axis dims[k] of x became axis k: the inverse permutation."""
    inverse = [0] * x.ndim
    for k, axis in enumerate(dims):
        inverse[axis] = k
    return (g.transpose(inverse),)


def hand_expand(g: Array, x: Array, sizes: Any) -> Gradients:
    """Each entry went to all of its copies: the sum over them."""
    return (unbroadcast(g, x),)


def hand_cat(g: Array, tensors: Sequence[Array], dim: int = 0) -> Gradients:
    """Each operand takes its section of g."""
    ends = np.cumsum([tensor.shape[dim] for tensor in tensors]).tolist()
    return tuple(array_module(g).split(g, ends[:-1], axis=dim))


def hand_stack(g: Array, tensors: Sequence[Array], dim: int = 0) -> Gradients:
    """Each operand takes its slice of g."""
    sections = array_module(g).split(g, len(tensors), axis=dim)
    return tuple(section.squeeze(axis=dim) for section in sections)


def hand_split(g: Sequence[Array | None], x: Array, split_size_or_sections: Any, dim: int = 0) -> Gradients:
    """The sections' gradients side by side, zeros where a section did not count (None)."""
    xp, length = array_module(x), x.shape[dim]
    if isinstance(split_size_or_sections, int):
        sizes = [min(split_size_or_sections, length - start) for start in range(0, length, split_size_or_sections)]
    else:
        sizes = list(split_size_or_sections)
    starts = np.cumsum([0, *sizes]).tolist()
    result = xp.zeros_like(x)
    for part, start, size in zip(g, starts, sizes, strict=False):
        if part is not None:
            xp.moveaxis(result, dim, 0)[start : start + size] = xp.moveaxis(part, dim, 0)
    return (result,)


def hand_pad(g: Array, x: Array, pad: Sequence[int], value: float = 0.0) -> Gradients:
    """Cut off what was added: ``pad`` = (before, after) of the last axis, then of the one before it, ..."""
    inside = [slice(None)] * x.ndim
    for k in range(len(pad) // 2):
        axis = x.ndim - 1 - k
        inside[axis] = slice(pad[2 * k], pad[2 * k] + x.shape[axis])
    return (g[tuple(inside)],)


def hand_flip(g: Array, x: Array, dims: Any) -> Gradients:
    """Flipping undoes itself."""
    return (array_module(g).flip(g, dims),)


def hand_roll(g: Array, x: Array, shifts: Any, dims: Any = None) -> Gradients:
    """Roll back."""
    back = -shifts if isinstance(shifts, int) else tuple(-shift for shift in shifts)
    return (array_module(g).roll(g, back, axis=dims),)


def hand_tile(g: Array, x: Array, dims: Sequence[int]) -> Gradients:
    """Each entry collects from its copies."""
    return (collect(g, x, lambda numbers: array_module(x).tile(numbers, tuple(dims))),)


hand_repeat = hand_tile  # PyTorch's Tensor.repeat differs from tile only in that it needs a number for every axis


def hand_repeat_interleave(g: Array, x: Array, repeats: int, dim: int | None = None) -> Gradients:
    """Each entry collects from its copies, which stand side by side."""
    return (collect(g, x, lambda numbers: array_module(x).repeat(numbers, repeats, axis=dim)),)


def hand_getitem(g: Array, x: Array, index: Any) -> Gradients:
    """Each entry collects from all the places it was read into: none, one, or with duplicate indices several."""
    return (collect(g, x, lambda numbers: numbers[index]),)


def hand_take_along_dim(g: Array, x: Array, indices: Array, dim: int) -> Gradients:
    """As :func:`hand_getitem`, for one index an entry along ``dim``."""
    return (collect(g, x, lambda numbers: array_module(x).take_along_axis(numbers, indices, axis=dim)),)


def hand_index_select(g: Array, x: Array, dim: int, index: Array) -> Gradients:
    """As :func:`hand_getitem`, for whole slices."""
    return (collect(g, x, lambda numbers: array_module(x).take(numbers, index, axis=dim)),)


def hand_index_add(g: Array, x: Array, dim: int, index: Array, source: Array, alpha: float = 1.0) -> Gradients:
    """y = x, plus alpha source's slice k at slice index[k]: x takes g, source takes alpha g at where it went."""
    return g * 1, alpha * array_module(g).take(g, index, axis=dim)


def hand_diagonal(g: Array, x: Array, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Gradients:
    """The diagonal takes g, the rest 0."""
    return (collect(g, x, lambda numbers: array_module(x).diagonal(numbers, offset, dim1, dim2)),)


def hand_tril(g: Array, x: Array, diagonal: int = 0) -> Gradients:
    """What was kept takes its gradient."""
    return (array_module(g).tril(g, diagonal),)


def hand_triu(g: Array, x: Array, diagonal: int = 0) -> Gradients:
    """What was kept takes its gradient."""
    return (array_module(g).triu(g, diagonal),)


def hand_sort(g: Array, x: Array, dim: int = -1) -> Gradients:
    """Each entry takes the gradient of the place that it was sorted to."""
    xp = array_module(x)
    order = xp.argsort(x, axis=dim)
    return (xp.take_along_axis(g, xp.argsort(order, axis=dim), axis=dim),)
