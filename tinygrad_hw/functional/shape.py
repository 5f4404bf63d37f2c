"""Rearranging entries: reshape, permute, join, split, pad, repeat, diagonals, triangles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_hw import kernels
from tinygrad_hw.autograd import Function
from tinygrad_hw.backend import array_module, to_numpy
from tinygrad_hw.functional.arithmetic import expand, sum_to
from tinygrad_hw.functional.indexing import getitem, index_select, scatter
from tinygrad_hw.tensor import Tensor

__all__ = [
    "concatenate", "diag", "diagonal", "flatten", "flip", "pad", "permute", "repeat", "repeat_interleave", "reshape",
    "roll", "split", "squeeze", "stack", "tile", "transpose", "tril", "triu", "unbind", "unsqueeze",
]  # fmt: skip


def _axis(name: str, axis: int, ndim: int) -> int:
    """``axis`` counted from the front; raises AxisError (an IndexError and a ValueError) where there is none such."""
    if not -ndim <= axis < ndim:
        raise np.exceptions.AxisError(f"{name}: axis {axis} is out of bounds for {ndim} axes")
    return axis % ndim


def _sizes(values: tuple[Any, ...]) -> tuple[int, ...]:
    """Sizes given one by one or as one tuple or list."""
    return tuple(values[0]) if len(values) == 1 and isinstance(values[0], (tuple, list)) else values


class Reshape(Function):
    """The same entries in another shape; the gradient goes back into the old one."""

    @staticmethod
    def forward(ctx: Any, x: Any, shape: tuple[int, ...]) -> Any:
        ctx.shape = x.shape
        return kernels.by_rows(x.reshape(shape))

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad.reshape(ctx.shape)


class Permute(Function):
    """y[i_axes[0], i_axes[1], ...] = x[i_0, i_1, ...]; the gradient is permuted back."""

    @staticmethod
    def forward(ctx: Any, x: Any, axes: tuple[int, ...]) -> Any:
        ctx.axes = axes
        return x.transpose(axes)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        if grad.ndim < 2:
            return grad
        axes = [axis % grad.ndim for axis in ctx.axes]
        return permute(grad, sorted(range(grad.ndim), key=axes.__getitem__))


class Concatenate(Function):
    """Arrays joined along an axis; the gradient is split."""

    broadcasts = True  # for the common dtype only: shapes must agree

    @staticmethod
    def forward(ctx: Any, axis: int, *arrays: Any) -> Any:
        ctx.axis, ctx.sizes = axis, [array.shape[axis] for array in arrays]
        return array_module(*arrays).concatenate(arrays, axis=axis)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return None, *split(grad, ctx.sizes, ctx.axis)


class Split(Function):
    """Pieces along an axis (views); their gradients are joined."""

    @staticmethod
    def forward(ctx: Any, x: Any, sizes: tuple[int, ...], axis: int) -> Any:
        ctx.axis = axis
        ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
        lead = (slice(None),) * axis
        return tuple(x[(*lead, slice(end - size, end))] for size, end in zip(sizes, ends, strict=True))

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return concatenate(grads, ctx.axis)


class Stack(Function):
    """Arrays of one shape side by side along a new axis; the gradient is taken apart."""

    broadcasts = True  # for the common dtype only: shapes must agree

    @staticmethod
    def forward(ctx: Any, axis: int, *arrays: Any) -> Any:
        ctx.axis = axis
        return array_module(*arrays).stack(arrays, axis=axis)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return None, *unbind(grad, ctx.axis)


class Unbind(Function):
    """The slices along an axis (views), that axis gone; their gradients are stacked."""

    @staticmethod
    def forward(ctx: Any, x: Any, axis: int) -> Any:
        ctx.axis = axis
        lead = (slice(None),) * axis
        return tuple(x[(*lead, i, ...)] for i in range(x.shape[axis]))

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return stack(grads, ctx.axis)


class Pad(Function):
    """A frame of one value around x; the gradient is its middle."""

    @staticmethod
    def forward(ctx: Any, x: Any, widths: tuple[tuple[int, int], ...], value: float) -> Any:
        ctx.middle = tuple(slice(before, before + n) for (before, _), n in zip(widths, x.shape, strict=True))
        shape = [before + n + after for (before, after), n in zip(widths, x.shape, strict=True)]
        out = array_module(x).full(shape, value, dtype=x.dtype)
        out[ctx.middle] = x
        return out

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad[ctx.middle]


class Flip(Function):
    """Entries in reverse order along axes; its own inverse and its own adjoint."""

    @staticmethod
    def forward(ctx: Any, x: Any, axis: Any) -> Any:
        ctx.axis = axis
        return array_module(x).flip(x, axis)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return flip(grad, ctx.axis)


class Roll(Function):
    """y[(i + shift) mod n] = x[i]; the gradient is rolled back."""

    @staticmethod
    def forward(ctx: Any, x: Any, shifts: Any, axis: Any) -> Any:
        ctx.shifts, ctx.axis = shifts, axis
        return array_module(x).roll(x, shifts, axis)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        back = tuple(-s for s in ctx.shifts) if isinstance(ctx.shifts, (tuple, list)) else -ctx.shifts
        return roll(grad, back, ctx.axis)


class Tile(Function):
    """Copies side by side along each axis; their gradients are added up."""

    @staticmethod
    def forward(ctx: Any, x: Any, counts: tuple[int, ...]) -> Any:
        ctx.counts, ctx.shape = counts, x.shape
        return array_module(x).tile(x, counts)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        sizes = (1,) * (len(ctx.counts) - len(ctx.shape)) + ctx.shape
        copies = [n for pair in zip(ctx.counts, sizes, strict=True) for n in pair]
        one = tuple(n for size in sizes for n in (1, size))
        return sum_to(grad.reshape(copies), one).reshape(ctx.shape)


class Tril(Function):
    """Zeros above a diagonal; the same of the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Any, diagonal: int) -> Any:
        ctx.diagonal = diagonal
        return array_module(x).tril(x, diagonal)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return tril(grad, ctx.diagonal)


class Triu(Function):
    """Zeros below a diagonal; the same of the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Any, diagonal: int) -> Any:
        ctx.diagonal = diagonal
        return array_module(x).triu(x, diagonal)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return triu(grad, ctx.diagonal)


def reshape(x: Any, *shape: Any) -> Any:
    """The same entries, in C order, in another shape (sizes or one tuple; one of them may be -1, to be worked out).

    A view where memory allows. Raises ValueError when the sizes do not multiply to the number of entries.
    """
    return Reshape.apply(x, _sizes(shape))


def flatten(x: Any, start_axis: int = 0, end_axis: int = -1) -> Any:
    """The axes from ``start_axis`` to ``end_axis``, both included, as one: (2, 3, 4), 1 → (2, 12)."""
    if x.ndim == 0:
        return reshape(x, 1)
    first, last = _axis("flatten", start_axis, x.ndim), _axis("flatten", end_axis, x.ndim)
    if first > last:
        raise ValueError(f"flatten: start_axis {start_axis} comes after end_axis {end_axis}")
    shape = tuple(x.shape)
    return reshape(x, (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))


def transpose(x: Any, axis0: int | None = None, axis1: int | None = None) -> Any:
    """Two axes exchanged (PyTorch's ``transpose``); without arguments all axes in reverse order (NumPy's). A view."""
    axes = list(range(x.ndim))
    if axis0 is None and axis1 is None:
        return Permute.apply(x, tuple(reversed(axes)))
    if axis0 is None or axis1 is None:
        raise TypeError("transpose: expected two axes to exchange, or none to reverse all")
    first, second = _axis("transpose", axis0, x.ndim), _axis("transpose", axis1, x.ndim)
    axes[first], axes[second] = second, first
    return Permute.apply(x, tuple(axes))


def permute(x: Any, *axes: Any) -> Any:
    """Axes in another order (numbers or one tuple): ``permute(x, 2, 0, 1)`` makes x's axis 2 the first. A view.

    Raises ValueError unless each axis is named once.
    """
    return Permute.apply(x, _sizes(axes))


def squeeze(x: Any, axis: int | Sequence[int] | None = None) -> Any:
    """Without the axes of size 1 among ``axis`` (a number, several, or None for all). Others stay, as in PyTorch."""
    axes = range(x.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    chosen = {_axis("squeeze", a, x.ndim) for a in axes}
    return reshape(x, tuple(n for i, n in enumerate(x.shape) if n != 1 or i not in chosen))


def unsqueeze(x: Any, axis: int) -> Any:
    """With a new axis of size 1 at position ``axis`` of the result."""
    position = _axis("unsqueeze", axis, x.ndim + 1)
    return reshape(x, (*x.shape[:position], 1, *x.shape[position:]))


def concatenate(tensors: Sequence[Any], axis: int = 0) -> Any:
    """Tensors joined along an existing axis; they agree in every other. They are promoted to their common dtype.

    Raises ValueError where shapes disagree or there is nothing to join.
    """
    tensors = list(tensors)
    if not tensors:
        raise ValueError("concatenate: expected at least one tensor")
    return Concatenate.apply(_axis("concatenate", axis, tensors[0].ndim), *tensors)


def stack(tensors: Sequence[Any], axis: int = 0) -> Any:
    """Tensors of one shape along a new axis at position ``axis`` of the result, promoted to their common dtype.

    Raises ValueError where shapes differ or there is nothing to stack.
    """
    tensors = list(tensors)
    if not tensors:
        raise ValueError("stack: expected at least one tensor")
    return Stack.apply(_axis("stack", axis, tensors[0].ndim + 1), *tensors)


def unbind(x: Any, axis: int = 0) -> tuple[Any, ...]:
    """The slices along ``axis``, as a tuple: the inverse of :func:`stack`.

    One node for all of them: a loop over time steps differentiates in linear time, where ``x[t]`` in a loop would
    allocate a gradient of x's full size for every step.
    """
    return Unbind.apply(x, _axis("unbind", axis, x.ndim))


def split(x: Any, split_size_or_sections: int | Sequence[int], axis: int = 0) -> tuple[Any, ...]:
    """Pieces along ``axis``: of the given size each (the last one may be smaller), or of the sizes in a list.

    ``split(x, 4)`` of 10 rows gives 4, 4 and 2 of them. Raises ValueError when sizes are negative or do not add up.
    """
    axis = _axis("split", axis, x.ndim)
    length = x.shape[axis]
    if isinstance(split_size_or_sections, Sequence):
        sizes = tuple(split_size_or_sections)
        if sum(sizes) != length or any(size < 0 for size in sizes):
            raise ValueError(f"split: sizes {list(sizes)} do not add up to the {length} entries of axis {axis}")
    else:
        size = int(split_size_or_sections)
        if size < 1:
            raise ValueError(f"split: expected a size of at least 1, got {size}")
        sizes = tuple(min(size, length - start) for start in range(0, length, size)) or (0,)
    return Split.apply(x, sizes, axis)


_INDEX_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}  # PyTorch's name: NumPy's name


def pad(x: Any, pad: Sequence[int], mode: str = "constant", value: float = 0.0) -> Any:
    """A frame around ``x``, in PyTorch's order: (before, after) of the LAST axis first, then of the one before it, ...

    ``pad(x, (1, 2))`` of shape (3, 4) gives (3, 7): a column before, two after; ``pad(x, (1, 2, 0, 5))`` gives (8, 7).

    Args:
        pad: twice as many widths, none negative, as axes to pad (the last ones).
        mode: "constant" (``value``), "reflect" (mirrored without the edge: each width below the axis's size),
            "replicate" (the edge repeated) or "circular" (from the other end: each width at most the axis's size).
        value: of the frame, in mode "constant".

    Raises:
        ValueError: an unknown mode, or widths that are odd in number, too many, negative or too large for the mode.
    """
    widths = tuple(pad)
    if len(widths) % 2 or len(widths) > 2 * x.ndim or any(width < 0 for width in widths):
        raise ValueError(
            f"pad: expected (before, after) of at most {x.ndim} axes, the last first, none negative, got {widths}"
        )
    pairs = [(widths[i], widths[i + 1]) for i in range(0, len(widths), 2)]
    if mode == "constant":
        return Pad.apply(x, ((0, 0),) * (x.ndim - len(pairs)) + tuple(reversed(pairs)), value)
    if mode not in _INDEX_MODES:
        raise ValueError(f"pad: expected mode 'constant', {', '.join(map(repr, _INDEX_MODES))}, got {mode!r}")
    for axis, pair in zip(range(x.ndim - 1, -1, -1), pairs, strict=False):
        length = x.shape[axis]
        allowed = {"reflect": length - 1, "circular": length, "replicate": max(pair) if length else 0}[mode]
        if max(pair) > allowed:
            raise ValueError(
                f"pad: mode {mode!r} allows widths up to {allowed} on axis {axis} of size {length}, got {pair}"
            )
        if any(pair):
            x = index_select(x, axis, np.pad(np.arange(length), pair, mode=_INDEX_MODES[mode]))  # type: ignore[call-overload]
    return x


def flip(x: Any, axis: int | tuple[int, ...] | None = None) -> Any:
    """Entries in reverse order along ``axis`` (a number, several, or None for all)."""
    return Flip.apply(x, axis)


def roll(x: Any, shifts: int | tuple[int, ...], axis: int | tuple[int, ...] | None = None) -> Any:
    """Entries moved on by ``shifts`` along ``axis``, those beyond the end coming in at the start.

    Several axes take as many shifts. Without ``axis`` the entries are rolled in C order across all axes.
    """
    return Roll.apply(x, shifts, axis)


def tile(x: Any, *reps: Any) -> Any:
    """``x`` repeated as a whole ``reps`` times along each axis (numbers or one tuple), as ``numpy.tile``.

    Fewer numbers than axes count for the last axes, more add axes in front.
    """
    counts = _sizes(reps)
    counts = (1,) * (x.ndim - len(counts)) + tuple(counts)
    if any(count < 0 for count in counts):
        raise ValueError(f"tile: expected repetitions of at least 0, got {counts}")
    return Tile.apply(x, counts)


def repeat(x: Any, *sizes: Any) -> Any:
    """PyTorch's ``repeat``: :func:`tile` with a number for every axis at least.

    (NumPy's ``repeat``, each entry by itself, is :func:`repeat_interleave`.) Raises ValueError for fewer numbers.
    """
    counts = _sizes(sizes)
    if len(counts) < x.ndim:
        raise ValueError(f"repeat: expected at least {x.ndim} repetitions, one for each axis, got {counts}")
    return tile(x, counts)


def repeat_interleave(x: Any, repeats: Any, axis: int | None = None) -> Any:
    """Each entry (slice along ``axis``) repeated in place, as ``numpy.repeat``: [a, b], 2 → [a, a, b, b].

    ``repeats`` is a number, or an array of numbers, one for each slice. Without ``axis``, ``x`` is flattened first.
    Raises ValueError when the array's length is not the axis's.
    """
    if axis is None:
        return repeat_interleave(flatten(x), repeats, 0)
    axis = _axis("repeat_interleave", axis, x.ndim)
    counts = to_numpy(repeats._data if isinstance(repeats, Tensor) else repeats)
    if (counts < 0).any():
        raise ValueError("repeat_interleave: expected repetitions of at least 0")
    if counts.ndim == 0:
        repeats = int(counts)
        before, after = tuple(x.shape[: axis + 1]), tuple(x.shape[axis + 1 :])
        spread = expand(reshape(x, (*before, 1, *after)), (*before, repeats, *after))
        return reshape(spread, (*before[:-1], before[-1] * repeats, *after))
    if counts.shape != x.shape[axis : axis + 1]:
        raise ValueError(
            f"repeat_interleave: expected {x.shape[axis]} repetitions for axis {axis}, got shape {counts.shape}"
        )
    return index_select(x, axis, np.repeat(np.arange(x.shape[axis]), counts))


def _diagonal_key(rows: int, columns: int, offset: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column numbers of the entries on a diagonal."""
    length = max(0, min(rows + min(offset, 0), columns - max(offset, 0)))
    steps = np.arange(length)
    return steps + max(-offset, 0), steps + max(offset, 0)


def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The entries x[.., i, .., i + offset, ..] of axes ``axis1`` and ``axis2``, which give way to one last axis."""
    first, second = _axis("diagonal", axis1, x.ndim), _axis("diagonal", axis2, x.ndim)
    if first == second:
        raise ValueError(f"diagonal: expected two different axes, got {axis1} and {axis2}")
    rest = [axis for axis in range(x.ndim) if axis not in (first, second)]
    if [*rest, first, second] != list(range(x.ndim)):
        x = permute(x, (*rest, first, second))
    return getitem(x, (..., *_diagonal_key(x.shape[-2], x.shape[-1], offset)))


def diag(x: Any, offset: int = 0) -> Any:
    """A matrix with the vector ``x`` on diagonal ``offset`` and zeros elsewhere, or that diagonal of a matrix ``x``.

    Raises ValueError when ``x`` has neither one nor two axes.
    """
    if x.ndim == 2:
        return diagonal(x, offset)
    if x.ndim != 1:
        raise ValueError(f"diag: expected a vector or a matrix, got shape {tuple(x.shape)}")
    side = x.shape[0] + abs(offset)
    return scatter(x, (side, side), _diagonal_key(side, side, offset))


def _check_matrix(name: str, x: Any) -> None:
    if x.ndim < 2:  # NumPy would repeat a vector
        raise ValueError(f"{name}: expected matrices (..., n, m), got shape {tuple(x.shape)}")


def tril(x: Any, diagonal: int = 0) -> Any:
    """Zeros above diagonal number ``diagonal`` (0 the main one, 1 the one above it) of the last two axes.

    Raises ValueError for fewer than two axes.
    """
    _check_matrix("tril", x)
    return Tril.apply(x, diagonal)


def triu(x: Any, diagonal: int = 0) -> Any:
    """Zeros below diagonal number ``diagonal`` (0 the main one, 1 the one above it) of the last two axes.

    Raises ValueError for fewer than two axes.
    """
    _check_matrix("triu", x)
    return Triu.apply(x, diagonal)
