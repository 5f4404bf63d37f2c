"""Layers, activations and losses as modules: values and gradients against PyTorch, starting values, bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_hw as tg
from tests import strict_backend
from tinygrad_hw import functional as F
from tinygrad_hw import nn
from tinygrad_hw.random import Stream, manual_seed


def agree(ours: nn.Module, theirs, *inputs: np.ndarray) -> None:
    """The same value, and the same gradient of every floating input and parameter, in float64."""
    torch = pytest.importorskip("torch")
    ours.to(np.float64)
    theirs.double().load_state_dict({name: torch.tensor(array) for name, array in ours.state_dict().items()})
    mine = [tg.tensor(x, requires_grad=x.dtype.kind == "f") for x in inputs]
    reference = [torch.tensor(x, requires_grad=x.dtype.kind == "f") for x in inputs]
    a, b = ours(*mine), theirs(*reference)
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-12, atol=1e-12)
    vector = np.random.default_rng(3).standard_normal(a.shape)
    a.backward(vector)
    b.backward(torch.tensor(vector))
    named = dict(theirs.named_parameters())
    pairs = [(p, named[name]) for name, p in ours.named_parameters()]
    for x, y in [*zip(mine, reference, strict=True), *pairs]:
        if x.requires_grad and y.grad is not None:
            np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-11, atol=1e-12)
        else:
            assert x.grad is None


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).standard_normal(shape)


# ------------------------------------------------------------------------------------------------ layers with weights


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("lead", [(4,), (), (2, 3), (0,)])
def test_linear_as_pytorch(bias, lead):
    torch = pytest.importorskip("torch")
    agree(nn.Linear(5, 3, bias=bias), torch.nn.Linear(5, 3, bias=bias), normal(*lead, 5))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("lead", [(4,), (2, 3)])
def test_bilinear_as_pytorch(bias, lead):
    torch = pytest.importorskip("torch")
    agree(nn.Bilinear(5, 3, 4, bias), torch.nn.Bilinear(5, 3, 4, bias), normal(*lead, 5), normal(*lead, 3))


@pytest.mark.parametrize("padding_idx", [None, 0, -1])
def test_embedding_as_pytorch(padding_idx):
    torch = pytest.importorskip("torch")
    ours = nn.Embedding(6, 4, padding_idx)
    assert padding_idx is None or not ours.weight.detach().numpy()[padding_idx].any()
    index = np.array([[0, 5, 5], [2, 0, 1]])
    agree(ours, torch.nn.Embedding(6, 4, padding_idx), index)
    if padding_idx is not None:
        assert not ours.weight.grad.numpy()[padding_idx].any() and ours.weight.grad.numpy().any()


def spread(array: np.ndarray, bound: float) -> None:
    """Uniform between -bound and bound."""
    assert abs(array).max() <= bound and array.max() > 0.9 * bound and array.min() < -0.9 * bound
    assert array.std() == pytest.approx(bound / math.sqrt(3), rel=0.12)


def test_starting_values_are_distributed_as_in_pytorch():
    linear = nn.Linear(100, 200, stream=Stream(0, "init"))
    spread(linear.weight.detach().numpy(), 0.1)
    spread(linear.bias.detach().numpy(), 0.1)
    bilinear = nn.Bilinear(25, 9, 200, stream=Stream(0, "init"))
    spread(bilinear.weight.detach().numpy(), 0.2)
    spread(bilinear.bias.detach().numpy(), 0.2)
    table = nn.Embedding(300, 50, stream=Stream(0, "init")).weight.detach().numpy()
    assert table.std() == pytest.approx(1, rel=0.02) and abs(table.mean()) < 0.05


@pytest.mark.parametrize(
    "make",
    [lambda **k: nn.Linear(4, 3, **k), lambda **k: nn.Bilinear(4, 3, 2, **k), lambda **k: nn.Embedding(4, 3, 1, **k)],
)
def test_stream_dtype_and_device(make):
    strict_backend.install()
    first, second = (make(stream=Stream(7, "init")).state_dict() for _ in range(2))
    other = make(stream=Stream(8, "init")).state_dict()
    manual_seed(7)
    default = make().state_dict()
    there = make(stream=Stream(7, "init"), device="strict")
    assert {p.device for p in there.parameters()} == {"strict:0"} and all(p.requires_grad for p in there.parameters())
    for name, array in first.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(second[name], array)
        np.testing.assert_array_equal(default[name], array)
        np.testing.assert_array_equal(there.state_dict()[name], array)
    assert any(not np.array_equal(other[name], array) for name, array in first.items())
    assert {p.dtype for p in make(dtype=np.float64).parameters()} == {np.dtype(np.float64)}


def test_float32_stays_float32():
    x = tg.tensor(normal(2, 4).astype(np.float32), requires_grad=True)
    layer = nn.Linear(4, 3)
    out = layer(x)
    out.backward(np.ones((2, 3), np.float32))
    assert {t.dtype for t in (out, x.grad, layer.weight.grad, layer.bias.grad)} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: nn.Linear(784, 100)(normal(32, 100)),
            ValueError,
            r"Linear\(in_features=784, out_features=100, bias=True\): expected 784 features .* of shape \(32, 100\)",
        ),
        (lambda: nn.Linear(2, 3)(tg.tensor(1.0)), ValueError, r"expected 2 features .* got an input of shape \(\)"),
        (lambda: nn.Linear(2, 3)([1.0, 2.0]), TypeError, r"bias=True\): expected a Tensor, got list"),
        (lambda: nn.Linear(0, 3), ValueError, "Linear: in_features must be a positive integer, got 0"),
        (lambda: nn.Linear(3, 2.0), ValueError, "Linear: out_features must be a positive integer, got 2.0"),
        (lambda: nn.Bilinear(3, True, 2), ValueError, "Bilinear: in2_features must be a positive integer, got True"),
        (
            lambda: nn.Bilinear(3, 4, 2)(normal(5, 3), normal(5, 3)),
            ValueError,
            r"expected inputs \(..., 3\) and \(..., 4\), got \(5, 3\) and \(5, 3\)",
        ),
        (lambda: nn.Bilinear(3, 4, 2)(normal(5, 3), normal(6, 4)), ValueError, r"got \(5, 3\) and \(6, 4\)"),
        (lambda: nn.Embedding(4, -1), ValueError, "Embedding: embedding_dim must be a positive integer, got -1"),
        (lambda: nn.Embedding(4, 2, 4), ValueError, "padding_idx 4 is outside a table of 4 rows"),
        (lambda: nn.Embedding(4, 2)(np.array([4])), IndexError, "Embedding|embedding"),
        (lambda: nn.Dropout(1.5), ValueError, "Dropout: p must be from 0 to 1, got 1.5"),
        (lambda: nn.GELU("erf"), ValueError, "GELU: approximate must be 'none' or 'tanh', got 'erf'"),
        (
            lambda: nn.MSELoss("average"),
            ValueError,
            "MSELoss: reduction must be 'mean', 'sum' or 'none', got 'average'",
        ),
        (lambda: nn.HuberLoss(delta=0), ValueError, "HuberLoss: delta must be positive, got 0"),
    ],
)
def test_bad_arguments(call, error, words):
    with pytest.raises(error, match=words):
        call()


# --------------------------------------------------------------------------------------------- layers without weights


def test_dropout_only_while_training_and_from_its_stream():
    x = tg.tensor(np.ones((50, 40), np.float32), requires_grad=True)
    layer = nn.Dropout(0.25, stream=Stream(0, "dropout"))
    out = layer(x).detach().numpy()
    np.testing.assert_array_equal(np.unique(out), np.array([0, 4 / 3], np.float32))
    assert (out == 0).mean() == pytest.approx(0.25, abs=0.03)
    assert not np.array_equal(layer(x).detach().numpy(), out)
    np.testing.assert_array_equal(nn.Dropout(0.25, stream=Stream(0, "dropout"))(x).detach().numpy(), out)
    assert layer.eval()(x) is x
    assert repr(layer) == "Dropout(p=0.25)"
    manual_seed(5)
    first = nn.Dropout()(x).detach().numpy()
    manual_seed(5)
    np.testing.assert_array_equal(nn.Dropout()(x).detach().numpy(), first)


def test_flatten_and_identity():
    torch = pytest.importorskip("torch")
    for axes in ((), (0,), (2, 3), (-3, -2)):
        agree(nn.Flatten(*axes), torch.nn.Flatten(*axes), normal(2, 3, 4, 5))
    x = tg.tensor([1.0])
    assert nn.Identity()(x) is x
    assert repr(nn.Flatten()) == "Flatten(start_axis=1, end_axis=-1)"


@pytest.mark.parametrize(
    ("name", "settings", "shown"),
    [
        ("ReLU", {}, ""),
        ("LeakyReLU", {"negative_slope": 0.2}, "negative_slope=0.2"),
        ("ELU", {"alpha": 0.7}, "alpha=0.7"),
        ("GELU", {}, "approximate='none'"),
        ("GELU", {"approximate": "tanh"}, "approximate='tanh'"),
        ("SiLU", {}, ""),
        ("Sigmoid", {}, ""),
        ("Tanh", {}, ""),
        ("Softplus", {"beta": 2.0, "threshold": 1.0}, "beta=2.0, threshold=1.0"),
        ("Softmax", {"axis": 1}, "axis=1"),
        ("LogSoftmax", {"axis": 0}, "axis=0"),
    ],
)
def test_activations_as_pytorch(name, settings, shown):
    torch = pytest.importorskip("torch")
    layer = getattr(nn, name)(**settings)
    theirs = {"dim" if key == "axis" else key: value for key, value in settings.items()}
    agree(layer, getattr(torch.nn, name)(**theirs), normal(3, 4, 2))
    assert repr(layer) == f"{name}({shown})"


# -------------------------------------------------------------------------------------------------------------- losses

LABELS = np.array([3, 0, -100, 2, 1])
PROBABILITIES = np.exp(normal(5, 4)) / np.exp(normal(5, 4)).sum(axis=1, keepdims=True)
UNIT = 1 / (1 + np.exp(-normal(5, 4)))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    ("name", "settings", "inputs"),
    [
        ("CrossEntropyLoss", {}, (normal(5, 4), LABELS)),
        ("CrossEntropyLoss", {"label_smoothing": 0.1, "ignore_index": 2}, (normal(5, 4), abs(LABELS) % 4)),
        ("CrossEntropyLoss", {"label_smoothing": 0.2}, (normal(5, 4), PROBABILITIES)),
        ("NLLLoss", {"ignore_index": 3}, (normal(5, 4), abs(LABELS) % 4)),
        ("BCELoss", {}, (UNIT, UNIT[::-1].copy())),
        ("BCELoss", {"weight": normal(4)}, (UNIT, UNIT[::-1].copy())),
        ("BCEWithLogitsLoss", {}, (normal(5, 4), UNIT)),
        ("BCEWithLogitsLoss", {"weight": normal(5, 1), "pos_weight": UNIT[0]}, (normal(5, 4), UNIT)),
        ("MSELoss", {}, (normal(5, 4), UNIT)),
        ("L1Loss", {}, (normal(5, 4), UNIT)),
        ("HuberLoss", {"delta": 0.4}, (normal(5, 4), UNIT)),
    ],
)
def test_losses_as_pytorch(name, settings, inputs, reduction):
    torch = pytest.importorskip("torch")
    arrays = {key: value for key, value in settings.items() if isinstance(value, np.ndarray)}
    loss = getattr(nn, name)(**{**settings, **{k: tg.tensor(v) for k, v in arrays.items()}}, reduction=reduction)
    theirs = getattr(torch.nn, name)(
        **{**settings, **{k: torch.tensor(v) for k, v in arrays.items()}}, reduction=reduction
    )
    assert list(loss.state_dict()) == list(theirs.state_dict()) == sorted(arrays, reverse=True)
    agree(loss, theirs, *inputs)
    assert f"reduction={reduction!r}" in repr(loss)


def test_a_network_learns():
    """A ring inside out: the smallest task that a linear layer cannot do."""
    from tinygrad_hw import optim

    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (400, 2)).astype(np.float32)
    y = ((x**2).sum(axis=1) < 0.5).astype(np.int64)
    stream = Stream(0, "init")
    net = nn.Sequential(nn.Linear(2, 16, stream=stream), nn.Tanh(), nn.Linear(16, 2, stream=stream))
    optimizer, loss = optim.Adam(net.parameters(), lr=0.05), nn.CrossEntropyLoss()
    for _ in range(150):
        optimizer.zero_grad()
        loss(net(x), y).backward()
        optimizer.step()
    assert (F.argmax(net(x), axis=1).numpy() == y).mean() > 0.97
