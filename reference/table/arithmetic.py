"""Records of the arithmetic operations."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference.table.record import Call, Failure, Record, call


def unbroadcast(g: Any, shape: tuple[int, ...]) -> Any:
    """Sum ``g`` over the axes along which ``shape`` was repeated (by einsum-free loops over axes: the slow, plain way)."""
    while g.ndim > len(shape):
        g = g.sum(axis=0)
    for axis, size in enumerate(shape):
        if size == 1 and g.shape[axis] != 1:
            g = g.sum(axis=axis, keepdims=True)
    return g


def binary(rng: np.random.Generator) -> list[Call]:
    """Two operands, both away from zero: equal shapes, broadcast ones, an array without axes, an empty one."""

    def draw(*shape: int) -> Any:
        return np.asarray(rng.uniform(0.5, 2.0, shape) * rng.choice([-1.0, 1.0], shape))

    return [
        call(draw(3, 4), draw(3, 4)),
        call(draw(2, 3, 4), draw(3, 1)),
        call(draw(1, 4), draw(5, 3, 1)),
        call(draw(4), draw()),
        call(draw(0, 3), draw(3)),
        call(draw(3, 2), 1.5),
        call(2, draw(3, 2)),
    ]


def _of_arrays(*pairs: tuple[Any, Any]) -> tuple[Any, ...]:
    """The gradients of those operands that are arrays, summed back to their shapes."""
    return tuple(unbroadcast(np.asarray(g), x.shape) for g, x in pairs if hasattr(x, "shape"))


MISMATCH = Failure(call(np.ones((3,)), np.ones((4,))), ValueError, "broadcast")

RECORDS = [
    Record(
        "add",
        samples=binary,
        numpy=np.add,
        hand=lambda g, a, b: _of_arrays((g, a), (g, b)),
        torch=lambda torch, a, b: a + b,
        broadcasts=True,
        stable=True,
        failures=(MISMATCH,),
    ),
    Record(
        "mul",
        samples=binary,
        numpy=np.multiply,
        hand=lambda g, a, b: _of_arrays((g * b, a), (g * a, b)),
        torch=lambda torch, a, b: a * b,
        broadcasts=True,
        stable=True,
        failures=(MISMATCH,),
    ),
]
