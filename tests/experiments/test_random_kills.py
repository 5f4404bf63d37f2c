"""Ten deaths at random moments: the run that is resumed after each ends bit for bit as one that nobody disturbed."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import ROOT, Command
from .runs import assert_same_run

DEATHS = 10
# Long enough to die ten times; `svd_compression` with layers that are wide enough for compiled products and updates.
RUNS = [
    ("hand_backprop", ["epochs=40"]),
    ("regularization", ["epochs=40"]),
    ("svd_compression", ["hidden=512", "batch=128", "trial_steps=3", "epochs=20"]),
    ("vae_sevens", ["epochs=200", "contrast_epochs=50"]),
    ("conditional_gan", ["epochs=150"]),
    ("conditional_gan", ["epochs=80", "loss=wgan-gp"]),
    ("gan_imputation", ["epochs=60"]),
]


def assert_same_models(one: Path, other: Path) -> None:
    models = [sorted(path.name for path in (folder / "models").glob("*")) for folder in (one, other)]
    assert models[0] == models[1]
    for name in models[0]:
        assert (one / "models" / name).read_bytes() == (other / "models" / name).read_bytes(), name


@pytest.mark.slow
@pytest.mark.parametrize(("name", "settings"), RUNS)
def test_killed_ten_times(tmp_path: Path, command: Command, name: str, settings: list[str]) -> None:
    changes = [part for change in [*settings, "checkpoint_steps=3"] for part in ("--set", change)]
    begin = ["run", name, "--profile", "smoke", "--quiet", *changes]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert command(*begin, "--out", whole).returncode == 0
    draw, stood = random.Random(0), set()
    for _ in range(DEATHS):
        arguments = ["resume", killed, "--quiet"] if (killed / "run.json").exists() else [*begin, "--out", killed]
        line = [sys.executable, "-m", "experiments", *map(str, arguments)]
        process = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before, patience = state_of(killed), time.monotonic() + 60
        while process.poll() is None and state_of(killed) == before and time.monotonic() < patience:
            time.sleep(0.01)  # until it has got somewhere
        time.sleep(draw.uniform(0, 1))
        if process.poll() is not None:
            assert process.returncode == 0
            break  # it was faster than its death
        process.kill()
        assert process.wait() == -signal.SIGKILL
        stood.add(state_of(killed))
    assert len(stood) > DEATHS // 2, f"it died at {len(stood)} moments before it ended: make it longer"
    if not (killed / "summary.json").exists():
        assert command("resume", killed, "--quiet").returncode == 0
    assert_same_run(killed, whole)
    assert_same_models(whole, killed)


def state_of(folder: Path) -> int:
    """Changes when a checkpoint is written."""
    path = folder / "checkpoint.safetensors"
    return path.stat().st_mtime_ns if path.exists() else 0
