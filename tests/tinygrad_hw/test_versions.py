"""A change in place between forward and backward raises by name, by whatever route; anything else does not."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_hw as tg
from tinygrad_hw import functional as F
from tinygrad_hw import versions


def leaf(*values: float) -> tg.Tensor:
    return tg.tensor(np.array(values), requires_grad=True)


IN_PLACE = {
    "x += 1 under no_grad": lambda x: x.__iadd__(1.0),
    "copy_": lambda x: x.copy_(np.zeros(2)),
    "zero_": lambda x: x.zero_(),
    "data +=": lambda x: setattr(x, "data", x.data.__iadd__(1.0)),
    "data[0] =": lambda x: x.data.__setitem__(0, 5.0),
    "data[...] through a view": lambda x: x.data[1:].fill(9.0),
    "a passing view: detach": lambda x: x.detach().zero_(),
    "a passing view: data of detach": lambda x: x.detach().data.fill(7.0),
    "a passing view: reshape": lambda x: x.reshape(-1).zero_(),
    "a passing view: transpose": lambda x: x.T.copy_(np.zeros(2)),
    "a passing view: x[0]": lambda x: x[0:1].__imul__(100.0),
    "augmented assignment to entries": lambda x: exec("x[0:1] += 5.0", {"x": x}),
}


@pytest.mark.parametrize("change", IN_PLACE)
def test_a_change_in_place_between_forward_and_backward_raises_by_name(change):
    x = leaf(1.0, 2.0)
    y = x * x
    with tg.no_grad():
        IN_PLACE[change](x)
    with pytest.raises(RuntimeError, match=r"Mul: saved array 0 \(float64 \(2,\)\) was changed in place"):
        y.backward(np.ones(2))


def test_a_saved_output_changed_in_place_raises_too():
    x = leaf(1.0, 2.0)
    y = F.tanh(x)
    z = F.sum(y)
    y.data[0] = 0.0
    with pytest.raises(RuntimeError, match="Tanh: saved array"):
        z.backward()


def test_reading_data_or_changing_something_else_is_no_change():
    x, other = leaf(1.0, 2.0), leaf(5.0, 6.0)
    before = x.data
    assert before[0] == 1.0
    y = x * x
    assert x.data[1] == 2.0
    with tg.no_grad():
        other += 1.0
    y.backward(np.ones(2))
    assert x.grad.tolist() == [2.0, 4.0]


def test_a_step_on_one_parameter_is_no_change_of_its_neighbour_in_the_flat_buffer():
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    optimizer = tg.optim.SGD([a, b], lr=0.1)
    first, second, third = F.sum(b * b), F.sum(a * a), F.sum(b * b)
    first.backward()
    optimizer.step()
    second.backward()
    assert a.grad.tolist() == [2.0, 4.0]
    with pytest.raises(RuntimeError, match="Mul: saved array 0"):
        third.backward()


def test_labels_changed_in_place_raise_too():
    logits, labels = tg.tensor(np.zeros((2, 3)), requires_grad=True), tg.tensor([0, 1])
    loss = F.cross_entropy(logits, labels)
    labels += 1
    with pytest.raises(RuntimeError, match=r"CrossEntropy: saved array .* was changed in place"):
        loss.backward()


def test_anomaly_mode_sees_even_an_operand_that_was_a_plain_array():
    x, batch = leaf(1.0, 2.0), np.array([1.0, 1.0])
    with tg.detect_anomaly():
        y = F.sum(x * batch)
        batch[:] = 7.0
        with pytest.raises(tg.AnomalyError, match="Mul backward: an array that it saved was changed in place"):
            y.backward()


def test_reading_parameters_between_forward_and_backward_costs_no_checksum_of_each_for_every_node():
    big = [tg.tensor(np.zeros(1_000_000), requires_grad=True) for _ in range(4)]
    x = leaf(1.0)
    y = x
    for _ in range(200):
        y = y * 1.0001
    arrays = [p.data for p in big]
    checksums = []
    original = versions._Memory.checksum
    versions._Memory.checksum = lambda self, low, high: checksums.append(high) or original(self, low, high)
    try:
        y.backward()
    finally:
        versions._Memory.checksum = original
    assert checksums == [] and len(arrays) == 4


def test_a_change_before_forward_is_no_change():
    x = leaf(1.0, 2.0)
    x.data[0] = 3.0
    y = x * x
    assert x.data[0] == 3.0
    y.backward(np.ones(2))
    assert x.grad.tolist() == [6.0, 4.0]
