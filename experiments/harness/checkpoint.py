"""The checkpoint of a run: every loop's state, how far the metrics go, the time spent.

The arrays of a loop under way are in `checkpoint.safetensors`, which is replaced as a whole each time. Those of a loop
that is done do not change any more: they are written once, to `finished/LOOP.safetensors`.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_hw import serialization

from .errors import UserError

FORMAT = 2


@dataclass
class LoopState:
    """A loop between two steps.

    Attributes:
        position: steps done.
        steps: steps in all.
        seconds: spent in the loop.
        means: weighted sum and weight of each value averaged over the epoch under way.
        maxima: the greatest of each value in the epoch under way.
        tracked: plain part of the tracked objects' state.
        arrays: its arrays.
        stopped: whether the loop ended before its last step.
        settled: whether the arrays are in a file of their own already.
    """

    position: int
    steps: int
    seconds: float
    means: dict[str, tuple[float, float]]
    maxima: dict[str, float]
    tracked: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    stopped: bool = False
    settled: bool = False

    @property
    def done(self) -> bool:
        """Whether the loop has ended."""
        return self.stopped or self.position >= self.steps


@dataclass
class Checkpoint:
    """All loops that have begun, and what belongs to the run as a whole.

    Attributes:
        loops: by name.
        metrics_bytes: length of metrics.jsonl at this point.
        seconds: spent in the run.
        data: digest of the data by name of the data set; a resumed run must find the same.
        blas: what made the matrix products; with another, a resumed run may differ in the last digits.
    """

    loops: dict[str, LoopState] = field(default_factory=dict)
    metrics_bytes: int = 0
    seconds: float = 0.0
    data: dict[str, str] = field(default_factory=dict)
    blas: str = ""

    def save(self, path: Path) -> None:
        """Replaces the previous file, which survives any failure. Raises SerializationError, OSError."""
        # safetensors refuses a file without arrays only in some versions: one marker keeps every version content.
        marker = {"format": np.array([FORMAT])}
        arrays, loops = dict(marker), {}
        for name, state in self.loops.items():
            named = {f"{name}/{key}": array for key, array in state.arrays.items()}
            if not state.done:
                arrays |= named
            elif not state.settled:
                _finished(path, name).parent.mkdir(exist_ok=True)
                serialization.save(_finished(path, name), marker | named)
                state.settled = True
            loops[name] = {key: value for key, value in vars(state).items() if key != "arrays"}
        run = {key: value for key, value in vars(self).items() if key != "loops"}
        serialization.save(path, arrays, {"run": json.dumps({"format": FORMAT, **run, "loops": loops})})

    @classmethod
    def load(cls, path: Path) -> "Checkpoint":
        """Reads the file; none is the checkpoint of a run that has not begun. Raises UserError for a damaged one."""
        if not path.exists():
            return cls()
        try:
            arrays = serialization.load(path)
            content = json.loads(serialization.load_metadata(path)["run"])
            if content.pop("format") != FORMAT:
                raise UserError(f"{path}: checkpoint of another format, expected {FORMAT}")
            loops = {name: LoopState(**state) for name, state in content.pop("loops").items()}
            checkpoint = cls(loops=loops, **content)
            for name, state in loops.items():
                if state.settled:
                    arrays |= serialization.load(_finished(path, name))
        except (serialization.SerializationError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}: not a checkpoint of a run ({str(error).splitlines()[0]})") from None
        for name, state in loops.items():
            state.means = {key: (float(pair[0]), float(pair[1])) for key, pair in state.means.items()}
            prefix = f"{name}/"
            state.arrays = {key[len(prefix) :]: array for key, array in arrays.items() if key.startswith(prefix)}
        return checkpoint


def _finished(path: Path, loop: str) -> Path:
    return path.parent / "finished" / f"{loop}.safetensors"
