"""Pooling: the greatest entry, or the mean, of the windows of an image.

Images are (N, C, H, W), those of the functions that end in 1d (N, C, L); one image without N is taken, too. Sizes are
one integer or one for each axis.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from tinygrad_hw.autograd import Function
from tinygrad_hw.backend import Array
from tinygrad_hw.functional.checks import integers
from tinygrad_hw.functional.elementwise import gate
from tinygrad_hw.functional.images import as_images, image_size, like, pair
from tinygrad_hw.functional.indexing import scatter
from tinygrad_hw.kernels import pooling as kernels
from tinygrad_hw.kernels.pooling import Windows
from tinygrad_hw.kernels.resampling import Taps, resample

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "avg_pool1d", "avg_pool2d", "max_pool1d", "max_pool2d",
]  # fmt: skip


class MaxPool(Function):
    """y = the greatest entry of each window; the first of equal ones takes the gradient."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Array, windows: Windows, axes: int) -> Array:
        images = as_images(x, axes)
        y, ctx.chosen = kernels.max_pool(images, windows)
        ctx.windows, ctx.axes, ctx.shape = windows, axes, images.shape
        return like(y, x, axes)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        windows, size, images = ctx.windows, ctx.shape[2:], as_images(grad, ctx.axes)
        if ctx.recording:
            key, inside = kernels.positions(ctx.chosen, windows, size)
            return like(scatter(gate(images, inside), ctx.shape, key), grad, ctx.axes)
        return like(kernels.scatter(images, ctx.chosen, windows, size), grad, ctx.axes)


class Resample(Function):
    """y[n, c] = R x[n, c] Cᵀ, R and C sparse: means of windows, or interpolation. x̄ = Rᵀ ȳ C, again such a map."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Array, rows: Taps, columns: Taps, axes: int) -> Array:
        ctx.rows, ctx.columns, ctx.axes = rows, columns, axes
        return like(resample(as_images(x, axes), rows, columns), x, axes)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return Resample.apply(grad, ctx.rows.transposed, ctx.columns.transposed, ctx.axes)


# ---------------------------------------------------------------------------------------------------------- arguments


def _windows(
    name: str, x: Any, axes: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> Windows:
    """The windows on images ``x``; raises where the arguments do not fit each other or the images."""
    image_size(name, x, axes)
    kernel = integers(name, "kernel_size", kernel_size, axes, 1)
    steps = kernel if stride is None else integers(name, "stride", stride, axes, 1)
    frame = integers(name, "padding", padding, axes, 0)
    spread = integers(name, "dilation", dilation, axes, 1)
    sizes = []
    for size, k, s, p, d in zip(x.shape[-axes:], kernel, steps, frame, spread, strict=True):
        reach = d * (k - 1) + 1
        if p > reach // 2:
            raise ValueError(f"{name}: padding must be at most half of the kernel's reach {reach}, got {p}")
        rest = size + 2 * p - reach
        if rest < 0:
            raise ValueError(
                f"{name}: a kernel that reaches over {reach} pixels is larger than {size} pixels with padding {p}"
            )
        count = (rest + (s - 1 if ceil_mode else 0)) // s + 1
        sizes.append(count - 1 if ceil_mode and (count - 1) * s >= size + p else count)
    return Windows(pair(kernel, 1), pair(steps, 1), pair(frame, 0), pair(spread, 1), pair(tuple(sizes), 1))


@lru_cache(maxsize=256)
def _means(
    size: int, count: int, kernel: int, stride: int, padding: int, count_include_pad: bool, divisor: int | None
) -> Taps:
    """The means of ``count`` windows along an axis; those that reach beyond the padding are the shorter for it."""
    rows = []
    for start in range(-padding, count * stride - padding, stride):
        first, last = max(start, 0), min(start + kernel, size)
        entries = min(start + kernel, size + padding) - start if count_include_pad else last - first
        rows.append([(source, 1 / (divisor or entries)) for source in range(first, last)])
    return Taps(rows, size)


@lru_cache(maxsize=256)
def _adaptive_means(size: int, count: int) -> Taps:
    """The means of ``count`` windows that share an axis evenly, overlapping where they must."""
    bounds = [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
    return Taps([[(source, 1 / (last - first)) for source in range(first, last)] for first, last in bounds], size)


# --------------------------------------------------------------------------------------------------- public functions


def _max_pool(name: str, x: Any, axes: int, *arguments: Any) -> Any:
    return MaxPool.apply(x, _windows(name, x, axes, *arguments), axes)


def max_pool1d(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    """:func:`max_pool2d` of sequences (N, C, L)."""
    return _max_pool("max_pool1d", x, 1, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool2d(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    """The greatest entry of each window: y[r, q] = max over i, j of x[r S - P + i D, q S - P + j D].

    Shapes: (N, C, H, W) → (N, C, OH, OW) with OH = ⌊(H + 2 P - D (K - 1) - 1) / S⌋ + 1. Where entries are equal, the
    first takes the gradient, row by row; NaN is greater than any number.

    Args:
        x: floating.
        kernel_size: K, of the windows.
        stride: S, from window to window; default: the kernel's size.
        padding: P, pixels on each side that are never the greatest; at most half of the kernel's reach D (K - 1) + 1.
        dilation: D, from entry to entry of a window.
        ceil_mode: round OH up, for windows that reach beyond the padded image; they start within it.

    Raises:
        TypeError: for an ``x`` that is not floating, or sizes that are not integers.
        ValueError: for sizes that do not fit each other, and a kernel larger than the padded image.
    """
    return _max_pool("max_pool2d", x, 2, kernel_size, stride, padding, dilation, ceil_mode)


def _avg_pool(
    name: str,
    x: Any,
    axes: int,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int | None = None,
) -> Any:
    windows = _windows(name, x, axes, kernel_size, stride, padding, 1, ceil_mode)
    if divisor is not None:
        (divisor,) = integers(name, "divisor_override", divisor, 1, 1)
    rows, columns = (
        _means(size, count, k, s, p, bool(count_include_pad), each)
        for size, count, k, s, p, each in zip(
            image_size(name, x, axes),
            windows.size,
            windows.kernel,
            windows.stride,
            windows.padding,
            (divisor and 1, divisor),
            strict=True,
        )
    )
    return Resample.apply(x, rows, columns, axes)


def avg_pool1d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Any:
    """:func:`avg_pool2d` of sequences (N, C, L)."""
    return _avg_pool("avg_pool1d", x, 1, kernel_size, stride, padding, ceil_mode, count_include_pad)


def avg_pool2d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """The mean of each window; shapes, other arguments and errors as :func:`max_pool2d`.

    Args:
        count_include_pad: whether pixels of the padding count, as zeros.
        divisor_override: divide each sum by this number, whatever the window's size.
    """
    return _avg_pool("avg_pool2d", x, 2, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _adaptive_avg_pool(name: str, x: Any, axes: int, output_size: Any) -> Any:
    sizes = image_size(name, x, axes)
    given = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * axes
    if len(given) != axes:
        raise ValueError(f"{name}: expected an output size for each of {axes} axes, got {output_size!r}")
    counts = tuple(
        size if count is None else integers(name, "output_size", count, 1, 1)[0]
        for size, count in zip(sizes[-axes:], given, strict=True)
    )
    taps = (_adaptive_means(size, count) for size, count in zip(sizes, pair(counts, 1), strict=True))
    return Resample.apply(x, *taps, axes)


def adaptive_avg_pool1d(x: Any, output_size: Any) -> Any:
    """:func:`adaptive_avg_pool2d` of sequences (N, C, L)."""
    return _adaptive_avg_pool("adaptive_avg_pool1d", x, 1, output_size)


def adaptive_avg_pool2d(x: Any, output_size: Any) -> Any:
    """The means of as many windows as ``output_size`` says, which share the image evenly.

    Shapes: (N, C, H, W) → (N, C, OH, OW). Window i of n along an axis of size L goes from ⌊i L / n⌋ to ⌈(i + 1) L / n⌉;
    1 is the mean of the whole image (global pooling). None keeps an axis as it is. Errors as :func:`max_pool2d`.
    """
    return _adaptive_avg_pool("adaptive_avg_pool2d", x, 2, output_size)
