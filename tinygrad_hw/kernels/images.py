"""What the kernels of images have in common: how images lie in memory, and where a kernel is laid on them.

Compiled loops run over the images of a batch, which are neighbours in memory: (C, H, W, N). Whatever a kernel's size,
stride and padding are, the loop is the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinygrad_hw.backend import Array, array_module
from tinygrad_hw.kernels import cpu_module

Pair = tuple[int, int]  # of height and width
Spans = tuple[slice, slice]  # along them

FEWEST = 16  # images: fewer make no vector
LEAST = 2**15  # entries: below, loading Numba would take longer than it saves


def batch_innermost(x: Array) -> Array:
    """x (N, C, H, W) as (C, H, W, N) in one piece: itself where its memory is in that order, else a copy."""
    turned = x.transpose(1, 2, 3, 0)
    large = type(x) is np.ndarray and x.dtype == np.float32 and len(x) >= FEWEST // 2 and x.size >= LEAST
    if large and x.strides[0] != x.itemsize:
        passes = cpu_module("passes")  # transposes a large array several times as fast as NumPy
        if passes is not None:
            return passes.transpose(np.ascontiguousarray(x).reshape(len(x), -1)).reshape(turned.shape)
    return array_module(x).ascontiguousarray(turned)


def images_first(x: Array) -> Array:
    """x (C, H, W, N) seen as (N, C, H, W)."""
    return x.transpose(3, 0, 1, 2)


def span(offset: int, stride: int, size: int, among: slice) -> Spans | None:
    """Which of some outputs r have 0 <= r stride + offset < size, counted from the first, and those numbers.

    None where there is none.
    """
    first = max(among.start, -(offset // stride))
    last = min(among.stop, (size - 1 - offset) // stride + 1)
    if last <= first:
        return None
    return (
        slice(first - among.start, last - among.start),
        slice(first * stride + offset, (last - 1) * stride + offset + 1, stride),
    )


def on_image(
    kernel: Pair, stride: Pair, before: Pair, dilation: Pair, size: Pair, among: Spans
) -> Iterator[tuple[int, int, Spans, Spans]]:
    """For each entry (i, j) of a kernel those of some outputs where it lies on the image, and the pixels under it.

    Args:
        kernel, stride, dilation: of the kernel.
        before: the padding above and to the left.
        size: of the image.
        among: the outputs, by rows and columns; those returned are counted from the first.
    """
    rows, columns = (
        [span(tap * dilation[k] - before[k], stride[k], size[k], among[k]) for tap in range(kernel[k])] for k in (0, 1)
    )
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            if row is not None and column is not None:
                yield i, j, (row[0], column[0]), (row[1], column[1])
