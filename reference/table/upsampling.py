"""Record of interpolation."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference import upsampling
from reference.table.record import Call, Failure, Record, call

CASES: tuple[tuple[tuple[int, ...], dict[str, Any]], ...] = (
    ((2, 3, 4, 5), {"scale_factor": 2}),
    ((1, 2, 3, 5), {"size": (7, 2)}),
    ((1, 2, 5), {"scale_factor": 1.7}),
    ((2, 1, 5, 4), {"size": (3, 9), "mode": "bilinear"}),
    ((1, 3, 4, 5), {"scale_factor": (2.5, 0.6), "mode": "bilinear"}),
    ((2, 1, 5, 4), {"size": (3, 9), "mode": "bilinear", "align_corners": True}),
    ((2, 1, 3, 4), {"size": 1, "mode": "bilinear", "align_corners": True}),
    ((2, 3, 6), {"size": 9, "mode": "linear"}),
    ((0, 3, 2, 4), {"scale_factor": 2}),
)


def _samples(rng: np.random.Generator) -> list[Call]:
    return [call(rng.normal(size=shape), **sizes) for shape, sizes in CASES]


IMAGE = np.ones((1, 2, 3, 4))
FAILURES = (
    Failure(call(IMAGE), ValueError, "either size or scale_factor"),
    Failure(call(IMAGE, 2, 2), ValueError, "either size or scale_factor"),
    Failure(call(IMAGE, 2, mode="cubic"), ValueError, "expected mode"),
    Failure(call(IMAGE, 2, mode="linear"), ValueError, "not for the shape"),
    Failure(call(IMAGE, 2, align_corners=True), ValueError, "align_corners is for"),
    Failure(call(IMAGE, 0), ValueError, "size must be"),
    Failure(call(IMAGE, scale_factor=0.1), ValueError, "leaves nothing"),
    Failure(call(IMAGE, scale_factor=-1.0), ValueError, "a positive number"),
)
RECORDS = [
    Record(
        "interpolate",
        samples=_samples,
        numpy=upsampling.interpolate,
        hand=upsampling.hand_interpolate,
        torch=lambda torch, x, **kwargs: torch.nn.functional.interpolate(x, **kwargs),
        stable=True,
        failures=FAILURES,
    )
]
