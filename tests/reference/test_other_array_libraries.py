"""Everything in reference/ on arrays that are not NumPy's: the strict backend has CuPy's names and refusals."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from reference import complex_linalg, complex_step, dense, finite_differences, optimizers, probing
from tests import strict_backend
from tinygrad_hw.backend import array_module
from tinygrad_hw.random import Stream

strict_backend.install()
rng = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return np.asarray(rng.standard_normal(shape))


def moved(value):
    """Every NumPy array in ``value`` on the strict backend."""
    if isinstance(value, np.ndarray):
        return strict_backend.strict.array(value)
    if isinstance(value, list | tuple):
        return type(value)(moved(part) for part in value)
    return {key: moved(part) for key, part in value.items()} if isinstance(value, dict) else value


def equal(ours, theirs):
    if isinstance(theirs, list | tuple):
        assert type(ours) is type(theirs)
        for a, b in zip(ours, theirs, strict=True):
            equal(a, b)
    elif isinstance(theirs, dict):
        equal([*ours.values()], [*theirs.values()])
    elif isinstance(theirs, np.ndarray | np.generic):
        assert type(ours) is strict_backend.StrictArray
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours.get(), theirs, rtol=1e-13, atol=1e-14)
    else:
        assert type(ours) is type(theirs)
        assert ours == pytest.approx(theirs, rel=1e-12)


X, Y, G = normal(3, 4), normal(3, 4), normal(3, 4)
POSITIVE = np.asarray(rng.uniform(0.2, 0.8, (3, 4)))
SQUARE = normal(3, 3) @ normal(3, 3)
PD = SQUARE @ SQUARE.T + np.eye(3)
LABELS, MASK, INDEX = np.array([0, 3, 1]), np.array([[True], [False], [True]]), np.array([2, 0, 0])
ONE = np.asarray(1.5)

# For every hand derivation (by file and name) the arguments, those that are not (g, x) of one shape.
UNARY = [(G, POSITIVE)]
CALLS = {
    **{f"elementwise.{name}": [(G, X, Y), (G.sum(0), X[0], Y[0])] for name in ("add", "sub", "mul", "div", "atan2")},
    **{f"elementwise.{name}": [(G, X, Y), (G, X, Y[:, :1])] for name in ("maximum", "minimum")},
    "elementwise.pow": [(G, POSITIVE, Y), (G, POSITIVE, 2.5), (G, 2.0, Y), (G, X, 0)],
    "elementwise.where": [(G, MASK, X, Y[0])],
    "elementwise.clip": [(G, X, -0.5, 0.5), (G, X, None, 0.5)],
    "elementwise.gelu": [(G, X), (G, X, "tanh")],
    "elementwise.acosh": [(G, 1 + POSITIVE)],
    **{
        f"reductions.{name}": [(ONE, X), (G[0], X, 0), (G[:, :1], X, 1, True)]
        for name in ("sum", "mean", "amax", "amin", "max", "min", "prod", "logsumexp")
    },
    **{f"reductions.{name}": [(ONE, X), (G[0], X, 0, 0.0), (G[:, :1], X, 1, 1, True)] for name in ("var", "std")},
    "reductions.norm": [(ONE, X), (G[0], X, 3.0, 0), (G[:, :1], X, np.inf, 1, True)],
    "reductions.cumsum": [(G, X, 1)],
    "shapes.reshape": [(G, X.reshape(2, 6), (3, 4))],
    "shapes.flatten": [(G.ravel(), X)],
    "shapes.squeeze": [(G, X[:, None], 1)],
    "shapes.unsqueeze": [(G[None], X, 0)],
    "shapes.transpose": [(G.T, X, 0, 1)],
    "shapes.permute": [(G.T, X, (1, 0))],
    "shapes.expand": [(G, X[:, :1], (3, 4))],
    "shapes.cat": [(G, [X[:1], X[1:]], 0)],
    "shapes.stack": [(normal(2, 3, 4), [X, Y], 0)],
    "shapes.split": [((G[:2], None), X, 2, 0), ((G[:1], G[1:]), X, [1, 2], 0)],
    "shapes.pad": [(normal(3, 7), X, (1, 2))],
    "shapes.flip": [(G, X, (0, 1))],
    "shapes.roll": [(G, X, (1, 2), (0, 1)), (G, X, 5)],
    "shapes.tile": [(normal(6, 4), X, (2, 1))],
    "shapes.repeat": [(normal(6, 4), X, (2, 1))],
    "shapes.repeat_interleave": [(normal(3, 8), X, 2, 1)],
    "shapes.getitem": [(normal(3, 4), X, (INDEX,)), (normal(3, 2), X, (slice(None), slice(0, 2)))],
    "shapes.take_along_dim": [(normal(3, 1), X, LABELS[:, None], 1)],
    "shapes.index_select": [(G, X, 0, INDEX)],
    "shapes.index_add": [(G, X, 0, INDEX, Y, 0.5)],
    "shapes.diagonal": [(normal(3), X)],
    "layers.linear": [(normal(5, 3), normal(5, 4), X), (normal(3), normal(4), X, normal(3))],
    "layers.bilinear": [(normal(5, 2), normal(5, 3), normal(5, 4), normal(2, 3, 4), normal(2))],
    "layers.embedding": [(G, INDEX, X), (G, INDEX, X, 0)],
    "layers.dropout": [(G, X, MASK, 0.3)],
    "straight_through.clip": [(G, X, -1, 1)],
    "straight_through.quantize": [(G, X, 3)],
    "linalg.matmul": [(SQUARE, X, Y.T.copy()), (normal(3), X, normal(4)), (ONE, X[0], Y[0])],
    "linalg.outer": [(SQUARE, X[:, 0], Y[:, 0])],
    "linalg.trace": [(ONE, SQUARE)],
    "linalg.einsum": [(SQUARE, "ij,kj->ik", X, Y), (normal(3), "ii->i", SQUARE), (normal(4), "...i->i", X)],
    "linalg.inv": [(SQUARE, PD)],
    "linalg.solve": [(X, PD, Y), (X[:, 0], PD, Y[:, 0])],
    "linalg.det": [(ONE, PD)],
    "linalg.slogdet": [((None, ONE), PD)],
    "linalg.cholesky": [(SQUARE, PD)],
    "linalg.qr": [((SQUARE, PD), PD), ((SQUARE, X), Y)],
    "linalg.eigh": [((normal(3), SQUARE), PD)],
    "linalg.svd": [((SQUARE, normal(3), G), X)],
    "svd.svd_project": [(G, X, 2)],
    "svd.svd_project_identity": [(G, X, 2)],
    "losses.cross_entropy": [(ONE, X, LABELS), (normal(3), X, POSITIVE, -100, "none", 0.1)],
    "losses.nll_loss": [(ONE, X, LABELS, 3)],
    "losses.binary_cross_entropy": [(ONE, POSITIVE, POSITIVE)],
    "losses.binary_cross_entropy_with_logits": [(ONE, X, POSITIVE), (G, X, POSITIVE, "none", POSITIVE[0])],
    **{f"losses.{name}": [(ONE, X, Y), (G, X, Y[0], "none")] for name in ("mse_loss", "l1_loss", "huber_loss")},
    "losses.gaussian_kl": [(ONE, X, Y), (normal(3), X, Y, "none")],
}
FILES = ("elementwise", "reductions", "shapes", "layers", "straight_through", "linalg", "svd", "losses")
DERIVATIONS = [
    (file, name.removeprefix("hand_"))
    for file in FILES
    for name in vars(importlib.import_module(f"reference.{file}"))
    if name.startswith("hand_")
]


@pytest.mark.parametrize("file, name", DERIVATIONS)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_derivations(file, name) -> None:
    module = importlib.import_module(f"reference.{file}")
    for args in CALLS.get(f"{file}.{name}", UNARY):
        hand = getattr(module, f"hand_{name}")
        equal(hand(*moved(args)), hand(*args))
        value = getattr(module, name, None)
        if value is not None and file != "elementwise":
            equal(value(*moved(args[1:])), np.asarray(value(*args[1:])))


def test_every_call_above_is_of_a_derivation() -> None:
    assert not set(CALLS) - {f"{file}.{name}" for file, name in DERIVATIONS}
    assert len(DERIVATIONS) > 100


# fmt: off
CONTINUATIONS = [
    "sign", "abs", "relu", "leaky_relu", "elu", "sqrt", "log", "log1p", "expm1", "sigmoid", "silu", "softplus", "tanh",
    "erfc", "erf", "gelu", "amax", "amin", "sort", "var", "std", "norm", "logsumexp", "log_softmax", "softmax",
]
# fmt: on


@pytest.mark.parametrize("name", CONTINUATIONS)
def test_continuations(name) -> None:
    function = getattr(complex_step, name)
    for x in (POSITIVE, POSITIVE + 1e-20j):
        equal(function(moved(x)), np.asarray(function(x)))


def test_continuations_of_two_operands_and_matrices() -> None:
    for function in (complex_step.maximum, complex_step.minimum, complex_step.arctan2, complex_step.power):
        for x in (POSITIVE, POSITIVE + 1e-20j):
            equal(function(moved(x), moved(Y)), function(x, Y))
    for function in (complex_linalg.slogdet, complex_linalg.cholesky, complex_linalg.eigh, complex_linalg.qr):
        for a in (PD, PD + 1e-20j * SQUARE):
            equal(function(moved(a)), tuple(function(a)) if function is not complex_linalg.cholesky else function(a))
    for a in (X, X + 1e-20j * Y):
        equal(complex_linalg.svd(moved(a)), tuple(complex_linalg.svd(a)))
        equal(complex_linalg.low_rank(moved(a), 2), complex_linalg.low_rank(a, 2))


def test_numeric_oracles() -> None:
    def f(x, w):
        xp = array_module(x, w)
        return complex_step.softmax(x @ w), xp.exp(w)

    args, g = (X, normal(4, 2)), (normal(3, 2), normal(4, 2))
    for oracle in (finite_differences, complex_step):
        ours = oracle.gradient(f, moved(args), moved(g))
        equal(ours, oracle.gradient(f, args, g))
        directions = probing.random_directions(args, seed=1)
        equal(probing.random_directions(moved(args), seed=1), directions)
        along = oracle.directional(f, moved(args), moved(directions), moved(g))
        assert along == pytest.approx(probing.inner(ours, moved(directions)), rel=1e-9)
        assert probing.digits_agreed(ours[0], moved(oracle.gradient(f, args, g)[0])) > 13


def test_the_dense_net() -> None:
    params = dense.init(Stream(0, "init"), (4, 5, 6, 4))
    there = moved(params)
    for _ in range(3):
        logits, cache = dense.forward(there, moved(X))
        grads = dense.backward(cache, moved(LABELS))
        expected_logits, expected_cache = dense.forward(params, X)
        expected = dense.backward(expected_cache, LABELS)
        equal(logits, expected_logits)
        equal(grads, expected)
        equal(dense.loss(logits, moved(LABELS)), dense.loss(expected_logits, LABELS))
        dense.step(there, grads, 0.5)
        dense.step(params, expected, 0.5)
        equal(there, params)
    equal(dense.accuracy(there, moved(X), moved(LABELS)), dense.accuracy(params, X, LABELS))


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adagrad", "adam", "adamw"])
def test_optimizers(name) -> None:
    step = getattr(optimizers, name)
    options = {"weight_decay": 0.1, **({"momentum": 0.9} if name in ("sgd", "rmsprop") else {})}
    (ours, state), (expected, reference_state) = (moved(X), {}), (X, {})
    for _ in range(2):
        ours, state = step(ours, moved(G), state, lr=0.1, **options)
        expected, reference_state = step(expected, G, reference_state, lr=0.1, **options)
        equal(ours, expected)
        equal(state, reference_state)


def test_gradient_clipping() -> None:
    for norm_type in (2.0, float("inf")):
        equal(
            optimizers.clip_grad_norm(moved([X, Y]), 0.5, norm_type), optimizers.clip_grad_norm([X, Y], 0.5, norm_type)
        )
    equal(optimizers.clip_grad_value(moved([X, Y]), 0.5), optimizers.clip_grad_value([X, Y], 0.5))
