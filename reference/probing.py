"""What the numeric oracles share: which arguments are varied, how outputs are weighed, how agreement is counted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_hw.backend import Array, array_module, is_array

Function = Callable[..., Any]


def varied(args: Sequence[Any], argnums: Sequence[int] | None = None) -> tuple[int, ...]:
    """The positions of the arguments to differentiate: ``argnums``, or every array of floating-point numbers.

    Raises TypeError if a floating-point array among ``args`` is below float64 (its rounding would drown the derivative)
    or a chosen argument is no floating-point array, and ValueError if nothing is left to differentiate.
    """
    floating = [position for position, value in enumerate(args) if is_array(value) and value.dtype.kind == "f"]
    for position in floating:
        if args[position].dtype.itemsize < 8:
            raise TypeError(
                f"numeric derivative: argument {position} must be float64, got {args[position].dtype}: "
                "convert it with .astype('float64')"
            )
    chosen = tuple(floating if argnums is None else argnums)
    for position in chosen:
        if position not in floating:
            kind = getattr(args[position], "dtype", type(args[position]).__name__)
            raise TypeError(f"numeric derivative: argument {position} must be an array of float64, got {kind}")
    if not chosen:
        raise ValueError("numeric derivative: none of the arguments is an array of float64, nothing to differentiate")
    return chosen


def weigh(value: Any, g: Any) -> Any:
    """The number <g, value> = sum over all entries of g times value, without conjugation.

    ``value`` and ``g`` are arrays of one shape, or tuples of those; where ``g`` is None in a tuple, that output does
    not count, and ``g`` None alone stands for 1 and needs a value of one entry. Raises ValueError where shapes differ,
    TypeError where ``value`` is below float64.
    """
    if isinstance(value, tuple):
        weights = (None,) * len(value) if g is None else tuple(g)
        if len(weights) != len(value) or all(weight is None for weight in weights):
            raise ValueError(f"numeric derivative: {len(value)} outputs need as many cotangents, got {g!r:.80}")
        return sum(weigh(part, weight) for part, weight in zip(value, weights, strict=True) if weight is not None)
    shape, dtype = getattr(value, "shape", ()), getattr(value, "dtype", np.dtype("f8"))
    if dtype in (np.float16, np.float32, np.complex64):
        raise TypeError(f"numeric derivative: the function must compute in float64, it returned {dtype}")
    if g is None:
        if math.prod(shape) != 1:
            raise ValueError(f"numeric derivative: an output of shape {shape} needs a cotangent g of that shape")
        g = 1.0
    elif getattr(g, "shape", ()) != shape:
        raise ValueError(f"numeric derivative: output has shape {shape}, cotangent g has {getattr(g, 'shape', ())}")
    return array_module(value).sum(value * g).item()


def random_directions(args: Sequence[Any], argnums: Sequence[int] | None = None, seed: int = 0) -> tuple[Any, ...]:
    """Independent standard normal draws shaped like the varied arguments, None at the others.

    Isotropic: no direction of the space is preferred, so an error of a gradient in any one direction shows up in the
    product with a single draw with probability one. One draw costs as much as one entry, whatever the size.
    """
    generator, chosen = np.random.default_rng(seed), varied(args, argnums)
    return tuple(
        array_module(value).asarray(generator.standard_normal(value.shape)) if position in chosen else None
        for position, value in enumerate(args)
    )


def inner(gradients: Sequence[Array], directions: Sequence[Any]) -> float:
    """The directional derivative that ``gradients`` (one for each direction that is not None) amount to."""
    present = [direction for direction in directions if direction is not None]
    return float(
        sum((gradient * direction).sum().item() for gradient, direction in zip(gradients, present, strict=True))
    )


def digits_agreed(actual: Any, expected: Any) -> float:
    """Decimal digits to which ``actual`` agrees with ``expected``, of the largest entry of ``expected``: 0 to 16.

    -log10(max|actual - expected| / max|expected|); 0 where shapes differ or an entry is not finite.
    """
    xp = array_module(actual, expected)
    actual, expected = xp.asarray(actual), xp.asarray(expected)
    if actual.shape != expected.shape:
        return 0.0
    if actual.size == 0:
        return 16.0
    difference, scale = xp.abs(actual - expected).max().item(), xp.abs(expected).max().item()
    if difference == 0:
        return 16.0
    if not (math.isfinite(difference) and math.isfinite(scale)) or scale == 0:
        return 0.0
    return min(16.0, max(0.0, -math.log10(difference / scale)))
