"""Parameters seen through functions: what is computed, what is learned, what is saved, and the way back."""

from __future__ import annotations

import copy
import pickle
from functools import partial

import numpy as np
import pytest

import tinygrad_hw as tg
from tests import strict_backend
from tinygrad_hw import functional as F
from tinygrad_hw import nn, optim
from tinygrad_hw.nn import parametrize
from tinygrad_hw.nn.parametrize import is_parametrized, register_parametrization, remove_parametrizations
from tinygrad_hw.random import Stream

X = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)


def layer(seed: int = 0) -> nn.Linear:
    return nn.Linear(5, 4, stream=Stream(seed, "init"))


def doubled(w):
    return w * 2


class Scale(nn.Module):
    """A function with a parameter and a memory of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter([3.0])
        self.register_buffer("calls", tg.zeros((), dtype=np.int64))

    def forward(self, w):
        if self.training:
            self.calls = self.calls + 1
        return w * self.factor


def test_the_layer_computes_with_the_function_of_its_parameter():
    linear = layer()
    w = linear.weight
    plain = w.detach().numpy().copy()
    assert register_parametrization(linear, "weight", F.binarize) is linear
    assert isinstance(linear, nn.Linear) and is_parametrized(linear) and is_parametrized(linear, "weight")
    assert not is_parametrized(linear, "bias") and linear.parametrizations["weight"].original is w
    expected = F.binarize(plain)
    np.testing.assert_array_equal(linear.weight.detach().numpy(), expected)
    bias = linear.bias.detach().numpy()
    np.testing.assert_allclose(linear(X).detach().numpy(), X @ expected.T + bias, rtol=1e-5)


def test_the_original_is_learned_through_the_gradient_that_the_function_passes():
    linear = layer()
    optimizer = optim.SGD(linear.parameters(), lr=0.5)  # made before: the parameter stays the same object
    register_parametrization(linear, "weight", doubled)
    original = linear.parametrizations["weight"].original
    before = original.detach().numpy().copy()
    linear(X).sum().backward()
    gradient = np.ones((6, 4), np.float32).T @ X
    np.testing.assert_allclose(original.grad.numpy(), 2 * gradient, rtol=1e-5)
    optimizer.step()
    np.testing.assert_allclose(original.detach().numpy(), before - gradient, rtol=1e-5)
    assert [name for name, _ in linear.named_parameters()] == ["bias", "parametrizations.weight.original"]


def test_several_functions_are_applied_in_order():
    linear = layer()
    w = linear.weight.detach().numpy().copy()
    register_parametrization(linear, "weight", doubled)
    register_parametrization(linear, "weight", lambda value: value + 1)
    np.testing.assert_allclose(linear.weight.detach().numpy(), 2 * w + 1, rtol=1e-6)
    assert len(linear.parametrizations["weight"]) == 2


@pytest.mark.parametrize(
    ("build", "name"),
    [(lambda: nn.Bilinear(2, 3, 4), "weight"), (lambda: nn.Embedding(7, 3), "weight"), (layer, "bias"),
     (lambda: nn.LowRankLinear(5, 4, 2), "vt")],
)  # fmt: skip
def test_any_parameter_of_any_module(build, name):
    module = build()
    before = getattr(module, name).detach().numpy().copy()
    register_parametrization(module, name, F.ternarize)
    np.testing.assert_array_equal(getattr(module, name).detach().numpy(), F.ternarize(before))
    assert f"parametrizations.{name}.original" in module.state_dict() and name not in module.state_dict()


QUANTISERS = [
    (partial(F.quantize, bits=8, limits=None), 256), (partial(F.quantize, bits=4, limits=None), 16),
    (partial(F.quantize, bits=2, limits=(-0.5, 0.5)), 4), (F.ternarize, 3), (F.binarize, 2),
]  # fmt: skip


@pytest.mark.parametrize(("quantiser", "values"), QUANTISERS)
def test_training_with_few_values_lowers_the_loss_of_the_quantised_net(quantiser, values):
    """The weights that compute take few values at every step, those that learn take any."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(64, 30)).astype(np.float32)
    targets = inputs @ (0.3 * rng.normal(size=(30, 20))).astype(np.float32)
    linear = nn.Linear(30, 20, stream=Stream(0, "init"))
    register_parametrization(linear, "weight", quantiser)
    optimizer, losses = optim.Adam(linear.parameters(), lr=0.01), []
    for _ in range(60):
        optimizer.zero_grad()
        loss = F.mse_loss(linear(inputs), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        assert len(np.unique(linear.weight.detach().numpy())) <= values
    assert losses[-1] < 0.7 * losses[0]
    assert len(np.unique(linear.parametrizations["weight"].original.detach().numpy())) == 600


def test_a_module_among_the_functions_learns_remembers_and_knows_whether_this_is_training():
    net = nn.Sequential(layer(), nn.ReLU())
    scale = Scale()
    register_parametrization(net[0], "weight", scale)
    assert list(net.state_dict()) == [
        "0.bias", "0.parametrizations.weight.original", "0.parametrizations.weight.0.factor",
        "0.parametrizations.weight.0.calls",
    ]  # fmt: skip
    calls = int(scale.calls.item())
    net.eval()(X)
    assert scale.calls.item() == calls
    net.train()(X).sum().backward()
    assert scale.calls.item() == calls + 1 and scale.factor.grad is not None


def test_state_dict_keys_are_pytorchs_and_its_weights_can_be_loaded():
    torch = pytest.importorskip("torch")

    class Double(torch.nn.Module):
        def forward(self, w):
            return w * 2

    theirs, mine = torch.nn.Linear(5, 4), layer()
    torch.nn.utils.parametrize.register_parametrization(theirs, "weight", Double())
    register_parametrization(mine, "weight", doubled)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    mine.load_state_dict(theirs.state_dict())
    np.testing.assert_allclose(mine(X).detach().numpy(), theirs(torch.tensor(X)).detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("leave", [True, False])
def test_the_way_back(leave):
    linear = layer()
    original, before = linear.weight, linear.weight.detach().numpy().copy()
    optimizer = optim.SGD(linear.parameters(), lr=0.1)
    register_parametrization(linear, "weight", doubled)
    register_parametrization(linear, "bias", doubled)
    assert remove_parametrizations(linear, "weight", leave) is linear
    assert linear.weight is original and is_parametrized(linear, "bias") and not is_parametrized(linear, "weight")
    np.testing.assert_array_equal(linear.weight.detach().numpy(), before * 2 if leave else before)
    remove_parametrizations(linear, "bias")
    assert type(linear) is nn.Linear and not is_parametrized(linear)
    assert sorted(linear.state_dict()) == ["bias", "weight"]
    linear(X).sum().backward()
    seen = linear.weight.detach().numpy().copy()
    optimizer.step()
    assert (linear.weight.detach().numpy() != seen).any(), "the optimiser still learns the parameter"
    linear.weight = nn.Parameter(np.zeros((4, 5), np.float32))  # an ordinary attribute again


def test_other_modules_of_the_class_stay_as_they_are():
    seen, other, plain = layer(), layer(1), layer(2)
    register_parametrization(seen, "weight", doubled)
    register_parametrization(other, "bias", doubled)
    assert type(plain) is nn.Linear and isinstance(plain.weight, nn.Parameter)
    assert isinstance(seen.bias, nn.Parameter) and isinstance(other.weight, nn.Parameter)
    assert isinstance(nn.Linear(2, 2).weight, nn.Parameter)


@pytest.mark.parametrize("how", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_are_independent(how):
    net = nn.Sequential(layer())
    register_parametrization(net[0], "weight", doubled)
    twin = how(net)
    np.testing.assert_array_equal(twin(X).detach().numpy(), net(X).detach().numpy())
    remove_parametrizations(twin[0], "weight", leave_parametrized=False)
    assert type(twin[0]) is nn.Linear and is_parametrized(net[0], "weight")
    np.testing.assert_array_equal(net[0].weight.detach().numpy(), 2 * twin[0].weight.detach().numpy())
    twin[0].weight.data[...] = 0
    assert net[0].weight.detach().numpy().all()


def test_on_another_device_and_in_another_dtype():
    strict_backend.install()
    linear = layer().to(device="strict")
    register_parametrization(linear, "weight", F.binarize)
    assert linear.weight.device == "strict:0"
    assert linear(tg.tensor(X, device="strict")).device == "strict:0"
    assert linear.to("cpu").to(np.float64).weight.dtype == np.float64


def test_in_words():
    linear = layer()
    register_parametrization(linear, "weight", partial(F.quantize, bits=2, limits=None))
    register_parametrization(linear, "weight", doubled)
    text = repr(linear)
    assert text.startswith("ParametrizedLinear(")
    assert "(0): Lambda(quantize, bits=2, limits=None)" in text and "(1): Lambda(doubled)" in text


def test_assigning_to_what_is_computed_raises():
    linear = layer()
    register_parametrization(linear, "weight", doubled)
    with pytest.raises(
        AttributeError, match=r"ParametrizedLinear.weight is computed; change parametrizations\['weight'"
    ):
        linear.weight = nn.Parameter(np.zeros((4, 5), np.float32))


def test_an_attribute_error_inside_the_function_is_not_taken_for_a_missing_weight():
    linear = layer()
    register_parametrization(linear, "weight", lambda w: w if w.dtype == np.float32 else w.no_such_thing)
    linear.to(np.float64)
    with pytest.raises(RuntimeError, match=r"weight: its parametrization raised AttributeError\(.*no_such_thing"):
        linear(X)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((layer(), "wieght", doubled), ValueError, "Linear has no parameter 'wieght'"),
        ((layer(), "in_features", doubled), ValueError, "Linear has no parameter 'in_features'"),
        ((layer(), "weight", 3), TypeError, "expected a function, got int"),
        ((np.zeros(3), "weight", doubled), TypeError, "expected a Module, got ndarray"),
        ((layer(), "weight", lambda w: w[:2]), ValueError,
         r"expected weight to stay float32 \(4, 5\) on cpu, the function gave float32 \(2, 5\) on cpu"),
        ((layer(), "weight", lambda w: w.double()), ValueError, "the function gave float64"),
        ((layer(), "weight", lambda w: w.numpy() if not w.requires_grad else None), ValueError, "gave NoneType"),
    ],
)  # fmt: skip
def test_what_cannot_be_registered_is_refused_and_changes_nothing(arguments, error, words):
    module = arguments[0]
    with pytest.raises(error, match=f"^register_parametrization: .*{words}"):
        register_parametrization(*arguments)
    if isinstance(module, nn.Module):
        assert type(module) is nn.Linear and list(module.state_dict()) == ["weight", "bias"]


def test_what_is_not_parametrized_cannot_be_removed():
    with pytest.raises(ValueError, match="remove_parametrizations: 'weight' of Linear is not parametrized"):
        remove_parametrizations(layer(), "weight")
    assert parametrize.is_parametrized(layer()) is False
