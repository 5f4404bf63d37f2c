"""Comparisons, logic, positions: functions of steps, so without gradient. Given a Tensor they return a constant one."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_hw.autograd import Function
from tinygrad_hw.backend import array_module
from tinygrad_hw.tensor import raw_of

__all__ = [
    "argmax", "argmin", "eq", "ge", "gt", "isfinite", "isinf", "isnan", "le", "logical_and", "logical_not",
    "logical_or", "lt", "ne", "one_hot",
]  # fmt: skip


class Eq(Function):
    """a = b?"""

    broadcasts = True

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        return a == b


class Ne(Function):
    """a ≠ b?"""

    broadcasts = True

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        return a != b


class Lt(Function):
    """a < b?"""

    broadcasts = True

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        return a < b


class Le(Function):
    """a ≤ b?"""

    broadcasts = True

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        return a <= b


class Gt(Function):
    """a > b?"""

    broadcasts = True

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        return a > b


class Ge(Function):
    """a ≥ b?"""

    broadcasts = True

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        return a >= b


class LogicalNot(Function):
    """not a."""

    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        return array_module(a).logical_not(a)


class LogicalAnd(Function):
    """a and b."""

    broadcasts = True

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        return array_module(a, b).logical_and(a, b)


class LogicalOr(Function):
    """a or b."""

    broadcasts = True

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        return array_module(a, b).logical_or(a, b)


class Isnan(Function):
    """Is x not a number?"""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return array_module(x).isnan(x)


class Isinf(Function):
    """Is x infinite?"""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return array_module(x).isinf(x)


class Isfinite(Function):
    """Is x neither infinite nor NaN?"""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return array_module(x).isfinite(x)


class Argmax(Function):
    """The position of the greatest entry."""

    @staticmethod
    def forward(ctx: Any, x: Any, axis: int | None, keepdims: bool) -> Any:
        return array_module(x).argmax(x, axis=axis, keepdims=keepdims)


class Argmin(Function):
    """The position of the least entry."""

    @staticmethod
    def forward(ctx: Any, x: Any, axis: int | None, keepdims: bool) -> Any:
        return array_module(x).argmin(x, axis=axis, keepdims=keepdims)


class OneHot(Function):
    """y[..., c] = 1 where index[...] = c, else 0."""

    @staticmethod
    def forward(ctx: Any, index: Any, num_classes: int) -> Any:
        xp = array_module(index)
        return (index[..., None] == xp.arange(num_classes, dtype=index.dtype)).astype(np.int64)


def eq(a: Any, b: Any) -> Any:
    """a = b, entry by entry, as booleans; Tensors, arrays or numbers that broadcast together (ValueError if not)."""
    return Eq.apply(a, b)


def ne(a: Any, b: Any) -> Any:
    """a ≠ b, entry by entry, as booleans; operands as for :func:`eq`."""
    return Ne.apply(a, b)


def lt(a: Any, b: Any) -> Any:
    """a < b, entry by entry, as booleans; operands as for :func:`eq`."""
    return Lt.apply(a, b)


def le(a: Any, b: Any) -> Any:
    """a ≤ b, entry by entry, as booleans; operands as for :func:`eq`."""
    return Le.apply(a, b)


def gt(a: Any, b: Any) -> Any:
    """a > b, entry by entry, as booleans; operands as for :func:`eq`."""
    return Gt.apply(a, b)


def ge(a: Any, b: Any) -> Any:
    """a ≥ b, entry by entry, as booleans; operands as for :func:`eq`."""
    return Ge.apply(a, b)


def logical_not(a: Any) -> Any:
    """True where ``a`` is 0 or False."""
    return LogicalNot.apply(a)


def logical_and(a: Any, b: Any) -> Any:
    """True where neither ``a`` nor ``b`` is 0 or False; operands as for :func:`eq`."""
    return LogicalAnd.apply(a, b)


def logical_or(a: Any, b: Any) -> Any:
    """True where ``a`` and ``b`` are not both 0 or False; operands as for :func:`eq`."""
    return LogicalOr.apply(a, b)


def isnan(x: Any) -> Any:
    """True where ``x`` is not a number."""
    return Isnan.apply(x)


def isinf(x: Any) -> Any:
    """True where ``x`` is ∞ or -∞."""
    return Isinf.apply(x)


def isfinite(x: Any) -> Any:
    """True where ``x`` is neither infinite nor NaN."""
    return Isfinite.apply(x)


def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """The int64 position of the greatest entry along ``axis``, or in the flattened array; the first of several.

    A NaN counts as greatest. Raises IndexError where there is no such axis and ValueError where it has no entries.
    """
    return Argmax.apply(x, axis, keepdims)


def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """The int64 position of the least entry along ``axis``; else as :func:`argmax`."""
    return Argmin.apply(x, axis, keepdims)


def one_hot(index: Any, num_classes: int = -1) -> Any:
    """Class numbers (...) as int64 indicator vectors (..., num_classes): y[..., c] = 1 where index[...] = c, else 0.

    ``num_classes`` -1 takes the greatest class number plus one. A number out of range raises ValueError on the CPU; the
    check would make a GPU wait, so there it gives zeros. Raises TypeError where ``index`` holds no integers.
    """
    array = raw_of(index)
    dtype = getattr(array, "dtype", None)
    if dtype is None or dtype.kind not in "iu":
        raise TypeError(f"one_hot: expected an array of integers, got {dtype or type(index).__name__}")
    if num_classes == -1:
        if array.size == 0:
            raise ValueError("one_hot: num_classes is needed where there are no class numbers to take it from")
        num_classes = int(array.max()) + 1
    if num_classes < 1:
        raise ValueError(f"one_hot: expected at least one class, got {num_classes}")
    if isinstance(array, np.ndarray) and array.size and not (array.min() >= 0 and array.max() < num_classes):
        wrong = array[(array < 0) | (array >= num_classes)][0]
        raise ValueError(f"one_hot: class numbers must lie in 0 .. {num_classes - 1}, got {wrong}")
    return OneHot.apply(index, num_classes)
