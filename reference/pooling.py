"""Pooling by direct loops over windows and their pixels: value and derivative by hand.

All functions work on the last two axes of an array with any axes before them. Sizes are one integer or a pair. Values
accept complex input: the greatest entry is the one with the greatest real part. ``g`` is the gradient of the value;
each ``hand_`` function returns a tuple of one gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import ceil, floor
from typing import Any

import numpy as np

from reference.elementwise import Gradients
from tinygrad_hw.backend import Array

Pixels = list[tuple[int, int]]
Window = tuple[int, int, Pixels, float]  # row and column of the result, its pixels, what their sum is divided by


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)


def _places(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> list[int]:
    """Where windows begin along an axis. Rounding up, only those that begin before the padding behind the axis."""
    reach = dilation * (kernel - 1) + 1
    steps = (size + 2 * padding - reach) / stride
    count = (ceil(steps) if ceil_mode else floor(steps)) + 1
    starts = [i * stride - padding for i in range(count)]
    return [start for start in starts if not ceil_mode or start < size]


def windows(
    shape: tuple[int, ...],
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Iterator[Window]:
    """The windows on images of that shape, and what :func:`avg_pool2d` divides their sums by."""
    (height, width), kernel, frame, spread = shape[-2:], _pair(kernel_size), _pair(padding), _pair(dilation)
    steps = _pair(kernel_size if stride is None else stride)
    rows, columns = (
        _places(size, kernel[k], steps[k], frame[k], spread[k], ceil_mode) for k, size in enumerate((height, width))
    )
    for r, top in enumerate(rows):
        for q, left in enumerate(columns):
            places = [(top + i * spread[0], left + j * spread[1]) for i in range(kernel[0]) for j in range(kernel[1])]
            pixels = [(y, x) for y, x in places if 0 <= y < height and 0 <= x < width]
            framed = [(y, x) for y, x in places if y < height + frame[0] and x < width + frame[1]]
            count = len(framed if count_include_pad else pixels)
            yield r, q, pixels, divisor_override or count


def adaptive_windows(shape: tuple[int, ...], output_size: Any) -> Iterator[Window]:
    """Windows that share the image: the i-th of n along L pixels from floor(i L / n) to ceil((i + 1) L / n)."""
    given = output_size if isinstance(output_size, tuple) else (output_size, output_size)
    (height, width), (rows, columns) = shape[-2:], (given[k] or shape[k - 2] for k in (0, 1))
    for r in range(rows):
        for q in range(columns):
            ys = range(floor(r * height / rows), ceil((r + 1) * height / rows))
            xs = range(floor(q * width / columns), ceil((q + 1) * width / columns))
            yield r, q, [(y, x) for y in ys for x in xs], len(ys) * len(xs)


def _pooled(x: Array, found: Iterator[Window], value: Callable[[list[Array], float], Array]) -> Array:
    """``value`` of each window's pixels, each pixel being an array over the axes before the image's."""
    results = {(r, q): value([x[..., i, j] for i, j in pixels], divisor) for r, q, pixels, divisor in found}
    rows, columns = (max(place[k] for place in results) + 1 for k in (0, 1))
    return np.stack([np.stack([results[r, q] for q in range(columns)], -1) for r in range(rows)], -2)


def _greatest(pixels: list[Array]) -> Array:
    """The number of the first pixel whose real part is greatest."""
    return np.stack([pixel.real for pixel in pixels]).argmax(axis=0)


def max_pool2d(x: Array, *args: Any, **kwargs: Any) -> Array:
    """y = the greatest pixel of each window; what lies outside the image takes no part."""

    def greatest(pixels: list[Array], divisor: float) -> Array:
        return np.take_along_axis(np.stack(pixels), _greatest(pixels)[None], 0)[0]

    return _pooled(x, windows(x.shape, *args, **kwargs), greatest)


def hand_max_pool2d(g: Array, x: Array, *args: Any, **kwargs: Any) -> Gradients:
    """dy_w/dx_p = 1 for the first of the greatest pixels p of window w, else 0: dx_p sums g over the windows it won."""
    dx = np.zeros_like(x)
    for r, q, pixels, _ in windows(x.shape, *args, **kwargs):
        winner = _greatest([x[..., i, j] for i, j in pixels])
        for number, (i, j) in enumerate(pixels):
            dx[..., i, j] += g[..., r, q] * (winner == number)
    return (dx,)


def _mean(pixels: list[Array], divisor: float) -> Array:
    return sum(pixels[1:], pixels[0]) / divisor


def _hand_mean(g: Array, x: Array, found: Iterator[Window]) -> Gradients:
    """dy_w/dx_p = 1/n_w for the pixels p of window w: dx_p = sum of g_w / n_w over the windows that p is in."""
    dx = np.zeros_like(x)
    for r, q, pixels, divisor in found:
        for i, j in pixels:
            dx[..., i, j] += g[..., r, q] / divisor
    return (dx,)


def avg_pool2d(x: Array, *args: Any, **kwargs: Any) -> Array:
    """y = the sum of each window's pixels over their number, or over that with the frame's, or over a given one."""
    return _pooled(x, windows(x.shape, *_with_dilation(args), **kwargs), _mean)


def hand_avg_pool2d(g: Array, x: Array, *args: Any, **kwargs: Any) -> Gradients:
    """Each window gives its g, divided as its sum was, to all of its pixels."""
    return _hand_mean(g, x, windows(x.shape, *_with_dilation(args), **kwargs))


def _with_dilation(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Positional arguments of an average's windows, which are not dilated."""
    return (*args[:3], 1, *args[3:]) if len(args) > 3 else args


def adaptive_avg_pool2d(x: Array, output_size: Any) -> Array:
    """y = the mean of each of the windows that share the image."""
    return _pooled(x, adaptive_windows(x.shape, output_size), _mean)


def hand_adaptive_avg_pool2d(g: Array, x: Array, output_size: Any) -> Gradients:
    """Each window gives its g, divided by its number of pixels, to all of them."""
    return _hand_mean(g, x, adaptive_windows(x.shape, output_size))


# ------------------------------------------------------------------------------------- sequences, as images of one row


def _flat(size: Any, one: int) -> Any:
    """A size of the last axis as one of both."""
    return None if size is None else (one, size if isinstance(size, int) else size[0])


def _of_rows(kwargs: dict[str, Any]) -> dict[str, Any]:
    ones = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1, "output_size": 1}
    return {name: _flat(value, ones[name]) if name in ones else value for name, value in kwargs.items()}


def of_sequences(function: Callable[..., Array]) -> Callable[..., Array]:
    """A value of images as one of sequences (..., L)."""
    return lambda x, **kwargs: function(x[..., None, :], **_of_rows(kwargs))[..., 0, :]


def hand_of_sequences(function: Callable[..., Gradients]) -> Callable[..., Gradients]:
    """A gradient of images as one of sequences (..., L)."""

    def hand(g: Array, x: Array, **kwargs: Any) -> Gradients:
        (dx,) = function(g[..., None, :], x[..., None, :], **_of_rows(kwargs))
        return (dx[..., 0, :],)

    return hand
