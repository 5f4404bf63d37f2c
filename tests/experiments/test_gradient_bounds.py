"""The bound on gradients: its parts by other means, that it would notice a wrong gradient, and the experiment's run."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import gradient_bounds
from experiments.gradient_bounds import ACTIVATIONS, INITIALISATIONS, Measured, Net, change, measure
from experiments.harness import cli
from tests import strict_backend
from tinygrad_hw.random import Stream

from .runs import metrics_of
from .test_report import Page, assert_accessible, assert_loads_nothing

RUN = ["run", "gradient_bounds", "--profile", "smoke", "--quiet"]


def test_smoke_run(tmp_path: Path) -> None:
    assert cli.main([*RUN, "--check", "--out", str(tmp_path)]) == 0
    metrics = metrics_of(tmp_path)
    assert metrics["checks"] == 3 * (20 * (3 + 20) + 6 * 20), "examples x layers of all nets"
    assert metrics["violations"] == 0
    assert metrics["largest_ratio"] == pytest.approx(1, abs=1e-12), "linear units attain the bound"
    assert metrics["tau_below_one"] == pytest.approx(0.9**20)
    assert metrics["tau_above_one"] == pytest.approx(1.1**20)
    assert metrics["sigmoid_orthogonal"] < 0.25**20
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    assert_loads_nothing(html)
    assert_accessible(page)
    assert len(page.all("figure")) == 3
    assert "nan" not in page.text.split()


def test_wrong_gradient_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An activation whose gradient is too large by a ten-millionth: linear units leave no room below the bound."""
    wrong = dataclasses.replace(ACTIVATIONS["linear"], function=lambda z: (1 + 1e-7) * z)
    monkeypatch.setitem(ACTIVATIONS, "linear", wrong)
    assert cli.main([*RUN, "--check", "--out", str(tmp_path)]) == 1
    metrics = metrics_of(tmp_path)
    assert metrics["violations"] > 0
    assert metrics["norm_error"] > 1e-7


@given(st.sampled_from(sorted(ACTIVATIONS)), st.floats(-30, 30).filter(lambda z: abs(z) > 1e-3))
def test_slopes_by_differences(name: str, z: float) -> None:
    activation, step = ACTIVATIONS[name], 1e-4
    up, down = (np.asarray(activation.function(np.array([z + s * step]))) for s in (1, -1))
    slope = activation.slope(np.array([z]))
    assert slope == pytest.approx((up - down) / (2 * step), abs=2e-8)
    assert 0 <= slope[0] <= activation.steepest


def test_slopes_do_not_overflow() -> None:
    with np.errstate(all="raise", under="ignore"):
        for activation in ACTIVATIONS.values():
            assert np.isfinite(activation.slope(np.array([-1e4, 0.0, 1e4]))).all()


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("initialisation", INITIALISATIONS)
def test_gradients_are_those_of_the_jacobians(activation: str, initialisation: str) -> None:
    """The chain of D W, multiplied out by NumPy, against the engine."""
    net, width, examples = Net(activation, initialisation, 4, scale=1.3), 6, 2
    found = measure(net, width, examples, Stream(0, "a"), "cpu")
    stream = Stream(0, "a")
    layers = net.layers(width, stream, "cpu")
    h = stream.normal((examples, width), dtype=np.float64)
    jacobians = []
    for layer in layers:
        z = h @ layer.weight.data.T + layer.bias.data
        jacobians.append(1.3 * ACTIVATIONS[activation].slope(z)[:, :, None] * layer.weight.data)
        h = 1.3 * np.asarray(ACTIVATIONS[activation].function(z))
    gradient = h - stream.normal((examples, width), dtype=np.float64)
    for t in range(4, -1, -1):
        assert found.gradients[:, t] == pytest.approx(np.linalg.norm(gradient, axis=1), rel=1e-12)
        gradient = np.einsum("ej,ejk->ek", gradient, jacobians[t - 1]) if t else gradient
    assert found.weights == pytest.approx([np.linalg.svd(layer.weight.data)[1][0] for layer in layers])


def test_bound_multiplies_what_lies_behind_a_layer() -> None:
    found = Measured(np.array([[1.0, 6.0, 8.0, 5.0]]), np.array([[0.5, 1.0, 2.0]]), np.array([3.0, 0.7, 1.0]))
    assert found.bounds() == pytest.approx(np.array([[5 * 2 * 0.7 * 1.5, 5 * 2 * 0.7, 10.0, 5.0]]))
    assert found.relative() == pytest.approx(np.array([[1 / 10.5, 6 / 7, 0.8]]))
    assert change(found) == pytest.approx(np.array([[0.2, 1.2, 1.6, 1.0]]))


def test_gradients_that_are_zero() -> None:
    """Nothing below nothing is fine, something above nothing is not."""
    found = Measured(np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 1.0]]), np.array([[1.0, 0.0], [1.0, 0.0]]), np.ones(2))
    np.testing.assert_array_equal(found.relative(), [[0.0, 0.0], [np.inf, 0.0]])


def test_narrow_nets_whose_units_all_die(tmp_path: Path) -> None:
    options = ["--set", "width=2", "--set", "depths=2,100", "--set", "draws=2", "--out", str(tmp_path)]
    assert cli.main([*RUN, *options, "--check"]) == 0
    assert metrics_of(tmp_path)["relu_orthogonal"] == 0


def test_on_a_device_that_refuses_to_mix_with_numpy(tmp_path: Path) -> None:
    strict_backend.install()
    for device in ("cpu", "strict"):
        assert cli.main([*RUN, "--device", device, "--out", str(tmp_path / device)]) == 0
    for name, value in metrics_of(tmp_path / "cpu").items():
        assert metrics_of(tmp_path / "strict")[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("depths=5,101", "input should be less than or equal to 100"),
        ("depths=1", "input should be greater than or equal to 2"),
        ("depths=[]", "at least 1 item"),
        ("width=1", "greater than or equal to 2"),
        ("examples=0", "greater than or equal to 1"),
    ],
)
def test_wrong_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str, message: str) -> None:
    assert cli.main([*RUN, "--set", setting, "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert message in error
    assert not (tmp_path / "run").exists()


def test_full_makes_enough_checks() -> None:
    for profile in ("demo", "full"):
        config = gradient_bounds.EXPERIMENT.profiles[profile]
        assert isinstance(config, gradient_bounds.Config)
        nets = gradient_bounds.nets_of(config)
        assert config.draws * config.examples * sum(net.depth for net in nets) >= 10_000
        assert max(net.depth for net in nets) == 100
