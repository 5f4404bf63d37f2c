"""Dropout: what the table of operations cannot say, since there the mask is given."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_hw as tg
from tests import strict_backend
from tinygrad_hw import functional as F
from tinygrad_hw.random import Stream, default_stream, default_streams, manual_seed


def test_kept_entries_are_scaled_and_the_gradient_goes_through_the_same_mask():
    x = tg.tensor(np.arange(1, 201, dtype=np.float32).reshape(10, 20), requires_grad=True)
    y = F.dropout(x, 0.75, stream=Stream(0, "dropout"))
    kept = y.detach().numpy() != 0
    np.testing.assert_array_equal(y.detach().numpy(), np.where(kept, 4 * x.detach().numpy(), 0))
    y.backward(np.full(y.shape, 3.0))
    np.testing.assert_array_equal(x.grad.numpy(), np.where(kept, 12, 0))
    assert 20 < kept.sum() < 80


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_mean_stays(p):
    y = F.dropout(np.ones((1000, 100)), p, stream=Stream(0, "dropout"))
    assert abs(y.mean() - 1) < 4 * np.sqrt(p / (1 - p) / y.size)
    assert abs((y == 0).mean() - p) < 4 * np.sqrt(p * (1 - p) / y.size)


def test_each_call_in_training_takes_one_draw_and_no_other_call_does():
    x, stream = np.ones((8, 16)), Stream(0, "dropout")
    first, second = F.dropout(x, 0.5, stream=stream), F.dropout(x, 0.5, stream=stream)
    assert stream.counter == 2 and not np.array_equal(first, second)
    assert F.dropout(x, 0.5, training=False, stream=stream) is x
    assert F.dropout(x, 0.0, stream=stream) is x
    assert stream.counter == 2
    np.testing.assert_array_equal(F.dropout(x, 0.5, stream=Stream(0, "dropout")), first)


def test_without_a_stream_the_seed_decides():
    before = default_streams().state_dict()
    try:
        manual_seed(11)
        first = F.dropout(np.ones(64))
        manual_seed(11)
        np.testing.assert_array_equal(F.dropout(np.ones(64)), first)
        assert default_stream("dropout").counter == 1
        assert not np.array_equal(F.dropout(np.ones(64)), first)
    finally:
        default_streams().load_state_dict(before)


def test_probability_one_drops_everything():
    x = tg.tensor(np.ones(5), requires_grad=True)
    y = F.dropout(x, 1.0, stream=Stream(0, "dropout"))
    y.sum().backward()
    assert not y.detach().numpy().any() and not x.grad.numpy().any()


def test_the_same_mask_on_every_device():
    strict_backend.install()
    x = np.random.default_rng(0).normal(size=(6, 7)).astype(np.float32)
    here = F.dropout(tg.tensor(x), 0.5, stream=Stream(0, "dropout"))
    there = F.dropout(tg.tensor(x, device="strict"), 0.5, stream=Stream(0, "dropout"))
    assert there.device == "strict:0"
    np.testing.assert_array_equal(there.numpy(), here.numpy())


def test_a_probability_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match=r"^dropout: expected a probability from 0 to 1, got p=nan$"):
        F.dropout(np.ones(3), float("nan"))
