"""Checks of arguments that several families of operations share."""

from __future__ import annotations

from typing import Any

import numpy as np


def check_floating(name: str, x: Any) -> None:
    """Raise TypeError in the name of operation ``name`` unless ``x`` is a Tensor or array of floating-point numbers."""
    dtype = getattr(x, "dtype", None)
    if dtype is None or dtype.kind != "f" or isinstance(x, np.generic):
        kind = type(x).__name__ if dtype is None or isinstance(x, np.generic) else dtype
        raise TypeError(f"{name}: expected a floating Tensor or array, got {kind}")


def integers(name: str, what: str, value: Any, count: int, least: int) -> tuple[int, ...]:
    """``value``, one integer or ``count`` of them, as ``count``.

    Raises TypeError where they are not integers and ValueError where they are too few, too many or below ``least``.
    """
    each_axis = f" or {count} of them" if count > 1 else ""
    listed = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if not all(isinstance(each, (int, np.integer)) and not isinstance(each, bool) for each in listed):
        raise TypeError(f"{name}: {what} must be an integer{each_axis}, got {value!r}")
    if len(listed) not in (1, count) or min(listed, default=least) < least:
        each_axis = each_axis and f",{each_axis}"
        raise ValueError(f"{name}: {what} must be one integer of at least {least}{each_axis}, got {value!r}")
    found = tuple(map(int, listed))
    return found if len(found) == count else found * count
