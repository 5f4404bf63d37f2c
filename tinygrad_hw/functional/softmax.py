"""Softmax and its logarithm, shifted by the greatest entry so that nothing overflows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_hw.autograd import Function
from tinygrad_hw.backend import array_module
from tinygrad_hw.functional.elementwise import where
from tinygrad_hw.functional.exponential import exp
from tinygrad_hw.functional.reduction import Axes, Axis, axes_of, axis_of, count_of, kept
from tinygrad_hw.tensor import raw_of

__all__ = ["log_softmax", "logsumexp", "softmax"]


class Softmax(Function):
    """yᵢ = exp xᵢ / Σ exp xⱼ; ∂/∂xᵢ = yᵢ (gᵢ - Σ gⱼ yⱼ)."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any, axis: int) -> Any:
        ctx.axis = axis
        e = array_module(x).exp(x - x.max(axis=axis, keepdims=True))
        y = e / e.sum(axis=axis, keepdims=True)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (y,) = ctx.saved_tensors
        weighted = grad * y
        return weighted - y * weighted.sum(axis=ctx.axis, keepdims=True)


class LogSoftmax(Function):
    """yᵢ = xᵢ - log Σ exp xⱼ; ∂/∂xᵢ = gᵢ - exp yᵢ Σ gⱼ."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any, axis: int) -> Any:
        ctx.axis = axis
        xp = array_module(x)
        shifted = x - x.max(axis=axis, keepdims=True)
        y = shifted - xp.log(xp.exp(shifted).sum(axis=axis, keepdims=True))
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (y,) = ctx.saved_tensors
        return grad - exp(y) * grad.sum(axis=ctx.axis, keepdims=True)


class Logsumexp(Function):
    """y = log Σ exp xⱼ; ∂y/∂xᵢ = exp(xᵢ - y), the softmax; 0 where y = -∞."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any, axes: Axes, keepdims: bool) -> Any:
        ctx.axes = axes
        xp = array_module(x)
        greatest = x.max(axis=axes, keepdims=True)
        greatest = xp.where(xp.isfinite(greatest), greatest, 0)  # ∞ - ∞ would be no number
        with np.errstate(divide="ignore"):  # log 0 where all entries are -∞
            y = xp.log(xp.exp(x - greatest).sum(axis=axes, keepdims=True)) + greatest
        y = y if keepdims else y.squeeze(axis=axes)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        x, y = ctx.saved_tensors
        y = where(raw_of(y) == -math.inf, 0, y)
        return kept(grad, x.shape, ctx.axes) * exp(x - kept(y, x.shape, ctx.axes))


def softmax(x: Any, axis: int = -1) -> Any:
    """exp xᵢ / Σ exp xⱼ along ``axis``. An entry -∞ gives 0, with gradient 0; NaN where all entries are -∞ or one is ∞.

    Raises IndexError where there is no such axis and ValueError where it has no entries.
    """
    axis = axis_of("softmax", x, axis)
    count_of("softmax", x.shape, (axis,))
    return Softmax.apply(x, axis)


def log_softmax(x: Any, axis: int = -1) -> Any:
    """xᵢ - log Σ exp xⱼ along ``axis``: the logarithm of :func:`softmax`, exact where that is near 0.

    Raises as that does.
    """
    axis = axis_of("log_softmax", x, axis)
    count_of("log_softmax", x.shape, (axis,))
    return LogSoftmax.apply(x, axis)


def logsumexp(x: Any, axis: Axis = -1, keepdims: bool = False) -> Any:
    """log Σ exp xⱼ over ``axis`` (an integer, a tuple, or None for all). -∞, with gradient 0, where all entries are -∞.

    Raises IndexError where there is no such axis and ValueError where there are no entries.
    """
    axes = axes_of("logsumexp", x, axis)
    count_of("logsumexp", x.shape, axes)
    return Logsumexp.apply(x, axes, keepdims)
