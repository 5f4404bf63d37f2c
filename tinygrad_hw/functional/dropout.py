"""Dropout: units left out at random during training (Srivastava et al. 2014, JMLR 15)."""

from __future__ import annotations

from typing import Any

from tinygrad_hw.autograd import Function
from tinygrad_hw.backend import Array, device_of
from tinygrad_hw.functional.checks import check_floating
from tinygrad_hw.random import Stream, default_stream
from tinygrad_hw.tensor import Tensor

__all__ = ["dropout", "dropout2d"]


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
    check_floating("dropout", x)
    return _dropout("dropout", x, x.shape, p, training, stream)


def dropout2d(x: Any, p: float = 0.5, training: bool = True, stream: Stream | None = None) -> Any:
    """Zero whole channels with probability ``p``, and multiply the others by 1 / (1 - p) (Tompson et al. 2015).

    Args:
        x: floating, (N, C, ...): an image's channel is kept or dropped as a whole.
        p, training, stream: as for :func:`dropout`.

    Raises ValueError unless 0 <= p <= 1 and ``x`` has two axes or more, TypeError unless ``x`` is floating.
    """
    check_floating("dropout2d", x)
    if x.ndim < 2:
        raise ValueError(f"dropout2d: expected a shape (N, C, ...), got {tuple(x.shape)}")
    return _dropout("dropout2d", x, (*x.shape[:2], *(1,) * (x.ndim - 2)), p, training, stream)


def _dropout(name: str, x: Any, shape: tuple[int, ...], p: float, training: bool, stream: Stream | None) -> Any:
    """``x`` times a mask of ``shape``, drawn here, and times what keeps the mean."""
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"{name}: expected a probability from 0 to 1, got p={p}")
    if not training or p == 0.0:
        return x
    device = x.device if isinstance(x, Tensor) else device_of(x)
    mask = (stream or default_stream("dropout")).bernoulli(shape, 1.0 - p, device=device)
    return Dropout.apply(x, mask, 1.0 / (1.0 - p) if p < 1.0 else 0.0)
