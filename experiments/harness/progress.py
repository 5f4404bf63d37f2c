"""What a run shows while it works: a bar with the time left on a terminal, a line per epoch elsewhere, or nothing."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

from .metrics import KEYS

if TYPE_CHECKING:
    from .loop import Loop


class Silent:
    """Shows nothing; also what the others are made of."""

    def start(self, loop: "Loop") -> None:
        """A loop begins, or continues, at its position."""

    def advance(self, loop: "Loop") -> None:
        """A step is done."""

    def row(self, loop: "Loop", row: dict[str, Any]) -> None:
        """An epoch is done."""

    def end(self, loop: "Loop") -> None:
        """A loop is done."""

    def note(self, text: str) -> None:
        """A line that the user should see."""

    def close(self) -> None:
        """The run is over."""


class Lines(Silent):
    """A line per epoch, at most one every two seconds, with the time left in the loop."""

    SECONDS = 2.0

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._began, self._from, self._last = 0.0, 0, -self.SECONDS

    def start(self, loop: "Loop") -> None:
        self._began, self._from = time.monotonic(), loop.position

    def row(self, loop: "Loop", row: dict[str, Any]) -> None:
        now = time.monotonic()
        if now - self._last < self.SECONDS and not loop.done:
            return
        self._last = now
        left = (loop.steps - loop.position) * (now - self._began) / max(1, loop.position - self._from)
        when = f"done in {clock(loop.seconds)}" if loop.done else f"{clock(left)} left"
        self.note(f"{loop.name}  epoch {row['epoch']}/{loop.epochs}  {values_text(row)}  {when}")

    def note(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


class Bars(Silent):
    """A progress bar per loop, with the time left in it."""

    SECONDS = 0.1

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[values]}"),
            console=Console(file=stream),
        )
        self._progress.start()
        self._task: Any = None
        self._last = 0.0

    def start(self, loop: "Loop") -> None:
        self._task = self._progress.add_task(loop.name, total=loop.steps, completed=loop.position, values="")

    def advance(self, loop: "Loop") -> None:
        # Drawing costs more than a small step: ten times a second is enough.
        now = time.monotonic()
        if now - self._last > self.SECONDS:
            self._last = now
            self._progress.update(self._task, completed=loop.position)

    def row(self, loop: "Loop", row: dict[str, Any]) -> None:
        self._progress.update(self._task, completed=loop.position, values=values_text(row))

    def end(self, loop: "Loop") -> None:
        self._progress.update(self._task, completed=loop.position, total=loop.position)

    def note(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        self._progress.stop()


def choose(quiet: bool) -> Silent:
    """Bars on a terminal, lines elsewhere, nothing when quiet; all on standard error."""
    if quiet:
        return Silent()
    return Bars(sys.stderr) if sys.stderr.isatty() else Lines(sys.stderr)


def values_text(row: dict[str, Any]) -> str:
    """The values of a metrics row, short."""
    return "  ".join(f"{key} {value:.4g}" for key, value in row.items() if key not in KEYS)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text as a plain table, its columns flush left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def duration(seconds: float) -> str:
    """Seconds in words: `25 s`, `4 min 10 s`, `2 h 5 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
