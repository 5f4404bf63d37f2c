"""One step of block power iteration, and its derivative, by hand.

Q R = W V,  B = Q^T W,  P = Q P_k(B),  V' = B^T  (Halko, Martinsson & Tropp 2011, "Finding structure with randomness",
SIAM Review 53, algorithms 4.3 and 5.1), W m x n, V n x p, P_k the nearest matrix of rank k.

Derivative, from the last line to the first, with G and H the cotangents of P and V': that of P_k(B) is Q^T G, so

    dB = P_k'(B)[Q^T G] + H^T                    (:func:`reference.svd.hand_svd_project`)
    dQ = G P_k(B)^T + W dB^T
    dY = the derivative of Q by Y = W V for dQ    (:func:`reference.linalg.hand_qr`)
    dW = Q dB + dY V^T,   dV = W^T dY
"""

from __future__ import annotations

from reference import complex_linalg as cl
from reference.elementwise import Gradients
from reference.linalg import hand_qr
from reference.svd import hand_svd_project, svd_project
from tinygrad_hw.backend import Array


def subspace_project(w: Array, v: Array, rank: int) -> tuple[Array, Array]:
    """P and V'; analytic, so that it takes complex arrays too."""
    q, _ = cl.qr(w @ v)
    b = q.T @ w
    return q @ svd_project(b, rank), b.T


def hand_subspace_project(g: tuple[Array, Array], w: Array, v: Array, rank: int) -> Gradients:
    """The derivative by W and V, as derived above. Raises as ``hand_svd_project`` and ``hand_qr`` do."""
    y = w @ v
    q, _ = cl.qr(y)
    b = q.T @ w
    d_b = hand_svd_project(q.T @ g[0], b, rank)[0] + g[1].T
    d_q = g[0] @ svd_project(b, rank).T + w @ d_b.T
    (d_y,) = hand_qr((d_q, None), y)
    return q @ d_b + d_y @ v.T, w.T @ d_y
