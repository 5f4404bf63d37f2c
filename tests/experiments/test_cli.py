"""The command line: what it prints, where it writes, and its exit statuses."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.harness import cli
from experiments.harness import experiment as registry
from experiments.harness.claims import Claim
from experiments.harness.experiment import Experiment

from .conftest import ROOT, Command
from .idx_files import TRAIN_LABELS, digits, write
from .runs import loops_of
from .toy import ToyConfig, toy


@pytest.fixture
def toy_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Two toys are all there is, and the working folder is empty."""
    other = toy()
    experiments = {
        "toy": toy(),
        "other": Experiment("other", "Another", other.profiles, other.run, (Claim("loss", "<=", {"smoke": -1.0}, ""),)),
    }
    monkeypatch.setattr(registry, "titles", lambda: {name: e.title for name, e in experiments.items()})
    monkeypatch.setattr(registry, "load", lambda name: experiments[name])
    monkeypatch.delenv("TINYGRAD_HW_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def one_error_line(capsys: pytest.CaptureFixture[str]) -> str:
    lines = [
        line
        for line in capsys.readouterr().err.splitlines()
        if not line.startswith(("toy", "other", "first", "second"))
    ]
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


def test_list_names_every_experiment_without_importing_it(command: Command) -> None:
    done = command("list")
    assert done.returncode == 0
    assert re.search(r"^hand_backprop +Backpropagation by hand", done.stdout, re.MULTILINE)
    code = "import sys; from experiments.harness import cli; cli.main(['list']); print('matplotlib' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert shown.stdout.splitlines()[-1] == "False"


def test_list_with_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "--settings"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for line in (
        "epochs: passes over the training digits, of every net (a whole number from 1 to 100000; smoke 2, demo 20, "
        "full 20)",
        "beta1: share of the gradient's mean that Adam keeps (a number from 0 and below 1; default 0.5)",
        "loss: what the two nets play for (non-saturating or wgan-gp; default non-saturating)",
    ):
        assert f"    {line}" in lines


def test_every_experiment_loads_and_is_complete() -> None:
    for name, title in registry.titles().items():
        experiment = registry.load(name)
        assert title == experiment.title
        assert {claim.metric for claim in experiment.claims if "full" in claim.targets}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["rum"], "argument COMMAND: invalid choice: 'rum'"),
        (["run"], "the following arguments are required: NAME"),
        (["run", "hand_backdrop"], "no experiment 'hand_backdrop'; did you mean 'hand_backprop'?"),
        (["run", "hand_backprop", "--set", "epoch=3"], "no setting 'epoch'; did you mean 'epochs'?"),
        (
            ["run", "hand_backprop", "--set", "epochs=-1"],
            "setting epochs=-1: input should be greater than or equal to 1",
        ),
        (["run", "hand_backprop", "--seed", "lucky"], "argument --seed: 'lucky' is no number"),
        (["run", "hand_backprop", "--seed", "-1"], "argument --seed: -1 is out of range"),
        (["run", "hand_backprop", "--seed", "1.5"], "argument --seed: '1.5' is no number"),
        (["run", "hand_backprop", "--profile", "demmo"], "argument --profile: invalid choice: 'demmo'"),
        (["run", "hand_backprop", "--device", "gpu"], "--device gpu: unknown device 'gpu'"),
        (["run", "hand_backprop", "--epochs", "3"], "unrecognized arguments: --epochs 3"),
        (["resume", "/nonexistent"], "/nonexistent: no run in this folder"),
        (["compare", "/nonexistent"], "compare: one run given"),
        (["compare", "/nonexistent", "/nowhere"], "/nonexistent: no run in this folder"),
        (["data"], "the following arguments are required: COMMAND"),
        (["data", "download", "mnits"], "no data set 'mnits'; did you mean 'mnist'?"),
        (["data", "import", "mnist", "/nonexistent"], "/nonexistent: no such folder"),
    ],
)
def test_wrong_arguments(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    assert message in one_error_line(capsys)
    assert list(tmp_path.iterdir()) == [], "nothing is made when the arguments are wrong"


def test_wrong_arguments_in_a_process_of_their_own(command: Command) -> None:
    done = command("run", "hand_backprop", "--set", "learning_rat=1")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == ("error: --set learning_rat=1: no setting 'learning_rat'; did you mean 'learning_rate'?\n")


def test_run_prints_claims_and_report(toy_only: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "toy", "--seed", "4", "--set", "epochs=3"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["claim", "measured", "required", "result"]
    assert out[1].endswith("FAIL")
    assert out[2] == "report: runs/toy-demo-seed4-epochs=3/report.html"
    summary = json.loads((toy_only / "runs/toy-demo-seed4-epochs=3/summary.json").read_text())
    assert list(summary) == [
        "experiment", "profile", "data", "seed", "device", "config", "metrics", "claims", "seconds", "versions",
        "machine", "not_judged",
    ]  # fmt: skip
    assert (summary["experiment"], summary["profile"], summary["seed"], summary["device"]) == ("toy", "demo", 4, "cpu")
    assert summary["config"]["epochs"] == 3
    assert list(summary["claims"][0]) == ["name", "measured", "relation", "target", "passed"]
    assert summary["claims"][0]["measured"] == summary["metrics"]["loss"]


def test_quiet_prints_claims_and_report_alone(toy_only: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "toy", "--quiet"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert [line.split()[0] for line in printed.out.splitlines()] == ["claim", "loss", "report:"]


def test_plain_progress_names_loop_epoch_values_and_time_left(
    toy_only: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", "toy"]) == 0
    err = capsys.readouterr().err
    assert re.search(
        r"^first  epoch \d+/5  loss [\d.e-]+  worst [\d.e-]+  norm [\d.e-]+  \d+:\d\d left$", err, re.MULTILINE
    )
    assert re.search(r"^second  epoch 5/5  .*  done in 0:00$", err, re.MULTILINE)


def test_check_decides_the_status(toy_only: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "toy", "--check"]) == 1
    assert cli.main(["run", "toy", "--profile", "smoke", "--check"]) == 0, "smoke makes no claim"
    assert "claims: none made in profile smoke, so there is nothing to check\n" in capsys.readouterr().out


def test_default_folders_never_collide_and_given_ones_are_refused(
    toy_only: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        assert cli.main(["run", "toy", "--profile", "smoke", "--quiet"]) == 0
    (toy_only / "runs/toy-demo-seed0").mkdir()
    assert cli.main(["run", "toy"]) == 0
    hint = "runs/toy-demo-seed0 holds an unfinished run: python -m experiments resume runs/toy-demo-seed0"
    assert hint in capsys.readouterr().err
    names = sorted(path.name for path in (toy_only / "runs").glob("toy-smoke*"))
    assert names == ["toy-smoke-seed0", "toy-smoke-seed0-2", "toy-smoke-seed0-3"]
    before = (toy_only / "runs/toy-smoke-seed0/summary.json").read_bytes()
    capsys.readouterr()
    assert cli.main(["run", "toy", "--profile", "smoke", "--out", "runs/toy-smoke-seed0"]) == 2
    assert "holds a run: continue it by `resume`, or give another --out" in one_error_line(capsys)
    assert (toy_only / "runs/toy-smoke-seed0/summary.json").read_bytes() == before


def test_output_folder_that_cannot_be_written(toy_only: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (toy_only / "file").write_text("mine")
    for out in ("file", "file/below", "/proc/nowhere"):
        assert cli.main(["run", "toy", "--out", out]) == 2
        assert "output folder" in one_error_line(capsys)
    (toy_only / "used").mkdir()
    (toy_only / "used/file").write_text("mine")
    assert cli.main(["run", "toy", "--out", "used"]) == 2
    assert "used: output folder holds files: give another --out" in one_error_line(capsys)
    (toy_only / "empty").mkdir()
    assert cli.main(["run", "toy", "--profile", "smoke", "--out", "empty"]) == 0


def test_all_runs_every_one_and_the_worst_status_wins(toy_only: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "all", "--profile", "smoke", "--out", "out", "--check", "--quiet"]) == 1
    assert sorted(path.name for path in (toy_only / "out").iterdir()) == ["other", "toy"]
    assert len(list(toy_only.glob("out/*/summary.json"))) == 2
    assert cli.main(["run", "toy", "other", "--set", "rate=1e300", "--quiet"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert all(line.startswith("error: loop first, epoch 1, step ") for line in errors)


def test_resume_of_a_finished_run_and_of_a_damaged_one(toy_only: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "toy", "--out", "run", "--check"]) == 1
    rows = (toy_only / "run/metrics.jsonl").read_bytes()
    assert cli.main(["resume", "run"]) == 1, "the order to check is kept"
    assert (toy_only / "run/metrics.jsonl").read_bytes() == rows
    order = json.loads((toy_only / "run/run.json").read_text())
    (toy_only / "run/checkpoint.safetensors").write_bytes(b"damaged")
    capsys.readouterr()
    assert cli.main(["resume", "run"]) == 2
    assert "checkpoint.safetensors: not a checkpoint" in one_error_line(capsys)
    for damaged in ("{", "[]", '{"experiment": 3}', json.dumps({**order, "config": {"epochs": 0}})):
        (toy_only / "run/run.json").write_text(damaged)
        assert cli.main(["resume", "run"]) == 2
        one_error_line(capsys)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_process_ends_with_130_after_a_checkpoint(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "run"
    line = [sys.executable, "-m", "experiments", "run", "hand_backprop", "--profile", "smoke", "--out", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*line, "--set", "epochs=2000", "--set", "checkpoint_steps=50"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        wait_for(path / "checkpoint.safetensors", process)
        before = loops_of(path)["hand"].position
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"continue by: python -m experiments resume {path}" in errors
    assert "Traceback" not in errors
    assert loops_of(path)["hand"].position >= before
    assert not (path / "summary.json").exists()


def wait_for(path: Path, process: "subprocess.Popen[str]") -> None:
    """Waits until a file exists, at most a minute."""
    for _ in range(6000):
        if path.exists():
            return
        assert process.poll() is None, "the run ended too early"
        time.sleep(0.01)
    raise AssertionError(f"{path} was not written")


def test_data_folder_comes_from_the_environment_or_the_option(
    toy_only: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["data", "status"]) == 0
    assert "data folder: data\nmnist       absent    expected in data/mnist" in capsys.readouterr().out
    monkeypatch.setenv("TINYGRAD_HW_DATA", str(toy_only / "elsewhere"))
    write(toy_only / "elsewhere" / "mnist", digits())
    assert cli.main(["data", "status"]) == 0
    assert "mnist       other     40 training and 10 test digits" in capsys.readouterr().out
    assert cli.main(["data", "import", "mnist", str(toy_only / "elsewhere" / "mnist"), "--data-dir", "copy"]) == 0
    assert cli.main(["data", "status", "--data-dir", "copy"]) == 0
    assert "40 training and 10 test digits" in capsys.readouterr().out
    assert cli.main(["run", "toy", "--profile", "smoke", "--out", "run"]) == 0
    assert json.loads((toy_only / "run/run.json").read_text())["data_dir"] == str(toy_only / "elsewhere")


def test_bad_data_ends_in_one_line(command: Command, tmp_path: Path) -> None:
    folder = write(tmp_path / "data", digits())
    (folder / TRAIN_LABELS).write_bytes(b"\0\0\x08\x01")
    done = command(
        "run", "hand_backprop", "--profile", "smoke", "--quiet", "--data-dir", folder, "--out", tmp_path / "run"
    )
    assert done.returncode == 2
    assert done.stderr == f"error: {folder / TRAIN_LABELS}: ends at byte 4, expected 4 bytes of sizes from byte 4\n"
    (tmp_path / "empty").mkdir()
    done = command("run", "hand_backprop", "--quiet", "--data-dir", tmp_path / "empty", "--out", tmp_path / "other")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "holds no MNIST" in done.stderr


def test_full_without_data_says_how_to_get_them(command: Command, tmp_path: Path) -> None:
    done = command("run", "hand_backprop", "--profile", "full", "--quiet", "--out", tmp_path / "run")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "4,000 training digits, expected at least 60,000" in done.stderr
    assert "data download" in done.stderr


def test_metrics_that_are_not_finite_are_null_and_fail(
    toy_only: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    claims = (Claim("nan", ">=", {"smoke": 0.0}, ""), Claim("inf", "<=", {"smoke": 0.0}, ""))
    broken = Experiment("toy", "", toy().profiles, lambda run: run.metric(nan=math.nan, inf=math.inf), claims)
    monkeypatch.setattr(registry, "load", lambda name: broken)
    assert cli.main(["run", "toy", "--profile", "smoke", "--out", "run", "--check"]) == 1
    summary = json.loads((toy_only / "run/summary.json").read_text(), parse_constant=pytest.fail)
    assert summary["metrics"] == {"nan": None, "inf": None}
    assert [claim["measured"] for claim in summary["claims"]] == [None, None]
    assert capsys.readouterr().out.count("FAIL") == 2


def test_toy_settings_are_listed(toy_only: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "--settings"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for line in (
        "epochs: passes over the examples (a whole number from 1 to 1000; smoke 2, demo 5, full 6)",
        "rate: learning rate (a number above 0; default 0.1)",
        "widths: a list of numbers (a list, each a whole number; default 3,2)",
        "shout: a switch (true or false; default False)",
    ):
        assert f"    {line}" in lines
    assert ToyConfig().rate == 0.1
