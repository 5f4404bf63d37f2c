r"""A fully connected classifier whole, by hand: 784 - 100 (sigmoid) - 50 (ReLU) - 10 (softmax), or any other sizes.

Notation: a batch of N examples in rows, X = A_0; layer l = 1 .. L has weight W_l (outputs x inputs) and bias b_l;
phi_l is its activation, all vectors are rows, * between matrices of one shape is entry by entry.

Forward:
    (1)  Z_l = A_{l-1} W_l^T + b_l                     l = 1 .. L
    (2)  A_l = phi_l(Z_l)                              l = 1 .. L-1
    (3)  P = softmax(Z_L),  P_nc = exp(Z_nc) / sum_d exp(Z_nd)
    (4)  C = -(1/N) sum_n log P_{n, y_n} = (1/N) sum_n ( logsumexp(Z_n) - Z_{n, y_n} )

Backward, with D_l = dC/dZ_l. From (4), since d logsumexp(z) / dz_c = exp(z_c) / sum_d exp(z_d) = P_c, and Z_{n, y_n}
has derivative 1 at c = y_n and 0 elsewhere (Y has rows one-hot in the labels):
    (5)  D_L = (P - Y) / N
From (1), dZ_nj = sum_i dA_ni W_ji + sum_i A_ni dW_ji + db_j. Collecting in dC = sum_nj D_nj dZ_nj what stands before
dW_ji, db_j and dA_ni:
    (6)  dC/dW_l = D_l^T A_{l-1}
    (7)  dC/db_l = sum_n D_l[n]
    (8)  dC/dA_{l-1} = D_l W_l
From (2), entry by entry:
    (9)  D_l = dC/dA_l * phi_l'(Z_l),   sigmoid' = A (1 - A),   ReLU' = 1 where Z > 0, else 0
The first follows from s(z) = 1 / (1 + e^-z): s' = e^-z / (1 + e^-z)^2 = s (1 - s). At Z = 0, where ReLU has no
derivative, 0 is taken, as PyTorch does.

Update by gradient descent:
    (10) theta <- theta - lr dC/dtheta

The equations are those of Rumelhart, Hinton & Williams 1986, "Learning representations by back-propagating errors",
Nature 323, with cross-entropy in place of squared error. Parameters are kept under the keys of PyTorch's
Sequential(Linear, Sigmoid, Linear, ReLU, Linear): "0.weight", "0.bias", "2.weight", ... Everything keeps the dtype of
the parameters, and runs on NumPy and CuPy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from tinygrad_hw.backend import Array, array_module

Parameters = dict[str, Array]


class Cache(NamedTuple):
    """What backward needs of forward: A_0 .. A_{L-1}, the logits Z_L, the parameters, the hidden activations' names."""

    inputs: list[Array]
    logits: Array
    params: Parameters
    activations: tuple[str, ...]


def sigmoid(z: Array) -> Array:
    """1 / (1 + e^-z) as (tanh(z/2) + 1) / 2, which cannot overflow."""
    return 0.5 * array_module(z).tanh(0.5 * z) + 0.5


def relu(z: Array) -> Array:
    """max(z, 0)."""
    return array_module(z).maximum(z, 0)


def sigmoid_slope(a: Array) -> Array:
    """Equation (9): the derivative of the sigmoid at z, from its value a there."""
    return a * (1 - a)


def relu_slope(a: Array) -> Array:
    """Equation (9): the derivative of ReLU at z, from its value a there (a > 0 just where z > 0)."""
    return (a > 0).astype(a.dtype)


ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "sigmoid": (sigmoid, sigmoid_slope),
    "relu": (relu, relu_slope),
}


def default_activations(layers: int) -> tuple[str, ...]:
    """For a net of ``layers`` weight matrices: the first hidden layer sigmoid, every further one ReLU."""
    return ("sigmoid", *["relu"] * (layers - 2)) if layers > 1 else ()


def init(
    stream: Any,
    sizes: Sequence[int] = (784, 100, 50, 10),
    dtype: Any = np.float64,
    activations: Sequence[str] | None = None,
) -> Parameters:
    """Random parameters, on the CPU, drawn in order from ``stream`` (a :class:`tinygrad_hw.random.Stream`).

    Weights into a sigmoid or the softmax: uniform in +-sqrt(6 / (inputs + outputs)) (Glorot & Bengio 2010, eq. 16).
    Weights into a ReLU: normal of standard deviation sqrt(2 / inputs) (He et al. 2015, eq. 10). Biases: zero.
    Raises ValueError where ``activations`` has not one known name for each hidden layer.
    """
    names = _checked(activations, len(sizes) - 1)
    params: Parameters = {}
    for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
        shape = (outputs, inputs)
        if layer < len(names) and names[layer] == "relu":
            weight = stream.normal(shape, mean=0.0, std=math.sqrt(2 / inputs), dtype=dtype)
        else:
            bound = math.sqrt(6 / (inputs + outputs))
            weight = stream.uniform(shape, low=-bound, high=bound, dtype=dtype)
        params[f"{2 * layer}.weight"] = weight
        params[f"{2 * layer}.bias"] = np.zeros(outputs, dtype)
    return params


def _checked(activations: Sequence[str] | None, layers: int) -> tuple[str, ...]:
    names = default_activations(layers) if activations is None else tuple(activations)
    if len(names) != layers - 1 or not set(names) <= set(ACTIVATIONS):
        raise ValueError(f"dense: expected {layers - 1} hidden activations out of {sorted(ACTIVATIONS)}, got {names}")
    return names


def forward(params: Parameters, x: Array, activations: Sequence[str] | None = None) -> tuple[Array, Cache]:
    """Logits Z_L of shape (N, classes) for ``x`` of shape (N, features), equations (1) and (2), and the cache.

    Raises ValueError where the features do not fit the first weight.
    """
    layers = len(params) // 2
    names = _checked(activations, layers)
    if x.ndim != 2 or x.shape[1] != params["0.weight"].shape[1]:
        raise ValueError(f"dense.forward: expected x of shape (N, {params['0.weight'].shape[1]}), got {x.shape}")
    inputs = [x]
    for layer in range(layers):
        z = inputs[-1] @ params[f"{2 * layer}.weight"].T + params[f"{2 * layer}.bias"]  # (1)
        if layer < layers - 1:
            inputs.append(ACTIVATIONS[names[layer]][0](z))  # (2)
    return z, Cache(inputs, z, params, names)


def loss(logits: Array, labels: Array) -> float:
    """Mean cross-entropy of softmax(logits) (N, classes) with integer labels (N,): equation (4).

    The logarithm of the sum is taken after subtracting each row's maximum, so no logit over- or underflows. Raises
    ValueError where the labels are not N integers in 0 .. classes - 1.
    """
    xp = array_module(logits)
    _check_labels(logits, labels)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_total = xp.log(xp.exp(shifted).sum(axis=1))
    return float((log_total - shifted[xp.arange(len(labels)), labels]).mean())


def backward(cache: Cache, labels: Array) -> Parameters:
    """The gradient of :func:`loss` with respect to every parameter, under the same keys: equations (5) to (9)."""
    logits, xp = cache.logits, array_module(cache.logits)
    _check_labels(logits, labels)
    exponentials = xp.exp(logits - logits.max(axis=1, keepdims=True))
    delta = exponentials / exponentials.sum(axis=1, keepdims=True)  # (3)
    delta[xp.arange(len(labels)), labels] -= 1
    delta /= len(labels)  # (5)
    grads: Parameters = {}
    for layer in reversed(range(len(cache.inputs))):
        grads[f"{2 * layer}.weight"] = delta.T @ cache.inputs[layer]  # (6)
        grads[f"{2 * layer}.bias"] = delta.sum(axis=0)  # (7)
        if layer > 0:
            slope = ACTIVATIONS[cache.activations[layer - 1]][1]
            delta = (delta @ cache.params[f"{2 * layer}.weight"]) * slope(cache.inputs[layer])  # (8), (9)
    return {key: grads[key] for key in cache.params}


def step(params: Parameters, grads: Parameters, lr: float) -> None:
    """Equation (10), in place."""
    for key, grad in grads.items():
        params[key] -= lr * grad


def accuracy(params: Parameters, x: Array, labels: Array, activations: Sequence[str] | None = None) -> float:
    """The share of examples whose largest logit is at their label, 0 to 1."""
    logits, _ = forward(params, x, activations)
    _check_labels(logits, labels)
    return float((logits.argmax(axis=1) == labels).mean())


def _check_labels(logits: Array, labels: Array) -> None:
    count, classes = logits.shape
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise ValueError(f"dense: expected {count} integer labels, got {labels.dtype} of shape {labels.shape}")
    if count and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(f"dense: expected labels in 0..{classes - 1}, got {int(labels.min())}..{int(labels.max())}")
