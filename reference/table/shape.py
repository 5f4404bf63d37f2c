"""Records of the operations that move entries about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reference import shapes
from reference.elementwise import Gradients
from reference.table.record import Call, Failure, Record, call

NAN_MATRIX = np.full((2, 3), np.nan)  # an argument whose values do not matter


def _each(shape: tuple[int, ...], *settings: Any) -> Callable[[np.random.Generator], list[Call]]:
    """One call for each of the settings (a tuple of further arguments each, beginning with another shape if a dict)."""

    def samples(rng: np.random.Generator) -> list[Call]:
        calls = []
        for setting in settings:
            special = bool(setting) and isinstance(setting[0], dict)
            size = setting[0]["shape"] if special else shape
            calls.append(call(np.asarray(rng.normal(size=size)), *setting[special:]))
        return calls

    return samples


def of(*shape: int) -> dict[str, tuple[int, ...]]:
    """Another shape for one of the samples of :func:`_each`."""
    return {"shape": shape}


def _moves(value: Callable[..., Any]) -> Callable[..., Gradients]:
    """The gradient of an operation that moves entries: follow their numbers (see :func:`reference.shapes.collect`)."""
    return lambda g, x, *args: (shapes.collect(g, x, lambda numbers: value(numbers, *args)),)


def _given(values: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(values[0]) if isinstance(values[0], tuple) else values


def _flatten(x: Any, start: int = 0, end: int = -1) -> Any:
    first, last = (start % x.ndim, end % x.ndim) if x.ndim else (0, -1)
    return x.reshape(*x.shape[:first], -1, *x.shape[last + 1 :])


def _transpose(x: Any, *axes: int) -> Any:
    return np.swapaxes(x, *axes) if axes else x.T


def _squeeze(x: Any, axis: Any = None) -> Any:
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return np.squeeze(x, tuple(a for a in axes if x.shape[a] == 1))


def _split(x: Any, sizes: Any, axis: int = 0) -> tuple[Any, ...]:
    ends = np.cumsum(sizes)[:-1] if isinstance(sizes, list) else range(sizes, x.shape[axis], sizes)
    return tuple(np.split(x, ends, axis))


def _unbind(x: Any, axis: int = 0) -> tuple[Any, ...]:
    return tuple(np.moveaxis(x, axis, 0))


def _pad(x: Any, widths: tuple[int, ...], mode: str = "constant", value: float = 0.0) -> Any:
    pairs = list(zip(widths[::2], widths[1::2], strict=True))[::-1]
    pairs = [(0, 0)] * (x.ndim - len(pairs)) + pairs
    if mode == "constant":
        return np.pad(x, pairs, constant_values=value)
    names: dict[str, Any] = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    return np.pad(x, pairs, mode=names[mode])


PADS = (
    *(((1, 2),), ((0, 1, 2, 0), "constant", 1.5), ((1, 2, 3, 4, 0, 1),), (of(0, 3), (1, 1))),
    *(((2, 4), "reflect"), ((1, 2, 2, 1), "reflect"), ((3, 1, 0, 4), "replicate"), ((5, 2, 1, 3), "circular")),
)


def _hand_pad(g: Any, x: Any, widths: tuple[int, ...], mode: str = "constant", value: float = 0.0) -> Gradients:
    return shapes.hand_pad(g, x, widths) if mode == "constant" else _moves(_pad)(g, x, widths, mode)


def _torch_pad(torch: Any, x: Any, widths: tuple[int, ...], mode: str = "constant", value: float = 0.0) -> Any:
    if mode != "constant" and x.ndim - len(widths) // 2 not in (1, 2):
        return NotImplemented  # PyTorch pads images and their batches only
    return torch.nn.functional.pad(x, widths, mode, value if mode == "constant" else None)


def _joined(*groups: tuple[tuple[int, ...], ...], axis: tuple[int, ...]) -> Callable[[np.random.Generator], list[Call]]:
    """Calls with a list of arrays of the given shapes, and an axis."""
    return lambda rng: [
        call([rng.normal(size=shape) for shape in group], a) for group, a in zip(groups, axis, strict=True)
    ]


RECORDS = [
    Record(
        "reshape",
        samples=_each((2, 3, 4), (4, 6), ((4, -1),), (of(3, 2), -1), (of(), (1, 1)), (of(0, 3), (3, 0))),
        numpy=lambda x, *shape: x.reshape(_given(shape)),
        hand=lambda g, x, *shape: shapes.hand_reshape(g, x, shape),
        torch=lambda torch, x, *shape: x.reshape(_given(shape)),
        stable=True,
        failures=(Failure(call(np.ones((2, 3)), 4, 2), ValueError, "cannot reshape"),),
    ),
    Record(
        "flatten",
        samples=_each((2, 3, 4), (), (1,), (0, 1), (-2, -1), (of(3, 2),), (of(),)),
        numpy=_flatten,
        hand=shapes.hand_flatten,
        torch=lambda torch, x, *axes: torch.flatten(x, *axes),
        failures=(
            Failure(call(np.ones((2, 3)), 1, 0), ValueError, "comes after"),
            Failure(call(np.ones((2, 3)), 2), IndexError, "axis 2 is out of bounds for 2 axes"),
        ),
    ),
    Record(
        "transpose",
        samples=_each((2, 3, 4), (), (0, 1), (-1, 0), (of(3, 2),), (of(4),), (of(0, 3), 0, 1)),
        numpy=_transpose,
        hand=lambda g, x, *axes: (_transpose(g, *axes),),
        torch=lambda torch, x, *axes: torch.transpose(x, *axes) if axes else x.permute(*range(x.ndim)[::-1]),
        failures=(
            Failure(call(np.ones((2, 3)), 0, 2), IndexError, "axis 2 is out of bounds"),
            Failure(call(np.ones((2, 3)), 0), TypeError, "two axes"),
        ),
    ),
    Record(
        "permute",
        samples=_each((2, 3, 4), (2, 0, 1), ((1, 2, 0),), (-1, 0, 1), (of(3, 2), 1, 0)),
        numpy=lambda x, *axes: x.transpose(_given(axes)),
        hand=lambda g, x, *axes: shapes.hand_permute(g, x, [axis % x.ndim for axis in _given(axes)]),
        torch=lambda torch, x, *axes: x.permute(_given(axes)),
        failures=(
            Failure(call(np.ones((2, 3)), 0, 0), ValueError, "repeated axis"),
            Failure(call(np.ones((2, 3)), 0), ValueError, "axes don't match"),
        ),
    ),
    Record(
        "squeeze",
        samples=_each((1, 3, 1, 2), (), (0,), (-2,), ((0, 2),), (1,), (of(1, 4),)),
        numpy=_squeeze,
        hand=shapes.hand_squeeze,
        torch=lambda torch, x, *axes: torch.squeeze(x, *axes),
        failures=(Failure(call(np.ones((1, 3)), 2), IndexError, "axis 2 is out of bounds for 2 axes"),),
    ),
    Record(
        "unsqueeze",
        samples=_each((2, 3), (0,), (2,), (-2,), (of(), 0), (of(0, 3), 1)),
        numpy=np.expand_dims,
        hand=shapes.hand_unsqueeze,
        torch=lambda torch, x, axis: torch.unsqueeze(x, axis),
        failures=(Failure(call(np.ones((2, 3)), 3), IndexError, "axis 3 is out of bounds for 3 axes"),),
    ),
    Record(
        "concatenate",
        samples=_joined(((2, 3), (4, 3)), ((2, 3), (2, 1), (2, 0)), ((3, 1, 2), (3, 4, 2)), axis=(0, -1, 1)),
        numpy=np.concatenate,
        hand=shapes.hand_cat,
        torch=lambda torch, tensors, axis: torch.cat(tensors, axis),
        failures=(
            Failure(call([np.ones((2, 3)), np.ones((2, 4))], 0), ValueError, "must match exactly"),
            Failure(call([], 0), ValueError, "at least one"),
            Failure(call([np.ones((2, 3))], 2), IndexError, "axis 2 is out of bounds"),
        ),
    ),
    Record(
        "stack",
        samples=_joined(((2, 3),) * 4, ((2, 3),) * 4, ((),) * 3, ((3, 0),) * 2, axis=(0, -1, 0, 1)),
        numpy=np.stack,
        hand=shapes.hand_stack,
        torch=lambda torch, tensors, axis: torch.stack(tensors, axis),
        failures=(
            Failure(call([np.ones((2, 3)), np.ones((2, 4))], 0), ValueError, "must have the same shape"),
            Failure(call([], 0), ValueError, "at least one"),
        ),
    ),
    Record(
        "unbind",
        samples=_each((2, 3, 4), (), (1,), (-1,), (of(3),), (of(3, 0),)),
        numpy=_unbind,
        hand=lambda g, x, axis=0: (np.stack(g, axis),),
        torch=lambda torch, x, axis=0: torch.unbind(x, axis),
        failures=(Failure(call(np.ones((2, 3)), 2), IndexError, "axis 2 is out of bounds for 2 axes"),),
    ),
    Record(
        "split",
        samples=_each((7, 3), (3,), (7,), ([2, 0, 5],), (2, 1), ([1, 2], -1), (of(0, 3), 2)),
        numpy=_split,
        hand=shapes.hand_split,
        torch=lambda torch, x, sizes, axis=0: torch.split(x, sizes, axis),
        failures=(
            Failure(call(np.ones((7, 3)), [2, 4]), ValueError, "do not add up to the 7 entries of axis 0"),
            Failure(call(np.ones((7, 3)), [8, -1]), ValueError, "do not add up"),
            Failure(call(np.ones((7, 3)), 0), ValueError, "at least 1"),
        ),
    ),
    Record(
        "pad",
        samples=_each((2, 3, 5), *PADS),
        numpy=_pad,
        hand=_hand_pad,
        torch=_torch_pad,
        failures=(
            Failure(call(NAN_MATRIX, (1, 2, 3)), ValueError, "at most 2 axes, the last first"),
            Failure(call(NAN_MATRIX, (1, -2)), ValueError, "none negative"),
            Failure(call(NAN_MATRIX, (1, 3), "reflect"), ValueError, "up to 2 on axis 1 of size 3"),
            Failure(call(NAN_MATRIX, (1, 2), "mirror"), ValueError, "'reflect', 'replicate', 'circular', got 'mirror'"),
        ),
    ),
    Record(
        "flip",
        samples=_each((2, 3, 4), (), (1,), ((0, -1),), (of(3, 2), 0), (of(0, 3), 1)),
        numpy=np.flip,
        hand=lambda g, x, axis=None: shapes.hand_flip(g, x, axis),
        torch=lambda torch, x, axis=None: torch.flip(x, _axes(x, axis)),
        failures=(Failure(call(np.ones((2, 3)), 2), IndexError, "out of bounds"),),
    ),
    Record(
        "roll",
        samples=_each((2, 3, 4), (5,), (1, 2), ((1, -2), (0, 2)), (of(5, 3), -2, 0), (of(0, 3), 1)),
        numpy=np.roll,
        hand=shapes.hand_roll,
        torch=lambda torch, x, shifts, axis=None: torch.roll(x, shifts, axis),
        failures=(Failure(call(np.ones((2, 3)), 1, 2), IndexError, "out of bounds"),),
    ),
    Record(
        "tile",
        samples=_each((2, 3), (2,), (3, 2), ((2, 1, 3),), (of(), 3), (of(4, 1, 2), 1, 0, 2)),
        numpy=lambda x, *reps: np.tile(x, _given(reps)),
        hand=lambda g, x, *reps: shapes.hand_tile(g, x, _given(reps)),
        torch=lambda torch, x, *reps: torch.tile(x, _given(reps)),
        failures=(Failure(call(np.ones((2, 3)), -1), ValueError, "at least 0"),),
    ),
    Record(
        "repeat",
        samples=_each((2, 3), (3, 2), ((2, 1, 3),), (of(), 3), (of(4, 1, 2), 1, 0, 2)),
        numpy=lambda x, *sizes: np.tile(x, _given(sizes)),
        hand=lambda g, x, *sizes: shapes.hand_repeat(g, x, _given(sizes)),
        torch=lambda torch, x, *sizes: x.repeat(_given(sizes)),
        failures=(Failure(call(np.ones((2, 3)), 2), ValueError, "at least 2 repetitions"),),
    ),
    Record(
        "repeat_interleave",
        samples=_each((2, 3), (2,), (3, 0), (2, -1), (np.array([1, 0, 3]), 1), (np.array([2, 1]), 0), (of(4, 1), 2, 1)),
        numpy=np.repeat,
        hand=_moves(np.repeat),
        torch=lambda torch, x, repeats, axis=None: torch.repeat_interleave(x, repeats, axis),
        failures=(
            Failure(call(np.ones((2, 3)), np.array([1, 2]), 1), ValueError, "expected 3 repetitions for axis 1"),
            Failure(call(np.ones((2, 3)), -1), ValueError, "at least 0"),
        ),
    ),
    Record(
        "diagonal",
        samples=_each((3, 4), (), (1,), (-2,), (of(2, 3, 4), 1, 2, 0), (of(2, 3, 4), 0, -2, -1), (of(0, 3),)),
        numpy=np.diagonal,
        hand=_moves(np.diagonal),
        torch=lambda torch, x, *settings: torch.diagonal(x, *settings),
        failures=(
            Failure(call(np.ones((2, 3)), 0, 1, 1), ValueError, "two different axes"),
            Failure(call(np.ones(3)), IndexError, "axis 1 is out of bounds for 1 axes"),
        ),
    ),
    Record(
        "diag",
        samples=_each((3, 4), (), (1,), (-2,), (of(3),), (of(3), 2), (of(4), -1), (of(0),)),
        numpy=np.diag,
        hand=lambda g, x, k=0: (np.diag(g, k),) if x.ndim == 1 else _moves(np.diag)(g, x, k),
        torch=lambda torch, x, offset=0: torch.diag(x, offset),
        failures=(Failure(call(np.ones((2, 3, 4))), ValueError, "a vector or a matrix, got shape (2, 3, 4)"),),
    ),
    Record(
        "tril",
        samples=_each((3, 4), (), (1,), (-1,), (of(2, 3, 3),), (of(0, 3),)),
        numpy=np.tril,
        hand=shapes.hand_tril,
        torch=lambda torch, x, diagonal=0: torch.tril(x, diagonal),
        failures=(Failure(call(np.ones(3)), ValueError, "expected matrices"),),
    ),
    Record(
        "triu",
        samples=_each((3, 4), (), (1,), (-1,), (of(2, 3, 3),), (of(0, 3),)),
        numpy=np.triu,
        hand=shapes.hand_triu,
        torch=lambda torch, x, diagonal=0: torch.triu(x, diagonal),
        failures=(Failure(call(np.ones(3)), ValueError, "expected matrices"),),
    ),
]


def _axes(x: Any, axis: Any) -> tuple[int, ...]:
    return tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
