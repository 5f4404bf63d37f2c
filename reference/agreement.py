"""How far the engine agrees with its oracles: digits by operation and oracle, never a blank.

The engine's value is compared with NumPy's, its gradient with finite differences of its own value, with the complex
step of an analytic continuation, with the derivation by hand and with PyTorch (where installed), and its second
derivative with finite differences of its first. All of it in float64, on every sample call of every record of
:mod:`reference.table`. "Digits" are decimal digits of the largest entry: -log10(max |difference| / max |expected|).
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from reference import complex_step
from reference.cases import Case, Result, is_floating, map_call, outputs_of, raw, run, second_gradients
from reference.table import Record
from tinygrad_hw.autograd import NotTwiceDifferentiableError
from tinygrad_hw.backend import Array, to_numpy

MOST = 16.0  # what float64 can tell
VALUE = 12.0  # digits of the value
EXACT = 10.0  # digits of a gradient against one that was computed without differences
SECOND = 6.0  # digits of the second derivative against differences of the first
_ROUNDING = 1e-14  # a difference below this part of the cotangents is rounding, where the gradient itself is zero
COLUMNS = ("forward", "finite differences", "complex step", "hand", "PyTorch", "second")


@dataclass(frozen=True)
class Cell:
    """One operation against one oracle: the worst digits and how many are asked for, or why there are none."""

    digits: float | None
    needed: float = 0.0
    reason: str = ""

    def __post_init__(self) -> None:
        if self.digits is None and not self.reason.strip():
            raise ValueError("a cell without digits must say why")

    @property
    def ok(self) -> bool:
        return self.digits is None or self.digits >= self.needed

    def __str__(self) -> str:
        if self.digits is None:
            return f"n/a: {self.reason}"
        return f"{self.digits:.1f}" + (f" ({self.reason})" if self.reason else "")


@dataclass(frozen=True)
class Row:
    """One operation against all of its oracles."""

    name: str
    cells: dict[str, Cell]

    @property
    def ok(self) -> bool:
        return all(cell.ok for cell in self.cells.values())


# ------------------------------------------------------------------------------------------------------------ comparing


def digits(actual: Any, expected: Any, size: float = 1.0) -> float:
    """Digits to which two arrays, or sequences of arrays, agree at their worst; 0 where shapes or lengths differ.

    Where ``expected`` is zero there is no relative error: a difference below 1e-14 ``size`` counts as agreement.
    """
    if isinstance(actual, (tuple, list)):
        if len(actual) != len(expected):
            return 0.0
        return min((digits(a, e, size) for a, e in zip(actual, expected, strict=True)), default=MOST)
    a, e = to_numpy(raw(actual)), to_numpy(raw(expected))
    if a.shape != e.shape:
        return 0.0
    if not is_floating(a):
        return MOST if np.array_equal(a, e) else 0.0
    with np.errstate(all="ignore"):
        difference = np.where(a == e, 0.0, np.abs(a.astype(np.float64) - e))  # equal infinities differ by nothing
        worst = difference.max(initial=0.0)
        return _relative(float(worst), float(np.abs(e[np.isfinite(e)]).max(initial=0.0)), size)


def _relative(difference: float, scale: float, size: float) -> float:
    if difference == 0:
        return MOST
    if scale <= _ROUNDING * size:
        return MOST if difference <= _ROUNDING * size else 0.0
    if not math.isfinite(difference):
        return 0.0
    return min(MOST, max(0.0, -math.log10(difference / scale)))


def _size(case: Case) -> float:
    """The largest cotangent: what a gradient's rounding is measured by where the gradient is zero."""
    return max((float(np.abs(c).max(initial=0.0)) for c in case.cotangents if c is not None), default=1.0)


def inner(arrays: Iterable[Array], directions: Iterable[Array | None]) -> float:
    """sum of <array, direction>; a direction that is None does not count."""
    return sum(float((a * d).sum()) for a, d in zip(arrays, directions, strict=True) if d is not None)


def along(slope: float, expected: float, gradients: Sequence[Array], size: float) -> float:
    """Digits to which a slope along a standard normal direction agrees, of the gradient's norm (its usual size)."""
    norm = math.sqrt(sum(float((g * g).sum()) for g in gradients))
    if not math.isfinite(slope) or not math.isfinite(expected):
        return 0.0
    return _relative(abs(slope - expected), max(norm, abs(expected)), size)


# -------------------------------------------------------------------------------------------------------------- oracles

Measure = Callable[[Case], float | None]  # digits on one sample; None where it has nothing to compare


def forward_digits(case: Case) -> float:
    """The engine's value, on plain arrays and on Tensors, against NumPy's."""
    expected = outputs_of(case.record.numpy(*case.call.args, **case.call.kwargs))
    return min(digits(case.outputs, expected), digits(case.result.outputs, expected))


def difference_digits(case: Case, gradients: Sequence[Array] | None = None) -> float | None:
    """The gradient against finite differences along random directions, none of which an error can hide from."""
    if not case.differentiable:
        return None
    gradients = case.result.gradients if gradients is None else gradients
    return min(along(inner(gradients, d), slope, gradients, _size(case)) for d, slope in case.slopes)


def complex_digits(case: Case) -> float | None:
    """Every entry of the gradient against the complex step."""
    continuation = case.record.complex_step or case.record.numpy
    assert callable(continuation)
    if not case.differentiable:
        return None
    expected = complex_step.gradient(case.flat(continuation), case.leaves, case.weighed)
    return digits(case.result.gradients, expected, _size(case))


def hand_digits(case: Case, gradients: Sequence[Array] | None = None) -> float | None:
    """Every entry of the gradient against the derivation by hand; empty arrays too."""
    if not case.leaves or not case.weighed:
        return None
    return digits(case.result.gradients if gradients is None else tuple(gradients), case.hand, _size(case))


def second_digits(case: Case) -> float | None:
    """The recorded gradient against the plain one, and its derivative against differences of the plain one."""
    if not case.differentiable:
        return None
    return second_agreement(case, *second_gradients(case.function, case.call, case.cotangents, case.weights))


def second_agreement(case: Case, recorded: Result, second: Sequence[Array]) -> float:
    """Digits of a recorded first gradient and of its derivative."""
    directions, slope = case.second_slope
    same = digits(recorded.gradients, case.result.gradients, _size(case))
    return min(same, along(inner(second, directions), slope, second, _size(case)))


def refuses_a_second_derivative(case: Case) -> float | None:
    """16 if ``create_graph=True`` raises NotTwiceDifferentiableError, as a fused operation must, else 0."""
    if not case.differentiable:
        return None
    try:
        run(case.function, case.call, case.cotangents, create_graph=True)
    except NotTwiceDifferentiableError:
        return MOST
    return 0.0


def torch_digits(case: Case) -> float | None:
    """Value and gradient against PyTorch's."""
    import torch

    record = case.record

    call = map_call(case.call, lambda array: torch.from_numpy(np.array(array)))
    leaves = [tensor.requires_grad_() for tensor in _tensors(torch, call.args) if tensor.is_floating_point()]
    assert callable(record.torch)
    value = record.torch(torch, *call.args, **call.kwargs)
    if value is NotImplemented:
        return None
    outputs = [torch.as_tensor(output) for output in outputs_of(value)]
    agreed = digits(case.outputs, [output.detach().resolve_conj().numpy() for output in outputs])
    used = [i for i, output in enumerate(outputs) if output.requires_grad]
    if record.gradient is not True or not used or not leaves or agreed == 0.0:
        return agreed
    gradients = torch.autograd.grad(
        [outputs[i] for i in used],
        leaves,
        [torch.from_numpy(np.array(case.cotangents[i])) for i in used],
        allow_unused=True,
    )
    expected = [np.zeros(tuple(x.shape)) if g is None else g.numpy() for g, x in zip(gradients, leaves, strict=True)]
    return min(agreed, digits(case.result.gradients, expected, _size(case)))


def _tensors(torch: Any, value: Any) -> list[Any]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [t for part in value for t in _tensors(torch, part)] if isinstance(value, (tuple, list)) else []


@cache
def torch_missing() -> str:
    """Why the column "PyTorch" is empty, or an empty string."""
    return "" if importlib.util.find_spec("torch") else "not installed"


# ----------------------------------------------------------------------------------------------------------------- rows


def measures(record: Record) -> dict[str, tuple[Measure, float] | str]:
    """For each column how to measure it and how many digits are asked for, or why it does not apply."""
    exact = min(EXACT, record.tolerance + 3)
    no_slope = next((r for r in (record.gradient, record.finite_differences) if isinstance(r, str)), "")
    step = record.complex_step if callable(record.complex_step) else record.complex_step or no_slope
    twice = (
        (second_digits, min(SECOND, record.tolerance - 1))
        if record.second is True
        else (refuses_a_second_derivative, 1.0)
    )
    table: dict[str, tuple[Measure, float] | str] = {
        "forward": (forward_digits, min(VALUE, record.tolerance + 5)),
        "finite differences": no_slope or (difference_digits, record.tolerance),
        "complex step": step if isinstance(step, str) and step else (complex_digits, exact),
        "hand": record.hand if isinstance(record.hand, str) else (hand_digits, exact),
        "PyTorch": torch_missing() or (record.torch if isinstance(record.torch, str) else (torch_digits, exact)),
        "second": twice,
    }
    if isinstance(record.gradient, str):
        for column in ("finite differences", "complex step", "hand", "second"):
            table[column] = record.gradient
    return table


def cell(samples: Sequence[Case], measure: Measure, needed: float) -> Cell:
    """The worst digits over the samples; an exception counts as none, and is named."""
    worst, compared = MOST, 0
    for case in samples:
        try:
            found = measure(case)
        except Exception as error:  # the report must show every operation, whatever one of them does
            return Cell(
                0.0, needed, f"sample {case.number} raised {type(error).__name__}: {str(error).splitlines()[0]}"
            )
        if found is not None:
            worst, compared = min(worst, found), compared + 1
    if not compared:
        return Cell(0.0, needed, "no sample has anything to compare")
    return Cell(worst, needed)


def row(record: Record, samples: Sequence[Case]) -> Row:
    """One operation against all of its oracles."""
    cells = {}
    for column, measure in measures(record).items():
        cells[column] = Cell(None, reason=measure) if isinstance(measure, str) else cell(samples, *measure)
    if isinstance(record.second, str) and record.gradient is True and cells["second"].ok:
        cells["second"] = Cell(None, reason=f"raises: {record.second}")
    return Row(record.name, cells)


def missing_row(name: str) -> Row:
    """The row of an operation that nobody wrote a record for: it fails in every column."""
    return Row(name, {column: Cell(0.0, 1.0, "no record") for column in COLUMNS})
