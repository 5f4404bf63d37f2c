"""The hand-written net: its gradient against all oracles, its first steps against PyTorch, and learning."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference import dense, finite_differences
from reference.probing import digits_agreed, inner, random_directions
from tinygrad_hw.random import Stream

KEYS = ["0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"]


def problem(sizes=(6, 5, 4, 3), count=7, dtype=np.float64, activations=None):
    rng = np.random.default_rng(1)
    params = dense.init(Stream(3, "init"), sizes, dtype, activations)
    for key in params:
        if key.endswith("bias"):  # off zero, so that nothing hides
            params[key] += rng.uniform(-0.5, 0.5, params[key].shape).astype(dtype)
    return params, rng.standard_normal((count, sizes[0])).astype(dtype), rng.integers(0, sizes[-1], count)


def cost(keys, x, labels, activations=None):
    """The loss as a function of the parameters, for the numeric oracles."""

    def f(*values):
        logits, _ = dense.forward(dict(zip(keys, values, strict=True)), x, activations)
        return np.asarray(dense.loss(logits, labels))

    return f


def in_torch(params, activations=("sigmoid", "relu")):
    modules = []
    for layer in range(len(params) // 2):
        out, into = params[f"{2 * layer}.weight"].shape
        modules.append(torch.nn.Linear(into, out, dtype=torch.float64))
        if layer < len(activations):
            modules.append(torch.nn.Sigmoid() if activations[layer] == "sigmoid" else torch.nn.ReLU())
    net = torch.nn.Sequential(*modules)
    net.load_state_dict({key: torch.tensor(value) for key, value in params.items()}, strict=True)
    return net


def test_parameters_have_pytorch_keys_and_shapes() -> None:
    params = dense.init(Stream(0, "init"))
    assert list(params) == KEYS
    assert [params[key].shape for key in KEYS] == [(100, 784), (100,), (50, 100), (50,), (10, 50), (10,)]
    assert all(value.dtype == np.float64 for value in params.values())
    again = dense.init(Stream(0, "init"))
    assert all(np.array_equal(params[key], again[key]) for key in KEYS)
    assert not np.array_equal(params["0.weight"], dense.init(Stream(1, "init"))["0.weight"])


def test_initial_spread() -> None:
    params = dense.init(Stream(0, "init"))
    for key, inputs, outputs in [("0.weight", 784, 100), ("4.weight", 50, 10)]:
        bound = math.sqrt(6 / (inputs + outputs))
        assert np.abs(params[key]).max() <= bound
        assert params[key].std() == pytest.approx(bound / math.sqrt(3), rel=0.06)
    assert params["2.weight"].std() == pytest.approx(math.sqrt(2 / 100), rel=0.03)
    assert np.abs(params["2.weight"]).max() > 3 * math.sqrt(2 / 100)
    assert not any(params[key].any() for key in KEYS if key.endswith("bias"))


def test_gradient_against_finite_differences_and_pytorch() -> None:
    params, x, labels = problem()
    logits, cache = dense.forward(params, x)
    grads = dense.backward(cache, labels)
    assert list(grads) == KEYS
    numeric = finite_differences.gradient(cost(KEYS, x, labels), tuple(params.values()))
    net = in_torch(params)
    theirs = torch.nn.functional.cross_entropy(net(torch.tensor(x)), torch.tensor(labels))
    theirs.backward()
    assert dense.loss(logits, labels) == pytest.approx(theirs.item(), rel=1e-14)
    for (name, parameter), key, number in zip(net.named_parameters(), KEYS, numeric, strict=True):
        assert name == key
        assert digits_agreed(grads[key], number) > 9, key
        assert digits_agreed(grads[key], parameter.grad.numpy()) > 13, key
        assert digits_agreed(grads[key] * 1.001, number) < 4, key


def test_the_full_size_along_random_directions() -> None:
    params, x, labels = problem((784, 100, 50, 10), 20)
    _, cache = dense.forward(params, x)
    grads = dense.backward(cache, labels)
    values = tuple(params.values())
    for seed in range(2):
        directions = tuple(d / 30 for d in random_directions(values, seed=seed))
        numeric = finite_differences.directional(cost(KEYS, x, labels), values, directions)
        assert inner(tuple(grads.values()), directions) == pytest.approx(numeric, rel=1e-8)
        for key in KEYS:
            wrong = {**grads, key: grads[key] * 1.001}
            assert inner(tuple(wrong.values()), directions) != pytest.approx(numeric, rel=1e-8)


@pytest.mark.parametrize(
    "sizes, activations",
    [((5, 3), ()), ((5, 4, 3), ("sigmoid",)), ((5, 4, 3), ("relu",)), ((5, 4, 6, 4, 3), ("relu", "sigmoid", "relu"))],
)
def test_other_sizes_and_activations(sizes, activations) -> None:
    params, x, labels = problem(sizes, activations=activations)
    logits, cache = dense.forward(params, x, activations)
    grads = dense.backward(cache, labels)
    numeric = finite_differences.gradient(cost(list(params), x, labels, activations), tuple(params.values()))
    for key, number in zip(params, numeric, strict=True):
        assert digits_agreed(grads[key], number) > 9, key
    np.testing.assert_allclose(logits, in_torch(params, activations)(torch.tensor(x)).detach(), rtol=1e-12)


def test_default_activations() -> None:
    assert dense.default_activations(1) == ()
    assert dense.default_activations(3) == ("sigmoid", "relu")
    assert dense.default_activations(4) == ("sigmoid", "relu", "relu")


def test_fifty_steps_as_pytorch_takes_them() -> None:
    params, x, labels = problem((8, 6, 5, 3), 40)
    net = in_torch(params)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    for start in range(0, 400, 8):
        batch = slice(start % 40, start % 40 + 8)
        logits, cache = dense.forward(params, x[batch])
        ours = dense.loss(logits, labels[batch])
        dense.step(params, dense.backward(cache, labels[batch]), 0.5)
        optimizer.zero_grad()
        theirs = torch.nn.functional.cross_entropy(net(torch.tensor(x[batch])), torch.tensor(labels[batch]))
        theirs.backward()
        optimizer.step()
        assert ours == pytest.approx(theirs.item(), rel=1e-11)
    assert ours < 1
    right = (net(torch.tensor(x)).argmax(1).numpy() == labels).mean()
    assert dense.accuracy(params, x, labels) == pytest.approx(right)


def test_step_is_in_place() -> None:
    params, x, labels = problem()
    arrays = dict(params)
    before = {key: value.copy() for key, value in params.items()}
    _, cache = dense.forward(params, x)
    grads = dense.backward(cache, labels)
    dense.step(params, grads, 0.1)
    for key in KEYS:
        assert params[key] is arrays[key]
        np.testing.assert_allclose(params[key], before[key] - 0.1 * grads[key], rtol=1e-15)


def test_float32_throughout() -> None:
    params, x, labels = problem(dtype=np.float32)
    logits, cache = dense.forward(params, x)
    grads = dense.backward(cache, labels)
    dense.step(params, grads, 0.1)
    assert isinstance(dense.loss(logits, labels), float)
    for array in (logits, *grads.values(), *params.values()):
        assert array.dtype == np.float32


def test_extreme_logits() -> None:
    logits = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]], np.float32)
    assert dense.loss(logits, np.array([0, 2])) == pytest.approx(math.log(2) / 2)
    assert dense.loss(logits, np.array([1, 0])) == pytest.approx(2e4 + math.log(2) / 2)
    params, x, labels = problem(dtype=np.float32)
    params["4.bias"] += np.array([1e4, -1e4, 0], np.float32)
    params["0.bias"] -= 1e4
    with np.errstate(over="raise", invalid="raise"):
        grads = dense.backward(dense.forward(params, x)[1], labels)
    assert all(np.isfinite(grad).all() for grad in grads.values())


@given(st.integers(0, 2**30))
def test_laws(seed) -> None:
    """Examples are averaged, in any order; a batch twice over has the same gradient."""
    params, x, labels = problem()
    order = np.random.default_rng(seed).permutation(len(x))
    plain = dense.backward(dense.forward(params, x)[1], labels)
    shuffled = dense.backward(dense.forward(params, x[order])[1], labels[order])
    twice = dense.backward(dense.forward(params, np.vstack([x, x]))[1], np.tile(labels, 2))
    halves = [dense.backward(dense.forward(params, x[k : k + 1])[1], labels[k : k + 1]) for k in range(len(x))]
    for key in KEYS:
        for other in (shuffled[key], twice[key], np.mean([half[key] for half in halves], 0)):
            np.testing.assert_allclose(other, plain[key], rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize(
    "labels, words",
    [
        (np.array([0, 1, 3, 0, 0, 0, 0]), "labels in 0..2, got 0..3"),
        (np.array([0, -1, 2, 0, 0, 0, 0]), "labels in 0..2, got -1..2"),
        (np.zeros(6, int), r"7 integer labels, got int64 of shape \(6,\)"),
        (np.zeros(7), "7 integer labels, got float64"),
        (np.zeros((7, 1), int), "7 integer labels"),
    ],
)
def test_bad_labels(labels, words) -> None:
    params, x, _ = problem()
    logits, cache = dense.forward(params, x)
    for call in (
        lambda: dense.loss(logits, labels),
        lambda: dense.backward(cache, labels),
        lambda: dense.accuracy(params, x, labels),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_bad_input_and_activations() -> None:
    params, x, _ = problem()
    with pytest.raises(ValueError, match=r"expected x of shape \(N, 6\), got \(7, 5\)"):
        dense.forward(params, x[:, :5])
    with pytest.raises(ValueError, match="expected 2 hidden activations"):
        dense.init(Stream(0, "init"), (4, 3, 2, 2), activations=("relu",))
    with pytest.raises(ValueError, match=r"out of \['relu', 'sigmoid'\], got \('relu', 'tanh'\)"):
        dense.forward(params, x, ("relu", "tanh"))
