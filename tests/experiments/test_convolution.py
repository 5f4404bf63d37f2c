"""The tour of convolution: what it claims holds, fails when the engine is wrong, and is resumed bit for bit."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from experiments import convolution
from experiments.data import mnist
from experiments.harness import cli
from experiments.tour import fields, filters, flipping, geometry, matrix, sharing, translation
from tests import strict_backend
from tinygrad_hw import Tensor
from tinygrad_hw import functional as F
from tinygrad_hw.random import Stream

from .idx_files import TEST_LABELS, digits, write
from .runs import CrashError, assert_same_run, dying, metrics_of, summary_of
from .test_cli import one_error_line
from .test_report import Page, assert_accessible, assert_loads_nothing

RUN = ["run", "convolution", "--profile", "smoke", "--quiet"]


def a_run(**changes: Any) -> Any:
    """What the stops of the tour need of a run; its loops take the examples in order."""
    run = SimpleNamespace(config=convolution.Config(**changes), device="cpu", stream=lambda name: Stream(0, name))
    run.metrics = {}
    run.metric = run.metrics.update
    run.loop = steps
    return run


def steps(name: str, track: dict[str, Any], *, epochs: int, examples: int, batch: int) -> Iterator[SimpleNamespace]:
    for epoch in range(1, epochs + 1):
        for start in range(0, examples, batch):
            indices = np.arange(start, min(start + batch, examples))
            ends = start + batch >= examples
            yield SimpleNamespace(epoch=epoch, indices=indices, ends_epoch=ends, mean=lambda **values: None)


def some_pictures() -> np.ndarray:
    return np.random.default_rng(0).random((2, 1, 28, 28))


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("smoke") / "run"
    assert cli.main([*RUN, "--check", "--out", str(path)]) == 0
    return path


def test_smoke_run(smoke: Path) -> None:
    metrics = metrics_of(smoke)
    for name in ("equivariance", "interior", "stride_equivariance", "toeplitz", "transpose", "sharing", "flip"):
        assert metrics[f"{name}_error"] <= 1e-12, name
    # What is said not to hold must not: else the measure could not fail.
    for name in ("dense_equivariance", "odd_shift", "rotation", "correlation_commute"):
        assert metrics[f"{name}_error"] > 0.1, name
    assert metrics["size_checks"] == 324
    assert metrics["used_field_exponent"] == pytest.approx(0.5, abs=0.03)
    page = Page(html := (smoke / "report.html").read_text(encoding="utf-8"))
    assert_loads_nothing(html)
    assert_accessible(page)
    assert len(page.all("figure")) == 11
    assert "nan" not in page.text.split()


CONV2D, CONVOLVE2D = F.conv2d, F.convolve2d
WRONG = [
    ("toeplitz_error", "conv2d", lambda *given, **options: CONV2D(*given, **options) * (1 + 1e-9)),
    ("flip_error", "convolve2d", lambda *given, **options: CONVOLVE2D(*given, **options) * (1 + 1e-9)),
    ("commute_error", "convolve1d", F.conv1d),
    ("numpy_error", "convolve1d", F.conv1d),
]


@pytest.mark.parametrize(("metric", "operation", "wrong"), WRONG, ids=[metric for metric, _, _ in WRONG])
def test_a_wrong_operation_is_found(monkeypatch: pytest.MonkeyPatch, metric: str, operation: str, wrong: Any) -> None:
    monkeypatch.setattr(F, operation, wrong)
    run = a_run(flip_epochs=1)
    flipping.measure(run, some_pictures())
    matrix.measure(run, some_pictures())
    assert run.metrics[metric] > 1e-12


def test_a_layer_that_knows_places_is_not_equivariant() -> None:
    x = some_pictures()
    assert translation.error(lambda x: x * np.linspace(1, 1 + 1e-9, 28), x) > 1e-12
    assert translation.error(lambda x: 2 * x, x) == 0


def test_the_matrix_is_the_one_of_the_lecture() -> None:
    line = np.array([1.0, 2.0, 3.0])[None, None, None]
    found = matrix.by_hand.toeplitz(line, (1, 5), (1, 1), ((0, 0), (1, 1)), (1, 1))
    expected = [[2, 3, 0, 0, 0], [1, 2, 3, 0, 0], [0, 1, 2, 3, 0], [0, 0, 1, 2, 3], [0, 0, 0, 1, 2]]
    np.testing.assert_array_equal(found, expected)


def test_counted_connections() -> None:
    first, second = (int(layer.matrix().sum()) for layer in matrix.LAYERS)
    assert first == (3 * 28 - 2) ** 2  # each of 28 rows and columns meets 3 weights, the outer two only 2
    assert second == 28 * 28 * 75


def test_a_kernel_is_learned_turned() -> None:
    kernels = flipping.learn(a_run(flip_epochs=20))
    assert kernels.shape == (21, 3, 3)
    assert np.abs(kernels[-1] - flipping.KERNEL).max() > 1
    np.testing.assert_allclose(kernels[-1], flipping.KERNEL[::-1, ::-1], atol=1e-9)


def test_filters() -> None:
    flat = np.full((1, 9, 9), 0.3)
    answers = dict(zip(filters.FILTERS, filters.filtered(flat, "cpu")[0], strict=True))
    for name, answer in answers.items():
        np.testing.assert_allclose(answer, 0.0 if name in filters.SIGNED else 0.3, atol=1e-15, err_msg=name)
    ramp = np.tile(np.arange(9.0), (9, 1))[None]
    inner = filters.filtered(ramp, "cpu")[0, :, 1:-1, 1:-1]
    slopes = dict(zip(filters.FILTERS, inner, strict=True))
    np.testing.assert_allclose(slopes["Sobel, across"], 2.0, err_msg="over two pixels")
    np.testing.assert_allclose(slopes["Sobel, down"], 0.0)
    np.testing.assert_allclose(slopes["Laplace"], 0.0)


@pytest.mark.parametrize("stack", fields.STACKS.values(), ids=fields.STACKS)
def test_receptive_fields(stack: tuple[fields.Layer, ...]) -> None:
    """Against a walk backwards over the pixels that one unit is made of."""
    for depth in range(1, len(stack) + 1):
        pixels = {0}
        for layer in reversed(stack[:depth]):
            pixels = {p * layer.stride + k * layer.dilation for p in pixels for k in range(layer.kernel)}
        assert fields.by_formula(stack[:depth]) == max(pixels) - min(pixels) + 1
    assert fields.extent(fields.gradient(a_run(), stack)) == fields.by_formula(stack)


def test_width_of_a_field() -> None:
    weights = np.zeros((9, 9))
    weights[2, 4], weights[6, 4] = 1.0, 1.0
    assert fields.width(weights) == 2.0


def test_taps_are_where_the_formula_says() -> None:
    used, one = geometry.taps(a_run(), {"dilation": 2})
    assert used.sum() == 9 * 3 * 3
    np.testing.assert_array_equal(np.argwhere(one)[:, 0], np.repeat([1, 3, 5], 3))
    used, one = geometry.taps(a_run(), {"stride": 2, "padding": 1})
    assert used.shape == (9, 9)
    assert used.sum() == 9 * 4 * 4
    assert one.sum() == 9


@pytest.mark.parametrize("groups", geometry.GROUPS)
def test_groups_hear_themselves_alone(groups: int) -> None:
    size = geometry.CHANNELS // groups
    expected = np.kron(np.eye(groups), np.ones((size, size)))
    np.testing.assert_array_equal(geometry.connections(a_run(), groups), expected)


def test_locally_connected_layer_with_equal_weights_is_a_convolution() -> None:
    layer = sharing.LocallyConnected(2, 3, 11, 5, 2, Stream(0, "init"))
    draw = np.random.default_rng(0)
    weight, x = draw.random((3, 2, 5, 5), np.float32), draw.random((4, 2, 11, 11), np.float32)
    bias = draw.random(3, np.float32)
    layer.load_state_dict(
        {
            "weight": np.tile(weight.reshape(3, -1).T, (16, 1, 1)),
            "bias": np.tile(bias[:, None, None], (1, 4, 4)),
        }
    )
    expected = torch.nn.functional.conv2d(*map(torch.from_numpy, (x, weight, bias)), stride=2)
    np.testing.assert_allclose(layer(Tensor(x)).data, expected.numpy(), rtol=1e-5)


def test_nets_are_built_alike() -> None:
    x = np.random.default_rng(0).random((3, 1, 64, 64), np.float32)
    for kind in sharing.NAMES:
        assert sharing.build(kind, Stream(0, "init"))(Tensor(x)).shape == (3, 10)
    assert sharing.weights_of("shared") == 16 * 49 + 32 * 16 * 25 + 320
    assert sharing.weights_of("local") == 20**2 * 49 * 16 + 8**2 * 400 * 32 + 320


def test_digits_here_and_away() -> None:
    run, loaded = a_run(digits=50, test_digits=40), mnist.load(None)
    drawn = sharing.digits_of(run, loaded, 0)
    assert drawn.images.shape == (50, 1, 64, 64)
    assert drawn.here.shape == drawn.away.shape == (40, 1, 64, 64)
    np.testing.assert_array_equal(drawn.away[:, :, 12:, 12:], drawn.here[:, :, :-12, :-12])
    assert drawn.here[:, :, 37:].max() == drawn.here[..., 37:].max() == 0
    assert drawn.images.max() == 1
    other = sharing.digits_of(run, loaded, 1)
    assert not np.array_equal(other.labels, drawn.labels)
    np.testing.assert_array_equal(other.here, drawn.here)


def test_a_crash_leaves_no_trace(smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once while the kernel is learned, once in the second of the three nets."""
    path, arguments = tmp_path / "run", ["--set", "checkpoint_steps=1"]
    step = convolution.flipping.optim.SGD.step
    monkeypatch.setattr(convolution.flipping.optim.SGD, "step", dying(step, [6]))
    with pytest.raises(CrashError):
        cli.main([*RUN, *arguments, "--out", str(path)])
    monkeypatch.setattr(convolution.flipping.optim.SGD, "step", step)
    forward = sharing.LocallyConnected.forward
    monkeypatch.setattr(sharing.LocallyConnected, "forward", dying(forward, [2]))
    with pytest.raises(CrashError):
        cli.main(["resume", str(path), "--quiet"])
    monkeypatch.setattr(sharing.LocallyConnected, "forward", forward)
    assert cli.main(["resume", str(path), "--quiet"]) == 0
    assert_same_run(path, smoke)


def test_on_a_device_that_refuses_to_mix_with_numpy(smoke: Path, tmp_path: Path) -> None:
    strict_backend.install()
    assert cli.main([*RUN, "--device", "strict", "--out", str(tmp_path / "run")]) == 0
    found = metrics_of(tmp_path / "run")
    for name, value in metrics_of(smoke).items():
        tolerance = 0.1 if name.endswith("accuracy") or name.startswith("gain") else 1e-6
        assert found[name] == pytest.approx(value, abs=tolerance), name


def test_data_of_a_folder(tmp_path: Path) -> None:
    """MNIST when it is there; a folder with other data is no reason to fail."""
    write(tmp_path / "data" / "mnist", digits(train=200, test=60))
    (tmp_path / "other").mkdir()
    options = ["--set", "seeds=1", "--set", "flip_epochs=1"]
    for folder, expected in (("data", "digits in MNIST's form"), ("other", "5,000 MNIST digits embedded")):
        out = tmp_path / f"run-{folder}"
        assert cli.main([*RUN, *options, "--data-dir", str(tmp_path / folder), "--out", str(out)]) == 0
        data = summary_of(out)["data"]
        assert list(data) == ["mnist"]
        assert data["mnist"]["source"].startswith(expected)


def test_bad_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = digits(train=200, test=60)
    arrays[TEST_LABELS][arrays[TEST_LABELS] == 3] = 1
    write(tmp_path / "mnist", arrays)
    assert cli.main([*RUN, "--data-dir", str(tmp_path), "--out", str(tmp_path / "run")]) == 2
    assert "0 test digits of class 3, expected at least 1 of each" in one_error_line(capsys)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("digits=5000", "5,000 digits wanted, but there are 4,000"),
        ("batch=101", "a batch of 101 is more than the 100 examples there are"),
        ("flip_epochs=0", "setting flip_epochs=0"),
        ("learning_rate=0", "setting learning_rate=0"),
    ],
)
def test_wrong_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str, message: str) -> None:
    assert cli.main([*RUN, "--set", setting, "--out", str(tmp_path / "run")]) == 2
    assert message in one_error_line(capsys)
