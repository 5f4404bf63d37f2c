"""The tape: order, accumulation, freeing, errors by name, hooks, threads."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_hw as tg
from tinygrad_hw import functional as F


def leaf(*values: float) -> tg.Tensor:
    return tg.tensor(np.array(values), requires_grad=True)


def test_a_shared_node_adds_up():
    x = leaf(3.0)
    (x * x + x).backward()
    assert x.grad.item() == 7.0


@given(st.lists(st.sampled_from(["add", "mul", "sub"]), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_any_graph_with_shared_nodes_has_the_gradient_of_its_tangent(operations, random):
    """Each node picks two earlier ones; forward-mode tangents, carried along beside the values, are the oracle."""
    start = leaf(0.7)
    values, tangents = [start], [1.0]
    for name in operations:
        i, j = random.randrange(len(values)), random.randrange(len(values))
        a, b, da, db = values[i], values[j], tangents[i], tangents[j]
        values.append(getattr(F, name)(a, b))
        tangents.append({"add": da + db, "sub": da - db, "mul": da * b.item() + a.item() * db}[name])
    values[-1].backward(np.ones(1)) if values[-1].requires_grad else None
    assert start.grad.item() == pytest.approx(tangents[-1], rel=1e-12, abs=1e-12)


def test_leaves_accumulate_over_calls():
    x = leaf(2.0)
    (x * 3.0).backward()
    (x * 4.0).backward()
    assert x.grad.item() == 7.0


def test_two_leaves_never_share_the_memory_of_a_gradient():
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    upstream = np.ones(2)
    (a + b).backward(upstream)
    a.grad.zero_()
    assert b.grad.tolist() == [1.0, 1.0] and upstream.tolist() == [1.0, 1.0]


def test_a_chain_of_100_000_operations_differentiates_and_dies_without_recursion():
    x = leaf(1.0)
    y = x
    for _ in range(100_000):
        y = y + 1.0
    y.backward()
    assert x.grad.item() == 1.0
    y = x
    for _ in range(100_000):
        y = y + 1.0
    del y  # freed without a backward: no recursion there either


def test_every_intermediate_is_dead_after_backward_with_the_collector_off():
    gc.collect()
    gc.disable()
    try:
        x = leaf(1.0, 2.0)
        references = []

        def make() -> tg.Tensor:
            a = x * 2.0
            b = a * a
            c = b / a
            references.extend(weakref.ref(t) for t in (a, b, c))
            references.extend(weakref.ref(t._data) for t in (a, b, c))
            references.extend(weakref.ref(t._node) for t in (a, b, c))
            return F.sum_to(c, ())

        loss = make()
        loss.backward()
        assert [reference() for reference in references] == [None] * len(references)
        assert loss.item() == 6.0
    finally:
        gc.enable()


def test_a_graph_that_is_dropped_without_backward_dies_with_the_collector_off():
    gc.collect()
    gc.disable()
    try:
        x = leaf(1.0)
        y = x * x
        reference = weakref.ref(y._node)
        del y
        assert reference() is None
    finally:
        gc.enable()


def test_a_second_backward_raises_by_name_unless_the_graph_was_retained():
    x = leaf(2.0)
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 8.0
    with pytest.raises(
        RuntimeError, match=r"Mul: backward through a graph that has already been freed.*retain_graph=True"
    ):
        y.backward()


def test_even_an_operation_that_saves_nothing_refuses_a_second_backward():
    x = leaf(2.0)
    y = x + 1.0
    y.backward()
    with pytest.raises(RuntimeError, match="Add: backward through a graph that has already been freed"):
        y.backward()


def test_a_freed_intermediate_raises_by_name_where_a_gradient_is_wanted():
    x = leaf(2.0)
    middle = x * 3.0
    (middle + 1.0).backward()
    assert (middle * 2.0).item() == 12.0  # as a value it still serves
    with pytest.raises(RuntimeError, match="Mul: backward through a graph that has already been freed"):
        (middle * 2.0).backward()


def test_augmented_assignment_of_something_recorded_is_recorded():
    w = leaf(1.0, 2.0)
    total = tg.tensor(np.zeros(2))
    total += w * w
    total *= 2.0
    (F.sum(total) + F.sum(w)).backward()
    assert w.grad.tolist() == [5.0, 9.0]
    with pytest.raises(RuntimeError, match="copy_: a tensor that requires a gradient cannot"):
        tg.tensor(np.zeros(2)).copy_(w * w)


def test_augmented_assignment_does_not_lose_a_fraction():
    with pytest.raises(TypeError, match=r"\+=: a result float32 cannot be stored in a tensor int64"):
        tg.tensor([1, 2]).__iadd__(0.5)
    plain = tg.tensor(np.zeros((2, 2)))
    plain[0] += 5.0
    assert plain.tolist() == [[5.0, 5.0], [0.0, 0.0]]


def test_gradients_under_create_graph_are_each_leafs_own():
    x, y, seed = leaf(1.0), leaf(2.0), tg.tensor(np.ones(1))
    (x + y).backward(seed, create_graph=True)
    (x * 2.0).backward()
    assert (x.grad.item(), y.grad.item(), seed.item()) == (3.0, 1.0, 1.0)
    F.sum(x).backward(create_graph=True)
    assert x.grad.item() == 4.0
    first, second = tg.grad(x + y, [x, y], create_graph=True)
    with tg.no_grad():
        first.detach().zero_()
    assert second.item() == 1.0


def test_a_rule_that_raised_under_create_graph_leaves_the_graph_usable():
    class Once(tg.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x * 2.0)
            return x * x

        @staticmethod
        def backward(ctx, grad):
            return grad * ctx.saved_tensors[0]

    x = leaf(3.0)
    y = Once.apply(x)
    with pytest.raises(tg.NotTwiceDifferentiableError):
        tg.grad(y, x, create_graph=True)
    assert tg.grad(y, x).item() == 6.0


def test_hooks_must_return_a_gradient_of_the_same_kind_and_get_a_copy():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    remove = x.register_hook(lambda g: F.sum(g))
    with pytest.raises(RuntimeError, match=r"must return a gradient float64 \(2,\), got float64 \(\)"):
        F.sum(x * 1.0).backward()
    remove()
    remove = x.register_hook(lambda g: 1.0)
    with pytest.raises(TypeError, match="must return a Tensor or None, got float"):
        F.sum(x * 1.0).backward()
    remove()
    seed = np.ones(2)

    def careless(gradient: tg.Tensor) -> None:
        gradient.fill_(7.0)

    x.register_hook(careless)
    (x + y).backward(seed)
    assert y.grad.tolist() == [1.0, 1.0] and seed.tolist() == [1.0, 1.0]


def test_set_grad_enabled_is_a_statement_too_and_generators_are_refused():
    tg.set_grad_enabled(False)
    try:
        assert not tg.is_grad_enabled()
    finally:
        tg.set_grad_enabled(True)
    assert tg.is_grad_enabled()
    with pytest.raises(TypeError, match="cannot decorate the generator"):

        @tg.no_grad()
        def generator():
            yield 1


def test_a_computed_tensor_is_not_copied_with_its_tape():
    x = leaf(1.0, 2.0)
    for copied in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert copied.requires_grad and copied.tolist() == [1.0, 2.0] and not np.shares_memory(copied.data, x.data)
    for duplicate in (copy.deepcopy, pickle.dumps):
        with pytest.raises(RuntimeError, match="only leaves can be copied or pickled"):
            duplicate(x * 2.0)


def test_threads_add_up_in_one_leaf():
    x = leaf(0.0)

    def work() -> None:
        for _ in range(200):
            (x * 1.0).backward()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert x.grad.item() == 800.0


def test_complex_numbers_are_refused_where_a_gradient_is_wanted():
    with pytest.raises(TypeError, match="real floating dtype, got complex128"):
        tg.tensor([1j], requires_grad=True)
    with pytest.raises(TypeError, match="Mul: gradients of complex results are not defined"):
        leaf(1.0) * 1j


@pytest.mark.parametrize("operand", [Fraction(1, 2), (1.5, 2.5), np.ma.array([1.0, 2.0]), [1.0, 2.0]], ids=repr)
def test_operands_with_an_arithmetic_of_their_own_are_refused(operand):
    with pytest.raises(TypeError, match="Mul: expected a Tensor, an array or a number, got a"):
        F.mul(leaf(1.0, 2.0), operand)


def test_changing_a_tensor_that_requires_a_gradient_while_recording_is_refused():
    x = leaf(1.0)
    with pytest.raises(RuntimeError, match=r"\+=: a tensor that requires a gradient cannot be changed in place"):
        x += 1.0


def test_assigning_into_a_tensor_tells_what_to_write_instead():
    with pytest.raises(TypeError, match="tensors are not assigned into: use where"):
        leaf(1.0)[0] = 2.0


def test_no_grad_records_nothing_and_enable_grad_records_again():
    x = leaf(1.0)
    with tg.no_grad():
        assert not (x * 2.0).requires_grad
        with tg.enable_grad():
            assert (x * 2.0).requires_grad
    assert (x * 2.0).requires_grad and tg.is_grad_enabled()

    @tg.no_grad()
    def quiet() -> tg.Tensor:
        return x * 2.0

    assert not quiet().requires_grad and not quiet().requires_grad


def test_detach_cuts_and_shares():
    x = leaf(2.0)
    y = x * x.detach()
    y.backward()
    assert x.grad.item() == 2.0 and np.shares_memory(x.detach().data, x.data)


def test_requires_grad_belongs_to_floating_leaves():
    with pytest.raises(TypeError, match="floating dtype, got int64"):
        tg.tensor([1, 2], requires_grad=True)
    y = leaf(1.0) * 2.0
    with pytest.raises(RuntimeError, match="only a leaf"):
        y.requires_grad = False


def test_what_cannot_be_differentiated_says_why():
    with pytest.raises(RuntimeError, match="does not depend on any tensor that requires a gradient"):
        tg.tensor([1.0]).backward()
    with pytest.raises(RuntimeError, match=r"output of shape \(2,\) needs a gradient of that shape"):
        (leaf(1.0, 2.0) * 2.0).backward()
    with pytest.raises(ValueError, match=r"expected an output gradient of shape \(2,\), got \(3,\)"):
        (leaf(1.0, 2.0) * 2.0).backward(np.ones(3))


def test_hooks_see_the_whole_gradient_and_may_replace_it():
    x = leaf(3.0)
    middle = x * 2.0
    seen = []
    remove = middle.register_hook(lambda g: seen.append(g.item()))
    middle.register_hook(lambda g: g * 10.0)
    x.register_hook(lambda g: seen.append(("leaf", g.item())))
    (middle + middle).backward()
    assert seen == [2.0, ("leaf", 40.0)] and x.grad.item() == 40.0
    remove()
    with pytest.raises(RuntimeError, match="does not require a gradient"):
        tg.tensor(1.0).register_hook(print)


def test_retain_grad_keeps_the_gradient_of_a_computed_tensor():
    x = leaf(3.0)
    y = x * x
    y.retain_grad()
    (y * 5.0).backward()
    assert y.grad.item() == 5.0 and x.grad.item() == 30.0


def test_an_operation_hook_sees_every_forward_and_backward():
    x = leaf(2.0)
    events = []
    with tg.operation_hook(lambda event: events.append((event.phase, event.name, event.seconds >= 0))):
        (x * x + 1.0).backward()
    assert events == [
        ("forward", "Mul", True),
        ("forward", "Add", True),
        ("backward", "Add", True),
        ("backward", "Mul", True),
    ]
    (x * x).backward()
    assert len(events) == 4


def test_threads_keep_their_own_switches_and_hooks():
    inside, done = threading.Event(), threading.Event()
    seen: dict[str, bool] = {}

    def other() -> None:
        inside.wait(10)
        seen["enabled"] = tg.is_grad_enabled()
        x = leaf(3.0)
        (x * x).backward()
        seen["gradient"] = x.grad.item() == 6.0
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    events = []
    with tg.no_grad(), tg.operation_hook(events.append):
        inside.set()
        assert done.wait(10)
    thread.join()
    assert seen == {"enabled": True, "gradient": True} and events == []


def test_threads_differentiate_side_by_side():
    results = [0.0] * 4

    def work(k: int) -> None:
        x = leaf(1.0 + k)
        for _ in range(200):
            y = x * x * x
            y.backward()
        results[k] = x.grad.item()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == pytest.approx([200 * 3 * (1.0 + k) ** 2 for k in range(4)])


def test_outputs_of_an_operation_with_several_may_go_unused():
    x = tg.tensor(np.arange(6.0), requires_grad=True)
    first, _second, third = F.split(x, 2)
    F.sum(first * 2.0 + third).backward()
    assert x.grad.tolist() == [2.0, 2.0, 0.0, 0.0, 1.0, 1.0]


def test_float32_stays_float32_whatever_the_scalar():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    assert x.dtype == np.float32
    for scalar in (2, 2.0, True, np.float64(2.0), np.int64(2), np.array(2.0), tg.tensor(np.float64(2.0))):
        y = x * scalar
        z = scalar + x if not isinstance(scalar, (np.ndarray, np.generic)) else x + scalar
        assert y.dtype == z.dtype == np.float32, scalar
        y.backward(np.ones(2))
        assert x.grad.dtype == np.float32
        x.grad = None


def test_an_integer_mask_does_not_widen():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    assert (x * np.array([0, 1])).dtype == np.float32
    assert (tg.tensor([1, 2]) / 2).dtype == np.float32


def test_an_array_on_the_left_becomes_a_tensor():
    x = leaf(1.0, 2.0)
    y = np.array([3.0, 4.0]) * x
    assert isinstance(y, tg.Tensor) and y.tolist() == [3.0, 8.0]
