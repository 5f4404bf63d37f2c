"""Records of batch, layer and group normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference import normalization as by_hand
from reference.table.record import Call, Failure, Record, call

X = np.ones((2, 3, 4))


def _batches(rng: np.random.Generator) -> list[Call]:
    calls = []
    for shape in ((4, 3), (3, 2, 5), (4, 3, 2, 5), (0, 3, 2)):
        x, w, b = rng.normal(1, 2, shape), rng.normal(size=shape[1]), rng.normal(size=shape[1])
        mean, var = rng.normal(size=shape[1]), rng.uniform(0.5, 2, shape[1])
        calls += [
            call(x, None, None, w, b, training=True),
            call(x, training=True, eps=0.5),
            call(x, None, None, w, training=True),
            call(x, None, None, w, b, training=True, relu=True),
            call(x, running_mean=mean, running_var=var, eps=1e-3),
            call(x, running_mean=mean, running_var=var, weight=w, bias=b),
            call(x, running_mean=mean, running_var=var, weight=w, relu=True),
        ]
    return calls


def _layers(rng: np.random.Generator) -> list[Call]:
    calls = []
    for shape, sizes in (((3, 5), 5), ((2, 3, 4), (3, 4)), ((2, 3, 4), 4), ((4,), (4,)), ((0, 3), 3)):
        each = (sizes,) if isinstance(sizes, int) else sizes
        x, w, b = rng.normal(1, 2, shape), rng.normal(size=each), rng.normal(size=each)
        calls += [call(x, sizes, w, b), call(x, sizes, eps=0.5), call(x, sizes, w)]
    return calls


def _groups(rng: np.random.Generator) -> list[Call]:
    calls = []
    for shape, groups in (((3, 8), 2), ((2, 6, 5), 3), ((2, 4, 3, 5), 1), ((3, 2, 4), 2), ((0, 4, 3), 2)):
        x, w, b = rng.normal(1, 2, shape), rng.normal(size=shape[1]), rng.normal(size=shape[1])
        calls += [call(x, groups, w, b), call(x, groups, eps=0.5), call(x, groups, w)]
    return calls


def _hand_batch_norm(g: Any, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
    """The gradients of positional arguments alone."""
    return by_hand.hand_batch_norm(g, *args, **kwargs)[: sum(isinstance(each, np.ndarray) for each in args)]


def _torch_group_norm(torch: Any, x: Any, groups: int, *args: Any, **kwargs: Any) -> Any:
    return torch.nn.functional.group_norm(x, groups, *args, **kwargs)


def _torch_layer_norm(torch: Any, x: Any, sizes: Any, *args: Any, **kwargs: Any) -> Any:
    return torch.nn.functional.layer_norm(x, (sizes,) if isinstance(sizes, int) else sizes, *args, **kwargs)


def _torch_batch_norm(
    torch: Any, x: Any, running_mean: Any = None, running_var: Any = None, *args: Any, relu: bool = False, **kwargs: Any
) -> Any:
    y = torch.nn.functional.batch_norm(x, running_mean, running_var, *args, **kwargs)
    return torch.relu(y) if relu else y


FAILURES = {
    "batch_norm": (
        Failure(call(X), ValueError, "running statistics outside training"),
        Failure(call(X, np.ones(3), training=True), ValueError, "both running_mean and running_var"),
        Failure(call(X, np.ones(2), np.ones(2)), ValueError, "expected running_mean of shape (3,)"),
        Failure(call(X[0, 0], training=True), ValueError, "expected a shape (N, C, ...)"),
        Failure(call(X[:1, :, :1], training=True), ValueError, "more than 1 value per channel when training"),
        Failure(call(X, training=True, eps=-1.0), ValueError, "eps must not be negative"),
    ),
    "layer_norm": (
        Failure(call(X, 3), ValueError, "expected a shape (..., 3)"),
        Failure(call(X, (3, 4.0)), TypeError, "normalized_shape must be"),
        Failure(call(X, 4, np.ones(3)), ValueError, "expected weight of shape (4,)"),
        Failure(call(np.arange(3), 3), TypeError, "floating"),
    ),
    "group_norm": (
        Failure(call(X, 2), ValueError, "C a multiple of 2"),
        Failure(call(X, 0), ValueError, "num_groups must be"),
        Failure(call(X[0, 0], 1), ValueError, "expected a shape (N, C, ...)"),
        Failure(call(X, 3, None, np.ones(4)), ValueError, "expected bias of shape (3,)"),
    ),
}
RECORDS = [
    Record(name, samples, value, hand, torch, failures=FAILURES[name])
    for name, samples, value, hand, torch in (
        ("batch_norm", _batches, by_hand.batch_norm, _hand_batch_norm, _torch_batch_norm),
        ("layer_norm", _layers, by_hand.layer_norm, by_hand.hand_layer_norm, _torch_layer_norm),
        ("group_norm", _groups, by_hand.group_norm, by_hand.hand_group_norm, _torch_group_norm),
    )
]
