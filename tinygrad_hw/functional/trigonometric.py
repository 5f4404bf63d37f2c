"""Trigonometric and hyperbolic functions, entry by entry. Angles are in radians.

Integers give the default floating dtype.
"""

from __future__ import annotations

from typing import Any

from tinygrad_hw.autograd import Function
from tinygrad_hw.backend import array_module
from tinygrad_hw.functional.elementwise import nonzero, sqrt

__all__ = [
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cos", "cosh", "sin", "sinh", "tan", "tanh",
]  # fmt: skip


class Sin(Function):
    """y = sin x; dy/dx = cos x."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return array_module(x).sin(x)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensors
        return grad * cos(x)


class Cos(Function):
    """y = cos x; dy/dx = -sin x."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return array_module(x).cos(x)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensors
        return -grad * sin(x)


class Tan(Function):
    """y = tan x; dy/dx = 1 + y²."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        y = array_module(x).tan(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (y,) = ctx.saved_tensors
        return grad * (1 + y * y)


class Asin(Function):
    """y = arcsin x; dy/dx = 1/√(1 - x²)."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return array_module(x).arcsin(x)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensors
        return grad / sqrt((1 - x) * (1 + x))


class Acos(Function):
    """y = arccos x; dy/dx = -1/√(1 - x²)."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return array_module(x).arccos(x)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensors
        return -grad / sqrt((1 - x) * (1 + x))


class Atan(Function):
    """y = arctan x; dy/dx = 1/(1 + x²)."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return array_module(x).arctan(x)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensors
        return grad / (1 + x * x)


class Atan2(Function):
    """The angle φ of the point (x, y); ∂φ/∂y = x/(x² + y²), ∂φ/∂x = -y/(x² + y²)."""

    broadcasts = True
    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, y: Any, x: Any) -> Any:
        ctx.save_for_backward(y, x)
        return array_module(y, x).arctan2(y, x)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        y, x = ctx.saved_tensors
        wants_y, wants_x = ctx.needs_input_grad
        scaled = grad / nonzero(x * x + y * y)
        return scaled * x if wants_y else None, -scaled * y if wants_x else None


class Sinh(Function):
    """y = sinh x; dy/dx = cosh x."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return array_module(x).sinh(x)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensors
        return grad * cosh(x)


class Cosh(Function):
    """y = cosh x; dy/dx = sinh x."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return array_module(x).cosh(x)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensors
        return grad * sinh(x)


class Tanh(Function):
    """y = tanh x; dy/dx = 1 - y²."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        y = array_module(x).tanh(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (y,) = ctx.saved_tensors
        return grad * (1 - y * y)


class Asinh(Function):
    """y = arsinh x; dy/dx = 1/√(x² + 1)."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return array_module(x).arcsinh(x)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensors
        return grad / sqrt(x * x + 1)


class Acosh(Function):
    """y = arcosh x; dy/dx = 1/√(x² - 1)."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return array_module(x).arccosh(x)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensors
        return grad / sqrt((x - 1) * (x + 1))


class Atanh(Function):
    """y = artanh x; dy/dx = 1/(1 - x²)."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return array_module(x).arctanh(x)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensors
        return grad / ((1 - x) * (1 + x))


def sin(x: Any) -> Any:
    """sin x, entry by entry, x in radians."""
    return Sin.apply(x)


def cos(x: Any) -> Any:
    """cos x, entry by entry, x in radians."""
    return Cos.apply(x)


def tan(x: Any) -> Any:
    """tan x, entry by entry, x in radians."""
    return Tan.apply(x)


def asin(x: Any) -> Any:
    """arcsin x in [-π/2, π/2], entry by entry; NaN beyond [-1, 1], an infinite gradient at ±1."""
    return Asin.apply(x)


def acos(x: Any) -> Any:
    """arccos x in [0, π], entry by entry; NaN beyond [-1, 1], an infinite gradient at ±1."""
    return Acos.apply(x)


def atan(x: Any) -> Any:
    """arctan x in (-π/2, π/2), entry by entry."""
    return Atan.apply(x)


def atan2(y: Any, x: Any) -> Any:
    """The angle of the point (x, y) in [-π, π], entry by entry; Tensors, arrays or numbers that broadcast together.

    The gradient at (0, 0) is 0.
    """
    return Atan2.apply(y, x)


def sinh(x: Any) -> Any:
    """sinh x, entry by entry."""
    return Sinh.apply(x)


def cosh(x: Any) -> Any:
    """cosh x, entry by entry."""
    return Cosh.apply(x)


def tanh(x: Any) -> Any:
    """tanh x, entry by entry."""
    return Tanh.apply(x)


def asinh(x: Any) -> Any:
    """arsinh x, the inverse of sinh, entry by entry."""
    return Asinh.apply(x)


def acosh(x: Any) -> Any:
    """arcosh x ≥ 0, the inverse of cosh, entry by entry; NaN below 1, an infinite gradient at 1."""
    return Acosh.apply(x)


def atanh(x: Any) -> Any:
    """artanh x, the inverse of tanh, entry by entry; ±∞ at ±1, NaN beyond."""
    return Atanh.apply(x)
