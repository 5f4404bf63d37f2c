"""Optimiser steps and schedules by hand against PyTorch's."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reference import optimizers

rng = np.random.default_rng(0)
RULES = [
    ("sgd", "SGD", {"lr": 0.1}),
    ("sgd", "SGD", {"lr": 0.1, "weight_decay": 0.2}),
    ("sgd", "SGD", {"lr": 0.1, "momentum": 0.9}),
    ("sgd", "SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("sgd", "SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1}),
    ("rmsprop", "RMSprop", {}),
    ("rmsprop", "RMSprop", {"lr": 0.02, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.1}),
    ("rmsprop", "RMSprop", {"momentum": 0.9, "centered": True}),
    ("adagrad", "Adagrad", {}),
    ("adagrad", "Adagrad", {"lr": 0.3, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5}),
    ("adam", "Adam", {}),
    ("adam", "Adam", {"lr": 0.1, "betas": (0.7, 0.9), "eps": 1e-2, "weight_decay": 0.1}),
    ("adamw", "AdamW", {}),
    ("adamw", "AdamW", {"lr": 0.1, "betas": (0.7, 0.9), "weight_decay": 0.3}),
]


def run(rule, theirs, dtype, options, mistake=1.0, steps=25):
    start, gradients = rng.standard_normal((3, 4)).astype(dtype), rng.standard_normal((steps, 3, 4)).astype(dtype)
    tensor = torch.tensor(start, requires_grad=True)
    optimizer = getattr(torch.optim, theirs)([tensor], **options)
    parameter, state = start, {}
    step = partial(getattr(optimizers, rule), **options)
    if mistake != 1.0:
        step = partial(step, lr=mistake * optimizer.defaults["lr"])
    for gradient in gradients:
        tensor.grad = torch.tensor(gradient)
        optimizer.step()
        before = parameter.copy(), gradient.copy()
        previous = parameter
        parameter, state = step(parameter, gradient, state)
        assert np.array_equal(previous, before[0]) and np.array_equal(gradient, before[1]), "changed in place"
        assert parameter.dtype == dtype
        yield parameter, tensor.detach().numpy()


@pytest.mark.parametrize("rule, theirs, options", RULES)
def test_every_step_is_pytorchs(rule, theirs, options) -> None:
    for ours, expected in run(rule, theirs, np.float64, options):
        np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-14)
    for ours, expected in run(rule, theirs, np.float32, options):
        np.testing.assert_allclose(ours, expected, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("rule, theirs, options", RULES)
def test_a_learning_rate_wrong_by_a_thousandth_is_caught(rule, theirs, options) -> None:
    for ours, expected in run(rule, theirs, np.float64, options, mistake=1.001):
        with pytest.raises(AssertionError):
            np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.0, float("inf")])
@pytest.mark.parametrize("max_norm", [0.5, 1e3])
def test_clip_grad_norm(norm_type, max_norm) -> None:
    gradients = [rng.standard_normal((3, 4)), rng.standard_normal(5)]
    tensors = [torch.zeros(g.shape, dtype=torch.float64, requires_grad=True) for g in gradients]
    for tensor, gradient in zip(tensors, gradients, strict=True):
        tensor.grad = torch.tensor(gradient)
    theirs = torch.nn.utils.clip_grad_norm_(tensors, max_norm, norm_type)
    clipped, total = optimizers.clip_grad_norm(gradients, max_norm, norm_type)
    assert total == pytest.approx(theirs.item(), rel=1e-12)
    for ours, tensor in zip(clipped, tensors, strict=True):
        np.testing.assert_allclose(ours, tensor.grad.numpy(), rtol=1e-12)


@given(arrays(np.float64, (3, 2), elements=st.floats(-1e6, 1e6)), st.floats(1e-3, 1e3))
def test_laws_of_clipping(gradient, limit) -> None:
    """Never longer than the limit, same direction, shorter ones untouched; values stay within theirs."""
    (clipped,), total = optimizers.clip_grad_norm([gradient], limit)
    length = np.sqrt((clipped**2).sum())
    assert length <= limit * (1 + 1e-9)
    np.testing.assert_allclose(clipped * total, gradient * length, rtol=1e-7, atol=1e-200)
    if total + 1e-6 <= limit:
        np.testing.assert_array_equal(clipped, gradient)
    (cut,) = optimizers.clip_grad_value([gradient], limit)
    np.testing.assert_array_equal(cut, np.minimum(np.maximum(gradient, -limit), limit))


SCHEDULES = [
    ("step_lr", "StepLR", {"step_size": 7, "gamma": 0.3}),
    ("cosine_annealing_lr", "CosineAnnealingLR", {"T_max": 20, "eta_min": 0.01}),
    ("linear_lr", "LinearLR", {"start_factor": 0.2, "end_factor": 1.0, "total_iters": 9}),
    ("linear_lr", "LinearLR", {}),
    ("one_cycle_lr", "OneCycleLR", {"max_lr": 0.4, "total_steps": 40}),
    ("one_cycle_lr", "OneCycleLR", {"max_lr": 0.4, "total_steps": 37, "pct_start": 0.4, "anneal_strategy": "linear"}),
    ("one_cycle_lr", "OneCycleLR", {"max_lr": 0.4, "total_steps": 30, "div_factor": 10.0, "final_div_factor": 5.0}),
]


@pytest.mark.parametrize("name, theirs, options", SCHEDULES)
@pytest.mark.filterwarnings("ignore:Detected call of", "ignore:.*lr_scheduler.step")
def test_schedules_are_pytorchs(name, theirs, options) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    schedule = getattr(torch.optim.lr_scheduler, theirs)(optimizer, **options)
    ours = partial(getattr(optimizers, name), **(options if "max_lr" in options else {"lr": 0.1, **options}))
    for t in range(options.get("total_steps", 40)):
        assert ours(t) == pytest.approx(schedule.get_last_lr()[0], rel=1e-10, abs=1e-14), t
        if t + 1 < options.get("total_steps", 40):
            optimizer.step()
            schedule.step()
