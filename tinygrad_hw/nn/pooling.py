"""Pooling layers: the greatest entry, or the mean, of the windows of an image."""

from __future__ import annotations

from typing import Any

from tinygrad_hw import functional as F
from tinygrad_hw.functional.checks import integers
from tinygrad_hw.functional.images import Sizes
from tinygrad_hw.nn.module import Module


class Windowed(Module):
    """What layers of windows have in common: their sizes, kept as they are given."""

    _axes: int

    def _set(self, kernel_size: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes = 1) -> None:
        for what, value, least in (
            ("kernel_size", kernel_size, 1),
            ("stride", stride, 1),
            ("padding", padding, 0),
            ("dilation", dilation, 1),
        ):
            integers(type(self).__name__, what, value, self._axes, least)
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation


class _MaxPool(Windowed):
    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        *,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self._set(kernel_size, kernel_size if stride is None else stride, padding, dilation)
        self.ceil_mode = ceil_mode

    def forward(self, x: Any) -> Any:
        pool = F.max_pool1d if self._axes == 1 else F.max_pool2d
        return pool(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """The greatest entry of each window of sequences (N, C, L): see :class:`MaxPool2d`."""

    _axes = 1


class MaxPool2d(_MaxPool):
    """The greatest entry of each window of images (N, C, H, W): see :func:`tinygrad_hw.functional.max_pool2d`.

    Args:
        kernel_size, stride, padding, dilation: one integer or one for each axis; default stride: the kernel's size.
        ceil_mode: windows may reach beyond the padded image.

    Raises TypeError for sizes that are not integers, ValueError for ones that are out of range.
    """

    _axes = 2


class _AvgPool(Windowed):
    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self._set(kernel_size, kernel_size if stride is None else stride, padding)
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, x: Any) -> Any:
        pool = F.avg_pool1d if self._axes == 1 else F.avg_pool2d
        return pool(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(_AvgPool):
    """The mean of each window of sequences (N, C, L): see :class:`AvgPool2d`."""

    _axes = 1


class AvgPool2d(_AvgPool):
    """The mean of each window of images (N, C, H, W): see :func:`tinygrad_hw.functional.avg_pool2d`.

    Args:
        kernel_size, stride, padding: one integer or one for each axis; default stride: the kernel's size.
        ceil_mode: windows may reach beyond the padded image.
        count_include_pad: whether pixels of the padding count, as zeros.

    Raises TypeError for sizes that are not integers, ValueError for ones that are out of range.
    """

    _axes = 2


class _AdaptiveAvgPool(Module):
    _axes: int

    def __init__(self, output_size: int | tuple[int | None, ...] | None) -> None:
        super().__init__()
        given = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * self._axes
        if len(given) != self._axes:
            raise ValueError(f"{type(self).__name__}: expected {self._axes} output sizes, got {output_size!r}")
        for size in given:
            if size is not None:
                integers(type(self).__name__, "output_size", size, 1, 1)
        self.output_size = output_size

    def forward(self, x: Any) -> Any:
        return (F.adaptive_avg_pool1d if self._axes == 1 else F.adaptive_avg_pool2d)(x, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """The means of ``output_size`` windows that share sequences (N, C, L) evenly; 1: of whole sequences.

    Raises TypeError for a size that is not an integer, ValueError for one below 1.
    """

    _axes = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """The means of windows that share images (N, C, H, W) evenly: see ``functional.adaptive_avg_pool2d``.

    ``output_size`` is an integer, or one or None (as many as there are pixels) for each axis; 1 is global pooling.
    Raises TypeError for sizes that are not integers, ValueError for ones below 1.
    """

    _axes = 2
