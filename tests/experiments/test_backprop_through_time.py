"""Backpropagation through time: the bound by other means, what truncation reaches, explosions, and the run."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tinygrad_hw as tg
from experiments import backprop_through_time
from experiments.backprop_through_time import Config
from experiments.gradient_bounds import ACTIVATIONS
from experiments.harness import cli
from experiments.harness.checkpoint import Checkpoint
from experiments.harness.loop import Loop
from experiments.through_time import bound, memory, training
from experiments.through_time.bound import NETS, Measured
from experiments.through_time.nets import STARTS, Net, step_by_step
from experiments.through_time.tasks import SYMBOLS, adding, echo
from experiments.through_time.training import Way, echo_accuracy, echo_gradient
from tests import strict_backend
from tinygrad_hw import functional as F
from tinygrad_hw import nn
from tinygrad_hw.random import Stream

from .runs import CrashError, assert_same_run, dying, metrics_of
from .test_cli import one_error_line
from .test_report import Page, assert_accessible, assert_loads_nothing

RUN = ["run", "backprop_through_time", "--profile", "smoke", "--quiet"]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("smoke") / "run"
    assert cli.main([*RUN, "--check", "--out", str(path)]) == 0
    return path


def test_smoke_run(smoke: Path) -> None:
    metrics = metrics_of(smoke)
    assert metrics["checks"] == len(NETS) * 3 * 12, "nets x sequences x steps"
    assert metrics["violations"] == 0
    assert metrics["change_below_one"] == pytest.approx(0.9**12)
    assert metrics["change_above_one"] == pytest.approx(1.2**12)
    assert {f"half_life_fresh_{start}" for start in STARTS} <= metrics.keys()
    page = Page(html := (smoke / "report.html").read_text(encoding="utf-8"))
    assert_loads_nothing(html)
    assert_accessible(page)
    assert len(page.all("figure")) == 5
    assert "nan" not in page.text.split()


def test_saved_models_give_the_same_metrics(smoke: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert cli.main(["evaluate", str(smoke)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    compared = {row[0]: row[1:] for row in rows if len(row) == 3 and row[0] != "metric"}
    assert {"adding_mse_lstm", "half_life_gain_gru", "full_accuracy", "echo_rnn_orthogonal_stateful_2"} <= set(compared)
    assert all(now == before for now, before in compared.values())


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
def test_gradients_are_those_of_the_jacobians(net: bound.Net) -> None:
    """The chain of D W, multiplied out by NumPy, against the engine."""
    width, steps, examples = 5, 6, 2
    found = bound.measure(net, width, steps, examples, 0.7, Stream(0, "a"), "cpu")
    stream = Stream(0, "a")
    weights = {name: np.array(value) for name, value in bound._cell(net, width, stream, "cpu").state_dict().items()}
    inputs = stream.normal((steps, examples, width), std=0.7, dtype=np.float64)
    target = stream.normal((examples, width), dtype=np.float64)
    h = stream.normal((examples, width), std=0.7, dtype=np.float64)
    jacobians, w = [], weights["weight_hh"]
    for x in inputs:
        z = x @ weights["weight_ih"].T + weights["bias_ih"] + h @ w.T + weights["bias_hh"]
        jacobians.append(ACTIVATIONS[net.units].slope(z)[:, :, None] * w)
        h = np.asarray(ACTIVATIONS[net.units].function(z))
    gradient = h - target
    for t in range(steps, -1, -1):
        assert found.gradients[:, t] == pytest.approx(np.linalg.norm(gradient, axis=1), rel=1e-12)
        gradient = np.einsum("ej,ejk->ek", gradient, jacobians[t - 1]) if t else gradient
    assert np.abs(np.linalg.eigvals(w)).max() == pytest.approx(net.radius)
    assert found.weight == pytest.approx(np.linalg.svd(w)[1][0])
    assert max(found.differences) <= 1e-12


def test_wrong_gradient_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step whose gradient is too large by a ten-millionth: linear units leave no room below the bound."""
    right = bound._step
    monkeypatch.setattr(bound, "_step", lambda *given: (1 + 1e-7) * right(*given))
    assert cli.main([*RUN, "--check", "--out", str(tmp_path)]) == 1
    metrics = metrics_of(tmp_path)
    assert metrics["violations"] > 0
    assert min(metrics["norm_error"], metrics["sum_error"], metrics["sequence_error"]) > 1e-8


def test_bound_multiplies_what_lies_behind_a_step() -> None:
    found = Measured(np.array([[1.0, 6.0, 8.0, 5.0]]), np.array([[0.5, 1.0, 2.0]]), 3.0, (0.0, 0.0))
    assert found.bounds() == pytest.approx(np.array([[5 * 6 * 3 * 1.5, 5 * 6 * 3, 30.0, 5.0]]))
    assert found.relative() == pytest.approx(np.array([[1 / 135, 6 / 90, 8 / 30]]))


def test_half_life() -> None:
    falling = np.exp2(-np.arange(21)[::-1] / 4.0)[None] * np.array([[3.0], [0.1]])  # halves every 4 steps
    assert memory.half_life(memory.profile(falling)) == pytest.approx(4)
    assert memory.half_life(memory.profile(falling[:, ::-1])) == memory.LONGEST
    assert memory.half_life(memory.profile(np.ones((2, 5)))) == memory.LONGEST
    assert np.isfinite(memory.profile(np.array([[0.0, 1.0]]))).all()


@pytest.mark.parametrize("start", STARTS)
def test_norms_by_differences(start: str) -> None:
    """The derivative by a state in the middle, by central differences of what comes after it."""
    net = Net(start, 2, 3, 1, span=9, stream=Stream(0, "n"))
    inputs, _ = adding(Stream(1, "x"), 6, 1)
    found = memory.norms(net, inputs, "cpu")[0]
    net = net.to(dtype=np.float64)
    x, t = tg.tensor(inputs, dtype=np.float64), 2
    state = [np.array(part.data) for part in list(step_by_step(net.layer, x[:t]))[-1]]

    def answer(changed: list[np.ndarray]) -> float:
        given = tuple(map(tg.Tensor, changed))
        outputs, _ = net.layer(x[t:], given if len(given) == 2 else given[0])
        return float(net.read(outputs[-1]).sum().item())

    square, step = 0.0, 1e-6
    for part in range(len(state)):
        for unit in range(3):
            ends = []
            for sign in (1, -1):
                changed = [each.copy() for each in state]
                changed[part][0, 0, unit] += sign * step
                ends.append(answer(changed))
            square += ((ends[0] - ends[1]) / (2 * step)) ** 2
    assert found[t] == pytest.approx(square**0.5, rel=1e-6)
    assert net.read.weight.dtype == np.float64


def test_starts() -> None:
    nets = {start: Net(start, 2, 50, 1, span=20, stream=Stream(0, "n")).layer.state_dict() for start in STARTS}
    w = nets["rnn_orthogonal"]["weight_hh_l0"]
    np.testing.assert_allclose(w @ w.T, np.eye(50), atol=1e-5)
    biases = {start: np.asarray(s["bias_ih_l0"] + s["bias_hh_l0"]) for start, s in nets.items()}
    assert (biases["lstm_forget1"][50:100] == 1).all()
    assert np.abs(biases["lstm"]).max() <= 2 / 50**0.5 + 1e-6
    for start, write in (("lstm_slow", True), ("gru_slow", False)):
        keep = 1 / (1 + np.exp(-biases[start][50:100]))
        assert keep.min() >= 0.5 and keep.max() <= 1 - 1 / 20 + 1e-6
        assert np.ptp(keep) > 0.2
        assert np.allclose(biases[start][:50], -biases[start][50:100]) == write


def test_adding_and_echo() -> None:
    inputs, sums = adding(Stream(0, "a"), 10, 300)
    numbers, marks = inputs[..., 0], inputs[..., 1]
    assert inputs.dtype == sums.dtype == np.float32
    assert (marks[:5].sum(axis=0) == 1).all() and (marks[5:].sum(axis=0) == 1).all()
    assert (marks.sum(axis=1) > 0).all(), "every step is marked at times"
    np.testing.assert_allclose((numbers * marks).sum(axis=0), sums, rtol=1e-6)
    assert sums.var() == pytest.approx(1 / 6, rel=0.2)
    inputs, symbols = echo(Stream(0, "e"), 30, 40)
    assert inputs.dtype == np.float32 and inputs.shape == (30, 40, SYMBOLS)
    np.testing.assert_array_equal(inputs.argmax(axis=2), symbols)
    assert np.bincount(symbols.ravel(), minlength=SYMBOLS).min() > 200


def gradients(net: Net, way: Way, delay: int, steps: int = 12) -> tuple[float, dict[str, np.ndarray]]:
    inputs, symbols = echo(Stream(3, "e"), steps, 5)
    for parameter in net.parameters():
        parameter.grad = None
    loss = echo_gradient(net, way, tg.Tensor(inputs), symbols, delay)
    return loss, {name: np.array(p.grad.data) for name, p in net.named_parameters() if p.grad is not None}


def test_a_horizon_of_the_whole_sequence_is_full() -> None:
    net = Net("gru", SYMBOLS, 6, SYMBOLS, span=9, stream=Stream(0, "n"))
    full, expected = gradients(net, Way(), 3)
    for stateful in (True, False):
        loss, found = gradients(net, Way(12, stateful), 3)
        assert loss == full
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value)
    inputs, symbols = echo(Stream(3, "e"), 12, 5)
    whole = F.cross_entropy(net(tg.Tensor(inputs))[3:].reshape(-1, SYMBOLS), symbols[:-3].reshape(-1))
    assert full == pytest.approx(whole.item(), rel=1e-6)
    carried, cut = gradients(net, Way(4), 3)
    assert carried == pytest.approx(full, rel=1e-6), "the state is carried, so the loss is the same"
    assert not np.allclose(cut["layer.weight_hh_l0"], expected["layer.weight_hh_l0"], rtol=1e-3)
    assert gradients(net, Way(4, stateful=False), 3)[0] != pytest.approx(full, rel=1e-6)


@pytest.mark.parametrize("horizon", [3, 4])
def test_a_short_horizon_cannot_reach_the_symbol(horizon: int) -> None:
    """Derivative of the loss by the inputs of the first piece: with stateful pieces it stops at the border."""
    delay, net = 3, Net("rnn", SYMBOLS, 6, SYMBOLS, span=9, stream=Stream(0, "n"))
    inputs, symbols = echo(Stream(3, "e"), 2 * horizon, 5)
    x = tg.Tensor(inputs, requires_grad=True)
    echo_gradient(net, Way(horizon), x, symbols, delay)
    assert x.grad is not None
    reached = np.abs(np.array(x.grad.data)).sum(axis=(1, 2)) > 0
    last = [h * horizon + k for h in range(2) for k in range(horizon)]
    expected = [step // horizon > 0 or horizon > delay for step in last]
    np.testing.assert_array_equal(reached, expected)


def test_accuracy_of_a_perfect_net() -> None:
    """One that says what it sees echoes with no delay; asked for a delay it is right by chance alone."""

    class Parrot(nn.Module):
        def forward(self, inputs: tg.Tensor) -> tg.Tensor:
            return F.concatenate([tg.zeros((2, *inputs.shape[1:])), inputs[:-2]], 0)

    inputs, symbols = echo(Stream(0, "e"), 40, 100)
    parrot: Any = Parrot()
    assert echo_accuracy(parrot, 2, inputs, symbols, "cpu") == 1
    assert echo_accuracy(parrot, 3, inputs, symbols, "cpu") == pytest.approx(0.25, abs=0.03)


def test_clipping() -> None:
    for clipping, expected in (("none", [3.0, -4.0]), ("norm", [0.6, -0.8]), ("value", [0.5, -0.5])):
        weight = nn.Parameter(np.zeros(2))
        optimizer = tg.optim.SGD([weight], lr=1.0)
        (weight * np.array([3.0, -4.0])).sum().backward()
        config: Any = SimpleNamespace(clip_norm=1.0, clip_value=0.5)
        assert training._clip(optimizer, clipping, config) == pytest.approx(5)
        optimizer.step()
        np.testing.assert_allclose(-weight.data, expected, rtol=1e-5)


def test_explosion_ends_a_training_and_is_counted(tmp_path: Path) -> None:
    changes = ["clip_rates=1,1e5", "clip_updates=60", "clip_radius=2", "clip_value=1e-6"]
    options = [part for change in changes for part in ("--set", change)]
    assert cli.main([*RUN, *options, "--out", str(tmp_path)]) == 0
    metrics = metrics_of(tmp_path)
    assert metrics["unclipped_exploded"] == 1
    assert metrics["relu_value_exploded"] == 0
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    ended = [row for row in rows if row["loop"] == "clip-relu-none-seed0"]
    assert len(ended) == 1 and ended[0]["norm"] == training.NORM_LIMIT
    for name, state in Checkpoint.load(tmp_path / "checkpoint.safetensors").loops.items():
        assert all(np.isfinite(array).all() for array in state.arrays.values()), name


def test_a_crash_leaves_no_trace(smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of the bound, of adding, of clipping and of the echo."""
    left = [0]
    monkeypatch.setattr(Loop, "finite", dying(Loop.finite, left))
    path = tmp_path / "run"
    begin: Callable[[], int] = lambda: cli.main([*RUN, "--set", "checkpoint_steps=3", "--out", str(path)])
    again: Callable[[], int] = lambda: cli.main(["resume", str(path), "--quiet"])
    for count, work in ((10, begin), (90, again), (400, again), (300, again)):
        left[0] = count
        with pytest.raises(CrashError):
            work()
    left[0] = 10**6
    assert again() == 0
    assert_same_run(path, smoke)
    assert metrics_of(path) == metrics_of(smoke)


def test_on_a_device_that_refuses_to_mix_with_numpy(tmp_path: Path, smoke: Path) -> None:
    strict_backend.install()
    assert cli.main([*RUN, "--device", "strict", "--out", str(tmp_path)]) == 0
    found = metrics_of(tmp_path)
    for name, value in metrics_of(smoke).items():
        if not name.endswith("_error"):
            assert found[name] == pytest.approx(value, rel=1e-3, abs=1e-4), name


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("horizons=4,6", "expected one up to the delay, 3"),
        ("horizons=2,5", "from twice the delay on"),
        ("horizons=2,6,16", "expected more than twice the delay and than every horizon"),
        ("delay=8", "expected more than twice the delay"),
        ("adders=rnn,mlp", "setting adders="),
        ("steps=301", "less than or equal to 300"),
        ("clip_rates=1", "setting clip_rates="),
    ],
)
def test_wrong_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str, message: str) -> None:
    assert cli.main([*RUN, "--set", setting, "--out", str(tmp_path / "run")]) == 2
    assert message in one_error_line(capsys)


def test_full_makes_enough_checks() -> None:
    for profile in ("demo", "full"):
        config = backprop_through_time.EXPERIMENT.profiles[profile]
        assert isinstance(config, Config)
        assert config.draws * config.examples * config.steps * len(NETS) >= 10_000
