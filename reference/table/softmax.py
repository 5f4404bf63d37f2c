"""Records of softmax and its logarithms."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference import complex_step, layers
from reference import reductions as by_hand
from reference.table.record import Call, Failure, Record, call
from reference.table.reduction import AXIS, NO_AXIS, NONE, by_dim, lines, normal

ONE_AXIS = (NO_AXIS, NONE, Failure(call(np.ones((2, 3)), (0, 1)), TypeError, "expected one axis"))


def _rows(rng: np.random.Generator) -> list[Call]:
    shapes = (((3, 4), -1), ((3, 4), 0), ((2, 3, 5), -2), ((6,), -1), ((0, 3), 1), ((2, 1), -1))
    return [call(2 * rng.normal(size=shape), axis=axis) for shape, axis in shapes] + [call(rng.normal(size=(4, 3)))]


def _totals(rng: np.random.Generator) -> list[Call]:
    return [call(rng.normal(size=(3, 4))), *(c for c in lines(normal, empty=False)(rng) if "axis" in c.kwargs)]


def _logsumexp(x: Any, axis: Any = -1, keepdims: bool = False) -> Any:
    return complex_step.logsumexp(x, axis, keepdims)


def _torch_logsumexp(torch: Any, x: Any, axis: Any = -1, keepdims: bool = False) -> Any:
    return torch.logsumexp(x, tuple(range(x.ndim)) if axis is None else axis, keepdim=keepdims)


RECORDS = [
    Record(
        "softmax",
        samples=_rows,
        numpy=by_dim(complex_step.softmax),
        hand=by_dim(layers.hand_softmax),
        torch=lambda torch, x, axis=-1: torch.softmax(x, axis),
        stable=True,
        failures=ONE_AXIS,
    ),
    Record(
        "log_softmax",
        samples=_rows,
        numpy=by_dim(complex_step.log_softmax),
        hand=by_dim(layers.hand_log_softmax),
        torch=lambda torch, x, axis=-1: torch.log_softmax(x, axis),
        stable=True,
        failures=ONE_AXIS,
    ),
    Record(
        "logsumexp",
        samples=_totals,
        numpy=_logsumexp,
        hand=lambda g, x, axis=-1, keepdims=False: by_hand.hand_logsumexp(g, x, axis, keepdims),
        torch=_torch_logsumexp,
        stable=True,
        failures=(*AXIS, NONE),
    ),
]
