"""What is probably wrong with a gradient, judged by how it differs from the right one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from reference.elementwise import unbroadcast

SAME = 1e-4  # relative difference up to which two arrays count as the same mistake


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool(np.abs(a - b).max(initial=0.0) <= SAME * np.abs(b).max(initial=0.0))


def _sizes(shapes: Mapping[str, tuple[int, ...]]) -> dict[int, str]:
    """Numbers by which a mean and a sum may differ, and what each counts: axes of the arrays, and all their entries."""
    sizes: dict[int, str] = {}
    for name, shape in shapes.items():
        for axis, size in enumerate(shape):
            sizes.setdefault(size, f"the size of axis {axis} of {name}")
        sizes.setdefault(prod(shape), f"the number of entries of {name}")
    return {size: words for size, words in sizes.items() if size > 1}


def shape_hint(yours: np.ndarray, shape: tuple[int, ...]) -> str | None:
    """Why a gradient may have the wrong shape."""
    if yours.shape == shape[::-1]:
        return "transposed?"
    if yours.size == prod(shape):
        return "same number of entries: reshaped?"
    if yours.ndim >= len(shape) and _sums_to(yours, shape):
        return "the argument was broadcast: sum the gradient over the axes that it was repeated along?"
    return None


def _sums_to(yours: np.ndarray, shape: tuple[int, ...]) -> bool:
    return unbroadcast(yours, np.empty(shape)).shape == shape


def value_hint(
    yours: np.ndarray,
    expected: np.ndarray,
    shapes: Mapping[str, tuple[int, ...]],
    others: Sequence[tuple[str, np.ndarray]] = (),
    without_g: Any = None,
) -> str | None:
    """Why a gradient of the right shape may have wrong entries.

    ``shapes`` names the arrays of the computation, ``others`` the right gradients of the other arguments, ``without_g``
    is your gradient for another cotangent, if there is one.
    """
    if not yours.any():
        return "yours is zero everywhere: never assigned?"
    if without_g is not None and np.array_equal(yours, without_g):
        return "yours is the same for every cotangent g: not multiplied by g?"
    if yours.ndim == 2 and _same(yours.T, expected):
        return "transposed?"
    for name, other in others:
        if _same(yours, other):
            return f"this is the gradient of {name}: order exchanged?"
    square = float((expected * expected).sum())
    ratio = float((yours * expected).sum()) / square if square else 0.0
    if abs(ratio - 1) > SAME and _same(yours, ratio * expected):
        return f"every entry is {ratio:.6g} times the right one{_reason(ratio, shapes)}"
    flipped = int((yours * expected < 0).sum())
    if flipped and _same(np.abs(yours), np.abs(expected)):
        return f"{flipped} of {yours.size} entries have the wrong sign, their size is right"
    return None


def _reason(ratio: float, shapes: Mapping[str, tuple[int, ...]]) -> str:
    if abs(ratio + 1) < SAME:
        return ": sign flipped?"
    if ratio < 0:
        return ": sign flipped, and more" + _reason(-ratio, shapes)
    for size, words in _sizes(shapes).items():
        if abs(ratio / size - 1) < SAME:
            return f": {size} is {words}: summed where the mean is taken?"
        if abs(ratio * size - 1) < SAME:
            return f": 1/{size}, and {size} is {words}: mean where the sum is taken?"
    if abs(ratio - 2) < SAME or abs(ratio - 0.5) < SAME:
        return ": the 2 of a square, or a half, lost or counted twice?"
    return ": a constant factor"
