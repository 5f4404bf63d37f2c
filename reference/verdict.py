"""One hand-written gradient against finite differences and the complex step, and a verdict on each argument."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from reference import complex_step, finite_differences
from reference.hints import shape_hint, value_hint
from reference.probing import digits_agreed, inner, random_directions, varied

DIRECTIONS = 10
SHOWN = 5  # wrong entries that are listed
FLOOR = 1e-9  # error allowed to any entry, relative to the largest entry of the gradient
DOUBT = 3.0  # multiples of the estimated error of finite differences that are forgiven


class Refusal(Exception):
    """The check cannot be made; the message is one line for the user."""


@dataclass
class Verdict:
    """On the gradient of one argument: digits agreed with each oracle (None: did not apply), and what is wrong."""

    name: str
    shape: tuple[int, ...]
    finite_differences: float = 0.0
    complex_step: float | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        analytic = "not applicable" if self.complex_step is None else f"{self.complex_step:.1f} digits"
        head = f"{'PASS' if self.passed else 'FAIL'}  {self.name} {self.shape}: "
        head += f"finite differences {self.finite_differences:.1f} digits, complex step {analytic}"
        return "\n".join([head, *(f"      {problem}" for problem in self.problems)])


@dataclass
class _Truth:
    """The right gradient of one argument at some of its entries, how sure it is, and which oracles it rests on."""

    indices: list[tuple[int, ...]]
    whole: bool
    values: np.ndarray
    errors: np.ndarray
    differences: np.ndarray
    analytic: np.ndarray | None


def examine(
    function: Callable[..., Any],
    gradient: Callable[..., Any],
    args: Sequence[Any],
    vjp: bool,
    names: Sequence[str],
    seed: int = 0,
    rtol: float = 1e-6,
    entries: int = 1000,
    report: Callable[[Verdict], None] = lambda verdict: None,
) -> list[Verdict]:
    """A verdict on each float64 array among ``args``, given to ``report`` as well.

    ``gradient(*args)``, or ``gradient(g, *args)`` where ``vjp``, returns one gradient for each float64 array among
    ``args`` (or one for each argument). ``entries`` is how many entries of one argument are compared. Raises
    :class:`Refusal` where there is nothing to check, or an argument, value or gradient is not what it must be.
    """
    chosen, value = _prepared(function, args)
    generator = np.random.default_rng([seed, 1])
    g, other_g = (np.asarray(generator.standard_normal(value.shape)) if vjp else None for _ in range(2))
    if not vjp and value.size != 1:
        raise Refusal(f"the value has shape {value.shape}: a gradient needs one number, else give a vjp(g, *args)")
    yours = _call_gradient(gradient, args, chosen, g)
    elsewhere = _call_gradient(gradient, args, chosen, other_g) if vjp else [None] * len(chosen)
    plain = _guarded(function)
    truths = [_truth(plain, args, g, position, entries, generator) for position in chosen]
    shapes = {names[position]: args[position].shape for position in chosen} | {"the value": value.shape}
    verdicts = []
    for k, position in enumerate(chosen):
        verdict, truth = Verdict(names[position], args[position].shape), truths[k]
        if _fits(verdict, yours[k]):
            mine = np.asarray(yours[k], np.float64)
            others = [
                (names[chosen[j]], truths[j].values.reshape(args[chosen[j]].shape))
                for j in range(len(chosen))
                if j != k and truths[j].whole
            ]
            if not _judge(verdict, mine, truth, rtol):
                at, right = _compared(mine, truth)
                hint = value_hint(at, right, shapes, others, elsewhere[k] if truth.whole else None)
                verdict.problems += [f"hint: {hint}"] if hint else []
            if not truth.whole:
                _judge_directions(verdict, plain, args, g, position, mine, seed)
        verdicts.append(verdict)
        report(verdict)
    return verdicts


def _call(what: str, function: Callable[..., Any], args: Sequence[Any]) -> Any:
    """``function(*args)`` on copies; refuses where it raises or changes an argument."""
    given = [value.copy() if isinstance(value, np.ndarray) else value for value in args]
    try:
        result = function(*given)
    except Exception as error:
        shapes = ", ".join(str(getattr(value, "shape", value)) for value in args)
        raise Refusal(f"{what} raised {type(error).__name__}: {error} (arguments: {shapes:.200})") from error
    for position, (before, after) in enumerate(zip(args, given, strict=True)):
        if isinstance(before, np.ndarray) and before.tobytes() != after.tobytes():
            raise Refusal(f"{what} changes its argument {position} in place: let it work on a copy")
    return result


def _prepared(function: Callable[..., Any], args: Sequence[Any]) -> tuple[tuple[int, ...], np.ndarray]:
    """The positions to differentiate and the function's value, once everything about them is in order."""
    try:
        chosen = varied(args)
    except (TypeError, ValueError) as error:
        raise Refusal(str(error)) from error
    for position in chosen:
        if not args[position].size or not np.isfinite(args[position]).all():
            raise Refusal(f"argument {position} is empty or has an entry that is not finite")
    value, again = (np.asarray(_call("the function", function, args)) for _ in range(2))
    if value.dtype != np.float64:
        raise Refusal(f"the function must return float64, got {value.dtype}: does it compute in less?")
    if not np.isfinite(value).all():
        raise Refusal("the function's value is not finite at these inputs: choose others")
    if value.tobytes() != again.tobytes():
        raise Refusal("two calls of the function differ: fix its random numbers, or its hidden state")
    return chosen, value


def _call_gradient(
    gradient: Callable[..., Any], args: Sequence[Any], chosen: Sequence[int], g: np.ndarray | None
) -> list[Any]:
    """One gradient for each position in ``chosen``."""
    result = _call("the gradient", gradient, args if g is None else (g, *args))
    parts = list(result) if isinstance(result, tuple) or (isinstance(result, list) and len(chosen) > 1) else [result]
    if len(parts) == len(args):
        parts = [parts[position] for position in chosen]
    if len(parts) != len(chosen):
        raise Refusal(f"the gradient returned {len(parts)} values for {len(chosen)} arrays to differentiate")
    return parts


def _guarded(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    """``function`` with its value as an array; away from the inputs too it may not raise."""

    def plain(*args: Any) -> np.ndarray:
        try:
            return np.asarray(function(*args))
        except np.linalg.LinAlgError:
            raise
        except Exception as error:
            raise Refusal(f"the function raised near the inputs: {type(error).__name__}: {error}") from error

    return plain


def _truth(
    plain: Callable[..., np.ndarray],
    args: Sequence[Any],
    g: np.ndarray | None,
    position: int,
    entries: int,
    generator: np.random.Generator,
) -> _Truth:
    shape, size = args[position].shape, args[position].size
    numbers = np.arange(size) if size <= entries else np.sort(generator.choice(size, entries, replace=False))
    indices = [tuple(int(i) for i in np.unravel_index(number, shape)) for number in numbers]
    pairs = np.array([finite_differences.entry(plain, args, g, position, index) for index in indices])
    values, errors = pairs[:, 0], pairs[:, 1]
    analytic: np.ndarray | None
    try:
        analytic = np.array([complex_step.entry(plain, args, g, position, index) for index in indices])
    except (Refusal, TypeError, np.linalg.LinAlgError):
        analytic = None
    if analytic is not None and (np.abs(analytic - values) <= DOUBT * errors + 1e-6 * np.abs(values).max()).all():
        return _Truth(indices, size <= entries, analytic, np.zeros_like(errors), values, analytic)
    return _Truth(indices, size <= entries, values, errors, values, None)


def _fits(verdict: Verdict, yours: Any) -> bool:
    """Whether ``yours`` is an array of finite float64 of the argument's shape; notes what it is instead."""
    array = np.asarray(yours) if yours is not None else None
    if array is None or array.dtype.kind not in "fiu":
        verdict.problems.append(f"the gradient is {yours!r:.60}, expected an array of float64")
    elif array.shape != verdict.shape:
        hint = shape_hint(array, verdict.shape)
        verdict.problems.append(f"the gradient has shape {array.shape}" + (f"; hint: {hint}" if hint else ""))
    elif array.dtype.kind == "f" and array.dtype.itemsize < 8:
        verdict.problems.append(f"the gradient of a float64 argument is {array.dtype}")
    elif not np.isfinite(array).all():
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        verdict.problems.append(f"the gradient is not finite, first at {list(first)}")
    return verdict.passed


def _compared(yours: np.ndarray, truth: _Truth) -> tuple[np.ndarray, np.ndarray]:
    """Yours and the right one where they are compared, in the argument's shape if that is everywhere."""
    at = np.array([yours[index] for index in truth.indices])
    return (yours, truth.values.reshape(yours.shape)) if truth.whole else (at, truth.values)


def _judge(verdict: Verdict, yours: np.ndarray, truth: _Truth, rtol: float) -> bool:
    """Compare entry by entry; False if the entries are there to be compared and differ."""
    at, right = np.array([yours[index] for index in truth.indices]), truth.values
    verdict.finite_differences = digits_agreed(at, truth.differences)
    verdict.complex_step = None if truth.analytic is None else digits_agreed(at, truth.analytic)
    largest = np.abs(right).max()
    allowed = rtol * np.abs(right) + FLOOR * largest
    unsure = ~(truth.errors <= allowed + 1e-6 * largest)
    if not at.any() and largest <= DOUBT * truth.errors.max():
        verdict.problems.append("the gradient is zero everywhere, which tests nothing: choose other inputs")
        return True
    wrong = ~(np.abs(at - right) <= allowed + DOUBT * truth.errors) & ~unsure
    if wrong.any():
        verdict.problems.append(f"{wrong.sum()} of {wrong.size} entries differ; the worst:")
        for k in np.argsort(np.where(wrong, -np.abs(at - right), 0.0), kind="stable")[: min(SHOWN, wrong.sum())]:
            ratio = f"{at[k] / right[k]:.6g}" if right[k] else "-"
            verdict.problems.append(
                f"  {list(truth.indices[k])}: yours {at[k]:.10g}, right {right[k]:.10g}, "
                f"difference {at[k] - right[k]:.3g}, ratio {ratio}"
            )
    elif unsure.any():
        first = truth.indices[int(np.argmax(unsure))]
        verdict.problems.append(
            f"finite differences are uncertain at {unsure.sum()} of {unsure.size} entries, first {list(first)}: "
            "a kink or a pole within reach? choose other inputs"
        )
    return not wrong.any()


def _judge_directions(
    verdict: Verdict,
    plain: Callable[..., np.ndarray],
    args: Sequence[Any],
    g: np.ndarray | None,
    position: int,
    yours: np.ndarray,
    seed: int,
) -> None:
    """Compare along random directions of one argument, where an error in any entry shows."""
    draws = [random_directions(args, (position,), seed=seed * DIRECTIONS + k) for k in range(DIRECTIONS)]
    right, errors = np.array([finite_differences.directional_with_error(plain, args, draw, g) for draw in draws]).T
    mine = np.array([inner((yours,), draw) for draw in draws])
    scale = np.abs(right).max()
    if (errors > 1e-6 * scale).any():
        verdict.problems.append("finite differences are uncertain along random directions: choose smoother inputs")
    elif (np.abs(mine - right) > 1e-8 * scale + DOUBT * errors).any():
        worst = int(np.argmax(np.abs(mine - right)))
        verdict.problems.append(
            f"along {DIRECTIONS} random directions the derivative differs, at worst yours {mine[worst]:.10g}, "
            f"right {right[worst]:.10g}: an entry that was not drawn is wrong (more --entries will find it)"
        )
