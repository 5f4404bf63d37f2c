"""Moving entries about: what undoes what, whatever the shape, and what the table of operations cannot say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_hw as tg
from tinygrad_hw import functional as F

shapes = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)


def numbered(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(1.0, np.prod(shape) + 1).reshape(shape)


def leaf(data) -> tg.Tensor:
    return tg.tensor(data, requires_grad=True)


def is_identity(round_trip, shape: tuple[int, ...]) -> None:
    """``round_trip`` gives back its argument, and passes gradients through unchanged, once and twice recorded."""
    x, g = leaf(numbered(shape)), leaf(numbered(shape) ** 2)
    y = round_trip(x)
    np.testing.assert_array_equal(y.detach().numpy(), x.detach().numpy())
    recorded = tg.grad(y, x, g, create_graph=True)
    np.testing.assert_array_equal(recorded.detach().numpy(), g.detach().numpy())
    np.testing.assert_array_equal(tg.grad(recorded, g, numbered(shape)).numpy(), numbered(shape))


@given(st.data(), shapes)
def test_concatenate_undoes_split(data, shape):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    cuts = sorted(data.draw(st.lists(st.integers(0, shape[axis]), max_size=3)))
    sizes = [int(n) for n in np.diff([0, *cuts, shape[axis]])]
    is_identity(lambda x: F.concatenate(F.split(x, sizes, axis), axis), shape)
    size = data.draw(st.integers(1, 5))
    is_identity(lambda x: F.concatenate(F.split(x, size, axis), axis), shape)


@given(st.data(), shapes.filter(lambda shape: min(shape) > 0))
def test_stack_undoes_unbind(data, shape):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    is_identity(lambda x: F.stack(F.unbind(x, axis), axis), shape)


@given(st.data(), shapes)
def test_roll_flip_and_permute_have_inverses(data, shape):
    axes = data.draw(st.permutations(range(len(shape))))
    shift = data.draw(st.integers(-7, 7))
    axis = data.draw(st.none() | st.integers(-len(shape), len(shape) - 1))
    is_identity(lambda x: x.roll(shift, axis).roll(-shift, axis), shape)
    is_identity(lambda x: x.flip(axis).flip(axis), shape)
    is_identity(lambda x: x.permute(axes).permute(*np.argsort(axes).tolist()), shape)
    is_identity(lambda x: x.transpose(0, -1).transpose(-1, 0), shape)
    is_identity(lambda x: x.transpose().T, shape)


@given(st.data(), shapes)
def test_reshaping_back(data, shape):
    position = data.draw(st.integers(-len(shape) - 1, len(shape)))
    is_identity(lambda x: F.squeeze(F.unsqueeze(x, position), position), shape)
    is_identity(lambda x: F.flatten(x).reshape(shape), shape)


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@given(st.data(), shapes.filter(lambda shape: min(shape) > 1))
def test_cutting_the_frame_off_undoes_pad(mode, data, shape):
    axes = data.draw(st.integers(1, len(shape)))
    widths = [data.draw(st.integers(0, shape[-1 - i // 2] - 1)) for i in range(2 * axes)]
    inside = [slice(None)] * (len(shape) - axes)
    inside += [slice(widths[2 * i], widths[2 * i] + shape[-1 - i]) for i in reversed(range(axes))]
    is_identity(lambda x: F.pad(x, widths, mode)[tuple(inside)], shape)


@given(st.data(), shapes)
def test_tril_and_triu_share_out_a_matrix(data, shape):
    k, full = data.draw(st.integers(-4, 4)), (2, *shape)
    is_identity(lambda x: F.tril(x, k) + F.triu(x, k + 1), full)


@given(st.integers(0, 5), st.integers(-4, 4))
def test_diagonal_undoes_diag(n, k):
    is_identity(lambda x: F.diagonal(F.diag(x, k), k), (n,))


@given(hnp.array_shapes(max_dims=3, max_side=3), st.lists(st.integers(0, 3), min_size=1, max_size=4))
def test_every_copy_counts_in_the_gradient_of_tile(shape, reps):
    x = leaf(numbered(shape))
    y = F.tile(x, reps)
    np.testing.assert_array_equal(y.detach().numpy(), np.tile(numbered(shape), reps))
    np.testing.assert_array_equal(tg.grad(y, x, np.ones(y.shape)).numpy(), np.full(shape, np.prod(reps)))


@given(st.data(), hnp.array_shapes(max_dims=3, max_side=4))
def test_every_copy_counts_in_the_gradient_of_repeat_interleave(data, shape):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    counts = data.draw(hnp.arrays(np.int64, shape[axis], elements=st.integers(0, 3)))
    x = leaf(numbered(shape))
    y = F.repeat_interleave(x, tg.Tensor(counts), axis)
    np.testing.assert_array_equal(y.detach().numpy(), np.repeat(numbered(shape), counts, axis))
    expected = np.broadcast_to(np.expand_dims(counts, [i for i in range(len(shape)) if i != axis % len(shape)]), shape)
    np.testing.assert_array_equal(tg.grad(y, x, np.ones(y.shape)).numpy(), expected)


def test_rearrangements_are_views():
    x = tg.tensor(np.zeros((2, 3, 4)))
    for view in (x.reshape(6, 4), x.transpose(), x.permute(1, 0, 2), x.unsqueeze(0), *F.split(x, 2), *F.unbind(x)):
        assert np.shares_memory(view.data, x.data)


def test_pad_counts_axes_from_the_last():
    x = np.ones((3, 4))
    assert F.pad(x, (1, 2)).shape == (3, 7)
    assert F.pad(x, (1, 2, 0, 5)).shape == (8, 7)
    np.testing.assert_array_equal(F.pad(x, (0, 1), value=-2.5)[:, 4], np.full(3, -2.5))


def test_padding_an_empty_axis_from_itself_is_refused():
    for mode in ("reflect", "replicate", "circular"):
        with pytest.raises(ValueError, match=rf"pad: mode '{mode}' allows widths up to -?\d on axis 1 of size 0"):
            F.pad(np.ones((2, 0)), (1, 1), mode)


def test_joining_promotes_and_each_operand_gets_its_own_dtype_back():
    single, double = leaf(np.ones(2, np.float32)), leaf(np.ones(3))
    whole, mask = tg.tensor([1, 2]), tg.tensor([True])
    y = F.concatenate([single, double, whole, mask])
    assert y.dtype == np.float64
    y.backward(np.ones(8))
    assert single.grad.dtype == np.float32 and double.grad.dtype == np.float64
    assert F.concatenate([single, whole]).dtype == np.float32
    assert F.stack([single, whole]).dtype == np.float32
    assert F.concatenate([whole, whole]).dtype == np.int64


def test_one_tensor_joined_to_itself_adds_its_gradients():
    x = leaf(np.ones((2, 2)))
    g = numbered((6, 2))
    F.concatenate([x, x * 2, x]).backward(g)
    np.testing.assert_array_equal(x.grad.numpy(), g[:2] + 2 * g[2:4] + g[4:])


def test_pieces_that_nobody_uses_have_gradient_zero():
    x = leaf(numbered((5, 2)))
    F.split(x, 2)[1].backward(np.ones((2, 2)))
    np.testing.assert_array_equal(x.grad.numpy(), np.repeat([0.0, 1.0, 0.0], [2, 2, 1])[:, None] * np.ones(2))


def test_a_loop_over_time_is_one_operation_backward():
    x = leaf(numbered((100, 3)))
    total = tg.tensor(np.zeros(3))
    for step in F.unbind(x):
        total = total + step
    names = []
    with tg.operation_hook(lambda event: names.append(event.name)):
        total.backward(np.ones(3))
    assert names.count("Unbind") == 1 and names.count("Getitem") == 0
    np.testing.assert_array_equal(x.grad.numpy(), np.ones((100, 3)))


def test_squeeze_leaves_other_axes_alone():
    x = tg.tensor(np.ones((1, 3, 1)))
    assert x.squeeze().shape == (3,)
    assert x.squeeze(1).shape == (1, 3, 1)
    assert x.squeeze((0, 1)).shape == (3, 1)


def test_gradients_that_numpy_made_scalars():
    """Operators on arrays without axes give NumPy scalars, which must pass through a chain of rearrangements."""
    x = leaf(np.full((1, 2), 3.0))
    for function in (
        lambda t: t[0, 1],
        lambda t: F.unbind(t[0])[1].T.flip().roll(1).tile(1).reshape(()),
        lambda t: F.einsum("ij,ij->", t, np.array([[0.0, 1.0]])),
        lambda t: F.stack([t[0, 0], t[0, 1]])[1],
        lambda t: t[0] @ np.array([0.0, 1.0]),
        lambda t: F.trace(t[:, 1:]),
        lambda t: F.det(t[:, 1:]) * 1.0,
    ):
        y = function(x)
        np.testing.assert_allclose(tg.grad((y * y) * (y * 1.0), x).numpy(), [[0.0, 27.0]])
