"""One finished smoke run of hand_backprop, shared by the tests that look at what a run leaves behind."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def command() -> Command:
    """Runs `python -m experiments ...` as a user would, from the checkout."""

    def run(*arguments: object, **options: object) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        environment.pop("TINYGRAD_HW_DATA", None)
        line = [sys.executable, "-m", "experiments", *map(str, arguments)]
        return subprocess.run(line, capture_output=True, text=True, check=False, **{"env": environment, **options})  # type: ignore[call-overload, no-any-return]

    return run


@pytest.fixture(scope="session")
def smoke(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a smoke run that was checked."""
    path = tmp_path_factory.mktemp("smoke") / "run"
    done = command("run", "hand_backprop", "--profile", "smoke", "--out", path, "--check", "--seed", 3)
    assert done.returncode == 0, done.stderr
    assert str(path / "report.html") in done.stdout
    return path
