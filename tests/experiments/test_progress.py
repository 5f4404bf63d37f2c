"""What a run shows: a bar on a terminal, a line per epoch elsewhere, nothing when quiet."""

import io
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.harness.progress import Bars, Lines, Silent, choose, clock

from .toy import run_toy, toy


class Terminal(io.StringIO):
    """Takes itself for a terminal."""

    def isatty(self) -> bool:
        return True


def test_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(choose(quiet=True)) is Silent
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert type(choose(quiet=False)) is Lines
    monkeypatch.setattr(sys, "stderr", Terminal())
    bars = choose(quiet=False)
    bars.close()
    assert type(bars) is Bars


def test_bars_show_loops_steps_values_and_time_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")
    terminal = Terminal()
    bars = Bars(terminal)
    run_toy(toy(), tmp_path, progress=bars)
    bars.note("a note with [brackets]")
    bars.close()
    shown = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", terminal.getvalue())
    assert "a note with [brackets]" in shown
    last = shown.splitlines()[-2:]
    assert [line.split()[0] for line in last] == ["first", "second"]
    assert all("20/20" in line and "left" in line and "loss" in line for line in last)


def test_lines_come_at_most_every_two_seconds_and_at_the_end(tmp_path: Path) -> None:
    stream = io.StringIO()
    run_toy(toy(), tmp_path, progress=Lines(stream))
    lines = stream.getvalue().splitlines()
    assert [" ".join(line.split()[:3]) for line in lines] == ["first epoch 1/5", "first epoch 5/5", "second epoch 5/5"]


@given(st.integers(0, 10**6))
def test_clock(seconds: int) -> None:
    parts = [int(part) for part in clock(seconds).split(":")]
    assert sum(part * 60**power for power, part in enumerate(reversed(parts))) == seconds
    assert all(part < 60 for part in parts[1:])
