"""Are the checks any good? Every rule is made wrong on purpose, and the checks must notice.

A fault is put into one gradient that one operation returns: it is scaled by 1.001, its sign is flipped, or it is
transposed (its last two axes if they are equal, else its entries are reversed along an axis). A fourth fault is of
second order: the recorded gradient keeps its value but its derivative is scaled by 1.001. The operation's own checks
(finite differences; the derivation by hand where a straight-through rule is not the derivative) then run on samples.
The mutation score is how many of those faults they catch (cf. DeMillo, Lipton & Sayward 1978, "Hints on test data
selection"; the idea of trying a checker on rules wrong by 0.1 % is HIPS/autograd's).

A fault that changes no entry of the gradient in any sample is no fault: a gradient of zeros scaled, or one of equal
entries transposed. It is left out of the score, counted by its reason, and never by an operation's name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from reference.agreement import difference_digits, hand_digits, measures, second_agreement
from reference.cases import Case, raw, run, second_gradients
from reference.table import Record
from tinygrad_hw import functional
from tinygrad_hw.autograd import Function, OperationEvent, operation_hook
from tinygrad_hw.tensor import Tensor

FAULT = 1.001
UNCHANGED = {
    "scaled": "the gradient is zero in every sample",
    "negated": "the gradient is zero in every sample",
    "transposed": "the gradient has equal entries, or one alone, in every sample",
    "second order": "the gradient is zero or not recorded in every sample",
}
_VISIBLE = 1e-6  # a change below this part of the largest entry is rounding


@dataclass(frozen=True)
class Mutant:
    """A fault in the gradient that ``operation`` returns for argument ``argument``."""

    operation: type[Function]
    argument: int
    kind: str

    def __str__(self) -> str:
        return f"{self.operation.name()}, gradient of argument {self.argument}, {self.kind}"


@dataclass
class Score:
    """How many faults in the rules that an operation uses were caught by its checks; ``reason`` if it has no rules."""

    reason: str = ""
    caught: int = 0
    survivors: list[Mutant] = field(default_factory=list)
    excluded: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return self.caught + len(self.survivors)

    @property
    def ok(self) -> bool:
        return not self.survivors

    def __str__(self) -> str:
        if self.total:
            return f"{self.caught}/{self.total}"
        return "n/a: " + (self.reason or next(iter(self.excluded), "no rule is used"))


@dataclass
class Used:
    """What some samples run: every operation's forward, and the backward of those that give gradients, by argument.

    ``twice`` are the operations whose backward runs for second derivatives: those that a rule is written with.
    """

    forward: set[type[Function]] = field(default_factory=set)
    backward: dict[type[Function], set[int]] = field(default_factory=dict)
    twice: set[type[Function]] = field(default_factory=set)


def operations_used(samples: Sequence[Case]) -> Used:
    """Run the samples, and the second derivatives that their records promise, and watch."""
    used = Used()

    def note(event: OperationEvent) -> None:
        if event.node is None:
            return
        if event.phase == "forward":
            used.forward.add(event.node._op)
        else:
            parents = event.node._parents
            wanted = {i for i, result in enumerate(event.outputs) if result is not None and parents[i] is not None}
            used.backward.setdefault(event.node._op, set()).update(wanted)

    def note_twice(event: OperationEvent) -> None:
        if event.node is not None:
            (used.forward if event.phase == "forward" else used.twice).add(event.node._op)

    for case in samples:
        with operation_hook(note):
            run(case.function, case.call, case.cotangents)
        if case.record.gradient is True and case.record.second is True and case.differentiable:
            with operation_hook(note_twice):
                second_gradients(case.function, case.call, case.cotangents, case.weights)
    return used


def all_operations() -> set[type[Function]]:
    """Every operation that :mod:`tinygrad_hw.functional` defines, but for classes that others derive from."""
    found: set[type[Function]] = set()
    stack: list[type[Function]] = [Function]
    while stack:
        derived = stack.pop().__subclasses__()
        stack.extend(derived)
        found.update(d for d in derived if d.__module__.startswith(functional.__name__) and not d.__subclasses__())
    return found


def unexercised(used: Sequence[Used]) -> list[str]:
    """The operations of the engine that none of ``used`` ran, or ran without asking for the gradient that they have."""
    forward = {operation for u in used for operation in u.forward}
    backward = {operation for u in used for operation in (*u.backward, *u.twice)}
    return sorted(
        operation.name()
        for operation in all_operations()
        if operation not in forward or (operation.backward is not Function.backward and operation not in backward)
    )


# --------------------------------------------------------------------------------------------------------------- faults


def rearranged(gradient: Any) -> Any | None:
    """``gradient`` transposed, or reversed along an axis, whichever first makes a difference; None if nothing does."""
    square = gradient.ndim >= 2 and gradient.shape[-1] == gradient.shape[-2]
    candidates = [gradient.swapaxes(-1, -2)] if square else []
    candidates += [np.flip(gradient, axis) for axis in np.argsort([-size for size in gradient.shape], kind="stable")]
    largest = abs(gradient).max(initial=0.0)
    return next((c.copy() for c in candidates if abs(c - gradient).max(initial=0.0) > _VISIBLE * largest), None)


def _faulty_gradient(kind: str, gradient: Any) -> Any | None:
    """The gradient with the fault, None where it would stay as it is. On arrays, or for second order on Tensors."""
    if kind == "second order":
        if not isinstance(gradient, Tensor) or not gradient.requires_grad or not gradient._data.any():
            return None
        extra = functional.mul(gradient, FAULT - 1)
        return functional.add(gradient, functional.sub(extra, extra.detach()))
    if kind == "transposed":
        return rearranged(gradient)
    return None if not gradient.any() else FAULT * gradient if kind == "scaled" else -gradient


@contextmanager
def fault(mutant: Mutant) -> Iterator[list[bool]]:
    """Put the fault into the operation within the block. The list that is yielded fills whenever it changes something.

    First-order faults act on plain gradients only, second-order ones on recorded gradients only.
    """
    operation, right = mutant.operation, mutant.operation.backward
    inherited = "backward" not in vars(operation)
    changes: list[bool] = []

    def wrong(ctx: Any, *grads: Any) -> Any:
        results = right(ctx, *grads)
        if ctx.recording != (mutant.kind == "second order"):
            return results
        several = list(results) if isinstance(results, tuple) else [results]
        i = mutant.argument
        parent = ctx._parents[i] if i < len(ctx._parents) else None
        if i >= len(several) or several[i] is None or parent is None:
            return results
        shape = parent._data.shape if isinstance(parent, Tensor) else parent._shape
        gradient = several[i] if isinstance(several[i], Tensor) else raw(several[i])
        changed = _faulty_gradient(mutant.kind, functional.sum_to(gradient, shape))
        if changed is not None:
            changes.append(True)
            several[i] = changed
        return tuple(several)

    operation.backward = staticmethod(wrong)  # type: ignore[method-assign]
    try:
        yield changes
    finally:
        if inherited:
            del operation.backward
        else:
            operation.backward = staticmethod(right)  # type: ignore[method-assign]


# -------------------------------------------------------------------------------------------------------------- scoring

Check = Callable[[Case], bool]  # whether a sample still passes


def _first_order(record: Record) -> Check:
    """The operation's own check of its plain gradient; one that notices nothing where it has none."""
    for column, measure in (("finite differences", difference_digits), ("hand", hand_digits)):
        chosen = measures(record)[column]
        if not isinstance(chosen, str):
            needed = chosen[1]

            def check(case: Case, measure: Any = measure, needed: float = needed) -> bool:
                found = measure(case, run(case.function, case.call, case.cotangents).gradients)
                return found is None or found >= needed

            return check

    def blind(case: Case) -> bool:
        run(case.function, case.call, case.cotangents)
        return True

    return blind


def _second_order(record: Record) -> Check | None:
    if record.second is not True:
        return None
    chosen = measures(record)["second"]
    needed = 0.0 if isinstance(chosen, str) else chosen[1]

    def check(case: Case) -> bool:
        if not case.differentiable:
            return True
        recorded, second = second_gradients(case.function, case.call, case.cotangents, case.weights)
        return second_agreement(case, recorded, second) >= needed

    return check


def survives(mutant: Mutant, check: Check, samples: Sequence[Case]) -> bool | None:
    """Whether every sample passes in spite of the fault; None if the fault changes nothing in any of them."""
    with fault(mutant) as changes:
        passed = all(check(case) for case in samples)
    if not passed:
        return False
    return True if changes else None


def score(record: Record, samples: Sequence[Case]) -> Score:
    """Try every fault in every rule that the record's samples use against the record's own checks."""
    if isinstance(record.gradient, str):
        return Score(reason=record.gradient)
    total = Score()
    _compute_expectations(record, samples)
    first, second = _first_order(record), _second_order(record)
    for operation, arguments in sorted(operations_used(samples).backward.items(), key=lambda item: item[0].name()):
        for argument in sorted(arguments):
            for kind in UNCHANGED:
                check = second if kind == "second order" else first
                if check is None:
                    continue
                mutant = Mutant(operation, argument, kind)
                outcome = survives(mutant, check, samples)
                if outcome is None:
                    total.excluded[UNCHANGED[kind]] += 1
                elif outcome:
                    total.survivors.append(mutant)
                else:
                    total.caught += 1
    return total


def _compute_expectations(record: Record, samples: Sequence[Case]) -> None:
    """Have the oracles' answers ready before a rule is made wrong."""
    for case in samples:
        if case.differentiable:
            if record.finite_differences is True:
                _ = case.slopes
            if record.second is True:
                _ = case.second_slope
