"""Losses of numbers: binary cross-entropy, distances, and the divergence of a Gaussian from the standard one.

PyTorch's names, formulas and settings. ``reduction`` says what is returned: ``"mean"`` the mean (NaN of no losses at
all), ``"sum"`` the sum, ``"none"`` every single loss. Shapes must agree: a target of shape (N,) against an input of
shape (N, 1), which broadcasting would turn into N² losses, is an error.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_hw.autograd import Function
from tinygrad_hw.backend import Array, array_module, device_of
from tinygrad_hw.functional.activation import sigmoid, softplus
from tinygrad_hw.functional.arithmetic import mul
from tinygrad_hw.functional.elementwise import clip, maximum, sign, where
from tinygrad_hw.functional.exponential import expm1, log, log1p
from tinygrad_hw.functional.loss_support import check_pair, each_gradient, reduced
from tinygrad_hw.functional.reduction import mean, sum

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "gaussian_kl",
    "huber_loss",
    "l1_loss",
    "mse_loss",
]


class BinaryCrossEntropy(Function):
    """L = -(t log x + (1 - t) log(1 - x)), logarithms not below -100.

    ∂L/∂x = (x - t) / max(x (1 - x), 1e-12), ∂L/∂t = log(1 - x) - log x.
    """

    broadcasts = True

    @staticmethod
    def forward(ctx: Any, x: Array, target: Array, reduction: str) -> Array:
        xp = array_module(x)
        if device_of(x) == "cpu" and x.size and not (x.min() >= 0 and x.max() <= 1):
            index = tuple(map(int, np.argwhere(~((x >= 0) & (x <= 1)))[0]))
            raise ValueError(f"expected probabilities from 0 to 1, got {x[index]} at index {index}")
        ctx.save_for_backward(x, target)
        with np.errstate(divide="ignore"):
            likelihood, complement = xp.maximum(xp.log(x), -100.0), xp.maximum(xp.log1p(-x), -100.0)
        return reduced(ctx, (target - 1.0) * complement - target * likelihood, reduction)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        x, target = ctx.saved_tensors
        each = each_gradient(ctx, grad)
        grad_x = grad_target = None
        if ctx.needs_input_grad[0]:
            grad_x = each * (x - target) / maximum(x * (1.0 - x), 1e-12)
        if ctx.needs_input_grad[1]:
            # where twice: the logarithm of 0, and its infinite derivative, must not be computed at all
            at_0, at_1 = x == 0.0, x == 1.0
            likelihood = where(at_0, -100.0, maximum(log(where(at_0, 1.0, x)), -100.0))
            complement = where(at_1, -100.0, maximum(log1p(-where(at_1, 0.0, x)), -100.0))
            grad_target = each * (complement - likelihood)
        return grad_x, grad_target


class BinaryCrossEntropyWithLogits(Function):
    """L = (1 - t) softplus(x) + w t softplus(-x), w the weight of positive examples.

    ∂L/∂x = (1 - t) σ(x) - w t σ(-x), ∂L/∂t = w softplus(-x) - softplus(x), ∂L/∂w = t softplus(-x); σ(x) - t and -x for
    w = 1, as softplus(x) = x + softplus(-x). With softplus(±x) = max(±x, 0) + log(1 + e^-|x|) no term is negative, so
    nothing cancels.
    """

    broadcasts = True

    @staticmethod
    def forward(ctx: Any, x: Array, target: Array, pos_weight: Array | None, reduction: str) -> Array:
        xp = array_module(x)
        ctx.save_for_backward(x, target, pos_weight)
        losses = xp.abs(x, out=xp.empty_like(x))
        xp.negative(losses, out=losses)
        xp.exp(losses, out=losses)
        xp.log1p(losses, out=losses)
        if pos_weight is None:
            losses += xp.maximum(x, 0.0) - x * target
        else:
            positive = target * pos_weight
            negative = 1.0 - target
            losses *= negative + positive
            losses += negative * xp.maximum(x, 0.0) + positive * xp.maximum(-x, 0.0)
        return reduced(ctx, losses, reduction)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        x, target, pos_weight = ctx.saved_tensors
        each = each_gradient(ctx, grad)
        grads: list[Any] = [None, None, None]
        if ctx.needs_input_grad[0]:
            if pos_weight is None:
                grads[0] = (sigmoid(x) - target) * each
            else:
                grads[0] = ((1.0 - target) * sigmoid(x) - pos_weight * target * sigmoid(-x)) * each
        if ctx.needs_input_grad[1]:
            grads[1] = (-x if pos_weight is None else pos_weight * softplus(-x) - softplus(x)) * each
        if ctx.needs_input_grad[2]:
            grads[2] = target * softplus(-x) * each
        return tuple(grads)


def binary_cross_entropy(input: Any, target: Any, weight: Any = None, *, reduction: str = "mean") -> Any:
    """L = -(t log x + (1 - t) log(1 - x)), elementwise, for probabilities x.

    ``target`` t is from 0 to 1, of the input's shape, or a number. ``weight`` broadcasts against the losses and
    multiplies them. As in PyTorch, the logarithms are taken to be at least -100, and the gradient's denominator
    x (1 - x) at least 1e-12, so that both stay finite. Prefer :func:`binary_cross_entropy_with_logits`, which is exact
    where x rounds to 0 or 1.

    Raises ValueError for shapes that disagree and, on the CPU, for an input outside [0, 1] (on a GPU its loss is NaN).
    """
    check_pair("binary_cross_entropy", input, target, reduction)
    return _weighted(BinaryCrossEntropy, (input, target), weight, reduction)


def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, *, pos_weight: Any = None, reduction: str = "mean"
) -> Any:
    """L = -(w t log σ(x) + (1 - t) log(1 - σ(x))), elementwise, for logits x.

    ``target`` t is from 0 to 1, of the input's shape, or a number. ``weight`` broadcasts against the losses and
    multiplies them. ``pos_weight`` w (1 if None) broadcasts to the input's shape, e.g. one number for each class on the
    last axis; above 1 it favours recall, below 1 precision.

    Stable for logits of any finite size. Raises ValueError for shapes that disagree.
    """
    name = "binary_cross_entropy_with_logits"
    check_pair(name, input, target, reduction)
    if pos_weight is not None and hasattr(pos_weight, "shape"):
        try:
            shape = np.broadcast_shapes(pos_weight.shape, input.shape)
        except ValueError:
            shape = None
        if shape != input.shape:
            raise ValueError(
                f"{name}: expected a pos_weight that broadcasts to the input's shape {tuple(input.shape)}, got "
                f"{tuple(pos_weight.shape)}"
            )
    return _weighted(BinaryCrossEntropyWithLogits, (input, target, pos_weight), weight, reduction)


def _weighted(loss: type[Function], operands: tuple[Any, ...], weight: Any, reduction: str) -> Any:
    if weight is None:
        return loss.apply(*operands, reduction)
    losses = mul(loss.apply(*operands, "none"), weight)
    if reduction == "none":
        return losses
    return mean(losses) if reduction == "mean" else sum(losses)


# ---------------------------------------------------------------------------------------------------- distances


def _note_difference(ctx: Any, x: Array, target: Array) -> Array:
    ctx.save_for_backward(x, target)
    ctx.difference = array_module(x).asarray(x - target)  # NumPy makes a scalar of two arrays without axes
    return ctx.difference


def _difference(ctx: Any) -> Any:
    x, target = ctx.saved_tensors
    return x - target if ctx.recording else ctx.difference


def _opposite(ctx: Any, slope: Any) -> tuple[Any, Any]:
    """The gradients with respect to x and t of a function of x - t."""
    return slope, -slope if ctx.needs_input_grad[1] else None


class MSELoss(Function):
    """L = (x - t)²; ∂L/∂x = 2 (x - t), ∂L/∂t = -∂L/∂x."""

    broadcasts = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Array, target: Array, reduction: str) -> Array:
        difference = _note_difference(ctx, x, target)
        return reduced(ctx, difference * difference, reduction)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return _opposite(ctx, _difference(ctx) * (2.0 * each_gradient(ctx, grad)))


class L1Loss(Function):
    """L = |x - t|; ∂L/∂x = sign(x - t), 0 at 0, ∂L/∂t = -∂L/∂x."""

    broadcasts = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Array, target: Array, reduction: str) -> Array:
        return reduced(ctx, array_module(x).abs(_note_difference(ctx, x, target)), reduction)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return _opposite(ctx, sign(_difference(ctx)) * each_gradient(ctx, grad))


class HuberLoss(Function):
    """L = d²/2 for |d| <= δ, δ (|d| - δ/2) beyond, d = x - t; ∂L/∂x = d limited to ±δ, ∂L/∂t = -∂L/∂x.

    With c = min(|d|, δ) both branches are c (|d| - c/2).
    """

    broadcasts = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Array, target: Array, delta: float, reduction: str) -> Array:
        xp = array_module(x)
        ctx.delta = delta
        size = xp.abs(_note_difference(ctx, x, target))
        near = xp.minimum(size, delta)
        size -= 0.5 * near
        size *= near
        return reduced(ctx, size, reduction)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return _opposite(ctx, clip(_difference(ctx), -ctx.delta, ctx.delta) * each_gradient(ctx, grad))


def mse_loss(input: Any, target: Any, *, reduction: str = "mean") -> Any:
    """The squared error (x - t)², elementwise; ``target`` of the input's shape, or a number.

    Raises ValueError for shapes that disagree (PyTorch broadcasts them, with a warning).
    """
    check_pair("mse_loss", input, target, reduction)
    return MSELoss.apply(input, target, reduction)


def l1_loss(input: Any, target: Any, *, reduction: str = "mean") -> Any:
    """The absolute error |x - t|, elementwise, with gradient 0 at 0; shapes as :func:`mse_loss`."""
    check_pair("l1_loss", input, target, reduction)
    return L1Loss.apply(input, target, reduction)


def huber_loss(input: Any, target: Any, *, delta: float = 1.0, reduction: str = "mean") -> Any:
    """(x - t)²/2 where |x - t| <= δ, else δ (|x - t| - δ/2), elementwise; shapes as :func:`mse_loss`.

    Source: Huber 1964, "Robust estimation of a location parameter". Raises ValueError unless δ > 0.
    """
    check_pair("huber_loss", input, target, reduction)
    if not delta > 0:
        raise ValueError(f"huber_loss: expected delta > 0, got {delta}")
    return HuberLoss.apply(input, target, float(delta), reduction)


# --------------------------------------------------------------------------------------- variational auto-encoders


class GaussianKL(Function):
    """L_n = ½ Σ_j (μ_nj² + σ_nj² - 1 - log σ_nj²); ∂L/∂μ = μ, ∂L/∂(log σ²) = (σ² - 1) / 2."""

    broadcasts = True

    @staticmethod
    def forward(ctx: Any, mu: Array, logvar: Array, reduction: str) -> Array:
        xp = array_module(mu)
        ctx.save_for_backward(mu, logvar)
        return reduced(ctx, 0.5 * (mu * mu + (xp.expm1(logvar) - logvar)).sum(axis=-1), reduction)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        mu, logvar = ctx.saved_tensors
        each = each_gradient(ctx, grad)
        each = each.reshape((*each.shape, 1))
        return (
            mu * each if ctx.needs_input_grad[0] else None,
            expm1(logvar) * (0.5 * each) if ctx.needs_input_grad[1] else None,
        )


def gaussian_kl(mu: Any, logvar: Any, *, reduction: str = "mean") -> Any:
    """KL(N(μ, diag σ²) || N(0, I)) = -½ Σ_j (1 + log σ_j² - μ_j² - σ_j²), in nats, summed over the last axis.

    Args:
        mu, logvar: μ and log σ², both (..., J).
        reduction: ``"none"`` gives shape (...), ``"mean"`` the mean over it (the batch), ``"sum"`` its sum.

    Source: Kingma & Welling 2014, "Auto-encoding variational Bayes", appendix B. Raises ValueError for shapes that
    disagree or have no axis to sum over.
    """
    check_pair("gaussian_kl", mu, logvar, reduction)
    if mu.ndim == 0 or not hasattr(logvar, "shape"):
        raise ValueError(f"gaussian_kl: expected mu and logvar of one shape (..., J), got {tuple(mu.shape)}")
    return GaussianKL.apply(mu, logvar, reduction)
