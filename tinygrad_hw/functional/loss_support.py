"""What the loss functions share: reductions, and checks that name what is wrong."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_hw.backend import Array
from tinygrad_hw.functional.checks import check_floating


def reduced(ctx: Any, losses: Array, reduction: str) -> Array:
    """Reduce ``losses`` (the mean of none is NaN), and note in ``ctx`` what :func:`each_gradient` needs to undo it."""
    ctx.reduction, ctx.count = reduction, losses.size or math.nan
    if reduction == "none":
        return losses
    return losses.sum() if reduction == "sum" else losses.sum() / ctx.count


def each_gradient(ctx: Any, grad: Any) -> Any:
    """The gradient of each single loss, a number or of the losses' shape, from that of the reduced one."""
    return grad / ctx.count if ctx.reduction == "mean" else grad


def check_reduction(name: str, reduction: str) -> None:
    """Raise ValueError unless ``reduction`` is one of the three."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{name}: expected reduction 'mean', 'sum' or 'none', got {reduction!r}")


def check_pair(name: str, input: Any, target: Any, reduction: str) -> None:
    """Raise ValueError or TypeError unless ``target`` is a number or has the shape of the floating ``input``."""
    check_reduction(name, reduction)
    check_floating(name, input)
    if isinstance(target, (int, float, np.generic)):
        return
    if not hasattr(target, "shape"):
        raise TypeError(f"{name}: expected a Tensor, an array or a number as target, got a {type(target).__name__}")
    if target.shape != input.shape:
        raise ValueError(
            f"{name}: expected a target of the input's shape {tuple(input.shape)}, got {tuple(target.shape)}; reshape "
            "or expand it if broadcasting is meant"
        )
