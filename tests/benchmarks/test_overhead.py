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
    assert "budget 5.0 µs" in capsys.readouterr().out


def test_an_engine_that_computes_something_else_is_not_timed(monkeypatch):
    monkeypatch.setattr(overhead, "ENGINES", {"tinygrad_hw": lambda x, ones: lambda: ones})
    with pytest.raises(AssertionError, match="tinygrad_hw"):
        overhead.measure(1, 1)


def test_a_budget_that_is_exceeded_fails_only_under_check(monkeypatch, capsys):
    monkeypatch.setattr(overhead, "ENGINES", {"tinygrad_hw": overhead._ours})
    monkeypatch.setattr(overhead, "BUDGET", 0.0)
    assert overhead.main(1, 1, check=True, path=None) == 1
    assert overhead.main(1, 1, check=False, path=None) == 0
    assert "exceeded" in capsys.readouterr().out


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
