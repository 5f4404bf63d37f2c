"""Batch normalisation of float32 arrays on the CPU, compiled by Numba.

The batch is innermost in memory, so a channel is one piece. A thread takes a whole channel: its statistics, then its
entries again while they are in the second cache, so that memory is passed over once. A sum is taken in 256 lanes, and
these are added in float64 before rounding tells: in one order however many threads there are.

Arrays are (C, entries) here, each in one piece.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types

from tinygrad_hw.backend import Array
from tinygrad_hw.kernels.loops import SHARED, array, at
from tinygrad_hw.kernels.pool import compiled, floats, kernel, number64, pool, settings, share

_LANES = 256
_BLOCK = 2**16  # entries added up in float32 at most, in all lanes
_GIVEN, _RELU = 1, 2  # flags

_get_x, _ = array(types.float32, 0)
_get_grad, _ = array(types.float32, 1)
_, _set_y = array(types.float32, 2)
_get_lane, _set_lane = array(types.float32, 3)


@compiled()
def _clear(lanes: int, count: int) -> None:
    for k in range(count):
        _set_lane(lanes, k, np.float32(0))


@compiled()
def _total(lanes: int, first: int) -> float:
    total = 0.0
    for k in range(first, first + _LANES):
        total += np.float64(_get_lane(lanes, k))
    return total


@compiled()
def _sum_of_powers(x: int, first: int, size: int, mean: Any, squares: bool, lanes: int) -> float:
    """Σ x, or Σ (x - mean)², over ``size`` entries."""
    total = 0.0
    for block in range(first, first + size, _BLOCK):
        last = min(block + _BLOCK, first + size)
        _clear(lanes, _LANES)
        for place in range(block, last, _LANES):
            count = min(_LANES, last - place)
            if squares:
                for k in range(count):
                    centred = _get_x(x, place + k) - mean
                    _set_lane(lanes, k, _get_lane(lanes, k) + centred * centred)
            else:
                for k in range(count):
                    _set_lane(lanes, k, _get_lane(lanes, k) + _get_x(x, place + k))
        total += _total(lanes, 0)
    return total


@kernel
def _forward(job: int, part: int, who: int) -> None:
    """One channel."""
    x, y, mean_at, var_at, scale_at, weight_at, bias_at, room, size, eps, given, relu = settings(job)
    means, variances, scales = floats(mean_at), floats(var_at), floats(scale_at)
    lanes, first = room + who * 8 * _LANES, part * size
    if not given:
        means[part] = np.float32(_sum_of_powers(x, first, size, np.float32(0), False, lanes) / size)
        variances[part] = np.float32(_sum_of_powers(x, first, size, means[part], True, lanes) / size)
    scales[part] = np.float32(1 / math.sqrt(np.float64(variances[part]) + number64(eps)))
    mean, scale = means[part], scales[part]
    weight = floats(weight_at)[part] if weight_at else np.float32(1)
    bias = floats(bias_at)[part] if bias_at else np.float32(0)
    if relu:
        for k in range(first, first + size):
            value = (_get_x(x, k) - mean) * scale * weight + bias
            _set_y(y, k, np.float32(0) if value <= 0 else value)
    else:
        for k in range(first, first + size):
            _set_y(y, k, (_get_x(x, k) - mean) * scale * weight + bias)


@kernel
def _backward(job: int, part: int, who: int) -> None:
    """One channel."""
    x, grad, out, mean_at, scale_at, weight_at, bias_at, by_weight, by_bias, room, size, flags = settings(job)
    given, relu = flags & _GIVEN, flags & _RELU
    mean, scale = floats(mean_at)[part], floats(scale_at)[part]
    weight = floats(weight_at)[part] if weight_at else np.float32(1)
    bias = floats(bias_at)[part] if bias_at else np.float32(0)
    lanes, first = room + who * 8 * _LANES, part * size
    slopes = slants = 0.0  # Σ grad, Σ grad (x - mean)
    for block in range(first, first + size, _BLOCK):
        last = min(block + _BLOCK, first + size)
        _clear(lanes, 2 * _LANES)
        for place in range(block, last, _LANES):
            for k in range(min(_LANES, last - place)):
                centred, slope = _get_x(x, place + k) - mean, _get_grad(grad, place + k)
                if relu:
                    slope = slope if centred * scale * weight + bias > 0 else np.float32(0)
                _set_lane(lanes, k, _get_lane(lanes, k) + slope)
                _set_lane(lanes, k + _LANES, _get_lane(lanes, k + _LANES) + slope * centred)
        slopes += _total(lanes, 0)
        slants += _total(lanes, _LANES)
    floats(by_weight)[part], floats(by_bias)[part] = np.float32(slants * scale), np.float32(slopes)
    if not out:
        return
    factor = weight * scale
    level = np.float32(0) if given else np.float32(slopes / size)
    slant = np.float32(0) if given else np.float32(slants * scale * scale / size)
    for k in range(first, first + size):
        centred, slope = _get_x(x, k) - mean, _get_grad(grad, k)
        if relu:
            slope = slope if centred * scale * weight + bias > 0 else np.float32(0)
        _set_y(out, k, (slope - level - centred * slant) * factor)


def forward(
    x: Array, weight: Array | None, bias: Array | None, mean: Array | None, var: Array | None, eps: float, relu: bool
) -> tuple[Array, Array, Array, Array]:
    """y = (x - m) r w + b with r = 1/√(v + ε), in ``relu`` not below 0; and m, v, r (C,), m and v given or x's."""
    given, (channels, size) = mean is not None, x.shape
    y, scale, room = np.empty_like(x), np.empty(channels, np.float32), _room()
    if mean is None or var is None:
        mean, var = np.empty(channels, np.float32), np.empty(channels, np.float32)
    addresses = [at(each) for each in (x, y, mean, var, scale, weight, bias, room)]
    share(_forward, channels, x.size >= SHARED, *addresses, size, int(np.float64(eps).view(np.int64)), given, relu)
    return y, mean, var, scale


def backward(
    x: Array, grad: Array, weight: Array | None, bias: Array | None, mean: Array, scale: Array, given: bool,
    wants_x: bool, relu: bool,
) -> tuple[Array | None, Array, Array]:  # fmt: skip
    """The gradients of x (None unless wanted), w and b from that of y; ``given``: m and r are constants."""
    channels, size = x.shape
    out = np.empty_like(x) if wants_x else None
    g_weight, g_bias, room = np.empty(channels, np.float32), np.empty(channels, np.float32), _room()
    addresses = [at(each) for each in (x, grad, out, mean, scale, weight, bias, g_weight, g_bias, room)]
    share(_backward, channels, x.size >= SHARED, *addresses, size, _GIVEN * given + _RELU * relu)
    return out, g_weight, g_bias


def _room() -> Array:
    return np.empty((pool.count, 2 * _LANES), np.float32)
