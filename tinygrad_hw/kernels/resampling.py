"""Images whose pixels are weighted sums of another's, separately along each axis: average pooling and interpolation.

Along one axis such a map is a matrix with few entries in each row (:class:`Taps`), and its adjoint is the transposed
matrix: another such map. So both directions gather, no two results share a place, and the map is closed under
differentiation.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from tinygrad_hw.backend import Array, array_module
from tinygrad_hw.kernels.images import batch_innermost, images_first
from tinygrad_hw.kernels.pooling import cpu_pooling

Level = tuple[np.ndarray | None, np.ndarray, np.ndarray]


class Taps:
    """A sparse matrix (outputs, sources), by rows.

    Args:
        rows: for each output the sources that it is made of, with their weights.
        sources: how many there are.

    Attributes:
        starts, index, weight: row i has the entries ``starts[i]`` to ``starts[i + 1] - 1`` of the other two.
    """

    def __init__(self, rows: Sequence[Sequence[tuple[int, float]]], sources: int) -> None:
        self.outputs, self.sources = len(rows), sources
        self.starts = np.cumsum([0, *map(len, rows)])
        self.index = np.array([source for row in rows for source, _ in row], np.int64)
        self.weight = np.array([weight for row in rows for _, weight in row], np.float64)

    @cached_property
    def transposed(self) -> Taps:
        """The adjoint map; its own transpose is this one."""
        rows: list[list[tuple[int, float]]] = [[] for _ in range(self.sources)]
        for output in range(self.outputs):
            for place in range(self.starts[output], self.starts[output + 1]):
                rows[self.index[place]].append((output, self.weight[place]))
        found = Taps(rows, self.outputs)
        found.__dict__["transposed"] = self
        return found

    @cached_property
    def levels(self) -> list[Level]:
        """The first entries of all rows, the second ones, ...: which rows have one (None: all), sources, weights."""
        counts = np.diff(self.starts)
        found: list[Level] = []
        for level in range(counts.max(initial=0)):
            chosen = np.flatnonzero(counts > level)
            places = self.starts[chosen] + level
            found.append((None if len(chosen) == self.outputs else chosen, self.index[places], self.weight[places]))
        return found

    @cached_property
    def words(self) -> np.ndarray:
        """``starts`` and ``index``, for compiled loops."""
        return np.concatenate([self.starts, self.index])

    @cached_property
    def weight32(self) -> np.ndarray:
        """``weight`` in float32."""
        return self.weight.astype(np.float32)

    @cached_property
    def identity(self) -> bool:
        """Whether every output is the source of the same number."""
        same = self.outputs == self.sources == len(self.index)
        return same and bool((self.index == np.arange(self.sources)).all() and (self.weight == 1).all())

    def __repr__(self) -> str:
        return f"Taps({self.sources} to {self.outputs})"


def resample(x: Array, rows: Taps, columns: Taps) -> Array:
    """y[n, c] = R x[n, c] Cᵀ: x (N, C, H, W) → (N, C, ``rows.outputs``, ``columns.outputs``)."""
    larger = max(rows.outputs, rows.sources), max(columns.outputs, columns.sources)
    module = cpu_pooling(x, larger)
    if module is None:
        return generic_resample(x, rows, columns)
    return images_first(module.resample(batch_innermost(x), rows, columns))


def generic_resample(x: Array, rows: Taps, columns: Taps) -> Array:
    """:func:`resample` by NumPy or CuPy: first along each row, then along each column."""
    across = x.copy() if columns.identity else _along(x, columns, 3)
    return across if rows.identity else _along(across, rows, 2)


def _along(x: Array, taps: Taps, axis: int) -> Array:
    xp = array_module(x)
    out = xp.zeros_like(x, shape=(*x.shape[:axis], taps.outputs, *x.shape[axis + 1 :]))
    lead = (slice(None),) * axis
    for chosen, index, weight in taps.levels:
        part = x.take(xp.asarray(index), axis=axis)
        part *= xp.asarray(weight.astype(x.dtype)).reshape((-1,) + (1,) * (3 - axis))
        if chosen is None:
            out += part
        else:
            out[(*lead, xp.asarray(chosen))] += part
    return out
