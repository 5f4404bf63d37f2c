"""Batch normalisation on plain arrays: whether there is a kernel, and what it is given."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_hw.backend import Array
from tinygrad_hw.kernels import cpu_module
from tinygrad_hw.kernels.images import FEWEST, LEAST, batch_innermost


def _takes(x: Array, axes: tuple[int, ...], *others: Any) -> bool:
    """Whether there is a kernel: for batches of float32 images or sequences, normalised over all but axis 1."""
    if type(x) is not np.ndarray or x.ndim < 3 or x.shape[0] < FEWEST or x.size < LEAST:
        return False
    if axes != (0, *range(2, x.ndim)) or any(each is not None and type(each) is not np.ndarray for each in others):
        return False
    return (
        all(each is None or each.dtype == np.float32 for each in (x, *others))
        and cpu_module("cpu_normalization") is not None
    )


def forward(
    x: Array, weight: Array | None, bias: Array | None, mean: Array | None, var: Array | None, axes: tuple[int, ...],
    eps: float, relu: bool,
) -> tuple[Array, Array, Array, Array] | None:  # fmt: skip
    """y = (x - m) r w + b with r = 1/√(v + ε); and m, v, r. None where there is no kernel for it.

    Args:
        x: (N, C, ...).
        weight, bias: w and b, (1, C, 1, ...), or None for 1 and 0.
        mean, var: m and v, (1, C, 1, ...), or None for those of x.
        axes: along which x is normalised.
        eps: ε.
        relu: whether 0 takes the place of what is below.
    """
    if not _takes(x, axes, weight, bias, mean, var):
        return None
    each = (1, x.shape[1], *(1,) * (x.ndim - 2))
    y, *found = cpu_module("cpu_normalization").forward(
        _by_channel(x), *map(_one_each, (weight, bias, mean, var)), eps, relu
    )
    mean, var, scale = (array.reshape(each) for array in found)
    return _images_first(y, x.shape), mean, var, scale


def backward(
    x: Array, grad: Array, weight: Array | None, bias: Array | None, mean: Array, scale: Array, axes: tuple[int, ...],
    given: bool, wants_x: bool, relu: bool,
) -> tuple[Array | None, Array, Array] | None:  # fmt: skip
    """The gradients of x (None unless wanted), w and b from that of y; None where there is no kernel for it.

    Arguments as of :func:`forward`; ``given`` says that mean and scale are constants.
    """
    if not _takes(x, axes, grad, weight, bias, mean, scale):
        return None
    arrays = _by_channel(x), _by_channel(grad), *map(_one_each, (weight, bias, mean, scale))
    gx, *sums = cpu_module("cpu_normalization").backward(*arrays, given, wants_x, relu)
    g_weight, g_bias = (array.reshape(mean.shape) for array in sums)
    return None if gx is None else _images_first(gx, x.shape), g_weight, g_bias


def _by_channel(x: Array) -> Array:
    """x (N, C, ...) as (C, entries) in one piece, the batch innermost: itself where memory is in that order."""
    return batch_innermost(x.reshape(*x.shape[:2], -1, 1)).reshape(x.shape[1], -1)


def _images_first(x: Array, shape: tuple[int, ...]) -> Array:
    """x (C, entries) seen as an array of ``shape`` (N, C, ...)."""
    return np.moveaxis(x.reshape(*shape[1:], shape[0]), -1, 0)


def _one_each(array: Array | None) -> Array | None:
    """An array with one entry for each channel as (C,) in one piece."""
    return None if array is None else np.ascontiguousarray(array.reshape(-1))
