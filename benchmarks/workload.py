"""What a workload is: numbers in, network, loss and counts, in terms of operations that each engine brings.

Numbers come from a named seed and are the same for every engine: weights uniform in ±√(6 / in) (He), biases
uniform in ±0.1, images uniform in [0, 1], labels uniform. Dtype float32.

Counts. Operations: 2 m n k for a matrix product, 1 for every entry that a bias or activation touches, each way, 2 for a
parameter under SGD and 12 under Adam. Bytes: the least that must move if nothing but what an operation works on stays
in a cache: a weight is read forward and backward, its gradient is written and read, the update reads and writes the
parameter and its state; an activation is written and read forward, read backward, and its gradient written and read.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

Arrays = dict[str, np.ndarray]
Named = Mapping[str, Any]  # an engine's own arrays by name

WORD = 4  # bytes of a float32
_UPDATE = {"sgd": (2, 3), "adam": (12, 7)}  # operations for each parameter; words read and written


class Ops(Protocol):
    """What an engine brings: PyTorch's names and meanings; ``cross_entropy`` and the other losses are means."""

    def linear(self, x: Any, weight: Any, bias: Any) -> Any: ...
    def relu(self, x: Any) -> Any: ...
    def sigmoid(self, x: Any) -> Any: ...
    def tanh(self, x: Any) -> Any: ...
    def exp(self, x: Any) -> Any: ...
    def scale(self, x: Any, number: float) -> Any: ...
    def concatenate(self, arrays: Sequence[Any], axis: int) -> Any: ...
    def cross_entropy(self, logits: Any, labels: Any) -> Any: ...
    def binary_cross_entropy_with_logits(self, logits: Any, targets: Any) -> Any: ...
    def gaussian_kl(self, mu: Any, logvar: Any) -> Any: ...
    def project(self, name: str, weight: Any, rank: int) -> Any: ...
    def conv2d(self, x: Any, weight: Any, bias: Any, padding: int) -> Any: ...
    def max_pool2d(self, x: Any, size: int) -> Any: ...
    def flatten(self, x: Any) -> Any: ...
    def batch_norm(self, name: str, x: Any, weight: Any, bias: Any) -> Any:
        """In training: by the batch's own statistics; those named ``name`` (see :meth:`Workload.buffers`) follow it,
        momentum 0.1, eps 1e-5."""

    def gru(self, x: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> tuple[Any, Any]:
        """Of sequences (T, B, I), from a state of zeros: the outputs (T, B, H), and the last of them (B, H)."""

    def lstm(self, x: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> tuple[Any, Any]:
        """As :meth:`gru`."""

    def dropout(self, x: Any, p: float) -> Any:
        """Each entry 0 with probability ``p``, else divided by 1 - p; another draw at every step."""


@dataclass(frozen=True)
class Counts:
    """Of one step: floating-point operations, bytes to and from memory, parameters."""

    flops: float
    bytes: float
    parameters: int

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.flops + other.flops, self.bytes + other.bytes, self.parameters + other.parameters)


def chain(rows: int, sizes: Sequence[int], *, learned: bool = True, first_input: bool = False) -> Counts:
    """Forward and backward of dense layers on ``rows`` examples.

    ``learned``: gradients of weights and biases are wanted; ``first_input``: so is that of the input.
    """
    flops = words = 0.0
    for number, (n, m) in enumerate(pairwise(sizes)):
        backwards = learned + (number > 0 or first_input)
        flops += 2 * rows * n * m * (1 + backwards) + 4 * rows * m
        words += n * m * (1 + (number > 0 or first_input) + learned) + 5 * rows * m
    return Counts(flops, words * WORD, 0)


def update(optimizer: str, parameters: int) -> Counts:
    flops, words = _UPDATE[optimizer]
    return Counts(flops * parameters, words * parameters * WORD, parameters)


@dataclass(frozen=True)
class Workload:
    """One training step.

    Attributes:
        name: as on the command line. title: what it is, in a line.
        batch: examples a step.
        optimizer: "sgd" or "adam" (betas 0.9 and 0.999, eps 1e-8). learning_rate: of it.
        seed: of the numbers, with the name.
    """

    name: str
    title: str
    batch: int
    optimizer: str
    learning_rate: float
    seed: int = 0

    def generator(self, what: str) -> np.random.Generator:
        """The stream of random numbers named ``what``."""
        return np.random.default_rng([self.seed, *f"{self.name}/{what}".encode()])

    def layers(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of each dense layer by name."""
        raise NotImplementedError

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the parameters by name: weights (out, in) and biases (out,) of the layers."""
        found: dict[str, tuple[int, ...]] = {}
        for layer, (n, m) in self.layers().items():
            found |= {f"{layer}.weight": (m, n), f"{layer}.bias": (m,)}
        return found

    def groups(self) -> dict[str, list[str]]:
        """The names of the parameters that each optimiser updates, by the optimiser's name."""
        return {"all": list(self.shapes())}

    def initial(self) -> Arrays:
        """The parameters before the first step."""
        draw, found = self.generator("parameters"), {}
        for name, shape in self.shapes().items():
            bound = 0.1 if len(shape) == 1 else math.sqrt(6 / math.prod(shape[1:]))
            found[name] = draw.uniform(-bound, bound, shape).astype(np.float32)
        return found

    def buffers(self) -> Arrays:
        """What a step changes without learning it, before the first one: running statistics by name."""
        return {}

    def inputs(self) -> Arrays:
        """What a step is fed: the same batch each time."""
        raise NotImplementedError

    def loss(self, ops: Ops, params: Named, inputs: Named) -> Any:
        """The loss of a workload with one optimiser."""
        raise NotImplementedError

    def counts(self) -> Counts:
        """Operations and bytes of a step, and how many parameters it has."""
        raise NotImplementedError

    def comparable(self) -> Workload:
        """The form of it in which every engine gives the same loss: without what each draws by itself."""
        return self

    def describe(self) -> dict[str, Any]:
        """All settings as plain data; :func:`from_description` turns them back into the workload."""
        return {"kind": type(self).__name__} | dataclasses.asdict(self)
