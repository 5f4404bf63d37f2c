"""Losses, layers and straight-through estimators by hand against all oracles, and in extremes."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference import complex_step as cs
from reference import layers, losses, straight_through

F = torch.nn.functional
rng = np.random.default_rng(0)
REDUCTION = pytest.mark.parametrize("reduction", ["none", "sum", "mean"])


def normal(*shape: int) -> np.ndarray:
    return np.asarray(rng.standard_normal(shape))


def both(name, **options):
    """The hand derivation with its settings, the value (twice: for differences and complex step)."""
    value = partial(getattr(losses, name), **options)
    return partial(getattr(losses, f"hand_{name}"), **options), value, value


@REDUCTION
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 2), (2, 3, 2, 2), (3,)])
def test_cross_entropy_with_labels(agree, shape, smoothing, reduction) -> None:
    labels = np.asarray(rng.integers(0, 3, shape[:1] + shape[2:] if len(shape) > 1 else ()))
    hand, value, analytic = both("cross_entropy", label_smoothing=smoothing, reduction=reduction)
    in_torch = partial(F.cross_entropy, label_smoothing=smoothing, reduction=reduction)
    agree(
        lambda g, z: hand(g, z, labels),
        (normal(*shape),),
        lambda z: value(z, labels),
        lambda z: analytic(z, labels),
        lambda z: in_torch(z, torch.tensor(labels)),
    )


@REDUCTION
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 4), (3,)])
def test_cross_entropy_with_probabilities(agree, shape, smoothing, reduction) -> None:
    """The target has a gradient as well, also where its rows do not sum to 1."""
    target = np.asarray(rng.uniform(0.1, 1, shape))
    hand, value, analytic = both("cross_entropy", label_smoothing=smoothing, reduction=reduction)
    in_torch = partial(F.cross_entropy, label_smoothing=smoothing, reduction=reduction)
    agree(hand, (normal(*shape), target), value, analytic, in_torch)


@REDUCTION
@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 2)])
def test_ignored_labels(agree, name, shape, reduction) -> None:
    labels = np.asarray(rng.integers(0, 3, shape[:1] + shape[2:]))
    labels[::2] = -100
    for index in (-100, 1):
        if index == 1:
            labels = np.where(labels == -100, 1, labels)
        hand, value, analytic = both(name, ignore_index=index, reduction=reduction)
        in_torch = partial(getattr(F, name), ignore_index=index, reduction=reduction)
        agree(
            lambda g, z, labels=labels, hand=hand: hand(g, z, labels),
            (normal(*shape),),
            lambda z, labels=labels, value=value: value(z, labels),
            lambda z, labels=labels, analytic=analytic: analytic(z, labels),
            lambda z, labels=labels, in_torch=in_torch: in_torch(z, torch.tensor(labels)),
        )


@pytest.mark.filterwarnings("ignore:invalid value", "ignore:divide by zero")
def test_every_label_ignored_is_nan_as_in_pytorch() -> None:
    z, labels = normal(2, 3), np.array([-100, -100])
    assert np.isnan(losses.cross_entropy(z, labels))
    assert F.cross_entropy(torch.tensor(z), torch.tensor(labels)).isnan()
    assert losses.cross_entropy(z, labels, reduction="sum") == 0


@REDUCTION
def test_binary_cross_entropy(agree, reduction) -> None:
    p, t = np.asarray(rng.uniform(0.05, 0.95, (3, 4))), np.asarray(rng.uniform(0, 1, (3, 4)))
    in_torch = partial(F.binary_cross_entropy, reduction=reduction)
    agree(*_call(both("binary_cross_entropy", reduction=reduction), (p, t), in_torch))
    weight = np.array([0.5, 1.0, 2.0, 3.0])
    for pos_weight in (1.0, weight):
        as_tensor = None if isinstance(pos_weight, float) else torch.tensor(pos_weight)
        in_torch = partial(F.binary_cross_entropy_with_logits, reduction=reduction, pos_weight=as_tensor)
        functions = both("binary_cross_entropy_with_logits", reduction=reduction, pos_weight=pos_weight)
        agree(*_call(functions, (3 * normal(3, 4), t), in_torch))


def _call(functions, args, in_torch):
    hand, value, analytic = functions
    return hand, args, value, analytic, in_torch


@REDUCTION
@pytest.mark.parametrize("shapes", [((3, 4), (3, 4)), ((3, 1), (4,)), ((), (2,))])
@pytest.mark.parametrize("name, options", [("mse_loss", {}), ("l1_loss", {}), ("huber_loss", {"delta": 0.7})])
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_distances(agree, name, options, shapes, reduction) -> None:
    in_torch = partial(getattr(F, name), reduction=reduction, **options)
    functions = both(name, reduction=reduction, **options)
    agree(*_call(functions, tuple(np.asarray(1.5 * normal(*shape)) for shape in shapes), in_torch), digits=8)


@REDUCTION
@pytest.mark.parametrize("shape", [(4, 3), (2, 4, 3), (3,)])
def test_gaussian_kl(agree, shape, reduction) -> None:
    def in_torch(mu, logvar):
        q = torch.distributions.Normal(mu, torch.exp(logvar / 2))
        each = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(-1)
        return each if reduction == "none" else getattr(each, reduction)()

    agree(*_call(both("gaussian_kl", reduction=reduction), (normal(*shape), normal(*shape)), in_torch))


def test_extreme_values_in_float32_against_pytorch() -> None:
    """Finite and right at +-1e4, where exp over- or underflows."""
    z = np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, 1e4], [1e4, 1e4, 1e4]], np.float32)
    labels, t = np.array([1, 2, 0]), np.array([[0, 1, 1], [1, 0, 1], [0.5, 1, 0]], np.float32)
    p = np.array([[0.0, 1.0, 0.5]] * 3, np.float32)
    for name, args in [
        ("cross_entropy", (z, labels)),
        ("cross_entropy", (z, t)),
        ("binary_cross_entropy_with_logits", (z, t)),
        ("mse_loss", (z, t)),
        ("huber_loss", (z, t)),
        ("l1_loss", (z, t)),
        ("binary_cross_entropy", (p, t)),
    ]:
        tensor = torch.tensor(args[0], requires_grad=True)
        theirs = getattr(F, name)(tensor, torch.tensor(args[1]))
        theirs.backward()
        with np.errstate(divide="ignore", over="ignore", under="ignore"):
            ours = getattr(losses, name)(*args)
            grad = getattr(losses, f"hand_{name}")(np.float32(1), *args)[0]
        assert ours.dtype == np.float32 and grad.dtype == np.float32, name
        assert np.isfinite(ours) and np.isfinite(grad).all(), name
        np.testing.assert_allclose(ours, theirs.item(), rtol=1e-6)
        np.testing.assert_allclose(grad, tensor.grad.numpy(), rtol=1e-6, atol=1e-7)


@given(st.integers(0, 2**30), st.floats(-1e3, 1e3))
def test_laws_of_cross_entropy(seed, shift) -> None:
    """A shift of all logits changes nothing, so the gradient of each row sums to 0; uniform logits cost log C."""
    draw = np.random.default_rng(seed)
    z, labels = draw.standard_normal((4, 5)), draw.integers(0, 5, 4)
    assert losses.cross_entropy(z + shift, labels) == pytest.approx(losses.cross_entropy(z, labels), abs=1e-11)
    (grad,) = losses.hand_cross_entropy(np.asarray(1.0), z, labels)
    assert np.abs(grad.sum(1)).max() < 1e-15
    assert losses.cross_entropy(np.full((4, 5), shift), labels) == pytest.approx(np.log(5))


def test_unknown_reduction() -> None:
    with pytest.raises(ValueError, match="reduction must be 'none', 'mean' or 'sum', got 'average'"):
        losses.mse_loss(normal(2), normal(2), reduction="average")


# Layers


@pytest.mark.parametrize("lead", [(), (5,), (2, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_and_bilinear(agree, lead, bias) -> None:
    linear = (normal(*lead, 4), normal(3, 4), *([normal(3)] if bias else []))
    agree(layers.hand_linear, linear, layers.linear, layers.linear, F.linear)
    bilinear = (normal(*lead, 4), normal(*lead, 2), normal(3, 4, 2), *([normal(3)] if bias else []))
    in_torch = F.bilinear if lead else None
    agree(layers.hand_bilinear, bilinear, layers.bilinear, layers.bilinear, in_torch)


def test_embedding_with_duplicates(agree) -> None:
    indices = np.array([[0, 2, 2], [3, 2, 0]])
    value = partial(layers.embedding, indices)
    in_torch = partial(F.embedding, torch.tensor(indices))
    agree(lambda g, w: layers.hand_embedding(g, indices, w), (normal(4, 3),), value, value, in_torch)
    weight, g = normal(4, 3), normal(2, 3, 3)
    tensor = torch.tensor(weight, requires_grad=True)
    in_torch(tensor, padding_idx=2).backward(torch.tensor(g))
    (ours,) = layers.hand_embedding(g, indices, weight, padding_idx=2)
    np.testing.assert_allclose(ours, tensor.grad.numpy(), rtol=1e-14)
    assert not ours[2].any()


def test_dropout_and_softmax(agree) -> None:
    mask = np.array([[1, 0, 1, 1], [0, 1, 1, 0]], bool)
    for p in (0.25, 1.0):
        value = partial(layers.dropout, mask=mask, p=p)
        agree(lambda g, x, p=p: layers.hand_dropout(g, x, mask, p), (normal(2, 4),), value, value)
    for dim in (0, 1, -1):
        for name in ("softmax", "log_softmax"):
            value = partial(getattr(cs, name), dim=dim)
            hand, in_torch = partial(getattr(layers, f"hand_{name}"), dim=dim), partial(getattr(F, name), dim=dim)
            agree(hand, (normal(3, 4),), value, value, in_torch)


def test_dropout_keeps_the_mean() -> None:
    mask = rng.random((100, 1000)) > 0.3
    assert layers.dropout(np.ones((100, 1000)), mask, 0.3).mean() == pytest.approx(1, abs=0.01)


# Straight-through estimators: values by their definition, derivatives are those of what they stand for


def test_straight_through_values() -> None:
    x = np.array([-1.5, -0.4, 0.0, 0.2, 0.5, 0.9, 1.5])
    assert straight_through.sign(x).tolist() == [-1, -1, 1, 1, 1, 1, 1]
    assert straight_through.round(x).tolist() == [-2, 0, 0, 0, 0, 1, 2]
    assert straight_through.clip(x, -1, 1).tolist() == [-1, -0.4, 0, 0.2, 0.5, 0.9, 1]
    np.testing.assert_allclose(straight_through.quantize(x, 2) * 3, [0, 0, 0, 1, 2, 3, 3])
    assert straight_through.binarize(x).tolist() == (np.abs(x).mean() * np.array([-1, -1, 1, 1, 1, 1, 1])).tolist()
    kept = np.abs(x) > 0.7 * np.abs(x).mean()
    np.testing.assert_allclose(straight_through.ternarize(x), np.sign(x) * kept * np.abs(x[kept]).mean())


@pytest.mark.parametrize("values", [2, 3])
def test_binary_and_ternary_weights_are_near(values) -> None:
    """Binary weights are the nearest of their kind; the rule of thumb for ternary ones is nearly so."""
    w = normal(500)
    ours = straight_through.binarize(w) if values == 2 else straight_through.ternarize(w)
    assert len(np.unique(ours)) == values
    best = min(
        ((a * np.sign(w) * (np.abs(w) > t) - w) ** 2).sum()
        for a in np.linspace(0.2, 2, 60)
        for t in ([-1.0] if values == 2 else np.linspace(0, 1.5, 40))
    )
    assert ((ours - w) ** 2).sum() <= best * (1 + 1e-9 if values == 2 else 1.01)


def test_straight_through_derivatives() -> None:
    x, g = np.array([-1.5, -1.0, -0.4, 0.0, 0.9, 1.0, 1.5]), normal(7)
    for name, options in [("round", {}), ("clip", {"min": -1, "max": 1}), ("binarize", {}), ("ternarize", {})]:
        (passed,) = getattr(straight_through, f"hand_{name}")(g, x, **options)
        np.testing.assert_array_equal(passed, g, err_msg=name)
    np.testing.assert_array_equal(straight_through.hand_sign(g, x)[0], g * [0, 1, 1, 1, 1, 1, 0])
    np.testing.assert_array_equal(straight_through.hand_quantize(g, x, 2)[0], g * [0, 0, 0, 1, 1, 1, 0])


@pytest.mark.parametrize("name, options", [("sign", {}), ("round", {}), ("binarize", {}), ("ternarize", {})])
def test_straight_through_keeps_float32(name, options) -> None:
    x = normal(7).astype(np.float32)
    assert getattr(straight_through, name)(x, **options).dtype == np.float32
    assert getattr(straight_through, f"hand_{name}")(x, x, **options)[0].dtype == np.float32
    assert straight_through.quantize(x, 3).dtype == np.float32
