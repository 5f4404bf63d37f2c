"""Cross-correlation of images and its two adjoints on plain arrays; the choice between a CPU kernel and NumPy or CuPy.

With S the stride, D the dilation and P the padding before the image,

    y[n, o, r, q] = b[o] + sum over c, i, j of w[o, c, i, j] x[n, c, r S - P + i D, q S - P + j D],

x being zero outside, and c running over the channels of o's group. It is linear in x and in w:
:func:`correlate_by_input` and :func:`correlate_by_weight` are the transposes of those two linear maps, hence its
gradients.

The generic path lays out, for a block of outputs, the entries of x that each of them needs as a column (Chellapilla et
al., "High performance convolutional neural networks for document processing", 2006), and multiplies. The blocks bound
the memory that this takes. Arrays of any strides are taken; those returned have the batch innermost in memory, so that
the entries of a column's neighbour are its own neighbours.

``stride``, ``dilation``, ``size`` and ``kernel_size`` are pairs (height, width), ``padding`` is ((top, bottom), (left,
right)); what is after the image may be negative, which leaves out the last rows. Nothing is checked here: see
:mod:`tinygrad_hw.functional.convolution`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_hw.backend import Array, array_module
from tinygrad_hw.kernels import cpu_module
from tinygrad_hw.kernels.images import Pair, batch_innermost, images_first, on_image

Padding = tuple[Pair, Pair]

_BLOCK = 2**22, 2**26  # entries of the columns laid out at once, on the CPU and elsewhere
_LEAST_BATCH = 8  # images: with fewer, most lanes of the vectors would be empty
_LEAST = 2**15  # multiply-adds: below, calling takes the time
_IMAGES = 32  # of a block at least, if there are: what is copied from one place is that long at least


def _fast(images: Array, *others: Array, work: int) -> Any:
    """The module of CPU kernels where these arrays are for it; None where they are not.

    ``work`` is how often an output of one channel and its weights meet, in all.
    """
    if any(type(array) is not np.ndarray or array.dtype != np.float32 for array in (images, *others)):
        return None
    return cpu_module("cpu_convolution") if len(images) >= _LEAST_BATCH and work >= _LEAST else None


def correlate(
    x: Array, weight: Array, bias: Array | None, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Array:
    """x (N, C, H, W), weight (O, C / groups, KH, KW), bias (O,) or None → (N, O, OH, OW)."""
    height, width = output_size(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    module = _fast(x, weight, *() if bias is None else (bias,), work=len(x) * height * width * weight.size)
    out = module and module.correlate(x, weight, bias, stride, padding, dilation, groups)
    return generic_correlate(x, weight, bias, stride, padding, dilation, groups) if out is None else out


def correlate_by_input(
    grad: Array, weight: Array, size: Pair, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Array:
    """grad (N, O, OH, OW), weight (O, C / groups, KH, KW), ``size`` (H, W) → (N, C, H, W)."""
    module = _fast(grad, weight, work=len(grad) * grad.shape[2] * grad.shape[3] * weight.size)
    out = module and module.correlate_by_input(grad, weight, size, stride, padding, dilation, groups)
    return generic_correlate_by_input(grad, weight, size, stride, padding, dilation, groups) if out is None else out


def correlate_by_weight(
    grad: Array, x: Array, kernel_size: Pair, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Array:
    """grad (N, O, OH, OW), x (N, C, H, W), ``kernel_size`` (KH, KW) → (O, C / groups, KH, KW)."""
    module = _fast(grad, x, work=grad.size * (x.shape[1] // groups) * kernel_size[0] * kernel_size[1])
    out = module and module.correlate_by_weight(grad, x, kernel_size, stride, padding, dilation, groups)
    return generic_correlate_by_weight(grad, x, kernel_size, stride, padding, dilation, groups) if out is None else out


# --------------------------------------------------------------------------------------------------- the generic path


def output_size(size: Pair, kernel_size: Pair, stride: Pair, padding: Padding, dilation: Pair) -> Pair:
    """How many places the kernel takes along each axis; zero or less where it is larger than the padded image."""
    height, width = (
        (size[k] + sum(padding[k]) - dilation[k] * (kernel_size[k] - 1) - 1) // stride[k] + 1 for k in (0, 1)
    )
    return height, width


def generic_correlate(
    x: Array, weight: Array, bias: Array | None, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Array:
    """:func:`correlate` by columns and matrix products."""
    xp, kernel = array_module(x), weight.shape[2:]
    height, width = output_size(x.shape[2:], kernel, stride, padding, dilation)
    out = xp.empty((weight.shape[0], height, width, x.shape[0]), x.dtype)
    matrices, images = weight.reshape(groups, weight.shape[0] // groups, -1), batch_innermost(x)
    for rows, batch in _blocks(xp, weight.shape[2] * weight.shape[3] * x.shape[1], out.shape):
        columns = _lay_out(images, kernel, stride, padding, dilation, rows, width, batch)
        product = matrices @ columns.reshape(groups, matrices.shape[2], -1)
        del columns  # before the next ones are laid out
        out[:, rows, :, batch] = product.reshape(out.shape[0], rows.stop - rows.start, width, -1)
    if bias is not None:
        out += bias.reshape(-1, 1, 1, 1)
    return images_first(out)


def generic_correlate_by_input(
    grad: Array, weight: Array, size: Pair, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Array:
    """:func:`correlate_by_input` by matrix products and columns added up."""
    xp, kernel = array_module(grad), weight.shape[2:]
    channels = groups * weight.shape[1]
    out = xp.zeros((channels, *size, grad.shape[0]), grad.dtype)
    matrices = weight.reshape(groups, weight.shape[0] // groups, -1).transpose(0, 2, 1)
    grad = batch_innermost(grad)
    width = grad.shape[2]
    for rows, batch in _blocks(xp, kernel[0] * kernel[1] * channels, grad.shape):
        part = grad[:, rows, :, batch].reshape(groups, matrices.shape[2], -1)
        shape = channels, *kernel, rows.stop - rows.start, width, -1
        _add_up((matrices @ part).reshape(shape), out, stride, padding, dilation, rows, batch)
    return images_first(out)


def generic_correlate_by_weight(
    grad: Array, x: Array, kernel_size: Pair, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Array:
    """:func:`correlate_by_weight` by columns and matrix products."""
    xp = array_module(grad)
    inputs = x.shape[1] // groups * kernel_size[0] * kernel_size[1]
    out = xp.zeros((groups, grad.shape[1] // groups, inputs), grad.dtype)
    grad, images = batch_innermost(grad), batch_innermost(x)
    for rows, batch in _blocks(xp, inputs * groups, grad.shape):
        part = grad[:, rows, :, batch].reshape(groups, out.shape[1], -1)
        shape, width = (groups, inputs, -1), grad.shape[2]
        columns = _lay_out(images, kernel_size, stride, padding, dilation, rows, width, batch).reshape(shape)
        out += part @ columns.transpose(0, 2, 1)
        del columns
    return out.reshape(grad.shape[0], -1, *kernel_size)


def unfold(x: Array, kernel_size: Pair, stride: Pair, padding: Padding, dilation: Pair) -> Array:
    """All columns of x (N, C, H, W) at once: (N, C KH KW, OH OW)."""
    height, width = output_size(x.shape[2:], kernel_size, stride, padding, dilation)
    whole = slice(0, height), width, slice(0, x.shape[0])
    columns = _lay_out(batch_innermost(x), kernel_size, stride, padding, dilation, *whole)
    area = kernel_size[0] * kernel_size[1]
    return columns.reshape(x.shape[1] * area, height * width, x.shape[0]).transpose(2, 0, 1)


def fold(columns: Array, size: Pair, kernel_size: Pair, stride: Pair, padding: Padding, dilation: Pair) -> Array:
    """The transpose of :func:`unfold`: (N, C KH KW, OH OW) → (N, C, H, W), with ``size`` (H, W)."""
    height, width = output_size(size, kernel_size, stride, padding, dilation)
    batch, channels = columns.shape[0], columns.shape[1] // (kernel_size[0] * kernel_size[1])
    out = array_module(columns).zeros((channels, *size, batch), columns.dtype)
    columns = columns.transpose(1, 2, 0).reshape(channels, *kernel_size, height, width, batch)
    _add_up(columns, out, stride, padding, dilation, slice(0, height), slice(0, batch))
    return images_first(out)


def _blocks(xp: Any, column: int, shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Rows and images of outputs (O, OH, OW, N), whose columns of ``column`` entries are then laid out at once."""
    _, height, width, batch = shape
    most = max(1, _BLOCK[xp is not np] // max(1, column * width))  # images and rows of a block
    images = max(1, min(batch, max(_IMAGES, most // height)))
    rows = max(1, most // images)
    for start in range(0, batch, images):
        for row in range(0, height, rows):
            yield slice(row, min(row + rows, height)), slice(start, min(start + images, batch))


def _lay_out(
    x: Array, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair, rows: slice, width: int, batch: slice
) -> Array:
    """The columns (C, KH, KW, rows, width, images) of x (C, H, W, N)."""
    xp = array_module(x)
    make = xp.zeros if max(map(max, padding)) > 0 else xp.empty
    shape = x.shape[0], *kernel, rows.stop - rows.start, width, batch.stop - batch.start
    columns = make(shape, x.dtype)
    before, among = (padding[0][0], padding[1][0]), (rows, slice(0, width))
    for i, j, there, here in on_image(kernel, stride, before, dilation, x.shape[1:3], among):
        columns[:, i, j, *there] = x[:, *here, batch]
    return columns


def _add_up(
    columns: Array, x: Array, stride: Pair, padding: Padding, dilation: Pair, rows: slice, batch: slice
) -> None:
    """The transpose of :func:`_lay_out`: each entry of a column is added to the entry of x that it came from."""
    before, among = (padding[0][0], padding[1][0]), (rows, slice(0, columns.shape[4]))
    for i, j, there, here in on_image(columns.shape[1:3], stride, before, dilation, x.shape[1:3], among):
        x[:, *here, batch] += columns[:, i, j, *there]
