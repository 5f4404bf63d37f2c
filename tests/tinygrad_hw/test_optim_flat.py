"""The flat buffer: whatever the shapes, every parameter keeps its values in memory of its own."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_hw as tg
from tinygrad_hw import optim
from tinygrad_hw.tensor import Tensor

shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
kinds = st.sampled_from([np.float32, np.float64])


@given(st.lists(st.tuples(shapes, kinds, st.booleans(), st.booleans()), min_size=1, max_size=8))
def test_views_stay_right(members):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(kind) for shape, kind, _, _ in members]
    parameters = [
        tg.tensor(a.T if transposed else a, requires_grad=True)
        for a, (_, _, transposed, _) in zip(arrays, members, strict=True)
    ]
    expected = [p.detach().numpy().copy() for p in parameters]
    optimizer = optim.SGD(parameters, lr=0.5, momentum=0.9)

    for parameter, values in zip(parameters, expected, strict=True):
        assert parameter.is_leaf and parameter.requires_grad
        np.testing.assert_array_equal(parameter.detach().numpy(), values, strict=True)
    assert len(optimizer._buffers) == len({kind for _, kind, _, _ in members})
    for i, p in enumerate(parameters):
        for q in parameters[:i]:
            assert not np.shares_memory(p.data, q.data) and not np.shares_memory(p._grad_slot, q._grad_slot)
        buffer = next(b for b in optimizer._buffers if b.dtype == p.dtype)
        assert p.size == 0 or (np.shares_memory(p.data, buffer.values) and p.data.ctypes.data % 64 == 0)

    for _ in range(2):
        for p, (*_, live) in zip(parameters, members, strict=True):
            if live:
                p._grad_slot[...] = 1
                p.grad = Tensor(p._grad_slot)
        optimizer.step()
    for p, values, (*_, live) in zip(parameters, expected, members, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), values - (0.5 * 2.9 if live else 0), rtol=1e-5, atol=1e-5)
    for buffer in optimizer._buffers:  # the gaps are as they were
        used = np.zeros(buffer.length, bool)
        for entry in buffer.entries:
            assert not used[entry.start : entry.stop].any()
            used[entry.start : entry.stop] = True
        for array in (buffer.values, buffer.gradients, *buffer.states.values()):
            assert not array[~used].any()


@given(st.lists(shapes, min_size=1, max_size=6), st.integers(0, 63))
def test_a_whole_flat_gradient_is_offered_only_if_all_are_there(members, mask):
    parameters = [tg.tensor(np.zeros(shape), requires_grad=True) for shape in members]
    optimizer = optim.SGD(parameters)
    live = [p for i, p in enumerate(parameters) if mask >> i & 1]
    for i, p in enumerate(live):
        p.grad = tg.tensor(np.full(p.shape, i + 1.0))
    arrays = optimizer.gradient_arrays()
    assert sum(float((a**2).sum()) for a in arrays) == sum(p.size * (i + 1) ** 2 for i, p in enumerate(live))
    assert len(arrays) == (1 if len(live) == len(parameters) else len(live))
