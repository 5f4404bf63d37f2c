"""The nearest matrix of rank k, P_k(W) = U_k S_k V_k^T, and its derivative, by hand.

W (m x n) = U S V^T in full, U m x m, V n x n, s_1 >= s_2 >= ... >= 0, with s_i = 0 beyond min(m, n). By Eckart & Young
1936, P_k(W) is the nearest matrix of rank k, unique where s_k > s_{k+1}. Its derivative exists just there.

Derivation. Let W move to W + E, and F = U^T E V, so that in the bases U, V we perturb the diagonal matrix S by F. To
first order (Stewart & Sun 1990, "Matrix perturbation theory", ch. V), the k leading singular vectors turn by

    U_k -> U_k + U_c X,  V_k -> V_k + V_c Y       (c: the complement, j > k >= i below)
    s_i X_ji = F_ji + s_j Y_ji                     from the rows j, columns i of (S + F) V_k = U_k S_k
    s_i Y_ji = F_ij + s_j X_ji                     likewise of (S + F)^T U_k = V_k S_k

with the solution X_ji = (s_i F_ji + s_j F_ij) / (s_i^2 - s_j^2), Y_ji = (s_i F_ij + s_j F_ji) / (s_i^2 - s_j^2).
Rotations within the k leading vectors leave the product alone, so dP_k = U M V^T with

    M_ij = F_ij                                                  i, j <= k
    M_ji = X_ji s_i = (s_i^2 F_ji + s_i s_j F_ij) / (s_i^2 - s_j^2)      j > k >= i
    M_ij = s_i Y_ji = (s_i^2 F_ij + s_i s_j F_ji) / (s_i^2 - s_j^2)      j > k >= i
    M_ij = 0                                                     i, j > k

On each pair (F_ij, F_ji) this is a symmetric 2 x 2 matrix: the map E -> dP_k is its own adjoint (P_k is the gradient of
(s_1^2 + ... + s_k^2) / 2), and the vector-Jacobian product is the same formula with the cotangent G in place of E.
Where s_j = 0 (outside the reduced U, V), M_ij = F_ij.

The alternative is to pass G on unchanged, the straight-through estimator of Bengio et al. 2013 (see
:mod:`reference.straight_through`). Matrices are the last two axes; leading axes are batches.
"""

from __future__ import annotations

from reference.complex_linalg import low_rank
from reference.elementwise import Gradients
from tinygrad_hw.backend import Array, array_module


def svd_project(w: Array, rank: int) -> Array:
    """P_k(W) for k = ``rank``; W itself where ``rank`` >= min(m, n). Raises ValueError where ``rank`` < 1."""
    if rank < 1:
        raise ValueError(f"svd_project: rank must be at least 1, got {rank}")
    return low_rank(w, rank)


def hand_svd_project(g: Array, w: Array, rank: int) -> Gradients:
    """The exact derivative, as derived above. Raises ValueError where s_k = s_{k+1} to rounding: there is none."""
    if rank >= min(w.shape[-2:]):
        return (g * 1,)
    xp = array_module(w)
    u, s, vt = xp.linalg.svd(w, full_matrices=False)
    gap = s[..., rank - 1] - s[..., rank]
    if bool((gap <= 8 * xp.finfo(w.dtype).eps * s[..., 0]).any()):
        raise ValueError(
            f"svd_project: singular values {rank} and {rank + 1} coincide, the projection has no derivative"
        )
    ut, v = u.swapaxes(-1, -2), vt.swapaxes(-1, -2)
    f = ut @ g @ v
    leading = xp.arange(s.shape[-1]) < rank
    across = leading[:, None] != leading  # one index among the k leading, the other not
    greater = xp.maximum(s[..., :, None], s[..., None, :])
    lesser = xp.minimum(s[..., :, None], s[..., None, :])
    denominator = xp.where(across, (greater - lesser) * (greater + lesser), 1.0)
    turned = (greater * greater * f + greater * lesser * f.swapaxes(-1, -2)) / denominator
    m = xp.where(across, turned, xp.where(leading[:, None] & leading, f, 0.0))
    u_k, v_k = u[..., :rank], v[..., :rank]
    outside_columns = u_k @ (u_k.swapaxes(-1, -2) @ (g - g @ v @ vt))
    outside_rows = ((g - u @ (ut @ g)) @ v_k) @ v_k.swapaxes(-1, -2)
    return (u @ m @ vt + outside_columns + outside_rows,)


def hand_svd_project_identity(g: Array, w: Array, rank: int) -> Gradients:
    """The straight-through derivative: the identity."""
    return (g * 1,)
