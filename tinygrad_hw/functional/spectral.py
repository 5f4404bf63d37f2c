"""The nearest matrix of lower rank, as an operation with a choice of derivatives."""

from __future__ import annotations

from typing import Any

from tinygrad_hw.autograd import Function
from tinygrad_hw.backend import Array, array_module
from tinygrad_hw.functional.decomposition import svd
from tinygrad_hw.tensor import Tensor

__all__ = ["svd_project"]


class SvdProject(Function):
    """P_k(W) = U₁ S₁ V₁ᵀ, the leading k triples of W = U S Vᵀ; the gradient as ``derivative`` says.

    The exact one. In the bases U and V, with F = Uᵀ dW V, first-order perturbation of the singular vectors gives
    dP_k = U M Vᵀ, where M_ij = F_ij for i, j <= k, 0 for i, j > k, and for i <= k < j

        M_ij = F_ij + (s_j² F_ij + s_i s_j F_ji) / (s_i² - s_j²)
        M_ji = F_ji + (s_j² F_ji + s_i s_j F_ij) / (s_i² - s_j²)

    (s_j = 0 outside the reduced U and V, where M = F). The map dW -> dP_k is its own adjoint, so the gradient is the
    same expression with the incoming gradient G for dW: the part of G in the tangent space of the matrices of rank k,
    plus the fractions. With A = U₁ᵀ G and B = G V₁ that is, in O(m n k) operations,

        U₁ (A + C V₂ᵀ) + (B - U₁ A V₁ + U₂ Dᵀ) V₁ᵀ

    C the first fraction above for i <= k < j, D the second.
    """

    @staticmethod
    def forward(ctx: Any, w: Array, rank: int, exact: bool) -> Array:
        if w.ndim != 2 or not 1 <= rank <= min(w.shape):
            raise ValueError(f"expected a matrix and a rank from 1 to its smaller side, got rank {rank}")
        ctx.rank, ctx.exact = rank, exact and rank < min(w.shape)
        if rank == min(w.shape):
            return w.copy()
        xp = array_module(w)
        u, s, vt = xp.linalg.svd(w, full_matrices=False)
        if ctx.exact and ctx.needs_input_grad[0]:
            if (s[rank - 1] - s[rank] <= 8 * xp.finfo(w.dtype).eps * s[0]).item():
                raise ValueError(
                    f"singular values {rank} and {rank + 1} coincide ({s[rank].item():.9g}), so the projection on rank "
                    f"{rank} has no derivative here; choose another rank or derivative='identity'"
                )
            ctx.save_for_backward(w)
            ctx.factors = u, s, vt
        return (u[:, :rank] * s[:rank]) @ vt[:rank]

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        if not ctx.exact:
            return grad
        (w,) = ctx.saved_tensors
        u, s, vt = svd(w) if ctx.recording else ctx.factors
        k = ctx.rank
        u1, u2, v1t, v2t = u[:, :k], u[:, k:], vt[:k], vt[k:]
        kept, dropped = s[:k].reshape(-1, 1), s[k:].reshape(1, -1)
        a, b = u1.T @ grad, grad @ v1t.T
        above, below = a @ v2t.T, b.T @ u2
        gap = (kept - dropped) * (kept + dropped)
        c = (dropped * dropped * above + kept * dropped * below) / gap
        d = (dropped * dropped * below + kept * dropped * above) / gap
        return u1 @ (a + c @ v2t) + (b - u1 @ (a @ v1t.T) + u2 @ d.T) @ v1t


def svd_project(w: Any, rank: int, derivative: str = "identity") -> Any:
    """The matrix of rank ``rank`` nearest to ``w`` (m, n): its singular value decomposition, cut off.

    Args:
        rank: from 1 to min(m, n), where the result is a copy of ``w``.
        derivative: ``"identity"`` passes the gradient back unchanged (straight-through: the weight that is projected
            keeps learning in every direction); ``"exact"`` is the derivative of the projection, as in Feppon &
            Lermusiaux 2018, "A geometric approach to dynamical model order reduction", SIAM J. Matrix Anal. Appl. 39;
            ``"none"`` passes nothing: the result is a constant.

    Source: Eckart & Young 1936, "The approximation of one matrix by another of lower rank". The exact derivative exists
    where singular values ``rank`` and ``rank + 1`` differ; it grows as one over their difference. Differentiated twice
    it needs all singular values distinct and positive, as :func:`svd` does.

    Raises:
        ValueError: ``w`` is no matrix; the rank is out of range; another derivative; with ``"exact"``, where a gradient
            is wanted, those two singular values coincide.
        LinAlgError: an entry of ``w`` is not finite.
    """
    rank = check_projection("svd_project", rank, derivative)
    if derivative == "none" and isinstance(w, Tensor):
        w = w.detach()
    return SvdProject.apply(w, rank, derivative == "exact")


def check_projection(name: str, rank: Any, derivative: str) -> int:
    """The rank as an int; raises ValueError in the name of operation ``name`` unless both arguments make sense."""
    if derivative not in ("identity", "exact", "none"):
        raise ValueError(f"{name}: expected derivative 'identity', 'exact' or 'none', got {derivative!r}")
    if isinstance(rank, bool) or not hasattr(rank, "__index__"):
        raise ValueError(f"{name}: expected an integer rank, got {rank!r}")
    return int(rank)
