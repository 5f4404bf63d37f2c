"""Making tensors: ``tensor``, ``zeros``, ``ones``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_hw.backend import array_module, is_array, to_device
from tinygrad_hw.operands import get_default_dtype, numbers_of
from tinygrad_hw.tensor import Tensor, raw_of


def tensor(data: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A new leaf with a copy of ``data``.

    Args:
        data: numbers, nested lists, an array or a Tensor. Python floats become the default dtype (float32), integers
            int64; arrays keep their dtype.
        dtype: NumPy dtype or its name.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``; default: where ``data`` is, else the CPU.
        requires_grad: whether ``.grad`` is wanted.

    Raises:
        TypeError: ``data`` is no rectangular collection of numbers, or ``requires_grad`` with an integer dtype.
        DeviceError: the device is unknown or missing.
    """
    raw = raw_of(data)
    if not is_array(raw):
        raw = numbers_of(raw, dtype)
    array = array_module(raw).array(raw, dtype=dtype)
    return Tensor(array if device is None else to_device(array, device), requires_grad)


def _creation(fill: str) -> Callable[..., Tensor]:
    def make(*shape: Any, dtype: Any = None, device: str = "cpu", requires_grad: bool = False) -> Tensor:
        sizes = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], (int, np.integer)) else shape
        array = getattr(np, fill)(sizes, dtype=dtype or get_default_dtype())
        return Tensor(to_device(array, device), requires_grad)

    make.__name__ = make.__qualname__ = fill
    make.__doc__ = (
        f"A tensor of {fill}, of the given shape: ``{fill}(2, 3)`` or ``{fill}((2, 3))``; dtype as ``tensor``."
    )
    return make


zeros = _creation("zeros")
ones = _creation("ones")
