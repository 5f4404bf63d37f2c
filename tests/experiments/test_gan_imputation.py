"""Imputation: the patch, what λ does and what it leaves alone, the measures, and that a killed run leaves no trace."""

import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tinygrad_hw as tg
from experiments import gan_imputation
from experiments.gan.digits import Digits, Split
from experiments.gan.judge import Judge
from experiments.gan_imputation import Config
from experiments.harness import cli
from experiments.imputation import patch, results, training
from tests import strict_backend
from tinygrad_hw.random import Stream

from .conftest import ROOT, Command
from .idx_files import TEST_LABELS, TRAIN_LABELS, digits, write
from .runs import assert_same_run, loops_of, metrics_of, rows_of, timeless_metrics_of
from .test_cli import one_error_line
from .test_report import Page, assert_accessible, assert_loads_nothing

RUN = ["run", "gan_imputation", "--profile", "smoke", "--quiet"]
LOOPS = ["judge", "patch reader", "lambda 0", "lambda 10"]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("smoke") / "run"
    assert cli.main([*RUN, "--out", str(path)]) == 0
    return path


def a_run() -> Any:
    """What the parts below need of a run."""
    return SimpleNamespace(device="cpu", stream=lambda name: Stream(0, name))


def test_smoke_run(smoke: Path) -> None:
    metrics = metrics_of(smoke)
    assert [(row["loop"], row["epoch"]) for row in rows_of(smoke)] == [(loop, e) for loop in LOOPS for e in (1, 2)]
    assert metrics["centre_mse"] == metrics["centre_mse_lambda_10"]
    assert metrics["label_consistency"] == metrics["label_consistency_lambda_10"]
    free = max(metrics["label_consistency_lambda_0"], 1 / 10)
    assert metrics["consistency_ratio"] == pytest.approx(metrics["label_consistency"] / free)
    last = rows_of(smoke)[-1]
    assert last["centre_mse"] == pytest.approx(metrics["centre_mse"]), "logged after the last epoch, of the same nets"
    page = Page(html := (smoke / "report.html").read_text(encoding="utf-8"))
    assert_loads_nothing(html)
    assert_accessible(page)
    figures = {path.stem for path in (smoke / "figures").glob("*.png")}
    assert figures == {"patches", "sweep", "by_lambda", "pairs_0", "pairs_10", "convergence", "noises_0", "noises_10"}
    assert len(page.all("figure")) == len(figures)
    assert "nan" not in page.text.split()


def test_centre() -> None:
    pixels = np.arange(3 * 784, dtype=np.float32).reshape(3, 784)
    np.testing.assert_array_equal(
        patch.centre(pixels), pixels.reshape(3, 28, 28)[:, 9:19, 9:19].reshape(3, 100), strict=True
    )
    known = np.setdiff1d(np.arange(784), patch.OUTSIDE)
    np.testing.assert_array_equal(pixels[:, known], patch.centre(pixels))
    assert len(patch.OUTSIDE) == 684
    recorded = tg.tensor(pixels, requires_grad=True)
    patch.centre(recorded).sum().backward()
    assert recorded.grad is not None
    np.testing.assert_array_equal(np.flatnonzero(recorded.grad.numpy()[1]), known)


def test_nothing_but_lambda_differs(tmp_path: Path) -> None:
    """A weight too small to move a float32 sees the very same training; a large one pulls the centre to the patch."""
    settings = ["--set", "lambdas=0,1e-30,100", "--set", "epochs=12", "--set", "judge_epochs=1"]
    assert cli.main([*RUN, *settings, "--out", str(tmp_path / "run")]) == 0
    rows = rows_of(tmp_path / "run")
    free, tiny, strong = ([row for row in rows if row["loop"] == f"lambda {name}"] for name in ("0", "1e-30", "100"))
    assert [{**row, "loop": "", "extra": 0.0} for row in free] == [{**row, "loop": "", "extra": 0.0} for row in tiny]
    assert "extra" not in free[0]
    assert strong[-1]["centre_mse"] < 0.8 * free[-1]["centre_mse"]


def test_discriminator_sees_the_picture_alone(smoke: Path) -> None:
    loops = loops_of(smoke)
    shapes = {key: array.shape for key, array in loops["lambda 10"].arrays.items()}
    assert shapes["discriminator/layers.0.weight"] == (400, 784)
    assert [shapes[f"generator/layers.{i}.weight"] for i in (0, 2, 4)] == [(200, 200), (400, 200), (784, 400)]


def some_digits(count: int = 200) -> Digits:
    draw = np.random.default_rng(0)
    split = Split(draw.uniform(-1, 1, (count, 784)).astype(np.float32), np.arange(count) % 10)
    return Digits(split, split)


def test_measures_of_known_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    data, run = some_digits(), a_run()
    truth = data.test.pixels
    judge = Judge("cpu", Stream(0, "init"), Stream(0, "masks"))
    features = judge.features(truth)

    def measured(draw: Any) -> results.Measures:
        monkeypatch.setattr(training, "draw", draw)
        return results.measure(run, None, data, judge, features)  # type: ignore[arg-type]

    same = measured(lambda run, generator, given, name: truth)
    assert (same.centre_mse, same.missing_mse, same.noise_share) == (0, 0, 0)
    assert same.label_consistency == judge.accuracy(truth, data.test.labels)
    assert same.frechet == pytest.approx(0, abs=1e-6)

    off = truth.copy().reshape(-1, 28, 28)
    off[:, 9:19, 9:19] += 0.5
    centre_off = measured(lambda run, generator, given, name: off.reshape(-1, 784))
    assert centre_off.centre_mse == pytest.approx(0.25, rel=1e-5)
    assert centre_off.missing_mse == 0

    noise = measured(lambda run, generator, given, name: run.stream(name).uniform(truth.shape, -1, 1))
    assert noise.noise_share == pytest.approx(1, abs=0.02)
    assert noise.missing_mse == pytest.approx(2 / 3, rel=0.02)
    assert noise.frechet > 0.01 > same.frechet


def test_examples_are_the_first_of_each_class() -> None:
    labels = np.array([3, 0, 1, 2, 4, 5, 6, 7, 8, 9, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    split = Split(np.zeros((len(labels), 784), np.float32), labels)
    np.testing.assert_array_equal(
        results.examples(Digits(split, split)), [1, 2, 3, 0, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16, 17, 18, 19, 20]
    )


def test_saved_models_measure_the_same(smoke: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert cli.main(["evaluate", str(smoke)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    compared = {row[0]: row[1:] for row in rows if len(row) == 3 and row[2] != "-"}
    assert {"judge_accuracy", "centre_mse", "consistency_ratio", "noise_share_lambda_0"} <= compared.keys()
    assert all(now == before for now, before in compared.values())


KILLED = """
import os, signal, sys
from experiments.gan.training import Adversaries
from experiments.harness import cli
step, left = Adversaries.step, int(sys.argv[1])
def dying(pair, *arguments):
    global left
    left -= 1
    if left < 0:
        # The discriminator has learned in this step, the generator has not: the worst moment.
        pair._teach_generator = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
    return step(pair, *arguments)
Adversaries.step = dying
cli.main(sys.argv[2:])
"""


@pytest.mark.parametrize("loss", ["non-saturating", "wgan-gp"])
def test_kill_in_mid_step_and_resume(tmp_path: Path, command: Command, loss: str) -> None:
    """Killed by SIGKILL between the two nets' updates, for each λ, then resumed to the end: both nets, both Adams."""
    settings = ["--set", "checkpoint_steps=3", "--set", f"loss={loss}", "--set", "batch=50", "--seed", "5"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert command(*RUN, *settings, "--out", whole).returncode == 0

    # 8 steps an epoch: death in λ = 0's second epoch; resumed there at step 9, then in λ = 10's first.
    stood = []
    for steps, arguments in ((11, [*RUN, *settings, "--out", killed]), (7 + 5, ["resume", killed, "--quiet"])):
        line = [sys.executable, "-c", KILLED, steps, *arguments]
        done = subprocess.run([str(part) for part in line], cwd=ROOT, check=False)
        assert done.returncode == -signal.SIGKILL
        *_, (name, state) = loops_of(killed).items()
        stood.append((name, state.position))
    assert stood == [("lambda 0", 9), ("lambda 10", 3)]

    assert command("resume", killed, "--quiet").returncode == 0
    assert_same_run(killed, whole)
    assert list(loops_of(killed)) == LOOPS
    kept = {key.split("/")[0] for key in loops_of(killed)["lambda 10"].arrays}
    assert kept >= {"generator", "discriminator", "average", "generator optimizer", "discriminator optimizer"}


def test_on_a_device_that_refuses_to_mix_with_numpy(tmp_path: Path) -> None:
    strict_backend.install()
    settings = ["--set", "epochs=1", "--set", "judge_epochs=1"]
    for device in ("cpu", "strict"):
        assert cli.main([*RUN, *settings, "--device", device, "--out", str(tmp_path / device)]) == 0
    found, expected = (timeless_metrics_of(tmp_path / device) for device in ("strict", "cpu"))
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("lambdas=-1", "greater than or equal to 0"),
        ("lambdas=0,-0.1,10", "greater than or equal to 0"),
        ("lambdas=[]", "at least 1 item"),
        ("lambdas=0,ten", "valid number"),
        ("lambdas=inf", "finite number"),
        ("lambdas=1,1.0000001", "too near each other to be told apart"),
        ("loss=wasserstein", "'non-saturating' or 'wgan-gp'"),
        ("batch=0", "greater than or equal to 1"),
        ("batch=401", "larger than the training set, which has 400 digits"),
        ("critic_steps=5", "more than the 4 batches of an epoch"),
    ],
)
def test_wrong_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str, words: str) -> None:
    assert cli.main([*RUN, "--set", setting, "--out", str(tmp_path / "run")]) == 2
    error = one_error_line(capsys)
    assert f"setting {setting.partition('=')[0]}=" in error
    assert words in error


@pytest.mark.parametrize(("name", "what"), [(TRAIN_LABELS, "training"), (TEST_LABELS, "test")])
def test_missing_class(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, what: str) -> None:
    arrays = digits(train=400, test=100)
    arrays[name][arrays[name] == 7] = 1
    write(tmp_path / "data" / "mnist", arrays)
    assert cli.main([*RUN, "--data-dir", str(tmp_path / "data"), "--out", str(tmp_path / "run")]) == 2
    assert f"0 {what} digits of class 7, expected at least" in one_error_line(capsys)


@pytest.mark.parametrize("profile", ["smoke", "demo", "full"])
def test_profiles_have_the_lambdas_of_the_claims(profile: str) -> None:
    config = gan_imputation.EXPERIMENT.profiles[profile]
    assert isinstance(config, Config)
    assert {gan_imputation.FREE, gan_imputation.STRONG} <= set(config.lambdas)
