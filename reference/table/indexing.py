"""Records of the operations that pick entries out and add entries in."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference import shapes
from reference.table.record import Call, Failure, Record, call


def _keys(rng: np.random.Generator) -> list[Call]:
    """Numbers, slices, None, Ellipsis, masks, arrays of integers with duplicates, and mixtures."""

    def draw(*shape: int) -> Any:
        return rng.normal(size=shape)

    cube, pairs = draw(2, 3, 4), np.array([[0, 1, 1], [2, 0, 1]])
    return [
        call(draw(5, 3), 1),
        call(draw(5, 3), (-1, 2)),
        call(draw(5, 3), slice(1, None, 2)),
        call(cube, (..., slice(None, None, -2))),
        call(cube, (slice(0, 0), 1)),
        call(cube, (None, ..., 0, None)),
        call(draw(4), [3, 0, 3, 3]),
        call(draw(5, 3), np.array([4, 4, -1, 0, 4])),
        call(draw(3, 4), pairs),
        call(cube, (slice(None), pairs)),
        call(cube, (np.array([1, 0, 1]), slice(None), np.array([3, 3, 3]))),
        call(draw(3, 4), (np.array([0, 2, 0]), np.array([1, 1, 1]))),
        call(cube, (1, np.array([0, 0]), slice(1, 3))),
        call(draw(3, 4), np.array([[True, False, True, False], [False] * 4, [True] * 4])),
        call(cube, (0, np.array([True, False, True]))),
        call(cube, (np.array([True, True]), np.array([2, 0]))),
        call(draw(3, 4), np.array([], dtype=int)),
        call(draw(3, 4), ()),
        call(draw(), ...),
    ]


def _torch_getitem(torch: Any, x: Any, key: Any) -> Any:
    parts = key if isinstance(key, tuple) else (key,)
    return NotImplemented if any(isinstance(p, slice) and (p.step or 1) < 0 for p in parts) else x[key]


def _selections(rng: np.random.Generator) -> list[Call]:
    return [
        call(rng.normal(size=(5, 3)), 0, np.array([4, 0, 4, 4])),
        call(rng.normal(size=(2, 3, 4)), -1, np.array([3, 3, 0])),
        call(rng.normal(size=(2, 3)), 1, np.array([], dtype=int)),
    ]


def _along(rng: np.random.Generator) -> list[Call]:
    return [
        call(rng.normal(size=(3, 4)), rng.integers(0, 4, (3, 6)), 1),
        call(rng.normal(size=(3, 4)), rng.integers(-3, 3, (2, 4)), 0),
        call(rng.normal(size=(2, 3, 4)), rng.integers(0, 4, (2, 1, 1)), -1),
        call(rng.normal(size=(2, 1, 4)), rng.integers(0, 4, (2, 3, 2)), 2),
    ]


def _additions(rng: np.random.Generator) -> list[Call]:
    return [
        call(rng.normal(size=(5, 3)), 0, np.array([4, 0, 4, 4]), rng.normal(size=(4, 3))),
        call(rng.normal(size=(2, 3, 4)), -1, np.array([3, 3, 0]), rng.normal(size=(2, 3, 3))),
        call(rng.normal(size=(2, 3)), 1, np.array([], dtype=int), rng.normal(size=(2, 0))),
    ]


def _index_add(x: Any, axis: int, index: Any, source: Any) -> Any:
    out = x + 0 * source.sum()  # complex where either is
    for k, i in enumerate(index):
        np.moveaxis(out, axis, 0)[i] += np.moveaxis(source, axis, 0)[k]
    return out


def _lookups(rng: np.random.Generator) -> list[Call]:
    """Never the padding row, whose gradient is not the derivative: tests/tinygrad_hw/test_indexing.py has that."""
    return [
        call(rng.normal(size=(6, 3)), np.array([[5, 0, 5], [5, 1, 2]])),
        call(rng.normal(size=(4, 2)), np.array([1, 1, 3]), 0),
        call(rng.normal(size=(4, 2)), np.array(2), -1),
    ]


RECORDS = [
    Record(
        "getitem",
        samples=_keys,
        numpy=lambda x, key: x[key],
        hand=shapes.hand_getitem,
        torch=_torch_getitem,
        failures=(
            Failure(call(np.ones((2, 3)), 2), IndexError, "out of bounds"),
            Failure(call(np.ones((2, 3)), np.array([0, 5])), IndexError, "out of bounds"),
            Failure(call(np.ones((2, 3)), np.array([0.0, 1.0])), IndexError, "of integer"),
            Failure(call(np.ones((2, 3)), (0, 0, 0)), IndexError, "too many indices"),
            Failure(call(np.ones((2, 3)), np.array([True, False, True])), IndexError, "boolean index did not match"),
        ),
    ),
    Record(
        "index_select",
        samples=_selections,
        numpy=lambda x, axis, index: np.take(x, index, axis),
        hand=shapes.hand_index_select,
        torch=lambda torch, x, axis, index: torch.index_select(x, axis, index),
        failures=(
            Failure(call(np.ones((2, 3)), 0, np.array([[0]])), ValueError, "an index with one axis, got shape (1, 1)"),
            Failure(call(np.ones((2, 3)), 0, np.array([True, False])), TypeError, "integers, got bool"),
            Failure(call(np.ones((2, 3)), 2, np.array([0])), IndexError, "axis 2 is out of bounds for 2 axes"),
        ),
    ),
    Record(
        "take_along_axis",
        samples=_along,
        numpy=np.take_along_axis,
        hand=shapes.hand_take_along_dim,
        torch=lambda torch, x, indices, axis: torch.take_along_dim(x, indices % x.shape[axis], axis),
        failures=(
            Failure(call(np.ones((2, 3)), np.array([0]), 1), ValueError, "indices with 2 axes, got shape (1,)"),
            Failure(call(np.ones((2, 3)), np.array([[0.0]]), 1), TypeError, "integers, got float64"),
            Failure(call(np.ones((2, 3)), np.array([[3], [0]]), 1), IndexError, "out of bounds"),
        ),
    ),
    Record(
        "embedding",
        samples=_lookups,
        numpy=lambda weight, index, padding_idx=None: weight[index],
        hand=lambda g, weight, index, padding_idx=None: shapes.hand_getitem(g, weight, index),
        torch=lambda torch, weight, index, padding=None: torch.nn.functional.embedding(index, weight, padding),
        failures=(
            Failure(call(np.ones(3), np.array([0])), ValueError, "weight (rows, features), got shape (3,)"),
            Failure(call(np.ones((4, 2)), np.array([4])), IndexError, "out of bounds"),
            Failure(call(np.ones((4, 2)), np.array([0.0])), TypeError, "integers, got float64"),
            Failure(call(np.ones((4, 2)), np.array([0]), 4), IndexError, "padding_idx 4 is out of range for 4 rows"),
        ),
    ),
    Record(
        "index_add",
        samples=_additions,
        numpy=_index_add,
        hand=shapes.hand_index_add,
        torch=lambda torch, x, axis, index, source: torch.index_add(x, axis, index, source),
        failures=(
            Failure(call(np.ones((4, 3)), 0, np.array([0, 1]), np.ones((3, 3))), ValueError, "source of shape (2, 3)"),
            Failure(call(np.ones((4, 3)), 0, np.array([0, 4]), np.ones((2, 3))), IndexError, "out of bounds"),
            Failure(call(np.ones((4, 3)), 0, np.array([0.0]), np.ones((1, 3))), TypeError, "integers, got float64"),
        ),
    ),
]
