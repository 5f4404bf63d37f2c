"""Records of the activation functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference import complex_step
from reference import elementwise as by_hand
from reference.table.elementwise import Samples, signed, unary
from reference.table.record import Failure, Record, call


def also(samples: Samples, *calls: Samples) -> Samples:
    """The calls of several samplers."""
    return lambda rng: [one for draw in (samples, *calls) for one in draw(rng)]


def _softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    return np.where(beta * x.real > threshold, x, complex_step.softplus(beta * x) / beta)


def _hand_softplus(g: Any, x: Any, beta: float = 1.0, threshold: float = 20.0) -> tuple[Any, ...]:
    """sigmoid(beta x), 1 above the threshold."""
    return (np.where(beta * x > threshold, g, by_hand.hand_softplus(g, beta * x)[0]),)


def _functional(name: str) -> Any:
    return lambda torch, x, *args, **kwargs: getattr(torch.nn.functional, name)(x, *args, **kwargs)


RECORDS = [
    unary("relu", signed(0.3, 2.0), complex_step.relu, stable=True),
    unary(
        "leaky_relu",
        also(signed(0.3, 2.0), signed(0.3, 2.0, 0.2), signed(0.3, 2.0, negative_slope=1.5)),
        complex_step.leaky_relu,
        torch=_functional("leaky_relu"),
        stable=True,
    ),
    unary(
        "elu",
        also(signed(0.3, 3.0), signed(0.3, 3.0, 0.5), signed(0.3, 3.0, alpha=-0.7)),
        complex_step.elu,
        torch=_functional("elu"),
        stable=True,
    ),
    unary("sigmoid", signed(0.3, 6.0), complex_step.sigmoid, stable=True),
    unary("silu", signed(0.3, 6.0), complex_step.silu, torch=_functional("silu"), stable=True),
    unary(
        "gelu",
        also(signed(0.3, 2.5), signed(0.3, 2.5, approximate="tanh")),
        complex_step.gelu,
        torch=_functional("gelu"),
        stable=True,
        failures=(Failure(call(np.ones(3), "sigmoid"), ValueError, "expected approximate"),),
    ),
    Record(
        "softplus",
        samples=also(signed(0.3, 6.0), signed(0.3, 6.0, 2.0), signed(0.3, 2.0, beta=0.5, threshold=0.05)),
        numpy=_softplus,
        hand=_hand_softplus,
        torch=_functional("softplus"),
        stable=True,
        failures=(Failure(call(np.ones(3), 0), ValueError, "beta"),),
    ),
]
