"""The training step in autograd and in MyGrad: tapes on NumPy, with the optimiser written in NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.peers import UnavailableError
from benchmarks.peers.functional import NumpyOps, NumpyUpdate
from benchmarks.workloads import Arrays, Gan, Workload


class _TapeStep:
    """Parameters as NumPy arrays, updated in place; a subclass says how to differentiate."""

    ops: Any

    def __init__(self, workload: Workload, device: str) -> None:
        if device != "cpu":
            raise UnavailableError("runs on the CPU alone")
        if workload.buffers():
            raise UnavailableError("left out: no running statistics, and wide convolutions take seconds")
        self.workload = workload
        self.parameters = workload.initial()
        self.updates = {
            group: NumpyUpdate(workload, {name: self.parameters[name] for name in names})
            for group, names in workload.groups().items()
        }
        self.load(workload.inputs())

    def load(self, inputs: Mapping[str, np.ndarray]) -> None:
        self.inputs = dict(inputs)

    def __call__(self) -> Any:
        return self._adversarial() if isinstance(self.workload, Gan) else self._single()

    def _single(self) -> Any:
        raise NotImplementedError

    def _adversarial(self) -> Any:
        raise NotImplementedError

    def _group(self, group: str) -> Arrays:
        return {name: self.parameters[name] for name in self.workload.groups()[group]}

    def value(self, loss: Any) -> float:
        return sum(map(float, loss)) if isinstance(loss, tuple) else float(loss)

    def wait(self) -> None:
        pass

    def state(self) -> Arrays:
        return {name: array.copy() for name, array in self.parameters.items()}

    def launches(self) -> dict[str, int] | None:
        return None


class _AutogradOps(NumpyOps):
    """autograd has a true convolution (so the kernel is turned), and pools as its own example of a convolutional net
    does."""

    def conv2d(self, x: Any, weight: Any, bias: Any, padding: int) -> Any:
        from autograd.scipy.signal import convolve

        sides = ((0, 0), (0, 0), (padding, padding), (padding, padding))
        x = self.xp.pad(x, sides, mode="constant") if padding else x
        y = convolve(x, weight[:, :, ::-1, ::-1], axes=([2, 3], [2, 3]), dot_axes=([1], [1]), mode="valid")
        return y if bias is None else y + bias.reshape(-1, 1, 1)

    def max_pool2d(self, x: Any, size: int) -> Any:
        n, channels, rows, columns = x.shape
        return x.reshape(n, channels, rows // size, size, columns // size, size).max(axis=3).max(axis=4)


class AutogradStep(_TapeStep):
    """autograd (Maclaurin, Duvenaud, Adams 2015)."""

    def __init__(self, workload: Workload, device: str) -> None:
        from autograd import numpy as anp
        from autograd.tracer import getval

        self.ops = _AutogradOps(anp, getval)
        super().__init__(workload, device)

    def _single(self) -> Any:
        from autograd import value_and_grad

        loss, gradients = value_and_grad(lambda p: self.workload.loss(self.ops, p, self.inputs))(self.parameters)
        self.updates["all"](gradients)
        return loss

    def _adversarial(self) -> Any:
        from autograd import value_and_grad
        from autograd.core import make_vjp

        workload: Any = self.workload
        ops, inputs = self.ops, self.inputs
        back, fakes = make_vjp(lambda p: workload.generate(ops, p, inputs), self._group("generator"))
        apart, gradients = value_and_grad(lambda p: workload.judged_apart(ops, p, fakes, inputs))(
            self._group("discriminator")
        )
        self.updates["discriminator"](gradients)
        real, gradient = value_and_grad(lambda f: workload.judged_real(ops, self.parameters, f, inputs))(fakes)
        self.updates["generator"](back(gradient))
        return apart, real


class _MyGradOps(NumpyOps):
    """MyGrad has its own fused softmax cross-entropy, and no matrix decomposition."""

    def conv2d(self, x: Any, weight: Any, bias: Any, padding: int) -> Any:
        from mygrad.nnet.layers import conv_nd

        y = conv_nd(x, weight, stride=1, padding=padding)
        return y if bias is None else y + bias.reshape(-1, 1, 1)

    def max_pool2d(self, x: Any, size: int) -> Any:
        from mygrad.nnet.layers import max_pool

        return max_pool(x, (size, size), size)

    def cross_entropy(self, logits: Any, labels: Any) -> Any:
        from mygrad.nnet.losses import softmax_crossentropy

        return softmax_crossentropy(logits, labels)

    def concatenate(self, arrays: Sequence[Any], axis: int) -> Any:
        return self.xp.concatenate(list(arrays), axis=axis)

    def relu(self, x: Any) -> Any:
        from mygrad.nnet.activations import relu

        return relu(x)

    def sigmoid(self, x: Any) -> Any:
        from mygrad.nnet.activations import sigmoid

        return sigmoid(x)

    def project(self, name: str, weight: Any, rank: int) -> Any:
        u, s, vh = np.linalg.svd(weight.data, full_matrices=False)
        return weight + ((u[:, :rank] * s[:rank]) @ vh[:rank] - weight.data)


class MyGradStep(_TapeStep):
    """MyGrad (Soklaski)."""

    def __init__(self, workload: Workload, device: str) -> None:
        import mygrad

        mygrad.turn_memory_guarding_off()  # as its documentation advises where speed counts
        self.mg, self.ops = mygrad, _MyGradOps(mygrad, lambda x: x.data)
        super().__init__(workload, device)

    def _leaves(self, arrays: Arrays) -> dict[str, Any]:
        return {name: self.mg.tensor(array, copy=False) for name, array in arrays.items()}

    def _learn(self, group: str, leaves: Mapping[str, Any]) -> None:
        self.updates[group]({name: leaf.grad for name, leaf in leaves.items()})

    def _single(self) -> Any:
        leaves = self._leaves(self.parameters)
        loss = self.workload.loss(self.ops, leaves, self.inputs)
        loss.backward()
        self._learn("all", leaves)
        return loss.data

    def _adversarial(self) -> Any:
        workload: Any = self.workload
        ops, inputs = self.ops, self.inputs
        makers, judges = self._leaves(self._group("generator")), self._leaves(self._group("discriminator"))
        fakes = workload.generate(ops, makers, inputs)
        apart = workload.judged_apart(ops, judges, fakes.data, inputs)
        apart.backward()
        self._learn("discriminator", judges)
        real = workload.judged_real(ops, self._group("discriminator"), fakes, inputs)
        real.backward()
        self._learn("generator", makers)
        return apart.data, real.data
