"""Records of dropout, with masks that stay the same from call to call."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference import layers
from reference.table.record import Call, Failure, Record, call
from tinygrad_hw.backend import to_device


class FixedMask:
    """Stands in for a stream of random numbers: the mask is drawn once, so that differences see one function."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, ...], p: float) -> None:
        self.mask = rng.uniform(size=shape) >= p

    def bernoulli(self, shape: tuple[int, ...], p: float, device: str = "cpu") -> Any:
        return to_device(self.mask, device)


def _samples(rng: np.random.Generator) -> list[Call]:
    calls = [
        call(rng.normal(size=shape), p, stream=FixedMask(rng, shape, p))
        for shape, p in (((3, 4), 0.5), ((2, 5, 3), 0.2), ((7,), 0.9), ((), 0.5), ((0, 3), 0.5), ((4, 2), 1.0))
    ]
    return [*calls, call(rng.normal(size=(3, 2)), 0.0), call(rng.normal(size=(3, 2)), 0.5, training=False)]


def _channels(rng: np.random.Generator) -> list[Call]:
    calls = [
        call(rng.normal(size=shape), p, stream=FixedMask(rng, (*shape[:2], *(1,) * (len(shape) - 2)), p))
        for shape, p in (((3, 4, 2, 5), 0.5), ((2, 5, 3), 0.2), ((3, 2), 0.5), ((0, 3, 2, 4), 0.5), ((4, 2, 3), 1.0))
    ]
    return [*calls, call(rng.normal(size=(3, 2, 4)), 0.0), call(rng.normal(size=(3, 2, 4)), 0.5, training=False)]


def _mask(x: Any, p: float, training: bool, stream: Any) -> tuple[Any, float]:
    """The mask, and the probability that counts: none outside training."""
    return (stream.mask, p) if training and p > 0 else (np.ones(x.shape), 0.0)


def _dropout(x: Any, p: float, training: bool = True, stream: Any = None) -> Any:
    return layers.dropout(x, *_mask(x, p, training, stream))


def _hand_dropout(g: Any, x: Any, p: float, training: bool = True, stream: Any = None) -> tuple[Any, ...]:
    return layers.hand_dropout(g, x, *_mask(x, p, training, stream))


def _torch(torch: Any, x: Any, p: float, training: bool = True, stream: Any = None) -> Any:
    """PyTorch's own function has other masks; its mean over them is what this one is scaled by."""
    mask, p = _mask(x, p, training, stream)
    return x * torch.as_tensor(mask, dtype=x.dtype) * (1 / (1 - p) if p < 1 else 0.0)


RECORDS = [
    Record(
        "dropout",
        samples=_samples,
        numpy=_dropout,
        hand=_hand_dropout,
        torch=_torch,
        stable=True,
        failures=(
            Failure(call(np.ones(3), 1.5), ValueError, "probability from 0 to 1"),
            Failure(call(np.ones(3), -0.1), ValueError, "probability from 0 to 1"),
            Failure(call(np.arange(3), 0.5), TypeError, "floating"),
        ),
    ),
    Record(
        "dropout2d",
        samples=_channels,
        numpy=_dropout,
        hand=_hand_dropout,
        torch=_torch,
        stable=True,
        failures=(
            Failure(call(np.ones((2, 3)), 1.5), ValueError, "probability from 0 to 1"),
            Failure(call(np.ones(3), 0.5), ValueError, "expected a shape (N, C, ...)"),
            Failure(call(np.ones((2, 3), np.int64), 0.5), TypeError, "floating"),
        ),
    ),
]
