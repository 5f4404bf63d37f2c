"""The page of all runs, saved models and their evaluation, event files."""

import shlex
import struct
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest

from experiments.harness import Experiment, Run, cli
from experiments.harness import experiment as registry
from experiments.harness.publish import publish
from tinygrad_hw import nn, serialization

from .runs import metrics_of, rows_of, summary_of
from .test_cli import one_error_line, toy_only
from .test_report import Page
from .toy import run_toy, toy

__all__ = ["toy_only"]


def test_index_lists_every_run_with_its_claims(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_toy(toy(), tmp_path / "a & b", rate=0.3, epochs=60)
    run_toy(toy(), tmp_path / "deep" / "er", seed=7, rate=1e-6)
    run_toy(toy(), tmp_path / "unfinished")
    for name in ("summary.json", "report.html"):
        (tmp_path / "unfinished" / name).unlink()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "run.json").write_text("{")
    cli.main(
        ["compare", str(tmp_path / "a & b"), str(tmp_path / "deep" / "er"), "--out", str(tmp_path / "compare-x.html")]
    )
    capsys.readouterr()
    assert cli.main(["index", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"index: {tmp_path / 'index.html'}\n"
    page = Page((tmp_path / "index.html").read_text(encoding="utf-8"))
    links = [link["href"] or "" for link in page.all("a") if not str(link["href"]).startswith("#")]
    assert [unquote(link) for link in links] == ["a & b/report.html", "deep/er/report.html", "compare-x.html"]
    assert all((tmp_path / unquote(link)).is_file() for link in links)
    for words in (
        "4 runs",
        "1 of 1 hold",
        "0 of 1 hold",
        "(≤ 0.01)",
        "not finished",
        "unfinished",
        "damaged",
        "not JSON",
    ):
        assert words in page.text


def test_index_is_made_of_the_usual_folder_alone(toy_only: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "toy", "--profile", "smoke", "--out", "elsewhere/run"]) == 0
    assert not list(toy_only.rglob("index.html"))
    for seed in (0, 1):
        assert cli.main(["run", "toy", "--profile", "smoke", "--seed", str(seed)]) == 0
    page = Page((toy_only / "runs/index.html").read_text(encoding="utf-8"))
    assert "2 runs" in page.text
    capsys.readouterr()
    assert cli.main(["index", "nowhere"]) == 2
    assert "nowhere: no runs in this folder" in one_error_line(capsys)


def linear() -> Experiment:
    """A run that saves a layer, and measures it again; twice as large with other data."""

    def run(run: Run[Any]) -> None:
        layer = nn.Linear(2, 3, stream=run.stream("init"))
        for _ in run.loop("a", {"layer": layer}, epochs=1, examples=1, batch=1):
            layer.weight.data[...] += 1
        run.save_model("layer", layer)
        run.save_model("plain", {"weight": np.ones(3)})
        run.metric(sum=float(layer.weight.data.sum()))

    def evaluate(run: Run[Any]) -> None:
        layer = nn.Linear(2, 3)
        run.load_model("layer", layer)
        run.uses("digits", "other digits" if run.data_dir else "digits", "0" * 64)
        run.metric(sum=float(layer.weight.data.sum()) * (2 if run.data_dir else 1), another=1.5)

    return Experiment("toy", "", toy().profiles, run, evaluate=evaluate)


def test_saved_models_are_evaluated(
    toy_only: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(registry, "load", lambda name: linear())
    assert cli.main(["run", "toy", "--out", "run", "--quiet"]) == 0
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    total = metrics_of(Path("run"))["sum"]
    assert sorted(path.name for path in Path("run/models").iterdir()) == ["layer.safetensors", "plain.safetensors"]
    capsys.readouterr()
    assert cli.main(["evaluate", "run"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[1:] == [["sum", f"{total:.6g}", f"{total:.6g}"], ["another", "1.5", "-"], ["data:", "digits"]]
    assert cli.main(["evaluate", "run", "--data-dir", "elsewhere"]) == 0
    out = capsys.readouterr().out
    assert f"{2 * total:.6g}" in out and "data: other digits" in out
    assert {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()} == before


def test_what_cannot_be_evaluated_is_named(
    toy_only: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", "toy", "--profile", "smoke", "--out", "plain", "--quiet"]) == 0
    assert cli.main(["evaluate", "plain"]) == 2
    assert "evaluate: toy saves no models" in one_error_line(capsys)
    monkeypatch.setattr(registry, "load", lambda name: linear())
    assert cli.main(["run", "toy", "--out", "run", "--quiet"]) == 0
    for content, message in (
        (b"garbage", "layer.safetensors: not a safetensors file"),
        (None, "layer.safetensors: no such model"),
    ):
        path = Path("run/models/layer.safetensors")
        path.unlink() if content is None else path.write_bytes(content)
        assert cli.main(["evaluate", "run"]) == 2
        assert message in one_error_line(capsys)
    serialization.save(path, {"weight": np.zeros((4, 4))})
    assert cli.main(["evaluate", "run"]) == 2
    assert "run/models/layer.safetensors: Linear.load_state_dict: missing 'bias'" in one_error_line(capsys)
    assert cli.main(["evaluate", "run", "--device", "gpu"]) == 2
    assert "--device gpu: unknown device" in one_error_line(capsys)
    assert cli.main(["evaluate", "nowhere"]) == 2
    assert "nowhere: no run in this folder" in one_error_line(capsys)


def events(folder: Path) -> list[tuple[str, int, float]]:
    """Scalars in the event files of a folder: name, step, value (read by the format: length, check, bytes, check)."""
    event_pb2 = pytest.importorskip("tensorboardX").proto.event_pb2
    found = []
    for path in sorted(folder.iterdir()):
        content, place = path.read_bytes(), 0
        while place < len(content):
            (length,) = struct.unpack_from("<Q", content, place)
            event = event_pb2.Event.FromString(content[place + 12 : place + 12 + length])
            found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
            place += 16 + length
    return found


def test_event_files_hold_the_metrics_once(toy_only: Path) -> None:
    pytest.importorskip("tensorboardX")
    assert cli.main(["run", "toy", "--out", "run", "--quiet", "--tensorboard"]) == 0
    rows = rows_of(Path("run"))
    expected = [
        (f"{row['loop']}/{name}", row["epoch"], pytest.approx(value, rel=1e-6))
        for row in rows
        for name, value in row.items()
        if name not in ("loop", "epoch", "step")
    ]
    assert len(expected) == 30
    assert events(Path("run/tensorboard")) == expected
    assert cli.main(["resume", "run", "--quiet"]) == 0
    assert events(Path("run/tensorboard")) == expected


def test_missing_tensorboard_library_is_named_before_anything_is_made(
    toy_only: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert cli.main(["run", "toy", "--tensorboard"]) == 2
    assert "--tensorboard: needs tensorboardX, which is not installed: pip install tensorboardX" in one_error_line(
        capsys
    )
    assert list(toy_only.iterdir()) == []


def test_published_results(toy_only: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["--set", "widths=4,5", "--set", "rate=0.05", "--set", "shout=true"]
    assert cli.main(["run", "toy", "--profile", "smoke", "--seed", "3", "--out", "run", *settings]) == 0
    page = publish([Path("run")], Path("results"))
    text, kept = page.read_text(encoding="utf-8"), summary_of(Path("results/toy"))
    measured = summary_of(Path("run"))
    assert {key: kept[key] for key in measured} == measured
    assert kept["command"] in text
    assert "![loss](toy/loss.png)" in text
    assert Path("results/toy/loss.png").read_bytes() == Path("run/figures/loss.png").read_bytes()
    # The command that is written down makes the same run.
    assert cli.main([*shlex.split(kept["command"])[3:], "--out", "again"]) == 0
    again = summary_of(Path("again"))
    assert (again["config"], again["metrics"]) == (measured["config"], measured["metrics"])

    Path("run/summary.json").unlink()
    capsys.readouterr()
    assert cli.main(["publish", "run"]) == 2
    assert "run: not finished; python -m experiments resume run" in one_error_line(capsys)
