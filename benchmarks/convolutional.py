"""Classifiers of images by convolution, pooling, batch normalisation, dropout and dense layers.

Counts, beside those of :mod:`benchmarks.workload`. Operations: 2 for each multiply-add of a convolution, forward, by
weight, and by input except that of the first layer; batch normalisation 5 an entry forward (two sums, a square, scale
and shift) and 7 backward; max pooling a comparison an entry forward and 1 an output backward; dropout 2 an entry
forward and 1 backward. Bytes: the output of a convolution, normalisation, pooling or dense layer is written and read
forward, read backward, and its gradient written and read; what comes after it entry by entry (ReLU, dropout) is done
along with it.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.workload import WORD, Arrays, Counts, Named, Ops, Workload, update

Shape = tuple[int, ...]
_WORD_OF_PLAN = re.compile(
    r"(?P<kind>conv|pool|dense|norm|relu|flatten|dropout)(?P<size>\d*)(@(?P<kernel>\d+))?(?P<same> same)?"
)


@dataclass(frozen=True)
class Stage:
    """A layer at its place.

    Attributes:
        name: its number in the plan, as in a state dict of ``nn.Sequential``.
        kind: conv, pool, dense, norm, relu, flatten or dropout.
        before, after: shapes of its input and output, without the batch.
        kernel: side of a convolution's or pooling's window. padding: of a convolution, on all four sides.
        bias: whether a convolution has one; not before a normalisation, which would take it away again.
    """

    name: str
    kind: str
    before: Shape
    after: Shape
    kernel: int = 0
    padding: int = 0
    bias: bool = True

    def shapes(self) -> dict[str, Shape]:
        """Of its parameters, in PyTorch's layout."""
        if self.kind == "conv":
            weight: Shape = (self.after[0], self.before[0], self.kernel, self.kernel)
        elif self.kind == "dense":
            weight = (self.after[0], self.before[0])
        elif self.kind == "norm":
            weight = (self.after[0],)
        else:
            return {}
        return {f"{self.name}.weight": weight} | ({f"{self.name}.bias": (self.after[0],)} if self.bias else {})


@dataclass(frozen=True)
class Convolutional(Workload):
    """A classifier of images under cross-entropy.

    Attributes:
        plan: the layers in order: ``conv10@5`` (10 kernels of side 5), ``conv10@5 same`` (with as many zeros around the
            image as keep its size), ``pool2`` (the greatest of each 2 x 2), ``norm``, ``relu``, ``dropout``,
            ``flatten``, ``dense20``.
        image: channels, rows, columns of the input.
        drop: probability of dropout. Every engine draws masks of its own, so losses are compared with 0.
    """

    plan: tuple[str, ...] = ("conv10@5", "relu", "pool2", "flatten", "dense10")
    image: Shape = (3, 32, 32)
    drop: float = 0.0

    @functools.cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The layers with their shapes; raises ValueError for a word of the plan that means nothing."""
        shape, stages = self.image, []
        for number, word in enumerate(self.plan):
            found = _WORD_OF_PLAN.fullmatch(word)
            if found is None:
                raise ValueError(f"{self.name}: no layer is called {word!r}")
            kind, size, before = found["kind"], int(found["size"] or 0), shape
            kernel = int(found["kernel"] or 0) if kind == "conv" else size
            padding = kernel // 2 if found["same"] else 0
            if kind == "conv":
                shape = (size, *(side + 2 * padding - kernel + 1 for side in shape[1:]))
            elif kind == "pool":
                shape = (shape[0], *(side // size for side in shape[1:]))
            elif kind == "flatten":
                shape = (math.prod(shape),)
            elif kind == "dense":
                shape = (size,)
            bias = kind != "conv" or self.plan[number + 1 : number + 2] != ("norm",)
            stages.append(Stage(str(number), kind, before, shape, kernel, padding, bias))
        return tuple(stages)

    def shapes(self) -> dict[str, Shape]:
        return {name: shape for stage in self.stages for name, shape in stage.shapes().items()}

    def initial(self) -> Arrays:
        found = super().initial()
        for stage in self.stages:
            if stage.kind == "norm":
                found[f"{stage.name}.weight"] += 1
        return found

    def buffers(self) -> Arrays:
        channels = {stage.name: stage.after[0] for stage in self.stages if stage.kind == "norm"}
        means = {f"{name}.running_mean": np.zeros(count, np.float32) for name, count in channels.items()}
        return means | {f"{name}.running_var": np.ones(count, np.float32) for name, count in channels.items()}

    def inputs(self) -> Arrays:
        draw, last = self.generator("batch"), self.stages[-1]
        return {
            "x": draw.random((self.batch, *self.image), np.float32),
            "labels": draw.integers(0, last.after[0], self.batch),
        }

    def loss(self, ops: Ops, params: Named, inputs: Named) -> Any:
        x = inputs["x"]
        for stage in self.stages:
            weight, bias = (params.get(f"{stage.name}.{part}") for part in ("weight", "bias"))
            if stage.kind == "conv":
                x = ops.conv2d(x, weight, bias, stage.padding)
            elif stage.kind == "norm":
                x = ops.batch_norm(stage.name, x, weight, bias)
            elif stage.kind == "pool":
                x = ops.max_pool2d(x, stage.kernel)
            elif stage.kind == "flatten":
                x = ops.flatten(x)
            elif stage.kind == "dense":
                x = ops.linear(x, weight, bias)
            elif stage.kind == "relu":
                x = ops.relu(x)
            elif self.drop:
                x = ops.dropout(x, self.drop)
        return ops.cross_entropy(x, inputs["labels"])

    def comparable(self) -> Convolutional:
        return dataclasses.replace(self, drop=0.0)

    def counts(self) -> Counts:
        flops = words = 0.0
        first = True
        for stage in self.stages:
            entries, before = self.batch * math.prod(stage.after), self.batch * math.prod(stage.before)
            weight = math.prod(stage.shapes().get(f"{stage.name}.weight", (0,)))
            if stage.kind in ("conv", "dense"):
                places = math.prod(stage.after[1:]) * self.batch
                flops += 2 * weight * places * (2 if first else 3) + 2 * entries * stage.bias
                words += weight * (2 if first else 3)
                first = False
            elif stage.kind == "norm":
                flops += 12 * entries
            elif stage.kind == "pool":
                flops += before + entries
            elif stage.kind == "relu":
                flops += 2 * entries
            elif stage.kind == "dropout" and self.drop:
                flops += 3 * entries
            if stage.kind in ("conv", "norm", "pool", "dense"):
                words += 5 * entries
        parameters = sum(math.prod(shape) for shape in self.shapes().values())
        return Counts(flops, words * WORD, 0) + update(self.optimizer, parameters)
