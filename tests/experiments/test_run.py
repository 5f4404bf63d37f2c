"""A run that is stopped anywhere and resumed ends bit for bit as one that was not."""

import errno
import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from experiments.harness import Step
from experiments.harness.checkpoint import Checkpoint
from experiments.harness.errors import Interrupted, UserError
from experiments.harness.folder import RunFolder
from experiments.harness.progress import Silent
from tinygrad_hw import serialization

from .runs import CrashError, loops_of, metrics_of, summary_of
from .toy import run_toy, toy

Params = dict[str, np.ndarray]


def crash_at(index: int) -> Callable[[Step, Params], None]:
    def on_step(step: Step, params: Params) -> None:
        if step.index == index:
            raise CrashError

    return on_step


def send(number: signal.Signals, index: int) -> Callable[[Step, Params], None]:
    def on_step(step: Step, params: Params) -> None:
        if step.index == index:
            os.kill(os.getpid(), number)

    return on_step


def ending(path: Path) -> tuple[bytes, dict[str, bytes], dict[str, float]]:
    """Everything that must not depend on interruptions: metrics, final state, summary metrics."""
    loops = loops_of(path)
    arrays = {f"{name}/{key}": a.tobytes() for name, state in loops.items() for key, a in state.arrays.items()}
    plain = {name: json.dumps(state.tracked).encode() for name, state in loops.items()}
    return (path / "metrics.jsonl").read_bytes(), {**arrays, **plain}, metrics_of(path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, dict[str, bytes], dict[str, float]]:
    path = tmp_path_factory.mktemp("undisturbed") / "run"
    run_toy(toy(), path)
    return ending(path)


@settings(max_examples=15)
@given(every=st.integers(1, 7), crashes=st.lists(st.integers(0, 19), max_size=3))
def test_crashes_leave_no_trace(
    tmp_path_factory: pytest.TempPathFactory,
    undisturbed: tuple[bytes, dict[str, bytes], dict[str, float]],
    every: int,
    crashes: list[int],
) -> None:
    path = tmp_path_factory.mktemp("crashes") / "run"
    for index in sorted(crashes):
        with pytest.raises(CrashError):
            run_toy(toy(crash_at(index)), path, checkpoint_steps=every)
    run_toy(toy(), path, checkpoint_steps=every)
    assert ending(path) == undisturbed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("index", [0, 2, 7, 19])
def test_signals_finish_the_step_and_write_a_checkpoint(
    tmp_path: Path, undisturbed: tuple[bytes, dict[str, bytes], dict[str, float]], number: signal.Signals, index: int
) -> None:
    handler = signal.getsignal(number)
    with pytest.raises(Interrupted):
        run_toy(toy(send(number, index)), tmp_path)
    assert signal.getsignal(number) is handler
    assert loops_of(tmp_path)["second"].position == index + 1
    run_toy(toy(), tmp_path)
    assert ending(tmp_path) == undisturbed


def test_second_signal_stops_at_once(tmp_path: Path) -> None:
    def twice(step: Step, params: Params) -> None:
        if step.index == 5:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("not stopped")

    with pytest.raises(KeyboardInterrupt):
        run_toy(toy(twice), tmp_path)
    assert "second" not in loops_of(tmp_path)


def test_finished_loops_are_not_repeated(tmp_path: Path) -> None:
    steps = []
    with pytest.raises(CrashError):
        run_toy(toy(crash_at(6)), tmp_path, checkpoint_steps=4)
    run_toy(toy(lambda step, params: steps.append(step.index)), tmp_path, checkpoint_steps=4)
    assert steps == list(range(4, 20))
    steps.clear()
    run_toy(toy(lambda step, params: steps.append(step.index)), tmp_path, checkpoint_steps=4)
    assert steps == []


def test_batches_cover_each_epoch_once_in_another_order(tmp_path: Path) -> None:
    seen: list[list[int]] = []
    run_toy(toy(lambda step, params: seen.append([step.epoch, *step.indices.tolist()])), tmp_path)
    assert [len(batch) - 1 for batch in seen] == [6, 6, 6, 2] * 5
    epochs = [[i for epoch, *batch in seen for i in batch if epoch == number] for number in range(1, 6)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 5


def test_seeds_differ(tmp_path: Path, undisturbed: tuple[bytes, dict[str, bytes], dict[str, float]]) -> None:
    run_toy(toy(), tmp_path, seed=1)
    assert ending(tmp_path)[2] != undisturbed[2]


def test_checkpoint_by_seconds(tmp_path: Path) -> None:
    with pytest.raises(CrashError):
        run_toy(toy(crash_at(3)), tmp_path, checkpoint_seconds=1e-9)
    assert loops_of(tmp_path)["second"].position == 3


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_full_disk_keeps_the_previous_checkpoint(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: tuple[bytes, dict[str, bytes], dict[str, float]],
    call: str,
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill(step: Step, params: Params) -> None:
        if step.index == 9:
            monkeypatch.setattr(serialization.os, call, full)

    with pytest.raises((UserError, OSError), match="No space left on device") as caught:
        run_toy(toy(fill), tmp_path, checkpoint_steps=4)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert loops_of(tmp_path)["second"].position == 8
    assert not [path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"]
    run_toy(toy(), tmp_path, checkpoint_steps=4)
    assert ending(tmp_path) == undisturbed


def test_resume_refuses_other_data(tmp_path: Path) -> None:
    with pytest.raises(CrashError):
        run_toy(toy(crash_at(6)), tmp_path, checkpoint_steps=4)
    checkpoint = Checkpoint.load(tmp_path / "checkpoint.safetensors")
    checkpoint.data["line"] = "1" * 64
    checkpoint.save(tmp_path / "checkpoint.safetensors")
    with pytest.raises(UserError, match="data 'line' differ from those that the run began with"):
        run_toy(toy(), tmp_path)


def test_resume_refuses_other_lengths_and_lost_metrics(tmp_path: Path) -> None:
    with pytest.raises(CrashError):
        run_toy(toy(crash_at(6)), tmp_path, checkpoint_steps=4)
    with pytest.raises(UserError, match="loop first: checkpoint of 20 steps, this run makes 24"):
        run_toy(toy(), tmp_path, epochs=6)
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(UserError, match=r"metrics\.jsonl: 0 bytes, but the checkpoint was written after"):
        run_toy(toy(), tmp_path)


def test_only_one_process_works_in_a_folder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with folder.locked(), pytest.raises(UserError, match="another process is running in this folder"):
        run_toy(toy(), tmp_path)


def test_loops_neither_nest_nor_break(tmp_path: Path) -> None:
    class Break(Exception):
        pass

    def run(run):  # type: ignore[no-untyped-def]
        for _ in run.loop("a", {}, epochs=1, examples=3, batch=1):
            break
        for _ in run.loop("b", {}, epochs=1, examples=3, batch=1):
            pass

    experiment = toy()
    broken = type(experiment)(name="toy", title="", profiles=experiment.profiles, run=run)
    with pytest.raises(RuntimeError, match="loops neither nest nor break"):
        run_toy(broken, tmp_path)


def test_misuse_is_refused(tmp_path: Path) -> None:
    def run(run):  # type: ignore[no-untyped-def]
        run.loop("a", {}, epochs=1, examples=3, batch=1)
        with pytest.raises(ValueError, match="exists already"):
            run.loop("a", {}, epochs=1, examples=3, batch=1)
        with pytest.raises(ValueError, match="expected at least 1"):
            run.loop("b", {}, epochs=0, examples=3, batch=1)
        with pytest.raises(UserError, match="loop b: a batch of 4 is more than the 3 examples there are"):
            run.loop("b", {}, epochs=1, examples=3, batch=4)
        with pytest.raises(ValueError, match="without slashes"):
            run.loop("b/c", {}, epochs=1, examples=3, batch=1)
        for step in run.loop("d", {}, epochs=1, examples=3, batch=2):
            if not step.ends_epoch:
                with pytest.raises(ValueError, match="expected the last step of an epoch"):
                    step.log(value=1.0)

    experiment = toy()
    run_toy(type(experiment)(name="toy", title="", profiles=experiment.profiles, run=run), tmp_path)


def test_resumed_with_other_threads_it_says_so(tmp_path: Path) -> None:
    class Heard(Silent):
        def __init__(self) -> None:
            self.notes: list[str] = []

        def note(self, text: str) -> None:
            self.notes.append(text)

    first, same, other = Heard(), Heard(), Heard()
    with pytest.raises(CrashError):
        run_toy(toy(crash_at(3)), tmp_path, progress=first)
    with pytest.raises(CrashError):
        run_toy(toy(crash_at(3)), tmp_path, progress=same)
    threads = threadpool_info()[0]["num_threads"]
    with threadpool_limits(3 - min(threads, 2)):
        run_toy(toy(), tmp_path, progress=other)
    assert not [*first.notes, *same.notes]
    assert len(other.notes) == 1
    assert other.notes[0].startswith("the run began with openblas ")
    assert other.notes[0].endswith("results may differ in their last digits")


def test_claims_that_the_data_cannot_settle_are_set_aside(tmp_path: Path) -> None:
    plain = toy()

    def run(run):  # type: ignore[no-untyped-def]
        plain.run(run)
        del run.metrics["loss"]
        run.cannot_judge("loss", reason="nobody knows the line")

    outcome = run_toy(replace(plain, run=run), tmp_path)
    assert outcome.passed and not outcome.verdicts
    assert summary_of(tmp_path)["not_judged"] == {"loss": "nobody knows the line"}
    assert "nobody knows the line" in (tmp_path / "report.html").read_text(encoding="utf-8")
