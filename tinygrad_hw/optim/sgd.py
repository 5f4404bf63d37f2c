"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tinygrad_hw import kernels
from tinygrad_hw.backend import Array, array_module
from tinygrad_hw.optim.optimizer import Optimizer, check_number, decayed


class SGD(Optimizer):
    """b ← μ b + (1 - τ) g (b ← g at first), p ← p - η b, where g includes λ p; without momentum p ← p - η g.

    With ``nesterov`` p ← p - η (g + μ b) (Sutskever, Martens, Dahl, Hinton, ICML 2013, in PyTorch's form).

    Args:
        params: Tensors or groups, see :class:`Optimizer`.
        lr: the learning rate η.
        momentum: μ. dampening: τ. weight_decay: λ.
        nesterov: needs a momentum and no dampening.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        settings = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, {**settings, "nesterov": nesterov})

    def _check(self, group: dict[str, Any]) -> None:
        for name in ("lr", "momentum", "dampening", "weight_decay"):
            check_number(self._name, group, name)
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError(f"{self._name}: nesterov needs momentum > 0 and dampening = 0")

    def _states(self, group: dict[str, Any]) -> dict[str, float]:
        return {"momentum_buffer": 0.0} if group["momentum"] else {}

    def _fuses(self, group: dict[str, Any]) -> bool:
        return group["momentum"] == 0

    def _update(
        self, group: dict[str, Any], step: int, p: Array, g: Array, states: list[Array], work: list[Array]
    ) -> None:
        if not work:
            kernels.cpu_module("cpu").sgd(p, g, group["weight_decay"], group["lr"])
            return
        xp, (direction, product) = array_module(p), work
        g = decayed(group["weight_decay"], p, g, out=direction)
        if states:
            (buffer,) = states
            buffer *= group["momentum"]
            if step == 1 or group["dampening"] == 0:
                buffer += g
            else:
                xp.multiply(g, 1 - group["dampening"], out=product)
                buffer += product
            if group["nesterov"]:
                xp.multiply(buffer, group["momentum"], out=product)
                g = xp.add(g, product, out=direction)
            else:
                g = buffer
        xp.multiply(g, group["lr"], out=product)
        p -= product
