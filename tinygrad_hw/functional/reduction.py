"""Sums, means, variances, extremes, products and norms along axes.

``axis`` is an integer, several as a tuple, or None for all; negative ones count from the end. ``keepdims`` keeps the
reduced axes with size 1. Each function raises IndexError where there is no such axis, and ValueError where one is named
twice.
"""

from __future__ import annotations

import math
import operator
from numbers import Real
from typing import Any

from tinygrad_hw.autograd import Function
from tinygrad_hw.backend import Array, array_module
from tinygrad_hw.functional.arithmetic import expand
from tinygrad_hw.functional.elementwise import abs, gate, nonzero, where
from tinygrad_hw.functional.shape import reshape, roll
from tinygrad_hw.tensor import Tensor, raw_of

__all__ = ["cumsum", "max", "mean", "min", "norm", "prod", "std", "sum", "var"]

Axes = tuple[int, ...] | None
Axis = int | tuple[int, ...] | None


def axes_of(name: str, x: Any, axis: Axis) -> Axes:
    """``axis`` as a tuple of axes counted from the front, None for all; raises what the head of this file says."""
    if not hasattr(x, "ndim"):
        raise TypeError(f"{name}: expected a Tensor or an array, got {type(x).__name__}")
    if axis is None:
        return None
    ndim = x.ndim
    if type(axis) is int and -ndim <= axis < ndim:  # the usual case, on the way of every call
        return (axis % ndim,)
    try:
        axes = tuple(map(operator.index, axis if isinstance(axis, (tuple, list)) else (axis,)))
    except TypeError:
        raise TypeError(f"{name}: expected an integer axis, a tuple of them or None, got {axis!r}") from None
    for each in axes:
        if not -ndim <= each < ndim:
            raise IndexError(f"{name}: axis {each} is out of range for the shape {tuple(x.shape)}")
    axes = tuple(each % ndim for each in axes)
    if len(set(axes)) != len(axes):
        raise ValueError(f"{name}: axis {axis} names an axis twice")
    return axes


def axis_of(name: str, x: Any, axis: int) -> int:
    """A single axis, counted from the front; raises as :func:`axes_of`, and TypeError where it is not one."""
    axes = axes_of(name, x, axis)
    if axes is None or len(axes) != 1:
        raise TypeError(f"{name}: expected one axis, got {axis!r}")
    return axes[0]


def count_of(name: str, shape: tuple[int, ...], axes: Axes, least: float = 1) -> int:
    """How many entries go into each result; raises ValueError where that is fewer than ``least``."""
    count = math.prod(shape if axes is None else [shape[axis] for axis in axes])
    if count < least:
        raise ValueError(f"{name}: needs at least {least} entries, got {count} (shape {tuple(shape)}, axis {axes})")
    return count


def kept(reduced: Any, shape: tuple[int, ...], axes: Axes) -> Any:
    """``reduced``, or its gradient, with the reduced axes of ``shape`` put back with size 1."""
    if reduced.ndim == len(shape):
        return reduced
    if axes is None:
        return reduced.reshape((1,) * len(shape))
    return reduced.reshape(tuple(1 if axis in axes else size for axis, size in enumerate(shape)))


class Sum(Function):
    """y = Σ x; ∂y/∂xᵢ = 1."""

    @staticmethod
    def forward(ctx: Any, x: Any, axes: Axes, keepdims: bool) -> Any:
        ctx.shape, ctx.axes = x.shape, axes
        return x.sum(axis=axes, keepdims=keepdims)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return expand(kept(grad, ctx.shape, ctx.axes), ctx.shape)


class Mean(Function):
    """y = Σ x / n; ∂y/∂xᵢ = 1/n."""

    floating = True

    @staticmethod
    def forward(ctx: Any, x: Any, axes: Axes, count: int, keepdims: bool) -> Any:
        ctx.shape, ctx.axes, ctx.count = x.shape, axes, count
        return x.sum(axis=axes, keepdims=keepdims) / count

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return expand(kept(grad / ctx.count, ctx.shape, ctx.axes), ctx.shape)


def _variance(ctx: Any, x: Array, axes: Axes, count: int, correction: float, keepdims: bool) -> Array:
    """The value of Var and the square of Std's, and what both need for their gradients."""
    ctx.axes, ctx.count, ctx.degrees = axes, count, count - correction
    ctx.mean = x.sum(axis=axes, keepdims=True) / count
    centred = x - ctx.mean
    return (centred * centred).sum(axis=axes, keepdims=keepdims) / ctx.degrees


def _centred(ctx: Any, x: Any) -> Any:
    return x - (x.sum(axis=ctx.axes, keepdims=True) / ctx.count if ctx.recording else ctx.mean)


class Var(Function):
    """y = Σ (x - m)²/(n - c), m the mean; ∂y/∂xᵢ = 2 (xᵢ - m)/(n - c), since Σ (x - m) = 0 leaves nothing of ∂m."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any, axes: Axes, count: int, correction: float, keepdims: bool) -> Any:
        ctx.save_for_backward(x)
        return _variance(ctx, x, axes, count, correction, keepdims)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensors
        return kept(grad * (2 / ctx.degrees), x.shape, ctx.axes) * _centred(ctx, x)


class Std(Function):
    """y = √var x; ∂y/∂xᵢ = (xᵢ - m)/((n - c) y), 0 where y = 0."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any, axes: Axes, count: int, correction: float, keepdims: bool) -> Any:
        y = array_module(x).sqrt(_variance(ctx, x, axes, count, correction, keepdims))
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        x, y = ctx.saved_tensors
        scale = grad / (ctx.degrees * nonzero(y))
        return kept(scale, x.shape, ctx.axes) * _centred(ctx, x)


def _to_the_chosen(ctx: Any, grad: Any) -> Any:
    """The gradient of an extreme, shared evenly among the entries that are equal to it."""
    x, y = map(raw_of, ctx.saved_tensors)
    chosen = x == kept(y, x.shape, ctx.axes)
    number = nonzero(chosen.sum(axis=ctx.axes, keepdims=True).astype(y.dtype))  # none is equal to NaN
    return gate(kept(grad, x.shape, ctx.axes) / number, chosen)


class Max(Function):
    """y = max x; the greatest entries share the gradient evenly."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any, axes: Axes, keepdims: bool) -> Any:
        ctx.axes = axes
        y = x.max(axis=axes, keepdims=keepdims)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return _to_the_chosen(ctx, grad)


class Min(Function):
    """y = min x; the least entries share the gradient evenly."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any, axes: Axes, keepdims: bool) -> Any:
        ctx.axes = axes
        y = x.min(axis=axes, keepdims=keepdims)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return _to_the_chosen(ctx, grad)


class Prod(Function):
    """y = Π x along one axis, kept with size 1; ∂y/∂xᵢ is the product of the others, so that zeros do no harm."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any, axis: int) -> Any:
        ctx.axis = axis
        ctx.save_for_backward(x)
        return x.prod(axis=axis, keepdims=True)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensors
        return grad * (_product_before(x, ctx.axis, 1) * _product_before(x, ctx.axis, -1))


def _product_before(x: Any, axis: int, direction: int) -> Any:
    """The product of all entries before each along ``axis`` (after each, for ``direction`` -1).

    Of Tensors by doubling: after k steps each entry holds the product of the 2ᵏ before it (Hillis & Steele 1986, "Data
    parallel algorithms"), in about log₂ n differentiable operations.
    """
    size = x.shape[axis]
    place = array_module(raw_of(x)).arange(size).reshape((size,) + (1,) * (x.ndim - axis - 1))
    if direction < 0:
        place = size - 1 - place
    product = where(place >= 1, roll(x, direction, axis), 1)
    if not isinstance(x, Tensor):
        along = (slice(None),) * axis + (slice(None, None, direction),)
        return product[along].cumprod(axis=axis)[along]
    shift = 1
    while shift < size - 1:
        product = product * where(place >= shift, roll(product, direction * shift, axis), 1)
        shift *= 2
    return product


class Cumsum(Function):
    """yⱼ = Σ xᵢ over i ≤ j; ∂/∂xᵢ gathers the gradients from i to the end."""

    @staticmethod
    def forward(ctx: Any, x: Any, axis: int) -> Any:
        ctx.axis = axis
        return x.cumsum(axis=axis)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        backwards = (slice(None),) * ctx.axis + (slice(None, None, -1),)
        return cumsum(grad[backwards], ctx.axis)[backwards]


class Norm(Function):
    """y = (Σ |x|ᵖ)^(1/p); ∂y/∂xᵢ = sign xᵢ (|xᵢ|/y)^(p-1), 0 where xᵢ = 0."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any, p: float, axes: Axes, keepdims: bool) -> Any:
        ctx.p, ctx.axes = p, axes
        xp = array_module(x)
        if p == 2:
            y = xp.sqrt((x * x).sum(axis=axes, keepdims=keepdims))
        elif x.size == 0:
            y = x.sum(axis=axes, keepdims=keepdims)
        else:
            size = xp.abs(x)
            greatest = nonzero(size.max(axis=axes, keepdims=True))  # divided out, lest a power overflow
            y = greatest * ((size / greatest) ** p).sum(axis=axes, keepdims=True) ** (1 / p)
            y = y if keepdims else y.squeeze(axis=axes)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        x, y = ctx.saved_tensors
        y = nonzero(kept(y, x.shape, ctx.axes))
        grad = kept(grad, x.shape, ctx.axes)
        if ctx.p == 2:
            return grad / y * x
        entries = raw_of(x)
        sign = array_module(entries).sign(entries)
        return grad * (sign * (nonzero(abs(x)) / y) ** (ctx.p - 1))


def sum(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Σ x; 0 where there are no entries. Booleans and integers give integers."""
    return Sum.apply(x, axes_of("sum", x, axis), keepdims)


def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Σ x / n; integers give the default floating dtype. Raises ValueError where there are no entries."""
    axes = axes_of("mean", x, axis)
    return Mean.apply(x, axes, count_of("mean", x.shape, axes), keepdims)


def var(x: Any, axis: Axis = None, correction: float = 1, keepdims: bool = False) -> Any:
    """The variance Σ (x - mean)²/(n - ``correction``).

    As in PyTorch ``correction`` is 1 (Bessel's: an unbiased estimate from a sample) where NumPy's ``ddof`` is 0. Raises
    ValueError where n ≤ ``correction`` or there are no entries.
    """
    axes = axes_of("var", x, axis)
    count = count_of("var", x.shape, axes, math.floor(correction) + 1)
    return Var.apply(x, axes, count, correction, keepdims)


def std(x: Any, axis: Axis = None, correction: float = 1, keepdims: bool = False) -> Any:
    """The square root of :func:`var`; its gradient is 0 where all entries are equal."""
    axes = axes_of("std", x, axis)
    count = count_of("std", x.shape, axes, math.floor(correction) + 1)
    return Std.apply(x, axes, count, correction, keepdims)


def max(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The greatest entry, NaN if there is one; entries that tie share the gradient evenly (PyTorch's ``amax``).

    The values alone: the positions come from ``argmax``. Raises ValueError where there are no entries.
    """
    axes = axes_of("max", x, axis)
    count_of("max", x.shape, axes)
    return Max.apply(x, axes, keepdims)


def min(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The least entry; else as :func:`max`."""
    axes = axes_of("min", x, axis)
    count_of("min", x.shape, axes)
    return Min.apply(x, axes, keepdims)


def prod(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Π x; 1 where there are no entries. Zeros among the entries are right in the gradients of every order."""
    axes = axes_of("prod", x, axis)
    shape = x.shape
    if axes is None:
        y = Prod.apply(reshape(x, -1), 0)
        return reshape(y, (1,) * len(shape) if keepdims else ())
    y = x
    for each in axes:
        y = Prod.apply(y, each)
    return y if keepdims else reshape(y, tuple(size for each, size in enumerate(shape) if each not in axes))


def cumsum(x: Any, axis: int) -> Any:
    """The running sum along ``axis``: yⱼ = Σ xᵢ over i ≤ j."""
    return Cumsum.apply(x, axis_of("cumsum", x, axis))


def norm(x: Any, p: float = 2, axis: Axis = None, keepdims: bool = False) -> Any:
    """The vector norm (Σ |x|ᵖ)^(1/p) over ``axis`` for p > 0; max |x| for p = ∞, min |x| for p = -∞.

    A matrix counts as the vector of its entries (p = 2 is Frobenius' norm). The gradient of an entry 0 is 0. Raises
    ValueError for any other p, and for p = ±∞ where there are no entries.
    """
    axes = axes_of("norm", x, axis)
    if p == 1:
        return sum(abs(x), axes, keepdims)
    if p in (math.inf, -math.inf):
        return (max if p == math.inf else min)(abs(x), axes, keepdims)
    if not (isinstance(p, Real) and p > 0):
        raise ValueError(f"norm: expected p > 0, inf or -inf, got {p!r}")
    return Norm.apply(x, p, axes, keepdims)
