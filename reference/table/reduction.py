"""Records of the reductions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from reference import complex_step
from reference import reductions as by_hand
from reference.table.record import Call, Failure, Record, call

AXES = (((3, 4), None), ((3, 4), 0), ((2, 3, 5), 1), ((2, 3, 5), (0, -1)), ((6,), -1), ((), None), ((2, 3), (1, 0)))
NO_AXIS = Failure(call(np.ones((2, 3)), 2), IndexError, "axis 2 is out of range")
TWICE = Failure(call(np.ones((2, 3)), (0, -2)), ValueError, "names an axis twice")
NO_NUMBER = Failure(call(np.ones((2, 3)), "rows"), TypeError, "expected an integer axis")
NONE = Failure(call(np.ones((0, 3)), 0), ValueError, "entries, got 0")
AXIS = (NO_AXIS, TWICE, NO_NUMBER)


def lines(draw: Callable[..., Any], empty: bool = True, **kwargs: Any) -> Callable[[np.random.Generator], list[Call]]:
    """Arrays reduced along one axis, several or all, with and without the reduced axes kept."""

    def samples(rng: np.random.Generator) -> list[Call]:
        calls = [call(np.asarray(draw(rng, shape)), axis=axis, **kwargs) for shape, axis in AXES]
        calls += [call(np.asarray(draw(rng, shape)), axis=axis, keepdims=True, **kwargs) for shape, axis in AXES[:5]]
        calls += [call(np.asarray(draw(rng, (3, 2))), **kwargs), call(np.zeros((3, 0)), axis=0, **kwargs)]
        return [*calls, call(np.zeros((2, 0)), axis=1, **kwargs)] if empty else calls

    return samples


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return rng.normal(size=shape)


def apart(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Entries at least 0.1 apart from each other, from their opposites and from 0."""
    size = math.prod(shape)
    return (0.3 * rng.permutation(np.arange(1, size + 1)) + rng.uniform(-0.1, 0.1, size)).reshape(shape) * _signs(
        rng, shape
    )


def _signs(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return rng.choice([-1.0, 1.0], shape)


def some_zeros(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Factors near 1 of either sign, one in eight of them 0."""
    return rng.uniform(0.5, 1.5, shape) * _signs(rng, shape) * (rng.random(shape) > 0.125)


def by_dim(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` of ``dim`` and ``keepdim``, to be called with ``axis`` and ``keepdims``."""
    names = {"axis": "dim", "keepdims": "keepdim"}
    return lambda *args, **kwargs: function(*args, **{names.get(key, key): value for key, value in kwargs.items()})


def of_torch(name: str, all_axes: Any = None) -> Callable[..., Any]:
    """PyTorch's function, which takes ``all_axes`` for all axes."""

    def value(torch: Any, x: Any, *args: Any, axis: Any = None, **kwargs: Any) -> Any:
        dim = all_axes if axis is None and not args else axis
        return by_dim(getattr(torch, name))(x, *args, **({} if args else {"dim": dim}), **kwargs)

    return value


def reduction(name: str, samples: Any, numpy: Any, **fields: Any) -> Record:
    """The record of a function whose derivation by hand has the same name and takes ``dim`` and ``keepdim``."""
    fields.setdefault("hand", by_dim(getattr(by_hand, f"hand_{name}")))
    fields.setdefault("torch", of_torch(name))
    fields.setdefault("failures", AXIS)
    return Record(name, samples=samples, numpy=numpy, **fields)


def _deviations(rng: np.random.Generator) -> list[Call]:
    def corrected(one: Call) -> Call:
        return call(*one.args, **one.kwargs, **({"correction": 0} if one.args[0].size == 1 else {}))

    calls = [corrected(one) for one in lines(normal, empty=False)(rng) if one.args[0].size]
    return [*calls, *(call(rng.normal(size=(3, 4)), axis=1, correction=c, keepdims=True) for c in (0, 0.5, 2))]


def _torch_prod(torch: Any, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """PyTorch multiplies along one axis at a time."""
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    for each in sorted((a % x.ndim for a in axes), reverse=True):
        x = torch.prod(x, each, keepdim=keepdims)
    return x


def _norms(rng: np.random.Generator) -> list[Call]:
    orders = (2, 1, 3, 1.5, 0.7, math.inf, -math.inf)
    calls = [call(np.asarray(apart(rng, shape)), p, axis=axis) for p in orders for shape, axis in AXES[:6]]
    return [
        *calls,
        *(call(apart(rng, (2, 3, 2)), p=p, axis=1, keepdims=True) for p in orders),
        call(apart(rng, (3, 2))),
    ]


def _running(rng: np.random.Generator) -> list[Call]:
    return [call(rng.normal(size=s), axis) for s, axis in (((3, 4), 0), ((2, 3, 5), -2), ((6,), 0), ((0, 3), 1))]


FEW = Failure(call(np.ones((2, 1)), 1), ValueError, "at least 2 entries, got 1")
RECORDS = [
    reduction("sum", lines(normal), np.sum, stable=True),
    reduction("mean", lines(normal, empty=False), np.mean, stable=True, failures=(*AXIS, NONE)),
    reduction(
        "max",
        lines(apart, empty=False),
        by_dim(complex_step.amax),
        hand=by_dim(by_hand.hand_amax),
        torch=of_torch("amax", ()),
        stable=True,
        failures=(*AXIS, NONE),
    ),
    reduction(
        "min",
        lines(apart, empty=False),
        by_dim(complex_step.amin),
        hand=by_dim(by_hand.hand_amin),
        torch=of_torch("amin", ()),
        stable=True,
        failures=(*AXIS, NONE),
    ),
    reduction("prod", lines(some_zeros), np.prod, torch=_torch_prod),
    reduction("var", _deviations, by_dim(complex_step.var), stable=True, failures=(*AXIS, NONE, FEW)),
    reduction("std", _deviations, by_dim(complex_step.std), stable=True, failures=(*AXIS, NONE, FEW)),
    reduction(
        "norm",
        _norms,
        by_dim(complex_step.norm),
        torch=lambda torch, x, p=2, **kwargs: by_dim(torch.linalg.vector_norm)(x, p, **kwargs),
        stable=True,
        failures=(
            Failure(call(np.ones(3), 0), ValueError, "expected p > 0"),
            Failure(call(np.ones(3), "fro"), ValueError, "expected p > 0"),
            Failure(call(np.ones(3), 2, 1), IndexError, "axis 1 is out of range"),
        ),
    ),
    Record(
        "cumsum",
        samples=_running,
        numpy=np.cumsum,
        hand=lambda g, x, axis: by_hand.hand_cumsum(g, x, axis),
        torch=lambda torch, x, axis: torch.cumsum(x, axis),
        stable=True,
        failures=(NO_AXIS, Failure(call(np.ones((2, 3)), None), TypeError, "expected one axis")),
    ),
]
