"""Derivatives by hand of operations entry by entry, broadcasting included.

With y = f(x) entry by entry, dC/dx = dC/dy * f'(x): each line below is one f'. Where an operand was broadcast, one of
its entries went into many of the output, and its gradient is the sum over them: :func:`unbroadcast`. At kinks the
values are PyTorch's: |x|' = 0 and relu' = 0 at 0, clip' = 1 at both ends, a tie of maximum or minimum shared in halves.
``g`` is the gradient of the output; every function returns a tuple, one gradient an array operand.
"""

from __future__ import annotations

import math
from typing import Any

from reference import complex_step
from tinygrad_hw.backend import Array, array_module, is_array

Gradients = tuple[Array, ...]


def unbroadcast(g: Array, like: Any) -> Array:
    """``g`` summed over every axis along which an operand of ``like``'s shape was broadcast."""
    shape = getattr(like, "shape", ())
    if g.ndim > len(shape):
        g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    stretched = tuple(axis for axis, size in enumerate(shape) if size == 1 and g.shape[axis] != 1)
    return g.sum(axis=stretched, keepdims=True) if stretched else g


def _each(*pairs: tuple[Array, Any]) -> Gradients:
    """Each gradient brought to its operand's shape; numbers and integer arrays among the operands have none."""
    return tuple(unbroadcast(g, operand) for g, operand in pairs if is_array(operand) and operand.dtype.kind == "f")


def hand_add(g: Array, a: Array, b: Array) -> Gradients:
    """d(a + b) = da + db."""
    return _each((g, a), (g, b))


def hand_sub(g: Array, a: Array, b: Array) -> Gradients:
    """d(a - b) = da - db."""
    return _each((g, a), (-g, b))


def hand_mul(g: Array, a: Array, b: Array) -> Gradients:
    """d(ab) = b da + a db."""
    return _each((g * b, a), (g * a, b))


def hand_div(g: Array, a: Array, b: Array) -> Gradients:
    """d(a / b) = da / b - a db / b^2."""
    return _each((g / b, a), (-g * a / (b * b), b))


def hand_pow(g: Array, x: Array, exponent: Array | float) -> Gradients:
    """d(x^p) = p x^(p-1) dx + x^p log(x) dp; 0 dx for p = 0, 0 dp for x = 0 <= p. A number p has no gradient."""
    xp = array_module(x, exponent)
    if isinstance(exponent, int | float):
        return (g * 0 if exponent == 0 else g * exponent * x ** (exponent - 1),)
    g_x = g * xp.where(exponent == 0, 0.0, exponent * x ** xp.where(exponent == 0, 1.0, exponent - 1))
    base = x if is_array(x) else xp.full_like(exponent, x)
    logarithm = xp.log(xp.where(base == 0, 1.0, base))
    g_exponent = g * base**exponent * xp.where((base == 0) & (exponent < 0), -math.inf, logarithm)
    return _each((g_x, x), (g_exponent, exponent))


def hand_maximum(g: Array, a: Array, b: Array) -> Gradients:
    """The greater operand takes the gradient."""
    share = _share(a > b, a == b, g)
    return _each((g * share, a), (g * (1 - share), b))


def hand_minimum(g: Array, a: Array, b: Array) -> Gradients:
    """The smaller operand takes the gradient."""
    share = _share(a < b, a == b, g)
    return _each((g * share, a), (g * (1 - share), b))


def _share(first: Array, tie: Array, g: Array) -> Array:
    return first.astype(g.dtype) + 0.5 * tie.astype(g.dtype)


def hand_atan2(g: Array, y: Array, x: Array) -> Gradients:
    """d arctan2(y, x) = (x dy - y dx) / (x^2 + y^2)."""
    square = x * x + y * y
    return _each((g * x / square, y), (-g * y / square, x))


def hand_where(g: Array, condition: Array, a: Array, b: Array) -> Gradients:
    """The operand that was chosen takes the gradient; the condition has none."""
    xp = array_module(g)
    zero = xp.zeros_like(g)
    return _each((xp.where(condition, g, zero), a), (xp.where(condition, zero, g), b))


def hand_clip(g: Array, x: Array, min: float | None = None, max: float | None = None) -> Gradients:
    """1 inside [min, max], ends included, else 0."""
    inside = array_module(x).ones_like(x, dtype=bool)
    if min is not None:
        inside = inside & (x >= min)
    if max is not None:
        inside = inside & (x <= max)
    return (g * inside,)


def hand_neg(g: Array, x: Array) -> Gradients:
    """(-x)' = -1."""
    return (-g,)


def hand_abs(g: Array, x: Array) -> Gradients:
    """|x|' = sign(x)."""
    return (g * array_module(x).sign(x),)


def hand_sign(g: Array, x: Array) -> Gradients:
    """sign' = 0."""
    return (g * 0,)


def hand_square(g: Array, x: Array) -> Gradients:
    """(x^2)' = 2x."""
    return (g * 2 * x,)


def hand_reciprocal(g: Array, x: Array) -> Gradients:
    """(1/x)' = -1/x^2."""
    return (-g / (x * x),)


def hand_sqrt(g: Array, x: Array) -> Gradients:
    """sqrt' = 1 / (2 sqrt(x))."""
    return (g / (2 * array_module(x).sqrt(x)),)


def hand_exp(g: Array, x: Array) -> Gradients:
    """exp' = exp."""
    return (g * array_module(x).exp(x),)


def hand_expm1(g: Array, x: Array) -> Gradients:
    """(exp(x) - 1)' = exp(x)."""
    return (g * array_module(x).exp(x),)


def hand_log(g: Array, x: Array) -> Gradients:
    """log' = 1/x."""
    return (g / x,)


def hand_log1p(g: Array, x: Array) -> Gradients:
    """log(1 + x)' = 1/(1 + x)."""
    return (g / (1 + x),)


def hand_log2(g: Array, x: Array) -> Gradients:
    """log2' = 1/(x log 2)."""
    return (g / (x * math.log(2)),)


def hand_log10(g: Array, x: Array) -> Gradients:
    """log10' = 1/(x log 10)."""
    return (g / (x * math.log(10)),)


def hand_sin(g: Array, x: Array) -> Gradients:
    """sin' = cos."""
    return (g * array_module(x).cos(x),)


def hand_cos(g: Array, x: Array) -> Gradients:
    """cos' = -sin."""
    return (-g * array_module(x).sin(x),)


def hand_tan(g: Array, x: Array) -> Gradients:
    """tan' = 1 / cos^2."""
    return (g / array_module(x).cos(x) ** 2,)


def hand_asin(g: Array, x: Array) -> Gradients:
    """arcsin' = 1 / sqrt((1 - x)(1 + x))."""
    return (g / array_module(x).sqrt((1 - x) * (1 + x)),)


def hand_acos(g: Array, x: Array) -> Gradients:
    """arccos' = -arcsin'."""
    return (-hand_asin(g, x)[0],)


def hand_atan(g: Array, x: Array) -> Gradients:
    """arctan' = 1 / (1 + x^2)."""
    return (g / (1 + x * x),)


def hand_sinh(g: Array, x: Array) -> Gradients:
    """sinh' = cosh."""
    return (g * array_module(x).cosh(x),)


def hand_cosh(g: Array, x: Array) -> Gradients:
    """cosh' = sinh."""
    return (g * array_module(x).sinh(x),)


def hand_tanh(g: Array, x: Array) -> Gradients:
    """tanh' = 1 / cosh^2 = 4 q / (1 + q)^2 with q = exp(-2|x|): no cancellation in the tails, no overflow."""
    xp = array_module(x)
    q = xp.exp(-2 * xp.abs(x))
    return (g * 4 * q / (1 + q) ** 2,)


def hand_asinh(g: Array, x: Array) -> Gradients:
    """arsinh' = 1 / sqrt(1 + x^2)."""
    return (g / array_module(x).sqrt(1 + x * x),)


def hand_acosh(g: Array, x: Array) -> Gradients:
    """arcosh' = 1 / sqrt((x - 1)(x + 1))."""
    return (g / array_module(x).sqrt((x - 1) * (x + 1)),)


def hand_atanh(g: Array, x: Array) -> Gradients:
    """artanh' = 1 / ((1 - x)(1 + x))."""
    return (g / ((1 - x) * (1 + x)),)


def hand_erf(g: Array, x: Array) -> Gradients:
    """erf' = 2/sqrt(pi) exp(-x^2)."""
    return (g * (2 / math.sqrt(math.pi)) * array_module(x).exp(-x * x),)


def hand_sigmoid(g: Array, x: Array) -> Gradients:
    """sigmoid' = q / (1 + q)^2 with q = exp(-|x|), even in x."""
    xp = array_module(x)
    q = xp.exp(-xp.abs(x))
    return (g * q / (1 + q) ** 2,)


def hand_relu(g: Array, x: Array) -> Gradients:
    """relu' = 1 where x > 0, else 0."""
    return (g * (x > 0),)


def hand_leaky_relu(g: Array, x: Array, negative_slope: float = 0.01) -> Gradients:
    """1 where x > 0, else negative_slope."""
    return (array_module(x).where(x > 0, g, negative_slope * g),)


def hand_elu(g: Array, x: Array, alpha: float = 1.0) -> Gradients:
    """1 where x > 0, else alpha exp(x)."""
    xp = array_module(x)
    return (xp.where(x > 0, g, g * alpha * xp.exp(xp.minimum(x, 0))),)


def hand_softplus(g: Array, x: Array) -> Gradients:
    """log(1 + exp(x))' = sigmoid(x)."""
    return (g * complex_step.sigmoid(x),)


def hand_silu(g: Array, x: Array) -> Gradients:
    """(x s)' = s + x s', s = sigmoid(x)."""
    return (g * complex_step.sigmoid(x) + x * hand_sigmoid(g, x)[0],)


def hand_gelu(g: Array, x: Array, approximate: str = "none") -> Gradients:
    """(x Phi)' = Phi + x phi, the normal distribution's function and density.

    With approximate="tanh", Phi ~ (1 + tanh u) / 2, u = c (x + a x^3), c = sqrt(2/pi), a = 0.044715, and in place of
    phi stands tanh'(u) u' / 2 with u' = c (1 + 3 a x^2).
    """
    xp = array_module(x)
    if approximate == "tanh":
        scale, cubic = math.sqrt(2 / math.pi), 0.044715
        u, slope = scale * (x + cubic * x**3), scale * (1 + 3 * cubic * x * x)
        return (g * 0.5 * (1 + xp.tanh(u)) + 0.5 * x * slope * hand_tanh(g, u)[0],)
    phi = xp.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return (g * (0.5 * complex_step.erfc(x * -math.sqrt(0.5)) + x * phi),)
