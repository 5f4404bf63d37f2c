"""Derivatives by hand of sums, means, extremes, products and norms along axes.

``dim`` is an axis, a tuple of axes or None for all, ``keepdim`` keeps them with size 1, as in PyTorch. With y the
reduction of x, ``g`` = dC/dy is first spread back over the axes that were summed away (:func:`spread`), then multiplied
by dy/dx entry by entry. Every function returns a tuple of one gradient.
"""

from __future__ import annotations

import math

from reference.elementwise import Gradients
from tinygrad_hw.backend import Array, array_module

Dim = int | tuple[int, ...] | None


def spread(g: Array, x: Array, dim: Dim, keepdim: bool) -> Array:
    """``g``, the gradient of a reduction of ``x`` along ``dim``, with the reduced axes put back with size 1."""
    if keepdim:
        return g
    axes = range(x.ndim) if dim is None else (dim,) if isinstance(dim, int) else dim
    reduced = {axis % x.ndim for axis in axes}
    return g.reshape([1 if axis in reduced else size for axis, size in enumerate(x.shape)])


def _count(x: Array, dim: Dim) -> int:
    axes = range(x.ndim) if dim is None else (dim,) if isinstance(dim, int) else dim
    return math.prod(x.shape[axis] for axis in axes)


def hand_sum(g: Array, x: Array, dim: Dim = None, keepdim: bool = False) -> Gradients:
    """y = sum x: dy/dx_i = 1."""
    return (spread(g, x, dim, keepdim) + array_module(x).zeros_like(x),)


def hand_mean(g: Array, x: Array, dim: Dim = None, keepdim: bool = False) -> Gradients:
    """y = sum x / n: dy/dx_i = 1/n."""
    return (hand_sum(g, x, dim, keepdim)[0] / _count(x, dim),)


def hand_var(g: Array, x: Array, dim: Dim = None, correction: float = 1, keepdim: bool = False) -> Gradients:
    """y = sum (x - m)^2 / (n - c), m the mean: dy/dx_i = 2 (x_i - m) / (n - c), for sum (x - m) = 0 removes dm."""
    centred = x - x.mean(axis=dim, keepdims=True)
    return (spread(g, x, dim, keepdim) * 2 * centred / (_count(x, dim) - correction),)


def hand_std(g: Array, x: Array, dim: Dim = None, correction: float = 1, keepdim: bool = False) -> Gradients:
    """y = sqrt(var): dy = d var / (2 y); 0 where y = 0, as in PyTorch."""
    xp = array_module(x)
    centred = x - x.mean(axis=dim, keepdims=True)
    degrees = _count(x, dim) - correction
    y = xp.sqrt((centred * centred).sum(axis=dim, keepdims=True) / degrees)
    return (spread(g, x, dim, keepdim) * centred / (degrees * xp.where(y == 0, 1.0, y)),)


def hand_amax(g: Array, x: Array, dim: Dim = None, keepdim: bool = False) -> Gradients:
    """The greatest entry takes the gradient; entries that tie share it evenly."""
    greatest = x == x.max(axis=dim, keepdims=True)
    return (spread(g, x, dim, keepdim) * greatest / greatest.sum(axis=dim, keepdims=True).astype(g.dtype),)


def hand_amin(g: Array, x: Array, dim: Dim = None, keepdim: bool = False) -> Gradients:
    """The least entry takes the gradient; entries that tie share it evenly."""
    return hand_amax(g, -x, dim, keepdim)


def hand_max(g: Array, x: Array, dim: int | None = None, keepdim: bool = False) -> Gradients:
    """Along one axis the first of the greatest entries takes it all; without an axis, ties share (PyTorch's max)."""
    if dim is None:
        return hand_amax(g, x, None, keepdim)
    xp = array_module(x)
    index = xp.expand_dims(x.argmax(axis=dim), dim)
    positions = xp.arange(x.shape[dim]).reshape([-1 if axis == dim % x.ndim else 1 for axis in range(x.ndim)])
    return (spread(g, x, dim, keepdim) * (positions == index),)


def hand_min(g: Array, x: Array, dim: int | None = None, keepdim: bool = False) -> Gradients:
    """As :func:`hand_max`, of the least entries."""
    return hand_max(g, -x, dim, keepdim)


def hand_prod(g: Array, x: Array, dim: Dim = None, keepdim: bool = False) -> Gradients:
    """dy/dx_i is the product of the others, so y / x_i unless that is 0 / 0.

    One zero: the product of the others at the zero, and 0 elsewhere. More zeros: 0 everywhere.
    """
    xp = array_module(x)
    zero = x == 0
    zeros = zero.sum(axis=dim, keepdims=True)
    filled = xp.where(zero, 1.0, x)
    product = filled.prod(axis=dim, keepdims=True)
    others = xp.where(zeros == 0, product / filled, xp.where((zeros == 1) & zero, product, 0.0))
    return (spread(g, x, dim, keepdim) * others,)


def hand_cumsum(g: Array, x: Array, dim: int) -> Gradients:
    """y_j = sum_{i <= j} x_i: x_i is in every y_j with j >= i, so its gradient is the sum of g from i to the end."""
    xp = array_module(g)
    return (xp.flip(xp.cumsum(xp.flip(g, dim), axis=dim), dim),)


def hand_norm(g: Array, x: Array, p: float = 2.0, dim: Dim = None, keepdim: bool = False) -> Gradients:
    """y = (sum |x|^p)^(1/p): dy/dx_i = sign(x_i) (|x_i| / y)^(p-1); p = +-inf as the extreme of |x|. 0 where y = 0."""
    xp = array_module(x)
    size, sign = xp.abs(x), xp.sign(x)
    if math.isinf(p):
        return (sign * (hand_amax if p > 0 else hand_amin)(g, size, dim, keepdim)[0],)
    largest = size.max(axis=dim, keepdims=True)
    scaled = size / xp.where(largest == 0, 1.0, largest)
    total = (scaled**p).sum(axis=dim, keepdims=True)
    y = xp.where(total == 0, 1.0, total) ** (1.0 / p)
    ratio = xp.where(size == 0, 1.0, scaled) / y  # sign is 0 where the filled-in 1 stands
    return (spread(g, x, dim, keepdim) * sign * ratio ** (p - 1.0),)


def hand_logsumexp(g: Array, x: Array, dim: Dim = None, keepdim: bool = False) -> Gradients:
    """y = log sum exp(x): dy/dx_i = exp(x_i - y), the softmax."""
    grown = array_module(x).exp(x - x.max(axis=dim, keepdims=True))
    return (spread(g, x, dim, keepdim) * grown / grown.sum(axis=dim, keepdims=True),)
