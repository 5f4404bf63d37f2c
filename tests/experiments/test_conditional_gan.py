"""The conditional GAN: how the two nets take turns, what a run leaves behind, that a crash leaves no trace."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from experiments.conditional_gan import DISCRIMINATOR, GENERATOR, Config, new_discriminator, new_generator
from experiments.data import mnist
from experiments.gan.assessment import Examiner
from experiments.gan.digits import Digits, Split, pictures, scaled
from experiments.gan.judge import Judge
from experiments.gan.losses import Loss
from experiments.gan.nets import Discriminator, Generator
from experiments.gan.training import Adversaries, Rules
from experiments.harness import cli
from tests import strict_backend
from tinygrad_hw import nn, no_grad, serialization
from tinygrad_hw.random import Stream

from .idx_files import TEST_LABELS, TRAIN_LABELS, digits, write
from .runs import CrashError, assert_same_run, loops_of, metrics_of, rows_of
from .test_cli import one_error_line
from .test_report import Page, assert_accessible, assert_loads_nothing

RUN = ["run", "conditional_gan", "--profile", "smoke", "--quiet"]
LOSSES: tuple[Loss, ...] = ("non-saturating", "wgan-gp")


@pytest.fixture(scope="module", autouse=True)
def embedded_digits_are_read_once() -> Iterator[None]:
    """They take two seconds, and twenty runs below read them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mnist, "_embedded", cache(mnist._embedded))
        yield


def a_run(seed: int = 0, **changes: Any) -> Any:
    """What the nets need of a run."""
    return SimpleNamespace(config=Config(**changes), device="cpu", stream=lambda name: Stream(seed, name))


def rules(loss: Loss = "non-saturating", critic_steps: int = 1, average: float = 0.9, **changes: Any) -> Rules:
    values = {"learning_rate": 0.01, "beta1": 0.5, "smoothing": 0.0, "penalty": 10.0, **changes}
    return Rules(loss=loss, critic_steps=critic_steps, average=average, **values)


def small_nets(what: Rules) -> Adversaries:
    """Three numbers of noise and two classes to four pixels."""
    nets = [Generator((3, 8, 4), 2, Stream(seed, "generator")) for seed in (0, 1)]
    discriminator = Discriminator((4, 32), 2, 0.2, Stream(0, "discriminator"), Stream(0, "masks"))
    return Adversaries(a_run(), "small", *nets, discriminator, what)


def state(net: nn.Module) -> dict[str, np.ndarray]:
    return {key: array.copy() for key, array in net.state_dict().items()}


def changed(net: nn.Module, before: dict[str, np.ndarray]) -> bool:
    return any(not np.array_equal(array, before[key]) for key, array in net.state_dict().items())


CLASSES = np.eye(2, dtype=np.float32)[np.arange(6) % 2]
REAL = np.stack([CLASSES[:, 0], CLASSES[:, 1], CLASSES[:, 1], CLASSES[:, 0]], axis=1) * 2 - 1


@pytest.mark.parametrize("loss", LOSSES)
def test_the_nets_take_turns(loss: Loss) -> None:
    nets = small_nets(rules(loss, critic_steps=3))
    for index in range(6):
        before = {net: state(net) for net in (nets.generator, nets.average, nets.discriminator)}
        values = nets.step(index / 6, index, (REAL, CLASSES), CLASSES, CLASSES)
        teaches = index % 3 == 0
        assert changed(nets.discriminator, before[nets.discriminator])
        assert changed(nets.generator, before[nets.generator]) == teaches
        assert changed(nets.average, before[nets.average]) == teaches
        assert ("generator_loss" in values) == teaches
        assert ({"distance", "penalty"} <= values.keys()) == (loss == "wgan-gp")


def test_running_mean_of_the_weights() -> None:
    nets = small_nets(rules(average=0.25))
    assert not changed(nets.average, state(nets.generator)), "it begins as a copy"
    expected = state(nets.generator)
    for index in range(4):
        nets.step(0.0, index, (REAL, CLASSES), CLASSES, CLASSES)
        kept = min(0.25, (1 + index) / (10 + index))
        expected = {key: kept * expected[key] + (1 - kept) * array for key, array in state(nets.generator).items()}
    for key, array in nets.average.state_dict().items():
        np.testing.assert_allclose(array, expected[key], atol=1e-6)


def test_what_is_added_to_the_generators_loss_counts() -> None:
    nets = [small_nets(rules()) for _ in range(2)]
    plain = nets[0].step(0.0, 0, (REAL, CLASSES), CLASSES, CLASSES)
    added = nets[1].step(0.0, 0, (REAL, CLASSES), CLASSES, CLASSES, extra=lambda fakes: 100.0 * (fakes * fakes).mean())
    assert added["generator_loss"] == plain["generator_loss"]
    assert added["extra"] > 0
    assert not changed(nets[0].discriminator, state(nets[1].discriminator))
    assert changed(nets[0].generator, state(nets[1].generator))


def test_learning_rate_falls_to_zero_at_the_end() -> None:
    nets = small_nets(rules())
    nets.step(0.0, 0, (REAL, CLASSES), CLASSES, CLASSES)
    before = state(nets.generator), state(nets.discriminator)
    nets.step(1.0, 1, (REAL, CLASSES), CLASSES, CLASSES)
    assert not changed(nets.generator, before[0])
    assert not changed(nets.discriminator, before[1])


@pytest.mark.parametrize("loss", LOSSES)
def test_two_small_nets_learn_two_classes(loss: Loss) -> None:
    """Each class has one picture: the generator must find both, each for its class."""
    nets = small_nets(rules(loss, learning_rate=0.01, average=0.98))
    for index in range(600):
        nets.step(index / 600, index, (REAL, CLASSES), CLASSES, CLASSES)
    with no_grad():
        drawn = nets.average(Stream(5, "noise").normal((6, 3)), CLASSES).numpy()
    np.testing.assert_allclose(drawn, REAL, atol=0.4)


def test_accuracies_of_the_discriminator() -> None:
    """As its first outputs have it: one that always says real is right on real pictures alone."""
    nets = small_nets(rules())
    last = list(nets.discriminator.layers.children())[-1]
    assert isinstance(last, nn.Linear) and last.bias is not None
    for value, expected in ((50.0, (1.0, 0.0)), (-50.0, (0.0, 1.0))):
        nn.init.constant_(last.bias, value)
        values = nets.step(1.0, 0, (REAL, CLASSES), CLASSES, CLASSES)
        assert (values["real_accuracy"], values["fake_accuracy"]) == expected


def test_sizes_are_those_of_the_problem() -> None:
    def sizes(net: Any) -> list[int]:
        layers = [layer for layer in net.layers.children() if isinstance(layer, nn.Linear)]
        return [layers[0].in_features, *(layer.out_features for layer in layers)]

    run = a_run()
    assert sizes(new_generator(run)) == [110, 200, 400, 784]
    discriminator = new_discriminator(run, Stream(0, "masks"))
    assert sizes(discriminator) == [794, 400, 200, 100, 1]
    assert sum(isinstance(layer, nn.Dropout) for layer in discriminator.layers.children()) == 3
    assert GENERATOR[-1] == DISCRIMINATOR[0]


def test_examiner_knows_copies_collapse_and_wrong_classes() -> None:
    """Three generators that need no training: real digits to order, one digit a class, and the next class."""
    loaded = mnist.load(None, test=500)
    train, test = (
        Split(scaled(images, "cpu"), labels)
        for images, labels in (
            (loaded.train_images, loaded.train_labels),
            (loaded.test_images, loaded.test_labels),
        )
    )
    judge = Judge("cpu", Stream(0, "init"), Stream(0, "masks"))
    places = {digit: np.flatnonzero(train.labels == digit) for digit in range(10)}

    def real(wanted: np.ndarray, by: int = 0, most: int = 400) -> np.ndarray:
        counts = dict.fromkeys(range(10), 0)
        chosen = []
        for digit in (wanted + by) % 10:
            chosen.append(places[digit][counts[digit] % most])
            counts[digit] += 1
        return train.pixels[chosen]

    known = {row.tobytes(): label for row, label in zip(train.pixels, train.labels, strict=True)}
    judge.predictions = lambda pixels: np.array([known[row.tobytes()] for row in pixels])  # type: ignore[method-assign]
    examiner = Examiner(judge, Digits(train, test))
    copies = examiner.assess(real, 12)
    assert copies.metrics()["conditional_accuracy"] == 1
    assert copies.copying == pytest.approx(0, abs=1e-3)
    assert copies.metrics()["diversity"] == pytest.approx(1, abs=0.35)
    assert copies.frechet < 3 * copies.floor

    collapsed = examiner.assess(lambda wanted: real(wanted, most=1), 12)
    assert collapsed.metrics()["conditional_accuracy"] == 1
    assert collapsed.metrics()["diversity"] == pytest.approx(0, abs=1e-6)
    assert collapsed.frechet > 3 * copies.frechet

    wrong = examiner.assess(lambda wanted: real(wanted, by=1), 12)
    assert wrong.metrics()["conditional_accuracy"] == 0
    assert wrong.metrics()["diversity"] == 0, "what is read as another class is no variety"


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("smoke") / "run"
    assert cli.main([*RUN, "--check", "--out", str(path)]) == 0
    return path


def test_smoke_run(smoke: Path) -> None:
    metrics = metrics_of(smoke)
    assert metrics.keys() >= {
        "judge_accuracy", "conditional_accuracy", "diversity", "frechet_distance", "frechet_distance_floor"
    }  # fmt: skip
    rows = rows_of(smoke)
    assert [(row["loop"], row["epoch"]) for row in rows] == [("judge", 1), ("judge", 2), ("gan", 1), ("gan", 2)]
    assert rows[-1].keys() >= {"real_accuracy", "fake_accuracy", "discriminator_loss", "generator_loss"}
    page = Page(html := (smoke / "report.html").read_text(encoding="utf-8"))
    assert_loads_nothing(html)
    assert_accessible(page)
    assert len(page.all("figure")) == 6
    assert "nan" not in page.text.split()


def test_the_saved_generator_gives_the_same_again(smoke: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert cli.main(["evaluate", str(smoke)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    compared = {row[0]: row[1:] for row in rows if len(row) == 3}
    assert compared.keys() >= {"judge_accuracy", "conditional_accuracy", "diversity", "frechet_distance"}
    assert all(now == before for name, (now, before) in compared.items() if name != "metric")
    arrays = serialization.load(smoke / "models" / "generator.safetensors")
    assert arrays["layers.0.weight"].shape == (200, 110)


def test_classes_are_balanced_and_shown_samples_are_kept(smoke: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = loops_of(smoke)["gan"].arrays
    samples = arrays["samples"]
    assert samples.shape == (2, 10, 784)
    assert (np.abs(samples).max(axis=2) > 0.1).all()
    assert not np.array_equal(*samples)
    seen = []

    def step(self: Any, progress: float, index: int, real: Any, given: Any, told: Any) -> dict[str, float]:
        np.testing.assert_array_equal(given, told)
        seen.append((given.sum(axis=0), given.argmax(axis=1)))
        return dict.fromkeys(("real_accuracy", "fake_accuracy", "discriminator_loss", "generator_loss"), 0.5)

    monkeypatch.setattr(Adversaries, "step", step)
    assert cli.main([*RUN, "--out", str(smoke.parent / "still")]) == 0
    assert len(seen) == 12
    assert all((counts == 5).all() for counts, _ in seen)
    assert not np.array_equal(seen[0][1], seen[1][1]), "in random order"


def test_wgan_gp_run(tmp_path: Path) -> None:
    path = tmp_path / "run"
    assert cli.main([*RUN, "--set", "loss=wgan-gp", "--set", "critic_steps=2", "--out", str(path)]) == 0
    rows = rows_of(path)
    assert rows[-1].keys() >= {"distance", "penalty", "real_accuracy"}
    text = Page((path / "report.html").read_text(encoding="utf-8")).text
    assert "critic" in text
    assert "nan" not in text.split()


@pytest.mark.parametrize("loss", LOSSES)
def test_ten_crashes_leave_no_trace(loss: Loss, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two optimisers, the running mean, noise, masks, labels: all go on where they were."""
    settings = ["--set", f"loss={loss}", "--set", "epochs=5", "--set", "checkpoint_steps=2", "--set", "critic_steps=2"]
    whole, crashed = tmp_path / "whole", tmp_path / "crashed"
    assert cli.main([*RUN, *settings, "--out", str(whole)]) == 0
    step, made, deaths = Adversaries.step, [0], sorted(np.random.default_rng(4).choice(np.arange(1, 29), 10, False))

    def dying(nets: Adversaries, progress: float, index: int, *batch: Any) -> dict[str, float]:
        values = step(nets, progress, index, *batch)  # dies after the update, which is lost
        if made[0] < len(deaths) and index == deaths[made[0]]:
            made[0] += 1
            raise CrashError
        return values

    monkeypatch.setattr(Adversaries, "step", dying)
    with pytest.raises(CrashError):
        cli.main([*RUN, *settings, "--out", str(crashed)])
    for _ in deaths[1:]:
        with pytest.raises(CrashError):
            cli.main(["resume", str(crashed), "--quiet"])
    assert cli.main(["resume", str(crashed), "--quiet"]) == 0
    assert made[0] == 10
    assert_same_run(crashed, whole)
    loops = loops_of(crashed)
    assert list(loops) == ["judge", "gan"]
    keys = loops["gan"].arrays.keys()
    for part in ("generator/", "average/", "discriminator/", "generator optimizer/", "discriminator optimizer/"):
        assert any(key.startswith(part) for key in keys), part
    models = [serialization.load(path / "models" / "generator.safetensors") for path in (whole, crashed)]
    assert all(array.tobytes() == models[1][key].tobytes() for key, array in models[0].items())


@pytest.mark.parametrize("loss", LOSSES)
def test_on_a_device_that_refuses_to_mix_with_numpy(loss: Loss, tmp_path: Path) -> None:
    strict_backend.install()
    for device in ("cpu", "strict"):
        changes = ["--set", "epochs=1", "--set", f"loss={loss}", "--device", device]
        assert cli.main([*RUN, *changes, "--out", str(tmp_path / device)]) == 0
    found, expected = (metrics_of(tmp_path / d) for d in ("strict", "cpu"))
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_a_batch_larger_than_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*RUN, "--set", "batch=301", "--out", str(tmp_path / "run")]) == 2
    assert "batch=301: larger than the training set, which has 300 digits" in one_error_line(capsys)


@pytest.mark.parametrize(("file", "name"), [(TRAIN_LABELS, "training"), (TEST_LABELS, "test")])
def test_a_class_that_is_missing(file: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = digits(train=300, test=100)
    arrays[file][arrays[file] == 7] = 1
    write(tmp_path / "data" / "mnist", arrays)
    assert cli.main([*RUN, "--data-dir", str(tmp_path / "data"), "--out", str(tmp_path / "run")]) == 2
    assert f"0 {name} digits of class 7, expected at least" in one_error_line(capsys)


def test_a_single_test_digit_of_a_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*RUN, "--set", "test_examples=10", "--out", str(tmp_path / "run")]) == 2
    assert "1 test digits of class 0, expected at least 2 of each" in one_error_line(capsys)


def test_more_critic_steps_than_batches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*RUN, "--set", "critic_steps=7", "--out", str(tmp_path / "run")]) == 2
    assert "critic_steps=7: more than the 6 batches of an epoch" in one_error_line(capsys)


@pytest.mark.parametrize(
    "setting", ["penalty=-1", "loss=wgan", "dropout=1", "batch=1", "smoothing=-0.1", "epochs=0", "average=1"]
)
def test_wrong_settings(setting: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*RUN, "--set", setting, "--out", str(tmp_path / "run")]) == 2
    assert f"setting {setting.partition('=')[0]}=" in one_error_line(capsys)
    assert not (tmp_path / "run").exists()


def test_pictures_have_the_pixels_of_digits() -> None:
    images = mnist.load(None).test_images[:3]
    pixels = scaled(images, "cpu")
    assert pixels.dtype == np.float32
    assert (pixels.min(), pixels.max()) == (-1, 1)
    np.testing.assert_array_equal(np.round((pictures(pixels) + 1) * 127.5), images)
