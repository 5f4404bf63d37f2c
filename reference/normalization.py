"""Batch, layer and group normalisation: value and derivative by hand, on plain arrays.

All three subtract a mean m and divide by a standard deviation s = sqrt(v + eps), m and v taken over n entries; they
differ in which entries these are. Values accept complex input. ``g`` is the gradient of the value; each ``hand_``
function returns one gradient for each array argument that has one, in order.

The derivative (Ioffe & Szegedy 2015, section 3, put together). With c_i = x_i - m, z_i = c_i / s and the loss L of
h_i = dL/dz_i,

    dv/dx_i = 2 c_i / n                       since sum c_j = 0 leaves nothing of dm/dx_i
    ds/dx_i = c_i / (n s) = z_i / n
    dz_j/dx_i = (d_ij - 1/n) / s - c_j / s^2 . z_i / n = (d_ij - 1/n - z_j z_i / n) / s
    dL/dx_i = sum_j h_j dz_j/dx_i = (h_i - mean(h) - z_i mean(h z)) / s
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference.elementwise import Gradients
from tinygrad_hw.backend import Array


def _normal(x: Array, axes: tuple[int, ...], eps: float) -> tuple[Array, Array]:
    """z and s."""
    centred = x - x.mean(axis=axes, keepdims=True)
    s = np.sqrt((centred * centred).mean(axis=axes, keepdims=True) + eps)
    return centred / s, s


def _hand_normal(h: Array, x: Array, axes: tuple[int, ...], eps: float) -> Array:
    """dL/dx of h = dL/dz, as derived above."""
    z, s = _normal(x, axes, eps)
    return (h - h.mean(axis=axes, keepdims=True) - z * (h * z).mean(axis=axes, keepdims=True)) / s


def _per_channel(array: Any, ndim: int) -> Any:
    return None if array is None else array.reshape(1, -1, *(1,) * (ndim - 2))


def _affine(z: Array, weight: Any, bias: Any) -> Array:
    y = z if weight is None else z * weight
    return y if bias is None else y + bias


def _gradients(g: Array, z: Array, dx: Array, weight: Any, bias: Any, axes: tuple[int, ...]) -> Gradients:
    """y = w z + b, w and b the same along ``axes``: dw = sum g z and db = sum g there, if there are w and b."""
    found = (dx,) if weight is None else (dx, (g * z).sum(axis=axes).reshape(weight.shape))
    return found if bias is None else (*found, g.sum(axis=axes).reshape(bias.shape))


def _batch(
    x: Array, running_mean: Any, running_var: Any, training: bool, eps: float
) -> tuple[tuple[int, ...], Array, Array]:
    """The axes of a channel's entries, z and s."""
    axes = (0, *range(2, x.ndim))
    if training:
        return axes, *(_normal(x, axes, eps) if x.size else (x, np.ones((1, x.shape[1], *(1,) * (x.ndim - 2)))))
    mean, var = (_per_channel(array, x.ndim) for array in (running_mean, running_var))
    s = np.sqrt(var + eps)
    return axes, (x - mean) / s, s


def batch_norm(
    x: Array,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    relu: bool = False,
) -> Array:
    """y = w z + b: statistics over all entries of a channel; those given, outside training. With ``relu`` max(y, 0)."""
    _, z, _ = _batch(x, running_mean, running_var, training, eps)
    y = _affine(z, _per_channel(weight, x.ndim), _per_channel(bias, x.ndim))
    return y * (y.real > 0) if relu else y


def hand_batch_norm(
    g: Array,
    x: Array,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    relu: bool = False,
) -> Gradients:
    """h = w g, with ``relu`` where y > 0; in training dx as derived above, else h / s, m and s being constants."""
    axes, z, s = _batch(x, running_mean, running_var, training, eps)
    if relu:
        g = g * (_affine(z, _per_channel(weight, x.ndim), _per_channel(bias, x.ndim)) > 0)
    h = g if weight is None else g * _per_channel(weight, x.ndim)
    dx = _hand_normal(h, x, axes, eps) if training and x.size else h / s
    return _gradients(g, z, dx, weight, bias, axes)


def layer_norm(x: Array, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Array:
    """y = w z + b: statistics over the last axes, w and b one for each entry of these."""
    return _affine(_normal(x, _last(x, normalized_shape), eps)[0], weight, bias)


def hand_layer_norm(
    g: Array, x: Array, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Gradients:
    """h = w g, dx as derived above; dw and db are sums over the axes before."""
    axes = _last(x, normalized_shape)
    dx = _hand_normal(g if weight is None else g * weight, x, axes, eps)
    return _gradients(g, _normal(x, axes, eps)[0], dx, weight, bias, tuple(range(axes[0])))


def _last(x: Array, normalized_shape: Any) -> tuple[int, ...]:
    count = 1 if isinstance(normalized_shape, int) else len(normalized_shape)
    return tuple(range(x.ndim - count, x.ndim))


def _grouped(x: Array, groups: int) -> Array:
    return x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])


def group_norm(x: Array, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Array:
    """y = w z + b: statistics over the channels of a group in one image, w and b one for each channel."""
    z = _normal(_grouped(x, num_groups), tuple(range(2, x.ndim + 1)), eps)[0].reshape(x.shape)
    return _affine(z, _per_channel(weight, x.ndim), _per_channel(bias, x.ndim))


def hand_group_norm(
    g: Array, x: Array, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Gradients:
    """h = w g, dx as derived above; dw and db are sums over a channel's entries in all images."""
    axes, h = tuple(range(2, x.ndim + 1)), g if weight is None else g * _per_channel(weight, x.ndim)
    dx = _hand_normal(_grouped(h, num_groups), _grouped(x, num_groups), axes, eps).reshape(x.shape)
    z = _normal(_grouped(x, num_groups), axes, eps)[0].reshape(x.shape)
    return _gradients(g, z, dx, weight, bias, (0, *range(2, x.ndim)))
