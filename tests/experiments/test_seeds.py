"""Several seeds: mean and spread, `--seeds`, groups in comparisons; and how a batch of runs ends."""

import json
import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.harness import cli
from experiments.harness import experiment as registry
from experiments.harness.experiment import Experiment
from experiments.harness.run import Run
from experiments.harness.seeds import over_seeds, spread

from .test_cli import one_error_line, toy_only
from .test_report import Page, assert_accessible, assert_loads_nothing
from .toy import ToyConfig, run_toy, toy

__all__ = ["toy_only"]


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=9))
def test_spread(values: list[float]) -> None:
    found = spread(values)
    assert found.mean == pytest.approx(statistics.fmean(values), abs=1e-6)
    assert found.spread == pytest.approx(statistics.stdev(values), abs=1e-6)
    assert found.count == len(values)


def test_spread_of_one_and_of_none() -> None:
    assert str(spread([0.25])) == "0.25 ± 0"
    with pytest.raises(ValueError, match="no numbers"):
        spread([])


def test_metrics_over_runs_leave_out_what_one_of_them_lacks() -> None:
    runs = [{"a": 1.0, "b": 2.0, "c": None}, {"a": 3.0, "c": 1.0}]
    assert {key: value.mean for key, value in over_seeds(runs).items()} == {"a": 2.0}
    assert over_seeds([]) == {}


def test_run_over_seeds(toy_only: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "toy", "--profile", "smoke", "--seeds", "0,1,2,1", "--out", "out", "--quiet"]) == 0
    out = capsys.readouterr().out.splitlines()
    summaries = [json.loads((toy_only / f"out/seed{seed}/summary.json").read_text()) for seed in (0, 1, 2)]
    assert [summary["seed"] for summary in summaries] == [0, 1, 2]
    losses = [summary["metrics"]["loss"] for summary in summaries]
    assert f"loss    {statistics.fmean(losses):.4g} ± {statistics.stdev(losses):.2g}" in out
    assert out[-1] == "comparison: out/compare-seed0-seed1-seed2.html"
    page = Page((toy_only / "out/compare-seed0-seed1-seed2.html").read_text())
    assert "toy (3 seeds)" in page.text
    assert f"{statistics.fmean(losses):.4g} ±" in page.text


def test_resume_of_all_seeds(toy_only: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "toy", "--profile", "smoke", "--seeds", "2,0", "--out", "out", "--quiet"]) == 0
    for seed in (0, 2):
        (toy_only / f"out/seed{seed}/summary.json").unlink()
    assert cli.main(["resume", "out", "--quiet"]) == 0
    assert all((toy_only / f"out/seed{seed}/summary.json").exists() for seed in (0, 2))
    (toy_only / "other" / "deeper").mkdir(parents=True)
    assert cli.main(["resume", "other"]) == 2
    assert "other: no run in this folder" in capsys.readouterr().err


def test_several_experiments_and_seeds(toy_only: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "all", "--profile", "smoke", "--seeds", "3,4", "--out", "out", "--quiet"]) == 0
    found = sorted(str(path.parent.relative_to(toy_only / "out")) for path in toy_only.glob("out/**/summary.json"))
    assert found == ["other/seed3", "other/seed4", "toy/seed3", "toy/seed4"]
    assert capsys.readouterr().out.count("comparison: ") == 2


def test_a_setting_that_one_of_several_lacks(toy_only: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "all", "--profile", "smoke", "--set", "depth=3", "--out", "out"]) == 2
    assert "error: other: --set depth=3: no setting 'depth'" in capsys.readouterr().err
    assert not (toy_only / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0,x"], "argument --seeds: 'x' is no number"),
        (["--seeds", "1,-1"], "argument --seeds: -1 is out of range"),
        (["--seeds", ""], "argument --seeds: '' is no number"),
        (["--seeds", "0,1", "--seed", "3"], "not allowed with argument"),
    ],
)
def test_wrong_seeds(toy_only: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert cli.main(["run", "toy", *arguments]) == 2
    assert message in one_error_line(capsys)
    assert list(toy_only.iterdir()) == []


def test_runs_that_differ_in_the_seed_alone_are_one_group(tmp_path: Path) -> None:
    for seed in (0, 1):
        run_toy(toy(), tmp_path / f"slow-seed{seed}", seed=seed)
        run_toy(toy(), tmp_path / f"fast-seed{seed}", seed=seed, rate=0.3)
    out = tmp_path / "page.html"
    folders = [str(tmp_path / f"{name}-seed{seed}") for name in ("slow", "fast") for seed in (0, 1)]
    assert cli.main(["compare", *folders, "--out", str(out)]) == 0
    html = out.read_text(encoding="utf-8")
    page = Page(html)
    assert_loads_nothing(html)
    assert_accessible(page)
    headings = [text for text in ("slow (2 seeds)", "fast (2 seeds)") if text in page.text]
    assert headings == ["slow (2 seeds)", "fast (2 seeds)"]
    assert "0 of 1 hold" in page.text or "1 of 1 hold" in page.text
    assert "rate" in page.text.partition("Settings")[2]


def test_how_each_run_ended_is_told_at_the_end(
    toy_only: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One crashes, one is stopped by an infinite loss, one works: the third is not kept from running."""

    def crash(run: object) -> None:
        raise ZeroDivisionError("nobody thought of this")

    good = toy()
    experiments = {
        "a": Experiment("a", "A", good.profiles, crash),
        "b": Experiment("b", "B", good.profiles, good.run, good.claims),
    }
    monkeypatch.setattr(registry, "titles", lambda: {name: "" for name in experiments})
    monkeypatch.setattr(registry, "load", lambda name: experiments[name])
    assert cli.main(["run", "all", "--profile", "demo", "--out", "out", "--quiet"]) == 2
    printed = capsys.readouterr()
    assert "Traceback" in printed.err and "nobody thought of this" in printed.err
    table = printed.out.splitlines()[-3:]
    assert table[0].split() == ["run", "result"]
    assert table[1].split(maxsplit=1) == ["out/a", "error: crashed, ZeroDivisionError: nobody thought of this"]
    assert table[2].split(maxsplit=1)[0] == "out/b"
    assert table[2].endswith("of 1 hold")
    assert cli.main(["run", "b", "--set", "rate=1e300", "--seeds", "0,1", "--quiet"]) == 2
    assert capsys.readouterr().out.count("error: loop first") == 2


def test_an_interruption_says_how_to_continue_all_that_is_left(
    toy_only: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good, stopped = toy(), []

    def stop_once(run: Run[ToyConfig]) -> None:
        if run.seed == 1 and not stopped:
            stopped.append(run.seed)
            raise KeyboardInterrupt
        good.run(run)

    experiment = Experiment("toy", "A toy", good.profiles, stop_once)
    monkeypatch.setattr(registry, "load", lambda name: experiment)
    assert cli.main(["run", "toy", "--profile", "smoke", "--seeds", "0,1,2", "--out", "out", "--quiet"]) == 130
    command = "python -m experiments resume out/seed1 out/seed2"
    assert capsys.readouterr().err == f"interrupted; continue by: {command}\n"
    assert cli.main(command.split()[3:]) == 0
    assert sorted(path.parent.name for path in toy_only.glob("out/*/summary.json")) == ["seed0", "seed1", "seed2"]
    assert "comparison: out/compare-seed1-seed2.html" in capsys.readouterr().out


def test_a_comparison_says_in_its_title_which_runs_are_unfinished(tmp_path: Path) -> None:
    for name in ("done", "stopped"):
        run_toy(toy(), tmp_path / name)
    (tmp_path / "stopped" / "summary.json").unlink()
    out = tmp_path / "page.html"
    assert cli.main(["compare", str(tmp_path / "done"), str(tmp_path / "stopped"), "--out", str(out)]) == 0
    html = out.read_text(encoding="utf-8")
    assert "<title>Comparison of done and stopped (unfinished)</title>" in html
