"""Losses of a choice among C classes: cross-entropy of logits, negative log-likelihood of log-probabilities.

Classes are axis 1 of the input, as in PyTorch: (N, C), (N, C, d1, ...), or (C,) for a single example.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_hw import kernels
from tinygrad_hw.autograd import Function
from tinygrad_hw.backend import Array, array_module, device_of
from tinygrad_hw.functional.checks import check_floating
from tinygrad_hw.functional.elementwise import where
from tinygrad_hw.functional.exponential import exp
from tinygrad_hw.functional.loss_support import check_reduction, each_gradient, reduced
from tinygrad_hw.functional.reduction import sum
from tinygrad_hw.functional.softmax import log_softmax, softmax
from tinygrad_hw.tensor import raw_of

__all__ = ["cross_entropy", "nll_loss"]

_FLOAT32, _INT64 = np.dtype(np.float32), np.dtype(np.int64)


def _rows(x: Array) -> Array:
    """(N, C, d1, ...) or (C,) as (examples, C): a view where there are no d."""
    if x.ndim == 2:
        return x
    return array_module(x).moveaxis(x, _class_axis(x), -1).reshape(-1, x.shape[_class_axis(x)])


def _unrows(rows: Array, shape: tuple[int, ...]) -> Array:
    """The inverse of :func:`_rows`."""
    if len(shape) == 2:
        return rows
    last = shape if len(shape) == 1 else (shape[0], *shape[2:], shape[1])
    return array_module(rows).moveaxis(rows.reshape(last), -1, 0 if len(shape) == 1 else 1)


def _class_axis(x: Any) -> int:
    return 0 if x.ndim == 1 else 1


def _beside_classes(each: Any, x: Any) -> Any:
    """One number for each example, shaped to broadcast along the classes of ``x``."""
    if each.ndim == 0:
        return each
    axis = _class_axis(x)
    return each.reshape((*x.shape[:axis], 1, *x.shape[axis + 1 :]))


def _largest(rows: Array) -> Array:
    """The largest entry of each row, (N, 1). NumPy reduces few columns much faster down than across."""
    if rows.shape[1] > 64:
        return rows.max(axis=1, keepdims=True)
    return array_module(rows).ascontiguousarray(rows.T).max(axis=0)[:, None]


def _row_sums(rows: Array) -> Array:
    if rows.shape[1] > 64:
        return array_module(rows).einsum("ij->i", rows)  # faster than rows.sum(axis=1)
    return kernels.row_sums(rows)


def _where_kept(ctx: Any, x: Any, slope: Any) -> Any:
    """``slope``, of the shape of ``x``, for the examples that count, else 0."""
    return slope if ctx.kept is None else where(_beside_classes(ctx.kept, x), slope, 0.0)


def _read_labels(ctx: Any, x: Array, target: Array, ignore_index: int) -> None:
    """Note in ``ctx`` the labels, one for each row; which rows count (None: all); which labels are wrong (None: none).

    On the CPU a label out of range raises ValueError. On a GPU, where looking would wait for the device, its loss is
    NaN. Rows that do not count get label 0.
    """
    if device_of(target) != device_of(x):
        raise TypeError("input and target on different devices")
    xp, classes = array_module(x), x.shape[_class_axis(x)]
    labels = target.astype(np.int64, copy=False).reshape(-1)
    on_cpu = device_of(x) == "cpu"
    ctx.kept = ctx.wrong = None
    if on_cpu and labels.size and labels.view(np.uint64).max() < classes and not 0 <= ignore_index < classes:
        ctx.labels = labels
        return
    kept = labels != ignore_index
    wrong = kept & ~((labels >= 0) & (labels < classes))
    if on_cpu and wrong.any():
        position = int(wrong.argmax())
        index = tuple(map(int, np.unravel_index(position, target.shape)))
        place = f"row {index[0]}" if len(index) == 1 else f"index {index}"
        raise ValueError(
            f"label {labels[position]} at {place} is out of range: expected 0 to {classes - 1} ({classes} classes) or "
            f"ignore_index {ignore_index}"
        )
    ctx.kept, ctx.wrong = kept, None if on_cpu else wrong
    ctx.labels = xp.where(kept & ~wrong, labels, 0)


def _shifted(ctx: Any, x: Array, target: Array, ignore_index: int) -> tuple[Array, Array]:
    """Each row less its largest entry, and of that the entry at the label; what :func:`_read_labels` notes in ``ctx``.

    ``ctx.passes`` is the module of kernels that did it, and may go on, or None.
    """
    module = kernels.loaded_passes()
    if module is not None and type(x) is type(target) is np.ndarray and x.ndim == 2 and target.ndim == 1 and x.size:
        plain = x.flags.c_contiguous and target.flags.c_contiguous and not 0 <= ignore_index < x.shape[1]
        if plain and x.dtype == _FLOAT32 and target.dtype == _INT64 and len(x) == len(target):
            shifted, chosen = np.empty_like(x), np.empty(len(x), x.dtype)
            if module.shift(x, target, shifted, chosen):
                ctx.passes, ctx.labels, ctx.kept, ctx.wrong = module, target, None, None
                return shifted, chosen
    ctx.passes = None
    _read_labels(ctx, x, target, ignore_index)
    rows = _rows(x)
    shifted = rows - _largest(rows)
    return shifted, shifted[array_module(x).arange(len(rows)), ctx.labels]


def _reduced_by_label(ctx: Any, losses: Array, shape: tuple[int, ...], reduction: str) -> Array:
    """As :func:`reduced` for the losses of all rows, of which some may not count; ``shape`` is the target's."""
    if ctx.wrong is not None:
        losses[ctx.wrong] = math.nan
    if ctx.kept is not None:
        losses[~ctx.kept] = 0.0
    result = reduced(ctx, losses.reshape(shape), reduction)
    if ctx.kept is not None and reduction == "mean":
        kept = ctx.kept.sum(dtype=losses.dtype)
        ctx.count = kept if device_of(kept) != "cpu" else kept.item() or math.nan
        result = losses.sum() / ctx.count
    return result


def _distribution(labels: Array, like: Array, label_smoothing: float) -> Array:
    """The labels as rows of probabilities, (1 - ε) one-hot + ε / C, of the shape and dtype of ``like``."""
    xp = array_module(like)
    rows = xp.full(like.shape, label_smoothing / like.shape[1], like.dtype)
    rows[xp.arange(len(rows)), labels] += 1.0 - label_smoothing
    return rows


class CrossEntropy(Function):
    """L_n = log Σ_c e^(x_nc) - Σ_c q_nc x_nc with q = (1 - ε) one-hot(label) + ε / C.

    ∂L_n/∂x_nc = softmax(x_n)_c - q_nc. Fused: the exponentials of the forward pass serve the gradient.
    """

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Array, target: Array, label_smoothing: float, ignore_index: int, reduction: str) -> Array:
        xp = array_module(x)
        shifted, likelihood = _shifted(ctx, x, target, ignore_index)
        rows = _rows(x)
        if label_smoothing:
            likelihood *= 1.0 - label_smoothing
            likelihood += _row_sums(shifted) * (label_smoothing / rows.shape[1])
        exponentials = xp.exp(shifted, out=shifted)
        sums = _row_sums(exponentials)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(x)
            ctx.exponentials, ctx.sums, ctx.smoothing = exponentials, sums, label_smoothing
        return _reduced_by_label(ctx, xp.log(sums) - likelihood, target.shape, reduction)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensors
        each = each_gradient(ctx, grad)
        if ctx.recording:
            expected = _unrows(_distribution(ctx.labels, ctx.exponentials, ctx.smoothing), x.shape)
            return _where_kept(ctx, x, (softmax(x, axis=_class_axis(x)) - expected) * _beside_classes(each, x))
        if ctx.passes is not None and each.ndim == 0 and not ctx.smoothing:
            rows = np.empty_like(ctx.exponentials)
            ctx.passes.softmax_slopes(ctx.exponentials, ctx.sums, ctx.labels, each.item(), rows)
            return rows
        xp, classes = array_module(x), x.shape[_class_axis(x)]
        each = each.reshape(-1)
        rows = ctx.exponentials * (each / ctx.sums)[:, None]
        if ctx.smoothing:
            rows -= (each * (ctx.smoothing / classes))[:, None]
        rows[xp.arange(len(rows)), ctx.labels] -= each * (1.0 - ctx.smoothing)
        if ctx.kept is not None:
            rows[~ctx.kept] = 0.0
        return _unrows(rows, x.shape)


class CrossEntropyOfProbabilities(Function):
    """L_n = -Σ_c q_nc log softmax(x_n)_c with q = (1 - ε) t + ε / C.

    ∂L_n/∂x_nc = softmax(x_n)_c Σ_k q_nk - q_nc and ∂L_n/∂t_nc = -(1 - ε) log softmax(x_n)_c.
    """

    broadcasts = True

    @staticmethod
    def forward(ctx: Any, x: Array, target: Array, label_smoothing: float, reduction: str) -> Array:
        xp = array_module(x)
        rows, wanted = _rows(x), _rows(target)
        logs = rows - _largest(rows)
        logs -= xp.log(_row_sums(xp.exp(logs)))[:, None]
        losses = xp.einsum("ij,ij->i", logs, wanted) * -(1.0 - label_smoothing)
        if label_smoothing:
            losses -= _row_sums(logs) * (label_smoothing / rows.shape[1])
        ctx.save_for_backward(x, target)
        ctx.logs, ctx.smoothing = logs, label_smoothing
        axis = _class_axis(x)
        return reduced(ctx, losses.reshape(x.shape[:axis] + x.shape[axis + 1 :]), reduction)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        x, target = ctx.saved_tensors
        axis = _class_axis(x)
        logs = log_softmax(x, axis=axis) if ctx.recording else _unrows(ctx.logs, x.shape)
        each = _beside_classes(each_gradient(ctx, grad), x)
        grad_x = grad_target = None
        if ctx.needs_input_grad[0]:
            expected = target * (1.0 - ctx.smoothing) + ctx.smoothing / x.shape[axis] if ctx.smoothing else target
            grad_x = (exp(logs) * sum(expected, axis=axis, keepdims=True) - expected) * each
        if ctx.needs_input_grad[1]:
            grad_target = logs * (each * -(1.0 - ctx.smoothing))
        return grad_x, grad_target


class NLLLoss(Function):
    """L_n = -x_n,label; ∂L_n/∂x_nc = -1 at the label, 0 elsewhere."""

    @staticmethod
    def forward(ctx: Any, x: Array, target: Array, ignore_index: int, reduction: str) -> Array:
        _read_labels(ctx, x, target, ignore_index)
        rows = _rows(x)
        ctx.one_hot = _unrows(_distribution(ctx.labels, rows, 0.0), x.shape)
        return _reduced_by_label(ctx, -rows[array_module(x).arange(len(rows)), ctx.labels], target.shape, reduction)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        slope = ctx.one_hot * -_beside_classes(each_gradient(ctx, grad), ctx.one_hot)
        return _where_kept(ctx, ctx.one_hot, slope)


def cross_entropy(
    input: Any,
    target: Any,
    *,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Any:
    """The cross-entropy between ``softmax(input)`` and ``target``: L_n = -Σ_c q_nc log softmax(x_n)_c.

    Args:
        input: logits x, (N, C), (N, C, d1, ...) or, for a single example, (C,).
        target: integer labels from 0 to C - 1, of shape (N,), (N, d1, ...) or (); or probabilities of the input's shape
            (they are not required to sum to 1), for which a gradient is computed too.
        label_smoothing: ε in [0, 1]: q = (1 - ε) target + ε / C (Szegedy et al. 2016, "Rethinking the Inception
            architecture for computer vision", section 7).
        ignore_index: examples with this label give loss and gradient 0, and do not count in the mean.
        reduction: ``"mean"`` over the examples that count (NaN if none does, as in PyTorch), ``"sum"`` or ``"none"``.

    Stable for logits of any finite size. A fused operation; under ``create_graph=True`` it is differentiated in parts.

    Raises:
        ValueError: shapes disagree; a label out of range (its row and value are named; on a GPU, where checking would
            wait for the device, the loss of that example is NaN instead); a label smoothing outside [0, 1].
        TypeError: the logits are not floating, or the target is neither of the two.
    """
    check_reduction("cross_entropy", reduction)
    x, t = raw_of(input), raw_of(target)
    check_floating("cross_entropy", x)
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"cross_entropy: expected label_smoothing in [0, 1], got {label_smoothing}")
    if getattr(t, "dtype", None) is not None and t.dtype.kind == "f":
        if t.shape != x.shape or x.ndim == 0:
            raise ValueError(
                f"cross_entropy: expected probabilities of the input's shape {tuple(x.shape)} or integer labels of "
                f"shape {_label_shape(x)}, got {t.dtype} {tuple(t.shape)}"
            )
        return CrossEntropyOfProbabilities.apply(input, target, float(label_smoothing), reduction)
    _check_labels("cross_entropy", x, t)
    return CrossEntropy.apply(input, target, float(label_smoothing), int(ignore_index), reduction)


def nll_loss(input: Any, target: Any, *, ignore_index: int = -100, reduction: str = "mean") -> Any:
    """The negative log-likelihood of labels: L_n = -x_n,label for log-probabilities x.

    ``input`` (N, C), (N, C, d1, ...) or (C,); ``target``, ``ignore_index``, ``reduction`` and errors as for labels in
    :func:`cross_entropy`, which is ``nll_loss(log_softmax(input, 1), target)``.
    """
    check_reduction("nll_loss", reduction)
    check_floating("nll_loss", input)
    _check_labels("nll_loss", raw_of(input), raw_of(target))
    return NLLLoss.apply(input, target, int(ignore_index), reduction)


def _label_shape(input: Any) -> tuple[int, ...]:
    shape = input.shape
    return tuple(shape[:1] + shape[2:]) if len(shape) > 1 else ()


def _check_labels(name: str, input: Any, target: Any) -> None:
    dtype = getattr(target, "dtype", None)
    if dtype is None or dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integer labels, got {dtype or type(target).__name__}")
    if input.ndim == 0 or target.shape != _label_shape(input):
        raise ValueError(
            f"{name}: expected labels of shape {_label_shape(input)} for an input of shape {tuple(input.shape)} "
            f"(classes on axis 1), got {tuple(target.shape)}"
        )
