"""Records of comparisons, logic and positions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reference.table.arithmetic import MISMATCH, PAIRS
from reference.table.record import Call, Failure, Record, call

STEP = "a function of steps"


def _comparable(rng: np.random.Generator) -> list[Call]:
    """Few different values, so that many are equal; zeros among them."""

    def draw(shape: tuple[int, ...]) -> Any:
        return np.asarray(rng.integers(-1, 2, shape).astype(float))

    pairs = [call(draw(a), draw(b)) for a, b in PAIRS]
    return [*pairs, call(draw((3, 2)), 1.0), call(0, draw((3, 2)))]


def _special(rng: np.random.Generator) -> list[Call]:
    values = [0.0, -1.5, np.inf, -np.inf]  # NaN, which equals nothing, has a test of its own
    return [call(np.asarray(rng.choice(values, shape))) for shape in ((3, 4), (2, 1, 5), (6,), (), (0, 3))]


def _lines(rng: np.random.Generator) -> list[Call]:
    x = np.asarray(rng.normal(size=(3, 4)).round())  # ties: the first counts
    return [
        call(x),
        call(x, 0),
        call(x, axis=-1, keepdims=True),
        call(rng.normal(size=(2, 3, 5)), 1),
        call(rng.normal(size=6), keepdims=True),
        call(np.array(0.5)),
    ]


def _classes(rng: np.random.Generator) -> list[Call]:
    return [
        call(rng.integers(0, 4, (5,)), 4),
        call(np.array([[0, 2, 1], [3, 0, 1]])),
        call(np.array(2), 5),
        call(np.zeros((0, 3), np.int64), 2),
        call(np.array([1, 0, 2], np.int32), num_classes=3),
    ]


def constant(name: str, samples: Any, numpy: Callable[..., Any], **fields: Any) -> Record:
    """The record of a function without gradient that PyTorch knows by the same name."""

    def of_torch(torch: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.pop("keepdims", False):
            kwargs["keepdim"] = True
        tensors = [torch.as_tensor(a) for a in args] if fields.get("broadcasts") else args
        return getattr(torch, name)(*tensors, **{("dim" if key == "axis" else key): v for key, v in kwargs.items()})

    fields.setdefault("torch", of_torch)
    return Record(name, samples=samples, numpy=numpy, hand=STEP, gradient=STEP, **fields)


EMPTY = Failure(call(np.ones((0, 3)), 0), ValueError, "empty")
NO_AXIS = Failure(call(np.ones((2, 3)), 2), IndexError, "axis 2")

RECORDS = [
    *(
        constant(name, _comparable, getattr(np, numpy), broadcasts=True, failures=(MISMATCH,))
        for name, numpy in (
            *(("eq", "equal"), ("ne", "not_equal"), ("lt", "less"), ("le", "less_equal"), ("gt", "greater")),
            *(("ge", "greater_equal"), ("logical_and", "logical_and"), ("logical_or", "logical_or")),
        )
    ),
    constant("logical_not", lambda rng: [call(one.args[1]) for one in _comparable(rng)[:6]], np.logical_not),
    *(constant(name, _special, getattr(np, name)) for name in ("isnan", "isinf", "isfinite")),
    constant("argmax", _lines, np.argmax, failures=(EMPTY, NO_AXIS)),
    constant("argmin", _lines, np.argmin, failures=(EMPTY, NO_AXIS)),
    constant(
        "one_hot",
        _classes,
        lambda index, num_classes=-1: np.eye(index.max() + 1 if num_classes < 0 else num_classes, dtype=int)[index],
        torch=lambda torch, index, num_classes=-1: torch.nn.functional.one_hot(index.long(), num_classes),
        failures=(
            Failure(call(np.array([0, 3]), 3), ValueError, "0 .. 2, got 3"),
            Failure(call(np.array([0, -1]), 3), ValueError, "0 .. 2, got -1"),
            Failure(call(np.array([0.0])), TypeError, "integers"),
            Failure(call(np.zeros(0, int)), ValueError, "num_classes is needed"),
        ),
    ),
]
