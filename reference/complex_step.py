"""Derivatives by the complex step, and functions continued into the complex plane so that they can take one.

For an analytic f, real on the real line, f(x + ih) = f(x) + ih f'(x) - h^2 f''(x)/2 - ..., so

    f'(x) = Im f(x + ih) / h + O(h^2)

and nothing is subtracted: with h = 1e-20 the derivative is as accurate as the value (Squire & Trapp 1998, "Using
complex variables to estimate derivatives of real functions", SIAM Review 40; Martins, Sturdza & Alonso 2003, "The
complex-step derivative approximation", ACM TOMS 29). Whatever takes absolute values, conjugates or compares is not
analytic, and must be replaced: the second half of this file holds such functions under NumPy's or PyTorch's names. Each
takes real arrays as well, so one function serves as forward value and as complex-step oracle. Where they branch, the
real part decides; at a tie they give the mean, whose derivative is PyTorch's. Their imaginary part is right to first
order, which is all that a step of 1e-20 can show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from reference.probing import Function, varied, weigh
from tinygrad_hw.backend import Array, array_module, is_array

STEP = 1e-20
_SMALLEST = 1e-250  # a step below this would underflow in products


def gradient(
    f: Function, args: Sequence[Any], g: Any = None, argnums: Sequence[int] | None = None
) -> tuple[Array, ...]:
    """The gradient of <g, f(*args)> with respect to each varied argument, entry by entry, to about 15 digits.

    ``f`` must accept complex128 where it accepts float64, and be analytic. Arguments and errors are those of
    :func:`reference.finite_differences.gradient`, and TypeError where ``f`` drops the imaginary part. Costs one call
    of ``f`` an entry.
    """
    gradients = []
    for position in varied(args, argnums):
        result = array_module(args[position]).zeros_like(args[position])
        for index in np.ndindex(*args[position].shape):
            result[index] = entry(f, args, g, position, index)
        gradients.append(result)
    return tuple(gradients)


def entry(f: Function, args: Sequence[Any], g: Any, position: int, index: tuple[int, ...]) -> float:
    """The derivative of <g, f(*args)> with respect to one entry of one argument."""
    varied(args, (position,))
    size = math.fabs(args[position][index].item())
    h = max(STEP * min(size or 1.0, 1.0), _SMALLEST)  # far below the entry itself, near poles and roots at 0 too
    moved = [*args]
    moved[position] = args[position].astype(np.complex128)
    moved[position][index] += complex(0.0, h)
    return _imaginary(f, moved, g) / h


def directional(f: Function, args: Sequence[Any], directions: Sequence[Any], g: Any = None) -> float:
    """d/dt <g, f(args + t directions)> at t = 0 for one call of ``f``; ``directions`` has None where nothing moves."""
    varied(args, [position for position, direction in enumerate(directions) if direction is not None])
    moved = [
        value if direction is None else value + 1j * (STEP * direction)
        for value, direction in zip(args, directions, strict=True)
    ]
    return _imaginary(f, moved, g) / STEP


def _imaginary(f: Function, args: Sequence[Any], g: Any) -> float:
    with np.errstate(all="ignore"):
        total = weigh(f(*args), g)
    if not isinstance(total, complex):
        raise TypeError("complex step: the function dropped the imaginary part (abs, real, float64, a comparison?)")
    return total.imag


# Functions continued into the complex plane. Each returns what NumPy's or PyTorch's returns on real arrays.


def _zero(x: Array) -> Array:
    return array_module(x).zeros_like(x)


def where(condition: Array, a: Array, b: Array) -> Array:
    """``a`` where ``condition``, else ``b``; a condition on complex numbers should ask for their real part."""
    return array_module(a, b).where(condition, a, b)


def sign(x: Array) -> Array:
    """-1, 0 or 1 by the real part; derivative 0."""
    xp = array_module(x)
    return xp.sign(x.real) + _zero(x)


def abs(x: Array) -> Array:
    """|x| = x sign(Re x): no modulus, which is not analytic. Derivative 0 at 0."""
    return x * array_module(x).sign(x.real)


def maximum(a: Array, b: Array) -> Array:
    """The entry with the greater real part; (a + b) / 2 at a tie."""
    xp = array_module(a, b)
    return xp.where(a.real > b.real, a, xp.where(a.real < b.real, b, (a + b) / 2))


def minimum(a: Array, b: Array) -> Array:
    """The entry with the smaller real part; (a + b) / 2 at a tie."""
    return -maximum(-a, -b)


def clip(x: Array, low: float | None = None, high: float | None = None) -> Array:
    """x limited to [low, high] by its real part; derivative 1 at both ends, as in PyTorch's clamp."""
    xp = array_module(x)
    if low is not None:
        x = xp.where(x.real < low, _zero(x) + low, x)
    return x if high is None else xp.where(x.real > high, _zero(x) + high, x)


def relu(x: Array) -> Array:
    """max(x, 0); derivative 0 at 0."""
    return array_module(x).where(x.real > 0, x, _zero(x))


def leaky_relu(x: Array, negative_slope: float = 0.01) -> Array:
    """x where Re x > 0, else negative_slope x."""
    return array_module(x).where(x.real > 0, x, negative_slope * x)


def elu(x: Array, alpha: float = 1.0) -> Array:
    """x where Re x > 0, else alpha (exp x - 1)."""
    return array_module(x).where(x.real > 0, x, alpha * expm1(_negative_part(x)))


def _negative_part(x: Array) -> Array:
    """x where Re x <= 0, else 0: keeps the branch not taken from overflowing."""
    return array_module(x).where(x.real > 0, _zero(x), x)


def sqrt(x: Array) -> Array:
    """Square root, NaN for a negative real part as on the real line; at 0 the derivative is infinite, not computed."""
    xp = array_module(x)
    return xp.where(x.real < 0, _zero(x) + math.nan, xp.sqrt(x))


def log(x: Array) -> Array:
    """Logarithm, NaN for a negative real part as on the real line (the complex one would add i pi)."""
    xp = array_module(x)
    return xp.where(x.real < 0, _zero(x) + math.nan, xp.log(x))


def log1p(x: Array) -> Array:
    """log(1 + x) = log1p(Re x) + i arg(1 + x), exact near 0 where the complex logarithm of 1 + x is not."""
    xp = array_module(x)
    if x.dtype.kind != "c":
        return xp.log1p(x)
    return xp.log1p(x.real) + 1j * xp.where(x.real < -1, math.nan, xp.arctan2(x.imag, 1.0 + x.real))


def expm1(x: Array) -> Array:
    """exp(a + ib) - 1 = (expm1 a + e^a (cos b - 1)) + i e^a sin b, with cos b - 1 = -2 sin^2(b/2)."""
    xp = array_module(x)
    if x.dtype.kind != "c":
        return xp.expm1(x)
    grown = xp.exp(x.real)
    return xp.expm1(x.real) - 2 * grown * xp.sin(x.imag / 2) ** 2 + 1j * (grown * xp.sin(x.imag))


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) for Re x >= 0, exp(x) / (1 + exp(x)) below: no overflow, exact in both tails."""
    xp = array_module(x)
    decayed = xp.exp(-_folded(x))
    return xp.where(x.real >= 0, 1.0 + _zero(x), decayed) / (1.0 + decayed)


def _folded(x: Array) -> Array:
    """x or -x, whichever has a real part >= 0; x itself at 0, so that x is not lost there."""
    return array_module(x).where(x.real >= 0, x, -x)


def silu(x: Array) -> Array:
    """x sigmoid(x)."""
    return x * sigmoid(x)


def softplus(x: Array) -> Array:
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)), whose two halves tie consistently at 0."""
    xp = array_module(x)
    return xp.where(x.real >= 0, x, _zero(x)) + log1p(xp.exp(-_folded(x)))


def tanh(x: Array) -> Array:
    """(1 - exp(-2|x|)) / (1 + exp(-2|x|)) with the sign of x, through expm1: exact near 0 and in the tails."""
    xp = array_module(x)
    if x.dtype.kind != "c":
        return xp.tanh(x)
    decayed = expm1(-2.0 * _folded(x))
    return xp.where(x.real >= 0, 1.0, -1.0) * (-decayed / (2.0 + decayed))


def arctan2(y: Array, x: Array) -> Array:
    """The angle of (x, y), by the quotient of the smaller to the larger so that it stays bounded."""
    xp = array_module(y, x)
    if y.dtype.kind != "c" and x.dtype.kind != "c":
        return xp.arctan2(y, x)
    flat = x.real**2 >= y.real**2
    quotient = xp.arctan(xp.where(flat, y, x) / xp.where(flat, x, y))
    side = xp.where(y.real >= 0, 1.0, -1.0)
    return xp.where(
        flat,
        quotient + xp.where(x.real < 0, side * math.pi, 0.0),
        side * (math.pi / 2) - quotient,
    )


def power(x: Array, exponent: Array | float) -> Array:
    """x ** exponent = exp(exponent log x); for negative x by |x| and a sign if the exponent is whole, else NaN.

    At x = 0 the slope in x is 1 for the exponent 1, 0 for 0 and above 1; NaN between, where it is infinite.
    """
    xp = array_module(x, exponent)
    if x.dtype.kind != "c" and getattr(exponent, "dtype", np.dtype("f8")).kind != "c":
        return xp.power(x, exponent)
    exponent = exponent if is_array(exponent) else xp.full_like(x.real, exponent)
    size = xp.where(x.real < 0, -x, xp.where(x.real == 0, 1.0, x))
    whole = (exponent.real == xp.floor(exponent.real)) & (exponent.imag == 0)
    odd = xp.where(whole & (exponent.real % 2 == 1), -1.0, 1.0)
    result = xp.exp(exponent * xp.log(size)) * xp.where(x.real < 0, xp.where(whole, odd, math.nan), 1.0)
    steep = xp.where((exponent.real < 1) & (x.imag != 0), math.nan, 0.0)
    at_zero = xp.where(exponent.real == 0, 1.0, xp.where(exponent.real < 0, math.inf, steep))
    return xp.where(x.real == 0, xp.where(exponent.real == 1, x, at_zero), result)


_SERIES, _FRACTION, _SWITCH = 30, 250, 1.0  # terms of the series below |x| = 1, depth of the fraction above


def erfc(x: Array) -> Array:
    """1 - erf(x), to 14 digits of its own size, in the upper tail too.

    |Re x| < 1: erf(x) = 2/sqrt(pi) exp(-x^2) sum_n 2^n x^(2n+1) / (1 3 ... (2n+1)) (Abramowitz & Stegun 7.1.6; all
    terms of one sign on the real line). Beyond: exp(-x^2) / sqrt(pi) / (x + (1/2)/(x + 1/(x + (3/2)/(x + ...))))
    (7.1.14).
    """
    xp = array_module(x)
    positive = _folded(x)
    far = xp.where(positive.real < _SWITCH, _zero(x) + _SWITCH, positive)
    fraction = far
    for n in range(_FRACTION, 0, -1):
        fraction = far + (n / 2.0) / fraction
    tail = xp.exp(-far * far) / (math.sqrt(math.pi) * fraction)
    return xp.where(x.real**2 < _SWITCH**2, 1.0 - _erf_series(x), xp.where(x.real > 0, tail, 2.0 - tail))


def erf(x: Array) -> Array:
    """2/sqrt(pi) times the integral of exp(-t^2) from 0 to x: the series of :func:`erfc` near 0, else 1 - erfc(x)."""
    return array_module(x).where(x.real**2 < _SWITCH**2, _erf_series(x), 1.0 - erfc(x))


def _erf_series(x: Array) -> Array:
    near = array_module(x).where(x.real**2 < _SWITCH**2, x, _zero(x))
    term = total = near
    for n in range(1, _SERIES):
        term = term * (near * near) * (2.0 / (2 * n + 1))
        total = total + term
    return (2.0 / math.sqrt(math.pi)) * array_module(x).exp(-near * near) * total


def gelu(x: Array, approximate: str = "none") -> Array:
    """x Phi(x), Phi(x) = erfc(-x / sqrt 2) / 2; or with approximate="tanh" the form of Hendrycks & Gimpel 2016."""
    if approximate == "tanh":
        return 0.5 * x * (1.0 + tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)))
    return 0.5 * x * erfc(x * -math.sqrt(0.5))


def amax(x: Array, dim: int | tuple[int, ...] | None = None, keepdim: bool = False) -> Array:
    """The entry of greatest real part along ``dim`` (an axis, several, or None for all); the mean of those that tie."""
    xp = array_module(x)
    chosen = x.real == x.real.max(axis=dim, keepdims=True)
    count = chosen.sum(axis=dim, keepdims=keepdim).astype(x.real.dtype)
    return xp.where(chosen, x, _zero(x)).sum(axis=dim, keepdims=keepdim) / count


def amin(x: Array, dim: int | tuple[int, ...] | None = None, keepdim: bool = False) -> Array:
    """The entry of least real part along ``dim``; the mean of those that tie."""
    return -amax(-x, dim, keepdim)


def sort(x: Array, dim: int = -1) -> Array:
    """``x`` in ascending order of real parts along axis ``dim``."""
    xp = array_module(x)
    return xp.take_along_axis(x, xp.argsort(x.real, axis=dim), axis=dim)


def var(x: Array, dim: int | tuple[int, ...] | None = None, correction: float = 1, keepdim: bool = False) -> Array:
    """sum (x - mean)^2 / (n - correction) along ``dim``: the square itself, where numpy.var takes the modulus."""
    centred = x - x.mean(axis=dim, keepdims=True)
    squares = (centred * centred).sum(axis=dim, keepdims=keepdim)
    return squares / (x.size // squares.size - correction)


def std(x: Array, dim: int | tuple[int, ...] | None = None, correction: float = 1, keepdim: bool = False) -> Array:
    """sqrt(var)."""
    return sqrt(var(x, dim, correction, keepdim))


def norm(x: Array, p: float = 2.0, dim: int | tuple[int, ...] | None = None, keepdim: bool = False) -> Array:
    """(sum |x|^p)^(1/p) along ``dim``, max |x| for p = inf, min |x| for p = -inf; scaled by the largest entry."""
    xp = array_module(x)
    size = abs(x)
    if math.isinf(p):
        return amax(size, dim, keepdim) if p > 0 else amin(size, dim, keepdim)
    largest = size.real.max(axis=dim, keepdims=True)
    total = power(size / xp.where(largest == 0, 1.0, largest), float(p)).sum(axis=dim, keepdims=True)
    result = largest * power(xp.where(largest == 0, 1.0, total), 1.0 / p)
    return result if keepdim else xp.squeeze(result, axis=dim)


def logsumexp(x: Array, dim: int | tuple[int, ...] | None = None, keepdim: bool = False) -> Array:
    """log sum exp(x) along ``dim``, shifted by the greatest real part (a constant, so still analytic)."""
    xp = array_module(x)
    shift = x.real.max(axis=dim, keepdims=True)
    shift = xp.where(xp.isfinite(shift), shift, 0.0)
    result = xp.log(xp.exp(x - shift).sum(axis=dim, keepdims=True)) + shift
    return result if keepdim else xp.squeeze(result, axis=dim)


def log_softmax(x: Array, dim: int = -1) -> Array:
    """x - logsumexp(x) along axis ``dim``."""
    return x - logsumexp(x, dim, keepdim=True)


def softmax(x: Array, dim: int = -1) -> Array:
    """exp(x) / sum exp(x) along axis ``dim``, shifted by the greatest real part."""
    xp = array_module(x)
    grown = xp.exp(x - x.real.max(axis=dim, keepdims=True))
    return grown / grown.sum(axis=dim, keepdims=True)
