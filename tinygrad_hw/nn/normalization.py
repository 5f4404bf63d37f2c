"""Normalisation layers: BatchNorm1d, BatchNorm2d, LayerNorm, GroupNorm; and Dropout2d, which drops whole channels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_hw import functional as F
from tinygrad_hw.backend import to_device
from tinygrad_hw.functional.checks import integers
from tinygrad_hw.nn import init
from tinygrad_hw.nn.linear import Dropout, make_parameter
from tinygrad_hw.nn.module import Module
from tinygrad_hw.tensor import Tensor


def _check_eps(layer: Module, eps: float) -> None:
    if not 0 < eps < math.inf:  # 0 would make a channel of equal entries 0 / 0
        raise ValueError(f"{type(layer).__name__}: eps must be a finite number > 0, got {eps!r}")


def _restart(weight: Tensor | None, bias: Tensor | None) -> None:
    """Weight 1, bias 0, of those that there are."""
    if weight is not None:
        init.ones_(weight)
    if bias is not None:
        init.zeros_(bias)


class BatchNorm(Module):
    """What batch normalisations have in common, whatever the axes of their inputs."""

    _shapes: tuple[int, ...]  # numbers of axes that inputs may have
    _expected: str

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        dtype: Any = None,
        device: str | None = None,
    ) -> None:
        super().__init__()
        integers(type(self).__name__, "num_features", num_features, 1, 1)
        _check_eps(self, eps)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.weight = make_parameter((num_features,), dtype, device) if affine else None
        self.bias = make_parameter((num_features,), dtype, device) if affine else None
        for name in ("running_mean", "running_var"):
            held = make_parameter((num_features,), dtype, device).detach() if track_running_stats else None
            self.register_buffer(name, held)
        count = Tensor(to_device(np.zeros((), np.int64), device or "cpu")) if track_running_stats else None
        self.register_buffer("num_batches_tracked", count)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Mean 0, variance 1, no batches."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, and the running statistics from the start."""
        self.reset_running_stats()
        _restart(self.weight, self.bias)

    def forward(self, x: Any) -> Any:
        return self._normalized(x, False)

    def rectified(self, x: Any) -> Any:
        """What a rectifier makes of ``forward(x)``, in one pass over memory."""
        return self._normalized(x, True)

    def _normalized(self, x: Any, relu: bool) -> Any:
        if x.ndim not in self._shapes or x.shape[1] != self.num_features:
            raise ValueError(
                f"{type(self).__name__}({self.extra_repr()}): expected an input {self._expected} with C = "
                f"{self.num_features}, got {tuple(x.shape)}"
            )
        momentum = 0.0 if self.momentum is None else self.momentum
        if self.training and self.track_running_stats:
            self.num_batches_tracked += 1
            if self.momentum is None:  # the mean over all batches so far
                momentum = 1 / int(self.num_batches_tracked.item())
        return F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            momentum,
            self.eps,
            relu=relu,
        )

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(BatchNorm):
    """Each feature of (N, C), or channel of (N, C, L), normalised over the batch: see :class:`BatchNorm2d`."""

    _shapes, _expected = (2, 3), "(N, C) or (N, C, L)"


class BatchNorm2d(BatchNorm):
    """Each channel of images (N, C, H, W) normalised over the batch: y = (x - m) / √(v + ε) · weight + bias.

    While training m and v are the batch's mean and variance, and ``running_mean`` and ``running_var`` (unbiased) follow
    them; in ``eval()`` they are the running ones. See :func:`tinygrad_hw.functional.batch_norm`.

    Args:
        num_features: C.
        eps: ε > 0, added to the variance.
        momentum: how much of each batch the running statistics take over; None: they are the mean over all batches.
        affine: whether weight (starting at 1) and bias (at 0) are learned; else there are none.
        track_running_stats: False keeps none, and the batch's are always used.
        dtype, device: of parameters and buffers.

    Raises TypeError for a size that is not an integer, ValueError for one that is not positive, an ε that is not and,
    when called, for an input of another shape, or of one value per channel while training.
    """

    _shapes, _expected = (4,), "(N, C, H, W)"


class LayerNorm(Module):
    """Entries normalised along the last axes: y = (x - m) / √(v + ε) · weight + bias (Ba, Kiros & Hinton 2016).

    Args:
        normalized_shape: the sizes of these axes; an integer for one.
        eps: ε > 0, added to the variance.
        elementwise_affine: whether weight (starting at 1) and bias (at 0), of that shape, are learned.
        bias: whether there is a bias beside the weight.
        dtype, device: of the parameters.

    Raises TypeError for sizes that are not integers, ValueError for ones that are not positive, an ε that is not and,
    when called, for an input of another shape.
    """

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: Any = None,
        device: str | None = None,
    ) -> None:
        super().__init__()
        listed = tuple(normalized_shape) if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
        integers("LayerNorm", "normalized_shape", listed, len(listed), 1)
        _check_eps(self, eps)
        self.normalized_shape, self.eps, self.elementwise_affine = listed, eps, elementwise_affine
        self.weight = make_parameter(listed, dtype, device) if elementwise_affine else None
        self.bias = make_parameter(listed, dtype, device) if elementwise_affine and bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        _restart(self.weight, self.bias)

    def forward(self, x: Any) -> Any:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        bias = self.bias is not None
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, bias={bias}"


class GroupNorm(Module):
    """Groups of channels of (N, C, ...) normalised image by image (Wu & He 2018).

    Args:
        num_groups: into which the channels are divided in order.
        num_channels: C, a multiple of it.
        eps: ε > 0, added to the variance.
        affine: whether weight (starting at 1) and bias (at 0), (C,), are learned; else there are none.
        dtype, device: of the parameters.

    Raises TypeError for sizes that are not integers, ValueError for ones that are not positive or do not fit, an ε that
    is not positive and, when called, for an input of another shape.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        dtype: Any = None,
        device: str | None = None,
    ) -> None:
        super().__init__()
        integers("GroupNorm", "num_groups", num_groups, 1, 1)
        integers("GroupNorm", "num_channels", num_channels, 1, 1)
        _check_eps(self, eps)
        if num_channels % num_groups:
            raise ValueError(f"GroupNorm: {num_channels} channels cannot be divided into {num_groups} groups")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        self.weight = make_parameter((num_channels,), dtype, device) if affine else None
        self.bias = make_parameter((num_channels,), dtype, device) if affine else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        _restart(self.weight, self.bias)

    def forward(self, x: Any) -> Any:
        if x.ndim < 2 or x.shape[1] != self.num_channels:
            raise ValueError(
                f"GroupNorm({self.extra_repr()}): expected an input (N, C, ...) with C = {self.num_channels}, got "
                f"{tuple(x.shape)}"
            )
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"


class Dropout2d(Dropout):
    """While training, each channel of (N, C, ...) becomes 0 with probability ``p``, else grows by 1 / (1 - p).

    Tompson et al., "Efficient object localization using convolutional networks", CVPR 2015. Arguments and errors as
    :class:`Dropout`.
    """

    def forward(self, x: Any) -> Any:
        return F.dropout2d(x, self.p, self.training, self.stream)
