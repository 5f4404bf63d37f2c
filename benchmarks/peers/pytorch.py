"""The training step in PyTorch, eager or with the loss compiled; its fused optimisers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.peers import UnavailableError
from benchmarks.workloads import Gan, Workload


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


class TorchStep:
    """A training step on PyTorch's tape.

    Args:
        compiled: pass each loss function through ``torch.compile``, which compiles its backward pass too.
    """

    def __init__(self, workload: Workload, device: str, compiled: bool = False) -> None:
        if device != "cpu" and not torch.cuda.is_available():
            raise UnavailableError("this PyTorch finds no GPU")
        self.workload, self.device, self.compiled = workload, device, compiled
        self.parameters = {
            name: torch.tensor(array, device=device, requires_grad=True) for name, array in workload.initial().items()
        }
        make = torch.optim.SGD if workload.optimizer == "sgd" else torch.optim.Adam
        self.groups = {group: [self.parameters[name] for name in names] for group, names in workload.groups().items()}
        self.optimizers = {
            group: make(held, lr=workload.learning_rate, fused=True) for group, held in self.groups.items()
        }
        self.load(workload.inputs())
        wrap = torch.compile if compiled else lambda function: function
        if isinstance(workload, Gan):
            self.generate, self.apart, self.real = map(
                wrap, (workload.generate, workload.judged_apart, workload.judged_real)
            )
            self._make = self._adversarial
        else:
            self.loss, self._make = wrap(workload.loss), self._single

    def load(self, inputs: Mapping[str, np.ndarray]) -> None:
        self.inputs = {name: torch.tensor(array, device=self.device) for name, array in inputs.items()}

    def __call__(self) -> Any:
        return self._make()

    def _single(self) -> Any:
        optimizer = self.optimizers["all"]
        optimizer.zero_grad()
        loss = self.loss(_Ops, self.parameters, self.inputs)
        loss.backward()
        optimizer.step()
        return loss

    def _adversarial(self) -> Any:
        fakes = self.generate(_Ops, self.parameters, self.inputs)
        self.optimizers["discriminator"].zero_grad()
        apart = self.apart(_Ops, self.parameters, fakes.detach(), self.inputs)
        apart.backward()
        self.optimizers["discriminator"].step()
        self.optimizers["generator"].zero_grad()
        self._learn("discriminator", False)
        real = self.real(_Ops, self.parameters, fakes, self.inputs)
        self._learn("discriminator", True)
        real.backward()
        self.optimizers["generator"].step()
        return apart, real

    def _learn(self, group: str, wanted: bool) -> None:
        for parameter in self.groups[group]:
            parameter.requires_grad_(wanted)

    def value(self, loss: Any) -> float:
        return sum(part.item() for part in (loss if isinstance(loss, tuple) else (loss,)))

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
