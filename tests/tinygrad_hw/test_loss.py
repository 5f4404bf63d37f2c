"""Losses: extreme and degenerate input, agreement among one another, second derivatives in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_hw as tg
from tests import strict_backend
from tinygrad_hw import functional as F

LOGITS = hnp.arrays(
    np.float64, hnp.array_shapes(min_dims=2, max_dims=4, max_side=5), elements=st.floats(-1e4, 1e4, width=32)
)


def value_and_gradient(function, x, *args, **kwargs):
    x = tg.tensor(x, requires_grad=True)
    y = function(x, *args, **kwargs)
    y.backward(np.ones(y.shape))
    return y.detach().numpy(), x.grad.numpy()


def labels_for(x, seed=0):
    return np.random.default_rng(seed).integers(0, x.shape[1], x.shape[:1] + x.shape[2:])


# ---------------------------------------------------------------------------------------------------- cross-entropy


def test_cross_entropy_of_large_logits_in_float32():
    x = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 1e4], [0, 0, 0]], np.float32)
    losses, gradient = value_and_gradient(F.cross_entropy, x, np.array([1, 1, 2]), reduction="none")
    np.testing.assert_allclose(losses, [2e4, math.log(2), math.log(3)], rtol=1e-6)
    expected = [[1, -1, 0], [0, -0.5, 0.5], [1 / 3, 1 / 3, -2 / 3]]
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)
    assert losses.dtype == gradient.dtype == np.float32


@given(x=LOGITS, shift=st.floats(-1e3, 1e3), smoothing=st.sampled_from([0.0, 0.1, 1.0]))
def test_cross_entropy_among_its_relatives(x, shift, smoothing):
    """Labels are one-hot probabilities; only differences of logits count; it is the negative log-likelihood."""
    labels = labels_for(x)
    one_hot = np.moveaxis(np.eye(x.shape[1])[labels], -1, 1)
    losses, gradient = value_and_gradient(F.cross_entropy, x, labels, label_smoothing=smoothing, reduction="none")
    kwargs = {"label_smoothing": smoothing, "reduction": "none"}
    close = {"rtol": 1e-9, "atol": 1e-9}
    for other in (
        value_and_gradient(F.cross_entropy, x, one_hot, **kwargs),
        value_and_gradient(F.cross_entropy, x + shift, labels, **kwargs),
        value_and_gradient(F.cross_entropy, x, one_hot * (1 - smoothing) + smoothing / x.shape[1], reduction="none"),
    ):
        np.testing.assert_allclose(other[0], losses, **close)
        np.testing.assert_allclose(other[1], gradient, **close)
    np.testing.assert_allclose(gradient.sum(axis=1), 0, atol=1e-12)
    assert (losses >= -1e-9).all()
    if not smoothing:
        other = value_and_gradient(lambda t: F.nll_loss(F.log_softmax(t, axis=1), labels, reduction="none"), x)
        np.testing.assert_allclose(other[0], losses, **close)
        np.testing.assert_allclose(other[1], gradient, **close)


def test_ignored_examples_count_for_nothing_even_when_they_are_nan():
    x = np.array([[0.3, 0.2, -0.5], [np.nan, np.inf, 1.0], [1.0, -1.0, 0.4]])
    alone, slope = value_and_gradient(F.cross_entropy, x[[0, 2]], np.array([2, 0]))
    with np.errstate(invalid="ignore"):
        loss, gradient = value_and_gradient(F.cross_entropy, x, np.array([2, -100, 0]))
    np.testing.assert_allclose(loss, alone, rtol=1e-15)
    np.testing.assert_allclose(gradient, np.stack([slope[0], np.zeros(3), slope[1]]), rtol=1e-15)


@pytest.mark.parametrize("function", [F.cross_entropy, F.nll_loss])
def test_no_example_that_counts_gives_nan_and_no_gradient(function):
    x = np.ones((2, 3))
    loss, gradient = value_and_gradient(function, x, np.array([7, 7]), ignore_index=7)
    assert np.isnan(loss) and not gradient.any()
    loss, gradient = value_and_gradient(function, x, np.array([7, 7]), ignore_index=7, reduction="sum")
    assert loss == 0 and not gradient.any()
    loss, gradient = value_and_gradient(function, x[:0], np.zeros(0, np.int64))
    assert np.isnan(loss) and gradient.shape == (0, 3)


@pytest.mark.parametrize("function", [F.cross_entropy, F.nll_loss])
def test_on_a_gpu_a_label_out_of_range_makes_its_own_loss_nan(function):
    strict_backend.install()
    x, labels = np.random.default_rng(0).normal(size=(4, 3)), np.array([2, 3, 0, -1])
    there = tg.tensor(x, device="strict"), tg.tensor(labels, device="strict")
    losses = function(*there, reduction="none").numpy()
    assert np.isnan(losses).tolist() == [False, True, False, True]
    good = function(x[[0, 2]], labels[[0, 2]], reduction="none")
    np.testing.assert_allclose(losses[[0, 2]], good, rtol=1e-14)
    assert np.isnan(function(*there).item())


def test_hessian_of_cross_entropy_in_closed_form():
    """d²L/dx² = (diag p - p pᵀ) / N within each example that counts (Bishop 2006, eq. 4.110)."""
    x, labels = np.random.default_rng(0).normal(size=(3, 4)), np.array([1, -100, 3])
    p = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    expected = np.zeros((3, 4, 3, 4))
    for n in (0, 2):
        expected[n, :, n] = (np.diag(p[n]) - np.outer(p[n], p[n])) / 2

    def slope(t, **kwargs):
        return tg.grad(F.cross_entropy(t, labels, **kwargs), t, create_graph=True)

    for smoothing in (0.0, 0.3):
        hessian = tg.jacobian(lambda t, s=smoothing: slope(t, label_smoothing=s), tg.tensor(x))
        np.testing.assert_allclose(hessian.numpy(), expected, atol=1e-15)


def test_mixed_second_derivative_of_cross_entropy_of_probabilities():
    """d²L_n/dx_c dt_k = p_c - δ_ck: the weight of class k changes the slope of every logit."""
    rng = np.random.default_rng(0)
    x, t = (tg.tensor(rng.uniform(size=(1, 4)), requires_grad=True) for _ in range(2))
    (slope,) = tg.grad(F.cross_entropy(x, t), [x], create_graph=True)
    p = F.softmax(x, axis=1).detach().numpy()[0]
    for c in range(4):
        (mixed,) = tg.grad(slope[0, c], [t], retain_graph=True)
        np.testing.assert_allclose(mixed.numpy()[0], p[c] - np.eye(4)[c], atol=1e-15)


def test_a_retained_graph_gives_the_same_gradient_twice():
    x = tg.tensor(np.random.default_rng(0).normal(size=(5, 3)), requires_grad=True)
    loss = F.cross_entropy(x, np.array([0, 1, 2, 1, 0]), label_smoothing=0.1)
    first = tg.grad(loss, x, retain_graph=True).numpy()
    np.testing.assert_array_equal(tg.grad(loss, x).numpy(), first)


def test_labels_of_any_integer_type_and_a_tensor_of_them():
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    expected = F.cross_entropy(x, np.array([3, 0, 2]))
    for dtype in (np.uint8, np.int8, np.int32, np.uint64):
        labels = np.array([3, 0, 2], dtype)
        assert F.cross_entropy(x, labels) == expected
        assert F.cross_entropy(tg.tensor(x), tg.tensor(labels)).item() == expected
    assert expected.dtype == np.float32


# ---------------------------------------------------------------------------------------------- binary cross-entropy


def test_certain_probabilities_are_limited_as_in_pytorch():
    x, target = np.array([0.0, 1.0, 0.0, 1.0], np.float32), np.array([1.0, 0.0, 0.0, 1.0], np.float32)
    losses, gradient = value_and_gradient(F.binary_cross_entropy, x, target, reduction="none")
    assert losses.tolist() == [100, 100, 0, 0]
    np.testing.assert_allclose(gradient, [-1e12, 1e12, 0, 0], rtol=1e-6)
    t = tg.tensor(target, requires_grad=True)
    for create_graph in (False, True):
        (gradient,) = tg.grad(F.binary_cross_entropy(x, t, reduction="sum"), [t], create_graph=create_graph)
        assert gradient.detach().numpy().tolist() == [100, -100, 100, -100]


def test_logits_keep_their_precision_in_the_tails():
    x = np.array([-1e4, -20.0, 20.0, 1e4], np.float32)
    for target, expected in ((0.0, [0, math.exp(-20), 20, 1e4]), (1.0, [1e4, 20, math.exp(-20), 0])):
        for pos_weight in (None, 1.0):
            found, gradient = value_and_gradient(
                F.binary_cross_entropy_with_logits, x, target, pos_weight=pos_weight, reduction="none"
            )
            np.testing.assert_allclose(found, expected, rtol=1e-6)
            np.testing.assert_allclose(gradient, 0.5 * (1 + np.tanh(0.5 * x.astype(float))) - target, atol=1e-7)


def test_with_logits_is_the_loss_of_the_sigmoid():
    rng = np.random.default_rng(0)
    x, target, weight = rng.normal(size=(4, 3)), rng.uniform(size=(4, 3)), rng.uniform(size=3)
    for reduction in ("none", "sum", "mean"):
        direct = value_and_gradient(F.binary_cross_entropy_with_logits, x, target, weight, reduction=reduction)
        through = value_and_gradient(
            lambda t, r=reduction: F.binary_cross_entropy(F.sigmoid(t), target, weight, reduction=r), x
        )
        for a, b in zip(direct, through, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


def test_gradient_of_pos_weight_and_its_second_derivative():
    rng = np.random.default_rng(0)
    arrays = rng.normal(size=(4, 3)), rng.uniform(size=(4, 3)), rng.uniform(0.5, 2.0, 3)

    def loss(x, target, pos_weight):
        return F.binary_cross_entropy_with_logits(x, target, pos_weight=pos_weight)

    assert tg.gradcheck(loss, [tg.tensor(array, requires_grad=True) for array in arrays], order=2)


# ---------------------------------------------------------------------------------------------------- distances, KL


@given(
    d=hnp.arrays(np.float64, 5, elements=st.floats(-100, 100)),
    delta=st.floats(0.1, 1000) | st.just(math.inf),
)
def test_huber_is_squared_near_by_and_absolute_far_away(d, delta):
    near = np.abs(d) <= delta
    losses, gradient = value_and_gradient(F.huber_loss, d, 0.0, delta=delta, reduction="none")
    halved = 0.5 * F.mse_loss(d, 0.0, reduction="none")
    np.testing.assert_allclose(losses[near], halved[near], rtol=1e-12)
    if math.isfinite(delta):
        np.testing.assert_allclose(losses[~near], (delta * (np.abs(d) - delta / 2))[~near], rtol=1e-12)
    np.testing.assert_array_equal(gradient, np.clip(d, -delta, delta))


def test_at_their_kinks_the_distances_have_the_gradient_of_pytorch():
    x = np.array([0.0, 1.0, -1.0])
    assert value_and_gradient(F.l1_loss, x, 0.0, reduction="sum")[1].tolist() == [0, 1, -1]
    assert value_and_gradient(F.huber_loss, x, 0.0, reduction="sum")[1].tolist() == [0, 1, -1]


@pytest.mark.parametrize("function", [F.mse_loss, F.l1_loss, F.huber_loss])
def test_a_target_of_another_dtype_takes_its_own_gradient(function):
    x = tg.tensor(np.ones(3, np.float32), requires_grad=True)
    t = tg.tensor(np.array([0.5, 3.0, 2.0]), requires_grad=True)
    function(x, t, reduction="sum").backward()
    assert x.grad.dtype == np.float32 and t.grad.dtype == np.float64
    np.testing.assert_array_equal(x.grad.numpy(), -t.grad.numpy())
    assert function(np.ones(3, np.float32), np.array([1, 2, 3])).dtype == np.float32
    assert function(np.ones(3, np.float32), 2).dtype == np.float32


def test_gaussian_kl_is_zero_at_the_standard_normal_and_precise_beside_it():
    assert F.gaussian_kl(np.zeros((2, 3)), np.zeros((2, 3))) == 0
    logvar = np.full((1, 1), 1e-3, np.float32)
    exact = 0.5 * (math.expm1(float(logvar[0, 0])) - float(logvar[0, 0]))
    np.testing.assert_allclose(F.gaussian_kl(np.zeros((1, 1), np.float32), logvar), exact, rtol=2e-4)


@given(hnp.arrays(np.float64, (2, 3, 4), elements=st.floats(-5, 5)))
def test_gaussian_kl_is_not_negative(parts):
    mu, logvar = parts
    losses = F.gaussian_kl(mu, logvar, reduction="none")
    assert losses.shape == (3,) and (losses >= 0).all()


@pytest.mark.parametrize(
    "function", [F.mse_loss, F.l1_loss, F.huber_loss, F.binary_cross_entropy, F.binary_cross_entropy_with_logits]
)
def test_the_mean_of_nothing_is_nan(function):
    empty = np.zeros((0, 3))
    assert np.isnan(function(empty, empty))
    loss, gradient = value_and_gradient(function, empty, empty)
    assert np.isnan(loss) and gradient.shape == (0, 3)
    assert np.isnan(function(empty, empty, reduction="none")).shape == (0, 3)


@pytest.mark.parametrize("target", [[0.0, 1.0], None])
def test_a_target_that_is_no_array_is_refused(target):
    with pytest.raises(TypeError, match=r"^mse_loss: expected a Tensor, an array or a number as target, got a "):
        F.mse_loss(np.zeros(2), target)
