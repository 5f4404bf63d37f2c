"""``gradcheck``: does a backward agree with finite differences?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_hw.autograd import enable_grad
from tinygrad_hw.backend import array_module, to_numpy
from tinygrad_hw.derivatives import grad
from tinygrad_hw.tensor import Tensor


class GradcheckError(AssertionError):
    """A gradient disagrees with finite differences; the message lists the entries."""


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    order: int = 1,
    eps: float = 1e-3,
    rtol: float = 1e-6,
    atol: float = 0.0,
    directions: int = 4,
    seed: int = 0,
) -> bool:
    """Check the gradient of ``func`` at ``inputs`` against finite differences; return True or raise.

    The gradient is compared along random isotropic directions v: ⟨gradient, v⟩ against the derivative of
    ⟨w, func(x + t v)⟩ at t = 0 for a random w, by central differences with two Richardson steps (error O(eps⁶)). A
    wrong entry anywhere shows in almost every direction, at the price of a few evaluations whatever the input's size.
    When a direction fails, the entries are gone through one by one for the report. With ``order=2`` the gradient
    itself, taken under ``create_graph=True``, is checked in the same way.

    Args:
        func: takes Tensors, returns a Tensor or a tuple of Tensors.
        inputs: a Tensor or a sequence; those with ``requires_grad`` are checked. float64 only.
        order: 1, or 2 for the second derivative as well.
        eps: the largest step of the differences.
        rtol, atol: |difference| ≤ atol + rtol · scale + noise is accepted, scale being the size of the two sides' terms
            and noise what the rounding of ``func``'s values makes of the differences.
        directions: how many directions are tried for each input.
        seed: of the directions and weights.

    Raises:
        GradcheckError: a gradient is wrong, or nothing was checked (no input requires a gradient, no output depends on
            one, every derivative is zero): the check never passes silently.
        TypeError: an input or output is not float64.
    """
    tensors = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    if order not in (1, 2):
        raise ValueError(f"gradcheck: order must be 1 or 2, got {order}")
    checked = [i for i, t in enumerate(tensors) if isinstance(t, Tensor) and t.requires_grad]
    if not checked:
        raise GradcheckError("gradcheck: no input requires a gradient, so there is nothing to check")
    for i in checked:
        if tensors[i].dtype != np.float64:
            raise TypeError(
                f"gradcheck: input {i} is {tensors[i].dtype}; only float64 has the digits that finite differences need"
            )
    rng = np.random.default_rng(seed)
    _check_once(func, tensors, checked, rng, eps, rtol, atol, directions, "")
    if order == 2:
        _check_once(
            _gradient_function(func, tensors, checked, rng),
            tensors,
            checked,
            rng,
            eps,
            rtol,
            atol,
            directions,
            "second-order ",
        )
    return True


def _outputs(func: Callable[..., Any], tensors: list[Any]) -> list[Tensor]:
    result = func(*tensors)
    return [out for out in (result if isinstance(result, (tuple, list)) else (result,)) if isinstance(out, Tensor)]


def _gradient_function(
    func: Callable[..., Any], tensors: list[Any], checked: list[int], rng: np.random.Generator
) -> Callable[..., Any]:
    """The gradient of ⟨w, func⟩ with respect to the checked inputs, as a function that is on the tape."""
    with enable_grad():
        shapes = [out.shape for out in _outputs(func, tensors) if out.requires_grad]
    weights = [rng.standard_normal(shape) for shape in shapes]

    def gradient(*args: Any) -> tuple[Tensor, ...]:
        outs = [out for out in _outputs(func, list(args)) if out.requires_grad]
        grads = grad(outs, [args[i] for i in checked], _like(weights, outs), create_graph=True, allow_unused=True)
        return tuple(g for g in grads if g is not None)

    return gradient


def _like(weights: list[np.ndarray], outs: list[Tensor]) -> list[Any]:
    return [array_module(out._data).asarray(weight) for weight, out in zip(weights, outs, strict=True)]


def _check_once(
    func: Callable[..., Any],
    tensors: list[Any],
    checked: list[int],
    rng: np.random.Generator,
    eps: float,
    rtol: float,
    atol: float,
    directions: int,
    what: str,
) -> None:
    with enable_grad():
        leaves = [t.detach().requires_grad_() if i in checked else t for i, t in enumerate(tensors)]
        outs = [out for out in _outputs(func, leaves) if out.dtype.kind == "f"]
        for out in outs:
            if out.dtype != np.float64:
                raise TypeError(f"gradcheck: an output is {out.dtype}; only float64 can be checked")
        live = [out for out in outs if out.requires_grad]
        if not live and not what:
            raise GradcheckError("gradcheck: no output depends on an input that requires a gradient")
        weights = [rng.standard_normal(out.shape) for out in outs]
        chosen = [weight for weight, out in zip(weights, outs, strict=True) if out.requires_grad]
        targets = [leaves[i] for i in checked]
        analytic = grad(live, targets, _like(chosen, live), allow_unused=True) if live else [None] * len(targets)
    gradients = [
        np.zeros(leaves[i].shape) if g is None else to_numpy(g._data) for i, g in zip(checked, analytic, strict=True)
    ]

    largest = [0.0]

    def noise() -> float:
        """What rounding makes of a difference quotient: some units in the last place of the values, over the step."""
        return 64 * float(np.finfo(np.float64).eps) * largest[0] / (eps / 4)

    def value(index: int, array: np.ndarray) -> float:
        """⟨w, func⟩ with input ``index`` replaced."""
        moved = list(tensors)
        moved[index] = Tensor(array_module(tensors[index]._data).asarray(array)).requires_grad_()
        others = [t.detach().requires_grad_() if i in checked and i != index else t for i, t in enumerate(moved)]
        with enable_grad():
            results = [out for out in _outputs(func, others) if out.dtype.kind == "f"]
        total = sum(float((w * to_numpy(out._data)).sum()) for w, out in zip(weights, results, strict=True))
        largest[0] = max(largest[0], abs(total))
        return total

    def slope(index: int, direction: np.ndarray) -> float:
        base = to_numpy(tensors[index]._data)

        def central(step: float) -> float:
            return (value(index, base + step * direction) - value(index, base - step * direction)) / (2 * step)

        coarse, middle, fine = central(eps), central(eps / 2), central(eps / 4)
        first, second = (4 * middle - coarse) / 3, (4 * fine - middle) / 3  # Richardson: eps², then eps⁴ cancelled
        return (16 * second - first) / 15

    nonzero = False
    for i, gradient in zip(checked, gradients, strict=True):
        if gradient.size == 0:
            continue
        for _ in range(directions):
            direction = rng.standard_normal(gradient.shape)
            direction /= np.linalg.norm(direction)
            ours, theirs = float((gradient * direction).sum()), slope(i, direction)
            nonzero = nonzero or ours != 0 or abs(theirs) > atol + noise()
            scale = float(np.linalg.norm(gradient)) + abs(theirs)
            if not abs(ours - theirs) <= atol + rtol * scale + noise():
                raise GradcheckError(_report(what, i, gradient, slope, rtol, atol + noise(), ours, theirs))
    if not nonzero and not what:
        raise GradcheckError("gradcheck: every derivative is zero here, so the check says nothing; choose other inputs")


def _report(
    what: str,
    index: int,
    gradient: np.ndarray,
    slope: Callable[[int, np.ndarray], float],
    rtol: float,
    atol: float,
    ours: float,
    theirs: float,
    most: int = 10,
) -> str:
    """Which entries differ, by how much: all of a small input, the first thousand of a large one."""
    lines = []
    limit = min(gradient.size, 1000)
    for position in range(limit):
        unit = np.zeros(gradient.size)
        unit[position] = 1
        expected, got = slope(index, unit.reshape(gradient.shape)), gradient.flat[position]
        if not abs(got - expected) <= atol + rtol * (abs(expected) + float(np.abs(gradient).max())):
            place = tuple(int(k) for k in np.unravel_index(position, gradient.shape))
            ratio = f", ratio {got / expected:.6g}" if expected else ""
            lines.append(
                f"  entry {place}: backward {got:.10g}, differences {expected:.10g}, off by {got - expected:.3g}{ratio}"
            )
    head = (
        f"gradcheck: the {what}gradient of input {index} (shape {gradient.shape}) is wrong in "
        f"{len(lines)} of {limit} entries"
    )
    if not lines:
        head += f": along a random direction backward gives {ours:.10g}, differences {theirs:.10g}"
    more = [f"  ... and {len(lines) - most} more"] if len(lines) > most else []
    return "\n".join([head, *lines[:most], *more])
