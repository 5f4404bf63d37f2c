"""Gradients written straight into a flat optimiser's memory: the same numbers, whatever else goes on."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import tinygrad_hw as tg
from tinygrad_hw import functional as F
from tinygrad_hw import nn, optim

DRAW = np.random.default_rng(0)


def layer(dtype=np.float32):
    return nn.Linear(5, 4, stream=tg.random.Stream(0, "init"), dtype=dtype)


def rows(n=3, width=5, dtype=np.float32):
    return tg.tensor(DRAW.standard_normal((n, width)).astype(dtype))


def grads(net):
    return [parameter.grad.detach().numpy().copy() for parameter in net.parameters()]


def both(loss):
    """Gradients of ``loss(net)`` without and with an optimiser over the net's parameters."""
    plain, flat = layer(), layer()
    optimizer = optim.SGD(flat.parameters(), lr=0.1)
    loss(plain)
    loss(flat)
    return grads(plain), grads(flat), flat, optimizer


def assert_same(mine, theirs):
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_gradient_is_made_in_its_place(monkeypatch):
    x, written = rows(), []
    place = tg.autograd.Node.place
    monkeypatch.setattr(
        tg.autograd.Node, "place", lambda node, index: written.append(place(node, index)) or written[-1]
    )
    net = layer()
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    slots = [net.weight._grad_slot, net.bias._grad_slot]
    F.sum(net(x)).backward()
    assert written[0] is slots[0] and written[1] is slots[1]
    assert net.weight.grad._data is slots[0] and net.weight._grad_slot is slots[0]
    np.testing.assert_array_equal(optimizer._buffers[0].gradients[:20].reshape(4, 5), net.weight.grad.numpy())


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_weight_used_several_times_adds_up(times):
    x = [rows() for _ in range(times)]
    plain, flat, *_ = both(lambda net: sum((F.sum(net(each) ** 2) for each in x), tg.tensor(0.0)).backward())
    assert_same(plain, flat)


def test_gradients_add_up_over_passes_and_start_anew_after_zero_grad():
    x = rows()

    def twice(net):
        F.sum(net(x)).backward()
        F.sum(net(x) ** 2).backward()

    plain, flat, net, optimizer = both(twice)
    assert_same(plain, flat)
    optimizer.zero_grad()
    F.sum(net(x)).backward()
    single = layer()
    F.sum(single(x)).backward()
    assert_same(grads(single), grads(net))


def test_batches_of_any_rank():
    x = tg.tensor(DRAW.standard_normal((2, 3, 5)).astype(np.float32))
    plain, flat, *_ = both(lambda net: F.sum(net(x) ** 2).backward())
    assert_same(plain, flat)


def test_another_dtype_than_the_leaf_is_cast():
    x = rows(dtype=np.float64)
    plain, flat, *_ = both(lambda net: F.sum(net(x) ** 2).backward())
    assert flat[0].dtype == np.float32
    assert_same(plain, flat)


def test_a_hook_sees_and_replaces_the_gradient():
    x, seen = rows(), []

    def hooked(net):
        net.weight.register_hook(lambda g: seen.append(g.numpy().copy()) or g * 2)
        F.sum(net(x)).backward()

    plain, flat, net, _ = both(hooked)
    assert_same(plain, flat)
    np.testing.assert_array_equal(seen[0] * 2, flat[0])
    assert net.weight.grad._data is net.weight._grad_slot


def test_retained_graphs_and_second_derivatives():
    x = rows()

    def retained(net):
        loss = F.sum(net(x) ** 2)
        loss.backward(retain_graph=True)
        loss.backward()

    plain, flat, *_ = both(retained)
    assert_same(plain, flat)
    plain, flat, *_ = both(lambda net: F.sum(net(x) ** 3).backward(create_graph=True))
    assert_same(plain, flat)


def test_grad_of_chosen_targets_leaves_the_memory_alone():
    net, x = layer(), rows()
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    (found,) = tg.grad(F.sum(net(x)), [net.weight])
    assert net.weight.grad is None and not optimizer._buffers[0].gradients.any()
    assert not np.may_share_memory(found.numpy(), optimizer._buffers[0].gradients)


class Failing(tg.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 1

    @staticmethod
    def backward(ctx, grad_output):
        raise ZeroDivisionError("on purpose")


def test_a_failed_pass_gives_the_places_back():
    x = rows()
    net = layer()
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    slot = net.weight._grad_slot
    with pytest.raises(ZeroDivisionError):
        F.sum(net(Failing.apply(tg.tensor(x.numpy(), requires_grad=True)))).backward()
    assert net.weight._grad_slot is slot and net.weight.grad is None
    optimizer.zero_grad()
    F.sum(net(x)).backward()
    plain = layer()
    F.sum(plain(x)).backward()
    assert_same(grads(plain), grads(net))


class Within(tg.Function):
    """Runs a backward pass of its own in the middle of another, through the same weights."""

    net: nn.Module
    x: tg.Tensor

    @staticmethod
    def forward(ctx, x):
        return x * 1

    @staticmethod
    def backward(ctx, grad_output):
        with tg.enable_grad():
            F.sum(Within.net(Within.x) ** 2).backward()
        return grad_output


def test_a_pass_within_a_pass_adds_up():
    x, start = rows(), tg.tensor(rows().numpy(), requires_grad=True)

    def nested(net):
        Within.net, Within.x = net, x
        F.sum(net(Within.apply(start))).backward()

    plain, flat, net, optimizer = both(nested)
    for a, b in zip(plain, flat, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    expected = flat[0].copy()
    before = net.weight.detach().numpy().copy()
    optimizer.step()
    np.testing.assert_allclose(net.weight.detach().numpy(), before - 0.1 * expected, rtol=1e-6)


def test_a_kept_gradient_that_would_be_overwritten_raises():
    net, x = layer(), rows()
    optim.SGD(net.parameters(), lr=0.1)
    F.sum(net(x)).backward()
    kept = net.weight.grad
    net.weight.grad = None
    other = tg.tensor(DRAW.standard_normal((4, 5)).astype(np.float32), requires_grad=True)
    early = F.sum(other * kept)
    with pytest.raises(RuntimeError, match="keeps a gradient that this backward overwrites"):
        (early + F.sum(net(x) ** 2)).backward()


def test_threads_differentiate_into_one_weight():
    net, x = layer(), [rows() for _ in range(8)]
    optim.SGD(net.parameters(), lr=0.1)
    plain = layer()
    for each in x:
        F.sum(plain(each) ** 2).backward()
    threads = [threading.Thread(target=lambda e=each: F.sum(net(e) ** 2).backward()) for each in x]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for a, b in zip(grads(plain), grads(net), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def with_kept_gradient():
    """A layer, its weight's gradient kept by mistake over zero_grad, and a copy of that gradient."""
    net = layer()
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    F.sum(net(rows(5))).backward()
    kept = net.weight.grad
    optimizer.zero_grad()
    return net, kept, tg.tensor(kept.numpy())


def test_a_kept_gradient_given_to_backward_is_read_before_it_is_overwritten():
    x = rows(5)
    net, kept, copy = with_kept_gradient()
    net(x).backward(kept.T)
    plain = layer()
    plain(x).backward(copy.T)
    assert_same(grads(net), grads(plain))


def test_a_kept_gradient_from_a_hook_is_read_before_it_is_overwritten():
    def differentiate(net, gradient):
        y = net(x)
        y.register_hook(lambda g: gradient.T)
        F.sum(y).backward()

    x, plain = rows(5), layer()
    net, kept, copy = with_kept_gradient()
    differentiate(net, kept)
    differentiate(plain, copy)
    assert_same(grads(net), grads(plain))


def test_a_kept_gradient_from_a_hook_that_comes_too_late_raises():
    net, kept, _ = with_kept_gradient()
    y = net(rows(5))
    y.register_hook(lambda g: kept.T)
    again = net(F.matmul(rows(3, 4), y.T))  # its backward comes first and writes the weight's gradient
    with pytest.raises(RuntimeError, match="Linear: a hook gave a gradient that this backward overwrites"):
        F.sum(again).backward()
    assert net.weight._grad_slot is not None


def test_a_kept_gradient_that_the_users_operation_holds_raises():
    class Holding(tg.Function):
        @staticmethod
        def forward(ctx, x, factor):
            ctx.factor = factor
            return x * factor

        @staticmethod
        def backward(ctx, grad):
            return grad * ctx.factor

    net, kept, _ = with_kept_gradient()
    x = tg.tensor(DRAW.standard_normal((4, 5)).astype(np.float32), requires_grad=True)
    with pytest.raises(RuntimeError, match="Holding: it keeps a gradient that this backward overwrites"):
        F.sum(net(Holding.apply(x, kept))).backward()


@pytest.mark.parametrize(
    "start",
    [
        lambda y, g: y.backward(g),
        lambda y, g: y.backward(g.reshape(64, 64)),
        lambda y, g: (y + 1).backward(g),
        lambda y, g: y.backward(g[:]),
        lambda y, g: F.reshape(y, (4096,)).backward(g.reshape(4096)),
    ],
    ids=["itself", "reshaped", "through an addition", "a view", "through a reshape"],
)
def test_a_kept_gradient_may_start_the_next_pass(start):
    """The size is one for a compiled product, which unlike NumPy's does not look whether its operands overlap."""
    x = tg.tensor(DRAW.standard_normal((64, 64)).astype(np.float32))

    def grad(keep):
        net = nn.Linear(64, 64, bias=False, stream=tg.random.Stream(0, "init"))
        optimizer = optim.SGD(net.parameters(), lr=0.1)
        F.sum(net(x) * net(x)).backward()
        g = keep(net.weight.grad)
        optimizer.zero_grad()
        start(net(x), g)
        return net.weight.grad.numpy().copy()

    np.testing.assert_array_equal(grad(lambda g: g), grad(lambda g: g.clone()))
