"""The engines that are compared: who they are and where each one's training step stands.

Nothing here imports an engine, or NumPy: each runs in a process of its own, and settings that are read when a library
is first imported (number of threads, BLAS kernels) must come before that.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np

    from benchmarks.workloads import Workload


class Step(Protocol):
    """A workload made ready in one engine: calling it makes one training step and returns the loss, not yet read."""

    def __call__(self) -> Any: ...

    def value(self, loss: Any) -> float:
        """The loss as a number; of a workload with two losses, their sum. Waits for it."""
        ...

    def wait(self) -> None:
        """Return when all steps so far are done."""
        ...

    def load(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Feed other inputs, of the same shapes, from now on."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """The parameters by name."""
        ...

    def launches(self) -> dict[str, int] | None:
        """What one step (made now) sets off: ``operations``, and ``arrays`` if that can be told; None: unknown."""
        ...


@dataclass(frozen=True)
class Engine:
    """An engine of the comparison.

    Attributes:
        title: in tables. home: the module with a class of steps. step: that class.
        package: what must be installed. settings: keyword arguments of the class.
        only_with: the setting of a workload that another form of an engine is for ("rank": a projection; "image":
            images); in workloads without it, it would be the same as the engine itself.
        tolerance: relative, of the loss after 1 and after 3 steps, against ours.
        ours: whether it is this engine.
    """

    title: str
    home: str
    step: str
    package: str
    settings: tuple[tuple[str, Any], ...] = ()
    only_with: str = ""
    tolerance: tuple[float, float] = (1e-5, 1e-4)
    ours: bool = False

    def suits(self, workload: Workload) -> bool:
        """Whether it is another engine than the rest on this workload."""
        return not self.only_with or bool(getattr(workload, self.only_with, None))

    def missing(self) -> bool:
        """Whether its package is not installed."""
        return importlib.util.find_spec(self.package) is None

    def build(self, workload: Workload, device: str) -> Step:
        """Its training step; raises :class:`UnavailableError` when it cannot run there."""
        made: Step = getattr(self.module(), self.step)(workload, device, **dict(self.settings))
        return made

    def module(self) -> Any:
        """Import the engine."""
        return importlib.import_module(f"benchmarks.peers.{self.home}")


class UnavailableError(RuntimeError):
    """An engine cannot run this workload, or not on this device; the message says why in a line."""


ENGINES: dict[str, Engine] = {
    "tinygrad_hw": Engine("tinygrad_hw", "ours", "OurStep", "tinygrad_hw", ours=True),
    "tinygrad_hw-subspace": Engine(
        "tinygrad_hw, warm-started subspace", "ours", "OurStep", "tinygrad_hw", (("subspace", True),), "rank",
        (2e-2, 2e-2), True,
    ),
    "torch": Engine("PyTorch", "pytorch", "TorchStep", "torch"),
    "torch-channels-last": Engine(
        "PyTorch, channels last", "pytorch", "TorchStep", "torch", (("channels_last", True),), "image",
    ),
    "torch-compiled": Engine(
        "PyTorch, compiled", "pytorch", "TorchStep", "torch", (("compiled", True), ("channels_last", True)),
    ),
    "jax": Engine("JAX, jit", "xla", "JaxStep", "jax"),
    "autograd": Engine("autograd", "tapes", "AutogradStep", "autograd"),
    "mygrad": Engine("MyGrad", "tapes", "MyGradStep", "mygrad"),
}  # fmt: skip
PEERS = [name for name, engine in ENGINES.items() if not engine.ours]
FORMS = {"torch": ["torch", "torch-channels-last"]}  # what a peer's name stands for, if not for itself alone
OURS = "tinygrad_hw"
OWN = [name for name, engine in ENGINES.items() if engine.ours]
