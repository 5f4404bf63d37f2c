"""Arithmetic with broadcasting, and the three helpers that fit a gradient to its input: sum_to, cast, to_device."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_hw import backend
from tinygrad_hw.autograd import Function
from tinygrad_hw.backend import array_module, device_of
from tinygrad_hw.operands import get_default_dtype


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
    """z = a / b; ∂z/∂a = 1/b, ∂z/∂b = -a/b²."""

    broadcasts = True
    floating = True

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        ctx.save_for_backward(a if ctx.needs_input_grad[1] else None, b)
        return a / b

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        a, b = ctx.saved_tensors
        wants_a, wants_b = ctx.needs_input_grad
        quotient = grad / b
        return quotient if wants_a else None, -quotient * a / b if wants_b else None


class Neg(Function):
    """z = -a; ∂z/∂a = -1."""

    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        return -a

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return -grad


class SumTo(Function):
    """Sum over the axes along which ``shape`` was broadcast to the argument's shape; its derivative broadcasts back."""

    @staticmethod
    def forward(ctx: Any, a: Any, shape: tuple[int, ...]) -> Any:
        ctx.shape = a.shape
        lead = a.ndim - len(shape)
        axes = tuple(range(lead)) + tuple(
            i + lead for i, size in enumerate(shape) if size == 1 and a.shape[i + lead] != 1
        )
        result = a.sum(axis=axes, keepdims=True) if axes else a
        return result.reshape(shape)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return expand(grad, ctx.shape)


class Expand(Function):
    """Repeat along axes of size 1 (and new leading axes) without copying; its derivative sums over them."""

    broadcasts = True

    @staticmethod
    def forward(ctx: Any, a: Any, shape: tuple[int, ...]) -> Any:
        return array_module(a).broadcast_to(a, shape)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad  # summed to the input's shape by the tape


class Cast(Function):
    """The same values in another dtype; the gradient is cast back by the tape."""

    @staticmethod
    def forward(ctx: Any, a: Any, dtype: Any) -> Any:
        return a.astype(dtype)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad


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
    """Elementwise a + b, with broadcasting."""
    return Add.apply(a, b)


def sub(a: Any, b: Any) -> Any:
    """Elementwise a - b, with broadcasting."""
    return Sub.apply(a, b)


def mul(a: Any, b: Any) -> Any:
    """Elementwise a b, with broadcasting."""
    return Mul.apply(a, b)


def div(a: Any, b: Any) -> Any:
    """Elementwise a / b, with broadcasting; integers give the default floating dtype."""
    return Div.apply(a, b)


def neg(a: Any) -> Any:
    """Elementwise -a."""
    return Neg.apply(a)


def sum_to(a: Any, shape: tuple[int, ...]) -> Any:
    """Undo broadcasting: the sum of ``a`` over the axes along which an array of ``shape`` was repeated to give it.

    Raises ValueError when ``shape`` does not broadcast to ``a.shape``.
    """
    shape = tuple(shape)
    if a.shape == shape:
        return a
    if len(shape) > a.ndim or np.broadcast_shapes(shape, a.shape) != tuple(a.shape):
        raise ValueError(f"sum_to: shape {shape} does not broadcast to {tuple(a.shape)}")
    return SumTo.apply(a, shape)


def expand(a: Any, *shape: Any) -> Any:
    """``a`` repeated along its axes of size 1 to ``shape`` (as a tuple or as separate sizes), without copying.

    -1 keeps an axis as it is (PyTorch's ``expand``). Raises ValueError when ``a.shape`` does not broadcast to ``shape``.
    """
    sizes = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    lead = len(sizes) - a.ndim
    sizes = tuple(a.shape[i - lead] if size == -1 and i >= lead else size for i, size in enumerate(sizes))
    return a if a.shape == sizes else Expand.apply(a, sizes)


def cast(a: Any, dtype: Any) -> Any:
    """The same values as ``dtype``; differentiable between floating dtypes."""
    return a if a.dtype == dtype else Cast.apply(a, np.dtype(dtype))


def to_device(a: Any, device: str) -> Any:
    """The same values on ``device``; differentiable. Raises DeviceError when the device cannot be had."""
    return ToDevice.apply(a, device) if device_of(a) != device else a
