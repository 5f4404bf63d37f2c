"""Squares and roots, signs, rounding, and choices between operands, entry by entry."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_hw.autograd import Function
from tinygrad_hw.backend import Array, array_module
from tinygrad_hw.operands import get_default_dtype
from tinygrad_hw.tensor import Tensor, raw_of

__all__ = [
    "abs", "ceil", "clip", "floor", "masked", "maximum", "minimum", "reciprocal", "round", "sign", "sqrt", "square",
    "where",
]  # fmt: skip

_BITS = {np.dtype(f"f{size}"): np.dtype(f"i{size}") for size in (2, 4, 8)}


class Square(Function):
    """y = x²; dy/dx = 2x."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensors
        return grad * (2 * x)


class Sqrt(Function):
    """y = √x; dy/dx = 1/(2y), infinite at 0."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        y = array_module(x).sqrt(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (y,) = ctx.saved_tensors
        return grad / (2 * y)


class Reciprocal(Function):
    """y = 1/x; dy/dx = -y²."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        y = 1 / x
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (y,) = ctx.saved_tensors
        return -grad * (y * y)


# --------------------------------------------------------------------------------------------------- signs and rounding


class Abs(Function):
    """y = |x|; dy/dx = sign x, 0 at 0."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return array_module(x).abs(x)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        x = raw_of(ctx.saved_tensors[0])
        return grad * array_module(x).sign(x)


class Sign(Function):
    """y = -1, 0 or 1; dy/dx = 0."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return array_module(x).sign(x)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return gate(grad, False)


class Round(Function):
    """y = the nearest integer, halves to the even one; dy/dx = 0."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return array_module(x).rint(x) if x.dtype.kind == "f" else x.copy()

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return gate(grad, False)


class Floor(Function):
    """y = the greatest integer ≤ x; dy/dx = 0."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return array_module(x).floor(x) if x.dtype.kind == "f" else x.copy()

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return gate(grad, False)


class Ceil(Function):
    """y = the least integer ≥ x; dy/dx = 0."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return array_module(x).ceil(x) if x.dtype.kind == "f" else x.copy()

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return gate(grad, False)


# --------------------------------------------------------------------------------------------- choices between operands


def _masked(x: Array, mask: Array) -> Array:
    """``x`` where ``mask``, else 0, by multiplying the bits of ``x`` with 0 or 1.

    As fast as a product of numbers but right for infinities and NaN; np.where branches at every entry, which takes ten
    to twenty times as long where the mask is irregular.
    """
    return (x.view(_BITS[x.dtype]) * mask).view(x.dtype)


def gate(grad: Any, mask: Any) -> Any:
    """:func:`masked` for gradients: the short way for arrays, and the mask, an array or a bool, has no gradient."""
    return Masked.apply(grad, mask) if isinstance(grad, Tensor) else _masked(grad, mask)


def nonzero(y: Any) -> Any:
    """``y`` with 1 in place of 0: a denominator under a numerator that is 0 there, for the quotient to be 0."""
    return y + (raw_of(y) == 0)


class Masked(Function):
    """y = x where the mask is True, else 0; ∂y/∂x = 1 there, else 0, whatever the incoming gradient."""

    broadcasts = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any, mask: Any) -> Any:
        ctx.mask = mask
        return _masked(x, mask)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return gate(grad, ctx.mask)


class Where(Function):
    """y = a where the condition holds, else b; the gradient goes to the one that was chosen."""

    broadcasts = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, condition: Any, a: Any, b: Any) -> Any:
        xp = array_module(a, b, condition)
        ctx.condition = condition = xp.asarray(condition, dtype=bool)
        dtype = getattr(a, "dtype", None)
        if dtype is not getattr(b, "dtype", None):  # numbers, or booleans, which operands may keep
            dtype = np.result_type(*(getattr(operand, "dtype", operand) for operand in (a, b)))
            a, b = xp.asarray(a, dtype=dtype), xp.asarray(b, dtype=dtype)
        if xp is not np or dtype not in _BITS:
            return xp.where(condition, a, b)
        a, b = a.view(_BITS[dtype]), b.view(_BITS[dtype])  # as in _masked
        return ((a ^ b) * condition ^ b).view(dtype)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        condition, (_, wants_a, wants_b) = ctx.condition, ctx.needs_input_grad
        return None, gate(grad, condition) if wants_a else None, gate(grad, ~condition) if wants_b else None


def _where_chosen(grad: Any, better: Array, as_good: Array) -> Any:
    """Half the gradient for being as good as the other operand, and half for being better."""
    half = 0.5 * grad
    return gate(half, better) + gate(half, as_good)


class Maximum(Function):
    """y = max(a, b); the gradient goes to the greater, half to each where they tie."""

    broadcasts = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        ctx.save_for_backward(a, b)
        return array_module(a, b).maximum(a, b)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (a, b), (wants_a, wants_b) = map(raw_of, ctx.saved_tensors), ctx.needs_input_grad
        ga = _where_chosen(grad, a > b, a >= b) if wants_a else None
        return ga, _where_chosen(grad, b > a, b >= a) if wants_b else None


class Minimum(Function):
    """y = min(a, b); the gradient goes to the smaller, half to each where they tie."""

    broadcasts = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        ctx.save_for_backward(a, b)
        return array_module(a, b).minimum(a, b)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (a, b), (wants_a, wants_b) = map(raw_of, ctx.saved_tensors), ctx.needs_input_grad
        ga = _where_chosen(grad, a < b, a <= b) if wants_a else None
        return ga, _where_chosen(grad, b < a, b <= a) if wants_b else None


class Clip(Function):
    """y = min(max(x, low), high); ∂y/∂x = 1 inside and at the bounds; beyond a bound, that takes the gradient."""

    broadcasts = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any, low: Any, high: Any) -> Any:
        if x.dtype.kind == "f" and not (hasattr(low, "dtype") or hasattr(high, "dtype")):
            # NumPy limits on both sides three times as fast as on one
            y = x.clip(-math.inf if low is None else low, math.inf if high is None else high)
        else:
            y = x.clip(low, high)
        ctx.save_for_backward(x, low, high, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        x, low, high, y = map(raw_of, ctx.saved_tensors)
        wants_x, wants_low, wants_high = ctx.needs_input_grad
        gx = gate(grad, y == x) if wants_x else None
        g_low = g_high = None
        if wants_low:
            g_low = gate(grad, x < low if high is None else (x < low) & (low <= high))
        if wants_high:
            g_high = gate(grad, x > high if low is None else (x > high) | (low > high))
        return gx, g_low, g_high


# ----------------------------------------------------------------------------------------------------- public functions


def square(x: Any) -> Any:
    """x², entry by entry."""
    return Square.apply(x)


def sqrt(x: Any) -> Any:
    """√x, entry by entry: NaN below 0, and an infinite gradient at 0; integers give the default floating dtype.

    To have it on part of an array, see :func:`where`.
    """
    return Sqrt.apply(x)


def reciprocal(x: Any) -> Any:
    """1/x, entry by entry; integers give the default floating dtype."""
    return Reciprocal.apply(x)


def abs(x: Any) -> Any:
    """|x|, entry by entry; its gradient at 0 is 0."""
    return Abs.apply(x)


def sign(x: Any) -> Any:
    """-1, 0 or 1, entry by entry; its gradient is 0 everywhere (for another choice see ``ste_sign``)."""
    return Sign.apply(x)


def round(x: Any) -> Any:
    """The nearest integer in the same dtype, halves to the even one; its gradient is 0 (see also ``ste_round``)."""
    return Round.apply(x)


def floor(x: Any) -> Any:
    """The greatest integer ≤ x in the same dtype; its gradient is 0."""
    return Floor.apply(x)


def ceil(x: Any) -> Any:
    """The least integer ≥ x in the same dtype; its gradient is 0."""
    return Ceil.apply(x)


def masked(x: Any, mask: Any) -> Any:
    """A floating ``x`` where the boolean ``mask`` is True, else 0; the two broadcast (ValueError where they do not).

    Unlike the product x · mask it does not let an infinity or NaN of ``x`` through where the mask is False.
    Raises TypeError where ``x`` holds no floating-point numbers or ``mask`` no booleans.
    """
    dtype = getattr(x, "dtype", None)
    if dtype not in _BITS:
        raise TypeError(f"masked: expected floating-point numbers, got {dtype or type(x).__name__}")
    if raw_of(mask).dtype != bool:
        raise TypeError(f"masked: expected a boolean mask, got {raw_of(mask).dtype}")
    return Masked.apply(x, mask)


def where(condition: Any, a: Any, b: Any) -> Any:
    """``a`` where ``condition`` (booleans) holds, else ``b``; the three broadcast, and ``a`` and ``b`` may be numbers.

    The gradient of the operand that was not chosen is 0, but it is then multiplied by that operand's own derivative:
    ``where(x > 0, sqrt(x), 0)`` has the gradient 0 · ∞ = NaN at x = 0, in every engine. The cure is a second ``where``
    that keeps the operand inside its domain: ``where(x > 0, sqrt(where(x > 0, x, 1)), 0)``.
    """
    if not (hasattr(a, "dtype") or hasattr(b, "dtype")):  # two numbers
        a = np.asarray(a, dtype=get_default_dtype() if isinstance(a, float) or isinstance(b, float) else None)
        a = array_module(raw_of(condition)).asarray(a)
    return Where.apply(condition, a, b)


def maximum(a: Any, b: Any) -> Any:
    """The greater of ``a`` and ``b``, entry by entry, NaN where one is NaN; a tie gives half the gradient to each.

    Tensors, arrays or numbers that broadcast together.
    """
    return Maximum.apply(a, b)


def minimum(a: Any, b: Any) -> Any:
    """The smaller of ``a`` and ``b``; else as :func:`maximum`."""
    return Minimum.apply(a, b)


def clip(x: Any, min: Any = None, max: Any = None) -> Any:
    """x limited to [min, max], entry by entry; ``max`` wins where min > max.

    A bound is a number, an array, a Tensor, or None for none. The gradient of ``x`` is 1 inside and at the bounds, 0
    beyond; there a bound that is a Tensor takes it. Raises ValueError where both bounds are None.
    """
    if not hasattr(x, "dtype"):
        raise TypeError(f"clip: expected a Tensor or an array, got {type(x).__name__}")
    if min is None and max is None:
        raise ValueError("clip: expected at least one of min and max, both are None")
    return Clip.apply(x, min, max)
