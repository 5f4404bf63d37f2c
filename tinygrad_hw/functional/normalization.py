"""Normalisation: entries less their mean, over their standard deviation, along chosen axes."""

from __future__ import annotations

import math
from typing import Any

from tinygrad_hw import versions
from tinygrad_hw.autograd import Function
from tinygrad_hw.backend import Array, array_module
from tinygrad_hw.functional.arithmetic import clone, sum_to
from tinygrad_hw.functional.checks import check_floating, integers
from tinygrad_hw.functional.elementwise import gate, sqrt
from tinygrad_hw.functional.reduction import mean as mean_of
from tinygrad_hw.functional.reduction import var as var_of
from tinygrad_hw.functional.shape import reshape
from tinygrad_hw.kernels import normalization as kernels
from tinygrad_hw.tensor import raw_of

__all__ = ["batch_norm", "group_norm", "layer_norm"]

Axes = tuple[int, ...]


class Normalize(Function):
    """y = w x̂ + b, x̂ = (x - m) r, r = 1/√(v + ε), m and v the mean and the variance along some axes.

    Axes are those of x in another ``shape``, where channels lie in groups. With g = w ȳ and averages ⟨ ⟩ along them,
    x̄ = r (g - ⟨g⟩ - x̂ ⟨g x̂⟩), w̄ = Σ ȳ x̂ and b̄ = Σ ȳ (Ioffe & Szegedy 2015). Where m and v are given they are
    constants, and x̄ = r g. With ``relu`` 0 takes the place of what is below in y, and of ȳ there.
    """

    fresh = True

    @staticmethod
    def forward(
        ctx: Any, x: Array, weight: Any, bias: Any, mean: Any, var: Any, shape: Axes, axes: Axes, eps: float,
        relu: bool, found: list[Array],
    ) -> Array:  # fmt: skip
        ctx.shape, ctx.axes, ctx.eps, ctx.relu, ctx.given = shape, axes, eps, relu, mean is not None
        ctx.save_for_backward(x, weight, bias)
        whole, x = x.shape, x.reshape(shape)
        made = kernels.forward(x, weight, bias, mean, var, axes, eps, relu)
        if made is not None:
            y, mean, var, ctx.scale = made
            ctx.mean, found[:] = mean, (mean, var)
            return y.reshape(whole)
        if not ctx.given:
            mean = x.mean(axis=axes, keepdims=True)
        y = x - mean
        if not ctx.given:
            var = (y * y).mean(axis=axes, keepdims=True)
            found[:] = mean, var
        ctx.mean, ctx.scale = mean, 1 / array_module(x).sqrt(var + eps)
        y *= ctx.scale
        if weight is not None:
            y *= weight
        if bias is not None:
            y += bias
        if relu:
            ctx.positive = y > 0
            y = y.clip(0.0, math.inf)
        return y.reshape(whole)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        x, weight, bias = ctx.saved_tensors
        whole, x, grad = x.shape, x.reshape(ctx.shape), grad.reshape(ctx.shape)
        axes, mean, scale = ctx.axes, ctx.mean, ctx.scale
        wants_x, wants_weight, wants_bias, *_ = ctx.needs_input_grad
        made = kernels.backward(x, grad, weight, bias, mean, scale, axes, ctx.given, wants_x, ctx.relu)
        if made is not None:
            gx, g_weight, g_bias = made
            gx = None if gx is None else gx.reshape(whole)
            return gx, g_weight if wants_weight else None, g_bias if wants_bias else None
        if ctx.relu:
            grad = gate(grad, _positive(ctx, *map(raw_of, (x, weight, bias))))
        if ctx.recording and not ctx.given:
            mean, scale = mean_of(x, axes, True), 1 / sqrt(var_of(x, axes, 0, True) + ctx.eps)
        gx = g_weight = g_bias = None
        normal = None if ctx.given and not wants_weight else (x - mean) * scale
        if wants_weight:
            g_weight = sum_to(grad * normal, weight.shape)
        if wants_bias:
            g_bias = clone(grad) if grad.shape == bias.shape else sum_to(grad, bias.shape)
        if wants_x:
            gx = grad if weight is None else grad * weight
            if not ctx.given:
                gx = gx - mean_of(gx, axes, True) - normal * mean_of(gx * normal, axes, True)
            gx = (gx * scale).reshape(whole)
        return gx, g_weight, g_bias


def _positive(ctx: Any, x: Array, weight: Any, bias: Any) -> Array:
    """Where y is above 0: kept by the generic forward, else computed again with the bits of the kernel."""
    if hasattr(ctx, "positive"):
        return ctx.positive
    y = (x - ctx.mean) * ctx.scale * (1 if weight is None else weight)
    return (y if bias is None else y + bias) > 0


def _check_each(name: str, shape: tuple[int, ...], **given: Any) -> None:
    """Raise TypeError unless what is given is a floating Tensor or array, ValueError unless it has that shape."""
    for what, array in given.items():
        if array is not None:
            check_floating(f"{name}: {what}", array)
        if array is not None and tuple(array.shape) != shape:
            raise ValueError(f"{name}: expected {what} of shape {shape}, got {tuple(array.shape)}")


def _check_eps(name: str, eps: float) -> None:
    if not eps >= 0:
        raise ValueError(f"{name}: eps must not be negative, got {eps!r}")


def _shaped(array: Any, shape: tuple[int, ...]) -> Any:
    return None if array is None else reshape(array, shape)


def batch_norm(
    x: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    relu: bool = False,
) -> Any:
    """Each channel less its mean, over its standard deviation, times ``weight``, plus ``bias`` (Ioffe & Szegedy 2015).

    y = (x - m) / √(v + ε) · w + b. In training m and v are the mean and the (biased) variance of the channel over the
    batch, and the running ones move towards them: running ← (1 - momentum) running + momentum found, where the variance
    found is the unbiased one. Otherwise m and v are the running ones.

    Args:
        x: floating, (N, C) or (N, C, ...).
        running_mean, running_var: (C,), Tensors or arrays, changed in place in training; None there keeps none.
        weight, bias: (C,), or None for 1 and 0.
        training: whether m and v are the batch's.
        momentum: how much of the found ones the running ones take over.
        eps: ε, added to the variance.
        relu: whether the rectifier follows, for max(y, 0) in the same pass over memory. Not in PyTorch.

    Raises:
        TypeError: for an ``x`` that is not floating.
        ValueError: for shapes that do not fit, one running statistic without the other, and a batch of one value per
            channel in training, whose variance is none.
    """
    check_floating("batch_norm", x)
    _check_eps("batch_norm", eps)
    if x.ndim < 2:
        raise ValueError(f"batch_norm: expected a shape (N, C, ...), got {tuple(x.shape)}")
    if (running_mean is None) != (running_var is None):
        raise ValueError("batch_norm: expected both running_mean and running_var, or neither")
    channels = (x.shape[1],)
    _check_each("batch_norm", channels, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    axes, shape = (0, *range(2, x.ndim)), (1, *channels, *(1,) * (x.ndim - 2))
    weight, bias = _shaped(weight, shape), _shaped(bias, shape)
    found: list[Array] = []
    if not training:
        if running_mean is None:
            raise ValueError("batch_norm: expected running statistics outside training")
        mean, var = (
            raw_of(running).reshape(shape).astype(x.dtype, copy=False) for running in (running_mean, running_var)
        )
        return Normalize.apply(x, weight, bias, mean, var, tuple(x.shape), axes, eps, relu, found)
    count = math.prod(x.shape) // max(1, x.shape[1])
    if count == 1:
        raise ValueError(
            f"batch_norm: expected more than 1 value per channel when training, got input size {tuple(x.shape)}"
        )
    if count == 0:  # nothing to take a mean of: PyTorch leaves the running statistics alone, too
        xp = array_module(raw_of(x))
        mean, var = xp.zeros(shape, x.dtype), xp.ones(shape, x.dtype)
        return Normalize.apply(x, weight, bias, mean, var, tuple(x.shape), axes, eps, relu, found)
    y = Normalize.apply(x, weight, bias, None, None, tuple(x.shape), axes, eps, relu, found)
    if running_mean is not None:
        _move(raw_of(running_mean), found[0], momentum)
        _move(raw_of(running_var), found[1] * (count / (count - 1)), momentum)
    return y


def _move(running: Array, found: Array, momentum: float) -> None:
    """Let running statistics take over a part of those found."""
    running *= 1 - momentum
    running += momentum * found.reshape(running.shape)
    versions.note_write(running)


def layer_norm(x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """Entries less their mean, over their standard deviation, along the last axes (Ba, Kiros & Hinton 2016).

    y = (x - m) / √(v + ε) · w + b, with the biased variance.

    Args:
        x: floating, (..., *normalized_shape).
        normalized_shape: the sizes of the last axes, which share m and v; an integer for one.
        weight, bias: of that shape, or None for 1 and 0.
        eps: ε, added to the variance.

    Raises TypeError for an ``x`` that is not floating, ValueError for shapes that do not fit.
    """
    check_floating("layer_norm", x)
    _check_eps("layer_norm", eps)
    listed = tuple(normalized_shape) if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
    sizes = integers("layer_norm", "normalized_shape", listed, len(listed), 1)
    if not sizes or tuple(x.shape[-len(sizes) :]) != sizes:
        raise ValueError(f"layer_norm: expected a shape (..., {', '.join(map(str, sizes))}), got {tuple(x.shape)}")
    _check_each("layer_norm", sizes, weight=weight, bias=bias)
    axes = tuple(range(x.ndim - len(sizes), x.ndim))
    return Normalize.apply(x, weight, bias, None, None, tuple(x.shape), axes, eps, False, [])


def group_norm(x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """Groups of channels less their mean, over their standard deviation, image by image (Wu & He 2018).

    y = (x - m) / √(v + ε) · w + b, with the biased variance.

    Args:
        x: floating, (N, C, ...).
        num_groups: into which the channels are divided in order; each has its own m and v. C is a multiple of it.
        weight, bias: (C,), or None for 1 and 0.
        eps: ε, added to the variance.

    Raises TypeError for an ``x`` that is not floating, ValueError for shapes that do not fit.
    """
    check_floating("group_norm", x)
    _check_eps("group_norm", eps)
    (groups,) = integers("group_norm", "num_groups", num_groups, 1, 1)
    if x.ndim < 2 or 0 in x.shape[1:] or x.shape[1] % groups:
        raise ValueError(
            f"group_norm: expected a shape (N, C, ...) with C a multiple of {groups}, got {tuple(x.shape)}"
        )
    _check_each("group_norm", (x.shape[1],), weight=weight, bias=bias)
    split = (groups, x.shape[1] // groups)
    each, axes = (*split, *(1,) * (x.ndim - 2)), tuple(range(2, x.ndim + 1))
    shape = (x.shape[0], *split, *x.shape[2:])
    return Normalize.apply(x, _shaped(weight, each), _shaped(bias, each), None, None, shape, axes, eps, False, [])
