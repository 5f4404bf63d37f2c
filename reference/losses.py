"""Loss functions: value and derivative by hand, on plain arrays, with PyTorch's names and settings.

``reduction`` is "none" (one value an element or example), "sum" or "mean"; ``g`` is the gradient of what is returned.
Values accept complex input, so they serve the complex step too. Every ``hand_`` function returns the gradient of the
input, then that of the target where the target is an array of floating-point numbers.
"""

from __future__ import annotations

from typing import Any

from reference import complex_step as analytic
from reference.elementwise import Gradients, unbroadcast
from tinygrad_hw.backend import Array, array_module


def _reduce(values: Array, reduction: str, count: Any = None) -> Array:
    """``values`` as they are, their sum, or their sum divided by ``count`` (their number if None)."""
    if reduction == "none":
        return values
    if reduction not in ("mean", "sum"):
        raise ValueError(f"loss: reduction must be 'none', 'mean' or 'sum', got {reduction!r}")
    return values.sum() if reduction == "sum" else values.sum() / (values.size if count is None else count)


def _unreduce(g: Array, reduction: str, count: Any) -> Array:
    """What :func:`_reduce` passes back to each value (broadcastable to them)."""
    return g / count if reduction == "mean" else g


# Cross-entropy. Classes are axis 1 of the logits (axis 0 of a single example), as in PyTorch.


def _classes_last(x: Array) -> Array:
    return array_module(x).moveaxis(x, 0 if x.ndim == 1 else 1, -1)


def _classes_back(x: Array) -> Array:
    return array_module(x).moveaxis(x, -1, 0 if x.ndim == 1 else 1)


def _target_probabilities(shape: tuple[int, ...], dtype: Any, target: Array, smoothing: float) -> Array:
    """q, classes last: one-hot rows of integer targets (an index out of range gives zeros), or the target itself.

    With label smoothing e, (1 - e) q + e / classes (Szegedy et al. 2016, "Rethinking the Inception architecture", 7).
    """
    if target.dtype.kind in "iu":
        q = (target[..., None] == array_module(target).arange(shape[-1])).astype(dtype)
    else:
        q = _classes_last(target)
    return q * (1 - smoothing) + smoothing / shape[-1]


def _kept(target: Array, ignore_index: int, dtype: Any) -> Array | float:
    """1 for each example that counts, 0 where its label is ``ignore_index``; plain 1 for probabilities."""
    return (target != ignore_index).astype(dtype) if target.dtype.kind in "iu" else 1.0


def _examples(z: Array, kept: Array | float) -> Any:
    """How many examples the mean is taken over: NaN, not an error, comes of 0 of them."""
    return z.size // z.shape[-1] if isinstance(kept, float) else kept.sum()


def cross_entropy(
    input: Array, target: Array, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0
) -> Array:
    """C_n = -sum_c q_nc log softmax(z_n)_c.

    ``input`` z (N, C, ...) or (C,); ``target`` integers (N, ...) or probabilities of the input's shape, q after
    smoothing. The mean is over the examples that are not ignored.
    """
    z = _classes_last(input)
    q = _target_probabilities(z.shape, z.real.dtype, target, label_smoothing)
    kept = _kept(target, ignore_index, z.real.dtype)
    values = -(q * analytic.log_softmax(z)).sum(axis=-1) * kept
    return _reduce(values, reduction, _examples(z, kept))


def hand_cross_entropy(
    g: Array,
    input: Array,
    target: Array,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Gradients:
    """C = -sum_c q_c (z_c - log sum e^z) = Q log sum e^z - sum q_c z_c with Q = sum q_c.

    So dC/dz_c = Q p_c - q_c, p = softmax(z) (Q = 1 for labels), and dC/dt_c = -(1 - e) log p_c for probabilities t.
    """
    z = _classes_last(input)
    q = _target_probabilities(z.shape, z.dtype, target, label_smoothing)
    kept = _kept(target, ignore_index, z.dtype)
    each = array_module(z).broadcast_to(_unreduce(g, reduction, _examples(z, kept)) * kept, z.shape[:-1])[..., None]
    d_input = _classes_back(each * (q.sum(axis=-1, keepdims=True) * analytic.softmax(z) - q))
    if target.dtype.kind in "iu":
        return (d_input,)
    return d_input, _classes_back(-each * (1 - label_smoothing) * analytic.log_softmax(z))


def nll_loss(input: Array, target: Array, ignore_index: int = -100, reduction: str = "mean") -> Array:
    """C_n = -l_{n, y_n} for log-probabilities l (N, C, ...) or (C,) and integer labels y."""
    logs = _classes_last(input)
    q = _target_probabilities(logs.shape, logs.real.dtype, target, 0.0)
    kept = _kept(target, ignore_index, logs.real.dtype)
    return _reduce(-(q * logs).sum(axis=-1) * kept, reduction, _examples(logs, kept))


def hand_nll_loss(
    g: Array, input: Array, target: Array, ignore_index: int = -100, reduction: str = "mean"
) -> Gradients:
    """dC_n/dl_nc = -1 at c = y_n, else 0."""
    logs = _classes_last(input)
    q = _target_probabilities(logs.shape, logs.dtype, target, 0.0)
    kept = _kept(target, ignore_index, logs.dtype)
    each = array_module(logs).broadcast_to(_unreduce(g, reduction, _examples(logs, kept)) * kept, logs.shape[:-1])
    return (_classes_back(-q * each[..., None]),)


# Binary cross-entropy


def binary_cross_entropy(input: Array, target: Array, reduction: str = "mean") -> Array:
    """-(t log p + (1 - t) log(1 - p)) for probabilities p; both logarithms at least -100, as in PyTorch."""
    log_p, log_q = analytic.clip(analytic.log(input), -100.0), analytic.clip(analytic.log1p(-input), -100.0)
    return _reduce(-(target * log_p + (1 - target) * log_q), reduction)


def hand_binary_cross_entropy(g: Array, input: Array, target: Array, reduction: str = "mean") -> Gradients:
    """dC/dp = -t/p + (1 - t)/(1 - p) = (p - t) / (p (1 - p)), dC/dt = log(1 - p) - log p.

    The denominator is at least 1e-12 and the logarithms at least -100, as in PyTorch.
    """
    xp = array_module(input)
    each = _unreduce(g, reduction, input.size)
    d_input = each * (input - target) / xp.maximum(input * (1 - input), 1e-12)
    if target.dtype.kind != "f":
        return (d_input,)
    log_p, log_q = analytic.clip(xp.log(input), -100.0), analytic.clip(xp.log1p(-input), -100.0)
    return d_input, each * (log_q - log_p)


def binary_cross_entropy_with_logits(
    input: Array, target: Array, reduction: str = "mean", pos_weight: Array | float = 1.0
) -> Array:
    """-(w t log s(z) + (1 - t) log(1 - s(z))), s the sigmoid, w the weight of positive examples.

    -log s(z) = softplus(-z) and -log(1 - s(z)) = z + softplus(-z), so this is (1 - t) z + (1 + (w - 1) t) softplus(-z),
    finite for every z.
    """
    return _reduce((1 - target) * input + (1 + (pos_weight - 1) * target) * analytic.softplus(-input), reduction)


def hand_binary_cross_entropy_with_logits(
    g: Array, input: Array, target: Array, reduction: str = "mean", pos_weight: Array | float = 1.0
) -> Gradients:
    """dC/dz = (1 - t) - (1 + (w - 1) t) s(-z), dC/dt = -z + (w - 1) softplus(-z); w is a setting, without gradient."""
    each = _unreduce(g, reduction, input.size)
    d_input = each * ((1 - target) - (1 + (pos_weight - 1) * target) * analytic.sigmoid(-input))
    if target.dtype.kind != "f":
        return (d_input,)
    return d_input, each * ((pos_weight - 1) * analytic.softplus(-input) - input)


# Distances, functions of d = input - target, which may broadcast: dC/dinput = C'(d), dC/dtarget = -C'(d)


def _both(g: Array, slope: Array, input: Array, target: Array, reduction: str) -> Gradients:
    d = _unreduce(g, reduction, slope.size) * slope
    return unbroadcast(d, input), unbroadcast(-d, target)


def mse_loss(input: Array, target: Array, reduction: str = "mean") -> Array:
    """d^2."""
    d = input - target
    return _reduce(d * d, reduction)


def hand_mse_loss(g: Array, input: Array, target: Array, reduction: str = "mean") -> Gradients:
    """C' = 2d."""
    return _both(g, 2 * (input - target), input, target, reduction)


def l1_loss(input: Array, target: Array, reduction: str = "mean") -> Array:
    """|d|."""
    return _reduce(analytic.abs(input - target), reduction)


def hand_l1_loss(g: Array, input: Array, target: Array, reduction: str = "mean") -> Gradients:
    """C' = sign d, 0 at 0."""
    return _both(g, array_module(input).sign(input - target), input, target, reduction)


def huber_loss(input: Array, target: Array, reduction: str = "mean", delta: float = 1.0) -> Array:
    """d^2 / 2 for |d| <= delta, else delta (|d| - delta / 2) (Huber 1964)."""
    d = input - target
    size = analytic.abs(d)
    return _reduce(analytic.where(size.real <= delta, 0.5 * d * d, delta * (size - 0.5 * delta)), reduction)


def hand_huber_loss(g: Array, input: Array, target: Array, reduction: str = "mean", delta: float = 1.0) -> Gradients:
    """C' = d limited to [-delta, delta]."""
    return _both(g, array_module(input).clip(input - target, -delta, delta), input, target, reduction)


def gaussian_kl(mu: Array, logvar: Array, reduction: str = "mean") -> Array:
    """KL(N(mu, e^logvar) || N(0, 1)) = -1/2 sum_j (1 + logvar_j - mu_j^2 - e^logvar_j), summed over the last axis.

    Kingma & Welling 2014, "Auto-encoding variational Bayes", appendix B. Shape (..., J): "none" gives (...), "mean"
    the mean over all of the leading axes (the batch).
    """
    xp = array_module(mu)
    return _reduce(-0.5 * (1 + logvar - mu * mu - xp.exp(logvar)).sum(axis=-1), reduction)


def hand_gaussian_kl(g: Array, mu: Array, logvar: Array, reduction: str = "mean") -> Gradients:
    """dC/dmu_j = mu_j, dC/dlogvar_j = (e^logvar_j - 1) / 2."""
    xp = array_module(mu)
    rows = mu.size // mu.shape[-1]
    each = xp.broadcast_to(_unreduce(g, reduction, rows), mu.shape[:-1])[..., None]
    return each * mu, each * 0.5 * xp.expm1(logvar)
