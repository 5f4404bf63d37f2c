"""The VAE and its training piece by piece; the experiment's run, its report, and what it leaves after a kill -9."""

import json
import pickle
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from experiments.harness import cli
from experiments.vae.model import VAE, Renderer
from experiments.vae.training import Trainer
from tests import strict_backend
from tinygrad_hw import Tensor
from tinygrad_hw.random import Stream

from .conftest import ROOT, Command
from .runs import assert_same_run, loops_of, metrics_of, rows_of, summary_of
from .test_report import Page, assert_accessible, assert_loads_nothing
from .test_sevens import course

RUN = ["run", "vae_sevens", "--profile", "smoke", "--quiet"]
LOOPS = ["start 1", "start 2", "dimensions", "contrast"]


@pytest.fixture(scope="module")
def done(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a smoke run."""
    path = tmp_path_factory.mktemp("vae") / "run"
    ended = command(*RUN, "--seed", 5, "--set", "checkpoint_steps=3", "--out", path)
    assert ended.returncode == 0, ended.stderr
    return path


def small(latent: int = 2, seed: int = 0) -> VAE:
    return VAE(9, (8, 6), latent, Stream(seed, "init"))


def pictures(count: int = 5, pixels: int = 9) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 1, (count, pixels)).astype(np.float32)


def test_bound_by_hand() -> None:
    """Against the formulas, term by term, in float64 from the same codes."""
    vae, shown, noise = small(), pictures(), Stream(1, "noise").normal((5, 2))
    used = np.array([1.0, 0.0], np.float32)
    # The encoder's net begins at zero; change it so that it takes part.
    for parameter in vae.encoder[-1].parameters():
        parameter.data += 0.1
    mean, log_variance = (part.detach().numpy().astype(float) * used for part in vae.encode(Tensor(shown)))
    codes = mean + np.exp(log_variance / 2) * noise * used
    probability = Renderer(vae, "cpu", 3).draw(codes).reshape(5, 9)
    expected = -(shown * np.log(probability) + (1 - shown) * np.log(1 - probability)).sum(axis=1).mean()
    divergence = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).sum(axis=1).mean()
    found = vae.bound(Tensor(shown), noise, used)
    assert found[0].item() == pytest.approx(expected, rel=1e-5)
    assert found[1].item() == pytest.approx(divergence, rel=1e-5)


def test_mean_and_variance_both_learn_through_the_draw() -> None:
    """With noise the reconstruction alone changes the variance; without, it does not."""
    for scale in (0.0, 1.0):
        vae = small()
        noise = scale * Stream(1, "noise").normal((5, 2))
        vae.bound(Tensor(pictures()), noise, np.ones(2, np.float32))[0].backward()
        gradient = vae.projection.weight.grad
        assert gradient is not None
        assert np.abs(gradient.numpy()[:2]).max() > 1e-4
        assert (np.abs(gradient.numpy()[2:]).max() > 1e-4) == (scale > 0)


def test_unused_dimensions_neither_speak_nor_cost() -> None:
    vae, used = small(3), np.array([1.0, 0.0, 1.0], np.float32)
    noise = Stream(1, "noise").normal((5, 3))
    before = [part.item() for part in vae.bound(Tensor(pictures()), noise, used)]
    vae.projection.weight.data[[1, 4]] += 3.0
    noise[:, 1] = 7.0
    assert [part.item() for part in vae.bound(Tensor(pictures()), noise, used)] == before


def test_first_codes_are_projections() -> None:
    vae, shown = small(), pictures()
    mean, _ = vae.encode(Tensor(shown))
    expected = shown @ vae.projection.weight.data.T + vae.projection.bias.data
    np.testing.assert_allclose(mean.detach().numpy(), expected[:, :2], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(Renderer(vae, "cpu", 3).means(shown.reshape(-1, 3, 3)), mean.detach().numpy())


@pytest.mark.parametrize("width", [0.4, 1.5, 4.0])
def test_blur(width: float) -> None:
    shown = pictures(3, 28 * 28)
    trainer = Trainer(type("Run", (), {"device": "cpu"})(), None, shown, shown)  # type: ignore[arg-type]
    expected = ndimage.gaussian_filter(shown.reshape(-1, 28, 28), (0, width, width))
    np.testing.assert_allclose(trainer._blurred(shown, width).reshape(-1, 28, 28), expected, atol=1e-5)


def test_smoke_run(done: Path) -> None:
    metrics = metrics_of(done)
    rows = rows_of(done)
    assert [(row["loop"], row["epoch"]) for row in rows] == [(loop, epoch) for loop in LOOPS for epoch in (1, 2)]
    assert 0 <= metrics["effect_correlation"] <= 1
    assert metrics["effect_correlation"] == metrics[f"correlation_{metrics['found_dimension']:.0f}"]
    assert metrics["found_score"] >= metrics["next_score"]
    assert metrics["reconstruction_error"] > 0
    assert {row["loop"] for row in rows if "test_loss" in row} == {"dimensions", "contrast"}
    assert rows[-1]["test_loss"] == metrics["test_loss"] < rows[4]["test_loss"]
    for row in rows:
        assert row["loss"] == pytest.approx(row["reconstruction"] + row["divergence"])
    source = summary_of(done)["data"]["sevens"]["source"]
    assert source.endswith("400 for training, 100 for testing, rotation put on")


def test_best_start_goes_on(done: Path) -> None:
    """The start with the least loss is the one whose weights the next loop began with."""
    rows = rows_of(done)
    last = {row["loop"]: row["loss"] for row in rows}
    best = min(LOOPS[:2], key=lambda loop: last[loop])
    assert last[LOOPS[0]] != last[LOOPS[1]]
    arrays = {loop: state.arrays for loop, state in loops_of(done).items()}
    key = "vae/decoder.2.bias"
    near = {loop: np.abs(arrays[loop][key] - arrays["dimensions"][key]).max() for loop in LOOPS[:2]}
    assert near[best] == min(near.values())


def test_evaluation_of_the_saved_vae(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", str(done)]) == 0
    printed = capsys.readouterr().out
    for name in ("effect_correlation", "reconstruction_error", "found_score"):
        assert re.search(rf"{name}\s+{metrics_of(done)[name]:.5g}"[:-1], printed), (name, printed)


def test_report(done: Path) -> None:
    html = (done / "report.html").read_text(encoding="utf-8")
    scripts = re.findall(r"<script.*?</script>", html, re.DOTALL)
    assert len(scripts) == 1
    assert scripts[0].startswith("<script>"), "nothing loaded"
    rest = html.replace(scripts[0], "")
    assert_loads_nothing(rest)
    page = Page(rest)
    assert_accessible(page)
    assert len(page.all("figure")) == 7
    numbers = re.findall(r"<b>Figure (\d+)\.</b>", html)
    assert [int(number) for number in numbers] == list(range(1, 8))
    assert "nan" not in page.text.split()


def test_sliders(done: Path) -> None:
    """One for each dimension, reachable by keyboard, labelled, with a text for each of its 21 frames."""
    html = (done / "report.html").read_text(encoding="utf-8")
    page = Page(re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL))
    sliders = page.all("input")
    assert len(sliders) == 3
    for slider in sliders:
        assert (slider["type"], slider["min"], slider["max"], slider["value"]) == ("range", "0", "20", "10")
        texts = json.loads(str(slider["data-texts"]))
        assert len(texts) == 21
        assert texts[0] == "code \N{MINUS SIGN}5.0"
        assert texts[10].startswith("code 0.0: ")
        assert slider["aria-valuetext"] == texts[10]
    assert len(page.all("label")) == len(page.all("output")) == 3
    strips = [image for image in page.all("img") if "--frames" in str(image.get("style"))]
    assert [strip["style"] for strip in strips] == ["--frames: 21; --frame: 10"] * 3


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("latent=0", "setting latent=0: input should be greater than or equal to 1"),
        ("latent=6", "setting latent=6: input should be less than or equal to 5"),
        ("effect=colour", "setting effect=colour: input should be 'rotation', 'shift'"),
        ("amount=200", "setting amount=200: rotation takes above 0 and at most 90 degrees counter-clockwise"),
        ("amount=-1", "setting amount=-1: input should be greater than or equal to 0"),
        ("batch=401", "setting batch=401: there are 400 training pictures"),
        ("source=course", "no data folder: tr7.pkl and te7.pkl are missing"),
        ("hidden=0", "setting hidden="),
        ("effect_seed=-1", "setting effect_seed=-1: input should be greater than or equal to 0"),
    ],
)
def test_wrong_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str, message: str) -> None:
    assert cli.main([*RUN, "--set", setting, "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}")
    assert len(error.splitlines()) == 1


def test_pickle_that_would_run_code(tmp_path: Path, command: Command) -> None:
    class Hostile:
        def __reduce__(self) -> object:
            return open, (str(tmp_path / "touched"), "w")

    course(tmp_path / "data", Hostile(), np.zeros((5, 28, 28)))
    ended = command(*RUN, "--data-dir", tmp_path / "data", "--out", tmp_path / "run")
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert "tr7.pkl: the pickle asks for" in ended.stderr
    assert not (tmp_path / "touched").exists()
    pickle.loads(pickle.dumps(Hostile())).close()
    assert (tmp_path / "touched").exists(), "it would have"


def test_course_pictures(tmp_path: Path) -> None:
    """Amounts are not known: everything is found and shown but nothing compared with them."""
    draw = np.random.default_rng(0).uniform(0, 1, (150, 28, 28))
    course(tmp_path / "data" / "sevens", draw[:130], draw[130:])
    options = ["--data-dir", str(tmp_path / "data"), "--set", "contrast_epochs=0"]
    assert cli.main([*RUN, *options, "--out", str(tmp_path / "run")]) == 0
    metrics = metrics_of(tmp_path / "run")
    assert "found_score" in metrics
    assert "suspected_score" not in metrics, "the last stage was left out"
    assert not {"effect_correlation", "effect_named", "correlation_1"} & set(metrics)
    html = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "What was done to these pictures is not recorded" in html
    summary = summary_of(tmp_path / "run")
    assert set(summary["not_judged"]) == {"effect_correlation", "effect_named"}


def test_one_dimension_is_enough(tmp_path: Path) -> None:
    assert cli.main([*RUN, "--set", "latent=1", "--set", "effect=shift", "--out", str(tmp_path / "run")]) == 0
    assert metrics_of(tmp_path / "run")["found_dimension"] == 1


def test_on_a_device_that_refuses_to_mix_with_numpy(tmp_path: Path, done: Path) -> None:
    strict_backend.install()
    assert cli.main([*RUN, "--device", "strict", "--seed", "5", "--out", str(tmp_path / "run")]) == 0
    found, expected = metrics_of(tmp_path / "run"), metrics_of(done)
    for name in ("effect_correlation", "reconstruction_error", "test_loss", "found_dimension"):
        assert found[name] == pytest.approx(expected[name], rel=1e-3), name


KILLED = """
import os, signal, sys
from experiments.harness import cli
from experiments.vae.model import VAE
left, bound = int(sys.argv[1]), VAE.bound
def dying(*arguments):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return bound(*arguments)
VAE.bound = dying
cli.main(sys.argv[2:])
"""


def test_kill_in_mid_epoch_and_resume(tmp_path: Path, command: Command, done: Path) -> None:
    """Killed in the second start, again beside untouched pictures, then resumed: as if nothing had happened."""
    killed = tmp_path / "killed"
    order = [*RUN, "--seed", 5, "--set", "checkpoint_steps=3", "--out", killed]
    stood = []
    # 2 steps an epoch in the starts, 4 later; each asks for a bound, beside untouched pictures for two.
    for steps, arguments in ((6, order), (22, ["resume", killed, "--quiet"])):
        line = [sys.executable, "-c", KILLED, steps, *arguments]
        ended = subprocess.run([str(part) for part in line], cwd=ROOT, check=False)
        assert ended.returncode == -signal.SIGKILL
        stood.append(list(loops_of(killed))[-1])
        assert not (killed / "summary.json").exists()
    assert stood == ["start 1", "contrast"]
    assert command("resume", killed, "--quiet").returncode == 0
    assert_same_run(killed, done)
    assert list(loops_of(killed)) == LOOPS
    assert metrics_of(killed) == metrics_of(done), "all of them: there is no time among them"
    model = "models/vae.safetensors"
    assert (done / model).read_bytes() == (killed / model).read_bytes()
