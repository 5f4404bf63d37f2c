"""Records of squares and roots, signs, rounding, and choices between operands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reference import complex_step
from reference import elementwise as by_hand
from reference.table.arithmetic import MISMATCH, PAIRS
from reference.table.record import Call, Failure, Record, call

SHAPES = ((3, 4), (2, 1, 5), (6,), (), (0, 3))
Samples = Callable[[np.random.Generator], list[Call]]


def within(low: float, high: float, *args: Any, **kwargs: Any) -> Samples:
    """Arrays of entries between ``low`` and ``high``, followed by further arguments."""
    return lambda rng: [call(np.asarray(rng.uniform(low, high, shape)), *args, **kwargs) for shape in SHAPES]


def signed(low: float, high: float, *args: Any, **kwargs: Any) -> Samples:
    """Arrays of entries whose size is between ``low`` and ``high``, followed by further arguments."""

    def draw(rng: np.random.Generator) -> list[Call]:
        sizes = [rng.uniform(low, high, shape) * rng.choice([-1.0, 1.0], shape) for shape in SHAPES]
        return [call(np.asarray(size), *args, **kwargs) for size in sizes]

    return draw


def unary(name: str, samples: Samples, numpy: Callable[..., Any], **fields: Any) -> Record:
    """The record of a function of one array that PyTorch and the derivations by hand know by the same name."""
    fields.setdefault("hand", getattr(by_hand, f"hand_{name}", None))
    fields.setdefault("torch", lambda torch, x, **kwargs: getattr(torch, name)(x, **kwargs))
    return Record(name, samples=samples, numpy=numpy, **fields)


def _between_jumps(centre: float) -> Samples:
    """Entries within 0.3 of ``centre`` between two jumps of a step function."""

    def draw(rng: np.random.Generator) -> list[Call]:
        return [call(np.asarray(rng.integers(-4, 4, s) + centre + rng.uniform(-0.3, 0.3, s))) for s in SHAPES]

    return draw


def _apart(rng: np.random.Generator) -> list[Call]:
    """Pairs that nowhere come closer than 0.1."""

    def draw(shape: tuple[int, ...], offset: float) -> Any:
        return np.asarray(0.4 * rng.integers(-5, 5, shape) + offset + rng.uniform(-0.05, 0.05, shape))

    pairs = [call(draw(a, 0.0), draw(b, 0.2)) for a, b in PAIRS]
    return [*pairs, call(draw((3, 2), 0.0), 0.6), call(-1, draw((3, 2), -0.2))]


def _extreme(function: str) -> Callable[..., Any]:
    """PyTorch's maximum or minimum, which takes no numbers."""

    def value(torch: Any, a: Any, b: Any) -> Any:
        return getattr(torch, function)(
            torch.as_tensor(a, dtype=torch.float64), torch.as_tensor(b, dtype=torch.float64)
        )

    return value


def _masks(rng: np.random.Generator) -> list[Call]:
    shapes = [((3, 4), (3, 4)), ((2, 3, 4), (3, 1)), ((4,), (3, 4)), ((), ()), ((0, 3), (3,))]
    return [call(np.asarray(rng.normal(size=x)), np.asarray(rng.random(mask) < 0.6)) for x, mask in shapes]


def _choices(rng: np.random.Generator) -> list[Call]:
    shapes = [((3, 4),) * 3, ((3, 1), (2, 3, 4), (4,)), ((2, 3), (), (3,)), ((), (), ()), ((3,), (0, 3), (3,))]
    calls = [call(*(np.asarray(rng.normal(size=shape)) for shape in three)) for three in shapes]
    calls += [
        call(rng.normal(size=(3, 4)), rng.normal(size=(3, 4)), 0),
        call(rng.normal(size=3), 1.5, rng.normal(size=3)),
    ]
    return [call(np.asarray(c.args[0] > 0), *c.args[1:]) for c in calls]


def _bounded(rng: np.random.Generator) -> list[Call]:
    """Entries away from the bounds: numbers on both sides or one, and arrays that broadcast."""
    numbers = (((3, 4), (-0.5, 0.75)), ((2, 1, 5), (None, 0.75)), ((6,), (-0.5,)), ((), (-0.5, 0.75)), ((0, 3), (0, 1)))
    calls = [call(np.asarray(rng.normal(size=shape)), *bounds) for shape, bounds in numbers]
    x, low, high = rng.normal(size=(3, 4)), rng.uniform(-1.0, -0.3, (4,)), rng.uniform(0.3, 1.0, (2, 3, 1))
    return [*calls, call(x, low, high), call(x.T, None, high[0].T), call(x[0], low, 0.8), call(x, min=-0.5, max=0.75)]


def _np_clip(x: Any, min: Any = None, max: Any = None) -> Any:
    x = x if min is None else complex_step.maximum(x, min + np.zeros_like(x.real))
    return x if max is None else complex_step.minimum(x, max + np.zeros_like(x.real))


def _hand_clip(g: Any, x: Any, min: Any = None, max: Any = None) -> Any:
    """Below, the lower bound takes the gradient; above, the upper one; between them x."""
    below = np.zeros(g.shape, bool) if min is None else np.broadcast_to(x < min, g.shape)
    above = np.zeros(g.shape, bool) if max is None else np.broadcast_to(x > max, g.shape)
    parts = ((g * ~(below | above), x), (g * below, min), (g * above, max))
    return tuple(by_hand.unbroadcast(part, operand) for part, operand in parts if hasattr(operand, "shape"))


def _torch_clip(torch: Any, x: Any, min: Any = None, max: Any = None) -> Any:
    """PyTorch wants both bounds of one kind, and its gradient only knows those that broadcast to x."""
    bounds = [b if b is None else torch.as_tensor(b, dtype=x.dtype) for b in (min, max)]
    shape = torch.broadcast_shapes(x.shape, *(b.shape for b in bounds if b is not None))
    return torch.clip(x.expand(shape), *bounds)


RECORDS = [
    unary("square", signed(0.3, 2.0), np.square, stable=True),
    unary("sqrt", within(0.3, 4.0), complex_step.sqrt),
    unary("reciprocal", signed(0.5, 2.0), lambda x: 1.0 / x),
    unary("abs", signed(0.3, 2.0), complex_step.abs, stable=True),
    unary("sign", signed(0.3, 2.0), complex_step.sign, stable=True),
    unary("round", _between_jumps(0.0), lambda x: np.rint(x.real) + 0 * x, hand=by_hand.hand_sign, stable=True),
    unary("floor", _between_jumps(0.5), lambda x: np.floor(x.real) + 0 * x, hand=by_hand.hand_sign, stable=True),
    unary("ceil", _between_jumps(0.5), lambda x: np.ceil(x.real) + 0 * x, hand=by_hand.hand_sign, stable=True),
    Record(
        "masked",
        samples=_masks,
        numpy=lambda x, mask: np.where(mask, x, 0.0),
        hand=lambda g, x, mask: (by_hand.unbroadcast(np.where(mask, g, 0.0), x),),
        torch=lambda torch, x, mask: x.expand(torch.broadcast_shapes(x.shape, mask.shape)).masked_fill(~mask, 0),
        stable=True,
        failures=(
            Failure(call(np.ones(3), np.array([True, False])), ValueError, "broadcast"),
            Failure(call(np.arange(3), np.array(True)), TypeError, "floating-point numbers, got int64"),
        ),
    ),
    Record(
        "where",
        samples=_choices,
        numpy=np.where,
        hand=by_hand.hand_where,
        torch=lambda torch, condition, a, b: torch.where(condition, a, b),
        stable=True,
        failures=(Failure(call(np.array([True]), np.ones(3), np.ones(4)), ValueError, "broadcast"),),
    ),
    Record(
        "maximum",
        samples=_apart,
        numpy=lambda a, b: complex_step.maximum(a * np.ones(()), b * np.ones(())),
        hand=by_hand.hand_maximum,
        torch=_extreme("maximum"),
        broadcasts=True,
        stable=True,
        failures=(MISMATCH,),
    ),
    Record(
        "minimum",
        samples=_apart,
        numpy=lambda a, b: complex_step.minimum(a * np.ones(()), b * np.ones(())),
        hand=by_hand.hand_minimum,
        torch=_extreme("minimum"),
        broadcasts=True,
        stable=True,
        failures=(MISMATCH,),
    ),
    Record(
        "clip",
        samples=_bounded,
        numpy=_np_clip,
        hand=_hand_clip,
        torch=_torch_clip,
        stable=True,
        failures=(
            Failure(call(np.ones(3)), ValueError, "at least one of min and max"),
            Failure(call(np.ones(3), np.ones(4)), ValueError, "broadcast"),
        ),
    ),
]
