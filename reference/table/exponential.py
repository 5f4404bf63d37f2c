"""Records of powers, exponentials, logarithms and the error function."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference import complex_step
from reference import elementwise as by_hand
from reference.table.arithmetic import MISMATCH, PAIRS
from reference.table.elementwise import signed, unary, within
from reference.table.record import Call, Failure, Record, call

EXPONENTS = (-3, -2, -1, 0, 1, 2, 2.0, 3, 4, 7, 16, 17, 0.5, -0.5, 1.5, -2.3, 20.5)


def _powers(rng: np.random.Generator) -> list[Call]:
    """Both operands arrays, a number as exponent, a number as base."""

    def draw(*shape: int) -> Any:
        return np.asarray(rng.uniform(0.4, 1.8, shape))

    pairs = [call(draw(*a), draw(*b) * rng.choice([-1.0, 1.0], b)) for a, b in PAIRS]
    return [*pairs, *(call(draw(3, 2), p) for p in EXPONENTS), call(1.7, draw(4)), call(2, draw(2, 3))]


def _hand_pow(g: Any, x: Any, p: Any) -> Any:
    gradients = by_hand.hand_pow(g, x, p)
    return gradients if hasattr(x, "shape") else gradients[-1:]


RECORDS = [
    Record(
        "pow",
        samples=_powers,
        numpy=lambda x, p: complex_step.power(np.asarray(x, float) if np.isscalar(x) else x, p),
        hand=_hand_pow,
        torch=lambda torch, x, p: torch.pow(x, p),
        broadcasts=True,
        failures=(MISMATCH, Failure(call(np.arange(1, 4), -2), ValueError, "negative integer powers")),
    ),
    unary("exp", within(-2.0, 2.0), np.exp),
    unary("expm1", within(-2.0, 2.0), complex_step.expm1),
    unary("log", within(0.3, 4.0), complex_step.log),
    unary("log1p", within(-0.7, 3.0), complex_step.log1p),
    unary("erf", signed(0.01, 4.0), complex_step.erf, stable=True),
]
