"""Compression: the parts by other means, that what is wrong is noticed, and that a kill -9 leaves no trace."""

import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import tinygrad_hw as tg
from experiments import svd_compression
from experiments.compression import tracking, training
from experiments.compression.held import HeldProjection
from experiments.compression.training import Digits, Fading, Learner
from experiments.harness import cli
from experiments.svd_compression import Config, equidistant, projections
from tests import strict_backend
from tinygrad_hw import functional as F
from tinygrad_hw import nn
from tinygrad_hw.random import Stream

from .conftest import ROOT, Command
from .runs import assert_same_run, loops_of, metrics_of, rows_of, timeless_metrics_of
from .test_cli import one_error_line
from .test_report import Page, assert_accessible, assert_loads_nothing

RUN = ["run", "svd_compression", "--profile", "smoke", "--quiet"]
LOOPS = [
    "baseline", "factored", "ste", "subspace",
    "exact-identity", "exact-exact", "exact-none",
    "subspace-identity", "subspace-exact", "subspace-none", "subspace-fading",
    "4bit", "ternary", "binary",
]  # fmt: skip


def small(hidden: int = 12, layers: int = 3, seed: int = 0) -> nn.Sequential:
    """A net whose compressed weights are not square all."""
    tg.manual_seed(seed)
    return training.dense(training.SIDE**2, hidden, layers, 10)


def some_digits(count: int = 20, rim: int = 0) -> Digits:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, training.SIDE, training.SIDE)).astype(np.uint8)
    return Digits.on("cpu", images, rng.integers(0, 10, count), rim)


# ------------------------------------------------------------------------------------------------------ the whole run


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("smoke") / "run"
    assert cli.main([*RUN, "--check", "--seed", "3", "--set", "checkpoint_steps=7", "--out", str(path)]) == 0
    return path


def test_smoke_run(smoke: Path) -> None:
    metrics = metrics_of(smoke)
    assert list(dict.fromkeys(row["loop"] for row in rows_of(smoke))) == LOOPS
    weights = 784 * 32 + 4 * 32 * 32 + 32 * 10
    thin = 8 * (784 + 32) + 4 * 8 * 64 + 32 * 10
    biases = 5 * 32 + 10
    assert metrics["parameter_ratio"] == pytest.approx((thin + biases) / (weights + biases))
    assert metrics["full_rank_difference"] == 0
    assert metrics["baseline_accuracy"] > 0.4
    assert -1e-6 < metrics["subspace_error_excess"] < 1e-3
    assert 0 < metrics["held_error_excess"] < 0.05
    assert 0 <= metrics["subspace_angle_median"] <= metrics["subspace_angle_max"] < 90
    assert {"accuracy_d2", "accuracy_d8", "accuracy_4bit_before", "accuracy_binary", "inference_8_seconds"} < set(
        metrics
    )
    for way in ("factored", "ste", "subspace"):
        assert 0 < metrics[f"accuracy_{way}_d8"] <= 1
        assert metrics[f"step_seconds_{way}"] > 0


def test_report(smoke: Path) -> None:
    html = (smoke / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    assert_loads_nothing(html)
    assert_accessible(page)
    assert len(page.all("figure")) == 7
    assert "nan" not in page.text.split()
    assert "LAPACK, every 5 steps" in page.text


def test_saved_models_give_the_metrics_again(smoke: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", str(smoke)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    found = {row[0]: row[1:] for row in rows if row[0].startswith(("accuracy", "baseline"))}
    assert list(found) == ["baseline_accuracy", *(f"accuracy_{w}_d8" for w in ("factored", "ste", "subspace"))]
    assert all(now == before for now, before in found.values())


def test_on_a_device_that_refuses_to_mix_with_numpy(tmp_path: Path, smoke: Path) -> None:
    strict_backend.install()
    assert cli.main([*RUN, "--device", "strict", "--seed", "3", "--out", str(tmp_path / "run")]) == 0
    expected, found = metrics_of(smoke), metrics_of(tmp_path / "run")
    assert expected.keys() == found.keys()
    for name in ("baseline_accuracy", "accuracy_d2", "accuracy_ste_d8", "accuracy_subspace_d8", "accuracy_4bit"):
        assert found[name] == pytest.approx(expected[name], abs=0.02), name
    for name in ("trial_exact_exact_loss", "trial_subspace_identity_loss"):
        assert found[name] == pytest.approx(expected[name], rel=1e-3), name


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("rank=33", "setting rank: 33 is more than a weight of 32 x 784 has; expected at most 32"),
        ("ranks=2,40", "setting ranks: 40 is more than a weight of 32 x 784 has; expected at most 32"),
        ("rank=0", "setting rank=0: input should be greater than or equal to 1"),
        ("rank=-3", "setting rank=-3: input should be greater than or equal to 1"),
        ("ranks=2,0", "greater than or equal to 1"),
        ("ranks=[]", "at least 1 item"),
        ("rank=2.5", "setting rank=2.5: input should be a valid integer"),
        ("oversampling=-1", "greater than or equal to 0"),
        ("svd_every=0", "setting svd_every=0: input should be greater than or equal to 1"),
        ("bits=17", "less than or equal to 16"),
        ("fading=-1", "greater than or equal to 0"),
        ("batch=401", "setting batch: asks for 401 digits; there are 400 for training"),
        ("trial_steps=13", "setting trial_steps: asks for 416 digits; there are 400 for training"),
    ],
)
def test_wrong_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str, message: str) -> None:
    assert cli.main([*RUN, "--set", setting, "--out", str(tmp_path / "run")]) == 2
    error = one_error_line(capsys)
    assert message.lower() in error.lower()


def test_a_rank_of_all_there_is_and_no_oversampling(tmp_path: Path) -> None:
    settings = ["hidden=8", "rank=8", "ranks=1,8", "oversampling=0", "epochs=1", "svd_every=1", "bits=[]"]
    options = [part for setting in settings for part in ("--set", setting)]
    assert cli.main([*RUN, *options, "--out", str(tmp_path / "run")]) == 0
    metrics = metrics_of(tmp_path / "run")
    assert metrics["accuracy_d8"] == metrics["accuracy_full"] == metrics["baseline_accuracy"]
    assert metrics["held_error_excess"] == pytest.approx(0, abs=1e-6)


# ------------------------------------------------------------------------------------------------- killed and resumed


KILLED = """
import os, signal, sys
from experiments.compression.training import Learner
from experiments.harness import cli
left, step = int(sys.argv[1]), Learner.step
def dying(learner, pixels, labels):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(learner, pixels, labels)
Learner.step = dying
cli.main(sys.argv[2:])
"""


def test_kill_and_resume(tmp_path: Path, smoke: Path, command: Command) -> None:
    """Killed in the midst of LAPACK's projection, of the followed one, and of a short trial; then resumed to the end.

    What the projections remember (their basis and the counters that say when to look whether it is lost) must come
    back, and so must the stream of their random directions.
    """
    killed = tmp_path / "killed"
    start = [*RUN, "--seed", "3", "--set", "checkpoint_steps=7", "--out", killed]
    again = ["resume", killed, "--quiet"]
    # 13 steps an epoch: 104 of the full net, 26 each of the factors, of (b) and of (c), then trials of 3 and of 12.
    deaths = [
        (104 + 26 + 17, start, "ste"),
        (26 - 14 + 20, again, "subspace"),
        (26 - 14 + 9 + 12 + 9, again, "subspace-exact"),
    ]
    for steps, arguments, under_way in deaths:
        line = [sys.executable, "-c", KILLED, steps, *arguments]
        done = subprocess.run([str(part) for part in line], cwd=ROOT, check=False)
        assert done.returncode == -signal.SIGKILL
        assert list(loops_of(killed))[-1] == under_way
        assert not (killed / "summary.json").exists()
    assert command(*again).returncode == 0

    assert_same_run(killed, smoke)
    loops = loops_of(killed)
    assert list(loops) == LOOPS
    kept = {f"{loop}/{key}" for loop, state in loops.items() for key in state.arrays}
    for layer in (0, 2, 4, 6, 8):
        place = f"learner/net/{layer}.parametrizations.weight"
        assert {f"subspace/{place}.original", f"subspace/{place}.0.basis", f"subspace/{place}.0.reseeded"} < kept
        assert f"ste/{place}.0.space" in kept
    for model in ("baseline", "factored", "ste", "subspace"):
        file = f"models/{model}.safetensors"
        assert (killed / file).read_bytes() == (smoke / file).read_bytes()
    assert len(timeless_metrics_of(killed)) > 30


def test_a_basis_that_is_not_restored_is_noticed() -> None:
    """That the comparison above could fail: without its basis a learner goes another way."""

    def learner() -> Learner:
        tg.manual_seed(0)
        net = training.seen_through(small(), lambda layer: nn.SubspaceProjection(layer.weight.shape, 3, 2))
        return Learner(net, 0.01, 12, fading=2.0)

    digits = some_digits()
    pixels, labels = digits.batch(np.arange(20))
    first, same, other = learner(), learner(), learner()
    for _ in range(5):
        first.step(pixels, labels)
    state = first.state_dict()
    same.load_state_dict(state)
    other.load_state_dict(state)
    for projection in projections(other.net):
        projection.basis = tg.Tensor(np.random.default_rng(0).normal(size=projection.basis.shape).astype(np.float32))
    losses = [[each.step(pixels, labels) for _ in range(3)] for each in (first, same, other)]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


# --------------------------------------------------------------------------------------------------------- the parts


def test_full_rank_is_the_net_itself_and_any_rank_the_net_with_projected_weights() -> None:
    net, digits = small(), some_digits()
    factors, (pixels, _) = training.decomposed(net), digits.batch(np.arange(20))
    whole = training.factored(net, factors, 1000)
    np.testing.assert_allclose(whole(pixels).detach().numpy(), net(pixels).detach().numpy(), atol=1e-5)
    for rank in (1, 5, 12):
        thin = training.factored(net, factors, rank)
        projected = training.plain(training.seen_through(net, lambda layer: partial(F.svd_project, rank=rank)))  # noqa: B023
        np.testing.assert_allclose(thin(pixels).detach().numpy(), projected(pixels).detach().numpy(), atol=1e-5)
        saved = training.thin(training.SIDE**2, 12, 3, 10, rank)
        saved.load_state_dict(thin.state_dict())
        np.testing.assert_array_equal(saved(pixels).detach().numpy(), thin(pixels).detach().numpy())
        assert training.size(thin) == rank * (784 + 12 + 2 * 24) + 3 * 12 + 130
    assert all(a is not b for a, b in zip(net.parameters(), whole.parameters(), strict=False))


def walk(shape: tuple[int, int] = (30, 20), steps: int = 9) -> list[np.ndarray]:
    """A weight that moves."""
    rng = np.random.default_rng(0)
    return list(np.cumsum([rng.normal(size=shape) * (1.0 if i == 0 else 0.1) for i in range(steps)], axis=0))


@pytest.mark.parametrize("every", [1, 4])
def test_held_projection(every: int) -> None:
    weights = walk()
    held = HeldProjection(tg.tensor(weights[0]), 3, every)
    worst = 0.0
    for step, w in enumerate(weights):
        p = held(tg.tensor(w)).numpy()
        since = weights[step - step % every]
        u = np.linalg.svd(since)[0][:, :3]
        np.testing.assert_allclose(p, u @ (u.T @ w), atol=1e-12)
        if step and step % every == 0:
            old = np.linalg.svd(weights[step - every])[0][:, :3]
            left, least = (np.linalg.norm(w - x) for x in (old @ (old.T @ w), F.svd_project(w, 3)))
            worst = max(worst, (left - least) / np.linalg.norm(w))
    assert held.excess.item() == pytest.approx(worst, abs=1e-12)
    assert worst > 0
    state = held.state_dict()
    np.testing.assert_allclose(held.eval()(tg.tensor(w)).numpy(), F.svd_project(w, 3), atol=1e-12)
    assert all((array == state[name]).all() for name, array in held.state_dict().items()), "eval() remembers nothing"
    w = tg.tensor(weights[0], requires_grad=True)
    gradient = np.random.default_rng(1).normal(size=w.shape)
    held.train()(w).backward(gradient)
    assert w.grad is not None
    np.testing.assert_array_equal(w.grad.numpy(), gradient)


def test_fading_draws_each_weight_towards_its_projection() -> None:
    net = training.seen_through(small(), lambda layer: HeldProjection(layer.weight, 3, 1))
    fading, (pixels, labels) = Fading(net), some_digits().batch(np.arange(20))
    layers = training.compressed(net)
    before = [training.original(layer).detach().numpy().copy() for layer in layers]
    F.cross_entropy(net(pixels), labels).backward()
    fading(0.25)
    for layer, w in zip(layers, before, strict=True):
        expected = w - 0.25 * (w - F.svd_project(w, 3))
        np.testing.assert_allclose(training.original(layer).detach().numpy(), expected, atol=1e-6)
    after = [training.original(layer).detach().numpy().copy() for layer in layers]
    fading(0.25)  # nothing has been projected since
    for layer, w in zip(layers, after, strict=True):
        np.testing.assert_array_equal(training.original(layer).detach().numpy(), w)


def test_rates_follow_the_schedule_of_the_longer_training() -> None:
    pixels, labels = some_digits().batch(np.arange(20))

    def losses(steps: int, schedule: int) -> list[float]:
        learner = Learner(small(), 0.01, steps, schedule=schedule)
        return [learner.step(pixels, labels) for _ in range(steps)]

    long = losses(8, 0)
    assert losses(4, 8) == long[:4]
    assert losses(4, 0) != long[:4]


def test_a_learner_forgets_what_is_not_needed_any_more() -> None:
    pixels, labels = some_digits().batch(np.arange(20))
    for keep, left in ((True, {"left", "net"}), (False, {"left"})):
        learner = Learner(small(), 0.01, 2, keep=keep)
        learner.step(pixels, labels)
        assert set(learner.state_dict()) == {"left", "net", "optimizer", "schedule"}
        learner.step(pixels, labels)
        assert set(learner.state_dict()) == left


def test_digits_are_shifted_within_their_rim() -> None:
    digits, plain = some_digits(6, rim=2), some_digits(6)
    shifted = digits.batch(np.arange(6), Stream(0, "shifts"))[0].numpy().reshape(6, 28, 28)
    originals = plain.batch(np.arange(6))[0].numpy().reshape(6, 28, 28)
    padded = np.pad(originals, ((0, 0), (2, 2), (2, 2)))
    found = []
    for picture, frame in zip(shifted, padded, strict=True):
        places = [(r, c) for r in range(5) for c in range(5) if (frame[r : r + 28, c : c + 28] == picture).all()]
        assert len(places) == 1
        found += places
    assert len(set(found)) > 1
    np.testing.assert_array_equal(plain.batch(np.array([3, 1]))[1], plain.labels[[3, 1]])


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_limits_of_equidistant_weights_are_no_worse_than_others(bits: int) -> None:
    weight = np.random.default_rng(0).normal(size=(40, 40)).astype(np.float32) ** 3
    some = weight.reshape(-1)[::16]

    def error(function: Callable[[np.ndarray], np.ndarray]) -> float:
        return float(((np.asarray(function(some)) - some) ** 2).sum())

    found = equidistant(weight, bits)
    top = float(np.abs(some).max())
    others = [error(partial(F.quantize, bits=bits, limits=(-c * top, c * top))) for c in np.linspace(0.06, 1, 25)]
    assert error(found) <= 1.02 * min(others), "between the forty there is little to gain"
    assert len(np.unique(np.asarray(found(weight)))) <= 2**bits
    assert error(found) < 0.9 * others[-1], "the largest weight is no good limit"


# ---------------------------------------------------------------------------------------- the followed and the exact


def test_angles_by_construction() -> None:
    rng = np.random.default_rng(0)
    u = np.linalg.qr(rng.normal(size=(30, 4)))[0]
    moved = np.linalg.qr(rng.normal(size=(20, 4)))[0]
    for degrees in (0.0, 1e-3, 0.5, 30.0, 90.0):
        turned = u[:, :3].copy()
        turned[:, 1] = np.cos(np.radians(degrees)) * u[:, 1] + np.sin(np.radians(degrees)) * u[:, 3]
        followed = turned @ np.diag([3.0, 2.0, 1.0]) @ moved[:, :3].T
        assert tracking.angle(u[:, :3], followed, moved) == pytest.approx(degrees, abs=1e-5)


def test_comparison_with_a_subspace_that_is_right_and_with_one_that_is_not() -> None:
    rng = np.random.default_rng(0)
    s = np.geomspace(1, 0.1, 20)
    u, v = (np.linalg.qr(rng.normal(size=(side, 20)))[0] for side in (30, 20))
    weight = (u * s) @ v.T
    projection = nn.SubspaceProjection((30, 20), 4, 0, dtype=np.float64)
    projection(tg.tensor(weight))
    for right in (True, False):
        projection.basis = tg.Tensor(v[:, :4].copy() if right else v[:, [0, 1, 2, 9]])
        found = tracking.comparison(weight, projection)
        assert found["gap"] == pytest.approx(s[4] / s[3])
        assert found["exact_error"] == pytest.approx(np.linalg.norm(s[4:]) / np.linalg.norm(s))
        dropped = s[4:] if right else np.delete(s, [0, 1, 2, 9])
        assert found["error"] == pytest.approx(np.linalg.norm(dropped) / np.linalg.norm(s))
        assert found["angle"] == pytest.approx(0 if right else 90, abs=1e-4)
        assert min(found["seconds"], found["exact_seconds"]) > 0


def test_a_lost_subspace_is_mended_with_the_check_alone() -> None:
    rng = np.random.default_rng(0)
    s = 1 / (1 + np.arange(40) / 4)
    u, v = (np.linalg.qr(rng.normal(size=(side, 40)))[0] for side in (60, 40))
    weight = (u * s) @ v.T
    with_check, without = (tracking.lose(weight, 4, every, Stream(0, "lost"), at=5, steps=20) for every in (10, 20))
    assert (with_check.reseeded, without.reseeded) == (1, 0)
    for loss in (with_check, without):
        assert loss.angles[4] < 0.1
        assert (loss.angles[5:10] > 45).all()
        assert (loss.excess[5:10] > 0.05).all()
    assert with_check.excess[-1] < 1e-6 < 0.05 < without.excess[-1]


def test_trials_begin_alike_and_only_without_derivative_the_weights_stay(smoke: Path) -> None:
    loops = loops_of(smoke)
    losses = {name: loops[name].arrays["losses"] for name in LOOPS if name.startswith(("exact-", "subspace-"))}
    for name, values in losses.items():
        assert values[0] == pytest.approx(losses["exact-identity"][0], abs=1e-5), name
    np.testing.assert_allclose(losses["subspace-none"][:3], losses["exact-none"], atol=1e-5)
    assert losses["subspace-identity"][2] != losses["subspace-none"][2]
    assert losses["subspace-identity"][5] != losses["subspace-fading"][5]


def test_settings_of_the_profiles_are_those_of_the_problem() -> None:
    full = svd_compression.EXPERIMENT.profiles["full"]
    assert isinstance(full, Config)
    assert (full.hidden, full.ranks, full.rank, full.bits) == (1024, (10, 20, 50, 100, 200), 20, (8, 4, 2))
    net = training.dense(*svd_compression.sizes(full))
    thin = training.thin(*svd_compression.sizes(full), 20)
    assert training.size(thin) / training.size(net) == pytest.approx(0.043, abs=5e-4)


def test_quantisers_by_name() -> None:
    made = svd_compression.quantisers(Config(bits=(8, 2)))
    layer = nn.Linear(6, 5, stream=Stream(0, "init"))
    rounded = {name: make(layer)(layer.weight).detach().numpy() for name, (_, make) in made.items()}
    levels = {name: max(len(np.unique(row)) for row in values) for name, values in rounded.items()}
    assert list(made) == ["8bit", "2bit", "ternary", "binary"]
    assert [bits for bits, _ in made.values()] == pytest.approx([8, 2, np.log2(3), 1])
    assert levels["8bit"] == 6, "all that a row has"
    assert levels["ternary"] <= 3
    assert levels["binary"] == 2
    assert len(np.unique(rounded["2bit"])) <= 4
