"""Linear, Bilinear, Embedding, dropout, softmax: value and derivative by hand, on plain arrays.

Values accept complex input (where they are analytic), so they serve the complex step too. ``g`` is the gradient of the
value; every ``hand_`` function returns one gradient for each argument that has one, in order.
"""

from __future__ import annotations

from reference.complex_step import log_softmax, softmax
from reference.elementwise import Gradients
from tinygrad_hw.backend import Array, array_module

__all__ = [
    "bilinear",
    "dropout",
    "embedding",
    "hand_bilinear",
    "hand_dropout",
    "hand_embedding",
    "hand_linear",
    "hand_log_softmax",
    "hand_softmax",
    "linear",
    "log_softmax",
    "softmax",
]


def linear(input: Array, weight: Array, bias: Array | None = None) -> Array:
    """y = x W^T + b: x (..., in), W (out, in), b (out,), y (..., out)."""
    y = input @ weight.T
    return y if bias is None else y + bias


def hand_linear(g: Array, input: Array, weight: Array, bias: Array | None = None) -> Gradients:
    """y_ni = sum_j x_nj W_ij + b_i, n over all leading axes: dx = g W, dW = g^T x, db = sum_n g_n."""
    rows = g.reshape(-1, g.shape[-1])
    grads = (g @ weight, rows.T @ input.reshape(-1, input.shape[-1]))
    return grads if bias is None else (*grads, rows.sum(axis=0))


def bilinear(input1: Array, input2: Array, weight: Array, bias: Array | None = None) -> Array:
    """y_o = sum_ij x1_i W_oij x2_j + b_o: x1 (..., in1), x2 (..., in2), W (out, in1, in2), b (out,)."""
    y = array_module(input1).einsum("...i,oij,...j->...o", input1, weight, input2)
    return y if bias is None else y + bias


def hand_bilinear(g: Array, input1: Array, input2: Array, weight: Array, bias: Array | None = None) -> Gradients:
    """dx1_i = sum_oj g_o W_oij x2_j, dx2_j = sum_oi g_o x1_i W_oij, dW_oij = sum_n g_no x1_ni x2_nj, db = sum_n g_n."""
    xp = array_module(g)
    rows, x1, x2 = (array.reshape(-1, array.shape[-1]) for array in (g, input1, input2))
    grads = (
        xp.einsum("no,oij,nj->ni", rows, weight, x2).reshape(input1.shape),
        xp.einsum("no,oij,ni->nj", rows, weight, x1).reshape(input2.shape),
        xp.einsum("no,ni,nj->oij", rows, x1, x2),
    )
    return grads if bias is None else (*grads, rows.sum(axis=0))


def embedding(input: Array, weight: Array, padding_idx: int | None = None) -> Array:
    """Rows of ``weight`` (entries, features) at the integers ``input``, of any shape: (*input.shape, features)."""
    return weight[input]


def hand_embedding(g: Array, input: Array, weight: Array, padding_idx: int | None = None) -> Gradients:
    """y_n = W[i_n]: row k of dW is the sum of g_n over all n with i_n = k, as a product with the one-hot matrix.

    Row ``padding_idx`` stays at 0.
    """
    xp = array_module(weight)
    one_hot = (input.reshape(-1, 1) == xp.arange(len(weight))).astype(g.dtype)
    d_weight = one_hot.T @ g.reshape(-1, g.shape[-1])
    if padding_idx is not None:
        d_weight[padding_idx] = 0
    return (d_weight,)


def dropout(input: Array, mask: Array, p: float = 0.5) -> Array:
    """x mask / (1 - p), with a mask of zeros (dropped, with probability p) and ones; its mean over masks is x.

    Srivastava et al. 2014, in the inverted form that leaves evaluation unscaled. p = 1 gives 0.
    """
    return input * mask * (0.0 if p == 1 else 1 / (1 - p))


def hand_dropout(g: Array, input: Array, mask: Array, p: float = 0.5) -> Gradients:
    """Linear in x with the factor mask / (1 - p); the mask is given."""
    return (dropout(g, mask, p),)


def hand_softmax(g: Array, input: Array, dim: int = -1) -> Gradients:
    """s_i = e^x_i / sum e^x: ds_i/dx_j = s_i (delta_ij - s_j), so dx = s (g - <g, s>)."""
    s = softmax(input, dim)
    return (s * (g - (g * s).sum(axis=dim, keepdims=True)),)


def hand_log_softmax(g: Array, input: Array, dim: int = -1) -> Gradients:
    """l_i = x_i - log sum e^x: dl_i/dx_j = delta_ij - s_j, so dx = g - s sum(g)."""
    return (g - softmax(input, dim) * g.sum(axis=dim, keepdims=True),)
