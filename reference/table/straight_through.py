"""Records of the straight-through operations: their gradients are chosen, so no numeric oracle can confirm them."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference import straight_through as by_hand
from reference.table.record import Call, Failure, Record, call

STEP = "a step function: its derivative is 0 almost everywhere, and the gradient stands in for it"
SHAPES = ((3, 4), (2, 1, 5), (6,), (), (0, 3))


def _samples(rng: np.random.Generator) -> list[Call]:
    return [call(rng.normal(0.0, 1.5, shape)) for shape in SHAPES]


def _ste(torch: Any, value: Any, carrier: Any) -> Any:
    """The usual trick in PyTorch: the value of one expression, the gradient of another."""
    return carrier + (value - carrier).detach()


def _torch_sign(torch: Any, x: Any) -> Any:
    return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)


def _bounded(x: Any, low: float = -1.0, high: float = 1.0) -> Any:
    return by_hand.clip(x, low, high)


def _quantize(x: Any, bits: int, limits: Any = (0.0, 1.0)) -> Any:
    """DoReFa's quantiser of [0, 1], with x brought there and back; zeros are their own limits."""
    if limits is None and not x.any():
        return x * 0
    low, high = (-abs(x).max(), abs(x).max()) if limits is None else limits
    return low + (high - low) * by_hand.quantize((x - low) / (high - low), bits)


def _hand_quantize(g: Any, x: Any, bits: int, limits: Any = (0.0, 1.0)) -> tuple[Any, ...]:
    """Passed inside the limits; the largest entry, which sets them, is inside."""
    if limits is None:
        return by_hand.hand_round(g, x)
    low, high = limits
    return by_hand.hand_quantize(g, (x - low) / (high - low), bits)


def _torch_quantize(torch: Any, x: Any, bits: int, limits: Any = (0.0, 1.0)) -> Any:
    if x.numel() == 0:
        return x * 1
    low, high = (-x.abs().max().item(), x.abs().max().item()) if limits is None else limits
    unit = (x.clamp(low, high) - low) / (high - low)
    value = low + (high - low) * torch.round(unit * (2**bits - 1)) / (2**bits - 1)
    return _ste(torch, value, x if limits is None else x.clamp(low, high))


def _along(whole: Any) -> Any:
    """``whole``, a function of all entries, applied to each line along ``axis`` by itself."""

    def value(w: Any, axis: int | None = None) -> Any:
        return whole(w) if axis is None else np.apply_along_axis(whole, axis, w)

    return value


def _binarize(w: Any) -> Any:
    return by_hand.binarize(w) if w.size else w * 1


def _ternarize(w: Any) -> Any:
    return by_hand.ternarize(w) if w.size else w * 1


def _torch_binarize(torch: Any, w: Any, axis: int | None = None) -> Any:
    if w.numel() == 0:
        return w * 1
    scale = w.abs().mean() if axis is None else w.abs().mean(axis, keepdim=True)
    return _ste(torch, scale * _torch_sign(torch, w), w)


def _torch_ternarize(torch: Any, w: Any, axis: int | None = None) -> Any:
    if w.numel() == 0:
        return w * 1
    axes = tuple(range(w.ndim)) if axis is None else (axis,)
    kept = (w.abs() > 0.7 * w.abs().mean(axes, keepdim=True)).to(w.dtype)
    scale = (w.abs() * kept).sum(axes, keepdim=True) / kept.sum(axes, keepdim=True).clamp(min=1)
    return _ste(torch, scale * w.sign() * kept, w)


def _quantize_samples(rng: np.random.Generator) -> list[Call]:
    return [
        call(rng.uniform(-0.3, 1.3, (3, 4)), 1),
        call(rng.uniform(-0.3, 1.3, (2, 1, 5)), bits=2),
        call(rng.uniform(-3.0, 3.0, (6, 2)), 3, (-2.0, 1.5)),
        call(rng.normal(size=(4, 5)), 4, limits=None),
        call(rng.normal(size=(7,)), 8, None),
        call(rng.uniform(size=()), 2),
        call(rng.uniform(size=(0, 3)), 2),
        call(rng.uniform(size=(0, 3)), 2, None),
    ]


QUANTIZE_FAILURES = (
    Failure(call(np.arange(3), 2), TypeError, "expected a floating Tensor or array"),
    Failure(call(np.ones(3), 0), ValueError, "expected 1 to 16 bits"),
    Failure(call(np.ones(3), 17), ValueError, "expected 1 to 16 bits"),
    Failure(call(np.ones(3), 2.0), ValueError, "expected 1 to 16 bits"),
    Failure(call(np.ones(3), 2, (1.0, 1.0)), ValueError, "low < high"),
)
INTEGERS = Failure(call(np.arange(3)), TypeError, "expected a floating Tensor or array")


def _pairs(rng: np.random.Generator) -> list[Call]:
    return [call(rng.normal(size=shape), rng.normal(size=shape)) for shape in SHAPES]


STRAIGHT_THROUGH_FAILURES = (
    Failure(call(np.ones(3), np.ones(4)), ValueError, "a value of the shape, dtype and device of x"),
    Failure(call(np.ones(3), np.ones(3, np.float32)), ValueError, "a value of the shape, dtype and device of x"),
    Failure(call(np.ones(3), np.arange(3)), TypeError, "expected a floating Tensor or array"),
    Failure(call(np.arange(3), np.ones(3)), TypeError, "expected a floating Tensor or array"),
)

RECORDS = [
    Record(
        "straight_through",
        samples=_pairs,
        numpy=lambda x, value: value,
        hand=lambda g, x, value: (g * 1, g * 0),
        torch=lambda torch, x, value: _ste(torch, value, x),
        complex_step="the value does not depend on x, though the gradient is passed to it",
        finite_differences="the value does not depend on x, though the gradient is passed to it",
        failures=STRAIGHT_THROUGH_FAILURES,
    ),
    Record(
        "ste_sign",
        samples=_samples,
        numpy=by_hand.sign,
        hand=by_hand.hand_sign,
        torch=lambda torch, x: _ste(torch, _torch_sign(torch, x), x.clamp(-1, 1)),
        complex_step=STEP,
        finite_differences=STEP,
        stable=True,
        failures=(INTEGERS,),
    ),
    Record(
        "ste_round",
        samples=_samples,
        numpy=by_hand.round,
        hand=by_hand.hand_round,
        torch=lambda torch, x: _ste(torch, x.round(), x),
        complex_step=STEP,
        finite_differences=STEP,
        stable=True,
        failures=(INTEGERS,),
    ),
    Record(
        "ste_clip",
        samples=lambda rng: [*_samples(rng), call(rng.normal(size=(4, 3)), -0.5, high=0.25)],
        numpy=_bounded,
        hand=lambda g, x, low=-1.0, high=1.0: by_hand.hand_clip(g, x, low, high),
        torch=lambda torch, x, low=-1.0, high=1.0: _ste(torch, x.clamp(low, high), x),
        complex_step="the gradient out of range is passed, though the derivative is 0",
        finite_differences="the gradient out of range is passed, though the derivative is 0",
        stable=True,
        failures=(INTEGERS, Failure(call(np.ones(3), 1.0, 0.0), ValueError, "expected low <= high")),
    ),
    Record(
        "quantize",
        samples=_quantize_samples,
        numpy=_quantize,
        hand=_hand_quantize,
        torch=_torch_quantize,
        complex_step=STEP,
        finite_differences=STEP,
        stable=True,
        failures=QUANTIZE_FAILURES,
    ),
    Record(
        "binarize",
        samples=lambda rng: [*_samples(rng), call(rng.normal(size=(4, 3)), axis=1)],
        numpy=_along(_binarize),
        hand=lambda g, w, axis=None: by_hand.hand_binarize(g, w),
        torch=_torch_binarize,
        complex_step=STEP,
        finite_differences=STEP,
        stable=True,
        failures=(INTEGERS,),
    ),
    Record(
        "ternarize",
        samples=lambda rng: [*_samples(rng), call(rng.normal(size=(4, 3)), axis=1)],
        numpy=_along(_ternarize),
        hand=lambda g, w, axis=None: by_hand.hand_ternarize(g, w),
        torch=_torch_ternarize,
        complex_step=STEP,
        finite_differences=STEP,
        stable=True,
        failures=(INTEGERS,),
    ),
]
