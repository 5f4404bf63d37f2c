"""The workloads: the same numbers everywhere, counts that agree with counting by hand, and every engine's loss."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest

from benchmarks.peers import ENGINES, PEERS
from benchmarks.workloads import WORKLOADS, Dense, Gan, Vae, dense, from_description, nearest

TINY = {
    "dense": Dense("t1", "tiny", 6, "sgd", 0.1, 0, (7, 5, 4, 3), ("sigmoid", "relu")),
    "adam": dense("t2", 8, 2, 6),
    "rank": dense("t5", 8, 2, 6, rank=3),
    "vae": Vae("t6", "tiny", 6, "adam", 1e-3, 0, (9, 7, 5), 2),
    "gan": Gan("t7", "tiny", 6, "adam", 1e-3, 0, (12, 6, 9), (12, 8, 4, 1), 3),
}


def test_what_the_issue_names_is_there():
    assert {"w1", "w2", "w5", "w6", "w7"} <= set(WORKLOADS)
    for name, workload in WORKLOADS.items():
        assert workload.name == name and workload.title


@pytest.mark.parametrize("workload", TINY.values(), ids=TINY)
def test_numbers_are_float32_named_and_the_same_each_time(workload):
    for make in (workload.initial, workload.inputs):
        first, second = make(), make()
        for name, array in first.items():
            assert array.dtype == (np.int64 if name == "labels" else np.float32)
            np.testing.assert_array_equal(array, second[name])
    layers = workload.layers()
    for layer, (n, m) in layers.items():
        assert workload.initial()[f"{layer}.weight"].shape == (m, n)
    assert sorted(name for names in workload.groups().values() for name in names) == sorted(workload.initial())


def test_another_name_or_seed_means_other_numbers():
    one, other = dense("one", 8, 1, 4), dense("other", 8, 1, 4)
    assert not np.array_equal(one.inputs()["x"], other.inputs()["x"])


@pytest.mark.parametrize("workload", TINY.values(), ids=TINY)
def test_a_description_survives_json(workload):
    assert from_description(json.loads(json.dumps(workload.describe()))) == workload


def test_operations_and_bytes_counted_by_hand():
    counts = Dense("t", "", 10, "sgd", 0.1, 0, (7, 5, 3), ("relu",)).counts()
    assert counts.parameters == 7 * 5 + 5 + 5 * 3 + 3
    products = 2 * 10 * (7 * 5 * 2 + 5 * 3 * 3)  # forward and weights; forward, weights and input
    assert counts.flops == products + 4 * 10 * (5 + 3) + 2 * counts.parameters
    words = 7 * 5 * 2 + 5 * 3 * 3 + 5 * 10 * (5 + 3) + 3 * counts.parameters
    assert counts.bytes == 4 * words


@pytest.mark.parametrize("workload", TINY.values(), ids=TINY)
def test_parameters_are_counted(workload):
    assert workload.counts().parameters == sum(array.size for array in workload.initial().values())


def test_weights_to_project_have_falling_singular_values():
    weight = TINY["rank"].initial()["layer0.weight"]
    s = np.linalg.svd(weight, compute_uv=False)
    assert s[3] < s[0] and np.all(np.diff(s) <= 0)
    plain = dense("t5", 8, 2, 6).initial()["layer0.weight"]
    assert np.linalg.norm(weight) == pytest.approx(np.linalg.norm(plain), rel=1e-5)


def test_a_misspelt_name_is_answered_with_the_nearest():
    assert nearest("workload", "w11", ["w1", "w2"]) == "unknown workload 'w11'; did you mean 'w1'?"
    assert nearest("peer", "xyz", ["torch", "jax"]) == "unknown peer 'xyz'; known: torch, jax"


def losses(engine, workload, steps=3):
    step = ENGINES[engine].build(workload, "cpu")
    found = [step.value(step()) for _ in range(steps)]
    step.wait()
    return found, step


QUICK = [name for name in PEERS if name != "torch-compiled"]


@pytest.mark.parametrize("engine", QUICK)
@pytest.mark.parametrize("workload", TINY.values(), ids=TINY)
def test_every_engine_computes_the_same_steps(workload, engine):
    if ENGINES[engine].missing():
        pytest.skip(f"{engine} is not installed")
    if engine == "jax" and workload is TINY["adam"]:
        pytest.skip("compiled for the others with Adam")
    ours, our_step = losses("tinygrad_hw", workload)
    theirs, their_step = losses(engine, workload)
    np.testing.assert_allclose(theirs, ours, rtol=2e-5)
    assert theirs[2] != theirs[0]
    initial = workload.initial()
    for name, array in their_step.state().items():
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, our_step.state()[name], atol=2e-4)
        assert not np.array_equal(array, initial[name]), f"{name} is not learned"


def test_the_subspace_follows_the_exact_projection():
    exact, _ = losses("tinygrad_hw", TINY["rank"])
    followed, _ = losses("tinygrad_hw-subspace", TINY["rank"])
    np.testing.assert_allclose(followed, exact, rtol=ENGINES["tinygrad_hw-subspace"].tolerance[1])


@pytest.mark.parametrize("engine", ["tinygrad_hw", "torch", "autograd"])
def test_other_inputs_can_be_fed(engine):
    if ENGINES[engine].missing():
        pytest.skip(f"{engine} is not installed")
    workload = TINY["dense"]
    _, step = losses(engine, workload, 1)
    inputs = workload.inputs()
    step.load({**inputs, "labels": (inputs["labels"] + 1) % 3})
    _, other = losses(engine, workload, 1)
    assert step.value(step()) != pytest.approx(other.value(other()), rel=1e-4)


def test_operations_and_arrays_are_counted():
    _, step = losses("tinygrad_hw", TINY["dense"], 1)
    # three layers, two activations and the loss, forward and backward
    assert step.launches()["operations"] == 12 and step.launches()["arrays"] > 6


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_pytorch_counts_what_reaches_its_dispatcher():
    _, step = losses("torch", TINY["dense"], 1)
    assert step.launches()["operations"] > 12
