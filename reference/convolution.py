"""Convolution by direct loops and by Toeplitz matrices: value and derivative by hand, on plain arrays.

Arguments are PyTorch's; images are (N, C, H, W) or (C, H, W), and for the functions that end in 1d sequences (N, C, L)
or (C, L). Two derivations that share nothing but the sizes:

- By loops over the places of the kernel: the image is copied into a frame of zeros, and each place sees a patch of it.
  y = <w, patch> + b, so the patch's gradient is g w, the kernel's g patch, the bias' g.
- By a matrix T with y = T x for images as columns of pixels: T[(o, r, q), (c, h, v)] = w[o, c, i, j] wherever entry
  (i, j) lies on pixel (h, v) at place (r, q). Along one axis it is a Toeplitz matrix, equal along its diagonals; along
  two it is one of Toeplitz blocks (Jain 1989, "Fundamentals of digital image processing", section 2.8). The gradient
  of x is T^T g, and the transposed convolution is T^T itself. The gradient of T is g x^T, and of w the sum of that over
  all places where T holds w.

Values accept complex input. ``g`` is the gradient of the value; every ``hand_`` function returns one gradient for each
array argument, in order.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from reference.elementwise import Gradients
from tinygrad_hw.backend import Array, array_module

Pair = tuple[int, int]
Frame = tuple[Pair, Pair]  # zeros before and after each axis


def _two(size: Any) -> Pair:
    """A size of images as a pair."""
    return (size, size) if isinstance(size, int) else (size[0], size[-1])


def frame_of(padding: Any, kernel: Pair, dilation: Pair) -> Frame:
    """Zeros before and after each axis; "same" divides D (K - 1) of them, the larger half after."""
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "same":
        height, width = (d * (k - 1) for k, d in zip(kernel, dilation, strict=True))
        return (height // 2, (height + 1) // 2), (width // 2, (width + 1) // 2)
    height, width = _two(padding)
    return (height, height), (width, width)


# --------------------------------------------------------------------------------------------------------- direct loops


class _Loops:
    """The places of a kernel on images of some size, and what each of them sees."""

    def __init__(
        self, size: Pair, kernel: Pair, stride: Any, padding: Any, dilation: Any, groups: int = 1, outputs: int = 1
    ) -> None:
        self.size, self.kernel, self.stride, self.dilation = size, kernel, _two(stride), _two(dilation)
        self.frame = frame_of(padding, kernel, self.dilation)
        self.groups, self.outputs = groups, outputs
        self.places = tuple(
            len(range(0, size[k] + sum(self.frame[k]) - self.dilation[k] * (kernel[k] - 1), self.stride[k]))
            for k in (0, 1)
        )

    def framed(self, x: Array, dtype: Any) -> Array:
        """x (N, C, H, W) within its frame of zeros."""
        (top, bottom), (left, right) = self.frame
        shape = (*x.shape[:2], self.size[0] + top + bottom, self.size[1] + left + right)
        out = array_module(x).zeros(shape, dtype)
        self.inside(out)[...] = x
        return out

    def inside(self, framed: Array) -> Array:
        """The image within a frame."""
        (top, _), (left, _) = self.frame
        return framed[:, :, top : top + self.size[0], left : left + self.size[1]]

    def __iter__(self) -> Iterator[tuple[int, int, slice, slice, tuple[slice, slice]]]:
        """Places (r, q) for each group, whose outputs, its inputs, and the pixels of a framed image that are seen."""
        for r in range(self.places[0]):
            for q in range(self.places[1]):
                starts = r * self.stride[0], q * self.stride[1]
                rows, columns = (
                    slice(start, start + d * (k - 1) + 1, d)
                    for start, k, d in zip(starts, self.kernel, self.dilation, strict=True)
                )
                for group in range(self.groups):
                    out = slice(group * self.outputs, (group + 1) * self.outputs)
                    yield r, q, out, slice(group, group + 1), (rows, columns)


def _channels(group: slice, weight: Array) -> slice:
    """The input channels of a group: weight is (out, in / groups, KH, KW)."""
    return slice(group.start * weight.shape[1], group.stop * weight.shape[1])


def conv2d(
    input: Array, weight: Array, bias: Array | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Array:  # fmt: skip
    """y[n, o, r, q] = b[o] + sum over c, i, j of w[o, c, i, j] x[n, c, r S - P + i D, q S - P + j D]."""
    if input.ndim == 3:
        return conv2d(input[None], weight, bias, stride, padding, dilation, groups)[0]
    xp = array_module(input)
    loops = _Loops(input.shape[2:], weight.shape[2:], stride, padding, dilation, groups, len(weight) // groups)
    dtype = xp.result_type(*(a for a in (input, weight, bias) if a is not None))
    framed, y = loops.framed(input, dtype), xp.zeros((len(input), len(weight), *loops.places), dtype)
    for r, q, out, group, seen in loops:
        patch = framed[:, _channels(group, weight), seen[0], seen[1]]
        y[:, out, r, q] = (patch[:, None] * weight[out]).sum(axis=(2, 3, 4))
    return y if bias is None else y + bias[:, None, None]


def hand_conv2d(
    g: Array, input: Array, weight: Array, bias: Array | None = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Gradients:  # fmt: skip
    """Of each place: the patch gets sum_o g_o w_o, kernel o gets sum_n g_no patch_n, bias o gets sum_n g_no."""
    if input.ndim == 3:
        dx, *rest = hand_conv2d(g[None], input[None], weight, bias, stride, padding, dilation, groups)
        return dx[0], *rest
    xp = array_module(g)
    loops = _Loops(input.shape[2:], weight.shape[2:], stride, padding, dilation, groups, len(weight) // groups)
    framed, d_weight = loops.framed(input, g.dtype), xp.zeros_like(weight)
    d_framed = xp.zeros_like(framed)
    for r, q, out, group, seen in loops:
        channels, here = _channels(group, weight), g[:, out, r, q][:, :, None, None, None]
        d_framed[:, channels, seen[0], seen[1]] += (here * weight[out]).sum(axis=1)
        d_weight[out] += (here * framed[:, None, channels, seen[0], seen[1]]).sum(axis=0)
    grads = loops.inside(d_framed), d_weight
    return grads if bias is None else (*grads, g.sum(axis=(0, 2, 3)))


def unfold(input: Array, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Array:
    """Each place's patch as a column: (N, C, H, W) -> (N, C KH KW, places)."""
    if input.ndim == 3:
        return unfold(input[None], kernel_size, dilation, padding, stride)[0]
    loops = _Loops(input.shape[2:], _two(kernel_size), stride, padding, dilation)
    framed = loops.framed(input, input.dtype)
    rows = input.shape[1] * loops.kernel[0] * loops.kernel[1]
    columns = array_module(input).zeros((len(input), rows, *loops.places), input.dtype)
    for r, q, _, _, seen in loops:
        columns[:, :, r, q] = framed[:, :, seen[0], seen[1]].reshape(len(input), rows)
    return columns.reshape(len(input), rows, loops.places[0] * loops.places[1])


def fold(
    input: Array, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Array:
    """Each column added to the patch of its place: (N, C KH KW, places) -> (N, C, H, W)."""
    if input.ndim == 2:
        return fold(input[None], output_size, kernel_size, dilation, padding, stride)[0]
    loops = _Loops(_two(output_size), _two(kernel_size), stride, padding, dilation)
    channels = input.shape[1] // (loops.kernel[0] * loops.kernel[1])
    framed = loops.framed(array_module(input).zeros((len(input), channels, *loops.size), input.dtype), input.dtype)
    for r, q, _, _, seen in loops:
        column = input[:, :, r * loops.places[1] + q]
        framed[:, :, seen[0], seen[1]] += column.reshape(len(input), channels, *loops.kernel)
    return loops.inside(framed)


def hand_unfold(
    g: Array, input: Array, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Gradients:
    """A pixel gets the sum of the gradients of its copies, one in each column that it is in."""
    return (fold(g, input.shape[-2:], kernel_size, dilation, padding, stride),)


def hand_fold(
    g: Array, input: Array, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Gradients:
    """Each entry of a column went to one pixel, whose gradient it gets."""
    return (unfold(g, kernel_size, dilation, padding, stride),)


# ---------------------------------------------------------------------------------------------------- Toeplitz matrices


def places_of(size: Pair, kernel: Pair, stride: Pair, frame: Frame, dilation: Pair) -> Pair:
    """How often the kernel, moved by the stride, fits into the framed image."""
    rows, columns = ((size[k] + sum(frame[k]) - (dilation[k] * (kernel[k] - 1) + 1)) // stride[k] + 1 for k in (0, 1))
    return rows, columns


def _meetings(
    shape: tuple[int, ...], size: Pair, stride: Pair, frame: Frame, dilation: Pair, groups: int
) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """Where a matrix (O, OH, OW, C, H, W) holds kernels of ``shape``, and which entries of them."""
    kernel, outputs = (shape[2], shape[3]), shape[0] // groups
    for r, q, i, j in np.ndindex(*places_of(size, kernel, stride, frame, dilation), *kernel):
        h, v = r * stride[0] - frame[0][0] + i * dilation[0], q * stride[1] - frame[1][0] + j * dilation[1]
        if 0 <= h < size[0] and 0 <= v < size[1]:
            for group in range(groups):
                out = slice(group * outputs, (group + 1) * outputs)
                channels = slice(group * shape[1], (group + 1) * shape[1])
                yield (out, r, q, channels, h, v), (out, slice(None), i, j)


def toeplitz(weight: Array, size: Pair, stride: Pair, frame: Frame, dilation: Pair, groups: int = 1) -> Array:
    """T with y = T x: (O OH OW, C H W) of ``weight`` (O, C / groups, KH, KW) for images of ``size`` (H, W)."""
    places = places_of(size, weight.shape[2:], stride, frame, dilation)
    matrix = array_module(weight).zeros((len(weight), *places, weight.shape[1] * groups, *size), weight.dtype)
    for place, entries in _meetings(weight.shape, size, stride, frame, dilation, groups):
        matrix[place] = weight[entries]
    return matrix.reshape(len(weight) * places[0] * places[1], weight.shape[1] * groups * size[0] * size[1])


def hand_toeplitz(
    g: Array, weight: Array, size: Pair, stride: Pair, frame: Frame, dilation: Pair, groups: int = 1
) -> Gradients:
    """Each weight gets the gradients of all the places of T where it stands."""
    places = places_of(size, weight.shape[2:], stride, frame, dilation)
    matrix = g.reshape(len(weight), *places, weight.shape[1] * groups, *size)
    d_weight = array_module(g).zeros_like(weight)
    for place, entries in _meetings(weight.shape, size, stride, frame, dilation, groups):
        d_weight[entries] += matrix[place]
    return (d_weight,)


def _vectors(x: Array) -> Array:
    """Images as rows of their entries."""
    return x.reshape(len(x), x.shape[1] * x.shape[2] * x.shape[3])


def conv2d_by_toeplitz(
    input: Array, weight: Array, bias: Array | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Array:  # fmt: skip
    """:func:`conv2d` as a product with T; ``input`` (N, C, H, W)."""
    kernel, steps, spread = weight.shape[2:], _two(stride), _two(dilation)
    frame = frame_of(padding, kernel, spread)
    t = toeplitz(weight, input.shape[2:], steps, frame, spread, groups)
    y = (_vectors(input) @ t.T).reshape(
        len(input), len(weight), *places_of(input.shape[2:], kernel, steps, frame, spread)
    )
    return y if bias is None else y + bias[:, None, None]


def hand_conv2d_by_toeplitz(
    g: Array, input: Array, weight: Array, bias: Array | None = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Gradients:  # fmt: skip
    """y = T x + b: dx = T^T g, dT = g x^T, db = sum of g over images and pixels."""
    steps, spread = _two(stride), _two(dilation)
    place = input.shape[2:], steps, frame_of(padding, weight.shape[2:], spread), spread, groups
    d_input = (_vectors(g) @ toeplitz(weight, *place)).reshape(input.shape)
    grads = d_input, *hand_toeplitz(_vectors(g).T @ _vectors(input), weight, *place)
    return grads if bias is None else (*grads, g.sum(axis=(0, 2, 3)))


def _transposed(
    shape: tuple[int, ...], kernel: Pair, stride: Any, padding: Any, output_padding: Any, dilation: Any
) -> tuple[Pair, Pair, Frame, Pair]:
    """Size, stride, frame and dilation of the correlation that takes the output back to the input's size."""
    steps, edge, more, spread = _two(stride), _two(padding), _two(output_padding), _two(dilation)
    height, width = (
        (shape[2 + k] - 1) * steps[k] - 2 * edge[k] + spread[k] * (kernel[k] - 1) + 1 + more[k] for k in (0, 1)
    )
    frame = (edge[0], edge[0] - more[0]), (edge[1], edge[1] - more[1])
    return (height, width), steps, frame, spread


def conv_transpose2d(
    input: Array, weight: Array, bias: Array | None = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Array:  # fmt: skip
    """z = T^T y + b for images y of places: T correlates z's size with ``weight`` (C, O / groups, KH, KW)."""
    if input.ndim == 3:
        return conv_transpose2d(input[None], weight, bias, stride, padding, output_padding, groups, dilation)[0]
    place = _transposed(input.shape, weight.shape[2:], stride, padding, output_padding, dilation)
    z = _vectors(input) @ toeplitz(weight, *place, groups)
    z = z.reshape(len(input), weight.shape[1] * groups, *place[0])
    return z if bias is None else z + bias[:, None, None]


def hand_conv_transpose2d(
    g: Array, input: Array, weight: Array, bias: Array | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Gradients:  # fmt: skip
    """z = T^T y + b: dy = T g, dT = y g^T, db = sum of g over images and pixels."""
    if input.ndim == 3:
        sizes = stride, padding, output_padding, groups, dilation
        d_input, *rest = hand_conv_transpose2d(g[None], input[None], weight, bias, *sizes)
        return d_input[0], *rest
    place = *_transposed(input.shape, weight.shape[2:], stride, padding, output_padding, dilation), groups
    d_input = (_vectors(g) @ toeplitz(weight, *place).T).reshape(input.shape)
    grads = d_input, *hand_toeplitz(_vectors(input).T @ _vectors(g), weight, *place)
    return grads if bias is None else (*grads, g.sum(axis=(0, 2, 3)))


# ------------------------------------------------------------------------------------------ sequences, true convolution


def as_rows(function: Callable[..., Any], settings: Mapping[str, int], hand: bool = False) -> Callable[..., Any]:
    """``function`` of images, for sequences: images of one row. ``settings`` says what to take for the height.

    With ``hand``, ``function`` takes the gradient of the value first and gives the gradients of input and weight.
    """

    def of_rows(*args: Any, **kwargs: Any) -> Any:
        given = inspect.signature(function).bind(*args, **kwargs).arguments
        for name in ("g", "input", "weight"):
            if name in given:
                given[name] = given[name][..., None, :]
        for name, height in settings.items():
            if not isinstance(given.get(name, ""), str):
                value = given[name]
                given[name] = height, value if isinstance(value, int) else value[0]
        found = function(**given)
        if not hand:
            return found[..., 0, :]
        return tuple(d[..., 0, :] if number < 2 else d for number, d in enumerate(found))

    return of_rows


_SETTINGS = {"stride": 1, "dilation": 1, "padding": 0}
conv1d = as_rows(conv2d, _SETTINGS)
hand_conv1d = as_rows(hand_conv2d, _SETTINGS, hand=True)
conv_transpose1d = as_rows(conv_transpose2d, {**_SETTINGS, "output_padding": 0})
hand_conv_transpose1d = as_rows(hand_conv_transpose2d, {**_SETTINGS, "output_padding": 0}, hand=True)


def convolve2d(input: Array, weight: Array, *args: Any, **kwargs: Any) -> Array:
    """True convolution is correlation with the kernel turned by 180 degrees."""
    return conv2d(input, weight[:, :, ::-1, ::-1], *args, **kwargs)


def hand_convolve2d(g: Array, input: Array, weight: Array, *args: Any, **kwargs: Any) -> Gradients:
    """The gradient of the turned kernel, turned back."""
    d_input, d_turned, *rest = hand_conv2d(g, input, weight[:, :, ::-1, ::-1], *args, **kwargs)
    return d_input, d_turned[:, :, ::-1, ::-1], *rest


def convolve1d(input: Array, weight: Array, *args: Any, **kwargs: Any) -> Array:
    """True convolution is correlation with the kernel reversed."""
    return conv1d(input, weight[:, :, ::-1], *args, **kwargs)


def hand_convolve1d(g: Array, input: Array, weight: Array, *args: Any, **kwargs: Any) -> Gradients:
    """The gradient of the reversed kernel, reversed."""
    d_input, d_reversed, *rest = hand_conv1d(g, input, weight[:, :, ::-1], *args, **kwargs)
    return d_input, d_reversed[:, :, ::-1], *rest
