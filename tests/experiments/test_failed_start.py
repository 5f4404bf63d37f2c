"""A run that fails before its first step leaves nothing in the way of the corrected command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments.harness import cli
from experiments.harness.folder import RunFolder


def start(out: Path, *more: str) -> int:
    return cli.main(["run", "hand_backprop", "--profile", "smoke", "--quiet", "--out", str(out), *more])


def test_the_corrected_command_works_in_the_same_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert start(out, "--data-dir", str(tmp_path / "nowhere")) == 2
    assert "no such folder" in capsys.readouterr().err
    assert start(out, "--set", "epochs=1") == 0
    assert start(out, "--set", "epochs=1") == 2  # now it holds a finished run
    assert "holds a run" in capsys.readouterr().err


def test_a_folder_in_use_or_with_anything_of_worth_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert start(out, "--data-dir", str(tmp_path / "nowhere")) == 2
    with RunFolder(out).locked():
        assert start(out, "--set", "epochs=1") == 2
    (out / "notes.txt").write_text("mine")
    assert start(out, "--set", "epochs=1") == 2
    assert (out / "notes.txt").read_text() == "mine"


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert start(out, "--set", "epochs=1") == 0
    abandoned = out / ".checkpoint.safetensors.514d873c.tmp"
    abandoned.write_bytes(b"half")
    with RunFolder(out).locked():
        assert not abandoned.exists()


def test_the_status_of_damaged_data_is_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mnist"
    folder.mkdir()
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (folder / f"{name}-ubyte").write_bytes(np.zeros(4, np.uint8).tobytes())
    assert cli.main(["data", "status", "--data-dir", str(tmp_path)]) == 2
    assert "bad" in capsys.readouterr().out
