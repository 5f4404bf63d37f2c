"""Derivatives from function values alone: central differences extrapolated to step zero.

The central difference D(h) = (f(x + h) - f(x - h)) / 2h of a smooth function has an error in even powers of h, so
Richardson's extrapolation over steps h, h/2, h/4, ... (Richardson 1911) removes one power after the other:

    A[i, 0] = D(h / 2^i),    A[i, k] = A[i, k-1] + (A[i, k-1] - A[i-1, k-1]) / (4^k - 1)

Of all A[i, k] the one is taken whose estimated error is least (Ridders 1982, "Accurate computation of F'(x) and
F'(x) F''(x)", Advances in Engineering Software 4): its distance from the two it was made of, plus the rounding of
the function values, eps |f| / h. Smooth functions come out to about 12 digits. The error estimate is large where the
function has a kink or a pole within the smallest step; it cannot notice a kink exactly at x, where the result is the
mean of both one-sided derivatives. Steps that leave the function's domain (NaN, or a matrix that has no
factorisation) are passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from reference.probing import Function, varied, weigh
from tinygrad_hw.backend import Array, array_module

STEP = 0.1  # the first step, for entries up to 1; it grows with the square root of larger ones
LEVELS = 12  # halvings: the last step is STEP / 2048
ORDERS = 7  # columns of the tableau: error of order 2 * ORDERS at most
_EPS = float(np.finfo(np.float64).eps)


def gradient(
    f: Function, args: Sequence[Any], g: Any = None, argnums: Sequence[int] | None = None
) -> tuple[Array, ...]:
    """The gradient of <g, f(*args)> with respect to each varied argument, entry by entry.

    ``f`` takes and returns arrays (or returns a tuple of arrays; ``g`` is then a tuple too, None where an output does
    not count). ``argnums`` chooses the arguments, by default every float64 array. ``g`` may be left out where f's value
    has one entry. Costs 24 calls of ``f`` an entry. Raises TypeError below float64, ValueError where ``g`` does not
    fit.
    """
    return gradient_with_error(f, args, g, argnums)[0]


def gradient_with_error(
    f: Function, args: Sequence[Any], g: Any = None, argnums: Sequence[int] | None = None
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """As :func:`gradient`, and beside it the estimated absolute error of each entry."""
    values, errors = [], []
    for position in varied(args, argnums):
        xp = array_module(args[position])
        value, error = xp.zeros_like(args[position]), xp.zeros_like(args[position])
        for index in np.ndindex(*args[position].shape):
            value[index], error[index] = entry(f, args, g, position, index)
        values.append(value)
        errors.append(error)
    return tuple(values), tuple(errors)


def entry(f: Function, args: Sequence[Any], g: Any, position: int, index: tuple[int, ...]) -> tuple[float, float]:
    """The derivative of <g, f(*args)> with respect to one entry of one argument, and its estimated error."""
    varied(args, (position,))
    size = abs(args[position][index].item())

    def moved(t: float) -> list[Any]:
        shifted = [*args]
        shifted[position] = args[position].copy()
        shifted[position][index] += t
        return shifted

    return _extrapolate(f, moved, g, STEP * max(1.0, size**0.5))


def directional(f: Function, args: Sequence[Any], directions: Sequence[Any], g: Any = None) -> float:
    """d/dt <g, f(args + t directions)> at t = 0: the gradient's product with ``directions``, for 24 calls of ``f``.

    ``directions`` has one array for each varied argument and None for the others, see
    :func:`reference.probing.random_directions`. Raises as :func:`gradient` does.
    """
    return directional_with_error(f, args, directions, g)[0]


def directional_with_error(
    f: Function, args: Sequence[Any], directions: Sequence[Any], g: Any = None
) -> tuple[float, float]:
    """As :func:`directional`, and the estimated absolute error."""
    chosen = varied(args, [position for position, direction in enumerate(directions) if direction is not None])
    largest = max((abs(directions[position]).max().item() for position in chosen if args[position].size), default=1.0)

    def moved(t: float) -> list[Any]:
        return [
            value if direction is None else value + t * direction
            for value, direction in zip(args, directions, strict=True)
        ]

    return _extrapolate(f, moved, g, STEP / max(largest, 1e-300))


def _extrapolate(f: Function, moved: Callable[[float], list[Any]], g: Any, step: float) -> tuple[float, float]:
    best, least = float("nan"), float("inf")
    previous: list[float] = []
    for level in range(LEVELS):
        h = step * 0.5**level
        slope, rounding = _central_difference(f, moved, g, h)
        row = [slope]
        for k, older in enumerate(previous[: ORDERS - 1]):
            finer = row[k] + (row[k] - older) / (4.0 ** (k + 1) - 1.0)
            error = max(abs(finer - row[k]), abs(finer - older)) + rounding
            if error < least:
                best, least = finer, error
            row.append(finer)
        previous = row
    return best, least


def _central_difference(f: Function, moved: Callable[[float], list[Any]], g: Any, h: float) -> tuple[float, float]:
    """D(h) and the rounding error to expect of it; NaN where ``f`` has no value."""
    with np.errstate(all="ignore"):
        try:
            above, below = f(*moved(h)), f(*moved(-h))
        except np.linalg.LinAlgError:
            return float("nan"), float("nan")
        # subtracting before weighing keeps outputs that do not depend on the entry out of the rounding
        slope = weigh(_each(lambda a, b: a - b, above, below), g) / (2 * h)
        size = weigh(_each(lambda a, b: abs(a) + abs(b), above, below), _each(abs, g))
    return slope, _EPS * abs(size) / (2 * h)


def _each(function: Callable[..., Any], *values: Any) -> Any:
    """``function`` applied to arrays, or to each member of tuples of arrays; None stays None."""
    if isinstance(values[0], tuple):
        return tuple(_each(function, *parts) for parts in zip(*values, strict=True))
    return None if values[0] is None else function(*values)
