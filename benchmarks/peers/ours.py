"""The training step in tinygrad_hw. The engine is imported before NumPy, so that it can choose OpenBLAS's kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tinygrad_hw as tg
from benchmarks.peers.tape import TapeStep
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


class OurStep(TapeStep):
    """A training step on the tape, with the engine's own optimisers.

    Args:
        subspace: follow the projection by a warm-started subspace iteration (8 columns more than the rank) instead of
            computing it anew.
    """

    def __init__(self, workload: Workload, device: str, subspace: bool = False) -> None:
        self.device = device
        parameters = {name: nn.Parameter(to_device(array, device)) for name, array in workload.initial().items()}
        optimizer = optim.SGD if workload.optimizer == "sgd" else optim.Adam
        ops = _Ops(_projections(workload, parameters, device) if subspace else {})
        super().__init__(workload, ops, parameters, lambda held: optimizer(held, workload.learning_rate))
        self.load(workload.inputs())

    def load(self, inputs: Mapping[str, np.ndarray]) -> None:
        self.inputs = {name: tg.tensor(to_device(array, self.device)) for name, array in inputs.items()}

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


def _projections(workload: Workload, parameters: Mapping[str, nn.Parameter], device: str) -> dict[str, nn.Module]:
    rank, stream = getattr(workload, "rank", 0), tg.random.Stream(0, "subspace")
    weights = {name: parameters[f"{name}.weight"] for name in list(workload.layers())[:-1]}
    return {
        name: nn.SubspaceProjection(weight.shape, rank, stream=stream, device=device)
        for name, weight in weights.items()
    }
