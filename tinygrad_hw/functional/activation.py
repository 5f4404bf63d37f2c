"""Activation functions, entry by entry; at kinks the gradient is PyTorch's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_hw import kernels
from tinygrad_hw.autograd import Function
from tinygrad_hw.backend import Array, array_module
from tinygrad_hw.functional.elementwise import gate
from tinygrad_hw.functional.exponential import erf, erf_of, exp
from tinygrad_hw.functional.trigonometric import tanh
from tinygrad_hw.tensor import raw_of

__all__ = ["elu", "gelu", "leaky_relu", "relu", "sigmoid", "silu", "softplus"]


class Relu(Function):
    """y = max(x, 0); dy/dx = 1 where x > 0, else 0."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        y = kernels.relu(x)
        if y is None:
            # NumPy limits on both sides three times as fast as on one
            y = x.clip(0.0, math.inf) if x.dtype.kind == "f" else array_module(x).maximum(x, 0)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (y,) = ctx.saved_tensors
        made = kernels.slopes("relu_slopes", y, grad)
        return gate(grad, raw_of(y) > 0) if made is None else made


class LeakyRelu(Function):
    """y = x where x > 0, else s x; dy/dx = 1 or s, s being the negative slope."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any, negative_slope: float) -> Any:
        ctx.negative_slope = negative_slope
        ctx.save_for_backward(x)
        xp = array_module(x)
        return (xp.maximum if negative_slope <= 1 else xp.minimum)(x, negative_slope * x)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        positive = raw_of(ctx.saved_tensors[0]) > 0
        return gate(grad, positive) + gate(ctx.negative_slope * grad, ~positive)


class Elu(Function):
    """y = x where x > 0, else α(eˣ - 1); dy/dx = 1 or α eˣ = y + α (Clevert, Unterthiner & Hochreiter 2016)."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any, alpha: float) -> Any:
        ctx.alpha = alpha
        y = x.clip(0.0, math.inf) + alpha * array_module(x).expm1(x.clip(-math.inf, 0.0))
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        x, y = ctx.saved_tensors
        positive = raw_of(x) > 0
        return gate(grad, positive) + gate(grad * (y + ctx.alpha), ~positive)


def _sigmoid(x: Array) -> Array:
    """1/(1 + e⁻ˣ), 0 where e⁻ˣ overflows, as it should be. Exact in the left tail, unlike the form by tanh."""
    made = kernels.sigmoid(x)
    if made is not None:
        return made
    xp = array_module(x)
    y = xp.negative(x)
    if y.ndim == 0:
        y = xp.asarray(y)  # NumPy gives scalars where there are no axes
    with np.errstate(over="ignore"):
        xp.exp(y, out=y)
    y += 1
    return xp.divide(1, y, out=y)


class Sigmoid(Function):
    """y = 1/(1 + e⁻ˣ); dy/dx = y (1 - y)."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        y = _sigmoid(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (y,) = ctx.saved_tensors
        made = kernels.slopes("sigmoid_slopes", y, grad)
        return grad * (y * (1 - y)) if made is None else made


class Silu(Function):
    """y = x σ(x); dy/dx = σ + y (1 - σ) (Elfwing, Uchibe & Doya 2018)."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.sigmoid = _sigmoid(x)
        y = x * ctx.sigmoid
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        x, y = ctx.saved_tensors
        s = sigmoid(x) if ctx.recording else ctx.sigmoid
        return grad * (s + y * (1 - s))


class Softplus(Function):
    """y = log(1 + e^(βx))/β, x where βx exceeds the threshold; dy/dx = σ(βx) or 1."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any, beta: float, threshold: float) -> Any:
        ctx.beta, ctx.threshold = beta, threshold
        ctx.save_for_backward(x)
        xp, z = array_module(x), beta * x
        y = (z.clip(0.0, math.inf) + xp.log1p(xp.exp(-xp.abs(z)))) / beta
        return xp.where(z > threshold, x, y)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        z = ctx.beta * ctx.saved_tensors[0]
        above = raw_of(z) > ctx.threshold
        return gate(grad, above) + gate(grad * sigmoid(z), ~above)


class Gelu(Function):
    """y = x Φ(x), Φ the normal distribution function; dy/dx = Φ + x φ, φ its density (Hendrycks & Gimpel 2016)."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        ctx.below = 0.5 + 0.5 * erf_of(x * math.sqrt(0.5))
        return x * ctx.below

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensors
        below = 0.5 + 0.5 * erf(x * math.sqrt(0.5)) if ctx.recording else ctx.below
        density = exp(-0.5 * (x * x)) * (1 / math.sqrt(2 * math.pi))
        return grad * (below + x * density)


class GeluTanh(Function):
    """y = x (1 + t)/2, t = tanh u, u = √(2/π)(x + a x³), a = 0.044715; dy/dx = (1 + t)/2 + x (1 - t²)/2 · du/dx."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        ctx.tanh = array_module(x).tanh(_gelu_inner(x))
        return x * (0.5 + 0.5 * ctx.tanh)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensors
        t = tanh(_gelu_inner(x)) if ctx.recording else ctx.tanh
        slope = _GELU_SCALE + 3 * _GELU_SCALE * _GELU_CUBIC * (x * x)
        return grad * (0.5 + 0.5 * (t + x * slope * (1 - t * t)))


_GELU_SCALE, _GELU_CUBIC = math.sqrt(2 / math.pi), 0.044715


def _gelu_inner(x: Any) -> Any:
    return x * (_GELU_SCALE + _GELU_SCALE * _GELU_CUBIC * (x * x))


def relu(x: Any) -> Any:
    """max(x, 0), entry by entry; its gradient at 0 is 0."""
    return Relu.apply(x)


def leaky_relu(x: Any, negative_slope: float = 0.01) -> Any:
    """x where x > 0, else ``negative_slope`` x, entry by entry; its gradient at 0 is ``negative_slope``."""
    return LeakyRelu.apply(x, negative_slope)


def elu(x: Any, alpha: float = 1.0) -> Any:
    """x where x > 0, else ``alpha`` (eˣ - 1), entry by entry; its gradient at 0 is ``alpha``."""
    return Elu.apply(x, alpha)


def sigmoid(x: Any) -> Any:
    """σ(x) = 1/(1 + e⁻ˣ), entry by entry; neither overflows nor loses the left tail."""
    return Sigmoid.apply(x)


def silu(x: Any) -> Any:
    """x σ(x), entry by entry (also called swish)."""
    return Silu.apply(x)


def softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """log(1 + e^(βx))/β, entry by entry, and x itself where βx > ``threshold``.

    Raises ValueError where ``beta`` is 0.
    """
    if beta == 0:
        raise ValueError("softplus: beta must not be 0")
    return Softplus.apply(x, beta, threshold)


def gelu(x: Any, approximate: str = "none") -> Any:
    """x Φ(x), entry by entry, with the normal distribution function Φ(x) = (1 + erf(x/√2))/2.

    ``approximate="tanh"`` puts (1 + tanh(√(2/π)(x + 0.044715 x³)))/2 in its place. Raises ValueError for any other.
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: expected approximate 'none' or 'tanh', got {approximate!r}")
    return (Gelu if approximate == "none" else GeluTanh).apply(x)
