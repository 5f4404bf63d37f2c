"""Records of cross-entropy and negative log-likelihood."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference import losses
from reference.table.record import Call, Failure, Record, call

REDUCTIONS = ("none", "sum", "mean")
SHAPES = ((4, 3), (3, 5, 2), (2, 3, 4, 2), (6,), (0, 3))


def _label_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:1] + shape[2:] if len(shape) > 1 else ()


def _labelled(rng: np.random.Generator) -> list[Call]:
    """Every shape and reduction; labels that are ignored, among them one that is a class; unsigned labels of 8 bits."""
    calls = []
    for shape in SHAPES:
        classes = shape[1 if len(shape) > 1 else 0]
        for reduction in REDUCTIONS:
            if (0 in shape) <= (reduction != "mean"):
                labels = rng.integers(0, classes, _label_shape(shape))
                calls.append(call(rng.normal(0.0, 2.0, shape), labels, reduction=reduction))
    calls.append(call(rng.normal(size=(5, 3)), np.array([0, -100, 2, -100, 1])))
    calls.append(call(rng.normal(size=(5, 3)), np.array([0, 1, 2, 1, 1]), ignore_index=1))
    calls.append(call(rng.normal(size=(2, 3, 2)), np.array([[0, 7], [2, 1]]), ignore_index=7, reduction="none"))
    calls.append(call(rng.normal(size=(3, 70)), np.array([0, 69, 8], np.uint8)))
    return calls


def _cross_entropies(rng: np.random.Generator) -> list[Call]:
    """Also smoothed labels, and probabilities, normalised or not."""
    smoothed = [
        call(rng.normal(size=(4, 3)), np.array([0, 2, -100, 1]), label_smoothing=0.1, reduction=reduction)
        for reduction in REDUCTIONS
    ]
    likely = [
        call(rng.normal(size=shape), rng.uniform(0.1, 1.0, shape), label_smoothing=smoothing, reduction=reduction)
        for shape in SHAPES
        for smoothing in (0.0, 0.2)
        for reduction in REDUCTIONS
        if (0 in shape) <= (reduction != "mean")
    ]
    return [*_labelled(rng), *smoothed, *likely]


def _torch_loss(name: str) -> Any:
    def value(torch: Any, input: Any, target: Any, **kwargs: Any) -> Any:
        if not target.is_floating_point():
            target = target.long()
        return getattr(torch.nn.functional, name)(input, target, **kwargs)

    return value


ONES = np.ones((4, 3))
LABELS = (
    Failure(call(ONES, np.array([0, 1, 2, 3])), ValueError, "label 3 at row 3 is out of range: expected 0 to 2"),
    Failure(call(ONES, np.array([0, -1, 2, 1])), ValueError, "label -1 at row 1 is out of range"),
    Failure(call(np.ones((2, 3, 2)), np.array([[0, 1], [5, 2]])), ValueError, "label 5 at index (1, 0)"),
    Failure(call(ONES, np.zeros((4, 1), np.int64)), ValueError, "expected labels of shape (4,)"),
    Failure(call(np.array(1.0), np.array(0)), ValueError, "expected labels of shape ()"),
    Failure(call(ONES, np.array([True, False, True, True])), TypeError, "expected integer labels, got bool"),
    Failure(call(ONES, [0, 1, 2, 0]), TypeError, "expected integer labels, got list"),
    Failure(call(np.ones((4, 3), np.int64), np.zeros(4, np.int64)), TypeError, "expected a floating Tensor or array"),
    Failure(call(ONES, np.zeros(4, np.int64), reduction="max"), ValueError, "'mean', 'sum' or 'none'"),
)

RECORDS = [
    Record(
        "cross_entropy",
        samples=_cross_entropies,
        numpy=losses.cross_entropy,
        hand=losses.hand_cross_entropy,
        torch=_torch_loss("cross_entropy"),
        stable=True,
        failures=(
            *LABELS,
            Failure(call(ONES, np.zeros(4)), ValueError, "expected probabilities of the input's shape (4, 3)"),
            Failure(call(ONES, ONES, label_smoothing=1.5), ValueError, "label_smoothing in [0, 1]"),
        ),
    ),
    Record(
        "nll_loss",
        samples=_labelled,
        numpy=losses.nll_loss,
        hand=losses.hand_nll_loss,
        torch=_torch_loss("nll_loss"),
        stable=True,
        failures=(*LABELS, Failure(call(ONES, ONES), TypeError, "expected integer labels, got float64")),
    ),
]
