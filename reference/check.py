"""``python -m reference check module:function``: is a gradient written by hand the derivative of its function?

Protocol. The module is found from the current folder, as Python imports it. ``function(*args)`` takes NumPy arrays and
returns a number or an array. Its gradient is another function of the module:

    function_grad(*args)       for a function of one number: the gradient of each array argument, a tuple if several
    function_vjp(g, *args)     for any function: the same, of the sum of g times the value; g has the value's shape

or the one named by ``--grad`` or ``--vjp`` (with ``module:`` in front if it is elsewhere). Where both exist both are
checked. Only float64 arrays are differentiated; integer arrays (labels, indices), numbers and everything else are passed
on, and the gradient may hold None for them or leave them out.

Inputs are, in this order: one standard normal array for each ``--shape`` (``--shape 3,4 --shape 4``; ``--shape ()`` is a
single number), or what the module calls ``function_inputs``, ``check_inputs`` or ``inputs``: the arguments as a tuple,
or a function that returns them. Choose them away from kinks and poles, and all of different sizes.

Every entry is compared with finite differences, and with the complex step where the function takes complex numbers and
is analytic. An argument of more than ``--entries`` entries is compared at that many of them, drawn at random, and along
ten random directions, in which every entry counts.

Exit status: 0 every argument passed; 1 one failed, or its gradient is zero everywhere so that nothing was tested; 2 the
check could not be made (one line says why).
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from reference import complex_step, finite_differences
from reference.hints import shape_hint, value_hint
from reference.probing import digits_agreed, inner, random_directions, varied

DIRECTIONS = 10
SHOWN = 5  # wrong entries that are listed


class Refusal(Exception):
    """The check cannot be made; the message is one line for the user."""


@dataclass
class Verdict:
    """Of one argument: whether its gradient passed, the digits agreed with each oracle, what to say of it."""

    name: str
    shape: tuple[int, ...]
    problems: list[str] = field(default_factory=list)
    finite_differences: float | None = None
    complex_step: float | None = None

    @property
    def passed(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        def digits(number: float | None) -> str:
            return "not applicable" if number is None else f"{number:.1f} digits"

        head = f"{'PASS' if self.passed else 'FAIL'}  {self.name} {self.shape}: "
        head += f"finite differences {digits(self.finite_differences)}, complex step {digits(self.complex_step)}"
        return "\n".join([head, *(f"      {problem}" for problem in self.problems)])


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _run(name: str, function: Callable[..., Any], args: Sequence[Any]) -> Any:
    try:
        return function(*args)
    except Exception as error:
        shapes = ", ".join(str(getattr(value, "shape", value)) for value in args)
        raise Refusal(f"{name} raised for arguments {shapes:.200}: {_one_line(error)}") from error


def _array(what: str, value: Any) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise Refusal(f"{what} is no array: {_one_line(error)}") from error
    if array.dtype.kind not in "fiu":
        raise Refusal(f"{what} must be real numbers, got dtype {array.dtype} ({type(value).__name__})")
    return array


def _copies(args: Sequence[Any]) -> list[Any]:
    return [value.copy() if isinstance(value, np.ndarray) else value for value in args]


def _unchanged(name: str, before: Sequence[Any], after: Sequence[Any]) -> None:
    for position, (old, new) in enumerate(zip(before, after, strict=True)):
        if isinstance(old, np.ndarray) and not np.array_equal(old, new, equal_nan=old.dtype.kind == "f"):
            raise Refusal(f"{name} changes its argument {position} in place: work on a copy")


def _gradients(name: str, gradient: Callable[..., Any], args: Sequence[Any], chosen: Sequence[int]) -> list[Any]:
    """What ``gradient(*args)`` gives for the arguments ``chosen`` out of those that count (negative: all, in order)."""
    given = _copies(args)
    result = _run(name, gradient, given)
    _unchanged(name, args, given)
    parts = list(result) if isinstance(result, tuple | list) else [result]
    offset = len(args) - 1 - max(chosen)
    if len(parts) > len(chosen) and len(parts) > max(chosen):
        parts = [parts[position] for position in chosen]
    if len(parts) != len(chosen):
        raise Refusal(f"{name} returned {len(parts)} gradients, expected {len(chosen)} (after {offset} others)")
    return parts


def check(
    name: str,
    function: Callable[..., Any],
    gradient_name: str,
    gradient: Callable[..., Any],
    args: Sequence[Any],
    vjp: bool,
    seed: int = 0,
    rtol: float = 1e-6,
    entries: int = 1000,
) -> list[Verdict]:
    """A verdict on each float64 array among ``args``; see the module for the protocol. Raises :class:`Refusal`."""
    raise NotImplementedError
