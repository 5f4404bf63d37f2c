"""One record for each operation: sample inputs, what must fail, and its independent oracles.

The table is the single source that drives the tests of every operation and the report of ``python -m reference``. It is
written against NumPy alone; an operation is named by its function in ``tinygrad_hw.functional``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Call:
    """The arguments of one call.

    Gradients are taken of the float64 arrays among ``args``, those inside lists and tuples included, in order;
    integers, booleans and numbers have none, and arrays in ``kwargs`` are settings.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)


def call(*args: Any, **kwargs: Any) -> Call:
    return Call(args, kwargs)


@dataclass(frozen=True)
class Failure:
    """A call that must raise ``exception`` with ``words`` in its message."""

    call: Call
    exception: type[Exception]
    words: str


@dataclass(frozen=True)
class Record:
    """What is known of one operation.

    Attributes:
        name: of the function in ``tinygrad_hw.functional``.
        samples: draws calls inside the operation's domain (away from kinks and ties), float64, several shapes; the
            sizes of the axes of one array differ, so that no symmetry hides an exchanged index.
        numpy: the value on plain arrays, independent of the engine, called like the operation.
        hand: ``hand(g, *args, **kwargs)`` gives the hand-derived gradient of each float64 array argument in order, as
            a tuple; a string says why there is none. ``g`` is an array of the value's shape, or a tuple of those with
            None for outputs that carry no gradient, where the operation returns a tuple.
        torch: ``torch(torch_module, *args, **kwargs)`` on torch tensors; a string says why PyTorch has no such thing.
            It may return NotImplemented for single calls that PyTorch does not know.
        complex_step: the value continued analytically to complex arrays (defaults to ``numpy``); a string says why
            there is no continuation.
        finite_differences: True, or why the gradient is not the derivative (straight-through estimators).
        second: True if differentiable twice under ``create_graph=True``, or why not (a fused operation must raise).
        gradient: True, or why there is none (comparisons, argmax): then only the value is compared.
        broadcasts: the first two operands follow broadcasting.
        stable: value and gradient stay finite in float32 for operands up to ±1e4.
        devices: True, or why the operation cannot run on a GPU backend.
        failures: calls that must raise, and with which words.
        tolerance: digits that must agree with finite differences at least (float64).
    """

    name: str
    samples: Callable[[np.random.Generator], list[Call]]
    numpy: Callable[..., Any]
    hand: Callable[..., tuple[Any, ...]] | str
    torch: Callable[..., Any] | str
    complex_step: Callable[..., Any] | str | None = None
    finite_differences: bool | str = True
    second: bool | str = True
    gradient: bool | str = True
    broadcasts: bool = False
    stable: bool = False
    devices: bool | str = True
    failures: tuple[Failure, ...] = ()
    tolerance: float = 7.0
