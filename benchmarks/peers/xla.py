"""The training step in JAX: one compiled function of parameters and optimiser state, both donated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from benchmarks.peers import UnavailableError
from benchmarks.peers.functional import NumpyOps
from benchmarks.workloads import Gan, Workload

_map = jax.tree_util.tree_map


class _Ops(NumpyOps):
    """The operations while one step is traced. Images are NHWC.

    What is faster was measured on a CPU: NHWC takes 0.65 to 0.8 of the time of NCHW (steps w3 and w9; XLA's
    convolutions are NHWC there, and it transposes others); pooling by a reduction of a reshaped array half that of
    ``lax.reduce_window``, whose derivative scatters. ``jax.nn.relu`` instead of ``maximum``, Threefry keys and the
    variance in two passes made no difference.

    Args:
        carried: what goes from step to step beside parameters and moments: ``buffers`` (running statistics by name) and
            the ``key`` of the next draw. An operation that uses one puts the next in its place.
    """

    def __init__(self, carried: Mapping[str, Any]) -> None:
        super().__init__(jnp, jax.lax.stop_gradient)
        self.carried = {"buffers": dict(carried["buffers"]), "key": carried["key"]}

    def conv2d(self, x: Any, weight: Any, bias: Any, padding: int) -> Any:
        y = jax.lax.conv_general_dilated(
            x, weight, (1, 1), [(padding, padding)] * 2, dimension_numbers=("NHWC", "OIHW", "NHWC")
        )
        return y if bias is None else y + bias

    def max_pool2d(self, x: Any, size: int) -> Any:
        n, rows, columns, channels = x.shape
        return x.reshape(n, rows // size, size, columns // size, size, channels).max((2, 4))

    def flatten(self, x: Any) -> Any:
        return x.transpose(0, 3, 1, 2).reshape(len(x), -1)

    def batch_norm(self, name: str, x: Any, weight: Any, bias: Any) -> Any:
        axes = (0, 1, 2)
        mean = x.mean(axes)
        variance = (x * x).mean(axes) - mean * mean
        count = x.size // len(mean)
        for part, found in (("running_mean", mean), ("running_var", variance * (count / (count - 1)))):
            key = f"{name}.{part}"
            self.carried["buffers"][key] = 0.9 * self.carried["buffers"][key] + 0.1 * found
        scale = weight * jax.lax.rsqrt(variance + 1e-5)
        return x * scale + (bias - mean * scale)

    def _scan(self, step: Any, a: Any, size: int, states: int) -> Any:
        def one(now: Any, a: Any) -> Any:
            now = step(now, a)
            return now, now[0]

        now, made = jax.lax.scan(one, (jnp.zeros((a.shape[1], size), a.dtype),) * states, a)
        return made, now[0]

    def dropout(self, x: Any, p: float) -> Any:
        self.carried["key"], key = jax.random.split(self.carried["key"])
        return jnp.where(jax.random.bernoulli(key, 1 - p, x.shape), x / (1 - p), 0)


class JaxStep:
    """A training step under ``jax.jit``; Adam as in its paper, in terms of ``jax.numpy``."""

    def __init__(self, workload: Workload, device: str) -> None:
        try:
            self.place = jax.devices("cpu" if device == "cpu" else "gpu")[0]
        except RuntimeError as error:
            raise UnavailableError("this JAX finds no GPU") from error
        jax.config.update("jax_default_matmul_precision", "highest")  # a GPU would round to TF32
        self.workload = workload
        self.parameters = self._placed(workload.initial())
        self.moments = self._placed(
            {which: {n: np.zeros_like(p) for n, p in workload.initial().items()} for which in ("m", "v")}
            if workload.optimizer == "adam"
            else {}
        )
        self.count = self._placed(np.zeros((), np.float32))
        self.carried = self._placed({"buffers": workload.buffers(), "key": jax.random.key(workload.seed, impl="rbg")})
        self.load(workload.inputs())
        gradients = self._adversarial if isinstance(workload, Gan) else self._single

        def step(parameters: Any, moments: Any, count: Any, carried: Any, inputs: Any) -> Any:
            # the discriminator's update comes before the generator's gradient, so each makes its own
            return gradients(parameters, moments, count + 1, carried, inputs)

        self.step = jax.jit(step, donate_argnums=(0, 1, 2, 3))

    def _placed(self, tree: Any) -> Any:
        return jax.device_put(tree, self.place)

    def load(self, inputs: Mapping[str, np.ndarray]) -> None:
        self.inputs = self._placed({name: _as_held(array) for name, array in inputs.items()})

    def _single(self, parameters: Any, moments: Any, count: Any, carried: Any, inputs: Any) -> Any:
        def loss(parameters: Any) -> Any:
            ops = _Ops(carried)
            return self.workload.loss(ops, parameters, inputs), ops.carried

        (value, carried), gradients = jax.value_and_grad(loss, has_aux=True)(parameters)
        return (*self._updated(parameters, moments, count, gradients), count, carried, value)

    def _adversarial(self, parameters: Any, moments: Any, count: Any, carried: Any, inputs: Any) -> Any:
        ops = _Ops(carried)
        workload: Any = self.workload
        groups = {group: {n: parameters[n] for n in names} for group, names in workload.groups().items()}
        fakes, back = jax.vjp(lambda p: workload.generate(ops, p, inputs), groups["generator"])
        apart, gradients = jax.value_and_grad(lambda p: workload.judged_apart(ops, p, fakes, inputs))(
            groups["discriminator"]
        )
        parameters, moments = self._updated(parameters, moments, count, gradients)
        real, gradient = jax.value_and_grad(lambda f: workload.judged_real(ops, parameters, f, inputs))(fakes)
        parameters, moments = self._updated(parameters, moments, count, back(gradient)[0])
        return parameters, moments, count, ops.carried, (apart, real)

    def _updated(self, parameters: Any, moments: Any, count: Any, gradients: Any) -> tuple[Any, Any]:
        rate, held = self.workload.learning_rate, {name: parameters[name] for name in gradients}
        if self.workload.optimizer == "sgd":
            return parameters | _map(lambda p, g: p - rate * g, held, gradients), moments
        m = _map(lambda m, g: 0.9 * m + 0.1 * g, {n: moments["m"][n] for n in held}, gradients)
        v = _map(lambda v, g: 0.999 * v + 0.001 * g * g, {n: moments["v"][n] for n in held}, gradients)
        first, second = 1 - 0.9**count, 1 - 0.999**count
        new = _map(lambda p, m, v: p - rate * (m / first) / (jnp.sqrt(v / second) + 1e-8), held, m, v)
        return parameters | new, {"m": moments["m"] | m, "v": moments["v"] | v}

    def __call__(self) -> Any:
        self.parameters, self.moments, self.count, self.carried, loss = self.step(
            self.parameters, self.moments, self.count, self.carried, self.inputs
        )
        return loss

    def value(self, loss: Any) -> float:
        return sum(map(float, loss)) if isinstance(loss, tuple) else float(loss)

    def wait(self) -> None:
        jax.block_until_ready((self.parameters, self.moments))

    def state(self) -> dict[str, np.ndarray]:
        return {name: np.array(array) for name, array in (self.parameters | self.carried["buffers"]).items()}

    def launches(self) -> dict[str, int] | None:
        return None  # one compiled program


def _as_held(array: np.ndarray) -> np.ndarray:
    """Labels as the integers that JAX has, images NHWC."""
    if array.dtype.kind == "i":
        return array.astype(np.int32)
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if array.ndim == 4 else array
