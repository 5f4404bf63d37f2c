"""Convolution: cross-correlation with learned kernels and its transpose, true convolution, unfold and fold.

Images are (N, C, H, W), those of the functions that end in 1d (N, C, L); one image without N is taken, too. Sizes are
one integer or one for each axis. Arguments, shapes and defaults are PyTorch's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tinygrad_hw.autograd import Function
from tinygrad_hw.backend import Array
from tinygrad_hw.functional.checks import check_floating, integers
from tinygrad_hw.functional.images import Sizes, checked_images, like, pair
from tinygrad_hw.functional.shape import flip, reshape
from tinygrad_hw.kernels import convolution as kernels
from tinygrad_hw.kernels.convolution import Padding, output_size
from tinygrad_hw.kernels.images import Pair

__all__ = [
    "conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d", "convolve1d", "convolve2d", "fold", "unfold",
]  # fmt: skip


class Geometry(NamedTuple):
    """Where the kernel goes: the arguments that :mod:`tinygrad_hw.kernels.convolution` asks for."""

    stride: Pair
    padding: Padding
    dilation: Pair
    groups: int = 1


class Correlate(Function):
    """y = w ⋆ x + b, linear in x and in w, see :mod:`tinygrad_hw.kernels.convolution`.

    x̄ and w̄ are the transposes of these two linear maps, applied to ȳ; b̄ is the sum of ȳ over images and pixels.
    """

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Array, weight: Array, bias: Array | None, geometry: Geometry) -> Array:
        wants_x, wants_weight, *_ = ctx.needs_input_grad
        ctx.save_for_backward(x if wants_weight else None, weight if wants_x else None)
        ctx.size, ctx.kernel_size, ctx.geometry = x.shape[2:], weight.shape[2:], geometry
        return kernels.correlate(x, weight, bias, *geometry)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias, _ = ctx.needs_input_grad
        return (
            CorrelateByInput.apply(grad, weight, None, ctx.size, ctx.geometry) if wants_x else None,
            _CorrelateByWeight.apply(grad, x, ctx.kernel_size, ctx.geometry) if wants_weight else None,
            grad.sum(axis=(0, 2, 3)) if wants_bias else None,
        )


class CorrelateByInput(Function):
    """z = wᵀ ⋆ y + b: the map that takes ȳ of :class:`Correlate` to x̄. ȳ of this one is w ⋆ z̄."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, y: Array, weight: Array, bias: Array | None, size: Pair, geometry: Geometry) -> Array:
        wants_y, wants_weight, *_ = ctx.needs_input_grad
        ctx.save_for_backward(y if wants_weight else None, weight if wants_y else None)
        ctx.kernel_size, ctx.geometry = weight.shape[2:], geometry
        z = kernels.correlate_by_input(y, weight, size, *geometry)
        if bias is not None:
            z += bias.reshape(-1, 1, 1)
        return z

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        y, weight = ctx.saved_tensors
        wants_y, wants_weight, wants_bias, *_ = ctx.needs_input_grad
        return (
            Correlate.apply(grad, weight, None, ctx.geometry) if wants_y else None,
            _CorrelateByWeight.apply(y, grad, ctx.kernel_size, ctx.geometry) if wants_weight else None,
            grad.sum(axis=(0, 2, 3)) if wants_bias else None,
        )


class _CorrelateByWeight(Function):
    """v = the gradient of <w ⋆ x, y> with respect to w: the map that takes ȳ of :class:`Correlate` to w̄."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, y: Array, x: Array, kernel_size: Pair, geometry: Geometry) -> Array:
        wants_y, wants_x, *_ = ctx.needs_input_grad
        ctx.save_for_backward(y if wants_x else None, x if wants_y else None)
        ctx.size, ctx.geometry = x.shape[2:], geometry
        return kernels.correlate_by_weight(y, x, kernel_size, *geometry)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        y, x = ctx.saved_tensors
        wants_y, wants_x, *_ = ctx.needs_input_grad
        return (
            Correlate.apply(x, grad, None, ctx.geometry) if wants_y else None,
            CorrelateByInput.apply(y, grad, None, ctx.size, ctx.geometry) if wants_x else None,
        )


class Unfold(Function):
    """The pixels under the kernel at each place, as columns; the gradient goes back by :class:`Fold`."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Array, kernel_size: Pair, geometry: Geometry) -> Array:
        ctx.size, ctx.kernel_size, ctx.geometry = x.shape[2:], kernel_size, geometry
        return kernels.unfold(x, kernel_size, *geometry[:3])

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return Fold.apply(grad, ctx.size, ctx.kernel_size, ctx.geometry)


class Fold(Function):
    """The transpose of :class:`Unfold`, which is its derivative in turn."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, columns: Array, size: Pair, kernel_size: Pair, geometry: Geometry) -> Array:
        ctx.kernel_size, ctx.geometry = kernel_size, geometry
        return kernels.fold(columns, size, kernel_size, *geometry[:3])

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return Unfold.apply(grad, ctx.kernel_size, ctx.geometry)


# ----------------------------------------------------------------------------------------------------------- arguments


def _pairs(name: str, what: str, value: Any, axes: int, least: int) -> Pair:
    return pair(integers(name, what, value, axes, least), least)


def _paddings(name: str, padding: Any, axes: int, kernel: Pair, stride: Pair, dilation: Pair) -> Padding:
    """What is added before and after each axis."""
    if not isinstance(padding, str):
        height, width = _pairs(name, "padding", padding, axes, 0)
        return (height, height), (width, width)
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding != "same":
        raise ValueError(f"{name}: padding must be integers, 'same' or 'valid', got {padding!r}")
    if stride != (1, 1):
        raise ValueError(f"{name}: padding 'same' needs a stride of 1, got {stride if axes == 2 else stride[1]}")
    height, width = (d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
    return (height // 2, height - height // 2), (width // 2, width - width // 2)


def _check_kernels(name: str, weight: Any, axes: int, layout: str) -> Any:
    """``weight`` with four axes; raises unless it is floating, with two axes of channels and ``axes`` of sizes."""
    check_floating(name, weight)
    if weight.ndim != axes + 2 or 0 in weight.shape:
        sizes = "KH, KW" if axes == 2 else "K"
        raise ValueError(f"{name}: expected a weight ({layout}, {sizes}), none zero, got {tuple(weight.shape)}")
    return weight if axes == 2 else reshape(weight, (*weight.shape[:2], 1, weight.shape[2]))


def _check_bias(name: str, bias: Any, channels: int) -> None:
    if bias is not None:
        check_floating(name, bias)
        if tuple(bias.shape) != (channels,):
            raise ValueError(f"{name}: expected a bias ({channels},), got {tuple(bias.shape)}")


def _columns_geometry(
    name: str, kernel_size: Any, dilation: Any, padding: Any, stride: Any, size: Pair
) -> tuple[Pair, Geometry, Pair]:
    """The kernel's size, where it goes, and how many places it takes along each axis of an image of ``size``."""
    kernel = _pairs(name, "kernel_size", kernel_size, 2, 1)
    steps, spread = (_pairs(name, what, v, 2, 1) for what, v in (("stride", stride), ("dilation", dilation)))
    height, width = _pairs(name, "padding", padding, 2, 0)
    geometry = Geometry(steps, ((height, height), (width, width)), spread)
    return kernel, geometry, _places(name, size, kernel, geometry)


def _places(name: str, size: Pair, kernel: Pair, geometry: Geometry) -> Pair:
    """How many places a kernel takes along each axis; raises ValueError where there is none."""
    stride, padding, dilation, _ = geometry
    places = output_size(size, kernel, stride, padding, dilation)
    for k in (0, 1):
        if places[k] < 1:
            reach = dilation[k] * (kernel[k] - 1) + 1
            raise ValueError(
                f"{name}: a kernel that reaches over {reach} pixels is larger than {size[k]} pixels with padding "
                f"{padding[k][0]} and {padding[k][1]}"
            )
    return places


# ---------------------------------------------------------------------------------------------------------- operations


def _correlate(
    name: str, axes: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: Any,
    flipped: bool = False,
) -> Any:  # fmt: skip
    """Cross-correlation of sequences or images, or with ``flipped`` kernels convolution."""
    x = checked_images(name, input, axes)
    w = _check_kernels(name, weight, axes, "out, in / groups")
    (count,) = integers(name, "groups", groups, 1, 1)
    if w.shape[1] * count != x.shape[1]:
        raise ValueError(
            f"{name}: a weight {tuple(weight.shape)} with groups={count} takes {w.shape[1] * count} channels, got an "
            f"input {tuple(input.shape)} with {x.shape[1]}"
        )
    if w.shape[0] % count:
        raise ValueError(f"{name}: groups={count} does not divide the {w.shape[0]} channels of the output")
    _check_bias(name, bias, w.shape[0])
    steps, spread = (_pairs(name, what, v, axes, 1) for what, v in (("stride", stride), ("dilation", dilation)))
    kernel = w.shape[2:]
    geometry = Geometry(steps, _paddings(name, padding, axes, kernel, steps, spread), spread, count)
    _places(name, x.shape[2:], kernel, geometry)
    return like(Correlate.apply(x, flip(w, (2, 3)) if flipped else w, bias, geometry), input, axes)


def _transpose(
    name: str, axes: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any, output_padding: Any,
    groups: Any, dilation: Any,
) -> Any:  # fmt: skip
    """The transpose of the cross-correlation of sequences or images."""
    y = checked_images(name, input, axes)
    w = _check_kernels(name, weight, axes, "in, out / groups")
    (count,) = integers(name, "groups", groups, 1, 1)
    if w.shape[0] != y.shape[1]:
        raise ValueError(
            f"{name}: a weight {tuple(weight.shape)} takes {w.shape[0]} channels, got an input {tuple(input.shape)} "
            f"with {y.shape[1]}"
        )
    if w.shape[0] % count:
        raise ValueError(f"{name}: groups={count} does not divide the {w.shape[0]} channels of the input")
    _check_bias(name, bias, w.shape[1] * count)
    steps, spread = (_pairs(name, what, v, axes, 1) for what, v in (("stride", stride), ("dilation", dilation)))
    frame = _pairs(name, "padding", padding, axes, 0)
    extra = _pairs(name, "output_padding", output_padding, axes, 0)
    sizes, paddings = [], []
    for n, k, s, d, p, more in zip(y.shape[2:], w.shape[2:], steps, spread, frame, extra, strict=True):
        if more >= max(s, d):
            raise ValueError(f"{name}: output_padding must be smaller than stride {s} or dilation {d}, got {more}")
        sizes.append((n - 1) * s - 2 * p + d * (k - 1) + 1 + more)
        paddings.append((p, p - more))  # with which the kernel takes n places on the output
        if sizes[-1] < 1:
            raise ValueError(f"{name}: padding {p} leaves nothing of an output of {sizes[-1] + 2 * p} pixels")
    geometry = Geometry(steps, (paddings[0], paddings[1]), spread, count)
    return like(CorrelateByInput.apply(y, w, bias, (sizes[0], sizes[1]), geometry), input, axes)


def conv1d(
    input: Any, weight: Any, bias: Any = None, stride: Sizes = 1, padding: Sizes | str = 0, dilation: Sizes = 1,
    groups: int = 1,
) -> Any:  # fmt: skip
    """Cross-correlation of sequences with kernels: :func:`conv2d` along one axis.

    Shapes: ``input`` (N, C, L) or (C, L), ``weight`` (O, C / groups, K), ``bias`` (O,) or None → (N, O, OL) or (O, OL).
    Errors as there.
    """
    return _correlate("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Any, weight: Any, bias: Any = None, stride: Sizes = 1, padding: Sizes | str = 0, dilation: Sizes = 1,
    groups: int = 1,
) -> Any:  # fmt: skip
    """Cross-correlation of images with kernels, which networks call convolution.

    With stride S, dilation D and padding P, the input being 0 outside,

        y[n, o, r, q] = b[o] + Σ_c Σ_i Σ_j w[o, c, i, j] x[n, c, r S - P + i D, q S - P + j D],

    OH = ⌊(H + 2 P - D (KH - 1) - 1) / S⌋ + 1 (Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep
    learning", arXiv:1603.07285, relationship 15).

    Shapes: ``input`` (N, C, H, W) or (C, H, W), ``weight`` (O, C / groups, KH, KW), ``bias`` (O,) or None →
    (N, O, OH, OW) or (O, OH, OW). N may be 0.

    Args:
        stride, dilation: pixels between places of the kernel, and between its entries.
        padding: zeros before and after each axis; "valid", none; or "same", as many as keep the size (one more after
            than before where their number is odd).
        groups: channels are split into that many groups, each of which has its own share of the kernels.

    Raises TypeError for sizes that are not integers and arrays that are not floating; ValueError for sizes out of
    range, shapes that do not fit, ``groups`` that do not divide the channels, a kernel larger than the padded input,
    and "same" with a stride other than 1.
    """
    return _correlate("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


def convolve1d(
    input: Any, weight: Any, bias: Any = None, stride: Sizes = 1, padding: Sizes | str = 0, dilation: Sizes = 1,
    groups: int = 1,
) -> Any:  # fmt: skip
    """True convolution of sequences: :func:`conv1d` with each kernel reversed, numpy.convolve's meaning of the word."""
    return _correlate("convolve1d", 1, input, weight, bias, stride, padding, dilation, groups, flipped=True)


def convolve2d(
    input: Any, weight: Any, bias: Any = None, stride: Sizes = 1, padding: Sizes | str = 0, dilation: Sizes = 1,
    groups: int = 1,
) -> Any:  # fmt: skip
    """True convolution of images: :func:`conv2d` with each kernel rotated by 180°, which makes it commutative.

    y[n, o, r, q] = b[o] + Σ_c Σ_i Σ_j w[o, c, i, j] x[n, c, r + KH - 1 - i - P, q + KW - 1 - j - P] for a stride and
    dilation of 1. Arguments and errors as :func:`conv2d`.
    """
    return _correlate("convolve2d", 2, input, weight, bias, stride, padding, dilation, groups, flipped=True)


def conv_transpose1d(
    input: Any, weight: Any, bias: Any = None, stride: Sizes = 1, padding: Sizes = 0, output_padding: Sizes = 0,
    groups: int = 1, dilation: Sizes = 1,
) -> Any:  # fmt: skip
    """The transpose of :func:`conv1d`: :func:`conv_transpose2d` along one axis.

    Shapes: ``input`` (N, C, L) or (C, L), ``weight`` (C, O / groups, K), ``bias`` (O,) or None → (N, O, OL) or (O, OL).
    """
    return _transpose("conv_transpose1d", 1, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    input: Any, weight: Any, bias: Any = None, stride: Sizes = 1, padding: Sizes = 0, output_padding: Sizes = 0,
    groups: int = 1, dilation: Sizes = 1,
) -> Any:  # fmt: skip
    """The transpose of :func:`conv2d`, its gradient by the input: each pixel spreads a kernel over the output.

    OH = (H - 1) S - 2 P + D (KH - 1) + 1 + output_padding (Dumoulin and Visin 2016, relationship 14).

    Shapes: ``input`` (N, C, H, W) or (C, H, W), ``weight`` (C, O / groups, KH, KW), ``bias`` (O,) or None →
    (N, O, OH, OW) or (O, OH, OW).

    Args:
        stride, padding, dilation, groups: of the correlation that this is the transpose of; so padding takes away.
        output_padding: added to the size after the output, for a stride lets several sizes shrink to the same one.

    Raises as :func:`conv2d`; ValueError too for ``output_padding`` not smaller than stride or dilation, and padding
    that leaves nothing.
    """
    return _transpose("conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding, groups, dilation)


def unfold(input: Any, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1) -> Any:
    """The pixels under a kernel at each of its places, as columns: (N, C, H, W) → (N, C KH KW, places).

    Places are counted along rows first. The product of a matrix of kernels (O, C KH KW) with this is :func:`conv2d`.
    One image (C, H, W) gives (C KH KW, places). Raises TypeError for sizes that are not integers, ValueError for ones
    out of range and a kernel larger than the padded image.
    """
    x = checked_images("unfold", input, 2)
    kernel, geometry, _ = _columns_geometry("unfold", kernel_size, dilation, padding, stride, x.shape[2:])
    columns = Unfold.apply(x, kernel, geometry)
    return columns if input.ndim == 4 else columns[0]


def fold(
    input: Any, output_size: Sizes, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1
) -> Any:
    """Columns added up to images, each entry where :func:`unfold` took it from: (N, C KH KW, places) → (N, C, H, W).

    ``output_size`` is (H, W). Where kernels overlap, so do the sums: this is the transpose of :func:`unfold`, not its
    inverse. (C KH KW, places) gives (C, H, W). Raises as that, and ValueError where the columns' shape does not fit.
    """
    check_floating("fold", input)
    size = _pairs("fold", "output_size", output_size, 2, 1)
    kernel, geometry, places = _columns_geometry("fold", kernel_size, dilation, padding, stride, size)
    entries, count = kernel[0] * kernel[1], places[0] * places[1]
    shape = tuple(input.shape)
    if len(shape) not in (2, 3) or shape[-1] != count or shape[-2] % entries or not shape[-2]:
        raise ValueError(
            f"fold: expected columns (N, channels x {entries}, {count}) or one image's for these sizes, got {shape}"
        )
    columns = input if len(shape) == 3 else reshape(input, (1, *shape))
    images = Fold.apply(columns, size, kernel, geometry)
    return images if len(shape) == 3 else images[0]
