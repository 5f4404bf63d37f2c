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


_ONE_LAYER = (True, 1, 0.0, True, False, False)  # biases, layers, dropout, training, bidirectional, batch first


def _no_state(x: Any, weights: Sequence[Any]) -> Any:
    return x.new_zeros((1, x.shape[1], weights[1].shape[1]))


class _Ops:
    """The operations that workloads are written in.

    Args:
        buffers: running statistics by name, which a step changes.
    """

    def __init__(self, buffers: Mapping[str, Any]) -> None:
        self.buffers = buffers

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

    @staticmethod
    def conv2d(x: Any, weight: Any, bias: Any, padding: int) -> Any:
        return F.conv2d(x, weight, bias, padding=padding)

    max_pool2d = staticmethod(F.max_pool2d)
    dropout = staticmethod(F.dropout)

    @staticmethod
    def flatten(x: Any) -> Any:
        return x.flatten(1)

    @staticmethod
    def gru(x: Any, *weights: Any) -> Any:
        y, last = torch._VF.gru(x, _no_state(x, weights), list(weights), *_ONE_LAYER)  # what nn.GRU calls
        return y, last[0]

    @staticmethod
    def lstm(x: Any, *weights: Any) -> Any:
        zeros = _no_state(x, weights)
        y, last, _ = torch._VF.lstm(x, (zeros, zeros), list(weights), *_ONE_LAYER)  # what nn.LSTM calls
        return y, last[0]

    def batch_norm(self, name: str, x: Any, weight: Any, bias: Any) -> Any:
        mean, variance = (self.buffers[f"{name}.{part}"] for part in ("running_mean", "running_var"))
        return F.batch_norm(x, mean, variance, weight, bias, training=True)


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
        channels_last: keep images and weights of convolutions with the channels innermost. Measured on a CPU: eager,
            w9 then takes 0.8 of the time, and w3 1.1 of it; compiled, both take 0.9 to 1.
    """

    def __init__(self, workload: Workload, device: str, compiled: bool = False, channels_last: bool = False) -> None:
        if device != "cpu" and not torch.cuda.is_available():
            raise UnavailableError("this PyTorch finds no GPU")
        self.device, self.compiled = device, compiled
        self.channels_last = channels_last
        if compiled:
            torch._dynamo.reset()  # what was compiled for another step would be made to fit both
        parameters = {name: self._placed(array).requires_grad_() for name, array in workload.initial().items()}
        self.buffers = {name: self._placed(array) for name, array in workload.buffers().items()}
        optimizer = torch.optim.SGD if workload.optimizer == "sgd" else torch.optim.Adam
        super().__init__(
            workload,
            _Ops(self.buffers),
            parameters,
            lambda held: optimizer(held, lr=workload.learning_rate, fused=True),
            torch.compile if compiled else lambda function: function,
        )
        self.load(workload.inputs())

    def load(self, inputs: Mapping[str, np.ndarray]) -> None:
        self.inputs = {name: self._placed(array) for name, array in inputs.items()}

    def _placed(self, array: np.ndarray) -> Any:
        made = torch.tensor(array, device=self.device)
        return made.to(memory_format=torch.channels_last) if self.channels_last and made.ndim == 4 else made

    def wait(self) -> None:
        if self.device != "cpu":
            torch.cuda.synchronize()

    def state(self) -> dict[str, np.ndarray]:
        held = {**self.parameters, **self.buffers}
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in held.items()}

    def launches(self) -> dict[str, int] | None:
        if self.compiled:  # its kernels do not pass the dispatcher
            return None
        with _Count() as count:
            self()
        return {"operations": count.operations, "arrays": count.made}
