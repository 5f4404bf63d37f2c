"""Several seeds of one thing: mean, spread, and differences pair by pair."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """Mean and spread of some numbers.

    Attributes:
        mean: their arithmetic mean.
        spread: their sample standard deviation, with n - 1 in the denominator; 0 for a single number.
        count: how many they are.
    """

    mean: float
    spread: float
    count: int

    def __str__(self) -> str:
        return f"{self.mean:.4g} ± {self.spread:.2g}"


def spread(values: Sequence[float] | np.ndarray) -> Spread:
    """Mean and spread of one number or more. Raises ValueError for none."""
    numbers = np.asarray(values, dtype=np.float64)
    if not numbers.size:
        raise ValueError("spread: no numbers, expected at least one")
    return Spread(float(numbers.mean()), float(numbers.std(ddof=1)) if numbers.size > 1 else 0.0, numbers.size)


def over_seeds(metrics: Sequence[Mapping[str, float | None]]) -> dict[str, Spread]:
    """Mean and spread of every metric that all of some runs have, and that is finite in all."""
    keys = [key for key in metrics[0] if all(run.get(key) is not None for run in metrics)] if metrics else []
    return {key: spread([run[key] for run in metrics]) for key in keys}  # type: ignore[misc]
