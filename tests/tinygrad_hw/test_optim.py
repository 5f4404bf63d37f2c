"""Optimisers: the formulas against PyTorch, and what a step may and may not touch."""

from __future__ import annotations

import copy
import json
import math
import pickle

import numpy as np
import pytest

import tinygrad_hw as tg
from tests import strict_backend
from tinygrad_hw import nn, optim
from tinygrad_hw.optim import flat
from tinygrad_hw.serialization import load, save
from tinygrad_hw.tensor import Tensor

SHAPES = [(3, 4), (), (0, 5), (7,), (2, 3, 2)]
RULES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.8, "dampening": 0.3, "weight_decay": 0.1}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.03, "alpha": 0.9, "momentum": 0.7, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.03, "alpha": 0.9, "centered": True}),
    ("RMSprop", {"centered": True, "momentum": 0.5, "eps": 1e-3}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.05, "weight_decay": 0.1, "initial_accumulator_value": 0.3, "eps": 1e-6}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.7, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    ("Adam", {"betas": (0.0, 0.0)}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.1, "betas": (0.5, 0.99), "weight_decay": 0.5}),
]
rules = pytest.mark.parametrize(("name", "settings"), RULES, ids=[f"{n}-{'-'.join(s)}" for n, s in RULES])


def leaves(shapes=SHAPES, dtype=np.float64, seed=0) -> list[Tensor]:
    rng = np.random.default_rng(seed)
    return [tg.tensor(np.asarray(rng.standard_normal(s), dtype), requires_grad=True) for s in shapes]


def set_gradients(parameters, step, seed=1) -> None:
    """As backward would: written into the slot that the optimiser has given."""
    rng = np.random.default_rng((seed, step))
    for parameter in parameters:
        gradient = rng.standard_normal(parameter.shape)
        if parameter._grad_slot is None:
            parameter.grad = Tensor(np.asarray(gradient, parameter.dtype))
        else:
            parameter._grad_slot[...] = gradient
            parameter.grad = Tensor(parameter._grad_slot)


def torch_twin(parameters):
    torch = pytest.importorskip("torch")
    return [torch.nn.Parameter(torch.tensor(p.detach().numpy().copy())) for p in parameters]


def copy_gradients(parameters, twins) -> None:
    torch = pytest.importorskip("torch")
    for parameter, twin in zip(parameters, twins, strict=True):
        twin.grad = None if parameter.grad is None else torch.tensor(parameter.grad.numpy().copy())


def assert_equal(parameters, twins, **tolerance) -> None:
    for parameter, twin in zip(parameters, twins, strict=True):
        np.testing.assert_allclose(parameter.detach().numpy(), twin.detach().numpy(), **tolerance)


# -------------------------------------------------------------------------------------------------- against PyTorch


@rules
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(np.float64, {"rtol": 1e-12, "atol": 1e-13}), (np.float32, {"rtol": 2e-5, "atol": 2e-6})]
)
def test_fifty_steps_as_pytorch(name, settings, dtype, tolerance):
    torch = pytest.importorskip("torch")
    parameters = leaves(dtype=dtype)
    twins = torch_twin(parameters)
    ours, theirs = getattr(optim, name)(parameters, **settings), getattr(torch.optim, name)(twins, **settings)
    for step in range(50):
        set_gradients(parameters, step)
        copy_gradients(parameters, twins)
        ours.step()
        theirs.step()
        assert_equal(parameters, twins, **tolerance)
    assert all(p.dtype == dtype for p in parameters)


@rules
def test_parameters_without_gradient_are_skipped_as_in_pytorch(name, settings):
    torch = pytest.importorskip("torch")
    parameters = leaves()
    twins = torch_twin(parameters)
    ours, theirs = getattr(optim, name)(parameters, **settings), getattr(torch.optim, name)(twins, **settings)
    rng = np.random.default_rng(5)
    for step in range(30):
        set_gradients(parameters, step)
        for parameter in parameters:
            if rng.random() < 0.4:
                parameter.grad = None
        copy_gradients(parameters, twins)
        ours.step()
        theirs.step()
    assert_equal(parameters, twins, rtol=1e-12, atol=1e-13)


def test_groups_have_their_own_settings_and_may_change_them():
    torch = pytest.importorskip("torch")
    parameters = leaves()
    twins = torch_twin(parameters)

    def groups(p):
        return [{"params": p[:2], "lr": 0.5, "momentum": 0.9}, {"params": p[2], "name": "second"}, {"params": p[3:]}]

    ours = optim.SGD(groups(parameters), lr=0.1, weight_decay=0.01)
    theirs = torch.optim.SGD(groups(twins), lr=0.1, weight_decay=0.01)
    for step in range(20):
        for optimizer in (ours, theirs):
            optimizer.param_groups[2]["lr"] = 0.1 / (step + 1)
            optimizer.param_groups[2]["momentum"] = 0.5 if step > 10 else 0.0
        set_gradients(parameters, step)
        copy_gradients(parameters, twins)
        ours.step()
        theirs.step()
    assert_equal(parameters, twins, rtol=1e-12, atol=1e-13)


def test_a_group_may_be_added_later():
    torch = pytest.importorskip("torch")
    parameters = leaves()
    twins = torch_twin(parameters)
    ours, theirs = optim.Adam(parameters[:2]), torch.optim.Adam(twins[:2])
    for step in range(10):
        if step == 4:
            ours.add_param_group({"params": parameters[2:], "lr": 0.1})
            theirs.add_param_group({"params": twins[2:], "lr": 0.1})
        set_gradients(parameters, step)
        copy_gradients(parameters, twins)
        ours.step()
        theirs.step()
    assert_equal(parameters, twins, rtol=1e-12, atol=1e-13)


def test_two_optimisers_over_one_parameter_take_turns_as_in_pytorch():
    torch = pytest.importorskip("torch")
    parameters = leaves()
    twins = torch_twin(parameters)
    ours = [optim.SGD(parameters, lr=0.1, momentum=0.9), optim.Adam(parameters, lr=0.1)]
    theirs = [torch.optim.SGD(twins, lr=0.1, momentum=0.9), torch.optim.Adam(twins, lr=0.1)]
    for step in range(12):
        ours[1].zero_grad()
        set_gradients(parameters, step)
        copy_gradients(parameters, twins)
        ours[step % 2].step()
        theirs[step % 2].step()
        if step % 3 == 0:
            ours[0].step()
            theirs[0].step()
    assert_equal(parameters, twins, rtol=1e-12, atol=1e-13)


def test_a_centered_variance_that_rounds_below_zero_gives_no_nan():
    (p,) = parameters = leaves([(1000,)], np.float32)
    optimizer = optim.RMSprop(parameters, centered=True, alpha=0.5)
    gradient = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    for _ in range(60):
        p.grad = Tensor(gradient)
        optimizer.step()
        assert np.isfinite(p.detach().numpy()).all()


# ------------------------------------------------------------------------------------------ what a step may not touch


def test_a_real_backward_writes_into_the_flat_gradients():
    p, q = leaves([(), ()])
    optimizer = optim.SGD([p, q], lr=0.5)
    p0, q0 = p.item(), q.item()
    (p * q + p).backward()
    assert p.grad.item() == pytest.approx(q0 + 1) and q.grad.item() == pytest.approx(p0)
    buffer = optimizer._buffers[0]
    assert np.shares_memory(p.grad.data, buffer.gradients) and np.shares_memory(p.data, buffer.values)
    (p * 2).backward()  # adds up
    optimizer.step()
    assert p.item() == pytest.approx(p0 - 0.5 * (q0 + 3)) and q.item() == pytest.approx(q0 - 0.5 * p0)
    optimizer.zero_grad()
    assert p.grad is None and q.grad is None
    (p * 3).backward()
    assert p.grad.item() == 3.0 and q.grad is None


def test_zero_grad_to_zeros():
    parameters = leaves()
    optimizer = optim.SGD(parameters)
    set_gradients(parameters[:2], 0)
    optimizer.zero_grad(set_to_none=False)
    assert not parameters[0].grad.numpy().any() and parameters[2].grad is None
    set_gradients(parameters, 0)
    optimizer.zero_grad()
    assert all(p.grad is None for p in parameters)


def test_a_step_between_forward_and_backward_is_found():
    p, q = leaves([(3,), (3,)])
    optimizer = optim.SGD([p, q], lr=0.1)
    set_gradients([p], 0)
    product = p * q
    optimizer.step()
    with pytest.raises(RuntimeError, match=r"Mul: saved array .* was changed in place"):
        product.backward(np.ones(3))
    product = p * q
    product.backward(np.ones(3))


@pytest.mark.parametrize("dtypes", [(np.float64,) * 5, (np.float32, np.float64, np.float16, np.float32, np.float64)])
@rules
def test_the_length_of_a_block_changes_no_bit(monkeypatch, name, settings, dtypes):
    results = []
    for size in (64, 1 << 20):
        monkeypatch.setattr(flat, "_BLOCK_BYTES", size)
        parameters = [leaves([s], d, i)[0] for i, (s, d) in enumerate(zip([(37, 5), *SHAPES[1:]], dtypes, strict=True))]
        optimizer = getattr(optim, name)(parameters, **settings)
        for step in range(5):
            set_gradients(parameters, step)
            optimizer.step()
        results.append([p.detach().numpy().copy() for p in parameters])
    for small, large in zip(*results, strict=True):
        np.testing.assert_array_equal(small, large, strict=True)


@rules
def test_a_device_gets_the_same_numbers(name, settings):
    strict_backend.install()
    ours = leaves()
    there = [Tensor(tg.backend.to_device(p.detach().numpy(), "strict"), requires_grad=True) for p in ours]
    both = [*there, *leaves(seed=9)]  # two devices in one optimiser
    optimizers = [getattr(optim, name)(ours, **settings), getattr(optim, name)(both, **settings)]
    for step in range(4):
        set_gradients(ours, step)
        for p, q in zip(ours, there, strict=True):
            q.grad = Tensor(tg.backend.to_device(p.grad.numpy(), "strict"))
        for optimizer in optimizers:
            optim.clip_grad_norm_(optimizer, 1.5)
            optim.clip_grad_value_(optimizer, 0.4)
            optimizer.step()
    for p, q in zip(ours, there, strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), tg.backend.to_numpy(q._data))
    state = optimizers[1].state_dict()
    optimizers[1].load_state_dict(state)
    assert all(isinstance(array, np.ndarray) for array in state["arrays"].values())


def test_moving_a_parameter_after_the_optimiser_was_made_is_found():
    p, q = leaves([(2, 3), (4,)])
    optimizer = optim.SGD([p, q], lr=0.1)
    before = p.detach().numpy().copy()
    set_gradients([p, q], 0)
    q._data = q._data.astype(np.float32)
    words = (
        r"SGD: parameter 1 of group 0: the optimiser holds it as float64 \(4,\) on cpu, but it is now float32 \(4,\) "
        r"on cpu; make the optimiser after module.to\(...\)"
    )
    with pytest.raises(RuntimeError, match=words):
        optimizer.step()
    np.testing.assert_array_equal(p.detach().numpy(), before)


def test_replaced_data_and_gradients_are_taken_in():
    (p,) = leaves([(3,)])
    optimizer = optim.SGD([p], lr=1.0)
    p.data = np.array([1.0, 2.0, 3.0])
    p.grad = tg.tensor(np.array([1.0, 1.0, 1.0]))
    optimizer.step()
    np.testing.assert_array_equal(p.detach().numpy(), [0, 1, 2])
    assert np.shares_memory(p.data, optimizer._buffers[0].values)
    with pytest.raises(ValueError, match=r"grad: expected float64 \(3,\) on cpu, got float64 \(2,\) on cpu"):
        p.grad = tg.tensor(np.array([1.0, 1.0]))
    with pytest.raises(ValueError, match=r"grad: expected float64 \(3,\) on cpu, got float32 \(3,\) on cpu"):
        p.grad = tg.tensor([1.0, 1.0, 1.0])
    p.data = np.array([1.0, 2.0, 3.0], np.float32)
    with pytest.raises(RuntimeError, match=r"holds it as float64 \(3,\) on cpu, but it is now float32"):
        optimizer.step()


def test_a_parameter_given_twice_is_updated_once():
    (p,) = leaves([(3,)])
    before = p.detach().numpy().copy()
    optimizer = optim.SGD([p, p], lr=1.0)
    p.grad = tg.tensor(np.ones(3))
    optimizer.step()
    np.testing.assert_array_equal(p.detach().numpy(), before - 1)
    with pytest.raises(ValueError, match=r"SGD: parameter 0 of group 1 \(float64 \(3,\)\) is already in another group"):
        optim.SGD([{"params": [p]}, {"params": [p]}])
    with pytest.raises(ValueError, match=r"parameter 0 of group 1 .* is already in another group"):
        optimizer.add_param_group({"params": p})
    assert len(optimizer.param_groups) == 1


def test_copies_of_parameters_are_independent_and_optimisers_are_not_copied():
    parameters = leaves()
    optimizer = optim.Adam(parameters)
    set_gradients(parameters, 0)
    average = copy.deepcopy(parameters)
    before = [p.detach().numpy().copy() for p in average]
    optimizer.step()
    for copied, values in zip(average, before, strict=True):
        np.testing.assert_array_equal(copied.detach().numpy(), values)
    for attempt in (copy.deepcopy, copy.copy, pickle.dumps):
        with pytest.raises(TypeError, match="Adam cannot be copied or pickled"):
            attempt(optimizer)


# ------------------------------------------------------------------------------------------------------- checkpoints


@rules
def test_resuming_is_equal_to_the_bit(tmp_path, name, settings):
    def make(parameters):
        groups = [{"params": parameters[:3], "lr": 0.02}, {"params": parameters[3:]}]
        return getattr(optim, name)(groups, **settings)

    def train(optimizer, parameters, steps):
        for step in steps:
            set_gradients(parameters, step)
            parameters[step % 4].grad = None
            optimizer.step()

    straight = leaves(dtype=np.float32)
    train(make(straight), straight, range(40))

    first = leaves(dtype=np.float32)
    optimizer = make(first)
    train(optimizer, first, range(17))
    optimizer.param_groups[0]["lr"] = 0.02
    state = optimizer.state_dict()
    save(tmp_path / "optimizer.safetensors", state["arrays"], {"scalars": json.dumps(state["scalars"])})
    values = [p.detach().numpy().copy() for p in first]
    train(optimizer, first, range(17, 20))  # what a copy of the state must not notice

    second = [tg.tensor(v, requires_grad=True) for v in values]
    optimizer = make(second)
    optimizer.load_state_dict(
        {"arrays": load(tmp_path / "optimizer.safetensors"), "scalars": json.loads(json.dumps(state["scalars"]))}
    )
    train(optimizer, second, range(17, 40))
    for a, b in zip(straight, second, strict=True):
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy(), strict=True)
    for a, b in zip(optimizer.param_groups, make(straight).param_groups, strict=True):
        assert {k: v for k, v in a.items() if k != "params"} == {k: v for k, v in b.items() if k != "params"}


def test_a_state_before_the_first_step_can_be_loaded():
    parameters = leaves()
    optimizer = optim.Adagrad(parameters, initial_accumulator_value=0.5)
    state = optimizer.state_dict()
    assert state["arrays"]["0.sum"].shape == (3, 4) and (state["arrays"]["0.sum"] == 0.5).all()
    optimizer.load_state_dict(state)


def test_a_state_that_does_not_fit_changes_nothing():
    parameters = leaves()
    optimizer = optim.SGD(parameters, lr=0.1, momentum=0.9)
    set_gradients(parameters, 0)
    optimizer.step()
    state = optimizer.state_dict()

    def broken(**changes):
        return {"arrays": {**state["arrays"], **changes.pop("arrays", {})}, "scalars": {**state["scalars"], **changes}}

    without = {key: value for key, value in state["arrays"].items() if key != "3.momentum_buffer"}
    cases = [
        ({"scalars": {}}, "expected arrays and scalars"),
        (optim.Adam(leaves()).state_dict(), "the state is that of Adam"),
        (optim.SGD(leaves(SHAPES[:3]), momentum=0.9).state_dict(), r"expected groups of \[5\] parameters, got \[3\]"),
        ({**state, "arrays": without}, "missing '3.momentum_buffer'"),
        (broken(arrays={"9.x": np.zeros(1)}), "unexpected '9.x'"),
        (broken(arrays={"3.momentum_buffer": np.zeros(3)}), r"'3.momentum_buffer' has shape \(3,\) instead of \(7,\)"),
        (broken(groups=[{**state["scalars"]["groups"][0], "lr": -1.0}]), "lr must be a finite number >= 0, got -1.0"),
        (broken(groups=[{"params": 5}]), "a group lacks 'lr', 'momentum'"),
    ]
    for wrong, words in cases:
        with pytest.raises(ValueError, match=f"SGD.*{words}"):
            optimizer.load_state_dict(wrong)
    after = optimizer.state_dict()
    assert after["scalars"] == state["scalars"]
    for key, array in state["arrays"].items():
        np.testing.assert_array_equal(after["arrays"][key], array)


# ---------------------------------------------------------------------------------------------------- bad arguments


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda p: optim.SGD([]), ValueError, "SGD: got an empty list of parameters"),
        (lambda p: optim.SGD(p), TypeError, "SGD: expected a list of Tensors or of groups, got Tensor"),
        (lambda p: optim.SGD({p}), TypeError, "SGD: expected a list of Tensors or of groups, got set"),
        (lambda p: optim.SGD(nn.Identity()), TypeError, r"got Identity; write module.parameters\(\)"),
        (lambda p: optim.SGD([p, 3]), TypeError, "SGD: parameter 1 of group 0: expected a Tensor, got int"),
        (lambda p: optim.SGD([p * 2]), ValueError, "expected a leaf, got the result of an operation <MulBackward>"),
        (lambda p: optim.SGD([tg.tensor([1, 2])]), TypeError, "expected a real floating dtype, got int64"),
        (lambda p: optim.SGD([tg.tensor([1j])]), TypeError, "expected a real floating dtype, got complex128"),
        (lambda p: optim.SGD([{"params": [p]}, p]), TypeError, "group 1 must be a dict with 'params'"),
        (lambda p: optim.SGD([{"parameters": [p]}]), TypeError, "group 0 must be a dict with 'params'"),
        (lambda p: optim.SGD([{"params": {p}}]), TypeError, "the parameters of group 0 are a set, which has no fixed"),
        (
            lambda p: optim.SGD([{"params": p, "rate": 1}]),
            ValueError,
            "unknown setting 'rate' in group 0; it has lr, mom",
        ),
        (lambda p: optim.SGD([{"params": p, "lr": -1}]), ValueError, "SGD: lr must be a finite number >= 0, got -1"),
        (lambda p: optim.SGD([p], lr=math.nan), ValueError, "SGD: lr must be a finite number >= 0, got nan"),
        (lambda p: optim.SGD([p], lr="0.1"), ValueError, "SGD: lr must be a finite number >= 0, got '0.1'"),
        (lambda p: optim.SGD([p], momentum=-0.1), ValueError, "SGD: momentum must be"),
        (lambda p: optim.SGD([p], nesterov=True), ValueError, "SGD: nesterov needs momentum > 0 and dampening = 0"),
        (
            lambda p: optim.Adam([p], betas=(1.0, 0.9)),
            ValueError,
            r"betas\[0\] must be a finite number >= 0 and < 1, got 1",
        ),
        (lambda p: optim.Adam([p], betas=0.9), ValueError, "Adam: betas must be a pair of numbers, got 0.9"),
        (lambda p: optim.AdamW([p], eps=0.0), ValueError, "AdamW: eps must be a finite number > 0, got 0.0"),
        (lambda p: optim.RMSprop([p], alpha=1.5), ValueError, "RMSprop: alpha must be a finite number >= 0 and < 1"),
        (lambda p: optim.Adagrad([p], lr_decay=-1), ValueError, "Adagrad: lr_decay must be"),
    ],
)
def test_bad_arguments(make, error, words):
    with pytest.raises(error, match=words):
        make(tg.tensor([1.0, 2.0], requires_grad=True))


def test_its_repr_shows_the_settings():
    assert repr(optim.SGD(leaves(), lr=0.5)) == (
        "SGD(lr=0.5, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, 5 parameters)"
    )
