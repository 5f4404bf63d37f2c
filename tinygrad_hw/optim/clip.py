"""Limits on gradients between ``backward`` and ``step``."""

from __future__ import annotations

import math
from collections.abc import Iterable

from tinygrad_hw import versions
from tinygrad_hw.backend import Array, array_module, device_of, to_device
from tinygrad_hw.optim.optimizer import Optimizer
from tinygrad_hw.tensor import Tensor


def _gradients(parameters: Tensor | Iterable[Tensor] | Optimizer) -> list[Array]:
    """The arrays of the gradients that exist, each once."""
    if isinstance(parameters, Optimizer):
        return parameters.gradient_arrays()
    listed = [parameters] if isinstance(parameters, Tensor) else parameters
    return list({id(p): p.grad._data for p in listed if p.grad is not None}.values())


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor] | Optimizer,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale all gradients by min(1, max_norm / (‖g‖ + 1e-6)), where g is all of them in one vector.

    Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural networks", ICML 2013, algorithm 1.

    Args:
        parameters: Tensors, those without gradient being passed over; or an optimiser, whose flat gradients are taken
            whole.
        max_norm: the limit.
        norm_type: p of the p-norm, positive, ``math.inf`` for the largest magnitude.
        error_if_nonfinite: raise when the norm is infinite or not a number (on a GPU this waits for it).

    Returns:
        The norm before scaling, a Tensor without axes (0 if there is no gradient).

    Raises:
        ValueError: a limit below 0 or a ``norm_type`` not above 0.
        RuntimeError: the norm is not finite and ``error_if_nonfinite``; the gradients are then as they were.
    """
    if not max_norm >= 0 or not norm_type > 0:
        raise ValueError(f"clip_grad_norm_: expected max_norm >= 0 and norm_type > 0, got {max_norm} and {norm_type}")
    gradients = [gradient for gradient in _gradients(parameters) if gradient.size]
    if not gradients:
        return Tensor(0.0)
    home = device_of(gradients[0])
    xp = array_module(gradients[0])
    norms = [to_device(array_module(g).linalg.norm(g.reshape(-1), norm_type).reshape(1), home) for g in gradients]
    total = xp.linalg.norm(xp.concatenate(norms), norm_type)
    if error_if_nonfinite and not math.isfinite(total):
        raise RuntimeError(f"clip_grad_norm_: the gradient's {norm_type:g}-norm is {float(total)}")
    scale = xp.minimum(max_norm / (total + 1e-6), 1.0)
    for gradient in gradients:
        gradient *= to_device(scale, device_of(gradient))
        versions.note_write(gradient)
    return Tensor(total)


def clip_grad_value_(parameters: Tensor | Iterable[Tensor] | Optimizer, clip_value: float) -> None:
    """Bring every entry of every gradient into [-clip_value, clip_value]; ``parameters`` as in :func:`clip_grad_norm_`.

    Raises ValueError for a limit below 0.
    """
    if not clip_value >= 0:
        raise ValueError(f"clip_grad_value_: expected clip_value >= 0, got {clip_value}")
    for gradient in _gradients(parameters):
        array_module(gradient).clip(gradient, -clip_value, clip_value, out=gradient)
        versions.note_write(gradient)
