"""Gradient clipping against PyTorch."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_hw as tg
from tinygrad_hw import optim
from tinygrad_hw.optim import clip_grad_norm_, clip_grad_value_


def with_gradients(dtype=np.float64) -> list[tg.Tensor]:
    rng = np.random.default_rng(0)
    parameters = [tg.tensor(np.zeros(s, dtype), requires_grad=True) for s in [(3, 4), (), (0, 5), (7,)]]
    for parameter in parameters:
        parameter.grad = tg.tensor(np.asarray(3 * rng.standard_normal(parameter.shape), dtype))
    return [*parameters, tg.tensor(np.zeros(2, dtype), requires_grad=True)]  # the last has none


def torch_twins(parameters):
    torch = pytest.importorskip("torch")
    twins = []
    for p in parameters:
        twin = torch.zeros(p.shape, dtype=getattr(torch, str(p.dtype)), requires_grad=True)
        twin.grad = None if p.grad is None else torch.tensor(p.grad.numpy().copy())
        twins.append(twin)
    return torch, twins


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.5, math.inf])
@pytest.mark.parametrize("max_norm", [0.0, 0.5, 1000.0])
@pytest.mark.parametrize("flat", [False, True])
def test_norm_as_pytorch(norm_type, max_norm, flat):
    parameters = with_gradients()
    torch, twins = torch_twins(parameters)
    before = [p.grad.numpy().copy() for p in parameters[:4]]
    total = clip_grad_norm_(optim.SGD(parameters) if flat else parameters, max_norm, norm_type)
    filled = [twin for twin in twins if twin.numel()]  # PyTorch has no maximum of an empty gradient
    expected = torch.nn.utils.clip_grad_norm_(filled, max_norm, norm_type)
    assert total.shape == () and total.item() == pytest.approx(expected.item(), rel=1e-13)
    for p, twin, old in zip(parameters, twins, before, strict=False):
        np.testing.assert_allclose(p.grad.numpy(), twin.grad.numpy(), rtol=1e-13)
        if max_norm == 1000.0:
            np.testing.assert_array_equal(p.grad.numpy(), old)
    assert parameters[4].grad is None


def test_norm_of_flat_gradients_that_are_all_there_is_taken_at_once():
    parameters = with_gradients(np.float32)[:4]
    expected = clip_grad_norm_(with_gradients(np.float32)[:4], 1.0)
    optimizer = optim.SGD(parameters, lr=1.0)
    assert len(optimizer.gradient_arrays()) == 1
    total = clip_grad_norm_(optimizer, 1.0)
    assert total.dtype == np.float32 and total.item() == pytest.approx(expected.item(), rel=1e-6)
    optimizer.step()
    assert math.sqrt(sum(float((p.detach().numpy() ** 2).sum()) for p in parameters)) == pytest.approx(1.0, rel=1e-5)


def test_value_as_pytorch():
    parameters = with_gradients()
    torch, twins = torch_twins(parameters)
    clip_grad_value_(parameters, 0.7)
    torch.nn.utils.clip_grad_value_(twins, 0.7)
    for p, twin in zip(parameters[:4], twins, strict=False):
        np.testing.assert_array_equal(p.grad.numpy(), twin.grad.numpy())
        assert p.size == 0 or abs(p.grad.numpy()).max() == 0.7


def test_one_tensor_no_gradients_and_a_parameter_given_twice():
    parameters = with_gradients()
    assert clip_grad_norm_(parameters[4], 1.0).item() == 0.0
    assert clip_grad_norm_([], 1.0).item() == 0.0
    assert clip_grad_norm_(iter(parameters), math.inf).item() > 1
    p = parameters[0]
    total = clip_grad_norm_([p, p], 1.0)
    assert total.item() == pytest.approx(np.linalg.norm(with_gradients()[0].grad.numpy()))
    assert np.linalg.norm(p.grad.numpy()) == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_norm_that_is_not_finite(bad):
    parameters = with_gradients()
    parameters[1].grad = tg.tensor(np.array(bad))
    before = parameters[0].grad.numpy().copy()
    with pytest.raises(RuntimeError, match=f"clip_grad_norm_: the gradient's 2-norm is {bad}"):
        clip_grad_norm_(parameters, 1.0, error_if_nonfinite=True)
    np.testing.assert_array_equal(parameters[0].grad.numpy(), before)


def test_a_gradient_clipped_between_forward_and_backward_is_found():
    (p, *_) = with_gradients()
    q = tg.tensor(np.ones((3, 4)), requires_grad=True)
    product = q * p.grad
    clip_grad_norm_(p, 0.1)
    with pytest.raises(RuntimeError, match="was changed in place"):
        product.backward(np.ones((3, 4)))


def test_bad_limits():
    (p, *_) = with_gradients()
    for arguments in ((-1.0,), (math.nan,), (1.0, 0.0), (1.0, -2.0)):
        with pytest.raises(ValueError, match="clip_grad_norm_: expected max_norm >= 0 and norm_type > 0"):
            clip_grad_norm_(p, *arguments)
    with pytest.raises(ValueError, match="clip_grad_value_: expected clip_value >= 0, got -1"):
        clip_grad_value_(p, -1)
