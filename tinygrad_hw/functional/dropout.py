"""Dropout: units left out at random during training (Srivastava et al. 2014, JMLR 15)."""

from __future__ import annotations

from typing import Any

from tinygrad_hw.autograd import Function
from tinygrad_hw.backend import Array, device_of
from tinygrad_hw.functional.checks import check_floating
from tinygrad_hw.random import Stream, default_stream
from tinygrad_hw.tensor import Tensor

__all__ = ["dropout"]


class Dropout(Function):
    """y = x m with a mask m of 0 and 1 / (1 - p); ∂y/∂x = m."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Array, mask: Array, scale: float) -> Array:
        ctx.mask, ctx.scale = mask, scale  # the mask as booleans: a quarter of the memory at the same speed
        return x * mask * scale

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad * ctx.mask * ctx.scale


def dropout(x: Any, p: float = 0.5, training: bool = True, stream: Stream | None = None) -> Any:
    """Zero each entry of ``x`` with probability ``p`` and multiply the others by 1 / (1 - p), so that the mean stays.

    Args:
        x: floating, any shape.
        p: from 0 (``x`` itself is returned) to 1 (zeros).
        training: False returns ``x`` itself.
        stream: of random numbers: each call takes one draw of it. Default: ``default_stream("dropout")`` of
            :mod:`tinygrad_hw.random`. The same draw gives the same mask on every device.

    Raises ValueError unless 0 <= p <= 1, TypeError unless ``x`` is floating.
    """
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout: expected a probability from 0 to 1, got p={p}")
    check_floating("dropout", x)
    if not training or p == 0.0:
        return x
    device = x.device if isinstance(x, Tensor) else device_of(x)
    mask = (stream or default_stream("dropout")).bernoulli(x.shape, 1.0 - p, device=device)
    return Dropout.apply(x, mask, 1.0 / (1.0 - p) if p < 1.0 else 0.0)
