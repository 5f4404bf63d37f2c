"""Early stopping and best states: which epoch is kept, when the loop ends, and that interruptions change neither."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.harness import Best, Experiment, Run, Step
from experiments.harness.errors import Interrupted
from experiments.harness.run import Loop

from .runs import CrashError, loops_of
from .test_run import crash_at, send
from .toy import ToyConfig, run_toy, toy

Params = dict[str, np.ndarray]
OnStep = Callable[[Step, Params], None]


class Seen:
    """What a run came to."""

    loop: Loop
    best: Best
    last: float
    kept: float
    after: list[int]


def with_best(
    losses: list[float], patience: int | None, on_step: OnStep = lambda step, params: None, higher: bool = False
) -> tuple[Experiment, Seen]:
    """A run whose epochs log given losses, while a parameter counts the epochs; then another loop of one step."""
    seen = Seen()

    def run(run: Run[Any]) -> None:
        params = {"epoch": np.zeros(1)}
        seen.best = Best("loss", {"params": params}, patience=patience, higher=higher)
        seen.loop = run.loop("a", {"params": params}, epochs=len(losses), examples=4, batch=2, best=seen.best)
        for step in seen.loop:
            on_step(step, params)
            step.mean(other=1.0)
            if step.ends_epoch:
                params["epoch"] += 1
                step.log(loss=losses[step.epoch - 1])
        seen.last = float(params["epoch"][0])
        seen.best.restore()
        seen.kept = float(params["epoch"][0])
        seen.after = [step.index for step in run.loop("b", {"params": params}, epochs=1, examples=1, batch=1)]

    profiles = {name: ToyConfig() for name in ("smoke", "demo", "full")}
    return Experiment(name="toy", title="", profiles=profiles, run=run), seen


@pytest.mark.parametrize(
    ("losses", "patience", "higher", "made", "kept"),
    [
        ([3, 2, 1], 1, False, 3, 3),
        ([1, 2, 3], 1, False, 2, 1),
        ([1, 2, 3], 2, False, 3, 1),
        ([1, 1, 1, 0], 2, False, 3, 1),
        ([3, 4, 2, 5, 6, 7, 1], 3, False, 6, 3),
        ([3, 4, 2, 5, 1, 7, 0.5], 2, False, 7, 7),
        ([1, 3, 2, 2], None, True, 4, 2),
        ([2, 1, 3], 1, True, 2, 1),
    ],
)
def test_best_epoch_is_kept_and_patience_ends_the_loop(
    tmp_path: Path, losses: list[float], patience: int | None, higher: bool, made: int, kept: int
) -> None:
    experiment, seen = with_best(losses, patience, higher=higher)
    run_toy(experiment, tmp_path)
    assert (seen.last, seen.kept) == (made, kept)
    assert (seen.best.epoch, seen.best.value) == (kept, losses[kept - 1])
    assert list(seen.loop.history("loss")) == losses[:made]
    assert seen.loop.done
    assert seen.after == [0], "the loop that follows is made as ever"


@settings(max_examples=20)
@given(
    losses=st.lists(st.integers(0, 5), min_size=1, max_size=8),
    patience=st.integers(1, 4),
    crashes=st.lists(st.integers(0, 15), max_size=3),
    every=st.integers(1, 5),
)
def test_crashes_change_neither_the_best_nor_the_end(
    tmp_path_factory: pytest.TempPathFactory, losses: list[float], patience: int, crashes: list[int], every: int
) -> None:
    whole, expected = with_best(losses, patience)
    run_toy(whole, tmp_path_factory.mktemp("whole"))
    path = tmp_path_factory.mktemp("crashed")
    for index in crashes:
        experiment, _ = with_best(losses, patience, crash_at(index))
        try:
            run_toy(experiment, path, checkpoint_steps=every)
        except CrashError:
            continue
    experiment, seen = with_best(losses, patience)
    run_toy(experiment, path, checkpoint_steps=every)
    assert (seen.last, seen.kept, seen.best.epoch) == (expected.last, expected.kept, expected.best.epoch)
    assert list(seen.loop.history("loss")) == list(expected.loop.history("loss"))


def test_interruption_at_the_very_step_that_stops(tmp_path: Path) -> None:
    import signal

    experiment, _ = with_best([1, 2, 3, 4], 2, send(signal.SIGTERM, 5))
    with pytest.raises(Interrupted):
        run_toy(experiment, tmp_path)
    state = loops_of(tmp_path)["a"]
    assert (state.position, state.stopped, state.done) == (6, True, True)
    experiment, seen = with_best([1, 2, 3, 4], 2)
    run_toy(experiment, tmp_path)
    assert (seen.last, seen.kept) == (3, 1)


def test_any_step_that_ends_an_epoch_may_stop_the_loop(tmp_path: Path) -> None:
    def on_step(step: Step, params: Params) -> None:
        if not step.ends_epoch:
            with pytest.raises(ValueError, match=r"stop\(\) at step \d+, expected the last step of an epoch"):
                step.stop()
        elif step.epoch == 2:
            step.stop()

    run_toy(toy(on_step), tmp_path)
    state = loops_of(tmp_path)["second"]
    assert (state.position, state.stopped) == (8, True)
    assert not loops_of(tmp_path)["first"].stopped


def test_misuse_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="best loss: patience 0, expected at least 1"):
        Best("loss", {}, patience=0)
    with pytest.raises(RuntimeError, match="no epoch has ended yet"):
        Best("loss", {}).restore()

    def run(run: Run[Any]) -> None:
        for step in run.loop("a", {}, epochs=1, examples=1, batch=1, best=Best("los", {})):
            step.log(loss=1.0)

    profiles = {name: ToyConfig() for name in ("smoke", "demo", "full")}
    with pytest.raises(ValueError, match="best los: the epoch logged loss"):
        run_toy(Experiment(name="toy", title="", profiles=profiles, run=run), tmp_path)


def test_arrays_of_a_finished_loop_are_written_once(tmp_path: Path) -> None:
    """A file for the first loop is there while the second works, and stays as it is."""
    stood = []

    def on_step(step: Step, params: Params) -> None:
        stood.append((tmp_path / "finished" / "first.safetensors").stat().st_mtime_ns)

    run_toy(toy(on_step), tmp_path, checkpoint_steps=1)
    assert len(set(stood)) == 1
    assert {path.name for path in (tmp_path / "finished").iterdir()} == {"first.safetensors", "second.safetensors"}
    loops = loops_of(tmp_path)
    assert all("params/weight" in state.arrays for state in loops.values())
