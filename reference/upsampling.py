"""Interpolation by direct loops over pixels: value and derivative by hand.

``g`` is the gradient of the value; ``hand_interpolate`` returns a tuple of one gradient. Sequences (N, C, L) are images
of one row.
"""

from __future__ import annotations

from math import floor
from typing import Any

import numpy as np

from reference.elementwise import Gradients
from tinygrad_hw.backend import Array

Weights = list[list[tuple[int, float]]]  # for each output along an axis: inputs and their weights


def _nearest(size: int, count: int, step: float) -> Weights:
    return [[(min(floor(i * step), size - 1), 1.0)] for i in range(count)]


def _linear(size: int, count: int, step: float, align_corners: bool) -> Weights:
    """Pixels as squares of side 1 (output i has its middle at (i + 1/2) step), or as points (at i step)."""
    rows = []
    for i in range(count):
        place = i * step if align_corners else (i + 0.5) * step - 0.5
        place = min(max(place, 0.0), size - 1.0)
        low = floor(place)
        rows.append([(low, 1 - (place - low)), (min(low + 1, size - 1), place - low)])
    return rows


def _axes(
    shape: tuple[int, ...],
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> list[Weights]:
    """The weights along each of the last axes, all but the first two."""
    found = []
    for k, length in enumerate(shape[2:]):
        if size is not None:
            count = size[k] if isinstance(size, tuple) else size
            step = length / count
        else:
            factor = scale_factor[k] if isinstance(scale_factor, tuple) else scale_factor
            count, step = floor(length * factor), 1 / factor
        if align_corners:
            step = (length - 1) / (count - 1) if count > 1 else 0.0
        nearest = mode == "nearest"
        found.append(_nearest(length, count, step) if nearest else _linear(length, count, step, bool(align_corners)))
    return found if len(found) == 2 else [[[(0, 1.0)]], *found]


def interpolate(x: Array, *args: Any, **kwargs: Any) -> Array:
    """y_rq = sum of a_ri b_qj x_ij, a and b the weights along the two axes."""
    rows, columns = _axes(x.shape, *args, **kwargs)
    images = x if x.ndim == 4 else x[:, :, None, :]
    y = np.zeros((*x.shape[:2], len(rows), len(columns)), x.dtype)
    for r, across in enumerate(rows):
        for q, along in enumerate(columns):
            for i, a in across:
                for j, b in along:
                    y[:, :, r, q] += a * b * images[:, :, i, j]
    return y if x.ndim == 4 else y[:, :, 0]


def hand_interpolate(g: Array, x: Array, *args: Any, **kwargs: Any) -> Gradients:
    """dy_rq/dx_ij = a_ri b_qj: each output gives its g to its pixels by their weights."""
    rows, columns = _axes(x.shape, *args, **kwargs)
    dx, g = np.zeros_like(x), g if x.ndim == 4 else g[:, :, None, :]
    images = dx if x.ndim == 4 else dx[:, :, None, :]
    for r, across in enumerate(rows):
        for q, along in enumerate(columns):
            for i, a in across:
                for j, b in along:
                    images[:, :, i, j] += a * b * g[:, :, r, q]
    return (dx,)
