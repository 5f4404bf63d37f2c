"""Indexing: any key against a loop over entries, duplicates, padding rows, and keys of every kind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_hw as tg
from tinygrad_hw import functional as F

torch = pytest.importorskip("torch")

SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4)


def numbered(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(1.0, np.prod(shape) + 1).reshape(shape)


def leaf(data) -> tg.Tensor:
    return tg.tensor(data, requires_grad=True)


@st.composite
def keys(draw, shape: tuple[int, ...]):
    """Numbers, slices, None, arrays of integers that broadcast, masks of one axis, in any mixture NumPy takes."""
    length = draw(st.integers(0, 3))
    arrays = st.sampled_from([(length,), (1,), (2, 1), (2, length), ()])
    parts: list = []
    for size in shape[: draw(st.integers(0, len(shape)))]:
        kind = draw(st.sampled_from(["number", "slice", "array", "mask", "list"]))
        if kind == "number":
            parts.append(draw(st.integers(-size, size - 1)))
        elif kind == "slice":
            parts.append(draw(st.slices(size)))
        elif kind == "mask":
            mask = np.zeros(size, dtype=bool)  # as many as the arrays beside it have, so that they broadcast
            mask[: min(length, size)] = True
            parts.append(np.random.default_rng(size).permutation(mask))
        else:
            index = draw(hnp.arrays(np.int64, draw(arrays), elements=st.integers(-size, size - 1)))
            parts.append(index.tolist() if kind == "list" and index.ndim == 1 else index)
    for extra in draw(st.lists(st.sampled_from([None, ...]), max_size=2, unique_by=id)):
        parts.insert(draw(st.integers(0, len(parts))), extra)
    return tuple(parts)


def added_up(g: np.ndarray, shape: tuple[int, ...], key) -> np.ndarray:
    """The gradient of x[key], entry by entry."""
    positions = np.arange(np.prod(shape)).reshape(shape)[key]
    out = np.zeros(int(np.prod(shape)))
    for position, value in zip(np.ravel(positions), np.ravel(g), strict=True):
        out[position] += value
    return out.reshape(shape)


@settings(max_examples=300)
@given(st.data(), SHAPES)
def test_the_gradient_of_any_index_expression(data, shape):
    key = data.draw(keys(shape))
    try:
        expected = np.asarray(numbered(shape)[key])
    except IndexError:  # arrays and masks that do not broadcast
        with pytest.raises(IndexError, match="Getitem: "):
            leaf(numbered(shape))[key]
        return
    x, g = leaf(numbered(shape)), leaf(np.random.default_rng(0).standard_normal(expected.shape))
    y = x[tuple(tg.Tensor(part) if isinstance(part, np.ndarray) else part for part in key)]
    np.testing.assert_array_equal(y.detach().numpy(), expected)
    collected = added_up(g.detach().numpy(), shape, key)
    np.testing.assert_allclose(tg.grad(y, x, g, retain_graph=True).numpy(), collected, atol=1e-15)
    recorded = tg.grad(y, x, g, create_graph=True)
    np.testing.assert_allclose(recorded.detach().numpy(), collected, atol=1e-15)
    weights = numbered(shape) ** 2
    np.testing.assert_array_equal(tg.grad(recorded, g, weights).numpy(), weights[key])


@given(st.data(), hnp.array_shapes(min_dims=1, max_dims=3, max_side=4))
def test_index_add_against_a_loop(data, shape):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    index = data.draw(hnp.arrays(np.int64, st.integers(0, 6), elements=st.integers(-shape[axis], shape[axis] - 1)))
    source = np.random.default_rng(1).standard_normal(np.take(numbered(shape), index, axis).shape)
    expected = numbered(shape)
    for k, i in enumerate(index):
        np.moveaxis(expected, axis, 0)[i] += np.moveaxis(source, axis, 0)[k]
    x, s = leaf(numbered(shape)), leaf(source)
    y = x.index_add(axis, tg.Tensor(index), s)
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-14)
    grad_x, grad_s = tg.grad(y, [x, s], numbered(shape))
    np.testing.assert_array_equal(grad_x.numpy(), numbered(shape))
    np.testing.assert_array_equal(grad_s.numpy(), np.take(numbered(shape), index, axis))


@given(st.data(), hnp.array_shapes(min_dims=1, max_dims=3, max_side=4))
def test_sorting_by_take_along_axis(data, shape):
    """Taken along an axis by a permutation and back: the identity, and so for gradients."""
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    values = data.draw(hnp.arrays(np.float64, shape, elements=st.floats(-9, 9)))
    order = np.argsort(values, axis=axis, kind="stable")
    x = leaf(values)
    y = x.take_along_axis(order, axis)
    np.testing.assert_array_equal(y.detach().numpy(), np.sort(values, axis=axis))
    back = y.take_along_axis(tg.Tensor(np.argsort(order, axis=axis)), axis)
    np.testing.assert_array_equal(back.detach().numpy(), values)
    np.testing.assert_array_equal(tg.grad(back, x, numbered(shape)).numpy(), numbered(shape))


def test_scatter_add_of_a_large_embedding_is_that_of_torch():
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((1000, 16)).astype(np.float32)
    index = rng.integers(0, 1000, (64, 50)) % 97  # many duplicates
    g = rng.standard_normal((64, 50, 16)).astype(np.float32)
    ours, theirs = leaf(weight), torch.tensor(weight, requires_grad=True)
    F.embedding(ours, tg.Tensor(index), padding_idx=3).backward(g)
    torch.nn.functional.embedding(torch.tensor(index), theirs, padding_idx=3).backward(torch.tensor(g))
    assert ours.grad.dtype == np.float32
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), atol=2e-4)
    assert not ours.grad.numpy()[3].any() and not ours.grad.numpy()[97:].any()


@pytest.mark.parametrize("padding", [1, -2])
def test_the_padding_row_is_looked_up_but_never_learned(padding):
    weight = leaf(numbered((3, 2)))
    index = np.array([1, 0, -2, 1])
    y = F.embedding(weight, index, padding)
    np.testing.assert_array_equal(y.detach().numpy(), numbered((3, 2))[index])
    y.backward(np.ones((4, 2)))
    np.testing.assert_array_equal(weight.grad.numpy(), [[1, 1], [0, 0], [0, 0]])
    again = tg.grad(F.embedding(weight, index, padding) ** 2, weight, np.ones((4, 2)), create_graph=True)
    np.testing.assert_array_equal(tg.grad(again, weight, np.ones((3, 2))).numpy(), [[2, 2], [0, 0], [0, 0]])


def test_keys_of_every_kind_mean_the_same():
    x = tg.tensor(numbered((3, 4)))
    rows = numbered((3, 4))[[2, 0]]
    for key in ([2, 0], np.array([2, 0]), tg.tensor([2, 0]), np.array([2, 0], np.uint8), ([2, 0], slice(None))):
        np.testing.assert_array_equal(x[key].numpy(), rows)
    for key in (1, np.int64(1), np.int32(-2), tg.tensor(1), np.array(1)):
        assert x[key].shape == (4,) and x[key].numpy()[0] == 5
    np.testing.assert_array_equal(x[x > 6.0].numpy(), np.arange(7.0, 13))
    np.testing.assert_array_equal(x[[]].numpy(), np.zeros((0, 4)))
    assert x[None, True].shape == (1, 1, 3, 4)
    assert [row.numpy()[0] for row in x] == [1, 5, 9]


def test_a_number_picks_an_array_without_axes():
    assert isinstance(F.getitem(numbered((3,)), 1), np.ndarray)
    x = leaf(numbered((3,)))
    (x[1] ** 3).backward()
    np.testing.assert_array_equal(x.grad.numpy(), [0, 12, 0])


@pytest.mark.parametrize("lookup", [F.getitem, F.embedding, lambda x, i: F.index_add(x, 0, i, x[:2])])
def test_an_index_changed_between_forward_and_backward_is_noticed(lookup):
    x, index = leaf(numbered((3, 2))), tg.tensor([0, 1])
    y = lookup(x, index)
    index.copy_(tg.tensor([2, 2]))
    with pytest.raises(RuntimeError, match="changed in place between forward and backward"):
        y.backward(np.ones(y.shape))


def test_errors_name_what_was_wrong():
    x = leaf(numbered((2, 3)))
    with pytest.raises(IndexError, match=r"Getitem: arrays used as indices must be of integer"):
        x[tg.tensor([0.5])]
    with pytest.raises(TypeError, match="embedding: expected an index of integers, got float32"):
        F.embedding(x, tg.tensor([0.5]))
    with pytest.raises(TypeError, match=r"index_add\(dim, index, source\)|where\(mask"):
        x[0] = 1.0
