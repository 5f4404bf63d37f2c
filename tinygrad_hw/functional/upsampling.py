"""Images in another size."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from tinygrad_hw.functional.checks import integers
from tinygrad_hw.functional.images import image_size
from tinygrad_hw.functional.pooling import Resample
from tinygrad_hw.kernels.resampling import Taps

__all__ = ["interpolate"]

_MODES = {"nearest": (3, 4), "linear": (3,), "bilinear": (4,)}  # axes of the images that each is for


@lru_cache(maxsize=256)
def _nearest(size: int, count: int, factor: float | None) -> Taps:
    """Output i is source ⌊i s⌋, s being ``size`` / ``count`` or 1 / ``factor``."""
    sources = [i * size // count if factor is None else min(int(i * (1 / factor)), size - 1) for i in range(count)]
    return Taps([[(source, 1.0)] for source in sources], size)


@lru_cache(maxsize=256)
def _linear(size: int, count: int, factor: float | None, align_corners: bool) -> Taps:
    """Output i lies at (i + ½) s - ½, or with aligned corners at i s, between two sources (or at the first)."""
    rows = []
    for i in range(count):
        if align_corners:
            place = i * ((size - 1) / (count - 1)) if count > 1 else 0.0
        else:
            place = max(0.0, (i + 0.5) * (1 / factor if factor else size / count) - 0.5)
        first = min(int(place), size - 1)
        rest = min(place - first, 1.0)
        row = [(first, 1 - rest), (min(first + 1, size - 1), rest)]
        rows.append(row if row[0][0] != row[1][0] else [(first, 1.0)])
    return Taps(rows, size)


def check_settings(name: str, size: Any, scale_factor: Any, mode: str, align_corners: bool | None) -> None:
    """Raise in the name ``name`` where settings of :func:`interpolate` make no sense, whatever the images."""
    if mode not in _MODES:
        raise ValueError(f"{name}: expected mode {', '.join(map(repr, _MODES))}, got {mode!r}")
    if mode == "nearest" and align_corners is not None:
        raise ValueError(f"{name}: align_corners is for the modes 'linear' and 'bilinear'")
    if (size is None) == (scale_factor is None):
        raise ValueError(f"{name}: expected either size or scale_factor, got {size!r} and {scale_factor!r}")
    given = size if scale_factor is None else scale_factor
    several = isinstance(given, (tuple, list)) and len(given) + 2 in _MODES[mode]
    axes = len(given) if several else _MODES[mode][-1] - 2
    if scale_factor is None:
        integers(name, "size", size, axes, 1)
    else:
        _factors(name, scale_factor, axes)


def _factors(name: str, scale_factor: Any, axes: int) -> tuple[float, ...]:
    factors = tuple(scale_factor) if isinstance(scale_factor, (tuple, list)) else (scale_factor,) * axes
    if len(factors) != axes or not all(
        isinstance(f, (int, float, np.number)) and not isinstance(f, bool) and 0 < f < math.inf for f in factors
    ):
        raise ValueError(f"{name}: scale_factor must be a positive number, or {axes} of them, got {scale_factor!r}")
    return factors


def _sizes(old: tuple[int, ...], size: Any, scale_factor: Any) -> list[tuple[int, float | None]]:
    """For each axis the new size, and the factor where that was given."""
    axes = len(old)
    if size is not None:
        return [(count, None) for count in integers("interpolate", "size", size, axes, 1)]
    factors = _factors("interpolate", scale_factor, axes)
    found: list[tuple[int, float | None]] = [(math.floor(n * f), float(f)) for n, f in zip(old, factors, strict=True)]
    if min(count for count, _ in found) < 1:
        raise ValueError(f"interpolate: scale_factor {scale_factor!r} leaves nothing of {old}")
    return found


def interpolate(
    x: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Any:
    """Images (N, C, H, W), or sequences (N, C, L), in another size.

    Args:
        x: floating.
        size: the new size of the last axes, an integer or one for each.
        scale_factor: or by how much they grow, one number or one for each; the new size is rounded down.
        mode: "nearest" repeats pixels; "bilinear", for sequences "linear", weighs the two nearest along each axis.
        align_corners: of the last two: False (default) takes pixels for squares, so that output i of an axis lies at
            (i + ½) s - ½ of the input, with s = size / new size or 1 / ``scale_factor``; True takes them for points,
            the first and the last of which coincide with the input's.

    Raises:
        TypeError: for an ``x`` that is not floating, or sizes that are not integers.
        ValueError: for an unknown mode, one that is not for images of this shape, or sizes that make no sense.
    """
    check_settings("interpolate", size, scale_factor, mode, align_corners)
    axes = getattr(x, "ndim", 4) - 2
    if axes + 2 not in _MODES[mode]:
        raise ValueError(f"interpolate: mode {mode!r} is not for the shape {tuple(x.shape)}")
    old = image_size("interpolate", x, axes)
    new = [(1, None)] * (2 - axes) + _sizes(x.shape[2:], size, scale_factor)
    taps = [
        _nearest(n, *line) if mode == "nearest" else _linear(n, *line, bool(align_corners))
        for n, line in zip(old, new, strict=True)
    ]
    return Resample.apply(x, *taps, axes)
