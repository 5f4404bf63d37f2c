"""Rounding and its kin, with the gradient that training uses in place of the true one, which is 0 almost everywhere.

The straight-through estimator (Bengio, Léonard & Courville 2013, "Estimating or propagating gradients through
stochastic neurons for conditional computation") passes the gradient back as if the function were the identity.
"""

from __future__ import annotations

import math
from typing import Any

from tinygrad_hw.autograd import Function
from tinygrad_hw.backend import Array, array_module, device_of
from tinygrad_hw.functional.checks import check_floating
from tinygrad_hw.tensor import Tensor

__all__ = ["binarize", "quantize", "ste_clip", "ste_round", "ste_sign", "straight_through", "ternarize"]

Axis = int | tuple[int, ...] | None


class StraightThrough(Function):
    """y = the given value; the gradient is passed to x."""

    @staticmethod
    def forward(ctx: Any, x: Array, value: Array) -> Array:
        if (value.shape, value.dtype, device_of(value)) != (x.shape, x.dtype, device_of(x)):
            raise ValueError("expected a value of the shape, dtype and device of x")
        return value

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad


class SteSign(Function):
    """y = 1 where x >= 0, else -1; the gradient is that of clip(x, -1, 1): passed where |x| <= 1."""

    @staticmethod
    def forward(ctx: Any, x: Array) -> Array:
        ctx.inside = array_module(x).abs(x) <= 1
        return _sign(x)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad * ctx.inside


class SteRound(Function):
    """y = x rounded to the nearest integer; the gradient is passed."""

    @staticmethod
    def forward(ctx: Any, x: Array) -> Array:
        return array_module(x).rint(x)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad


class SteClip(Function):
    """y = min(max(x, low), high); the gradient is passed, out of range too."""

    @staticmethod
    def forward(ctx: Any, x: Array, low: float, high: float) -> Array:
        return array_module(x).clip(x, low, high)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad


class Quantize(Function):
    """y = low + (high - low) round(n clip((x - low) / (high - low), 0, 1)) / n, n = 2^bits - 1.

    The gradient is that of clip(x, low, high): passed where low <= x <= high.
    """

    @staticmethod
    def forward(ctx: Any, x: Array, bits: int, limits: tuple[float, float] | None) -> Array:
        xp = array_module(x)
        steps = 2**bits - 1
        if limits is None:
            ctx.inside = None
            if x.size == 0:
                return x.copy()
            largest = xp.abs(x).max()
            unit = x * (0.5 / xp.where(largest > 0, largest, 1.0)) + 0.5
            return (xp.rint(unit * steps) * (2.0 / steps) - 1.0) * largest
        low, high = limits
        ctx.inside = (x >= low) & (x <= high)
        return xp.rint((xp.clip(x, low, high) - low) * (steps / (high - low))) * ((high - low) / steps) + low

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad if ctx.inside is None else grad * ctx.inside


class Binarize(Function):
    """y = α sign(w), α = mean|w|; the gradient is passed."""

    @staticmethod
    def forward(ctx: Any, w: Array, axis: Axis) -> Array:
        return _mean(array_module(w).abs(w), axis) * _sign(w)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad


class Ternarize(Function):
    """y = α sign(w) where |w| > 0.7 mean|w|, else 0; α = the mean of |w| over those entries. The gradient is passed."""

    @staticmethod
    def forward(ctx: Any, w: Array, axis: Axis) -> Array:
        xp = array_module(w)
        size = xp.abs(w)
        kept = size > 0.7 * _mean(size, axis)
        count = kept.sum(axis=axis, keepdims=True, dtype=w.dtype)
        scale = (size * kept).sum(axis=axis, keepdims=True) / xp.maximum(count, 1.0)
        return scale * xp.sign(w) * kept

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad


def _sign(x: Array) -> Array:
    return (x >= 0).astype(x.dtype) * 2.0 - 1.0


def _mean(values: Array, axis: Axis) -> Array:
    """The mean over ``axis`` (None: all), keeping it; 0 of no values."""
    total = values.sum(axis=axis, keepdims=True)
    return total / max(values.size // max(total.size, 1), 1)


def straight_through(x: Any, value: Any) -> Any:
    """``value``, whatever it was computed by, with its gradient passed to ``x`` unchanged (and none to ``value``).

    For rounding, projecting and the like of one's own: ``x + (value - x).detach()``, without its rounding errors and
    its two passes. Raises ValueError unless both have one shape and dtype, DeviceError unless they live on one device,
    TypeError unless both are floating.
    """
    check_floating("straight_through", x)
    check_floating("straight_through", value)
    return StraightThrough.apply(x, value.detach() if isinstance(value, Tensor) else value)


def ste_sign(x: Any) -> Any:
    """1 where x >= 0, else -1 (two values, none of them 0); the gradient is passed where |x| <= 1 and 0 elsewhere.

    Source: Hubara et al. 2016, "Binarized neural networks", eqs. 1 and 4: the derivative of the hard tanh stands in for
    that of the sign. Raises TypeError unless ``x`` is floating.
    """
    check_floating("ste_sign", x)
    return SteSign.apply(x)


def ste_round(x: Any) -> Any:
    """x rounded to the nearest integer, halves to even; the gradient is passed unchanged.

    Raises TypeError unless ``x`` is floating.
    """
    check_floating("ste_round", x)
    return SteRound.apply(x)


def ste_clip(x: Any, low: float = -1.0, high: float = 1.0) -> Any:
    """x limited to [low, high]; the gradient is passed unchanged, so that entries out of range keep learning.

    ``clip`` has the same value, and passes the gradient inside the range only (the hard tanh). Raises ValueError unless
    low <= high, TypeError unless ``x`` is floating.
    """
    check_floating("ste_clip", x)
    if not low <= high:
        raise ValueError(f"ste_clip: expected low <= high, got low={low}, high={high}")
    return SteClip.apply(x, low, high)


def quantize(x: Any, bits: int, limits: tuple[float, float] | None = (0.0, 1.0)) -> Any:
    """The nearest of 2^bits equidistant values from ``limits[0]`` to ``limits[1]``; the gradient is passed inside them.

    y = round(n clip(x, 0, 1)) / n with n = 2^bits - 1 for the limits 0 and 1 (Zhou et al. 2016, "DoReFa-Net", eq. 5),
    which suit activations; ``limits=None`` takes ±max|x|, which suits weights. Halves are rounded to even.

    Args:
        bits: 1 to 16.

    Raises ValueError for other bits or limits that are not finite and increasing, TypeError unless ``x`` is floating.
    """
    check_floating("quantize", x)
    if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= 16:
        raise ValueError(f"quantize: expected 1 to 16 bits, got {bits!r}")
    if limits is not None and not (len(limits) == 2 and -math.inf < limits[0] < limits[1] < math.inf):
        raise ValueError(f"quantize: expected two finite limits, low < high, got {limits!r}")
    return Quantize.apply(x, bits, limits)


def binarize(w: Any, axis: Axis = None) -> Any:
    """α sign(w) with α = mean|w|, the nearest array of two values ±α; the gradient is passed unchanged.

    The mean is over ``axis`` (None: over all): ``axis=1`` gives each output of a Linear layer a scale of its own.
    Source: Rastegari et al. 2016, "XNOR-Net", eq. 6; sign(0) = 1. Raises TypeError unless ``w`` is floating.
    """
    check_floating("binarize", w)
    return Binarize.apply(w, axis)


def ternarize(w: Any, axis: Axis = None) -> Any:
    """α sign(w) where |w| > 0.7 mean|w|, else 0, with α the mean of |w| there; the gradient is passed unchanged.

    The means are over ``axis`` (None: over all). Approximately the nearest array of the values -α, 0, α.
    Source: Li, Zhang & Liu 2016, "Ternary weight networks", eqs. 3 to 6. Raises TypeError unless ``w`` is floating.
    """
    check_floating("ternarize", w)
    return Ternarize.apply(w, axis)
