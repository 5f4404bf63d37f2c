"""Layers with weights, and those without that connect them: Linear, Bilinear, Embedding, Dropout, Flatten, Identity."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_hw import functional as F
from tinygrad_hw.backend import to_device
from tinygrad_hw.nn import init
from tinygrad_hw.nn.module import Module, Parameter
from tinygrad_hw.operands import get_default_dtype
from tinygrad_hw.random import Stream
from tinygrad_hw.tensor import Tensor


def make_parameter(shape: tuple[int, ...], dtype: Any = None, device: str | None = None) -> Parameter:
    """A Parameter of zeros: float32 on the CPU unless told otherwise."""
    parameter = Parameter(np.zeros(shape, dtype or get_default_dtype()))
    if device is not None:
        parameter.data = to_device(parameter._data, device)
    return parameter


def _check_sizes(owner: str, **sizes: Any) -> None:
    for name, size in sizes.items():
        if not isinstance(size, (int, np.integer)) or isinstance(size, bool) or size < 1:
            raise ValueError(f"{owner}: {name} must be a positive integer, got {size!r}")


def draw_weight_and_bias(weight: Tensor, bias: Tensor | None, stream: Stream | None) -> None:
    """PyTorch's start of layers: both from U(-1/√n, 1/√n), n being the inputs of a unit, all axes but the first."""
    init.kaiming_uniform_(weight, a=math.sqrt(5), stream=stream)
    if bias is not None:
        bound = 1 / math.sqrt(math.prod(weight.shape[1:]))
        init.uniform_(bias, -bound, bound, stream=stream)


class Linear(Module):
    """y = x Wᵀ + b: (..., in_features) → (..., out_features).

    Weight (out_features, in_features) and bias (out_features,) start from U(-1/√in, 1/√in): PyTorch's default, which is
    :func:`init.kaiming_uniform_` with a = √5.

    Args:
        in_features, out_features: sizes of the last axis before and after.
        bias: whether b is added.
        stream: where the starting values are drawn; default ``default_stream("init")``.
        dtype, device: of the parameters.

    Raises ValueError for sizes that are not positive and, when called, for another number of features.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        stream: Stream | None = None,
        dtype: Any = None,
        device: str | None = None,
    ) -> None:
        super().__init__()
        _check_sizes("Linear", in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        self.weight = make_parameter((out_features, in_features), dtype, device)
        self.bias = make_parameter((out_features,), dtype, device) if bias else None
        self.reset_parameters(stream)

    def reset_parameters(self, stream: Stream | None = None) -> None:
        """Draw the starting values anew."""
        draw_weight_and_bias(self.weight, self.bias, stream)

    def forward(self, x: Any) -> Tensor:
        if not hasattr(x, "shape"):
            raise TypeError(f"Linear({self.extra_repr()}): expected a Tensor, got {type(x).__name__}")
        if x.ndim == 0 or x.shape[-1] != self.in_features:
            raise ValueError(
                f"Linear({self.extra_repr()}): expected {self.in_features} features on the last axis, got an input of "
                f"shape {tuple(x.shape)}"
            )
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Bilinear(Module):
    """y_o = x₁ᵀ W_o x₂ + b_o: (..., in1_features), (..., in2_features) → (..., out_features).

    Weight (out_features, in1_features, in2_features) and bias start from U(-1/√in1, 1/√in1) as in PyTorch. Arguments
    and errors as :class:`Linear`.
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        *,
        stream: Stream | None = None,
        dtype: Any = None,
        device: str | None = None,
    ) -> None:
        super().__init__()
        _check_sizes("Bilinear", in1_features=in1_features, in2_features=in2_features, out_features=out_features)
        self.in1_features, self.in2_features, self.out_features = in1_features, in2_features, out_features
        self.weight = make_parameter((out_features, in1_features, in2_features), dtype, device)
        self.bias = make_parameter((out_features,), dtype, device) if bias else None
        self.reset_parameters(stream)

    def reset_parameters(self, stream: Stream | None = None) -> None:
        """Draw the starting values anew."""
        bound = 1 / math.sqrt(self.in1_features)
        init.uniform_(self.weight, -bound, bound, stream=stream)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound, stream=stream)

    def forward(self, x1: Any, x2: Any) -> Tensor:
        for x, features in ((x1, self.in1_features), (x2, self.in2_features)):
            if x.ndim == 0 or x.shape[-1] != features or x.shape[:-1] != x1.shape[:-1]:
                raise ValueError(
                    f"Bilinear({self.extra_repr()}): expected inputs (..., {self.in1_features}) and (..., "
                    f"{self.in2_features}), got {tuple(x1.shape)} and {tuple(x2.shape)}"
                )
        product = F.einsum("...i,oij,...j->...o", x1, self.weight, x2)
        return product if self.bias is None else product + self.bias

    def extra_repr(self) -> str:
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Embedding(Module):
    """A table of rows: integers (...) → (..., embedding_dim).

    The weight (num_embeddings, embedding_dim) starts from N(0, 1); row ``padding_idx``, if given, starts from 0 and
    receives no gradient. Keyword arguments as :class:`Linear`.

    Raises ValueError for sizes that are not positive or a ``padding_idx`` outside the table; when called, see
    :func:`tinygrad_hw.functional.embedding`.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        stream: Stream | None = None,
        dtype: Any = None,
        device: str | None = None,
    ) -> None:
        super().__init__()
        _check_sizes("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(f"Embedding: padding_idx {padding_idx} is outside a table of {num_embeddings} rows")
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.weight = make_parameter((num_embeddings, embedding_dim), dtype, device)
        self.reset_parameters(stream)

    def reset_parameters(self, stream: Stream | None = None) -> None:
        """Draw the starting values anew."""
        init.normal_(self.weight, stream=stream)
        if self.padding_idx is not None:
            self.weight._data[self.padding_idx] = 0

    def forward(self, index: Any) -> Tensor:
        return F.embedding(self.weight, index, self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class Dropout(Module):
    """While training, each entry becomes 0 with probability ``p``, else grows by 1 / (1 - p); otherwise the identity.

    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15, 2014 (scaled while
    training, as usual now).

    Args:
        p: from 0 to 1.
        stream: where masks are drawn; default ``default_stream("dropout")``.

    Raises ValueError for another ``p``.
    """

    def __init__(self, p: float = 0.5, *, stream: Stream | None = None) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p must be from 0 to 1, got {p!r}")
        self.p, self.stream = p, stream

    def forward(self, x: Any) -> Any:
        return F.dropout(x, self.p, self.training, self.stream)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Flatten(Module):
    """Axes ``start_axis`` to ``end_axis`` become one: (N, C, H, W) → (N, C H W)."""

    def __init__(self, start_axis: int = 1, end_axis: int = -1) -> None:
        super().__init__()
        self.start_axis, self.end_axis = start_axis, end_axis

    def forward(self, x: Any) -> Any:
        return F.flatten(x, self.start_axis, self.end_axis)

    def extra_repr(self) -> str:
        return f"start_axis={self.start_axis}, end_axis={self.end_axis}"


class Identity(Module):
    """The input itself."""

    def forward(self, x: Any) -> Any:
        return x
