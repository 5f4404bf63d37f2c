"""Max pooling on plain arrays: the greatest entry of each window, where it stands, and the way of the gradient there.

Which entry of its window was the greatest is kept as its number in the window, row by row: a byte where there are few.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from tinygrad_hw.backend import Array, array_module
from tinygrad_hw.kernels import cpu_module
from tinygrad_hw.kernels.images import FEWEST, LEAST, Pair, batch_innermost, images_first, on_image

Key = tuple[slice, ...]

_MOST = 2**8  # entries of a window: their numbers are kept in a byte


class Windows(NamedTuple):
    """Where a kernel is laid on an image: entry (i, j) of window (r, q) is pixel (r S - P + i D, q S - P + j D)."""

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    size: Pair  # how many windows there are along each axis


def cpu_pooling(x: Array, size: Pair) -> Any:
    """See :mod:`tinygrad_hw.kernels.cpu_pooling`; None without Numba and for images that it is not for.

    ``size`` is that of the images before pooling, whether ``x`` are these or those after it.
    """
    if type(x) is not np.ndarray or x.dtype != np.float32 or x.shape[0] < FEWEST:
        return None
    return cpu_module("cpu_pooling") if math.prod(x.shape[:2]) * math.prod(size) >= LEAST else None


def _axes(windows: Windows, size: Pair) -> Any:
    """The windows on images of that size, by axis."""
    return zip(*windows, size, strict=True)


def max_pool(x: Array, windows: Windows) -> tuple[Array, Array]:
    """x (N, C, H, W) → the greatest entry of each window and its number there, the first of equal ones; NaN wins."""
    module = cpu_pooling(x, x.shape[2:])
    if module is None or math.prod(windows.kernel) > _MOST:
        return generic_max_pool(x, windows)
    y, chosen = module.max_pool(batch_innermost(x), *_axes(windows, x.shape[2:]))
    return images_first(y), images_first(chosen)


def scatter(grad: Array, chosen: Array, windows: Windows, size: Pair) -> Array:
    """Zeros (N, C, ``size``) with ``grad`` (N, C, ``windows.size``) added where the chosen entries stand."""
    module = cpu_pooling(grad, size)
    if module is None or chosen.dtype != np.uint8:
        return generic_scatter(grad, chosen, windows, size)
    axes = _axes(windows, size)
    return images_first(module.scatter(batch_innermost(grad), batch_innermost(chosen), *axes))


def positions(chosen: Array, windows: Windows, size: Pair) -> tuple[tuple[Array, ...], Array]:
    """The indices, by axis, of the chosen entries in an array (N, C, ``size``), and which of them lie inside it.

    A window that lies in the padding as a whole has no entry inside; its indices are then some or other.
    """
    xp = array_module(chosen)
    numbers = chosen.astype(np.int64)
    found = [xp.arange(n).reshape((-1,) + (1,) * (3 - axis)) for axis, n in enumerate(chosen.shape[:2])]
    inside = xp.ones(chosen.shape, bool)
    for axis, taps in enumerate((numbers // windows.kernel[1], numbers % windows.kernel[1])):
        start = xp.arange(windows.size[axis]) * windows.stride[axis] - windows.padding[axis]
        place = start.reshape((-1,) + (1,) * (1 - axis)) + taps * windows.dilation[axis]
        inside &= (place >= 0) & (place < size[axis])
        found.append(place.clip(0, size[axis] - 1))
    return tuple(found), inside


# --------------------------------------------------------------------------------------------------- the generic path


def generic_max_pool(x: Array, windows: Windows) -> tuple[Array, Array]:
    """:func:`max_pool`, one entry of all windows at a time."""
    xp, shape = array_module(x), (*x.shape[:2], *windows.size)
    y = xp.full_like(x, -math.inf, shape=shape)
    chosen = xp.empty_like(x, dtype=np.min_scalar_type(math.prod(windows.kernel)), shape=shape)
    chosen[...] = xp.asarray(_first(windows))
    for number, here, there in _entries(windows, x.shape[2:]):
        entry, greatest = x[there], y[here]
        better = (entry > greatest) | (entry != entry)
        y[here] = xp.where(better, entry, greatest)
        chosen[here] = xp.where(better, chosen.dtype.type(number), chosen[here])
    return y, chosen


def generic_scatter(grad: Array, chosen: Array, windows: Windows, size: Pair) -> Array:
    """:func:`scatter`, one entry of all windows at a time."""
    xp = array_module(grad)
    out = xp.zeros_like(grad, shape=(*grad.shape[:2], *size))
    for number, here, there in _entries(windows, size):
        out[there] += xp.where(chosen[here] == number, grad[here], grad.dtype.type(0))
    return out


def _first(windows: Windows) -> np.ndarray:
    """The number of each window's first entry that does not lie in the padding before the image."""
    rows, columns = (
        np.maximum(0, -(-(padding - np.arange(size) * stride) // dilation))
        for _, stride, padding, dilation, size in zip(*windows, strict=True)
    )
    return rows[:, None] * windows.kernel[1] + columns


def _entries(windows: Windows, size: Pair) -> Iterator[tuple[int, Key, Key]]:
    """Each entry's number, the windows where it lies on an image of that size, and the pixels under it."""
    all_windows = slice(0, windows.size[0]), slice(0, windows.size[1])
    for i, j, here, there in on_image(*windows[:4], size, all_windows):
        yield i * windows.kernel[1] + j, (slice(None), slice(None), *here), (slice(None), slice(None), *there)
