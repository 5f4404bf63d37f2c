"""Self-supervision: the made-up classes, what is transferred at which rate, and that a run continues where it was."""

from pathlib import Path

import numpy as np
import pytest

import tinygrad_hw as tg
from experiments.data import augmentation, cifar10
from experiments.harness import cli
from experiments.self_supervised import new_optimizer, transfer
from experiments.self_supervision.ways import turned
from experiments.vision import cnn
from tests import strict_backend
from tinygrad_hw import serialization
from tinygrad_hw.random import Stream

from .data.cifar_files import BINARY, batches, binary_files, write
from .runs import CrashError, assert_same_run, dying, loops_of, metrics_of, rows_of, summary_of
from .test_cli import one_error_line
from .test_report import Page, assert_accessible, assert_loads_nothing

RUN = ["run", "self_supervised", "--profile", "smoke", "--quiet"]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("smoke") / "run"
    assert cli.main([*RUN, "--check", "--out", str(path)]) == 0
    return path


def test_smoke_run(smoke: Path) -> None:
    metrics = metrics_of(smoke)
    rows = rows_of(smoke)
    assert [(row["loop"], row["epoch"], row["step"]) for row in rows] == [
        ("pretext", 1, 12),
        *(("baseline", epoch, epoch) for epoch in (1, 2, 3, 4)),
        *(("finetuned", epoch, epoch) for epoch in (1, 2, 3, 4)),
    ]
    tested = {(row["loop"], row["epoch"]): row["test_accuracy"] for row in rows if "test_accuracy" in row}
    assert set(tested) == {(variant, epoch) for variant in ("baseline", "finetuned") for epoch in (2, 4)}
    for variant in ("baseline", "finetuned"):
        values = [tested[variant, epoch] for epoch in (2, 4)]
        assert (metrics[f"{variant}_best"], metrics[f"{variant}_final"]) == (max(values), values[-1])
        assert metrics[f"{variant}_best_epoch"] == (2, 4)[int(np.argmax(values))]
    for which in ("best", "final"):
        gain = metrics[f"finetuned_{which}"] - metrics[f"baseline_{which}"]
        assert metrics[f"{which}_gain"] == pytest.approx(gain)
    assert (metrics["labelled_fewest"], metrics["labelled_most"]) == (10, 10)
    page = Page(html := (smoke / "report.html").read_text(encoding="utf-8"))
    assert_loads_nothing(html)
    assert_accessible(page)
    assert len(page.all("figure")) == 6
    assert "nan" not in page.text.split()
    assert "10 of each class" in page.text


def test_accuracy_of_the_pretext_net(smoke: Path) -> None:
    """Measured here once more, each way by itself: scaled once, and turned as the labels say."""
    net = cnn.new_net(3, Stream(0, "any"), "cpu")
    net.load_state_dict(serialization.load(smoke / "models" / "pretext.safetensors"))
    images = cifar10.load(None, train=10, test=100).test_images
    logits = []
    for turn in (lambda x: x, lambda x: x[..., ::-1, :], lambda x: np.rot90(x, axes=(2, 3))):
        scaled = np.ascontiguousarray(turn(images)) / np.float32(127.5) - 1
        logits.append(net(tg.Tensor(scaled)).data)
    held = cnn.Held.of(*turned(images), "cpu")
    np.testing.assert_allclose(held.logits(net), np.concatenate(logits), atol=1e-4)
    right = sum(int((made.argmax(axis=1) == way).sum()) for way, made in enumerate(logits))
    metrics = metrics_of(smoke)
    assert metrics["pretext_test_accuracy"] == pytest.approx(right / 300, abs=0.01)


def test_the_made_up_classes() -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 3, 32, 32), np.uint8)
    made, ways = turned(images)
    assert made.shape == (36, 3, 32, 32) and made.dtype == np.uint8
    np.testing.assert_array_equal(ways, [0] * 12 + [1] * 12 + [2] * 12)
    upright, flipped, rotated = made.reshape(3, *images.shape)
    np.testing.assert_array_equal(upright, images)
    np.testing.assert_array_equal(flipped, images[:, :, ::-1])
    np.testing.assert_array_equal(rotated[:, :, 0], images[:, :, :, -1], "the right-hand side has come to the top")
    np.testing.assert_array_equal(rotated, augmentation.rotate90(images))


def test_all_but_the_last_layer_is_transferred() -> None:
    net, pretext = cnn.new_net(10, Stream(0, "init"), "cpu"), cnn.new_net(3, Stream(0, "other"), "cpu")
    before, other = net.state_dict(), pretext.state_dict()
    transfer(net, pretext)
    for key, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[key] if key.startswith("9.") else other[key])
    assert {key for key in before if key.startswith("9.")} == {"9.weight", "9.bias"}


def test_each_part_learns_at_its_own_rate() -> None:
    """Adam's first update is its rate times the sign of the gradient, whatever the gradient's size."""
    images = np.random.default_rng(0).random((40, 3, 32, 32), dtype=np.float32) * 2 - 1
    for transfer_rate in (1e-5, 0.0, None):
        net = cnn.new_net(10, Stream(0, "init"), "cpu")
        before = net.state_dict()
        cnn.train_step(net, new_optimizer(net, 1e-3, transfer_rate), images, np.arange(40) % 10)
        for key, value in net.state_dict().items():
            rate = 1e-3 if key.startswith("9.") or transfer_rate is None else transfer_rate
            assert np.abs(value - before[key]).max() == pytest.approx(rate, rel=0.05, abs=1e-9), key


def test_finetuning_begins_from_the_pretext_net(smoke: Path, tmp_path: Path) -> None:
    """With the rate of what was transferred at zero, the saved net has the pretext net's layers to the bit."""
    assert cli.main([*RUN, "--set", "transfer_rate=0", "--out", str(tmp_path / "run")]) == 0
    pretext, finetuned, baseline = (
        serialization.load(tmp_path / "run" / "models" / f"{name}.safetensors")
        for name in ("pretext", "finetuned", "baseline")
    )
    for key in finetuned:
        assert np.array_equal(finetuned[key], pretext[key]) != key.startswith("9.")
    assert not np.array_equal(baseline["0.weight"], pretext["0.weight"])


@pytest.mark.parametrize("by_file", [False, True])
def test_pretext_net_of_another_run(smoke: Path, tmp_path: Path, by_file: bool) -> None:
    given = smoke / "models" / "pretext.safetensors" if by_file else smoke
    path = tmp_path / "run"
    assert cli.main([*RUN, "--set", f"pretext={given}", "--out", str(path)]) == 0
    own, other = ([r for r in rows_of(folder) if r["loop"] != "pretext"] for folder in (path, smoke))
    assert own == other, "the same net, through its file, leads to the same"
    assert not any(row["loop"] == "pretext" for row in rows_of(path))
    summary = summary_of(path)
    assert summary["data"]["pretext net"]["source"].endswith("pretext.safetensors")
    assert "in another run" in Page((path / "report.html").read_text(encoding="utf-8")).text
    assert cli.main(["evaluate", str(path)]) == 0


def test_pretext_net_that_cannot_be_used(smoke: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("hello")
    (tmp_path / "empty").mkdir()
    cases = {
        tmp_path / "nowhere": "nowhere: No such file",
        tmp_path / "empty": "pretext.safetensors: No such file",
        tmp_path / "text": "not a safetensors file",
        smoke / "models" / "baseline.safetensors": "9.weight",
    }
    for number, (given, words) in enumerate(cases.items()):
        assert cli.main([*RUN, "--set", f"pretext={given}", "--out", str(tmp_path / f"run{number}")]) == 2
        line = one_error_line(capsys)
        assert f"setting pretext={given}: " in line and words in line


def test_saved_models_give_the_same_accuracy(smoke: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert cli.main(["evaluate", str(smoke)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    compared = {
        row[0]: row[1:] for row in rows if row[0] in ("pretext_test_accuracy", "baseline_final", "finetuned_final")
    }
    assert len(compared) == 3
    assert all(now == before for now, before in compared.values())


def test_a_crash_leaves_no_trace(smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the pretext net's epoch, and again while fine-tuning."""
    left = [7]
    monkeypatch.setattr(cnn, "train_step", dying(cnn.train_step, left))
    path = tmp_path / "run"
    with pytest.raises(CrashError):
        cli.main([*RUN, "--set", "checkpoint_steps=2", "--out", str(path)])
    left[0] = 6 + 4 + 3
    with pytest.raises(CrashError):
        cli.main(["resume", str(path), "--quiet"])
    assert loops_of(path)["finetuned"].position == 2
    left[0] = 10**6
    assert cli.main(["resume", str(path), "--quiet"]) == 0
    assert_same_run(path, smoke)


def test_small_batches(tmp_path: Path) -> None:
    assert cli.main([*RUN, "--set", "batch=30", "--out", str(tmp_path / "run")]) == 0
    assert [r["step"] for r in rows_of(tmp_path / "run") if r["loop"] == "baseline"] == [4, 8, 12, 16]


def test_on_a_device_that_refuses_to_mix_with_numpy(tmp_path: Path) -> None:
    strict_backend.install()
    few = ["--set", "train_examples=120", "--set", "test_examples=20", "--set", "epochs=2"]
    for device in ("cpu", "strict"):
        assert cli.main([*RUN, *few, "--device", device, "--out", str(tmp_path / device)]) == 0
    found, expected = (rows_of(tmp_path / device) for device in ("strict", "cpu"))
    for row, other in zip(found, expected, strict=True):
        assert row["train_loss"] == pytest.approx(other["train_loss"], abs=1e-4)


def test_labelled_pictures_that_are_not_even(tmp_path: Path) -> None:
    """As in CIFAR-10 itself: the report says how many of each class there are."""
    arrays = batches(each=60, test=100)
    arrays["data_batch_5"][1][-8:] = 3
    write(tmp_path / "data" / BINARY.folder, binary_files(arrays))
    out = tmp_path / "run"
    assert cli.main([*RUN, "--data-dir", str(tmp_path / "data"), "--out", str(out)]) == 0
    metrics = metrics_of(out)
    assert (metrics["labelled_fewest"], metrics["labelled_most"]) == (9, 17)
    page = Page((out / "report.html").read_text(encoding="utf-8"))
    assert "not 10 of each class, but 9 to 17" in " ".join(page.text.split())


def test_class_without_labelled_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = batches(each=60, test=100)
    for name in ("data_batch_4", "data_batch_5"):
        labels = arrays[name][1]
        labels[labels == 6] = 5
    write(tmp_path / "data", binary_files(arrays))
    assert cli.main([*RUN, "--data-dir", str(tmp_path / "data"), "--out", str(tmp_path / "run")]) == 2
    assert "no picture of class 6 among the last 100 of the training set" in one_error_line(capsys)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("every=5", "setting every=5: more than the 4 epochs that there are"),
        ("labelled_examples=300", "300 labelled pictures wanted of 300, which leaves no others"),
        ("batch=101", "a batch of 101 is more than the 100 examples there are"),
        ("pretext_batch=601", "a batch of 601 is more than the 600 examples there are"),
        ("transfer_rate=-1", "setting transfer_rate=-1"),
    ],
)
def test_wrong_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str, words: str) -> None:
    assert cli.main([*RUN, "--set", setting, "--out", str(tmp_path / "run")]) == 2
    assert words in one_error_line(capsys)
