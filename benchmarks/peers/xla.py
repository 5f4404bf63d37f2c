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

_OPS = NumpyOps(jnp, jax.lax.stop_gradient)
_map = jax.tree_util.tree_map


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
        self.load(workload.inputs())
        gradients = self._adversarial if isinstance(workload, Gan) else self._single

        def step(parameters: Any, moments: Any, count: Any, inputs: Any) -> Any:
            # the discriminator's update comes before the generator's gradient, so each makes its own
            return gradients(parameters, moments, count + 1, inputs)

        self.step = jax.jit(step, donate_argnums=(0, 1, 2))

    def _placed(self, tree: Any) -> Any:
        return jax.device_put(tree, self.place)

    def load(self, inputs: Mapping[str, np.ndarray]) -> None:
        self.inputs = self._placed(
            {name: array.astype(np.int32) if array.dtype.kind == "i" else array for name, array in inputs.items()}
        )

    def _single(self, parameters: Any, moments: Any, count: Any, inputs: Any) -> Any:
        loss, gradients = jax.value_and_grad(lambda p: self.workload.loss(_OPS, p, inputs))(parameters)
        return (*self._updated(parameters, moments, count, gradients), count, loss)

    def _adversarial(self, parameters: Any, moments: Any, count: Any, inputs: Any) -> Any:
        workload: Any = self.workload
        groups = {group: {n: parameters[n] for n in names} for group, names in workload.groups().items()}
        fakes, back = jax.vjp(lambda p: workload.generate(_OPS, p, inputs), groups["generator"])
        apart, gradients = jax.value_and_grad(lambda p: workload.judged_apart(_OPS, p, fakes, inputs))(
            groups["discriminator"]
        )
        parameters, moments = self._updated(parameters, moments, count, gradients)
        real, gradient = jax.value_and_grad(lambda f: workload.judged_real(_OPS, parameters, f, inputs))(fakes)
        parameters, moments = self._updated(parameters, moments, count, back(gradient)[0])
        return parameters, moments, count, (apart, real)

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
        self.parameters, self.moments, self.count, loss = self.step(
            self.parameters, self.moments, self.count, self.inputs
        )
        return loss

    def value(self, loss: Any) -> float:
        return sum(map(float, loss)) if isinstance(loss, tuple) else float(loss)

    def wait(self) -> None:
        jax.block_until_ready((self.parameters, self.moments))

    def state(self) -> dict[str, np.ndarray]:
        return {name: np.array(array) for name, array in self.parameters.items()}

    def launches(self) -> dict[str, int] | None:
        return None  # one compiled program
