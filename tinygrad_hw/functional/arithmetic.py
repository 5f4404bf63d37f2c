"""Arithmetic with broadcasting, and what fits a gradient to its input: sum_to, expand, cast, to_device."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_hw import backend
from tinygrad_hw.autograd import Function
from tinygrad_hw.backend import Array, DeviceError, array_module, device_of, parse_device
from tinygrad_hw.tensor import Tensor

__all__ = ["add", "cast", "clone", "div", "expand", "mul", "neg", "sub", "sum_to", "to_device"]


class Add(Function):
    """z = a + b; ∂z/∂a = ∂z/∂b = 1."""

    broadcasts = True

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        return a + b

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad, grad


class Sub(Function):
    """z = a - b; ∂z/∂a = 1, ∂z/∂b = -1."""

    broadcasts = True

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        return a - b

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad, -grad if ctx.needs_input_grad[1] else None


class Mul(Function):
    """z = a b; ∂z/∂a = b, ∂z/∂b = a."""

    broadcasts = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        wants_a, wants_b = ctx.needs_input_grad
        ctx.save_for_backward(a if wants_b else None, b if wants_a else None)
        return a * b

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        a, b = ctx.saved_tensors
        wants_a, wants_b = ctx.needs_input_grad
        return grad * b if wants_a else None, grad * a if wants_b else None


class Div(Function):
    """z = a / b; ∂z/∂a = 1/b, ∂z/∂b = -z/b."""

    broadcasts = True
    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        z = a / b
        ctx.save_for_backward(b, z if ctx.needs_input_grad[1] else None)
        return z

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        b, z = ctx.saved_tensors
        wants_a, wants_b = ctx.needs_input_grad
        quotient = grad / b
        return quotient if wants_a else None, -quotient * z if wants_b else None


class Neg(Function):
    """z = -a; ∂z/∂a = -1."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        return -a

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return -grad


def _summed_to(a: Array, shape: tuple[int, ...]) -> Array:
    """``a`` summed over its leading axes that ``shape`` lacks and over those where ``shape`` has size 1."""
    lead = a.ndim - len(shape)
    kept = a.shape[lead:] if lead >= 0 else ()
    if lead < 0 or any(size not in (1, whole) for size, whole in zip(shape, kept, strict=True)):
        raise ValueError(f"SumTo: shape {shape} does not broadcast to {tuple(a.shape)}")
    axes = *range(lead), *(lead + i for i, size in enumerate(shape) if size == 1 != kept[i])
    if len(axes) == lead:  # none of the kept axes is summed: the result has its shape already
        return a.sum(axis=axes)
    return a.sum(axis=axes, keepdims=True).reshape(shape)


def _expanded(a: Array, shape: tuple[int, ...]) -> Array:
    """A read-only view of ``a`` with ``shape``."""
    try:
        return array_module(a).broadcast_to(a, shape)
    except ValueError:
        raise ValueError(f"Expand: shape {tuple(a.shape)} does not broadcast to {shape}") from None


class SumTo(Function):
    """Sum over the axes along which ``shape`` was broadcast to the argument's shape; its derivative broadcasts back."""

    @staticmethod
    def forward(ctx: Any, a: Any, shape: tuple[int, ...]) -> Any:
        ctx.shape = a.shape
        return _summed_to(a, shape)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return expand(grad, ctx.shape)


class Clone(Function):
    """z = a, copied; ∂z/∂a = 1."""

    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        return a.copy()

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad


class Expand(Function):
    """Repeat along axes of size 1 (and new leading axes) without copying; its derivative sums over them."""

    @staticmethod
    def forward(ctx: Any, a: Any, shape: tuple[int, ...]) -> Any:
        ctx.shape = a.shape
        return _expanded(a, shape)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return sum_to(grad, ctx.shape)


class Cast(Function):
    """The same values in another dtype; the gradient is cast back."""

    @staticmethod
    def forward(ctx: Any, a: Any, dtype: Any) -> Any:
        ctx.dtype = a.dtype
        return a.astype(dtype)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return cast(grad, ctx.dtype)


class ToDevice(Function):
    """The same values on another device; the gradient travels back."""

    @staticmethod
    def forward(ctx: Any, a: Any, device: str) -> Any:
        ctx.device = device_of(a)
        return backend.to_device(a, device)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return to_device(grad, ctx.device)


def add(a: Any, b: Any) -> Any:
    """a + b, entry by entry; Tensors, arrays or numbers that broadcast together (ValueError where they do not)."""
    return Add.apply(a, b)


def sub(a: Any, b: Any) -> Any:
    """a - b, entry by entry; operands as for :func:`add`."""
    return Sub.apply(a, b)


def mul(a: Any, b: Any) -> Any:
    """a b, entry by entry; operands as for :func:`add`."""
    return Mul.apply(a, b)


def div(a: Any, b: Any) -> Any:
    """a / b, entry by entry; operands as for :func:`add`, integers give the default floating dtype."""
    return Div.apply(a, b)


def neg(a: Any) -> Any:
    """-a, entry by entry. Raises TypeError for booleans."""
    return Neg.apply(a)


def clone(a: Any) -> Any:
    """A copy in memory of its own, on the tape: the gradient passes through."""
    return Clone.apply(a)


def sum_to(a: Any, shape: tuple[int, ...]) -> Any:
    """Undo broadcasting: the sum of ``a`` over the axes along which an array of ``shape`` was repeated to give it.

    ``a`` itself where nothing was repeated. Raises ValueError when ``shape`` does not broadcast to ``a.shape``.
    """
    shape = tuple(shape)
    if a.shape == shape:
        return a
    return SumTo.apply(a, shape) if isinstance(a, Tensor) else _summed_to(a, shape)


def expand(a: Any, *shape: Any) -> Any:
    """``a`` repeated along its axes of size 1 to ``shape`` (as a tuple or as separate sizes), without copying.

    -1 keeps an axis as it is, as in PyTorch. Raises ValueError when ``a.shape`` does not broadcast to ``shape``.
    """
    sizes = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    if -1 in sizes:
        lead = len(sizes) - a.ndim
        sizes = tuple(a.shape[i - lead] if size == -1 and i >= lead else size for i, size in enumerate(sizes))
    if a.shape == sizes:
        return a
    return Expand.apply(a, sizes) if isinstance(a, Tensor) else _expanded(a, sizes)


def cast(a: Any, dtype: Any) -> Any:
    """The same values as ``dtype``, ``a`` itself where it has it already; differentiable between floating dtypes."""
    if a.dtype == dtype:
        return a
    return Cast.apply(a, np.dtype(dtype)) if isinstance(a, Tensor) else a.astype(dtype)


def to_device(a: Any, device: str) -> Any:
    """The same values on ``device`` ("cpu", "cuda", "cuda:N"), ``a`` itself where it lives there; differentiable.

    Raises DeviceError when the device is misspelt or cannot be had.
    """
    try:
        kind, index = parse_device(device)
    except DeviceError as error:
        raise DeviceError(f"to_device: {error}") from error
    here = device_of(a._data if isinstance(a, Tensor) else a)
    return a if here in (kind.name, f"{kind.name}:{index}") else ToDevice.apply(a, device)
