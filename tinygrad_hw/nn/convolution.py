"""Convolutional layers: Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d; and without weights Unfold, Fold."""

from __future__ import annotations

from typing import Any

from tinygrad_hw import functional as F
from tinygrad_hw.functional.checks import integers
from tinygrad_hw.functional.images import Sizes
from tinygrad_hw.nn.linear import draw_weight_and_bias, make_parameter
from tinygrad_hw.nn.module import Module
from tinygrad_hw.nn.pooling import Windowed
from tinygrad_hw.random import Stream
from tinygrad_hw.tensor import Tensor


class _Convolution(Module):
    """What the layers have in common: sizes, weight and bias, and the values that these start from."""

    _axes: int
    _transposed = False
    padding: Any  # integers; of Conv1d and Conv2d "same" or "valid", too

    def _set(
        self, in_channels: int, out_channels: int, kernel_size: Sizes, stride: Sizes, padding: Sizes | str,
        output_padding: Sizes, dilation: Sizes, groups: int, bias: bool, stream: Stream | None, dtype: Any,
        device: str | None,
    ) -> None:  # fmt: skip
        name, axes = type(self).__name__, self._axes
        (self.in_channels,) = integers(name, "in_channels", in_channels, 1, 1)
        (self.out_channels,) = integers(name, "out_channels", out_channels, 1, 1)
        (self.groups,) = integers(name, "groups", groups, 1, 1)
        for what, channels in (("in", self.in_channels), ("out", self.out_channels)):
            if channels % self.groups:
                raise ValueError(f"{name}: groups={self.groups} does not divide {what}_channels={channels}")
        self.kernel_size = integers(name, "kernel_size", kernel_size, axes, 1)
        self.stride = integers(name, "stride", stride, axes, 1)
        self.dilation = integers(name, "dilation", dilation, axes, 1)
        self.output_padding = integers(name, "output_padding", output_padding, axes, 0)
        self.padding = padding if isinstance(padding, str) else integers(name, "padding", padding, axes, 0)
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ValueError(f"{name}: padding must be integers, 'same' or 'valid', got {padding!r}")
        if padding == "same" and max(self.stride) > 1:
            raise ValueError(f"{name}: padding 'same' needs a stride of 1, got {stride}")
        first, second = self.out_channels, self.in_channels
        if self._transposed:
            first, second = second, first
        self.weight = make_parameter((first, second // self.groups, *self.kernel_size), dtype, device)
        self.bias = make_parameter((self.out_channels,), dtype, device) if bias else None
        self.reset_parameters(stream)

    def reset_parameters(self, stream: Stream | None = None) -> None:
        """Draw the starting values anew."""
        draw_weight_and_bias(self.weight, self.bias, stream)

    def extra_repr(self) -> str:
        shown = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        for what, least in (("padding", 0), ("dilation", 1), ("output_padding", 0)):
            value = getattr(self, what)
            if value != (least,) * self._axes:
                shown += f", {what}={value}"
        if self.groups != 1:
            shown += f", groups={self.groups}"
        return shown if self.bias is not None else shown + ", bias=False"


class _Conv(_Convolution):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        stream: Stream | None = None,
        dtype: Any = None,
        device: str | None = None,
    ) -> None:
        super().__init__()
        sizes = kernel_size, stride, padding, 0, dilation, groups
        self._set(in_channels, out_channels, *sizes, bias, stream, dtype, device)

    def forward(self, x: Any) -> Tensor:
        conv = F.conv1d if self._axes == 1 else F.conv2d
        return conv(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Conv1d(_Conv):
    """Cross-correlation of sequences (N, in_channels, L) with learned kernels: see :class:`Conv2d`."""

    _axes = 1


class Conv2d(_Conv):
    """Cross-correlation of images (N, in_channels, H, W) with learned kernels → (N, out_channels, OH, OW).

    The operation, its formula and the size of its output: :func:`tinygrad_hw.functional.conv2d`. Weight (out_channels,
    in_channels / groups, KH, KW) and bias (out_channels,) start from U(-1/√n, 1/√n), n = (in_channels / groups) KH KW:
    PyTorch's default, which is :func:`init.kaiming_uniform_` with a = √5.

    Args:
        in_channels, out_channels: numbers of channels before and after, both divisible by ``groups``.
        kernel_size, stride, padding, dilation, groups: as in the operation.
        bias: whether b is added.
        stream: where the starting values are drawn; default ``default_stream("init")``.
        dtype, device: of the parameters.

    Raises TypeError for sizes that are not integers, ValueError for ones out of range, and as the operation does.
    """

    _axes = 2


class _ConvTranspose(_Convolution):
    _transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sizes = 1,
        *,
        stream: Stream | None = None,
        dtype: Any = None,
        device: str | None = None,
    ) -> None:
        super().__init__()
        if isinstance(padding, str):
            raise TypeError(
                f"{type(self).__name__}: padding must be an integer or {self._axes} of them, got {padding!r}"
            )
        sizes = kernel_size, stride, padding, output_padding, dilation, groups
        self._set(in_channels, out_channels, *sizes, bias, stream, dtype, device)

    def forward(self, x: Any) -> Tensor:
        conv = F.conv_transpose1d if self._axes == 1 else F.conv_transpose2d
        sizes = self.stride, self.padding, self.output_padding, self.groups, self.dilation
        return conv(x, self.weight, self.bias, *sizes)


class ConvTranspose1d(_ConvTranspose):
    """The transpose of :class:`Conv1d` with learned kernels: see :class:`ConvTranspose2d`."""

    _axes = 1


class ConvTranspose2d(_ConvTranspose):
    """The transpose of :class:`Conv2d` with learned kernels: (N, in_channels, H, W) → (N, out_channels, OH, OW).

    The operation: :func:`tinygrad_hw.functional.conv_transpose2d`. Weight (in_channels, out_channels / groups, KH, KW)
    and bias (out_channels,) start from U(-1/√n, 1/√n), n = (out_channels / groups) KH KW, as in PyTorch. Arguments and
    errors as :class:`Conv2d`; the order is PyTorch's.
    """

    _axes = 2


class Unfold(Windowed):
    """The pixels under a kernel at each of its places, as columns: :func:`tinygrad_hw.functional.unfold`.

    Raises TypeError for sizes that are not integers, ValueError for ones that are out of range.
    """

    _axes = 2

    def __init__(self, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1) -> None:
        super().__init__()
        self._set(kernel_size, stride, padding, dilation)

    def forward(self, x: Any) -> Any:
        return F.unfold(x, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        names = ("kernel_size", "dilation", "padding", "stride")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)


class Fold(Windowed):
    """Columns added up to images of ``output_size``: :func:`tinygrad_hw.functional.fold`.

    Raises TypeError for sizes that are not integers, ValueError for ones that are out of range.
    """

    _axes = 2

    def __init__(
        self, output_size: Sizes, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1
    ) -> None:
        super().__init__()
        integers("Fold", "output_size", output_size, 2, 1)
        self.output_size = output_size
        self._set(kernel_size, stride, padding, dilation)

    def forward(self, x: Any) -> Any:
        return F.fold(x, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        names = ("output_size", "kernel_size", "dilation", "padding", "stride")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)
