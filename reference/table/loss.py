"""Records of the losses of numbers: binary cross-entropy, distances, the divergence of a Gaussian."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference import losses
from reference.table.record import Call, Failure, Record, call

REDUCTIONS = ("none", "sum", "mean")
SHAPES = ((3, 4), (2, 5, 3), (7,), (), (0, 3))
MISMATCH = Failure(call(np.full((3, 1), 0.5), np.full(3, 0.5)), ValueError, "of the input's shape (3, 1), got (3,)")
REDUCTION = Failure(call(np.full(3, 0.5), np.full(3, 0.5), reduction="max"), ValueError, "'mean', 'sum' or 'none'")
INTEGERS = Failure(call(np.arange(3), np.ones(3)), TypeError, "floating")
COMMON = (MISMATCH, REDUCTION, INTEGERS)


def _pairs(draw: Any) -> Any:
    """Calls with input and target from ``draw(rng, shape)``, every shape and reduction; a number as target.

    The mean of nothing is NaN, which agrees with nothing, so it is left to a test of its own.
    """

    def samples(rng: np.random.Generator) -> list[Call]:
        calls = [
            call(*draw(rng, shape), reduction=reduction)
            for shape in SHAPES
            for reduction in REDUCTIONS
            if (0 in shape) <= (reduction != "mean")
        ]
        return [*calls, call(*draw(rng, (4, 2))), call(draw(rng, (4, 2))[0], 1.0)]

    return samples


def _probabilities(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Any, Any]:
    return np.asarray(rng.uniform(0.1, 0.9, shape)), np.asarray(rng.uniform(0.0, 1.0, shape))


def _logits(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Any, Any]:
    return np.asarray(rng.normal(0.0, 3.0, shape)), np.asarray(rng.uniform(0.0, 1.0, shape))


def _apart(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Differences on both sides of 1, away from 0 and ±1, where the losses have kinks."""
    difference = rng.choice([-1.0, 1.0], shape) * rng.choice([rng.uniform(0.1, 0.9), rng.uniform(1.1, 2.0)], shape)
    target = rng.normal(size=shape)
    return np.asarray(target + difference), np.asarray(target)


def _weighted(value: Any) -> Any:
    """``value`` with a weight that multiplies the losses before they are reduced."""

    def loss(input: Any, target: Any, weight: Any = None, reduction: str = "mean", **settings: Any) -> Any:
        each = value(input, np.asarray(target), "none", **settings)
        return losses._reduce(each if weight is None else each * weight, reduction)

    return loss


def _hand_weighted(hand: Any, each_loss: Any) -> Any:
    """Gradients of the unweighted loss under the gradient of each loss; that of the weight is the loss itself."""

    def gradients(
        g: Any, input: Any, target: Any, weight: Any = None, reduction: str = "mean", **settings: Any
    ) -> tuple[Any, ...]:
        each = g / input.size if reduction == "mean" else g
        grads = hand(each if weight is None else each * weight, input, np.asarray(target), "sum", **settings)
        grads = grads if hasattr(target, "shape") else grads[:1]
        if weight is None:
            return grads
        unweighted = each * each_loss(input, target, "none", **settings)
        return *grads, losses.unbroadcast(unweighted, weight)

    return gradients


def _torch_loss(name: str) -> Any:
    """PyTorch's function; a weight is multiplied on afterwards, since it gives no gradient of one."""

    def value(torch: Any, input: Any, target: Any, weight: Any = None, reduction: str = "mean", **settings: Any) -> Any:
        if not hasattr(target, "shape"):
            target = torch.full_like(input, target)
        function = getattr(torch.nn.functional, name)
        if weight is None:
            return function(input, target, reduction=reduction, **settings)
        each = function(input, target, reduction="none", **settings) * weight
        return each if reduction == "none" else each.sum() if reduction == "sum" else each.mean()

    return value


def _with_number(hand: Any) -> Any:
    """``hand`` for a target that is a number too, which has no gradient."""

    def gradients(g: Any, input: Any, target: Any, **settings: Any) -> tuple[Any, ...]:
        grads = hand(g, input, np.asarray(target, input.dtype), **settings)
        return grads if hasattr(target, "shape") else grads[:1]

    return gradients


def _weights(rng: np.random.Generator, draw: Any) -> list[Call]:
    return [call(*draw(rng, (3, 4)), rng.uniform(0.5, 2.0, (4,)), reduction=reduction) for reduction in REDUCTIONS]


def _positive_weights(rng: np.random.Generator) -> list[Call]:
    calls = [
        call(*_logits(rng, (3, 4)), pos_weight=rng.uniform(0.5, 2.0, (4,)), reduction=reduction)
        for reduction in REDUCTIONS
    ]
    return [*calls, call(*_logits(rng, (5,)), pos_weight=3.0)]


def _torch_with_logits(torch: Any, input: Any, *args: Any, pos_weight: Any = None, **kwargs: Any) -> Any:
    if pos_weight is not None:
        kwargs["pos_weight"] = torch.as_tensor(pos_weight, dtype=input.dtype)
    return _torch_loss("binary_cross_entropy_with_logits")(torch, input, *args, **kwargs)


def _pos_weight(function: Any) -> Any:
    """PyTorch's default None for the oracle's default 1."""

    def renamed(*args: Any, pos_weight: Any = None, **kwargs: Any) -> Any:
        return function(*args, pos_weight=1.0 if pos_weight is None else pos_weight, **kwargs)

    return renamed


def _kl_samples(rng: np.random.Generator) -> list[Call]:
    shapes = ((3, 4), (2, 5, 3), (6,), (0, 3))
    return [
        call(rng.normal(size=shape), rng.normal(size=shape), reduction=reduction)
        for shape in shapes
        for reduction in REDUCTIONS
        if (0 in shape) <= (reduction != "mean")
    ]


def _torch_kl(torch: Any, mu: Any, logvar: Any, reduction: str = "mean") -> Any:
    """By torch.distributions."""
    normal = torch.distributions.Normal
    each = torch.distributions.kl_divergence(
        normal(mu, (0.5 * logvar).exp()), normal(torch.zeros_like(mu), torch.ones_like(mu))
    ).sum(-1)
    return each if reduction == "none" else each.sum() if reduction == "sum" else each.mean()


RECORDS = [
    Record(
        "binary_cross_entropy",
        samples=lambda rng: [*_pairs(_probabilities)(rng), *_weights(rng, _probabilities)],
        numpy=_weighted(losses.binary_cross_entropy),
        hand=_hand_weighted(losses.hand_binary_cross_entropy, losses.binary_cross_entropy),
        torch=_torch_loss("binary_cross_entropy"),
        failures=(
            *COMMON,
            Failure(call(np.array([0.5, 1.5]), np.ones(2)), ValueError, "got 1.5 at index (1,)"),
            Failure(call(np.array([0.5, np.nan]), np.ones(2)), ValueError, "got nan at index (1,)"),
        ),
    ),
    Record(
        "binary_cross_entropy_with_logits",
        samples=lambda rng: [*_pairs(_logits)(rng), *_weights(rng, _logits), *_positive_weights(rng)],
        numpy=_pos_weight(_weighted(losses.binary_cross_entropy_with_logits)),
        hand=_pos_weight(
            _hand_weighted(losses.hand_binary_cross_entropy_with_logits, losses.binary_cross_entropy_with_logits)
        ),
        torch=_torch_with_logits,
        stable=True,
        failures=(
            *COMMON,
            Failure(call(np.ones((3, 2)), np.ones((3, 2)), pos_weight=np.ones(3)), ValueError, "pos_weight"),
        ),
    ),
    Record(
        "mse_loss",
        samples=_pairs(_apart),
        numpy=losses.mse_loss,
        hand=_with_number(losses.hand_mse_loss),
        torch=_torch_loss("mse_loss"),
        stable=True,
        failures=COMMON,
    ),
    Record(
        "l1_loss",
        samples=_pairs(_apart),
        numpy=losses.l1_loss,
        hand=_with_number(losses.hand_l1_loss),
        torch=_torch_loss("l1_loss"),
        stable=True,
        failures=COMMON,
    ),
    Record(
        "huber_loss",
        samples=lambda rng: [*_pairs(_apart)(rng), call(*_apart(rng, (4, 3)), delta=0.3)],
        numpy=losses.huber_loss,
        hand=_with_number(losses.hand_huber_loss),
        torch=_torch_loss("huber_loss"),
        stable=True,
        failures=(*COMMON, Failure(call(np.ones(3), np.ones(3), delta=0.0), ValueError, "delta > 0")),
    ),
    Record(
        "gaussian_kl",
        samples=_kl_samples,
        numpy=losses.gaussian_kl,
        hand=losses.hand_gaussian_kl,
        torch=_torch_kl,
        failures=(*COMMON, Failure(call(np.ones(()), np.ones(())), ValueError, "of one shape (..., J)")),
    ),
]
