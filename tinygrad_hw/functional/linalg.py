"""Linear equations and determinants: trace, inv, solve, det, slogdet, logdet, cholesky. Matrices are the last two axes.

Derivatives after Giles 2008, "An extended collection of matrix derivative results for forward and reverse mode
algorithmic differentiation" (Oxford University, report NA-08/01), unless another source is named.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_hw.autograd import Function
from tinygrad_hw.backend import array_module, linalg_errors
from tinygrad_hw.functional.arithmetic import add
from tinygrad_hw.functional.shape import diagonal, squeeze, transpose, tril, unsqueeze

__all__ = ["cholesky", "cofactors", "det", "inv", "logdet", "slogdet", "solve", "trace"]


def flipped(x: Any) -> Any:
    """The last two axes exchanged."""
    return transpose(x, -1, -2)


def spread(x: Any, axes: int = 2) -> Any:
    """One number for each matrix, given axes of size 1 to multiply matrices with; an array even of NumPy scalars."""
    return x.reshape((*x.shape, *(1,) * axes))


def check_square(a: Any) -> None:
    """Raise LinAlgError unless the last two axes are of one size."""
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise np.linalg.LinAlgError("expected square matrices (..., n, n)")


class Inv(Function):
    """B = A⁻¹; Ā = -Bᵀ B̄ Bᵀ."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        check_square(a)
        xp = array_module(a)
        with linalg_errors(a):
            out = xp.linalg.inv(a)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (out,) = ctx.saved_tensors
        turned = flipped(out)
        return -(turned @ grad @ turned)


class Solve(Function):
    """X = A⁻¹ B; B̄ = A⁻ᵀ X̄, Ā = -B̄ Xᵀ."""

    broadcasts = True
    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        check_square(a)
        if b.ndim < 2 or b.shape[-2] != a.shape[-1]:
            raise ValueError("expected a (..., n, n) and b (n,) or (..., n, k)")
        xp = array_module(a)
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])  # CuPy does not broadcast here
        with linalg_errors(a):
            x = xp.linalg.solve(xp.broadcast_to(a, batch + a.shape[-2:]), xp.broadcast_to(b, batch + b.shape[-2:]))
        ctx.save_for_backward(a, x if ctx.needs_input_grad[0] else None)
        return x

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        a, x = ctx.saved_tensors
        grad_b = solve(flipped(a), grad)
        return -(grad_b @ flipped(x)) if ctx.needs_input_grad[0] else None, grad_b


class Det(Function):
    """d = det A; Ā = d̄ C with C the cofactors of A, which is det(A) A⁻ᵀ where A is invertible."""

    floating = True

    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        check_square(a)
        ctx.save_for_backward(a)
        return array_module(a).linalg.det(a)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (a,) = ctx.saved_tensors
        return spread(grad) * cofactors(a)


class Cofactors(Function):
    """C = ∂det(A)/∂A, for A of any rank.

    With A = U S Vᵀ: C = det(U Vᵀ) U diag(Π_{k≠i} s_k) Vᵀ. The second derivative of the determinant at diag(s) couples
    entries (i, i) with (j, j) by M_ij = Π_{k≠i,j} s_k and (i, j) with (j, i) by -M_ij, so that with P = Uᵀ C̄ V

        Ā = det(U Vᵀ) U (diag(M diag(P)) - M ∘ Pᵀ) Vᵀ.

    Nothing is divided. Under ``create_graph`` the same is written as that of C = det(A) A⁻ᵀ, which needs A invertible.
    """

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        check_square(a)
        ctx.save_for_backward(a)
        u, s, vh, sign = _svd_and_sign(a)
        return (sign * u * _products_of_others(s)[..., None, :]) @ vh

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (a,) = ctx.saved_tensors
        if ctx.recording:
            turned = flipped(_inverse("cofactors: the second derivative", a))
            inner = spread((grad * turned).sum(axis=(-1, -2)))
            return spread(det(a)) * (inner * turned - turned @ flipped(grad) @ turned)
        u, s, vh, sign = _svd_and_sign(a)
        n = s.shape[-1]
        xp = array_module(a)
        eye = xp.eye(n, dtype=bool)
        m = xp.where(eye, 0, _products_of_others(xp.where(eye, 1, s[..., None, :]).astype(s.dtype)))
        p = u.swapaxes(-1, -2) @ grad @ vh.swapaxes(-1, -2)
        straight = (m @ xp.diagonal(p, 0, -2, -1)[..., None]) * eye.astype(s.dtype)
        return sign * (u @ (straight - m * p.swapaxes(-1, -2)) @ vh)


def _svd_and_sign(a: Any) -> tuple[Any, Any, Any, Any]:
    """U, s, Vᵀ and det(U Vᵀ), the latter with two axes of size 1."""
    xp = array_module(a)
    u, s, vh = xp.linalg.svd(a)
    return u, s, vh, spread(xp.sign(xp.linalg.det(u @ vh)))


def _products_of_others(s: Any) -> Any:
    """Along the last axis, the product of all entries but each one, without dividing by it."""
    xp = array_module(s)
    ones = xp.ones_like(s[..., :1])
    before = xp.cumprod(xp.concatenate([ones, s[..., :-1]], axis=-1), axis=-1)
    after = xp.cumprod(xp.concatenate([ones, s[..., :0:-1]], axis=-1), axis=-1)[..., ::-1]
    return before * after


class Slogdet(Function):
    """(sign det A, log|det A|); Ā = A⁻ᵀ times the gradient of the logarithm. The sign has no gradient."""

    floating = True

    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        check_square(a)
        ctx.save_for_backward(a)
        xp = array_module(a)
        with linalg_errors(a):
            sign, logarithm = xp.linalg.slogdet(a)
        return sign, logarithm

    @staticmethod
    def backward(ctx: Any, grad_sign: Any, grad: Any) -> Any:
        (a,) = ctx.saved_tensors
        return spread(grad) * flipped(_inverse("slogdet: the gradient", a))


def _inverse(purpose: str, a: Any) -> Any:
    try:
        return inv(a)
    except np.linalg.LinAlgError as error:
        raise np.linalg.LinAlgError(f"{purpose} of a singular matrix does not exist") from error


class Cholesky(Function):
    """L with L Lᵀ = (A + Aᵀ)/2.

    Ā = ½ L⁻ᵀ (P + Pᵀ) L⁻¹, P = the lower triangle of Lᵀ L̄ with its diagonal halved (Murray 2016, "Differentiation of
    the Cholesky decomposition", arXiv:1602.07527).
    """

    floating = True

    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        check_square(a)
        xp = array_module(a)
        with linalg_errors(a):
            out = xp.linalg.cholesky((a + a.swapaxes(-1, -2)) / 2)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (low,) = ctx.saved_tensors
        high = flipped(low)
        product = high @ grad
        half = (tril(product) + tril(product, -1)) / 2
        half = solve(high, half + flipped(half))
        return solve(high, flipped(half)) / 2


def trace(x: Any) -> Any:
    """The sum of the diagonal of the last two axes: (..., n, m) → (...). Raises ValueError for fewer than two axes."""
    if x.ndim < 2:
        raise ValueError(f"trace: expected matrices (..., n, m), got shape {tuple(x.shape)}")
    return diagonal(x, 0, -2, -1).sum(axis=-1)


def inv(a: Any) -> Any:
    """The inverse of square matrices (..., n, n). Raises LinAlgError when a matrix is singular or not square.

    To multiply by an inverse, :func:`solve` is faster and more exact.
    """
    return Inv.apply(a)


def solve(a: Any, b: Any) -> Any:
    """X with A X = B.

    Shapes: ``a`` (..., n, n); ``b`` (n,), a vector, gives (..., n); ``b`` (..., n, k) gives (..., n, k). Leading axes
    broadcast. A batch of vectors needs a last axis of size 1, as in NumPy 2. Raises LinAlgError when a matrix is
    singular or not square, ValueError when shapes do not fit.
    """
    return squeeze(Solve.apply(a, unsqueeze(b, -1)), -1) if b.ndim == 1 else Solve.apply(a, b)


def det(a: Any) -> Any:
    """Determinants of square matrices: (..., n, n) → (...). Raises LinAlgError for matrices that are not square.

    First and second derivatives are right for singular matrices too, see :func:`cofactors`: the gradient has rank 1
    where A has rank n - 1, and is zero below. Third and higher derivatives raise LinAlgError where A is singular.
    """
    return Det.apply(a)


def cofactors(a: Any) -> Any:
    """The matrix of cofactors of square matrices, (-1)^(i+j) times the minor without row i and column j: (..., n, n).

    It is the gradient of the determinant, the transpose of the adjugate, and det(A) A⁻ᵀ where A is invertible; here it
    is computed by the singular value decomposition and holds, with its first derivative, for singular matrices too. Its
    second derivative raises LinAlgError for those, as do matrices that are not square.
    """
    return Cofactors.apply(a)


def slogdet(a: Any) -> tuple[Any, Any]:
    """The sign (1, -1, 0) and the logarithm of the modulus of determinants, each (..., n, n) → (...).

    A singular matrix gives 0 and -inf, and its gradient raises LinAlgError, as does a matrix that is not square. The
    sign is constant: its gradient is zero.
    """
    return Slogdet.apply(a)


def logdet(a: Any) -> Any:
    """log det A: (..., n, n) → (...). NaN where det A is negative, -inf where it is zero. See :func:`slogdet`."""
    sign, logarithm = slogdet(a)
    raw = getattr(sign, "_data", sign)
    return add(logarithm, array_module(raw).where(raw < 0, np.nan, 0.0).astype(raw.dtype))


def cholesky(a: Any) -> Any:
    """The lower triangular L, its diagonal positive, with L Lᵀ = A: (..., n, n) → (..., n, n).

    Of a matrix that is not symmetric the symmetric part (A + Aᵀ)/2 is taken, so the gradient is symmetric. Raises
    LinAlgError when a matrix is not positive definite or not square.
    """
    return Cholesky.apply(a)
