"""Adam, and Adam with decoupled weight decay."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from tinygrad_hw import kernels
from tinygrad_hw.backend import Array, array_module
from tinygrad_hw.optim.optimizer import Optimizer, check_number, decayed


class Adam(Optimizer):
    """m ← β₁ m + (1 - β₁) g, v ← β₂ v + (1 - β₂) g², p ← p - η m̂ / (√v̂ + ε), with m̂ = m / (1 - β₁ᵗ), v̂ = v / (1 - β₂ᵗ).

    Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 1. g includes λ p.

    Args:
        params: Tensors or groups, see :class:`Optimizer`.
        lr: the learning rate η. betas: (β₁, β₂). eps: ε. weight_decay: λ.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def _check(self, group: dict[str, Any]) -> None:
        check_number(self._name, group, "lr")
        check_number(self._name, group, "weight_decay")
        check_number(self._name, group, "eps", positive=True)  # 0 would make an entry without gradient 0 / 0
        betas = group["betas"]
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ValueError(f"{self._name}: betas must be a pair of numbers, got {betas!r}")
        group["betas"] = tuple(betas)
        for position in (0, 1):
            check_number(self._name, {f"betas[{position}]": betas[position]}, f"betas[{position}]", high=1.0)

    def _states(self, group: dict[str, Any]) -> dict[str, float]:
        return {"exp_avg": 0.0, "exp_avg_sq": 0.0}

    def _fuses(self, group: dict[str, Any]) -> bool:
        return True

    def _update(
        self, group: dict[str, Any], step: int, p: Array, g: Array, states: list[Array], work: list[Array]
    ) -> None:
        if not work:
            self._fused(group, step, p, g, states, 1.0, group["weight_decay"])
            return
        self._adam(group, step, p, decayed(group["weight_decay"], p, g, out=work[1]), states, work[0])

    @staticmethod
    def _fused(
        group: dict[str, Any], step: int, p: Array, g: Array, states: list[Array], shrink: float, decay: float
    ) -> None:
        beta1, beta2 = group["betas"]
        c = math.sqrt(1 - beta2**step)
        rate = group["lr"] * c / (1 - beta1**step)
        kernels.cpu_module("cpu").adam(
            p, g, *states, shrink, decay, 1 - beta1, beta2, 1 - beta2, c * group["eps"], rate
        )

    @staticmethod
    def _adam(group: dict[str, Any], step: int, p: Array, g: Array, states: list[Array], work: Array) -> None:
        xp, (m, v), (beta1, beta2) = array_module(p), states, group["betas"]
        xp.subtract(g, m, out=work)
        work *= 1 - beta1
        m += work
        v *= beta2
        xp.multiply(g, g, out=work)
        work *= 1 - beta2
        v += work
        # η m̂ / (√v̂ + ε) = (η c / (1 - β₁ᵗ)) m / (√v + c ε) with c = √(1 - β₂ᵗ): one pass fewer
        c = math.sqrt(1 - beta2**step)
        xp.sqrt(v, out=work)
        work += c * group["eps"]
        xp.divide(m, work, out=work)
        work *= group["lr"] * c / (1 - beta1**step)
        p -= work


class AdamW(Adam):
    """Adam after p ← (1 - η λ) p: the decay does not pass through the moments.

    Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2 (in PyTorch's form, where the
    learning rate multiplies the decay).

    Args:
        params: Tensors or groups, see :class:`Optimizer`.
        lr: the learning rate η. betas: (β₁, β₂). eps: ε. weight_decay: λ.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)

    def _update(
        self, group: dict[str, Any], step: int, p: Array, g: Array, states: list[Array], work: list[Array]
    ) -> None:
        shrink = 1 - group["lr"] * group["weight_decay"]
        if not work:
            self._fused(group, step, p, g, states, shrink, 0.0)
            return
        if group["weight_decay"]:
            p *= shrink
        self._adam(group, step, p, g, states, work[0])
