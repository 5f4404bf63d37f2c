"""A run: what an experiment works with.

An experiment's function is executed from its top both when it begins and when it is resumed. Loops are the only places
where state is restored: a finished loop is skipped with its tracked objects as they were at its end, a loop that was
under way continues at its step. Outside loops an experiment must therefore do the same each time: draw random numbers
from `run.stream(...)`, log inside loops, and set metrics and report as often as it likes.
"""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from tinygrad_hw import nn, serialization
from tinygrad_hw.random import Stream, default_streams, manual_seed

from .best import Best
from .checkpoint import Checkpoint
from .config import Settings
from .environment import blas
from .errors import Interrupted, NonFiniteError, UserError
from .events import EventFile
from .experiment import Experiment
from .folder import Order, RunFolder
from .loop import Loop, Step
from .metrics import MetricsLog
from .progress import Silent
from .report import Report
from .signals import StopRequest
from .sounds import Clip, write_zip
from .state import first_non_finite

C = TypeVar("C", bound=Settings)


class Run(Generic[C]):
    """What an experiment sees of the run.

    Attributes:
        config: its settings.
        profile: `smoke`, `demo` or `full`.
        device: `cpu`, `cuda` or `cuda:N`.
        seed: of every random stream.
        data_dir: where the user keeps data, or None for embedded and synthetic data.
        report: takes paragraphs, formulas, figures, sounds and tables.
        metrics: numbers for the summary and the claims, see `metric`.
        data: description and digest of the data used, by name, see `uses`.
    """

    def __init__(
        self,
        experiment: Experiment,
        order: Order,
        config: C,
        folder: RunFolder,
        progress: Silent,
        stop: StopRequest,
        *,
        write: bool = True,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self.config, self.profile, self.device, self.seed = config, order.profile, order.device, order.seed
        self.data_dir = Path(order.data_dir) if order.data_dir is not None else None
        kept = (folder.figures, folder.sounds) if write else (None, None)
        self.report = Report(experiment.title, *kept)
        self.metrics: dict[str, float] = {}
        self.not_judged: dict[str, str] = {}
        self.data: dict[str, dict[str, str]] = {}
        self._folder, self._progress, self._stop, self._write = folder, progress, stop, write
        self._loops: dict[str, Loop] = {}
        self._checkpoint = Checkpoint.load(folder.checkpoint) if checkpoint is None else checkpoint
        self._log = MetricsLog(folder.metrics, self._checkpoint.metrics_bytes, write=write)
        self._events = EventFile(folder.tensorboard, self._log.rows) if order.tensorboard and write else None
        self._note_blas()
        manual_seed(self.seed)
        self._began = self._saved = time.monotonic()
        self._seconds_before = self._checkpoint.seconds

    @property
    def seconds(self) -> float:
        """Time spent in the run, over all processes that worked on it."""
        return self._seconds_before + time.monotonic() - self._began

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All rows logged so far."""
        return self._log.rows

    def stream(self, name: str) -> Stream:
        """A random stream of this run; the same name gives the same draws. Track it when a loop draws from it."""
        return Stream(self.seed, name)

    def metric(self, **values: float) -> None:
        """Sets metrics of the summary."""
        self.metrics.update({name: float(value) for name, value in values.items()})

    def cannot_judge(self, *claims: str, reason: str) -> None:
        """Sets claims aside that these data cannot settle; summary and report say so with the reason."""
        self.not_judged.update(dict.fromkeys(claims, reason))

    def uses(self, name: str, source: str, digest: str) -> None:
        """Records which data the run uses. Raises UserError when a resumed run finds other data than before."""
        before = self._checkpoint.data.setdefault(name, digest)
        if before != digest:
            raise UserError(f"data {name!r} differ from those that the run began with ({source})")
        self.data[name] = {"source": source, "sha256": digest}

    def loop(
        self, name: str, track: Mapping[str, Any], *, epochs: int, examples: int, batch: int, best: Best | None = None
    ) -> Loop:
        """A loop over shuffled batches of indices.

        Args:
            name: unique in the run; its metrics carry it.
            track: everything that the loop's body changes: modules, optimisers, streams, dicts of arrays. Arrays must
                stay finite: a checkpoint is never made of NaN or infinity.
            epochs: passes over the examples.
            examples: how many there are.
            batch: how many a step sees; the last batch of an epoch may be smaller.
            best: keeps the state after the best epoch, and may stop the loop early.

        Raises:
            UserError: a batch larger than the examples.
            ValueError: a name twice or with a slash, or a number below 1.
        """
        if name in self._loops:
            raise ValueError(f"loop {name!r} exists already")
        # Layers and initialisers that are given no stream draw from the default ones.
        track = {**track, "default streams": default_streams(), **({"best epoch": best} if best else {})}
        self._loops[name] = Loop(self, name, track, epochs, examples, batch, best)
        return self._loops[name]

    def save_model(self, name: str, model: Any) -> None:
        """Writes `models/NAME.safetensors`, which PyTorch can read, too. Outside loops, as often as it likes.

        Args:
            name: of the file; no slashes.
            model: a Module, or a dict of arrays.
        """
        if self._write:
            self._folder.models.mkdir(exist_ok=True)
            serialization.save(self._model_path(name), model if isinstance(model, dict) else model.state_dict())

    def load_model(self, name: str, model: nn.Module) -> None:
        """Puts a saved model's weights into a Module like it. Raises UserError when there is none, or another."""
        path = self._model_path(name)
        if not path.exists():
            raise UserError(f"{path}: no such model; the run has not saved it")
        try:
            model.load_state_dict(serialization.load(path))
        except serialization.SerializationError as error:
            raise UserError(str(error)) from None
        except RuntimeError as error:
            raise UserError(f"{path}: {error}") from None

    def save_sounds(self, name: str, clips: Iterable[Clip]) -> None:
        """Writes `NAME.zip` with `LABEL.wav` of each clip, as it is. Clips may be made one after the other.

        Raises ValueError when two clips have one label.
        """
        if self._write:
            write_zip(self._folder.path / f"{name}.zip", clips)

    def _model_path(self, name: str) -> Path:
        if not name or "/" in name:
            raise ValueError(f"model {name!r}: expected a name without slashes")
        return self._folder.models / f"{name}.safetensors"

    def _note_blas(self) -> None:
        """Says so when the run began with another library of matrix products, or another number of its threads."""
        now, before = blas(), self._checkpoint.blas
        if before and before != now:
            self._progress.note(f"the run began with {before}, now {now}: results may differ in their last digits")
        self._checkpoint.blas = before or now

    # Called by Loop.

    def enter(self, loop: Loop) -> None:
        """A loop begins: bring it to where the checkpoint left it."""
        if self._stop.inside_loop:
            raise RuntimeError(f"loop {loop.name!r} begins while another is under way: loops neither nest nor break")
        state = self._checkpoint.loops.get(loop.name)
        if state is not None:
            loop.continue_from(state)
        self._progress.start(loop)
        self._stop.inside_loop = True

    def before_step(self, loop: Loop, step: Step) -> None:
        """A step is about to be made; see `origin.Replay`."""

    def after_step(self, loop: Loop, step: Step) -> None:
        """A step is done: show it, write a checkpoint when one is due, stop when asked to."""
        self._progress.advance(loop)
        every = self.config.checkpoint_steps
        due = time.monotonic() - self._saved >= self.config.checkpoint_seconds or (every and loop.position % every == 0)
        if self._stop.requested or due:
            self._save(loop)
        if self._stop.requested:
            raise Interrupted

    def leave(self, loop: Loop) -> None:
        """A loop is done: keep its end, unless the checkpoint has it already."""
        self._stop.inside_loop = False
        self._progress.end(loop)
        before = self._checkpoint.loops.get(loop.name)
        if before is None or (before.position, before.stopped) != (loop.position, loop.stopped):
            self._save(loop)

    def log(self, row: dict[str, Any]) -> None:
        """Adds a row to the metrics."""
        self._log.append(row)
        if self._events is not None:
            self._events.add(row)
        self._progress.row(self._loops[row["loop"]], row)

    def close(self) -> None:
        """Closes the files."""
        self._log.close()
        if self._events is not None:
            self._events.close()

    def _save(self, loop: Loop) -> None:
        state = loop.state()
        found = first_non_finite(state.arrays)
        if found is not None:
            text, value = found
            where = f"loop {loop.name}, after step {loop.position} of {loop.steps}"
            raise NonFiniteError(f"{where}: {text}", loop.name, loop.position - 1, value)
        self._checkpoint.loops[loop.name] = state
        if self._write:
            self._checkpoint.metrics_bytes = self._log.settled()
            self._checkpoint.seconds = self.seconds
            self._checkpoint.save(self._folder.checkpoint)
        self._saved = time.monotonic()
