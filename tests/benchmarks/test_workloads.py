"""The workloads: the same numbers everywhere, counts that agree with counting by hand, and every engine's loss."""

from __future__ import annotations

import dataclasses
import importlib.util
import json

import numpy as np
import pytest

from benchmarks.convolutional import Convolutional
from benchmarks.peers import ENGINES, PEERS, UnavailableError
from benchmarks.recurrent import Masking, Siamese
from benchmarks.workloads import TOGETHER, WORKLOADS, Dense, Gan, Vae, dense, from_description, nearest

TINY = {
    "dense": Dense("t1", "tiny", 6, "sgd", 0.1, 0, (7, 5, 4, 3), ("sigmoid", "relu")),
    "adam": dense("t2", 8, 2, 6),
    "rank": dense("t5", 8, 2, 6, rank=3),
    "vae": Vae("t6", "tiny", 6, "adam", 1e-3, 0, (9, 7, 5), 2),
    "conv": Convolutional(
        "t3", "tiny", 6, "adam", 1e-3, 0,
        ("conv4@3", "relu", "pool2", "conv5@2", "relu", "conv3@3 same", "flatten", "dense7", "relu", "dense3"),
        (2, 8, 10),
    ),
    "norm": Convolutional(
        "t9", "tiny", 6, "adam", 1e-3, 0,
        ("conv4@3 same", "norm", "relu", "pool3", "flatten", "dropout", "dense3"), (2, 6, 9), 0.5,
    ),
    "gru": Masking("t4", "tiny", 3, "adam", 1e-3, 0, "gru", (5, 4, 6), 7),
    "lstm": Masking("t4", "tiny", 3, "adam", 1e-3, 0, "lstm", (5, 4, 6), 7),
    "siamese": Siamese("t8", "tiny", 4, "adam", 1e-3, 0, "gru", (5, 4, 3), 6),
    "gan": Gan("t7", "tiny", 6, "adam", 1e-3, 0, (12, 6, 9), (12, 8, 4, 1), 3),
}  # fmt: skip


def test_what_the_issue_names_is_there():
    assert {"w1", "w2", "w3", "w4-gru", "w4-lstm", "w5", "w6", "w7", "w8", "w9"} <= set(WORKLOADS)
    for name, workload in WORKLOADS.items():
        assert workload.name == name and workload.title
    assert all(set(names) <= set(WORKLOADS) for names in TOGETHER.values())


@pytest.mark.parametrize("workload", TINY.values(), ids=TINY)
def test_numbers_are_float32_named_and_the_same_each_time(workload):
    for make in (workload.initial, workload.inputs):
        first, second = make(), make()
        for name, array in first.items():
            assert array.dtype == (np.int64 if name == "labels" else np.float32)
            np.testing.assert_array_equal(array, second[name])
    assert {name: array.shape for name, array in workload.initial().items()} == workload.shapes()
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


def test_a_convolutional_net_counted_by_hand():
    counts = TINY["norm"].counts()
    first, places = 4 * 2 * 9, 6 * 6 * 9  # the weight of the convolution; its outputs a channel
    last = 3 * 4 * 2 * 3
    assert counts.parameters == first + 2 * 4 + last + 3
    products = 2 * 2 * first * places + 3 * 2 * last * 6  # no gradient by the image
    normalised, pooled, logits = 4 * places, 6 * 4 * 2 * 3, 6 * 3
    touched = (12 + 2 + 1) * normalised + (1 + 3) * pooled + 2 * logits
    assert counts.flops == products + touched + 12 * counts.parameters
    words = 2 * first + 3 * last + 5 * (2 * normalised + pooled + logits) + 7 * counts.parameters
    assert counts.bytes == 4 * words


def test_recurrent_nets_counted_by_hand():
    counts = TINY["lstm"].counts()
    frames, gates = 3 * 7, 4 * 4
    assert counts.parameters == gates * (5 + 4 + 2) + 4 * 6 + 6
    products = 2 * frames * (gates * (2 * 5 + 3 * 4) + 3 * 4 * 6)  # no gradient by the spectrogram
    touched = 4 * frames * gates + 8 * frames * 4 + 4 * frames * 6
    assert counts.flops == products + touched + 12 * counts.parameters
    words = gates * (2 * 5 + 3 * 4) + 5 * frames * (gates + 4) + 3 * 4 * 6 + 5 * frames * 6 + 7 * counts.parameters
    assert counts.bytes == 4 * words
    pair, one = TINY["siamese"], Masking("t8", "", 4, "adam", 1e-3, 0, "gru", (5, 4, 3), 6)
    assert pair.counts().parameters == one.counts().parameters
    dense = 3 * 2 * 4 * 3 + 4 * 3  # of one embedding
    twice = one.counts().flops - 12 * one.counts().parameters - 6 * 4 * dense + 4 * dense
    assert pair.counts().flops == 2 * twice + 12 * pair.counts().parameters


@pytest.mark.parametrize(
    ("name", "shapes", "last"),
    [
        ("w3", [(10, 3, 5, 5), (10, 10, 5, 5), (20, 250), (10, 20)], 250),
        ("w9", [(32, 1, 3, 3), (32, 32, 3, 3), (64, 32, 3, 3), (64, 64, 3, 3), (256, 3136), (10, 256)], 3136),
    ],
)
def test_the_convolutional_nets_are_those_of_the_issue(name, shapes, last):
    workload = WORKLOADS[name]
    weights = [shape for shape in workload.shapes().values() if len(shape) > 1]
    assert weights == shapes
    flat = next(stage for stage in workload.stages if stage.kind == "flatten")
    assert flat.after == (last,)
    assert len(workload.buffers()) == 2 * workload.plan.count("norm")


def test_a_plan_with_an_unknown_layer_is_refused():
    with pytest.raises(ValueError, match="t: no layer is called 'convolve3'"):
        Convolutional("t", "", 2, "sgd", 0.1, 0, ("convolve3",)).shapes()


def test_only_dropout_keeps_a_workload_from_being_compared():
    assert TINY["norm"].comparable() == from_description({**TINY["norm"].describe(), "drop": 0.0}) != TINY["norm"]
    for name in set(TINY) - {"norm"}:
        assert TINY[name].comparable() == TINY[name]


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
    workload = workload.comparable()
    if engine in ("autograd", "mygrad") and workload.buffers():
        with pytest.raises(UnavailableError, match="left out: no running statistics"):
            ENGINES[engine].build(workload, "cpu")
        return
    ours, our_step = losses("tinygrad_hw", workload)
    theirs, their_step = losses(engine, workload)
    np.testing.assert_allclose(theirs, ours, rtol=2e-5)
    assert theirs[2] != theirs[0]
    initial = workload.initial() | workload.buffers()
    assert their_step.state().keys() == our_step.state().keys() == initial.keys()
    for name, array in their_step.state().items():
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, our_step.state()[name], atol=2e-4)
        assert not np.array_equal(array, initial[name]), f"{name} is not learned"


@pytest.mark.parametrize("engine", ["tinygrad_hw", "torch", "jax"])
def test_every_step_drops_others(engine):
    if ENGINES[engine].missing():
        pytest.skip(f"{engine} is not installed")
    still = dataclasses.replace(TINY["norm"], learning_rate=0.0)
    found, _ = losses(engine, still)
    assert len(set(found)) == 3
    found, _ = losses(engine, still.comparable())
    assert len(set(found)) == 1


@pytest.mark.parametrize("engine", ["torch", "jax"])
def test_dropout_of_the_peers_keeps_the_mean(engine):
    if ENGINES[engine].missing():
        pytest.skip(f"{engine} is not installed")

    class Dropped(Dense):
        """Its logits are all 1, so 0 or 4 after three in four were dropped; the loss is their mean."""

        def loss(self, ops, params, inputs):
            x = ops.linear(inputs["x"], params["layer0.weight"] * 0, params["layer0.bias"] * 0 + 1)
            return ops.dropout(x, 0.75).mean()

    step = ENGINES[engine].build(Dropped("t", "", 50, "sgd", 0.0, 0, (5, 40), ()), "cpu")
    for mean in (step.value(step()) for _ in range(3)):
        assert mean == pytest.approx(1, abs=6 * (3 / 2000) ** 0.5)  # 2000 entries of variance 3
        assert round(mean * 500) == pytest.approx(mean * 500, abs=1e-2)  # multiples of 4 / 2000


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
