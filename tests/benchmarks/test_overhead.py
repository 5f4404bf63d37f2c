"""The overhead benchmark measures every engine, checks their results, and keeps its figures in a file."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import overhead
from benchmarks.__main__ import main


def test_figures_go_to_the_table_and_to_the_file(tmp_path, capsys):
    path = tmp_path / "overhead.json"
    assert main(["overhead", "--rounds", "1", "--repeats", "1", "--json", str(path)]) == 0
    figures = json.loads(path.read_text())
    assert {"tinygrad_hw", "numpy alone (forward)"} <= set(figures["microseconds"])
    assert all(row["least"] <= row["median"] <= row["greatest"] for row in figures["microseconds"].values())
    assert figures["microseconds"]["tinygrad_hw"]["ratio"] == 1
    assert f"limit {overhead.LIMIT} times torch" in capsys.readouterr().out


def test_an_engine_that_computes_something_else_is_not_timed(monkeypatch):
    monkeypatch.setattr(overhead, "ENGINES", {"tinygrad_hw": lambda x, ones: lambda: ones})
    with pytest.raises(AssertionError, match="tinygrad_hw"):
        overhead.measure(1, 1)


@pytest.mark.parametrize(
    ("theirs", "status", "words"),
    [
        ([8.0, 2.0, 4.0], 0, "kept, 1.00"),  # ratios 0.5, 1, 2 a round: not that of the medians
        ([8.0, 1.0, 1.0], 1, "exceeded, 2.00"),
        (None, 2, "no verdict, torch is not installed"),
    ],
)
def test_the_verdict_is_a_ratio_to_the_peer_in_the_same_rounds(theirs, status, words, monkeypatch, capsys, tmp_path):
    times = {"tinygrad_hw": [4.0, 2.0, 8.0]} | ({"torch": theirs} if theirs else {})
    monkeypatch.setattr(overhead, "measure", lambda rounds, repeats: times)
    assert overhead.main(3, 1, check=True, path=tmp_path / "x.json") == status
    assert overhead.main(3, 1, check=False, path=None) == 0
    assert words in capsys.readouterr().out
    assert json.loads((tmp_path / "x.json").read_text())["kept"] == {0: True, 1: False, 2: None}[status]


def test_a_missing_peer_is_said_not_hidden(monkeypatch, capsys):
    monkeypatch.setattr(overhead, "ENGINES", {"tinygrad_hw": overhead._ours, "nosuchengine": overhead._ours})
    assert set(overhead.measure(1, 1)) == {"tinygrad_hw"}
    assert "nosuchengine: not installed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["overhead", "--rounds", "0"], "expected a positive whole number"),
        (["overhead", "--rounds", "many"], "expected a positive whole number"),
        (["nonsense"], "invalid choice"),
        ([], "required"),
        (["overhead", "--json", "/nonexistent/folder/x.json"], "no folder"),
    ],
)
def test_wrong_arguments_are_one_clear_line_and_exit_status_2(arguments, words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2 and words in capsys.readouterr().err


def test_every_engine_gives_the_same_gradient():
    x = np.random.default_rng(0).standard_normal(overhead.SHAPE).astype(np.float32)
    run = overhead._ours(x, np.ones_like(x))
    np.testing.assert_array_equal(run(), np.full_like(x, overhead.STEPS + 1))
    np.testing.assert_array_equal(run(), np.full_like(x, overhead.STEPS + 1))  # nothing adds up over runs
