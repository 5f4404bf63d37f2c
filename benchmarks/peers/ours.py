"""The training step in tinygrad_hw. The engine is imported before NumPy, so that it can choose OpenBLAS's kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tinygrad_hw as tg
from benchmarks.convolutional import Convolutional, Stage
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
    def gru(x: Any, *weights: Any) -> Any:
        return F.gru(x, None, *weights)

    @staticmethod
    def lstm(x: Any, *weights: Any) -> Any:
        return F.lstm(x, None, *weights)[:2]

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
    """A training step on the tape, with the engine's own optimisers. Convolutional nets are an ``nn.Sequential``, which
    does some layers with those before them.

    Args:
        subspace: follow the projection by a warm-started subspace iteration (8 columns more than the rank) instead of
            computing it anew.
    """

    def __init__(self, workload: Workload, device: str, subspace: bool = False) -> None:
        self.device = device
        optimizer = optim.SGD if workload.optimizer == "sgd" else optim.Adam
        make = lambda held: optimizer(held, workload.learning_rate)
        self.buffers: dict[str, tg.Tensor] = {}
        if isinstance(workload, Convolutional):
            model = _network(workload, device)
            self.buffers = {name: buffer for name, buffer in model.named_buffers() if name in workload.buffers()}
            loss = lambda ops, parameters, inputs: F.cross_entropy(model(inputs["x"]), inputs["labels"])
            super().__init__(workload, None, dict(model.named_parameters()), make, lambda _: loss)
        else:
            parameters = {name: nn.Parameter(to_device(array, device)) for name, array in workload.initial().items()}
            ops = _Ops(_projections(workload, parameters, device) if subspace else {})
            super().__init__(workload, ops, parameters, make)
        self.load(workload.inputs())

    def load(self, inputs: Mapping[str, np.ndarray]) -> None:
        self.inputs = {name: tg.tensor(to_device(array, self.device)) for name, array in inputs.items()}

    def wait(self) -> None:
        synchronize(self.device)

    def state(self) -> dict[str, np.ndarray]:
        held = {**self.parameters, **self.buffers}
        return {name: to_numpy(tensor.data).copy() for name, tensor in held.items()}

    def launches(self) -> dict[str, int]:
        events: list[Sequence[Any]] = []
        with tg.operation_hook(lambda event: events.append(event.outputs)):
            self()
        made = {id(array) for outputs in events for array in outputs if getattr(array, "base", 0) is None}
        return {"operations": len(events), "arrays": len(made)}


def _network(workload: Convolutional, device: str) -> nn.Module:
    made: dict[str, Callable[[Stage], nn.Module]] = {
        "conv": lambda s: nn.Conv2d(s.before[0], s.after[0], s.kernel, padding=s.padding, bias=s.bias, device=device),
        "norm": lambda s: nn.BatchNorm2d(s.after[0], device=device),
        "dense": lambda s: nn.Linear(s.before[0], s.after[0], device=device),
        "pool": lambda s: nn.MaxPool2d(s.kernel),
        "dropout": lambda s: nn.Dropout(workload.drop),
        "relu": lambda s: nn.ReLU(),
        "flatten": lambda s: nn.Flatten(),
    }
    model = nn.Sequential(*(made[stage.kind](stage) for stage in workload.stages))
    model.load_state_dict(workload.initial() | workload.buffers(), strict=False)  # but for the batches counted
    return model


def _projections(workload: Workload, parameters: Mapping[str, nn.Parameter], device: str) -> dict[str, nn.Module]:
    rank, stream = getattr(workload, "rank", 0), tg.random.Stream(0, "subspace")
    if not rank:
        return {}
    weights = {name: parameters[f"{name}.weight"] for name in list(workload.layers())[:-1]}
    return {
        name: nn.SubspaceProjection(weight.shape, rank, stream=stream, device=device)
        for name, weight in weights.items()
    }
