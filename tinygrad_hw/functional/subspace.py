"""The nearest matrix of lower rank, followed from step to step of a training instead of computed anew each time."""

from __future__ import annotations

from typing import Any

from tinygrad_hw.backend import Array, array_module, linalg_errors
from tinygrad_hw.functional.checks import check_floating
from tinygrad_hw.functional.decomposition import qr
from tinygrad_hw.functional.matmul import matmul
from tinygrad_hw.functional.spectral import check_projection, svd_project
from tinygrad_hw.functional.straight_through import straight_through
from tinygrad_hw.tensor import Tensor

__all__ = ["subspace_project"]


def subspace_project(w: Any, basis: Any, rank: int, derivative: str = "identity") -> tuple[Any, Any]:
    """About the matrix of rank ``rank`` nearest to ``w`` (m, n), and the basis (n, p) that the next call begins with.

    One step of block power iteration, p >= rank columns at once, then the best that their span allows:

        Q R = W V,   B = Qᵀ W,   P = Q P_k(B),   V' = Bᵀ

    with P_k as in :func:`svd_project` and Q's columns orthonormal. Repeated with V' for V, the leading k directions
    of the span approach those of W: the tangents of the angles shrink by (s_{p+1} / s_k)² a step. Called once for each
    step of a training, in which W moves little, the span stays close to them, at the cost of two products m x n x p
    and one QR decomposition m x p where a singular value decomposition of W takes some 20 m n min(m, n). P is never
    better than P_k(W), and ||W||² = ||P||² + ||W - P||² holds for it too (Frobenius norm).

    A direction that the span has lost altogether does not come back by itself:
    :class:`tinygrad_hw.nn.SubspaceProjection` keeps the basis, looks for such directions and mends it.

    Args:
        basis: V; its span alone counts, no column needs to be orthogonal to another or of any length.
        rank: from 1 to p.
        derivative: ``"identity"`` passes the gradient to ``w`` unchanged (straight-through), ``"none"`` passes
            nothing; both make V' a constant. ``"exact"`` is the derivative of P and V' as computed above, by ``w`` and
            by ``basis``. With a span that holds the p leading directions it is that of ``svd_project`` but for terms
            of the order of s_{p+1} / s_k; it exists where W V has full rank and B's singular values ``rank`` and
            ``rank + 1`` differ.

    Source: Halko, Martinsson & Tropp 2011, "Finding structure with randomness", SIAM Review 53, algorithms 4.3 and
    5.1; kept from step to step as in Vogels, Karimireddy & Jaggi 2019, "PowerSGD", NeurIPS.

    Raises:
        ValueError: ``w`` is no matrix; the basis is none with n rows and ``rank`` to min(m, n) columns; the rank is out
            of range; another derivative.
        TypeError: ``w`` or ``basis`` is not floating.
        LinAlgError: where a gradient is wanted, it does not exist.
    """
    check_floating("subspace_project", w)
    check_floating("subspace_project", basis)
    rank = check_projection("subspace_project", rank, derivative)
    if w.ndim != 2 or basis.ndim != 2 or basis.shape[0] != w.shape[1]:
        raise ValueError(
            f"subspace_project: expected a matrix (m, n) and a basis (n, p), got {tuple(w.shape)} and "
            f"{tuple(basis.shape)}"
        )
    if not 1 <= rank <= basis.shape[1] <= min(w.shape):
        raise ValueError(
            f"subspace_project: expected 1 <= rank <= columns of the basis <= {min(w.shape)}, got rank {rank} and "
            f"{basis.shape[1]} columns"
        )
    if derivative == "exact":
        q, _ = qr(matmul(w, basis))
        b = matmul(q.T, w)
        return matmul(q, svd_project(b, rank, "exact")), b.T
    projection, moved = _step(_array(w), _array(basis), rank)
    if not isinstance(w, Tensor) and not isinstance(basis, Tensor):
        return projection, moved
    return straight_through(w if derivative == "identity" else _array(w), Tensor(projection)), Tensor(moved)


def _array(x: Any) -> Array:
    return x._data if isinstance(x, Tensor) else x


def _step(w: Array, basis: Array, rank: int) -> tuple[Array, Array]:
    """P and V'. The leading left singular vectors E of B are eigenvectors of B Bᵀ, a matrix of p x p: P = (Q E) (Eᵀ B).

    Squaring costs little in float32: whatever rounding does to E, P is the projection of W on the span of Q E.
    """
    xp = array_module(w)
    with linalg_errors(w):
        q = xp.linalg.qr(matmul(w, basis))[0]
        b = q.T @ w
        if rank < b.shape[0]:
            leading = xp.linalg.eigh(b @ b.T)[1][:, -rank:]
            return (q @ leading) @ (leading.T @ b), b.T
    return q @ b, b.T
