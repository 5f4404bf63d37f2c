"""The training step in PyTorch, eager or with the loss compiled; its fused optimisers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.peers import UnavailableError
from benchmarks.peers.tape import TapeStep
from benchmarks.workloads import Workload


class _Project(torch.autograd.Function):
    """The truncated singular value decomposition, straight-through."""

    @staticmethod
    def forward(ctx: Any, weight: Any, rank: int) -> Any:
        u, s, vh = torch.linalg.svd(weight, full_matrices=False)
        return (u[:, :rank] * s[:rank]) @ vh[:rank]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0], None


class _Ops:
    linear = staticmethod(F.linear)
    relu = staticmethod(F.relu)
    sigmoid = staticmethod(torch.sigmoid)
    tanh = staticmethod(torch.tanh)
    exp = staticmethod(torch.exp)
    cross_entropy = staticmethod(F.cross_entropy)
    binary_cross_entropy_with_logits = staticmethod(F.binary_cross_entropy_with_logits)

    @staticmethod
    def scale(x: Any, number: float) -> Any:
        return x * number

    @staticmethod
    def concatenate(arrays: Sequence[Any], axis: int) -> Any:
        return torch.cat(list(arrays), axis)

    @staticmethod
    def gaussian_kl(mu: Any, logvar: Any) -> Any:
        return 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum() / len(mu)

    @staticmethod
    def project(name: str, weight: Any, rank: int) -> Any:
        return _Project.apply(weight, rank)


class _Count(TorchDispatchMode):
    """Counts what reaches PyTorch's dispatcher, in the backward pass too."""

    def __init__(self) -> None:
        super().__init__()
        self.operations, self.made = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.operations += 1
        outputs = result if isinstance(result, (tuple, list)) else (result,)
        self.made += sum(isinstance(out, torch.Tensor) and not out._is_view() for out in outputs)
        return result


class TorchStep(TapeStep):
    """A training step on PyTorch's tape.

    Args:
        compiled: pass each loss function through ``torch.compile``, which compiles its backward pass too.
    """

    def __init__(self, workload: Workload, device: str, compiled: bool = False) -> None:
        if device != "cpu" and not torch.cuda.is_available():
            raise UnavailableError("this PyTorch finds no GPU")
        self.device, self.compiled = device, compiled
        parameters = {
            name: torch.tensor(array, device=device, requires_grad=True) for name, array in workload.initial().items()
        }
        optimizer = torch.optim.SGD if workload.optimizer == "sgd" else torch.optim.Adam
        super().__init__(
            workload,
            _Ops,
            parameters,
            lambda held: optimizer(held, lr=workload.learning_rate, fused=True),
            torch.compile if compiled else lambda function: function,
        )
        self.load(workload.inputs())

    def load(self, inputs: Mapping[str, np.ndarray]) -> None:
        self.inputs = {name: torch.tensor(array, device=self.device) for name, array in inputs.items()}

    def wait(self) -> None:
        if self.device != "cpu":
            torch.cuda.synchronize()

    def state(self) -> dict[str, np.ndarray]:
        return {name: parameter.detach().cpu().numpy().copy() for name, parameter in self.parameters.items()}

    def launches(self) -> dict[str, int] | None:
        if self.compiled:  # its kernels do not pass the dispatcher
            return None
        with _Count() as count:
            self()
        return {"operations": count.operations, "arrays": count.made}
