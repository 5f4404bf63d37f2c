"""A run that fails before its first step leaves nothing in the way of the corrected command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.harness import cli
from experiments.harness import experiment as registry
from experiments.harness.config import as_dict
from experiments.harness.folder import Order, RunFolder


def start(out: Path, *more: str) -> int:
    return cli.main(["run", "hand_backprop", "--profile", "smoke", "--quiet", "--out", str(out), *more])


def killed_at_once(out: Path) -> None:
    """A folder as a process leaves it that is killed before its first step."""
    out.mkdir()
    experiment = registry.load("hand_backprop")
    config = as_dict(experiment.profiles["smoke"])
    RunFolder(out).write_order(
        Order(
            experiment="hand_backprop", profile="smoke", seed=0, device="cpu", data_dir=None, check=False, config=config
        )
    )


def test_the_corrected_command_works_in_the_same_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert start(out, "--data-dir", str(tmp_path / "nowhere")) == 2
    assert "no such folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [], "a start that is refused leaves nothing"
    assert start(out, "--set", "epochs=1") == 0
    assert start(out, "--set", "epochs=1") == 2  # now it holds a finished run
    assert "holds a run" in capsys.readouterr().err


def test_a_folder_in_use_or_with_anything_of_worth_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "run"
    killed_at_once(out)
    with RunFolder(out).locked():
        assert start(out, "--set", "epochs=1") == 2
    (out / "notes.txt").write_text("mine")
    assert start(out, "--set", "epochs=1") == 2
    assert (out / "notes.txt").read_text() == "mine"


def test_what_a_killed_process_left_is_taken_again(tmp_path: Path) -> None:
    out = tmp_path / "run"
    killed_at_once(out)
    assert start(out, "--set", "epochs=1") == 0


def test_a_refused_start_leaves_the_runs_beside_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    wrong = ["run", "hand_backprop", "--profile", "smoke", "--quiet", "--data-dir", str(tmp_path / "nowhere")]
    assert cli.main(wrong) == 2
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    assert cli.main([*wrong, "--seeds", "0,1"]) == 2
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["mine"]


def test_an_earlier_run_that_cannot_go_on_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    killed_at_once(out)
    order = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps(order | {"data_dir": str(tmp_path / "nowhere")}))
    assert cli.main(["resume", str(out), "--quiet"]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert (out / "run.json").exists()


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
