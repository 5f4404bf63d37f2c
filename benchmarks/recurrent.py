"""Nets with one recurrent layer: a mask for every frame of a spectrogram, and a Siamese net on pairs of sequences.

Sequences are (frames, batch, bins). The layer starts from a state of zeros, the weights of a state from U(±√(3 / H)).

Counts, beside those of :mod:`benchmarks.workload`, for T frames of B sequences, H units with G gates each. Operations:
products of the input forward and by weight, of the state forward, by weight and by state; 4 for an entry of the gates,
as for bias and activation elsewhere; 8 for an entry of the state (products and sums of gates and states, each way).
Bytes: gates and states are written and read forward, read backward, their gradients written and read; the weight of the
state stays in the cache over the frames of a pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.workload import WORD, Arrays, Counts, Named, Ops, Workload, chain, update

_GATES = {"gru": 3, "lstm": 4}


@dataclass(frozen=True)
class _Recurrent(Workload):
    """A recurrent layer ("gru" or "lstm"), then a dense one.

    Attributes:
        cell: of the recurrent layer.
        sizes: bins, units, and outputs of the dense layer.
        frames: of a sequence.
    """

    cell: str = "gru"
    sizes: tuple[int, int, int] = (513, 256, 513)
    frames: int = 100

    def shapes(self) -> dict[str, tuple[int, ...]]:
        bins, units, outputs = self.sizes
        rows = _GATES[self.cell] * units
        return {
            "weight_ih": (rows, bins), "weight_hh": (rows, units), "bias_ih": (rows,), "bias_hh": (rows,),
            "dense.weight": (outputs, units), "dense.bias": (outputs,),
        }  # fmt: skip

    def initial(self) -> Arrays:
        found = super().initial()
        found["weight_hh"] *= np.float32(math.sqrt(0.5))
        return found

    def _layer(self, ops: Ops, params: Named, x: Any) -> tuple[Any, Any]:
        """The outputs (frames, batch, units) and the last of them (batch, units)."""
        weights = [params[name] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        run = ops.gru if self.cell == "gru" else ops.lstm
        return run(x, *weights)

    def _layer_counts(self, sequences: int) -> Counts:
        (bins, units, _), gates = self.sizes, _GATES[self.cell] * self.sizes[1]
        rows = sequences * self.frames
        flops = 2 * rows * gates * (2 * bins + 3 * units) + 4 * rows * gates + 8 * rows * units
        words = gates * (2 * bins + 3 * units) + 5 * rows * (gates + units)
        return Counts(flops, words * WORD, 0)

    def _update_counts(self) -> Counts:
        return update(self.optimizer, sum(math.prod(shape) for shape in self.shapes().values()))


@dataclass(frozen=True)
class Masking(_Recurrent):
    """From the spectrogram of noisy speech the ideal binary mask: a logit for each bin of each frame."""

    def inputs(self) -> Arrays:
        draw, shape = self.generator("batch"), (self.frames, self.batch)
        mask = draw.random((*shape, self.sizes[2])) < 0.5
        return {"x": draw.random((*shape, self.sizes[0]), np.float32), "mask": mask.astype(np.float32)}

    def loss(self, ops: Ops, params: Named, inputs: Named) -> Any:
        y, _ = self._layer(ops, params, inputs["x"])
        logits = ops.linear(y, params["dense.weight"], params["dense.bias"])
        return ops.binary_cross_entropy_with_logits(logits, inputs["mask"])

    def counts(self) -> Counts:
        dense = chain(self.batch * self.frames, self.sizes[1:], first_input=True)
        return self._layer_counts(self.batch) + dense + self._update_counts()


@dataclass(frozen=True)
class Siamese(_Recurrent):
    """Whether two sequences are of one speaker: the inner product of their embeddings is the logit.

    An embedding is a dense layer on the last output of the recurrent one; both sides share all weights.
    """

    sizes: tuple[int, int, int] = (513, 128, 64)
    frames: int = 32

    def inputs(self) -> Arrays:
        draw, shape = self.generator("batch"), (self.frames, self.batch, self.sizes[0])
        sides = {side: draw.random(shape, np.float32) for side in ("left", "right")}
        return sides | {"same": (np.arange(self.batch) % 2).astype(np.float32)}

    def loss(self, ops: Ops, params: Named, inputs: Named) -> Any:
        left, right = (self._embedding(ops, params, inputs[side]) for side in ("left", "right"))
        return ops.binary_cross_entropy_with_logits((left * right).sum(1), inputs["same"])

    def _embedding(self, ops: Ops, params: Named, x: Any) -> Any:
        _, last = self._layer(ops, params, x)
        return ops.linear(last, params["dense.weight"], params["dense.bias"])

    def counts(self) -> Counts:
        dense = chain(self.batch, self.sizes[1:], first_input=True)
        side = self._layer_counts(self.batch) + dense
        return side + side + self._update_counts()
