"""Records of convolution, its transpose, and the columns that it multiplies."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from reference import convolution as by_hand
from reference.table.record import Call, Failure, Record, call

Shape = tuple[int, ...]
Sample = tuple[Shape, Shape, bool, dict[str, Any]]  # input, weight, whether there is a bias, settings

IMAGES: tuple[Sample, ...] = (
    ((2, 3, 4, 5), (6, 3, 3, 2), True, {}),
    ((2, 4, 5, 6), (6, 2, 2, 3), True, {"stride": (2, 3), "padding": (1, 2), "groups": 2}),
    ((1, 2, 7, 6), (3, 2, 2, 3), False, {"dilation": (3, 2), "padding": 1, "stride": 2}),
    ((2, 1, 4, 5), (3, 1, 2, 4), True, {"padding": "same", "dilation": (1, 2)}),
    ((3, 5, 4), (6, 1, 2, 3), True, {"padding": "valid", "groups": 3}),
    ((0, 2, 4, 5), (3, 2, 2, 3), True, {}),
)
ROWS: tuple[Sample, ...] = (
    ((2, 3, 6), (4, 3, 2), True, {}),
    ((2, 4, 7), (6, 2, 3), True, {"stride": 2, "padding": (1,), "groups": 2}),
    ((3, 5), (2, 3, 4), False, {"padding": "same"}),
    ((1, 2, 7), (3, 2, 2), True, {"dilation": 3, "padding": 2}),
    ((0, 2, 4), (3, 2, 2), True, {}),
)
SPREAD_IMAGES: tuple[Sample, ...] = (
    ((2, 3, 3, 4), (3, 4, 3, 2), True, {}),
    ((2, 4, 2, 3), (4, 3, 3, 2), True, {"stride": (2, 3), "padding": (1, 0), "output_padding": (1, 2), "groups": 2}),
    ((1, 2, 3, 2), (2, 3, 2, 3), False, {"dilation": (3, 2), "output_padding": (2, 0), "padding": 1}),
    ((2, 4, 3), (2, 3, 1, 2), True, {"stride": 2, "output_padding": 1}),
    ((0, 2, 4, 5), (2, 3, 2, 3), True, {}),
)
SPREAD_ROWS: tuple[Sample, ...] = (
    ((2, 3, 4), (3, 2, 3), True, {}),
    ((2, 4, 5), (4, 3, 2), True, {"stride": 3, "padding": 1, "output_padding": (2,), "groups": 2}),
    ((2, 3), (2, 3, 4), False, {"dilation": 2}),
    ((0, 2, 4), (2, 3, 2), True, {}),
)
COLUMNS: tuple[tuple[Shape, dict[str, Any]], ...] = (
    ((2, 3, 4, 5), {"kernel_size": (3, 2)}),
    ((1, 2, 5, 6), {"kernel_size": 2, "dilation": (3, 2), "padding": (1, 2), "stride": (2, 3)}),
    ((3, 5, 4), {"kernel_size": (2, 3), "padding": 1, "stride": 2}),
    ((0, 2, 4, 5), {"kernel_size": 2}),
)
FOLDED: tuple[tuple[Shape, dict[str, Any]], ...] = (
    ((2, 18, 8), {"output_size": (4, 5), "kernel_size": (3, 2)}),
    ((1, 8, 6), {"output_size": (5, 6), "kernel_size": 2, "dilation": (3, 2), "padding": (1, 2), "stride": (2, 3)}),
    ((18, 6), {"output_size": (5, 4), "kernel_size": (2, 3), "padding": 1, "stride": 2}),
    ((0, 8, 12), {"output_size": (4, 5), "kernel_size": 2}),
)


def _samples(table: tuple[Sample, ...], outputs: int = 0) -> Callable[[np.random.Generator], list[Call]]:
    """Calls with random entries; axis ``outputs`` of a weight (times the groups, if 1) is that of the output."""

    def draw(rng: np.random.Generator) -> list[Call]:
        calls = []
        for shape, weight, biased, settings in table:
            size = weight[outputs] * (settings.get("groups", 1) if outputs else 1)
            bias = rng.normal(size=size) if biased else None
            calls.append(call(rng.normal(size=shape), rng.normal(size=weight), bias, **settings))
        return calls

    return draw


def _columns(table: tuple[tuple[Shape, dict[str, Any]], ...]) -> Callable[[np.random.Generator], list[Call]]:
    return lambda rng: [call(rng.normal(size=shape), **sizes) for shape, sizes in table]


def _torch(name: str) -> Callable[..., Any]:
    def of_all(torch: Any, *args: Any, **kwargs: Any) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Using padding='same' with even kernel lengths")  # that it copies
            return getattr(torch.nn.functional, name)(*args, **kwargs)

    return of_all


def _torch_turned(axes: int) -> Callable[..., Any]:
    def of_turned(torch: Any, x: Any, weight: Any, *args: Any, **kwargs: Any) -> Any:
        turned = torch.flip(weight, tuple(range(2, 2 + axes)))
        return _torch(f"conv{axes}d")(torch, x, turned, *args, **kwargs)

    return of_turned


def _ones(*shapes: Shape, **settings: Any) -> Call:
    return call(*map(np.ones, shapes), **settings)


def _failures(axes: int) -> tuple[Failure, ...]:
    """What must fail for correlation and convolution alike."""
    one, three, five = (1,) * axes, (3,) * axes, (5,) * axes
    x, w = (2, 4, *five), (6, 4, *three)
    return (
        Failure(_ones((2, *five, 4, 1), w), ValueError, "expected a shape (N, C, "),
        Failure(_ones(five, w), ValueError, "expected a shape (N, C, "),
        Failure(_ones(x, (6, 4)), ValueError, "expected a weight (out, in / groups, K"),
        Failure(_ones(x, (6, 0, *three)), ValueError, "none zero"),
        Failure(_ones((2, 3, *five), w), ValueError, "takes 4 channels, got an input (2, 3, 5"),
        Failure(_ones(x, w, groups=2), ValueError, "with groups=2 takes 8 channels"),
        Failure(_ones(x, (5, 2, *three), groups=2), ValueError, "groups=2 does not divide the 5 channels of the"),
        Failure(_ones(x, w, groups=0), ValueError, "groups must be one integer of at least 1"),
        Failure(_ones(x, w, (5,)), ValueError, "expected a bias (6,), got (5,)"),
        Failure(_ones((2, 4, *one), w), ValueError, "reaches over 3 pixels is larger than 1 pixels with padding 0"),
        Failure(_ones(x, w, dilation=3), ValueError, "reaches over 7 pixels is larger than 5 pixels"),
        Failure(_ones(x, w, stride=0), ValueError, "stride must be one integer of at least 1"),
        Failure(_ones(x, w, stride=1.5), TypeError, "stride must be an integer"),
        Failure(_ones(x, w, stride=(1, 1, 1)), ValueError, "stride must be one integer"),
        Failure(_ones(x, w, padding=-1), ValueError, "padding must be one integer of at least 0"),
        Failure(_ones(x, w, padding="full"), ValueError, "integers, 'same' or 'valid', got 'full'"),
        Failure(_ones(x, w, padding="same", stride=2), ValueError, "padding 'same' needs a stride of 1"),
        Failure(call(np.ones(x, np.int64), np.ones(w)), TypeError, "expected a floating Tensor or array, got int64"),
        Failure(call(np.ones(x), np.ones(w, np.int64)), TypeError, "expected a floating Tensor or array, got int64"),
    )


def _transposed_failures(axes: int) -> tuple[Failure, ...]:
    three, five = (3,) * axes, (5,) * axes
    x, w = (2, 4, *five), (4, 6, *three)
    return (
        Failure(_ones(five, w), ValueError, "expected a shape (N, C, "),
        Failure(_ones(x, (4, 6)), ValueError, "expected a weight (in, out / groups, K"),
        Failure(_ones((2, 3, *five), w), ValueError, "takes 4 channels, got an input (2, 3, 5"),
        Failure(_ones(x, w, groups=3), ValueError, "groups=3 does not divide the 4 channels of the input"),
        Failure(_ones(x, w, (5,), groups=2), ValueError, "expected a bias (12,), got (5,)"),
        Failure(_ones(x, w, stride=2, output_padding=2), ValueError, "must be smaller than stride 2 or dilation 1"),
        Failure(_ones((2, 4, *(1,) * axes), w, padding=2), ValueError, "padding 2 leaves nothing of an output of 3"),
        Failure(_ones(x, w, padding="same"), TypeError, "padding must be an integer"),
        Failure(_ones(x, w, output_padding=-1), ValueError, "output_padding must be one integer of at least 0"),
    )


COLUMN_FAILURES = (
    Failure(call(np.ones((4, 5)), 2), ValueError, "expected a shape (N, C, H, W)"),
    Failure(call(np.ones((2, 3, 4, 5)), (5, 2)), ValueError, "reaches over 5 pixels is larger than 4 pixels"),
    Failure(call(np.ones((2, 3, 4, 5)), 0), ValueError, "kernel_size must be one integer of at least 1"),
    Failure(call(np.ones((2, 3, 4, 5)), 2.5), TypeError, "kernel_size must be an integer"),
)
FOLD_FAILURES = (
    Failure(call(np.ones((2, 8, 5)), (3, 3), 2), ValueError, "expected columns (N, channels x 4, 4)"),
    Failure(call(np.ones((2, 6, 4)), (3, 3), 2), ValueError, "for these sizes, got (2, 6, 4)"),
    Failure(call(np.ones(4), (3, 3), 2), ValueError, "for these sizes, got (4,)"),
    Failure(call(np.ones((2, 8, 4)), (1, 3), 2), ValueError, "reaches over 2 pixels is larger than 1 pixels"),
    Failure(call(np.ones((2, 8, 4)), -3, 2), ValueError, "output_size must be one integer of at least 1"),
)

RECORDS = [
    Record(
        "conv2d",
        samples=_samples(IMAGES),
        numpy=by_hand.conv2d,
        hand=by_hand.hand_conv2d,
        torch=_torch("conv2d"),
        failures=_failures(2),
    ),
    Record(
        "conv1d",
        samples=_samples(ROWS),
        numpy=by_hand.conv1d,
        hand=by_hand.hand_conv1d,
        torch=_torch("conv1d"),
        failures=_failures(1),
    ),
    Record(
        "convolve2d",
        samples=_samples(IMAGES),
        numpy=by_hand.convolve2d,
        hand=by_hand.hand_convolve2d,
        torch=_torch_turned(2),
        failures=_failures(2),
    ),
    Record(
        "convolve1d",
        samples=_samples(ROWS),
        numpy=by_hand.convolve1d,
        hand=by_hand.hand_convolve1d,
        torch=_torch_turned(1),
        failures=_failures(1),
    ),
    Record(
        "conv_transpose2d",
        samples=_samples(SPREAD_IMAGES, 1),
        numpy=by_hand.conv_transpose2d,
        hand=by_hand.hand_conv_transpose2d,
        torch=_torch("conv_transpose2d"),
        failures=_transposed_failures(2),
    ),
    Record(
        "conv_transpose1d",
        samples=_samples(SPREAD_ROWS, 1),
        numpy=by_hand.conv_transpose1d,
        hand=by_hand.hand_conv_transpose1d,
        torch=_torch("conv_transpose1d"),
        failures=_transposed_failures(1),
    ),
    Record(
        "unfold",
        samples=_columns(COLUMNS),
        numpy=by_hand.unfold,
        hand=by_hand.hand_unfold,
        torch=_torch("unfold"),
        failures=COLUMN_FAILURES,
    ),
    Record(
        "fold",
        samples=_columns(FOLDED),
        numpy=by_hand.fold,
        hand=by_hand.hand_fold,
        torch=_torch("fold"),
        failures=FOLD_FAILURES,
    ),
]
