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
