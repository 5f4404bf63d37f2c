"""The loop of a run: examples in shuffled batches, means per epoch, a place to stop and to continue at every step."""

import math
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_hw.random import Stream

from .best import Best
from .checkpoint import LoopState
from .errors import NonFiniteError, UserError
from .state import capture, restore

if TYPE_CHECKING:
    from .run import Run


class Step:
    """One step of a loop.

    Attributes:
        index: of the step in the loop, from 0.
        epoch: from 1.
        indices: the examples of this batch, int64.
        ends_epoch: whether it is the last step of its epoch.
    """

    __slots__ = ("_loop", "ends_epoch", "epoch", "index", "indices")

    def __init__(self, loop: "Loop", index: int, epoch: int, indices: np.ndarray, ends_epoch: bool) -> None:
        self._loop, self.index, self.epoch, self.indices, self.ends_epoch = loop, index, epoch, indices, ends_epoch

    def mean(self, **values: float) -> None:
        """Adds to the epoch's means, weighted by the size of the batch. Raises NonFiniteError for NaN and infinity."""
        means, weight = self._loop.means, len(self.indices)
        for name, value in values.items():
            number = self._loop.finite(self, name, value)
            total, weights = means.get(name, (0.0, 0.0))
            means[name] = (total + weight * number, weights + weight)

    def maximum(self, **values: float) -> None:
        """Keeps the greatest of the epoch. Raises NonFiniteError for NaN and infinity."""
        maxima = self._loop.maxima
        for name, value in values.items():
            number = self._loop.finite(self, name, value)
            maxima[name] = max(number, maxima.get(name, number))

    def log(self, **values: float) -> None:
        """Gives values of the epoch as they are, such as a test accuracy after it. For the last step of an epoch.

        Raises:
            NonFiniteError: NaN or infinity.
            ValueError: called in another step.
        """
        self._only_at_the_end("log")
        self._loop.logged.update({name: self._loop.finite(self, name, value) for name, value in values.items()})

    def stop(self) -> None:
        """Makes this the loop's last step. For the last step of an epoch; see also `Best`, which stops by itself.

        Raises:
            ValueError: called in another step.
        """
        self._only_at_the_end("stop")
        self._loop.stopped = True

    def _only_at_the_end(self, call: str) -> None:
        if not self.ends_epoch:
            raise ValueError(f"{self._loop.name}: {call}() at step {self.index}, expected the last step of an epoch")


class Loop:
    """Iterate over it once; each step is a batch of indices. Made by `Run.loop`.

    The body of a step is atomic: checkpoints and interruptions fall between steps, so whatever the body changes must be
    tracked. The order of the examples depends on the seed and the epoch alone: every loop of a run over as many
    examples with the same batch size sees the same batches, and there is no position to lose.
    """

    def __init__(
        self,
        run: "Run[Any]",
        name: str,
        tracked: Mapping[str, Any],
        epochs: int,
        examples: int,
        batch: int,
        best: Best | None = None,
    ) -> None:
        if not name or "/" in name:
            raise ValueError(f"loop {name!r}: expected a name without slashes")
        if min(epochs, examples, batch) < 1:
            raise ValueError(f"loop {name}: {epochs} epochs, {examples} examples, batch {batch}: expected at least 1")
        if batch > examples:
            raise UserError(f"loop {name}: a batch of {batch:,} is more than the {examples:,} examples there are")
        self.name, self.epochs = name, epochs
        self.steps_per_epoch = -(-examples // batch)
        self.steps = epochs * self.steps_per_epoch
        self.position, self.stopped = 0, False
        self.means: dict[str, tuple[float, float]] = {}
        self.maxima: dict[str, float] = {}
        self.logged: dict[str, float] = {}
        self._run, self._tracked, self._examples, self._batch, self._best = run, tracked, examples, batch, best
        self._seconds, self._started = 0.0, 0.0

    @property
    def done(self) -> bool:
        """Whether no step is left: all are made, or one of them stopped the loop."""
        return self.stopped or self.position >= self.steps

    @property
    def seconds(self) -> float:
        """Time spent in the loop, over all processes that worked on it."""
        return self._seconds + (time.perf_counter() - self._started if self._started else 0.0)

    def history(self, value: str) -> np.ndarray:
        """What the epochs logged under a name, float64, one per epoch done."""
        return np.array([row[value] for row in self._run.rows if row["loop"] == self.name])

    def state(self) -> LoopState:
        """Everything needed to continue from here."""
        plain, arrays = capture(self._tracked)
        return LoopState(
            self.position,
            self.steps,
            self.seconds,
            dict(self.means),
            dict(self.maxima),
            tracked=plain,
            arrays=arrays,
            stopped=self.stopped,
        )

    def continue_from(self, state: LoopState) -> None:
        """Puts a state back. Raises UserError when it belongs to another loop."""
        if state.steps != self.steps:
            raise UserError(f"loop {self.name}: checkpoint of {state.steps} steps, this run makes {self.steps}")
        restore(self._tracked, state.tracked, state.arrays)
        self.position, self.stopped, self._seconds = state.position, state.stopped, state.seconds
        self.means, self.maxima = dict(state.means), dict(state.maxima)

    def finite(self, step: Step, name: str, value: float) -> float:
        """The value as a Python float. Raises NonFiniteError when it is none."""
        number = float(value)
        if not math.isfinite(number):
            where = f"loop {self.name}, epoch {step.epoch}, step {step.index + 1} of {self.steps}"
            raise NonFiniteError(f"{where}: {name} is {number}", self.name, step.index, number)
        return number

    def __iter__(self) -> Iterator[Step]:
        self._run.enter(self)
        self._started = time.perf_counter()
        order = np.empty(0, np.int64)
        while not self.done:
            epoch, offset = divmod(self.position, self.steps_per_epoch)
            if offset == 0 or not order.size:
                order = Stream(self._run.seed, f"data order/epoch {epoch}").permutation(self._examples)
            indices = order[offset * self._batch : (offset + 1) * self._batch]
            step = Step(self, self.position, epoch + 1, indices, offset + 1 == self.steps_per_epoch)
            self._run.before_step(self, step)
            yield step
            self.position += 1
            if step.ends_epoch:
                self._close_epoch(step)
            self._run.after_step(self, step)
        self._seconds, self._started = self.seconds, 0.0
        self._run.leave(self)

    def _close_epoch(self, step: Step) -> None:
        values = {name: total / weight for name, (total, weight) in self.means.items()} | self.maxima | self.logged
        if self._best is not None:
            self._best.offer(step, values)
        self._run.log({"loop": self.name, "epoch": step.epoch, "step": self.position, **values})
        self.means, self.maxima, self.logged = {}, {}, {}
