"""Regularisation: fair comparisons, each technique by itself, and that a run continues where it was."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tinygrad_hw as tg
from experiments import regularization
from experiments.data import mnist
from experiments.harness import cli
from experiments.regularization import LABELS, PARTS, Config, Learner, Technique, augmented, digits_of, techniques
from tests import strict_backend
from tinygrad_hw import nn
from tinygrad_hw.random import Stream

from .idx_files import TRAIN_LABELS, digits, write
from .runs import CrashError, assert_same_run, dying, loops_of, metrics_of, rows_of
from .test_cli import one_error_line
from .test_report import Page, assert_accessible, assert_loads_nothing

RUN = ["run", "regularization", "--profile", "smoke", "--quiet"]


def a_run(seed: int = 0, **changes: Any) -> Any:
    """What the parts below need of a run."""
    return SimpleNamespace(config=Config(**changes), device="cpu", stream=lambda name: Stream(seed, name))


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("smoke") / "run"
    assert cli.main([*RUN, "--check", "--out", str(path), "--set", "epochs=4", "--set", "patience=1"]) == 0
    return path


def rows_by_loop(path: Path) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows_of(path):
        found.setdefault(row.pop("loop"), []).append(row)
    return found


def test_smoke_run(smoke: Path) -> None:
    metrics = metrics_of(smoke)
    rows = rows_by_loop(smoke)
    assert list(rows) == [f"{part}-{name}-seed{seed}" for part in PARTS for name in LABELS for seed in (0, 1)]
    for part in PARTS:
        for name in list(LABELS)[1:]:
            for value in ("loss", "accuracy"):
                key = f"{part}_{name}_{value}"
                difference = metrics[f"{part}_none_{value}"] - metrics[key]
                gain = difference if value == "loss" else -difference
                assert metrics[f"{key}_gain"] == pytest.approx(gain)
                assert metrics[f"{key}_wins"] in (0.0, 0.5, 1.0)
    page = Page(html := (smoke / "report.html").read_text(encoding="utf-8"))
    assert_loads_nothing(html)
    assert_accessible(page)
    assert len(page.all("figure")) == 4
    assert "nan" not in page.text.split()


def test_techniques_share_everything_but_themselves(smoke: Path) -> None:
    """Until it stops, early stopping goes the very way of none; the halves differ only where labels do."""
    rows = rows_by_loop(smoke)
    for part in PARTS:
        for seed in (0, 1):
            stopped, none = rows[f"{part}-early_stopping-seed{seed}"], rows[f"{part}-none-seed{seed}"]
            assert stopped == none[: len(stopped)]
            assert len(none) == 4
    state = loops_of(smoke)["right-together-seed0"]
    assert any(key.startswith("best epoch/") for key in state.arrays)


def test_saved_models_give_the_same_accuracy(smoke: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert cli.main(["evaluate", str(smoke)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    compared = {name: (now, before) for name, now, before in (row for row in rows if len(row) == 3) if before != "-"}
    assert len(compared) == len(PARTS) * len(LABELS)
    assert all(now == before for now, before in compared.values())
    assert {row[0] for row in rows if row[-1] == "-"} == {
        f"{part}_{name}_seed0_accuracy_last" for part in PARTS for name in ("early_stopping", "together")
    }


def test_splits_are_apart_and_only_the_wanted_labels_are_wrong() -> None:
    loaded = mnist.load(None)
    run = a_run(train_examples=300, validation_examples=200)
    clean, spoilt = digits_of(run, 0, loaded, 0.0), digits_of(run, 0, loaded, 0.25)
    seen = [row.tobytes() for split in (clean.train, clean.validation, clean.test) for row in split.pixels]
    assert len(seen) == 300 + 200 + 1000
    assert len(set(seen)) == len(seen)
    for which in ("train", "validation"):
        left, right = getattr(clean, which), getattr(spoilt, which)
        np.testing.assert_array_equal(left.pixels, right.pixels)
        assert (left.labels != right.labels).mean() == pytest.approx(0.25, abs=0.1)
        assert set(right.labels) <= set(range(10))
    np.testing.assert_array_equal(spoilt.test.labels, loaded.test_labels)
    other = digits_of(run, 1, loaded, 0.0)
    assert not np.array_equal(other.train.pixels, clean.train.pixels)


def test_first_weights_depend_on_the_seed_alone() -> None:
    run = a_run()
    nets = [Learner(run, 0, technique).net for technique in techniques(run.config, "wrong").values()]
    first = nets[0].state_dict()
    for net in nets:
        assert all(
            np.array_equal(value, first[key]) for key, value in zip(first, net.state_dict().values(), strict=True)
        )
    assert not np.array_equal(next(iter(first.values())), Learner(run, 1, Technique()).net[1].weight.data)


def test_augmentation() -> None:
    pixels = mnist.load(None).train_images[:30].reshape(30, -1).astype(np.float32) / 255
    still = augmented(pixels, Stream(0, "a"), Config(shift=0, turn=0, zoom=0))
    np.testing.assert_allclose(still, pixels, atol=1e-6)
    moved = augmented(pixels, Stream(0, "a"), Config())
    assert moved.dtype == np.float32
    assert moved.min() >= 0 and moved.max() <= 1
    assert (np.abs(moved - pixels).max(axis=1) > 0.1).all()
    assert moved.sum() == pytest.approx(pixels.sum(), rel=0.05), "the ink stays about the same"
    shifted = augmented(pixels, Stream(0, "a"), Config(shift=2, turn=0, zoom=0)).reshape(-1, 28, 28)
    centre = [
        (image.sum(axis=0) @ np.arange(28)) / image.sum() for image in (pixels.reshape(-1, 28, 28)[0], shifted[0])
    ]
    drawn = Stream(0, "a").uniform((4, 30, 1, 1), -1.0, 1.0)
    assert centre[1] - centre[0] == pytest.approx(-2 * drawn[3, 0, 0, 0], abs=0.01)


def test_penalty_and_noise_act() -> None:
    run, batch = a_run(), (np.zeros((5, 784), np.float32), np.arange(5))
    penalised, plain = (Learner(run, 0, technique) for technique in (Technique(penalty=100.0), Technique()))
    for learner in (penalised, plain):
        for _ in range(20):
            learner.step(*batch)
    weight = "1.weight"  # of pixels that are all zero: the loss has no gradient there, the penalty has
    assert np.abs(penalised.net.state_dict()[weight]).sum() < 0.9 * np.abs(plain.net.state_dict()[weight]).sum()
    np.testing.assert_array_equal(plain.net.state_dict()[weight], Learner(run, 0, Technique()).net[1].weight.data)
    assert Learner(run, 0, Technique(noise=0.5)).step(*batch) != Learner(run, 0, Technique()).step(*batch)


def test_dropout_works_in_training_alone() -> None:
    learner = Learner(a_run(), 0, Technique(dropout=0.5))
    split = regularization.Split(np.ones((4, 784), np.float32), np.arange(4))
    assert regularization.evaluate(learner.net, split) == regularization.evaluate(learner.net, split)
    assert learner.net.training
    masks = [learner.net(tg.Tensor(split.pixels)).data for _ in range(2)]
    assert not np.array_equal(*masks)
    assert [layer.p for layer in learner.net.children() if isinstance(layer, nn.Dropout)] == [0.5] * 3


def test_a_crash_leaves_no_trace(smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of early stopping, and again with everything on at once."""
    left = [4 * 3 * 2 + 5]
    monkeypatch.setattr(Learner, "step", dying(Learner.step, left))
    arguments = ["--set", "epochs=4", "--set", "patience=1", "--set", "checkpoint_steps=2"]
    path = tmp_path / "run"
    crashed: Callable[[], int] = lambda: cli.main([*RUN, *arguments, "--out", str(path)])
    with pytest.raises(CrashError):
        crashed()
    left[0] = 120
    with pytest.raises(CrashError):
        cli.main(["resume", str(path), "--quiet"])
    left[0] = 10**6
    assert cli.main(["resume", str(path), "--quiet"]) == 0
    assert_same_run(path, smoke)
    assert metrics_of(path) == metrics_of(smoke), "all of them: there is no time among them"


def test_on_a_device_that_refuses_to_mix_with_numpy(tmp_path: Path) -> None:
    strict_backend.install()
    for device in ("cpu", "strict"):
        assert cli.main([*RUN, "--set", "epochs=1", "--device", device, "--out", str(tmp_path / device)]) == 0
    found, expected = (metrics_of(tmp_path / d) for d in ("strict", "cpu"))
    assert found == pytest.approx(expected, abs=1e-5)


def test_too_few_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "data" / "mnist", digits(train=50, test=20))
    out = ["--data-dir", str(tmp_path / "data"), "--out", str(tmp_path / "run")]
    assert cli.main([*RUN, *out]) == 2
    assert "100 digits wanted for training and validation, but there are 50" in one_error_line(capsys)


def test_class_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = digits(train=400, test=100)
    arrays[TRAIN_LABELS][arrays[TRAIN_LABELS] == 7] = 1
    write(tmp_path / "data" / "mnist", arrays)
    assert cli.main([*RUN, "--data-dir", str(tmp_path / "data"), "--out", str(tmp_path / "run")]) == 2
    assert "0 training digits of class 7, expected at least 1 of each, 0 to 9" in one_error_line(capsys)


def test_batch_larger_than_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*RUN, "--set", "batch=61", "--out", str(tmp_path / "run")]) == 2
    assert "a batch of 61 is more than the 60 examples there are" in one_error_line(capsys)


@pytest.mark.parametrize(
    "setting", ["wrong_labels=1", "dropout=0.5", "dropout=1,0", "noise=-1,0", "seeds=1", "batch=0"]
)
def test_wrong_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str) -> None:
    assert cli.main([*RUN, "--set", setting, "--out", str(tmp_path / "run")]) == 2
    assert f"setting {setting.partition('=')[0]}=" in one_error_line(capsys)
    assert not (tmp_path / "run").exists()
