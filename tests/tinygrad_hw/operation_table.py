"""The table of operations as parameters for tests: names, cached samples, and the same call in other clothes."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from reference import cases as sampling
from reference.cases import Case, map_call
from reference.table import Call, Record, records

TABLE = records()
NAMES = sorted(TABLE)


def named(condition: Callable[[Record], Any] = lambda record: True) -> list[str]:
    """The operations whose record fulfils ``condition``."""
    return [name for name in NAMES if condition(TABLE[name])]


WITH_GRADIENT = named(lambda record: record.gradient is True)
BROADCASTING = named(lambda record: record.broadcasts)


@cache
def cases(name: str) -> list[Case]:
    return sampling.cases(TABLE[name])


def as_float32(call: Call) -> Call:
    return map_call(call, lambda a: a.astype(np.float32) if a.dtype == np.float64 else a)


def fortran(array: np.ndarray) -> np.ndarray:
    return np.array(array, order="F")


def backwards(array: np.ndarray) -> np.ndarray:
    """The same values behind negative strides."""
    return np.asarray(np.flip(np.flip(array).copy()))


def spread_out(array: np.ndarray) -> np.ndarray:
    """The same values as every second entry along the last axis of a larger array."""
    if array.ndim == 0:
        return array
    larger = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    larger[..., ::2] = array
    return larger[..., ::2]


def read_only(array: np.ndarray) -> np.ndarray:
    """A copy that raises when something writes to it."""
    array = array.copy()
    array.flags.writeable = False
    return array


def pool(name: str, position: int) -> np.ndarray:
    """Values inside the domain of one operand: all that the samples have there."""
    found = [c.call.args[position] for c in cases(name) if len(c.call.args) > position]
    return np.concatenate([a.ravel() for a in found if isinstance(a, np.ndarray) and a.dtype == np.float64])


def drawn_from(values: np.ndarray, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """An array of some of ``values``, none twice if there are enough."""
    count = math.prod(shape)
    return np.random.default_rng(seed).permutation(np.resize(values, max(values.size, count)))[:count].reshape(shape)
