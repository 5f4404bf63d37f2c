"""notMNIST: fair comparisons, each technique by itself, saved nets, and that a run continues where it was."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tinygrad_hw as tg
from experiments.data import notmnist as loader
from experiments.data.warp import thickened, warped
from experiments.harness import cli
from experiments.letters.nets import BETTER, RECIPES, TECHNIQUES, WATCHED, Recipe, build
from experiments.letters.training import Learner, Letters, cross_entropy, judged, right, sizes_of, together
from experiments.notmnist import Config, letters_of
from experiments.vision import cnn
from tests import strict_backend
from tinygrad_hw import nn
from tinygrad_hw.random import Stream

from .runs import CrashError, assert_same_run, dying, metrics_of, rows_of, summary_of, timeless_metrics_of
from .test_cli import one_error_line
from .test_notmnist_data import draw, write_npz, write_png
from .test_report import Page, assert_accessible, assert_loads_nothing

RUN = ["run", "notmnist", "--profile", "smoke", "--quiet"]


def a_run(seed: int = 0, **changes: Any) -> Any:
    """What the parts below need of a run."""
    return SimpleNamespace(config=Config(**changes), device="cpu", stream=lambda name: Stream(seed, name))


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("smoke") / "run"
    assert cli.main([*RUN, "--check", "--out", str(path)]) == 0
    return path


def test_smoke_run(smoke: Path) -> None:
    metrics = metrics_of(smoke)
    rows = rows_of(smoke)
    assert list(dict.fromkeys(row["loop"] for row in rows)) == [
        loop for s in (0, 1) for loop in (*(f"{n}-seed{s}" for n in RECIPES), f"plain-seed{s}-2", f"better-seed{s}-2")
    ]
    assert metrics["accuracy"] == metrics["ensemble_accuracy"]
    for value, sign in (("accuracy", 1), ("loss", -1)):
        for key, before, after in (("alone", "plain", "ensemble_alone"), ("left_out", "better", "ensemble")):
            found = metrics[f"ensemble_{key}_{value}_{'gain' if key == 'alone' else 'cost'}"]
            assert found == pytest.approx(sign * (metrics[f"{after}_{value}"] - metrics[f"{before}_{value}"]))
    assert metrics["repeated_share"] == 0, "drawn letters are all different"
    assert metrics["accuracy_unseen"] == metrics["accuracy"]
    for name in TECHNIQUES:
        for value, sign in (("accuracy", 1), ("loss", -1)):
            alone = sign * (metrics[f"{name}_alone_{value}"] - metrics[f"plain_{value}"])
            left_out = sign * (metrics[f"better_{value}"] - metrics[f"without_{name}_{value}"])
            assert metrics[f"{name}_alone_{value}_gain"] == pytest.approx(alone)
            assert metrics[f"{name}_left_out_{value}_cost"] == pytest.approx(left_out)
    for row in rows:
        assert ("accuracy" in row) == (row["loop"].split("-")[0] in WATCHED)
    page = Page(html := (smoke / "report.html").read_text(encoding="utf-8"))
    assert_loads_nothing(html)
    assert_accessible(page)
    assert len(page.all("figure")) == 8
    assert "nan" not in page.text.split()


def test_saved_nets_are_measured_anew(smoke: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = metrics_of(smoke)
    assert cli.main(["evaluate", str(smoke)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    compared = {row[0]: row[1] for row in rows if row and row[0] in before}
    assert set(compared) == {
        f"{name}_seed{seed}_accuracy" for name in ("starter", "better", "ensemble") for seed in (0, 1)
    }
    for name, found in compared.items():
        assert float(found) == pytest.approx(before[name], abs=1e-4), name


def test_splits_are_apart_and_differ_by_seed() -> None:
    run, data = a_run(), loader.load(None, drawn=400)
    letters = letters_of(run, 0, data)
    assert (len(letters.train_labels), len(letters.labels)) == (278, 122)
    seen = [image.tobytes() for part in (letters.train_images, letters.images) for image in part]
    assert len(set(seen)) == 400
    assert letters.images.shape == (122, 1, 28, 28)
    assert letters.images.dtype == np.float32
    assert 0 <= letters.images.min() < letters.images.max() <= 1
    other = letters_of(run, 1, data)
    assert not np.array_equal(other.labels, letters.labels)


def test_recipes_differ_by_one_technique() -> None:
    for name in TECHNIQUES:
        for whole, part in ((RECIPES[f"{name}_alone"], Recipe()), (BETTER, RECIPES[f"without_{name}"])):
            assert [field for field in vars(whole) if getattr(whole, field) != getattr(part, field)] == [name]


def layers_of(name: str) -> list[nn.Module]:
    config = Config()
    return list(build(RECIPES[name], sizes_of(config), Stream(0, "init"), Stream(0, "masks")))


def kinds_of(name: str) -> list[str]:
    return [type(layer).__name__ for layer in layers_of(name)]


def test_nets_are_made_of_what_their_recipes_say() -> None:
    assert kinds_of("starter") == ["Flatten", "Linear", "Sigmoid", "Linear", "Sigmoid", "Linear"]
    assert [layer.weight.shape for layer in layers_of("starter") if isinstance(layer, nn.Linear)] == [
        (128, 784), (128, 128), (10, 128),
    ]  # fmt: skip
    assert kinds_of("plain") == ["Flatten", "Linear", "ReLU", "Linear", "ReLU", "Linear"]
    block = ["Conv2d", "BatchNorm2d", "ReLU"]
    pooled = [*block, *block, "MaxPool2d", "Dropout2d"]
    dense = ["Flatten", "Linear", "BatchNorm1d", "ReLU", "Dropout", "Linear"]
    assert kinds_of("better") == [*pooled, *pooled, *dense]
    for left_out, marks in (("batch_norm", "BatchNorm"), ("dropout", "Dropout"), ("convolution", "Conv")):
        assert kinds_of(f"without_{left_out}") != kinds_of("better")
        assert not any(kind.startswith(marks) for kind in kinds_of(f"without_{left_out}"))
    shapes = [layer.weight.shape for layer in layers_of("better") if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert shapes == [(32, 1, 3, 3), (32, 32, 3, 3), (64, 32, 3, 3), (64, 64, 3, 3), (256, 3136), (10, 256)]


def test_batch_normalisation_brings_the_bias() -> None:
    layers = layers_of("better")
    for layer, following in pairwise(layers):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            normal = isinstance(following, nn.BatchNorm1d | nn.BatchNorm2d)
            assert (layer.bias is None) == normal
    assert all(layer.bias is not None for layer in layers_of("without_batch_norm") if isinstance(layer, nn.Conv2d))


def test_first_weights_depend_on_the_seed_alone() -> None:
    run = a_run()
    nets = [Learner(run, 0, RECIPES[name], 5).net for name in ("better", "without_dropout", "without_augmentation")]
    for net in nets:
        np.testing.assert_array_equal(net[0].weight.data, nets[0][0].weight.data)
    assert not np.array_equal(Learner(run, 1, BETTER, 5).net[0].weight.data, nets[0][0].weight.data)


def test_members_of_an_ensemble_begin_and_draw_differently() -> None:
    one, other = (Learner(a_run(), 0, BETTER, 5, member) for member in (0, 1))
    assert not np.array_equal(one.net[0].weight.data, other.net[0].weight.data)
    for name in ("masks", "changes"):
        draws = [learner.tracked()[name].uniform((20,), 0.0, 1.0) for learner in (one, other)]
        assert not np.array_equal(*draws), name


def test_an_ensemble_gives_the_mean_of_the_probabilities() -> None:
    labels = np.array([0, 1, 1])
    letters = Letters(np.empty(0), labels, np.empty(0), labels, np.array([False, False, True]))
    first, second = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]]), np.array([[0.7, 0.3], [0.1, 0.9], [0.5, 0.5]])
    nets = [judged(nn.Sequential(), given, letters, {}, seconds) for given, seconds in ((first, 2.0), (second, 3.0))]
    found = together(nets, letters)
    np.testing.assert_allclose(found.probabilities, [[0.8, 0.2], [0.45, 0.55], [0.55, 0.45]])
    assert (found.accuracy, found.unseen_accuracy, found.seconds) == (pytest.approx(2 / 3), 1.0, 5.0)
    assert found.loss == pytest.approx(-np.log([0.8, 0.55, 0.45]).mean())
    assert found.net is nets[0].net


def test_schedule_rises_and_falls() -> None:
    learner = Learner(a_run(), 0, RECIPES["schedule_alone"], 30)
    images, labels = np.zeros((4, 1, 28, 28), np.float32), np.arange(4)
    rates = []
    for _ in range(30):
        rates.append(learner._optimizer.param_groups[0]["lr"])
        learner.step(images, labels)
    assert np.argmax(rates) == 8
    assert max(rates) == pytest.approx(Config().peak_learning_rate)
    assert rates[-1] < 1e-3 * max(rates)
    constant = Learner(a_run(), 0, RECIPES["plain"], 30)
    assert constant._optimizer.param_groups[0]["lr"] == Config().learning_rate


def test_augmentation_and_dropout_act_in_training_alone() -> None:
    images, labels = draw(12)
    pictures = images[:, None].astype(np.float32) / 255
    first = {name: Learner(a_run(), 0, RECIPES[name], 5).step(pictures, labels) for name in RECIPES}
    assert first["augmentation_alone"] != first["plain"]
    assert first["dropout_alone"] != first["plain"]
    assert first["schedule_alone"] == first["plain"], "it acts from the first update on"
    learner, held = Learner(a_run(), 0, BETTER, 5), cnn.Held.of(pictures, labels, "cpu")
    learner.step(pictures, labels)
    np.testing.assert_array_equal(held.probabilities(learner.net), held.probabilities(learner.net))
    assert learner.net.training


def test_measures() -> None:
    given = np.array([[0.5, 0.5, 0.0], [0.2, 0.2, 0.6], [1.0, 0.0, 0.0]], np.float32)
    assert right(given, np.array([0, 2, 1])) == pytest.approx(2 / 3)
    assert cross_entropy(given[:2], np.array([1, 2])) == pytest.approx(-(np.log(0.5) + np.log(0.6)) / 2)
    assert np.isfinite(cross_entropy(given, np.array([0, 2, 1]))), "a certain mistake costs much, not everything"


def test_warp_by_nothing_is_none() -> None:
    images = np.random.default_rng(0).random((5, 2, 9, 12), np.float32)
    np.testing.assert_allclose(warped(images, Stream(0, "a")), images, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_warp(dtype: Any) -> None:
    images = np.zeros((40, 1, 21, 21), dtype)
    images[:, :, 9:12, 9:12] = 1.0
    moved = warped(images, Stream(0, "a"), shift=3.0, turn=10.0, zoom=0.1, slant=0.1)
    assert moved.dtype == dtype
    assert moved.shape == images.shape
    assert moved.min() >= 0
    assert moved.max() <= 1 + 1e-6
    rows = (moved[:, 0].sum(axis=2) @ np.arange(21)) / moved[:, 0].sum(axis=(1, 2))
    assert 6.5 < rows.min() < 8.5 < 11.5 < rows.max() < 13.5, "moved by up to three rows either way, and enlarged"
    np.testing.assert_array_equal(moved, warped(images, Stream(0, "a"), shift=3.0, turn=10.0, zoom=0.1, slant=0.1))


def test_warp_turns_about_the_middle() -> None:
    """By as much as the stream says: a bar's direction tells."""
    images = np.zeros((30, 1, 41, 41))
    images[:, :, 20, 5:36] = 1.0
    turned = warped(images, Stream(0, "a"), turn=40.0)[:, 0]
    rows, columns = np.mgrid[:41, :41] - 20.0
    directions = np.arctan2((turned * rows * columns).sum(axis=(1, 2)), (turned * columns**2).sum(axis=(1, 2)))
    angles = np.deg2rad(40.0) * Stream(0, "a").uniform((6, 30, 1, 1), -1.0, 1.0)[0, :, 0, 0]
    np.testing.assert_allclose(np.abs(directions), np.abs(angles), atol=0.01)
    assert abs(np.corrcoef(directions, angles)[0, 1]) > 0.999


def test_thickness() -> None:
    images = np.zeros((50, 1, 9, 9), np.float32)
    images[:, :, 3:6] = 1.0
    changed = thickened(images, Stream(0, "a"), 0.5)
    assert changed.dtype == np.float32
    amounts = Stream(0, "a").uniform((50, 1, 1, 1), -0.5, 0.5)[:, 0, 0, 0]
    np.testing.assert_allclose(changed[:, 0, 2, 4], np.maximum(amounts, 0), atol=1e-6)
    np.testing.assert_allclose(changed[:, 0, 3, 4], 1 + np.minimum(amounts, 0), atol=1e-6)
    np.testing.assert_allclose(changed[:, 0, 4, 4], 1.0)
    np.testing.assert_array_equal(thickened(images, Stream(0, "a"), 0.0), images)


def test_a_crash_leaves_no_trace(smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of the plain net, and again in the better one with everything on at once."""
    left = [14 + 5]
    monkeypatch.setattr(Learner, "step", dying(Learner.step, left))
    path = tmp_path / "run"
    crashed: Callable[[], int] = lambda: cli.main([*RUN, "--set", "checkpoint_steps=2", "--out", str(path)])
    with pytest.raises(CrashError):
        crashed()
    left[0] = 14 * 11 + 5
    with pytest.raises(CrashError):
        cli.main(["resume", str(path), "--quiet"])
    left[0] = 10**6
    assert cli.main(["resume", str(path), "--quiet"]) == 0
    assert_same_run(path, smoke)


def test_on_a_device_that_refuses_to_mix_with_numpy(tmp_path: Path) -> None:
    strict_backend.install()
    options = ["--set", "seeds=1", "--set", "epochs=1", "--set", "drawn=100"]
    for device in ("cpu", "strict"):
        assert cli.main([*RUN, *options, "--device", device, "--out", str(tmp_path / device)]) == 0
    found, expected = (timeless_metrics_of(tmp_path / device) for device in ("strict", "cpu"))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        # An answer that two classes share nearly equally may go either way.
        assert found[name] == pytest.approx(value, abs=0.1 if "accuracy" in name or "gain" in name else 1e-3), name


def test_skipped_files_are_in_the_report(tmp_path: Path) -> None:
    folder = write_png(tmp_path / "data" / "notMNIST_small", *draw(200))
    (folder / "A" / "broken.png").write_bytes(b"")
    out = tmp_path / "run"
    options = ["--set", "seeds=1", "--set", "epochs=1", "--data-dir", str(tmp_path / "data"), "--out", str(out)]
    assert cli.main([*RUN, *options]) == 0
    source = summary_of(out)["data"]["notmnist"]["source"]
    assert source == "200 letters of notMNIST, PNG files; 1 unreadable file skipped"
    text = Page((out / "report.html").read_text(encoding="utf-8")).text
    assert "Skipped, since they could not be read as pictures (1): A/broken.png" in " ".join(text.split())


def test_repeated_pictures_are_reported(tmp_path: Path) -> None:
    images, labels = draw(200)
    images[labels == 8] = 255
    write_npz(tmp_path / "notmnist", images, labels)
    out = tmp_path / "run"
    options = ["--set", "seeds=1", "--set", "epochs=1", "--data-dir", str(tmp_path), "--out", str(out)]
    assert cli.main([*RUN, *options]) == 0
    metrics = metrics_of(out)
    assert 0.05 < metrics["repeated_share"] < 0.2
    assert "of the validation letters are training letters as well" in (out / "report.html").read_text()


def test_bad_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*RUN, "--data-dir", str(tmp_path), "--out", str(tmp_path / "run")]) == 2
    assert "holds no notMNIST, expected folders A to J of PNG files" in one_error_line(capsys)
    images, labels = draw(60)
    write_npz(tmp_path, images, np.where(labels == 4, 5, labels))
    assert cli.main([*RUN, "--data-dir", str(tmp_path), "--out", str(tmp_path / "run2")]) == 2
    assert "0 letters E for training, expected A to J" in one_error_line(capsys)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("batch=140", "a batch of 140 is more than the 139 examples there are"),
        ("batch=1", "setting batch=1"),
        ("dropout=0.5", "setting dropout="),
        ("dropout=0.1,1", "setting dropout="),
        ("channels=4", "setting channels="),
        ("shift=-1", "setting shift=-1"),
        ("drawn=10", "setting drawn=10"),
    ],
)
def test_wrong_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str, message: str) -> None:
    assert cli.main([*RUN, "--set", setting, "--out", str(tmp_path / "run")]) == 2
    assert message in one_error_line(capsys)


def test_one_seed_is_enough(tmp_path: Path) -> None:
    assert cli.main([*RUN, "--set", "seeds=1", "--set", "epochs=1", "--out", str(tmp_path / "run")]) == 0
    assert metrics_of(tmp_path / "run")["better_accuracy_spread"] == 0


def test_gradients_reach_every_weight() -> None:
    images, labels = draw(20)
    learner = Learner(a_run(), 0, BETTER, 5)
    before = {name: value.copy() for name, value in learner.net.state_dict().items()}
    learner.step(images[:, None].astype(np.float32) / 255, labels)
    for name, value in learner.net.state_dict().items():
        assert not np.array_equal(value, before[name]), name
    with tg.no_grad():
        assert learner.net(tg.Tensor(np.zeros((2, 1, 28, 28), np.float32))).shape == (2, 10)
