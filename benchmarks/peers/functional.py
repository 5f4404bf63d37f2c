"""What engines without a tape of their own share: the operations in NumPy's names, and an optimiser on NumPy arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.workloads import Workload

# As float32 scalars: MyGrad takes a Python number for float64, and all that follows with it.
_ZERO, _ONE = np.float32(0), np.float32(1)


class NumpyOps:
    """The operations on top of a module with NumPy's functions (``jax.numpy``, ``autograd.numpy``, ...).

    Args:
        xp: the module.
        constant: makes a constant of an array that is being differentiated.
    """

    def __init__(self, xp: Any, constant: Callable[[Any], Any]) -> None:
        self.xp, self.constant = xp, constant

    def linear(self, x: Any, weight: Any, bias: Any) -> Any:
        return x @ weight.T + bias

    def relu(self, x: Any) -> Any:
        return self.xp.maximum(x, _ZERO)

    def sigmoid(self, x: Any) -> Any:
        return _ONE / (_ONE + self.xp.exp(-x))

    def tanh(self, x: Any) -> Any:
        return self.xp.tanh(x)

    def exp(self, x: Any) -> Any:
        return self.xp.exp(x)

    def scale(self, x: Any, number: float) -> Any:
        return x * np.float32(number)

    def concatenate(self, arrays: Sequence[Any], axis: int) -> Any:
        return self.xp.concatenate(list(arrays), axis)

    def cross_entropy(self, logits: Any, labels: Any) -> Any:
        xp, rows = self.xp, np.arange(len(labels))
        shifted = logits - self.constant(logits).max(axis=1, keepdims=True)
        return (xp.log(xp.exp(shifted).sum(axis=1)) - shifted[rows, labels]).mean()

    def binary_cross_entropy_with_logits(self, logits: Any, targets: Any) -> Any:
        xp = self.xp
        return (xp.maximum(logits, _ZERO) - logits * targets + xp.log1p(xp.exp(-xp.abs(logits)))).mean()

    def gaussian_kl(self, mu: Any, logvar: Any) -> Any:
        return self.scale((mu * mu + self.xp.exp(logvar) - logvar - _ONE).sum(), 0.5 / len(mu))

    def flatten(self, x: Any) -> Any:
        return x.reshape(len(x), -1)

    def gru(self, x: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
        size = weight_hh.shape[1]

        def step(h: Any, a: Any) -> Any:
            (h,), u = h, h[0] @ weight_hh.T + bias_hh
            r, z = (self.sigmoid(a[:, k : k + size] + u[:, k : k + size]) for k in (0, size))
            n = self.tanh(a[:, 2 * size :] + r * u[:, 2 * size :])
            return (n + z * (h - n),)

        return self._scan(step, self._inputs(x, weight_ih) + bias_ih, size, 1)

    def lstm(self, x: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
        size = weight_hh.shape[1]

        def step(states: Any, a: Any) -> Any:
            h, c = states
            a = a + h @ weight_hh.T
            i, f, o = (self.sigmoid(a[:, k * size : (k + 1) * size]) for k in (0, 1, 3))
            c = f * c + i * self.tanh(a[:, 2 * size : 3 * size])
            return o * self.tanh(c), c

        return self._scan(step, self._inputs(x, weight_ih) + (bias_ih + bias_hh), size, 2)

    @staticmethod
    def _inputs(x: Any, weight: Any) -> Any:
        """The input's part of all steps, in one product."""
        return (x.reshape(-1, x.shape[-1]) @ weight.T).reshape(*x.shape[:2], -1)

    def _scan(self, step: Callable[[Any, Any], Any], a: Any, size: int, states: int) -> Any:
        """The outputs of all steps, and the last one; ``step`` gives the next states, the output first."""
        now, made = (np.zeros((a.shape[1], size), np.float32),) * states, []
        for t in range(a.shape[0]):
            now = step(now, a[t])
            made.append(now[0])
        return self.xp.stack(made), now[0]

    def project(self, name: str, weight: Any, rank: int) -> Any:
        """Straight-through: the projection as a constant, plus the weight minus itself for the gradient."""
        held = self.constant(weight)
        u, s, vh = self.xp.linalg.svd(held, full_matrices=False)
        return weight + ((u[:, :rank] * s[:rank]) @ vh[:rank] - held)


class NumpyUpdate:
    """SGD or Adam in place on NumPy arrays, block after block so that an update stays in the cache."""

    BLOCK = 32768

    def __init__(self, workload: Workload, parameters: Mapping[str, np.ndarray]) -> None:
        self.rate, self.adam, self.steps = workload.learning_rate, workload.optimizer == "adam", 0
        self.parameters = {name: array.reshape(-1) for name, array in parameters.items()}
        self.m, self.v = ({name: np.zeros_like(p) for name, p in self.parameters.items()} for _ in range(2))
        self.work = np.empty(self.BLOCK, np.float32)

    def __call__(self, gradients: Mapping[str, np.ndarray]) -> None:
        self.steps += 1
        for name, p in self.parameters.items():
            g = gradients[name].reshape(-1)
            for start in range(0, p.size, self.BLOCK):
                part = slice(start, start + self.BLOCK)
                work = self.work[: p[part].size]
                if self.adam:
                    self._adam(p[part], g[part], self.m[name][part], self.v[name][part], work)
                else:
                    p[part] -= np.multiply(g[part], self.rate, out=work)

    def _adam(self, p: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, work: np.ndarray) -> None:
        m += np.multiply(np.subtract(g, m, out=work), 0.1, out=work)
        v *= 0.999
        v += np.multiply(np.multiply(g, g, out=work), 0.001, out=work)
        correction = math.sqrt(1 - 0.999**self.steps)
        np.sqrt(v, out=work)
        work += correction * 1e-8
        np.divide(m, work, out=work)
        work *= self.rate * correction / (1 - 0.9**self.steps)
        p -= work
