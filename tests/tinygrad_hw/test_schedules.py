"""Learning-rate schedules against PyTorch, step for step."""

from __future__ import annotations

import json
import math
import warnings

import numpy as np
import pytest

import tinygrad_hw as tg
from tinygrad_hw import optim

STEPS = 400


def groups(tensor_of):
    return [{"params": [tensor_of()], "lr": 0.1}, {"params": [tensor_of()], "lr": 0.02}]


def ours(kind="SGD", **settings):
    return getattr(optim, kind)(groups(lambda: tg.tensor([1.0], requires_grad=True)), **settings)


def theirs(kind="SGD", **settings):
    torch = pytest.importorskip("torch")
    return getattr(torch.optim, kind)(groups(lambda: torch.ones(1, requires_grad=True)), **settings)


def history(optimizer, schedule, steps, keys=("lr",)):
    """The groups' settings before the first step and after each."""
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's, about a step without gradients
        for step in range(steps + 1):
            if step:
                optimizer.step()
                schedule.step()
            row = [group[key] for group in optimizer.param_groups for key in keys]
            rows.append([value[0] if isinstance(value, tuple) else value for value in row])
            assert [group["lr"] for group in optimizer.param_groups] == schedule.get_last_lr()
    return np.array(rows)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("StepLR", {"step_size": 30}),
        ("StepLR", {"step_size": 1, "gamma": 0.99}),
        ("CosineAnnealingLR", {"T_max": STEPS}),
        ("CosineAnnealingLR", {"T_max": 60, "eta_min": 0.001}),  # and on over several half-waves
        ("LinearLR", {}),
        ("LinearLR", {"start_factor": 0.001, "end_factor": 0.7, "total_iters": 100}),
        ("LinearLR", {"start_factor": 1.0, "end_factor": 0.0, "total_iters": 300}),
    ],
)
def test_as_pytorch(name, settings):
    scheduler = pytest.importorskip("torch.optim.lr_scheduler")
    a, b = ours(), theirs()
    mine = history(a, getattr(optim, name)(a, **settings), STEPS)
    reference = history(b, getattr(scheduler, name)(b, **settings), STEPS)
    np.testing.assert_allclose(mine, reference, rtol=1e-9, atol=1e-15)
    assert len(np.unique(mine[:, 0])) > 5


@pytest.mark.parametrize(("kind", "key"), [("SGD", "momentum"), ("RMSprop", "momentum"), ("Adam", "betas")])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"anneal_strategy": "linear", "pct_start": 0.1},
        {"three_phase": True, "div_factor": 10.0, "final_div_factor": 50.0},
        {"max_lr": [0.5, 0.3], "base_momentum": 0.7, "max_momentum": 0.99},
        {"pct_start": 0.001},
        {"pct_start": 0.0},
        {"pct_start": 1.0},
    ],
)
def test_one_cycle_as_pytorch(kind, key, settings):
    scheduler = pytest.importorskip("torch.optim.lr_scheduler")
    settings = {"max_lr": 0.4, "total_steps": STEPS, **settings}
    a, b = ours(kind), theirs(kind)
    mine = history(a, optim.OneCycleLR(a, **settings), STEPS - 1, ("lr", key))
    reference = history(b, scheduler.OneCycleLR(b, **settings), STEPS - 1, ("lr", key))
    np.testing.assert_allclose(mine, reference, rtol=1e-12, atol=1e-15)


def test_one_cycle_ends():
    a = ours()
    schedule = optim.OneCycleLR(a, max_lr=1.0, total_steps=5, anneal_strategy="linear")
    rates = history(a, schedule, 5)[:, 0]
    assert rates[5] == rates[4] == pytest.approx(1 / 25 / 1e4)  # one step more than the last changes nothing
    with pytest.raises(ValueError, match="OneCycleLR: step 6 of a schedule of 5 steps"):
        schedule.step()
    assert schedule.last_epoch == 5
    fixed = ours()
    optim.OneCycleLR(fixed, max_lr=1.0, total_steps=5, cycle_momentum=False)
    assert fixed.param_groups[0]["momentum"] == 0.0
    with pytest.raises(ValueError, match="OneCycleLR: Adagrad has no momentum to cycle; pass cycle_momentum=False"):
        optim.OneCycleLR(ours("Adagrad"), max_lr=1.0, total_steps=5)
    without = optim.OneCycleLR(ours("Adagrad"), max_lr=1.0, total_steps=5, cycle_momentum=False)
    assert without.get_last_lr() == pytest.approx([0.04, 0.04])
    optim.OneCycleLR(ours(), max_lr=1.0, total_steps=1)  # a phase without length
    optim.OneCycleLR(ours(), max_lr=1.0, total_steps=10, pct_start=0.1)


@pytest.mark.parametrize("milestones", [[20], [20, 150]])
def test_warm_up_then_cosine_as_pytorch(milestones):
    scheduler = pytest.importorskip("torch.optim.lr_scheduler")

    def sequence(module, optimizer):
        parts = [
            module.LinearLR(optimizer, start_factor=0.01, total_iters=20),
            module.CosineAnnealingLR(optimizer, T_max=130, eta_min=1e-4),
            module.StepLR(optimizer, step_size=40),
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return module.SequentialLR(optimizer, parts[: len(milestones) + 1], milestones)

    a, b = ours(), theirs()
    mine, reference = history(a, sequence(optim, a), STEPS), history(b, sequence(scheduler, b), STEPS)
    np.testing.assert_allclose(mine, reference, rtol=1e-9, atol=1e-15)
    assert mine[20, 0] == 0.1 and mine[0, 0] == 0.001


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"patience": 2, "cooldown": 3, "factor": 0.5},
        {"mode": "max", "patience": 1, "threshold": 0.05},
        {"mode": "max", "threshold_mode": "abs", "threshold": 0.3, "patience": 0},
        {"threshold_mode": "abs", "threshold": 0.1, "patience": 3, "min_lr": [0.05, 0.0]},
        {"patience": 0, "factor": 0.3, "eps": 1e-4},
    ],
)
def test_plateau_as_pytorch(settings):
    scheduler = pytest.importorskip("torch.optim.lr_scheduler")
    a, b = ours(), theirs()
    mine, reference = optim.ReduceLROnPlateau(a, **settings), scheduler.ReduceLROnPlateau(b, **settings)
    rng = np.random.default_rng(0)
    rates = []
    for step in range(300):
        value = 1 + math.exp(-step / 40) + 0.05 * rng.standard_normal() + (0.5 if step > 200 else 0)
        value = math.nan if step == 100 else math.inf if step == 101 else value
        mine.step(tg.tensor(value, dtype=np.float64))
        reference.step(value)
        rates.append(mine.get_last_lr())
        assert rates[-1] == pytest.approx([group["lr"] for group in b.param_groups], rel=1e-12)
        assert (mine.num_bad_epochs, mine.cooldown_counter) == (reference.num_bad_epochs, reference.cooldown_counter)
    assert rates[-1][0] < 0.1


def test_plateau_of_negative_values_is_found():
    a = ours()
    schedule = optim.ReduceLROnPlateau(a, patience=3)
    for _ in range(5):
        schedule.step(-1.0)
    assert a.param_groups[0]["lr"] == pytest.approx(0.01)


MAKERS = {
    "StepLR": lambda o: optim.StepLR(o, 7),
    "CosineAnnealingLR": lambda o: optim.CosineAnnealingLR(o, 50),
    "LinearLR": lambda o: optim.LinearLR(o, 0.1, total_iters=30),
    "OneCycleLR": lambda o: optim.OneCycleLR(o, 0.5, 100),
    "SequentialLR": lambda o: optim.SequentialLR(o, [optim.LinearLR(o), optim.CosineAnnealingLR(o, 50)], [5]),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("order", ["so", "os", "s"])
def test_resuming_a_schedule(name, order):
    """Schedule and optimiser in either order, or the schedule alone."""
    a = ours()
    rows = history(a, MAKERS[name](a), 60, ("lr", "momentum"))
    b = ours()
    before = MAKERS[name](b)
    history(b, before, 23)
    c = ours()
    after = MAKERS[name](c)
    for letter in order:
        if letter == "s":
            after.load_state_dict(json.loads(json.dumps(before.state_dict())))
        else:
            c.load_state_dict(b.state_dict())
    np.testing.assert_array_equal(history(c, after, 37, ("lr", "momentum")), rows[23:])
    assert after.last_epoch == 60


def test_resuming_a_plateau():
    rng = np.random.default_rng(1)
    values = rng.standard_normal(40)
    a, b = ours(), ours()
    straight, first = (optim.ReduceLROnPlateau(o, patience=2, cooldown=1, factor=0.5) for o in (a, b))
    expected = []
    for value in values:
        straight.step(value)
        expected.append(straight.get_last_lr())
    for value in values[:11]:
        first.step(value)
    c = ours()
    second = optim.ReduceLROnPlateau(c, patience=2, cooldown=1, factor=0.5)
    c.load_state_dict(b.state_dict())
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for value, rates in zip(values[11:], expected[11:], strict=True):
        second.step(value)
        assert second.get_last_lr() == rates
    assert expected[-1][0] < 0.1


def test_a_state_of_another_schedule_is_refused():
    for make in (MAKERS["StepLR"], optim.ReduceLROnPlateau):
        with pytest.raises(ValueError, match=r"load_state_dict: expected schedule, .* of a .*got .* of LinearLR"):
            make(ours()).load_state_dict(MAKERS["LinearLR"](ours()).state_dict())


def test_a_group_added_later_joins_in():
    a = ours()
    schedule = optim.StepLR(a, 2, gamma=0.5)
    history(a, schedule, 3)
    a.add_param_group({"params": tg.tensor([1.0], requires_grad=True), "lr": 8.0})
    schedule.step()
    assert schedule.get_last_lr() == pytest.approx([0.025, 0.005, 2.0])
    cycle = optim.OneCycleLR(a, [1.0, 2.0, 3.0], 10)
    a.add_param_group({"params": tg.tensor([1.0], requires_grad=True)})
    with pytest.raises(ValueError, match="OneCycleLR: expected one max_lr or 4, one for each parameter group, got 3"):
        cycle.step()


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda o: optim.StepLR("SGD", 3), TypeError, "StepLR: expected an Optimizer, got str"),
        (lambda o: optim.OneCycleLR(None, 1.0, 3), TypeError, "OneCycleLR: expected an Optimizer, got NoneType"),
        (lambda o: optim.ReduceLROnPlateau(None), TypeError, "ReduceLROnPlateau: expected an Optimizer"),
        (lambda o: optim.StepLR(o, 0), ValueError, "StepLR: step_size must be a positive integer, got 0"),
        (lambda o: optim.CosineAnnealingLR(o, 1.5), ValueError, "CosineAnnealingLR: T_max must be a positive integer"),
        (lambda o: optim.LinearLR(o, 0.0), ValueError, "LinearLR: expected 0 < start_factor <= 1 .* got 0.0 and 1.0"),
        (lambda o: optim.LinearLR(o, end_factor=2), ValueError, "0 <= end_factor <= 1"),
        (lambda o: optim.LinearLR(o, total_iters=0), ValueError, "LinearLR: total_iters must be a positive integer"),
        (lambda o: optim.OneCycleLR(o, 1.0, 9, pct_start=1.1), ValueError, "pct_start must be from 0 to 1, got 1.1"),
        (lambda o: optim.OneCycleLR(o, 1.0, 9, 0.6, three_phase=True), ValueError, "pct_start must be from 0 to 0.5"),
        (lambda o: optim.OneCycleLR(o, 1.0, 9, 0.3, "cosine"), ValueError, "anneal_strategy must be 'cos' or 'linear'"),
        (lambda o: optim.OneCycleLR(o, [1.0], 9), ValueError, "expected one max_lr or 2, .* got 1"),
        (lambda o: optim.ReduceLROnPlateau(o, "down"), ValueError, "expected mode 'min' or 'max' .* got 'down'"),
        (
            lambda o: optim.ReduceLROnPlateau(o, factor=1.0),
            ValueError,
            "factor must be at least 0 and below 1, got 1.0",
        ),
        (lambda o: optim.SequentialLR(o, [optim.LinearLR(o)], [3]), ValueError, "expected increasing milestones"),
        (
            lambda o: optim.SequentialLR(o, [optim.LinearLR(o), optim.LinearLR(o), optim.LinearLR(o)], [3, 3]),
            ValueError,
            r"one fewer than the 3 schedules, got \[3, 3\]",
        ),
        (
            lambda o: optim.SequentialLR(o, [optim.LinearLR(o), optim.LinearLR(ours())], [3]),
            ValueError,
            "the schedules belong to different optimizers",
        ),
    ],
)
def test_bad_arguments(make, error, words):
    with pytest.raises(error, match=words):
        make(ours())
