"""Records of pooling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reference import pooling
from reference.table.record import Call, Failure, Record, call
from reference.table.reduction import apart, normal

Samples = Callable[[np.random.Generator], list[Call]]

IMAGES: tuple[tuple[tuple[int, ...], dict[str, Any]], ...] = (
    ((2, 3, 4, 6), {"kernel_size": 2}),
    ((2, 1, 6, 5), {"kernel_size": (3, 2), "stride": (1, 3), "padding": (1, 0)}),
    ((1, 2, 7, 5), {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    ((3, 5, 4), {"kernel_size": (4, 1), "stride": 1, "padding": (2, 0)}),
    ((0, 2, 3, 4), {"kernel_size": 2}),
)
ROWS: tuple[tuple[tuple[int, ...], dict[str, Any]], ...] = (
    ((2, 3, 6), {"kernel_size": 2}),
    ((1, 2, 7), {"kernel_size": (3,), "stride": 2, "padding": 1, "ceil_mode": True}),
    ((3, 5), {"kernel_size": 4, "stride": 1, "padding": 2}),
    ((0, 2, 3), {"kernel_size": 2}),
)
DILATED = ((2, 2, 5, 7), {"kernel_size": (2, 3), "stride": 2, "padding": 1, "dilation": (3, 2)})
DILATED_ROW = ((2, 3, 7), {"kernel_size": 3, "stride": 1, "padding": 1, "dilation": 2})
UNCOUNTED = ((2, 1, 5, 6), {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False})
UNCOUNTED_ROW = ((2, 1, 6), UNCOUNTED[1])
DIVIDED = ((2, 1, 5, 6), {"kernel_size": 3, "stride": 2, "padding": 1, "divisor_override": 7})
SHARED = (((2, 3, 5, 7), 3), ((2, 1, 4, 6), (1, 4)), ((3, 6, 5), (None, 2)), ((2, 3, 4, 5), 1), ((0, 2, 3, 4), 2))
SHARED_ROWS = (((2, 3, 7), 3), ((2, 5), 1), ((1, 2, 3), 5), ((0, 2, 3), 2))


def _empty_too(function: Callable[..., Any], hand: bool = False) -> Callable[..., Any]:
    """``function`` of batches without images, too: from what it gives for one image."""

    def of_all(*arrays: Any, **kwargs: Any) -> Any:
        arrays_of = [a for a in arrays if isinstance(a, np.ndarray)]
        if all(len(array) for array in arrays_of):
            return function(*arrays, **kwargs)
        ones = [np.ones((1, *a.shape[1:]), a.dtype) if isinstance(a, np.ndarray) else a for a in arrays]
        found = function(*ones, **kwargs)
        return tuple(each[:0] for each in found) if hand else found[:0]

    return of_all


def _samples(draw: Callable[..., Any], cases: tuple[Any, ...]) -> Samples:
    return lambda rng: [call(np.asarray(draw(rng, shape)), **sizes) for shape, sizes in cases]


def _torch(name: str) -> Callable[..., Any]:
    return lambda torch, x, *args, **kwargs: getattr(torch.nn.functional, name)(x, *args, **kwargs)


def _failures(shape: tuple[int, ...], wrong: tuple[int, ...]) -> tuple[Failure, ...]:
    """Calls that must fail, given a shape that will do, with 3 along each axis, and one that will not."""
    x = np.ones(shape)
    return (
        Failure(call(x, 4), ValueError, "larger than 3 pixels"),
        Failure(call(x, 0), ValueError, "kernel_size must be"),
        Failure(call(x, 2.5), TypeError, "kernel_size must be"),
        Failure(call(x, 2, -1), ValueError, "stride must be"),
        Failure(call(x, 2, 1, 2), ValueError, "at most half"),
        Failure(call(x, (2, 2, 2)), ValueError, "kernel_size must be"),
        Failure(call(np.ones(wrong), 2), ValueError, "expected a shape"),
        Failure(call(np.ones(shape, np.int64), 2), TypeError, "floating"),
    )


def windowed(name: str, draw: Callable[..., Any], cases: tuple[Any, ...], *failures: Failure) -> Record:
    """The record of a function of images, or of sequences, whose name ends accordingly."""
    rows = name.endswith("1d")
    images = f"{name[:-2]}2d"
    value, hand = getattr(pooling, images), getattr(pooling, f"hand_{images}")
    if rows:
        value, hand = pooling.of_sequences(value), pooling.hand_of_sequences(hand)
    return Record(
        name,
        samples=_samples(draw, cases),
        numpy=_empty_too(value),
        hand=_empty_too(hand, True),
        torch=_torch(name),
        stable=True,
        failures=failures,
    )


def _adaptive(shape: tuple[int, ...]) -> tuple[Failure, ...]:
    x = np.ones(shape)
    return (
        Failure(call(x, 0), ValueError, "output_size must be"),
        Failure(call(x, 1.5), TypeError, "output_size must be"),
        Failure(call(x, (1, 1, 1)), ValueError, "expected an output size for each"),
        Failure(call(np.ones(3), 1), ValueError, "expected a shape"),
    )


def _shared(cases: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple((shape, {"output_size": size}) for shape, size in cases)


OVERRIDE = Failure(call(np.ones((1, 3, 3)), 2, divisor_override=0), ValueError, "divisor_override must be")
RECORDS = [
    windowed("max_pool1d", apart, (*ROWS, DILATED_ROW), *_failures((2, 1, 3), (3,))),
    windowed("max_pool2d", apart, (*IMAGES, DILATED), *_failures((1, 3, 3), (2, 3))),
    windowed("avg_pool1d", normal, (*ROWS, UNCOUNTED_ROW), *_failures((2, 1, 3), (3,))),
    windowed("avg_pool2d", normal, (*IMAGES, UNCOUNTED, DIVIDED), *_failures((1, 3, 3), (2, 3)), OVERRIDE),
    windowed("adaptive_avg_pool1d", normal, _shared(SHARED_ROWS), *_adaptive((2, 3, 5))),
    windowed("adaptive_avg_pool2d", normal, _shared(SHARED), *_adaptive((2, 3, 5))),
]
