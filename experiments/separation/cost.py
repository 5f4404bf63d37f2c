"""What an update costs in time and in memory, by the length of the excerpts."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from experiments.through_time.memory import peak_bytes, seconds_of
from tinygrad_hw.backend import to_device
from tinygrad_hw.random import Stream

from .excerpts import Excerpts
from .nets import Separator
from .training import WAYS, Learner, Rules

REPEATS = 5


@dataclass(frozen=True, eq=False)
class Costs:
    """Of an update, for each way.

    Attributes:
        frames: lengths of the excerpts.
        seconds: by way, one number for each length.
        peak: bytes of the host beyond what was held before, likewise.
    """

    frames: Sequence[int]
    seconds: Mapping[str, Sequence[float]]
    peak: Mapping[str, Sequence[float]]


def measure(
    nets: Mapping[str, Separator], rules: Rules, frames: Sequence[int], batch: int, stream: Stream, device: str
) -> Costs:
    """Updates copies of the nets with excerpts of noise, dropout included."""
    seconds: dict[str, list[float]] = {name: [] for name in nets}
    peak: dict[str, list[float]] = {name: [] for name in nets}
    for length in frames:
        for name, net in nets.items():
            shape = (length, batch, net.layer.input_size)
            drawn = [to_device(stream.uniform(shape), device) for _ in range(2)]
            weight = to_device(np.full(shape, 1 / np.prod(shape), np.float32), device)
            excerpts = Excerpts(drawn[0], drawn[1], weight)
            learner = Learner(copy.deepcopy(net).train(), WAYS[name], rules, 1000)

            def work(learner: Learner = learner, excerpts: Excerpts = excerpts) -> None:
                learner.step(excerpts)

            seconds[name].append(seconds_of(work, device, REPEATS))
            peak[name].append(peak_bytes(work))
    return Costs(frames, seconds, peak)
