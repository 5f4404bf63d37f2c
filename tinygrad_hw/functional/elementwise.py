"""Powers, signs, rounding, and choices between operands, entry by entry."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_hw.autograd import Function
from tinygrad_hw.backend import Array, array_module, is_array
from tinygrad_hw.functional.comparison import raw
from tinygrad_hw.functional.transcendental import log
from tinygrad_hw.operands import get_default_dtype
from tinygrad_hw.tensor import Tensor

__all__ = [
    "abs", "ceil", "clip", "floor", "masked", "maximum", "minimum", "pow", "reciprocal", "round", "sign", "sqrt", "square",
    "where",
]  # fmt: skip

_BITS = {np.dtype(f"f{size}"): np.dtype(f"i{size}") for size in (2, 4, 8)}
_MOST_FACTORS = 16  # the largest power that is multiplied out


# ---------------------------------------------------------------------------------------------------------------- powers


def _power(x: Any, p: Any) -> Any:
    """x ** p for a number p. NumPy's general power takes a hundred times as long as a product."""
    if isinstance(x, Tensor) or not is_array(x) or x.dtype.kind != "f":
        return x**p
    if p == -0.5:
        return 1 / x**0.5
    factors = math.fabs(p)
    if not (2 < factors <= _MOST_FACTORS or p == -2) or factors != math.floor(factors):
        return x**p  # NumPy has short cuts for -1, 0, 0.5, 1 and 2
    product, square, count = None, x, int(factors)
    while count:
        if count & 1:
            product = square if product is None else product * square
        count >>= 1
        if count:
            square = square * square
    return product if p > 0 else 1 / product


class Pow(Function):
    """y = x^p; ∂y/∂x = p x^(p-1), 0 where p = 0; ∂y/∂p = y log x, 0 where x = 0 ≤ p."""

    broadcasts = True

    @staticmethod
    def forward(ctx: Any, x: Any, p: Any) -> Any:
        y = x**p if is_array(p) else _power(x, p)
        ctx.save_for_backward(x, p, y if ctx.needs_input_grad[1] else None)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        x, p, y = ctx.saved_tensors
        base, exponent = raw(x), raw(p)
        gx = gp = None
        if ctx.needs_input_grad[0]:
            if is_array(exponent):
                undefined = (base == 0) & (exponent == 0)  # 0 · 0⁻¹: any power that is not negative will do
                gx = grad * (p * x ** (where(undefined, 1, p) - 1))
            elif p == 2:
                gx = grad * (2 * x)
            else:
                gx = grad * (p * _power(x, p - 1)) if p != 0 else _zeros_like(grad)
        if ctx.needs_input_grad[1]:
            if not is_array(base):
                x = base = array_module(exponent).asarray(base, dtype=exponent.dtype)
            gp = grad * (y * log(where((base == 0) & (exponent >= 0), 1, x)))
        return gx, gp


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


# ------------------------------------------------------------------------------------------------------ signs and rounding


def _zeros_like(grad: Any) -> Any:
    """The gradient of a step function."""
    array = raw(grad)
    zeros = array_module(array).zeros(array.shape, array.dtype)
    return Tensor._make(zeros, None) if isinstance(grad, Tensor) else zeros


class Abs(Function):
    """y = |x|; dy/dx = sign x, 0 at 0."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return array_module(x).abs(x)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        x = raw(ctx.saved_tensors[0])
        return grad * array_module(x).sign(x)


class Sign(Function):
    """y = -1, 0 or 1; dy/dx = 0."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return array_module(x).sign(x)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return _zeros_like(grad)


class Round(Function):
    """y = the nearest integer, halves to the even one; dy/dx = 0."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return array_module(x).rint(x) if x.dtype.kind == "f" else x.copy()

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return _zeros_like(grad)


class Floor(Function):
    """y = the greatest integer ≤ x; dy/dx = 0."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return array_module(x).floor(x) if x.dtype.kind == "f" else x.copy()

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return _zeros_like(grad)


class Ceil(Function):
    """y = the least integer ≥ x; dy/dx = 0."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return array_module(x).ceil(x) if x.dtype.kind == "f" else x.copy()

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return _zeros_like(grad)


# ------------------------------------------------------------------------------------------------ choices between operands


def _masked(x: Array, mask: Array) -> Array:
    """``x`` where ``mask``, else 0, by multiplying the bits of ``x`` with 0 or 1.

    As fast as a product of numbers but right for infinities and NaN; np.where branches at every entry, which takes ten to
    twenty times as long where the mask is irregular.
    """
    return (x.view(_BITS[x.dtype]) * mask).view(x.dtype)


class Masked(Function):
    """y = x where the mask is True, else 0; ∂y/∂x = 1 there, else 0, whatever the incoming gradient."""

    broadcasts = True

    @staticmethod
    def forward(ctx: Any, x: Any, mask: Any) -> Any:
        ctx.mask = mask
        return _masked(x, mask)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return masked(grad, ctx.mask)


class Where(Function):
    """y = a where the condition holds, else b; the gradient goes to the one that was chosen."""

    broadcasts = True

    @staticmethod
    def forward(ctx: Any, condition: Any, a: Any, b: Any) -> Any:
        xp = array_module(condition, a, b)
        if condition.dtype.kind != "b":
            condition = condition != 0
        ctx.condition = condition
        dtype = a.dtype if is_array(a) else b.dtype
        a, b = xp.asarray(a, dtype=dtype), xp.asarray(b, dtype=dtype)
        if xp is not np or dtype not in _BITS:
            return xp.where(condition, a, b)
        bits = _BITS[dtype]  # as in _masked
        return (a.view(bits) * condition + b.view(bits) * ~condition).view(dtype)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        condition, (_, wants_a, wants_b) = ctx.condition, ctx.needs_input_grad
        return None, masked(grad, condition) if wants_a else None, masked(grad, ~condition) if wants_b else None


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
        return _to_the_chosen(ctx, grad, *map(raw, ctx.saved_tensors))


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
        a, b = map(raw, ctx.saved_tensors)
        return _to_the_chosen(ctx, grad, -a, -b)


def _to_the_chosen(ctx: Any, grad: Any, a: Any, b: Any) -> tuple[Any, Any]:
    """The gradients of max(a, b): half for being at least as great, half for being greater."""
    wants_a, wants_b = ctx.needs_input_grad
    half = 0.5 * grad
    return (
        masked(half, a > b) + masked(half, a >= b) if wants_a else None,
        masked(half, b > a) + masked(half, b >= a) if wants_b else None,
    )


class Clip(Function):
    """y = min(max(x, low), high); ∂y/∂x = 1 inside and at the bounds; a bound takes the gradient where x lies beyond."""

    broadcasts = True

    @staticmethod
    def forward(ctx: Any, x: Any, low: Any, high: Any) -> Any:
        if x.dtype.kind == "f" and not (is_array(low) or is_array(high)):  # two numbers: three times as fast as one
            y = x.clip(-math.inf if low is None else low, math.inf if high is None else high)
        else:
            y = x.clip(low, high)
        ctx.save_for_backward(x, low, high, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        x, low, high, y = map(raw, ctx.saved_tensors)
        wants_x, wants_low, wants_high = ctx.needs_input_grad
        gx = masked(grad, y == x) if wants_x else None
        g_low = g_high = None
        if wants_low:
            g_low = masked(grad, x < low if high is None else (x < low) & (low <= high))
        if wants_high:
            g_high = masked(grad, x > high if low is None else (x > high) | (low > high))
        return gx, g_low, g_high
