"""Hand derivations entry by entry, reductions and shapes, against finite differences, the complex step and PyTorch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

from reference import complex_step as cs
from reference import elementwise, reductions, shapes
from reference.probing import digits_agreed

rng = np.random.default_rng(0)


def signed(low: float, high: float, *shape: int) -> np.ndarray:
    return rng.uniform(low, high, shape) * rng.choice([-1.0, 1.0], shape)


F = torch.nn.functional
UNARY = [
    ("neg", np.negative, torch.neg, (-2, 2)),
    ("abs", cs.abs, torch.abs, (-2, 2)),
    ("square", np.square, torch.square, (-2, 2)),
    ("reciprocal", lambda x: 1 / x, torch.reciprocal, (0.3, 2)),
    ("sqrt", cs.sqrt, torch.sqrt, (0.1, 4)),
    ("exp", np.exp, torch.exp, (-3, 3)),
    ("expm1", cs.expm1, torch.expm1, (-3, 3)),
    ("log", cs.log, torch.log, (0.1, 4)),
    ("log1p", cs.log1p, torch.log1p, (-0.7, 4)),
    ("log2", lambda x: cs.log(x) / math.log(2), torch.log2, (0.1, 4)),
    ("log10", lambda x: cs.log(x) / math.log(10), torch.log10, (0.1, 4)),
    ("sin", np.sin, torch.sin, (-6, 6)),
    ("cos", np.cos, torch.cos, (-6, 6)),
    ("tan", np.tan, torch.tan, (-1, 1)),
    ("asin", np.arcsin, torch.asin, (-0.8, 0.8)),
    ("acos", np.arccos, torch.acos, (-0.8, 0.8)),
    ("atan", np.arctan, torch.atan, (-3, 3)),
    ("sinh", np.sinh, torch.sinh, (-3, 3)),
    ("cosh", np.cosh, torch.cosh, (-3, 3)),
    ("tanh", cs.tanh, torch.tanh, (-3, 3)),
    ("asinh", np.arcsinh, torch.asinh, (-3, 3)),
    ("acosh", np.arccosh, torch.acosh, (1.2, 4)),
    ("atanh", np.arctanh, torch.atanh, (-0.8, 0.8)),
    ("erf", cs.erf, torch.erf, (-3, 3)),
    ("sigmoid", cs.sigmoid, torch.sigmoid, (-5, 5)),
    ("relu", cs.relu, torch.relu, (-2, 2)),
    ("leaky_relu", cs.leaky_relu, F.leaky_relu, (-2, 2)),
    ("elu", cs.elu, F.elu, (-2, 2)),
    ("softplus", cs.softplus, F.softplus, (-5, 5)),
    ("silu", cs.silu, F.silu, (-5, 5)),
    ("gelu", cs.gelu, F.gelu, (-4, 4)),
]


@pytest.mark.parametrize("name, analytic, in_torch, domain", UNARY)
@pytest.mark.parametrize("shape", [(), (7,), (3, 4)])
def test_unary(agree, name, analytic, in_torch, domain, shape) -> None:
    hand = getattr(elementwise, f"hand_{name}")
    x = np.asarray(rng.uniform(*domain, shape))
    x = np.where(np.abs(x) < 0.05, 0.2, x)  # away from kinks
    agree(hand, (x,), analytic, analytic, in_torch)
    small = x.astype(np.float32)
    assert all(grad.dtype == np.float32 for grad in hand(small, small))


def test_settings_of_activations(agree) -> None:
    x = signed(0.1, 2, 3, 4)
    agree(
        lambda g, x: elementwise.hand_gelu(g, x, approximate="tanh"),
        (x,),
        lambda x: cs.gelu(x, "tanh"),
        lambda x: cs.gelu(x, "tanh"),
        lambda x: F.gelu(x, approximate="tanh"),
    )
    agree(
        lambda g, x: elementwise.hand_elu(g, x, alpha=0.3),
        (x,),
        lambda x: cs.elu(x, 0.3),
        lambda x: cs.elu(x, 0.3),
        lambda x: F.elu(x, 0.3),
    )
    agree(
        lambda g, x: elementwise.hand_clip(g, x, min=-1.0, max=0.5),
        (x,),
        lambda x: cs.clip(x, -1.0, 0.5),
        lambda x: cs.clip(x, -1.0, 0.5),
        lambda x: torch.clip(x, -1.0, 0.5),
    )
    for value in (3, 0, -1.5, 0.5):
        agree(
            lambda g, x, value=value: elementwise.hand_pow(g, x, value),
            (np.abs(x),),
            lambda x, value=value: cs.power(x, value),
            lambda x, value=value: cs.power(x, value),
            lambda x, value=value: x**value,
        )


def test_extreme_arguments_against_pytorch() -> None:
    """Tails where naive forms overflow or cancel; values at kinks and ties."""
    x = np.array([-1e4, -800.0, -40.0, 0.0, 40.0, 800.0, 1e4])
    for name, _, in_torch, _ in UNARY:
        if name in ("abs", "relu", "leaky_relu", "elu", "sigmoid", "tanh", "silu", "gelu", "erf", "expm1"):
            t = torch.tensor(x, requires_grad=True)
            in_torch(t).backward(torch.ones(7, dtype=torch.float64))
            with np.errstate(over="ignore", under="ignore"):
                (ours,) = getattr(elementwise, f"hand_{name}")(np.ones(7), x)
            np.testing.assert_allclose(ours, t.grad.numpy(), rtol=1e-13, atol=1e-14, err_msg=name)
    assert elementwise.hand_clip(np.ones(3), np.array([-1.0, 0.0, 1.0]), min=-1, max=1)[0].tolist() == [1, 1, 1]
    one, two = elementwise.hand_maximum(np.ones(2), np.zeros(2), np.zeros(2))
    assert one.tolist() == two.tolist() == [0.5, 0.5]
    (base,) = elementwise.hand_pow(np.ones(2), np.array([0.0, -2.0]), 1)
    assert base.tolist() == [1, 1]


BINARY = [
    ("add", lambda a, b: a + b, torch.add),
    ("sub", lambda a, b: a - b, torch.sub),
    ("mul", lambda a, b: a * b, torch.mul),
    ("div", lambda a, b: a / b, torch.div),
    ("pow", lambda a, b: cs.power(cs.abs(a), b), lambda a, b: torch.pow(a.abs(), b)),
    ("maximum", cs.maximum, torch.maximum),
    ("minimum", cs.minimum, torch.minimum),
    ("atan2", cs.arctan2, torch.atan2),
]


@pytest.mark.parametrize("name, analytic, in_torch", BINARY)
@settings(max_examples=12, deadline=None)
@given(
    both=mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3),
    seed=st.integers(0, 2**30),
)
def test_binary_with_any_broadcasting(agree, name, analytic, in_torch, both, seed) -> None:
    draw = np.random.default_rng(seed)
    a, b = (np.asarray(draw.uniform(0.2, 2, s) * draw.choice([-1.0, 1.0], s)) for s in both.input_shapes)
    hand = getattr(elementwise, f"hand_{name}")
    if name == "pow":
        a = np.asarray(np.abs(a))
    if name in ("maximum", "minimum") and (np.abs(np.subtract(a, b)) < 1e-3).any():
        return  # finite differences would step over the kink
    agree(hand, (a, b), analytic, analytic, in_torch, seed=seed, digits=8)


def test_where_numbers_and_integers(agree) -> None:
    condition = np.array([[True], [False], [True]])
    a, b = rng.standard_normal(4), rng.standard_normal((3, 4))
    agree(elementwise.hand_where, (condition, a, b), np.where, cs.where, torch.where)
    g = rng.standard_normal((3, 4))
    assert len(elementwise.hand_mul(g, b, 2.0)) == len(elementwise.hand_mul(g, 2.0, b)) == 1
    np.testing.assert_array_equal(elementwise.hand_mul(g, b, np.arange(4))[0], g * np.arange(4))
    assert len(elementwise.hand_mul(g, b, np.arange(4))) == 1
    np.testing.assert_allclose(elementwise.hand_pow(g, 2.0, b)[0], g * 2**b * math.log(2))


def test_pow_at_zero_against_pytorch() -> None:
    x, p = np.array([0.0, 0.0, 0.0, -2.0, 3.0]), np.array([2.0, 1.0, 0.0, 3.0, 0.0])
    t, q = torch.tensor(x, requires_grad=True), torch.tensor(p, requires_grad=True)
    torch.pow(t, q).backward(torch.ones(5, dtype=torch.float64))
    with np.errstate(invalid="ignore"):
        dx, dp = elementwise.hand_pow(np.ones(5), x, p)
    np.testing.assert_allclose(dx, t.grad.numpy())
    np.testing.assert_allclose(dp, q.grad.numpy())


AXES = [(None, False), (None, True), (1, False), (-1, True), ((0, 2), False), ((0, -1), True)]


def _along(function, dim, keepdim):
    return lambda x: function(x, dim, keepdim)


REDUCTIONS = [
    ("sum", lambda x, d, k: x.sum(axis=d, keepdims=k), lambda x, d, k: x.sum(dim=d, keepdim=k), {}),
    ("mean", lambda x, d, k: x.mean(axis=d, keepdims=k), lambda x, d, k: x.mean(dim=d, keepdim=k), {}),
    ("var", lambda x, d, k: cs.var(x, d, 1, k), lambda x, d, k: x.var(dim=d, keepdim=k), {}),
    (
        "var",
        lambda x, d, k: cs.var(x, d, 0, k),
        lambda x, d, k: x.var(dim=d, keepdim=k, correction=0),
        {"correction": 0},
    ),
    ("std", lambda x, d, k: cs.std(x, d, 1, k), lambda x, d, k: x.std(dim=d, keepdim=k), {}),
    ("amax", cs.amax, lambda x, d, k: torch.amax(x, () if d is None else d, k), {}),
    ("amin", cs.amin, lambda x, d, k: torch.amin(x, () if d is None else d, k), {}),
    ("logsumexp", cs.logsumexp, lambda x, d, k: torch.logsumexp(x, (0, 1, 2) if d is None else d, k), {}),
    *(
        (
            "norm",
            lambda x, d, k, p=p: cs.norm(x, p, d, k),
            lambda x, d, k, p=p: torch.linalg.vector_norm(x, p, d, k),
            {"p": p},
        )
        for p in (2.0, 1.0, 3.5, math.inf, -math.inf)
    ),
    ("prod", lambda x, d, k: x.prod(axis=d, keepdims=k), None, {}),
]


@pytest.mark.parametrize("dim, keepdim", AXES)
@pytest.mark.parametrize("name, analytic, in_torch, options", REDUCTIONS)
def test_reductions(agree, name, analytic, in_torch, options, dim, keepdim) -> None:
    x = rng.permutation(np.arange(1.0, 25)).reshape(2, 3, 4) / 10 * rng.choice([-1.0, 1.0], (2, 3, 4))
    hand = getattr(reductions, f"hand_{name}")
    real = _along(analytic, dim, keepdim)
    agree(
        lambda g, x: hand(g, x, dim=dim, keepdim=keepdim, **options),
        (x,),
        real,
        real,
        in_torch and (lambda x: in_torch(x, dim, keepdim)),
    )
    small = x.astype(np.float32)
    assert hand(np.ones_like(real(small)), small, dim=dim, keepdim=keepdim, **options)[0].dtype == np.float32


@pytest.mark.parametrize("zeros", [[], [2], [0, 3], [0, 1, 2, 3]])
def test_prod_with_zeros_against_pytorch(zeros) -> None:
    x = rng.standard_normal((4, 4))
    x[1, zeros] = 0
    t, g = torch.tensor(x, requires_grad=True), rng.standard_normal(4)
    torch.prod(t, 1).backward(torch.tensor(g))
    np.testing.assert_allclose(reductions.hand_prod(g, x, dim=1)[0], t.grad.numpy(), rtol=1e-13)


def test_ties_zero_norms_and_constant_rows_against_pytorch() -> None:
    x = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0], [0.0, 0.0, 0.0]])
    g = np.array([1.0, 2.0, 3.0])
    for name, in_torch in [
        ("amax", lambda t: torch.amax(t, 1)),
        ("max", lambda t: torch.max(t, 1).values),
        ("min", lambda t: torch.min(t, 1).values),
        ("amin", lambda t: torch.amin(t, 1)),
        ("norm", lambda t: torch.linalg.vector_norm(t, 2, 1)),
    ]:
        t = torch.tensor(x, requires_grad=True)
        in_torch(t).backward(torch.tensor(g))
        np.testing.assert_allclose(getattr(reductions, f"hand_{name}")(g, x, dim=1)[0], t.grad.numpy(), err_msg=name)
    assert not reductions.hand_std(g, x, dim=1)[0][1:].any()
    assert reductions.hand_max(np.asarray(1.0), np.array([2.0, 5.0, 5.0]))[0].tolist() == [0, 0.5, 0.5]


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_cumsum_and_sort(agree, dim) -> None:
    x = rng.permutation(np.arange(24.0)).reshape(2, 3, 4)
    agree(
        lambda g, x: reductions.hand_cumsum(g, x, dim),
        (x,),
        lambda x: np.cumsum(x, dim),
        lambda x: np.cumsum(x, dim),
        lambda x: torch.cumsum(x, dim),
    )
    agree(
        lambda g, x: shapes.hand_sort(g, x, dim),
        (x,),
        lambda x: np.sort(x, dim),
        lambda x: cs.sort(x, dim),
        lambda x: torch.sort(x, dim).values,
    )


X = np.asarray(np.random.default_rng(5).standard_normal((2, 3, 4)))
INDEX = np.array([[[0, 2, 2, 1]], [[1, 1, 1, 0]]])
PLAIN_INDEX = np.array([2, 0, 2, 1, 2])
MOVES = [
    ("reshape", ((4, 6),), lambda x, s: x.reshape(s), lambda x, s: x.reshape(s)),
    ("flatten", (1,), lambda x, s: x.reshape(2, 12), torch.flatten),
    ("squeeze", (), np.squeeze, torch.squeeze),
    ("unsqueeze", (1,), np.expand_dims, torch.unsqueeze),
    ("transpose", (0, 2), np.swapaxes, torch.transpose),
    ("permute", ((2, 0, -2),), lambda x, d: x.transpose(d), torch.permute),
    ("expand", ((5, 2, 3, 4),), np.broadcast_to, lambda x, s: x.expand(s)),
    ("pad", ((1, 2, 0, 3),), lambda x, p: np.pad(x, ((0, 0), (0, 3), (1, 2))), lambda x, p: F.pad(x, p)),
    ("flip", ((0, 2),), np.flip, torch.flip),
    ("roll", ((1, -2), (0, 2)), lambda x, s, d: np.roll(x, s, d), torch.roll),
    ("roll", (5,), np.roll, torch.roll),
    ("tile", ((3, 1, 2),), np.tile, torch.tile),
    ("tile", ((2,),), np.tile, torch.tile),
    ("repeat", ((2, 1, 3, 2),), np.tile, lambda x, d: x.repeat(d)),
    ("repeat_interleave", (3, 1), np.repeat, torch.repeat_interleave),
    ("repeat_interleave", (2,), np.repeat, torch.repeat_interleave),
    ("getitem", ((slice(None), slice(None, None, 2)),), lambda x, i: x[i], lambda x, i: x[i]),
    ("getitem", ((1, [0, 2, 2], None),), lambda x, i: x[i], lambda x, i: x[i]),
    ("getitem", (X > 0.3,), lambda x, i: x[i], lambda x, i: x[torch.as_tensor(i)]),
    ("take_along_dim", (INDEX, 1), lambda x, i, d: np.take_along_axis(x, i, d), torch.take_along_dim),
    (
        "index_select",
        (1, PLAIN_INDEX),
        lambda x, d, i: np.take(x, i, d),
        lambda x, d, i: torch.index_select(x, d, torch.as_tensor(i)),
    ),
    ("diagonal", (1, 2, 0), np.diagonal, torch.diagonal),
    ("tril", (-1,), np.tril, torch.tril),
    ("triu", (1,), np.triu, torch.triu),
]


@pytest.mark.parametrize("name, options, plain, in_torch", MOVES)
def test_moves(agree, name, options, plain, in_torch) -> None:
    x = X[:, :1] if name == "squeeze" else X
    hand = getattr(shapes, f"hand_{name}")
    tensors = [torch.tensor(option) if isinstance(option, np.ndarray) else option for option in options]
    agree(
        lambda g, x: hand(g, x, *options),
        (x,),
        lambda x: plain(x, *options),
        lambda x: plain(x, *options),
        lambda x: in_torch(x, *tensors),
    )
    small = x.astype(np.float32)
    assert hand(plain(small, *options), small, *options)[0].dtype == np.float32


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_joining_and_splitting(agree, dim) -> None:
    a, b = rng.standard_normal((2, 3)), rng.standard_normal((2, 3))
    c = rng.standard_normal((5, 3) if dim == 0 else (2, 5))

    def cat(*parts):
        return np.concatenate(parts, dim)

    agree(lambda g, *p: shapes.hand_cat(g, p, dim), (a, b, c), cat, cat, lambda *p: torch.cat(p, dim))
    agree(
        lambda g, *p: shapes.hand_stack(g, p, dim),
        (a, b),
        lambda *p: np.stack(p, dim),
        lambda *p: np.stack(p, dim),
        lambda *p: torch.stack(p, dim),
    )
    x, size = rng.standard_normal((5, 5)), [2, 2, 1]
    g = rng.standard_normal((2, 5) if dim == 0 else (5, 2)), None, rng.standard_normal((1, 5) if dim == 0 else (5, 1))
    for sections in (2, size):
        agree(
            lambda g, x, sections=sections: shapes.hand_split(g, x, sections, dim),
            (x,),
            lambda x: tuple(np.split(x, [2, 4], dim)),
            lambda x: tuple(np.split(x, [2, 4], dim)),
            lambda x, sections=sections: torch.split(x, sections, dim),
            g=g,
        )


def test_index_add(agree) -> None:
    x, source = rng.standard_normal((3, 4)), rng.standard_normal((5, 4))

    def plain(x, source):
        out = x + 0 * source[0]
        for k, i in enumerate(PLAIN_INDEX):
            out[i] = out[i] + 0.5 * source[k]
        return out

    agree(
        lambda g, x, s: shapes.hand_index_add(g, x, 0, PLAIN_INDEX, s, alpha=0.5),
        (x, source),
        plain,
        plain,
        lambda x, s: torch.index_add(x, 0, torch.tensor(PLAIN_INDEX), s, alpha=0.5),
    )


def test_empty_arrays() -> None:
    empty = np.zeros((0, 3))
    assert elementwise.hand_mul(empty, empty, np.ones(3))[1].tolist() == [0, 0, 0]
    assert reductions.hand_sum(np.zeros(3), empty, dim=0)[0].shape == (0, 3)
    assert shapes.hand_getitem(np.zeros((0, 2)), empty, (slice(None), [0, 2]))[0].shape == (0, 3)


def test_the_comparison_catches_a_thousandth(agree) -> None:
    x = rng.standard_normal((3, 4))
    for factor in (1.001, -1.0):
        with pytest.raises(AssertionError, match="against"):
            agree(lambda g, x, factor=factor: (factor * g * np.cos(x),), (x,), np.sin)
        with pytest.raises(AssertionError, match="complex step"):
            agree(lambda g, x, factor=factor: (factor * g * np.cos(x),), (x,), analytic=np.sin)
    (right,) = elementwise.hand_sin(np.ones((3, 4)), x)
    assert digits_agreed(right.T.copy(), right) == 0
