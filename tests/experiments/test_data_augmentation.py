"""Data augmentation: what each net is given, fair comparison, and that a run continues where it was."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from experiments import data_augmentation
from experiments.data import augmentation, cifar10
from experiments.data_augmentation import Config, at_equal_updates, prepare
from experiments.harness import cli
from experiments.vision import cnn
from tests import strict_backend
from tinygrad_hw.random import Stream

from .data.cifar_files import BINARY, batches, binary_files, write
from .runs import CrashError, assert_same_run, dying, metrics_of, rows_of, summary_of
from .test_cli import one_error_line
from .test_report import Page, assert_accessible, assert_loads_nothing

RUN = ["run", "data_augmentation", "--profile", "smoke", "--quiet"]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("smoke") / "run"
    assert cli.main([*RUN, "--check", "--out", str(path)]) == 0
    return path


def a_run(folder: Path | None, seed: int = 0, **changes: Any) -> Any:
    """What `prepare` needs of a run."""
    return SimpleNamespace(
        config=Config(**changes),
        device="cpu",
        data_dir=folder,
        stream=lambda name: Stream(seed, name),
        uses=lambda *entry: None,
    )


def test_smoke_run(smoke: Path) -> None:
    summary = summary_of(smoke)
    metrics, rows = summary["metrics"], rows_of(smoke)
    assert [(row["loop"], row["epoch"], row["step"]) for row in rows] == [
        *(("baseline", 1, 4), ("baseline", 2, 8), ("augmented", 1, 16), ("augmented", 2, 32))
    ]
    for variant, row in (("baseline", rows[1]), ("augmented", rows[3])):
        assert metrics[f"{variant}_accuracy"] == metrics[f"{variant}_final"] == row["validation_accuracy"]
    assert metrics["gain"] == pytest.approx(metrics["augmented_accuracy"] - metrics["baseline_accuracy"])
    assert summary["data"]["cifar10"]["source"] == (
        "drawn scenes with ten kinds of thing; 300 for training, 100 for testing"
    )
    page = Page(html := (smoke / "report.html").read_text(encoding="utf-8"))
    assert_loads_nothing(html)
    assert_accessible(page)
    assert len(page.all("figure")) == 7
    assert "nan" not in page.text.split()
    assert sorted(path.name for path in (smoke / "models").iterdir()) == [
        "augmented.safetensors",
        "baseline.safetensors",
    ]


def test_mean_of_the_last_epochs(tmp_path: Path) -> None:
    assert cli.main([*RUN, "--set", "epochs=3", "--set", "last=2", "--out", str(tmp_path / "run")]) == 0
    metrics = metrics_of(tmp_path / "run")
    accuracy = {loop: [r["validation_accuracy"] for r in rows_of(tmp_path / "run") if r["loop"] == loop] for loop in
                ("baseline", "augmented")}  # fmt: skip
    for variant, values in accuracy.items():
        assert metrics[f"{variant}_accuracy"] == pytest.approx(np.mean(values[-2:]))
        assert metrics[f"{variant}_best"] == max(values)


def test_what_the_nets_are_given(tmp_path: Path) -> None:
    write(tmp_path / BINARY.folder, binary_files(batches(each=20)))
    data = prepare(a_run(tmp_path, train_examples=100, validation_examples=40, test_examples=20))
    loaded = cifar10.load(tmp_path)
    everything, labels = data.part("augmented")
    originals, same_labels = data.part("baseline")
    assert len(everything) == len(labels) == 240 and len(originals) == 60
    assert everything.dtype == np.float32 and everything.min() >= -1 and everything.max() <= 1
    np.testing.assert_array_equal(labels.reshape(4, 60), np.tile(same_labels, (4, 1)))

    known = {image.tobytes(): place for place, image in enumerate(loaded.train_images)}
    back = np.rint((originals + 1) * 127.5).astype(np.uint8)
    train = [known[image.tobytes()] for image in back]
    validation = [known[image.tobytes()] for image in data.raw]
    assert sorted(train + validation) == list(range(100)), "each is on one side"
    np.testing.assert_array_equal(loaded.train_labels[train], same_labels)
    np.testing.assert_array_equal(loaded.train_labels[validation], data.validation.labels)

    pixels = loaded.train_images[train] / 255
    for quarter, change in enumerate((augmentation.brighten, augmentation.darken, augmentation.mirror)):
        expected = 2 * change(pixels) - 1
        np.testing.assert_allclose(everything[60 * quarter : 60 * (quarter + 1)], expected, atol=1e-6)
    np.testing.assert_allclose(originals, 2 * pixels - 1, atol=1e-6)
    other = prepare(a_run(tmp_path, seed=1, train_examples=100, validation_examples=40, test_examples=20))
    assert not np.array_equal(other.validation.labels, data.validation.labels) or not np.array_equal(
        other.raw, data.raw
    )


def test_versions_are_the_same_in_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, binary_files(batches()))
    run = a_run(tmp_path, train_examples=100, validation_examples=40, test_examples=20)
    whole = prepare(run).images
    monkeypatch.setattr(data_augmentation, "SLICE", 7)
    np.testing.assert_array_equal(prepare(run).images, whole)


def test_both_nets_begin_with_the_same_weights() -> None:
    first, second = (cnn.new_net(10, Stream(0, "init"), "cpu").state_dict() for _ in range(2))
    assert all(np.array_equal(first[key], second[key]) for key in first)
    assert {key: value.shape for key, value in first.items() if key.endswith("weight")} == {
        "0.weight": (10, 3, 5, 5),
        "3.weight": (10, 10, 5, 5),
        "7.weight": (20, 640),
        "9.weight": (10, 20),
    }
    for key, inputs in (("0", 75), ("3", 250), ("7", 640)):
        assert first[f"{key}.weight"].std() == pytest.approx((2 / inputs) ** 0.5, rel=0.1), "He and others"
        assert not first[f"{key}.bias"].any()


def test_equal_updates() -> None:
    """Nine epochs of the augmented net have as many updates as 36 of the other, one as many as four."""
    loops: dict[str, Any] = {
        "baseline": SimpleNamespace(steps_per_epoch=25, epochs=36),
        "augmented": SimpleNamespace(steps_per_epoch=100, history=lambda name: np.arange(1.0, 37.0)),
    }
    assert at_equal_updates(loops, 1) == 9
    assert at_equal_updates(loops, 4) == 9
    assert at_equal_updates(loops, 12) == 8
    assert at_equal_updates(loops, 36) == 5


def test_saved_models_give_the_same_accuracy(smoke: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert cli.main(["evaluate", str(smoke)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    compared = {row[0]: row[1:] for row in rows if row[0].endswith("_test_accuracy")}
    assert set(compared) == {"baseline_test_accuracy", "augmented_test_accuracy"}
    assert all(now == before for now, before in compared.values())


def test_a_crash_leaves_no_trace(smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of an epoch of either net."""
    left = [6]
    monkeypatch.setattr(cnn, "train_step", dying(cnn.train_step, left))
    path = tmp_path / "run"
    with pytest.raises(CrashError):
        cli.main([*RUN, "--set", "checkpoint_steps=3", "--out", str(path)])
    left[0] = 20
    with pytest.raises(CrashError):
        cli.main(["resume", str(path), "--quiet"])
    left[0] = 10**6
    assert cli.main(["resume", str(path), "--quiet"]) == 0
    assert_same_run(path, smoke)


def test_on_a_device_that_refuses_to_mix_with_numpy(tmp_path: Path) -> None:
    strict_backend.install()
    few = ["--set", "train_examples=150", "--set", "test_examples=20", "--set", "epochs=1"]
    for device in ("cpu", "strict"):
        assert cli.main([*RUN, *few, "--device", device, "--out", str(tmp_path / device)]) == 0
    found, expected = (rows_of(tmp_path / device) for device in ("strict", "cpu"))
    for row, other in zip(found, expected, strict=True):
        assert row["train_loss"] == pytest.approx(other["train_loss"], abs=1e-4)


def test_real_layout(tmp_path: Path) -> None:
    write(tmp_path / "data" / BINARY.folder, binary_files(batches(each=60, test=100)))
    out = tmp_path / "run"
    assert cli.main([*RUN, "--data-dir", str(tmp_path / "data"), "--out", str(out)]) == 0
    source = summary_of(out)["data"]["cifar10"]["source"]
    assert source == "pictures in CIFAR-10's form, binary batches; 300 for training, 100 for testing"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["epochs=2", "last=3"], "setting last=3: more than the 2 epochs that there are"),
        (["batch=201"], "a batch of 201 is more than the 200 examples there are"),
        (["validation_examples=300"], "300 pictures to be held out, but there are only 300"),
        (["train_examples=6001"], "6,000 training pictures, expected at least 6,001"),
        (["train_examples=20", "validation_examples=10"], "expected all ten classes"),
        (["learning_rate=0"], "setting learning_rate=0"),
        (["epochs=0"], "setting epochs=0"),
    ],
)
def test_wrong_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: list[str], words: str) -> None:
    arguments = [part for setting in settings for part in ("--set", setting)]
    assert cli.main([*RUN, *arguments, "--out", str(tmp_path / "run")]) == 2
    assert words in one_error_line(capsys)


def test_no_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*RUN, "--data-dir", str(tmp_path), "--out", str(tmp_path / "run")]) == 2
    assert "holds no CIFAR-10, expected cifar-10-batches-py/ or cifar-10-python.tar.gz" in one_error_line(capsys)
