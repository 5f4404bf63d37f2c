"""The training step in tinygrad_hw. The engine is imported before NumPy, so that it can choose OpenBLAS's kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tinygrad_hw as tg
from tinygrad_hw import functional as F
from tinygrad_hw import nn, optim
from tinygrad_hw.backend import synchronize, to_device, to_numpy

if TYPE_CHECKING:
    import numpy as np

    from benchmarks.workloads import Workload


class _Ops:
    """The operations that workloads are written in."""

    linear = staticmethod(F.linear)
    relu = staticmethod(F.relu)
    sigmoid = staticmethod(F.sigmoid)
    tanh = staticmethod(F.tanh)
    exp = staticmethod(F.exp)
    cross_entropy = staticmethod(F.cross_entropy)
    binary_cross_entropy_with_logits = staticmethod(F.binary_cross_entropy_with_logits)
    gaussian_kl = staticmethod(F.gaussian_kl)
    concatenate = staticmethod(F.concatenate)

    @staticmethod
    def scale(x: Any, number: float) -> Any:
        return x * number

    def __init__(self, projections: Mapping[str, nn.Module]) -> None:
        self.projections = projections

    def project(self, name: str, weight: Any, rank: int) -> Any:
        if name in self.projections:
            return self.projections[name](weight)
        return F.svd_project(weight, rank)


class OurStep:
    """A training step on the tape, with the engine's own optimisers.

    Args:
        subspace: follow the projection by a warm-started subspace iteration (8 columns more than the rank) instead of
            computing it anew.
    """

    def __init__(self, workload: Workload, device: str, subspace: bool = False) -> None:
        from benchmarks.workloads import Gan

        self.workload, self.device = workload, device
        self.parameters = {name: nn.Parameter(to_device(array, device)) for name, array in workload.initial().items()}
        make = optim.SGD if workload.optimizer == "sgd" else optim.Adam
        self.groups = {group: [self.parameters[name] for name in names] for group, names in workload.groups().items()}
        self.optimizers = {group: make(held, workload.learning_rate) for group, held in self.groups.items()}
        self.ops = _Ops(self._projections() if subspace else {})
        self.load(workload.inputs())
        self._make = self._adversarial if isinstance(workload, Gan) else self._single

    def _projections(self) -> dict[str, nn.Module]:
        rank, stream = getattr(self.workload, "rank", 0), tg.random.Stream(0, "subspace")
        weights = {name: self.parameters[f"{name}.weight"] for name in list(self.workload.layers())[:-1]}
        return {
            name: nn.SubspaceProjection(weight.shape, rank, stream=stream, device=self.device)
            for name, weight in weights.items()
        }

    def load(self, inputs: Mapping[str, np.ndarray]) -> None:
        self.inputs = {name: tg.tensor(to_device(array, self.device)) for name, array in inputs.items()}

    def __call__(self) -> Any:
        return self._make()

    def _single(self) -> Any:
        optimizer = self.optimizers["all"]
        optimizer.zero_grad()
        loss = self.workload.loss(self.ops, self.parameters, self.inputs)
        loss.backward()
        optimizer.step()
        return loss

    def _adversarial(self) -> Any:
        workload: Any = self.workload
        ops, parameters, inputs = self.ops, self.parameters, self.inputs
        fakes = workload.generate(ops, parameters, inputs)
        self.optimizers["discriminator"].zero_grad()
        apart = workload.judged_apart(ops, parameters, fakes.detach(), inputs)
        apart.backward()
        self.optimizers["discriminator"].step()
        self.optimizers["generator"].zero_grad()
        self._learn("discriminator", False)
        real = workload.judged_real(ops, parameters, fakes, inputs)
        self._learn("discriminator", True)
        real.backward()
        self.optimizers["generator"].step()
        return apart, real

    def _learn(self, group: str, wanted: bool) -> None:
        for parameter in self.groups[group]:
            parameter.requires_grad = wanted

    def value(self, loss: Any) -> float:
        return sum(map(float, loss)) if isinstance(loss, tuple) else float(loss)

    def wait(self) -> None:
        synchronize(self.device)

    def state(self) -> dict[str, np.ndarray]:
        return {name: to_numpy(parameter.data).copy() for name, parameter in self.parameters.items()}

    def launches(self) -> dict[str, int]:
        events: list[Sequence[Any]] = []
        with tg.operation_hook(lambda event: events.append(event.outputs)):
            self()
        made = {id(array) for outputs in events for array in outputs if getattr(array, "base", 0) is None}
        return {"operations": len(events), "arrays": len(made)}
