"""The training step of an engine with a tape and optimisers of its own: gradients zeroed, forward, backward, update."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.workloads import Gan, Workload


class TapeStep:
    """What such engines share.

    Args:
        ops: the operations that workloads are written in.
        parameters: by name; leaves of the tape.
        make: an optimiser over a list of parameters.
        wrap: what each loss function is passed through.
    """

    inputs: Mapping[str, Any]

    def __init__(
        self,
        workload: Workload,
        ops: Any,
        parameters: Mapping[str, Any],
        make: Callable[[list[Any]], Any],
        wrap: Callable[[Any], Any] = lambda function: function,
    ) -> None:
        self.workload, self.ops, self.parameters = workload, ops, parameters
        self.groups = {group: [parameters[name] for name in names] for group, names in workload.groups().items()}
        self.optimizers = {group: make(held) for group, held in self.groups.items()}
        if isinstance(workload, Gan):
            self.generate, self.apart, self.real = map(
                wrap, (workload.generate, workload.judged_apart, workload.judged_real)
            )
            self._make = self._adversarial
        else:
            self.loss, self._make = wrap(workload.loss), self._single

    def __call__(self) -> Any:
        return self._make()

    def _single(self) -> Any:
        optimizer = self.optimizers["all"]
        optimizer.zero_grad()
        loss = self.loss(self.ops, self.parameters, self.inputs)
        loss.backward()
        optimizer.step()
        return loss

    def _adversarial(self) -> Any:
        fakes = self.generate(self.ops, self.parameters, self.inputs)
        self.optimizers["discriminator"].zero_grad()
        apart = self.apart(self.ops, self.parameters, fakes.detach(), self.inputs)
        apart.backward()
        self.optimizers["discriminator"].step()
        self.optimizers["generator"].zero_grad()
        self._learn("discriminator", False)
        real = self.real(self.ops, self.parameters, fakes, self.inputs)
        self._learn("discriminator", True)
        real.backward()
        self.optimizers["generator"].step()
        return apart, real

    def _learn(self, group: str, wanted: bool) -> None:
        for parameter in self.groups[group]:
            parameter.requires_grad = wanted

    def value(self, loss: Any) -> float:
        return sum(part.item() for part in (loss if isinstance(loss, tuple) else (loss,)))
