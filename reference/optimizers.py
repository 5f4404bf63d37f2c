"""Every optimiser step by hand on plain arrays, and every learning-rate schedule as a formula of the step number.

A step is ``new_parameter, new_state = rule(parameter, gradient, state, ...)``: nothing is changed in place, the first
state is an empty dictionary. The formulas are PyTorch's, in its order of operations, so that rounding agrees too; where
that differs from the paper the docstring says so. theta is the parameter, g the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tinygrad_hw.backend import Array, array_module

State = dict[str, Any]


def sgd(
    parameter: Array,
    gradient: Array,
    state: State,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> tuple[Array, State]:
    """g += weight_decay theta; b = momentum b + (1 - dampening) g, first b = g; theta -= lr b.

    Nesterov: theta -= lr (g + momentum b). Sutskever et al. 2013 put lr inside b; the same for a constant lr.
    """
    g = gradient + weight_decay * parameter if weight_decay else gradient
    if not momentum:
        return parameter - lr * g, state
    buffer = momentum * state["buffer"] + (1 - dampening) * g if state else g
    update = g + momentum * buffer if nesterov else buffer
    return parameter - lr * update, {"buffer": buffer}


def rmsprop(
    parameter: Array,
    gradient: Array,
    state: State,
    lr: float = 0.01,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    centered: bool = False,
) -> tuple[Array, State]:
    """v = alpha v + (1 - alpha) g^2; theta -= lr g / (sqrt(v) + eps) (Tieleman & Hinton 2012, lecture 6.5).

    centered: v - m^2 in place of v, m = alpha m + (1 - alpha) g (Graves 2013, eqs. 38 to 45, but eps outside the root).
    momentum: b = momentum b + g / (...); theta -= lr b.
    """
    xp = array_module(parameter)
    zero = xp.zeros_like(parameter)
    g = gradient + weight_decay * parameter if weight_decay else gradient
    new: State = {"square": alpha * state.get("square", zero) + (1 - alpha) * g * g}
    variance = new["square"]
    if centered:
        new["mean"] = alpha * state.get("mean", zero) + (1 - alpha) * g
        variance = variance - new["mean"] ** 2
    update = g / (xp.sqrt(variance) + eps)
    if momentum:
        update = new["buffer"] = momentum * state.get("buffer", zero) + update
    return parameter - lr * update, new


def adagrad(
    parameter: Array,
    gradient: Array,
    state: State,
    lr: float = 0.01,
    lr_decay: float = 0.0,
    weight_decay: float = 0.0,
    initial_accumulator_value: float = 0.0,
    eps: float = 1e-10,
) -> tuple[Array, State]:
    """s += g^2; theta -= lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps), t = 1, 2, ... (Duchi et al. 2011)."""
    xp = array_module(parameter)
    g = gradient + weight_decay * parameter if weight_decay else gradient
    t = state.get("step", 0) + 1
    total = state["sum"] if state else xp.full_like(parameter, initial_accumulator_value)
    total = total + g * g
    return parameter - lr / (1 + (t - 1) * lr_decay) * (g / (xp.sqrt(total) + eps)), {"step": t, "sum": total}


def adam(
    parameter: Array,
    gradient: Array,
    state: State,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> tuple[Array, State]:
    """m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2; theta -= lr m' / (sqrt(v') + eps), t = 1, 2, ...

    m' = m / (1 - b1^t), v' = v / (1 - b2^t) (Kingma & Ba 2015, algorithm 1). weight_decay adds to g.
    """
    g = gradient + weight_decay * parameter if weight_decay else gradient
    return _adam(parameter, g, state, lr, betas, eps)


def adamw(
    parameter: Array,
    gradient: Array,
    state: State,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
) -> tuple[Array, State]:
    """Adam with theta *= 1 - lr weight_decay beforehand, apart from the gradient (Loshchilov & Hutter 2019)."""
    return _adam(parameter * (1 - lr * weight_decay), gradient, state, lr, betas, eps)


def _adam(
    parameter: Array, g: Array, state: State, lr: float, betas: tuple[float, float], eps: float
) -> tuple[Array, State]:
    xp = array_module(parameter)
    zero, (beta1, beta2) = xp.zeros_like(parameter), betas
    t = state.get("step", 0) + 1
    m = beta1 * state.get("mean", zero) + (1 - beta1) * g
    v = beta2 * state.get("square", zero) + (1 - beta2) * g * g
    denominator = xp.sqrt(v) / math.sqrt(1 - beta2**t) + eps
    return parameter - lr / (1 - beta1**t) * (m / denominator), {"step": t, "mean": m, "square": v}


# Gradient clipping (Pascanu, Mikolov & Bengio 2013, algorithm 1)


def clip_grad_norm(gradients: Sequence[Array], max_norm: float, norm_type: float = 2.0) -> tuple[list[Array], float]:
    """All gradients times min(1, max_norm / (norm + 1e-6)), and the norm of all of them as one vector beforehand."""
    xp = array_module(*gradients)
    if math.isinf(norm_type):
        total = max(float(xp.abs(g).max()) for g in gradients)
    else:
        total = sum(float((xp.abs(g) ** norm_type).sum()) for g in gradients) ** (1 / norm_type)
    factor = min(1.0, max_norm / (total + 1e-6))
    return [g * factor for g in gradients], total


def clip_grad_value(gradients: Sequence[Array], clip_value: float) -> list[Array]:
    """Every entry limited to [-clip_value, clip_value]."""
    return [array_module(g).clip(g, -clip_value, clip_value) for g in gradients]


# Schedules: the learning rate at step t = 0, 1, 2, ...


def step_lr(t: int, lr: float, step_size: int, gamma: float = 0.1) -> float:
    """lr gamma^floor(t / step_size)."""
    return lr * gamma ** (t // step_size)


def cosine_annealing_lr(t: int, lr: float, T_max: int, eta_min: float = 0.0) -> float:
    """eta_min + (lr - eta_min) (1 + cos(pi t / T_max)) / 2 (Loshchilov & Hutter 2017, eq. 5, without restarts)."""
    return eta_min + (lr - eta_min) * (1 + math.cos(math.pi * t / T_max)) / 2


def linear_lr(t: int, lr: float, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: int = 5) -> float:
    """Warm-up: lr times a factor from start_factor to end_factor, linearly over total_iters steps, then constant."""
    return lr * (start_factor + (end_factor - start_factor) * min(t, total_iters) / total_iters)


def one_cycle_lr(
    t: int,
    max_lr: float,
    total_steps: int,
    pct_start: float = 0.3,
    anneal_strategy: str = "cos",
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> float:
    """Up from max_lr / div_factor, then down to that divided by final_div_factor (Smith & Topin 2018).

    The top is at step pct_start total_steps - 1, the end at total_steps - 1; cosine or "linear" between.
    """
    start, top, end = max_lr / div_factor, pct_start * total_steps - 1, total_steps - 1
    low, high, share = start, max_lr, t / top
    if t > top:
        low, high, share = max_lr, start / final_div_factor, (t - top) / (end - top)
    if anneal_strategy == "linear":
        return low + (high - low) * share
    return high + (low - high) * (1 + math.cos(math.pi * share)) / 2
