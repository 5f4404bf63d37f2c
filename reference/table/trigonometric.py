"""Records of the trigonometric and hyperbolic functions."""

from __future__ import annotations

import numpy as np

from reference import complex_step
from reference import elementwise as by_hand
from reference.table.arithmetic import MISMATCH, binary
from reference.table.elementwise import unary, within
from reference.table.record import Record

RECORDS = [
    unary("sin", within(-4.0, 4.0), np.sin, stable=True),
    unary("cos", within(-4.0, 4.0), np.cos, stable=True),
    unary("tan", within(-1.2, 1.2), np.tan),
    unary("asin", within(-0.8, 0.8), np.arcsin),
    unary("acos", within(-0.8, 0.8), np.arccos),
    unary("atan", within(-4.0, 4.0), np.arctan, stable=True),
    unary("sinh", within(-2.0, 2.0), np.sinh),
    unary("cosh", within(-2.0, 2.0), np.cosh),
    unary("tanh", within(-3.0, 3.0), complex_step.tanh, stable=True),
    unary("asinh", within(-4.0, 4.0), np.arcsinh, stable=True),
    unary("acosh", within(1.3, 4.0), np.arccosh),
    unary("atanh", within(-0.8, 0.8), np.arctanh),
    Record(
        "atan2",
        samples=binary,
        numpy=lambda y, x: complex_step.arctan2(np.asarray(y), np.asarray(x)),
        hand=by_hand.hand_atan2,
        torch=lambda torch, y, x: torch.atan2(*(torch.as_tensor(v, dtype=torch.float64) for v in (y, x))),
        broadcasts=True,
        stable=True,
        failures=(MISMATCH,),
    ),
]
