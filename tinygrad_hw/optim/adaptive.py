"""RMSprop and Adagrad: steps divided by a running magnitude of the gradient."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tinygrad_hw.backend import Array, array_module
from tinygrad_hw.optim.optimizer import Optimizer, check_number, decayed


class RMSprop(Optimizer):
    """v ← α v + (1 - α) g², b ← μ b + g / (√v + ε), p ← p - η b, where g includes λ p; b = g / (√v + ε) if μ = 0.

    Hinton, "Neural networks for machine learning", lecture 6e, 2012. With ``centered`` v - a² takes the place of v
    under the root, a ← α a + (1 - α) g (Graves, "Generating sequences with recurrent neural networks", 2013, eq. 38-41,
    but ε outside the root, as PyTorch has it).

    Args:
        params: Tensors or groups, see :class:`Optimizer`.
        lr: the learning rate η. alpha: α. eps: ε. weight_decay: λ. momentum: μ.
        centered: divide by the standard deviation of the gradient instead of its root mean square.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        settings = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(params, {**settings, "centered": centered})

    def _check(self, group: dict[str, Any]) -> None:
        for name in ("lr", "weight_decay", "momentum"):
            check_number(self._name, group, name)
        check_number(self._name, group, "alpha", high=1.0)
        check_number(self._name, group, "eps", positive=True)

    def _states(self, group: dict[str, Any]) -> dict[str, float]:
        names = {"square_avg": True, "grad_avg": group["centered"], "momentum_buffer": group["momentum"] != 0}
        return {name: 0.0 for name, used in names.items() if used}

    def _update(
        self, group: dict[str, Any], step: int, p: Array, g: Array, states: list[Array], work: list[Array]
    ) -> None:
        xp, (scratch, direction), alpha = array_module(p), work, group["alpha"]
        by_name = dict(zip(self._states(group), states, strict=True))
        v = by_name["square_avg"]
        g = decayed(group["weight_decay"], p, g, out=direction)
        v *= alpha
        xp.multiply(g, g, out=scratch)
        scratch *= 1 - alpha
        v += scratch
        if group["centered"]:
            mean = by_name["grad_avg"]
            xp.subtract(g, mean, out=scratch)
            scratch *= 1 - alpha
            mean += scratch
            xp.multiply(mean, mean, out=scratch)
            xp.subtract(v, scratch, out=scratch)
            xp.maximum(scratch, 0, out=scratch)  # a variance that rounding has brought below 0
            xp.sqrt(scratch, out=scratch)
        else:
            xp.sqrt(v, out=scratch)
        scratch += group["eps"]
        xp.divide(g, scratch, out=scratch)
        if group["momentum"]:
            buffer = by_name["momentum_buffer"]
            buffer *= group["momentum"]
            buffer += scratch
            xp.multiply(buffer, group["lr"], out=scratch)
        else:
            scratch *= group["lr"]
        p -= scratch


class Adagrad(Optimizer):
    """s ← s + g², p ← p - η g / ((1 + (t - 1) κ) (√s + ε)), where g includes λ p.

    Duchi, Hazan, Singer, "Adaptive subgradient methods for online learning and stochastic optimization", JMLR 12, 2011.

    Args:
        params: Tensors or groups, see :class:`Optimizer`.
        lr: the learning rate η. lr_decay: κ. weight_decay: λ. eps: ε.
        initial_accumulator_value: s before the first step.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        settings = {"lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay, "eps": eps}
        super().__init__(params, {**settings, "initial_accumulator_value": initial_accumulator_value})

    def _check(self, group: dict[str, Any]) -> None:
        for name in ("lr", "lr_decay", "weight_decay", "initial_accumulator_value"):
            check_number(self._name, group, name)
        check_number(self._name, group, "eps", positive=True)

    def _states(self, group: dict[str, Any]) -> dict[str, float]:
        return {"sum": group["initial_accumulator_value"]}

    def _update(
        self, group: dict[str, Any], step: int, p: Array, g: Array, states: list[Array], work: list[Array]
    ) -> None:
        xp, (total,), (scratch, direction) = array_module(p), states, work
        g = decayed(group["weight_decay"], p, g, out=direction)
        xp.multiply(g, g, out=scratch)
        total += scratch
        xp.sqrt(total, out=scratch)
        scratch += group["eps"]
        xp.divide(g, scratch, out=scratch)
        scratch *= group["lr"] / (1 + (step - 1) * group["lr_decay"])
        p -= scratch
