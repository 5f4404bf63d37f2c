"""Powers, exponentials, logarithms and the error function, entry by entry."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_hw.autograd import Function
from tinygrad_hw.backend import Array, array_module
from tinygrad_hw.functional.elementwise import gate, where
from tinygrad_hw.tensor import Tensor, raw_of

__all__ = ["erf", "exp", "expm1", "log", "log1p", "pow"]

_MOST_FACTORS = 16  # the largest power that is multiplied out


def _power(x: Any, p: Any) -> Any:
    """x ** p for a number p. NumPy's general power takes a hundred times as long as a product."""
    if isinstance(x, Tensor) or not hasattr(x, "dtype") or x.dtype.kind != "f":
        return x**p
    if p == -0.5:
        return 1 / x**0.5
    factors = math.fabs(p)
    if not (2 < factors <= _MOST_FACTORS or p == -2) or factors != math.floor(factors):
        return x**p  # NumPy has short cuts for -1, 0, 0.5, 1 and 2
    product: Any = None
    square, count = x, int(factors)
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
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any, p: Any) -> Any:
        y = x**p if hasattr(p, "dtype") else _power(x, p)
        ctx.save_for_backward(x, p, y if ctx.needs_input_grad[1] else None)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        x, p, y = ctx.saved_tensors
        base, exponent = raw_of(x), raw_of(p)
        gx = gp = None
        if ctx.needs_input_grad[0]:
            if hasattr(exponent, "dtype"):
                undefined = (base == 0) & (exponent == 0)  # 0 · 0⁻¹: any power that is not negative will do
                gx = grad * (p * x ** (where(undefined, 1, p) - 1))
            elif p == 2:
                gx = grad * (2 * x)
            else:
                gx = grad * (p * _power(x, p - 1)) if p != 0 else gate(grad, False)
        if ctx.needs_input_grad[1]:
            if not hasattr(base, "dtype"):
                x = base = array_module(exponent).asarray(base, dtype=exponent.dtype)
            gp = grad * (y * log(where((base == 0) & (exponent >= 0), 1, x)))
        return gx, gp


class Exp(Function):
    """y = eˣ; dy/dx = y."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        y = array_module(x).exp(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (y,) = ctx.saved_tensors
        return grad * y


class Expm1(Function):
    """y = eˣ - 1; dy/dx = y + 1."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        y = array_module(x).expm1(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (y,) = ctx.saved_tensors
        return grad * (y + 1)


class Log(Function):
    """y = log x; dy/dx = 1/x."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return array_module(x).log(x)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensors
        return grad / x


class Log1p(Function):
    """y = log(1 + x); dy/dx = 1/(1 + x)."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return array_module(x).log1p(x)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensors
        return grad / (1 + x)


# W. J. Cody 1969, "Rational Chebyshev approximations for the error function", Mathematics of Computation 23, p. 631:
# erf x = x P(x²)/Q(x²) near 0 and 1 - exp(-x²) R(x)/S(x) beyond; coefficients from the highest power down.
_NEAR = 0.46875
_P = (
    1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2, 3.77485237685302021e2,
    3.20937758913846947e3,
)  # fmt: skip
_Q = (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3)
_R = (
    2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1, 2.98635138197400131e2,
    8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3,
)  # fmt: skip
_S = (
    1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
    3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3,
)  # fmt: skip
# For float32: erf x = tanh(x T(x²)) for |x| ≤ 4, T fitted to least greatest relative error (10⁻⁷); tanh is fast, and
# bounds the result.
_T = (1.4185419e-7, -5.668512774e-6, 8.76375747e-5, -6.197853768e-4, -1.918298906e-4, 0.1027690554, 1.128379274)


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    value = coefficients[0] * x + coefficients[1]
    for coefficient in coefficients[2:]:
        value *= x
        value += coefficient
    return value


def erf_of(x: Array) -> Array:
    """erf x to 3·10⁻⁷ of its size in float32 and to 5·10⁻¹⁶ in float64. NumPy has none."""
    xp = array_module(x)
    if x.dtype != np.float64:
        x = x.clip(-4.25, 4.25)
        return xp.tanh(x * _polynomial(_T, x * x))
    size = xp.abs(x)
    near, far = size.clip(0, 0.5), size.clip(_NEAR, 6.0)  # erf is 1 in float64 from 5.93 on
    square = near * near
    inner = near * (_polynomial(_P, square) / _polynomial(_Q, square))
    outer = 1 - xp.exp(-far * far) * (_polynomial(_R, far) / _polynomial(_S, far))
    return xp.copysign(xp.where(size <= _NEAR, inner, outer), x)


class Erf(Function):
    """y = erf x = 2/√π ∫₀ˣ exp(-t²) dt; dy/dx = 2/√π exp(-x²)."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return erf_of(x)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensors
        return grad * (2 / math.sqrt(math.pi) * exp(-x * x))


def pow(x: Any, p: Any) -> Any:
    """x^p, entry by entry; Tensors, arrays or numbers that broadcast together. NaN where x < 0 and p is not whole.

    As in PyTorch the gradient of x is 0 where p = 0, also at x = 0, and that of p is 0 where x = 0 ≤ p. Raises
    ValueError for integers to negative integer powers.
    """
    return Pow.apply(x, p)


def exp(x: Any) -> Any:
    """eˣ, entry by entry; integers give the default floating dtype."""
    return Exp.apply(x)


def expm1(x: Any) -> Any:
    """eˣ - 1, entry by entry, exact for small x; integers give the default floating dtype."""
    return Expm1.apply(x)


def log(x: Any) -> Any:
    """The natural logarithm, entry by entry: -∞ at 0, NaN below; integers give the default floating dtype."""
    return Log.apply(x)


def log1p(x: Any) -> Any:
    """log(1 + x), entry by entry, exact for small x; integers give the default floating dtype."""
    return Log1p.apply(x)


def erf(x: Any) -> Any:
    """The error function 2/√π ∫₀ˣ exp(-t²) dt, entry by entry, to 3·10⁻⁷ of its size in float32, 5·10⁻¹⁶ in float64."""
    return Erf.apply(x)
