"""Records of the arithmetic operations, and of those that fit a gradient to its input."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference import elementwise as by_hand
from reference.table.record import Call, Failure, Record, call
from tinygrad_hw.backend import Backend, DeviceError, register_backend

MISMATCH = Failure(call(np.ones((3,)), np.ones((4,))), ValueError, "broadcast")
PAIRS = (((3, 4), (3, 4)), ((2, 3, 4), (3, 1)), ((1, 4), (5, 3, 1)), ((4,), ()), ((), (2, 3)), ((0, 3), (3,)))
ROUNDS = "float32 is too coarse for differences"


def away_from_zero(rng: np.random.Generator, *shape: int) -> Any:
    return np.asarray(rng.uniform(0.5, 2.0, shape) * rng.choice([-1.0, 1.0], shape))


def binary(rng: np.random.Generator) -> list[Call]:
    """Two operands away from zero: equal shapes, broadcast ones, arrays without axes, empty ones, numbers."""
    pairs = [call(away_from_zero(rng, *a), away_from_zero(rng, *b)) for a, b in PAIRS]
    return [*pairs, call(away_from_zero(rng, 3, 2), 1.5), call(2, away_from_zero(rng, 3, 2))]


def of_shapes(*cases: tuple[Any, ...]) -> Any:
    """Samples: an array of each shape, followed by further arguments."""
    return lambda rng: [call(away_from_zero(rng, *shape), *rest) for shape, *rest in cases]


def _summed(a: Any, shape: tuple[int, ...]) -> Any:
    """Whether an axis was repeated shows in its size, counted from the end."""
    a = a.sum(axis=tuple(range(a.ndim - len(shape))))
    for axis, size in enumerate(shape):
        a = a if a.shape[axis] == size else a.sum(axis=axis, keepdims=True)
    return a


class _Twin(np.ndarray):
    """An array on a second device, which is the host's memory under another name."""


def _to_twin(rng: np.random.Generator) -> list[Call]:
    register_backend(
        Backend(
            "twin",
            np,
            _Twin,
            device_of=lambda array: "twin:0",
            from_host=lambda array, index: array.copy().view(_Twin),
            to_host=lambda array: np.array(array),
            synchronize=lambda: None,
            move=lambda array, index: array,
        )
    )
    return of_shapes(((3, 4), "twin"), ((), "twin:0"), ((0, 3), "twin"), ((3, 2), "cpu"))(rng)


RECORDS = [
    Record(
        "add",
        samples=binary,
        numpy=np.add,
        hand=by_hand.hand_add,
        torch=lambda torch, a, b: a + b,
        broadcasts=True,
        stable=True,
        failures=(MISMATCH,),
    ),
    Record(
        "sub",
        samples=binary,
        numpy=np.subtract,
        hand=by_hand.hand_sub,
        torch=lambda torch, a, b: a - b,
        broadcasts=True,
        stable=True,
        failures=(MISMATCH,),
    ),
    Record(
        "mul",
        samples=binary,
        numpy=np.multiply,
        hand=by_hand.hand_mul,
        torch=lambda torch, a, b: a * b,
        broadcasts=True,
        stable=True,
        failures=(MISMATCH, Failure(call(np.ones(3), [1.0, 2.0, 3.0]), TypeError, "wrap it in tensor")),
    ),
    Record(
        "div",
        samples=binary,
        numpy=np.divide,
        hand=by_hand.hand_div,
        torch=lambda torch, a, b: a / b,
        broadcasts=True,
        failures=(MISMATCH,),
    ),
    Record(
        "clone",
        samples=of_shapes(((3, 4),), ((2, 3, 5),), ((),), ((0, 3),)),
        numpy=np.copy,
        hand=lambda g, a: (g,),
        torch=lambda torch, a: a.clone(),
        stable=True,
    ),
    Record(
        "neg",
        samples=of_shapes(((3, 4),), ((2, 3, 5),), ((),), ((0, 3),)),
        numpy=np.negative,
        hand=by_hand.hand_neg,
        torch=lambda torch, a: -a,
        stable=True,
        failures=(Failure(call(np.array([True])), TypeError, "boolean"),),
    ),
    Record(
        "sum_to",
        samples=of_shapes(((2, 3, 4), (3, 1)), ((3, 4), (4,)), ((3, 4), ()), ((0, 3), (1, 3)), ((3, 4), (3, 4))),
        numpy=_summed,
        hand=lambda g, a, shape: (np.broadcast_to(g, a.shape),),
        torch=lambda torch, a, shape: a.sum_to_size(shape),
        stable=True,
        failures=(
            Failure(call(np.ones((3, 4)), (3,)), ValueError, "does not broadcast"),
            Failure(call(np.ones(3), (2, 3)), ValueError, "does not broadcast"),
        ),
    ),
    Record(
        "expand",
        samples=of_shapes(((3, 1), (2, 3, 4)), ((4,), 3, -1), ((), (2, 3)), ((1, 3), [0, 3]), ((3, 4), (3, 4))),
        numpy=lambda a, *shape: np.broadcast_to(a, (3, 4) if shape == (3, -1) else shape[0]),
        hand=lambda g, a, *shape: (_summed(g, a.shape),),
        torch=lambda torch, a, *shape: a.expand(*shape),
        stable=True,
        failures=(Failure(call(np.ones((3, 4)), (3, 5)), ValueError, "does not broadcast"),),
    ),
    Record(
        "cast",
        samples=of_shapes(((3, 4), "float32"), ((), np.float32), ((0, 3), "float32"), ((2, 3, 5), "float32")),
        numpy=lambda a, dtype: a.astype(dtype),
        hand=lambda g, a, dtype: (g.astype(dtype).astype(a.dtype),),
        torch=lambda torch, a, dtype: (a.float() if np.dtype(dtype) == np.float32 else a).double(),
        complex_step=ROUNDS,
        finite_differences=ROUNDS,
        stable=True,
        tolerance=6.0,
    ),
    Record(
        "to_device",
        samples=_to_twin,
        numpy=lambda a, device: a,
        hand=lambda g, a, device: (g,),
        torch="PyTorch has no second device on every machine",
        stable=True,
        devices="it moves between devices itself",
        failures=(Failure(call(np.ones(3), "gpu"), DeviceError, "unknown device"),),
    ),
]
