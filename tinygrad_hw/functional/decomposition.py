"""QR, singular value and symmetric eigenvalue decompositions, with gradients. Matrices are the last two axes.

Vectors of equal singular values or eigenvalues are not functions of the matrix: any rotation among them does as well,
and the one that comes back hangs on rounding. They have no gradient, and that of a function which such a rotation
leaves alone cannot be told from them: U diag(s) Vᵀ and U Vᵀ at s = 1 ask the same of U and V. So:

- functions of the values alone never divide by a gap and are differentiable everywhere; where values are equal the
  gradient is right for functions that are symmetric in them (sums, norms, log det) and a subgradient for others;
- vectors that a function uses must belong to values that stand apart from every other by more than max(m, n) eps times
  the largest, otherwise the backward pass raises LinAlgError and names them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_hw.autograd import Function
from tinygrad_hw.backend import Array, array_module, linalg_errors, to_numpy
from tinygrad_hw.functional.arithmetic import div
from tinygrad_hw.functional.linalg import check_square, flipped, solve
from tinygrad_hw.functional.matmul import matmul
from tinygrad_hw.functional.shape import concatenate, tril
from tinygrad_hw.tensor import Tensor, raw_of

__all__ = ["eigh", "qr", "svd"]


class Qr(Function):
    """A = Q R for a matrix at least as high as wide, Q with orthonormal columns, R upper triangular.

    Ā = (Q̄ + Q sym(M)) R⁻ᵀ with M = R R̄ᵀ - Q̄ᵀ Q and sym(M) the lower triangle of M copied to the upper (Walter & Lehmann
    2010, "Algorithmic differentiation of linear algebra functions with application in optimum experimental design",
    arXiv:1001.1654).
    """

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        xp = array_module(a)
        with linalg_errors(a):
            q, r = xp.linalg.qr(a)
        ctx.save_for_backward(q, r)
        return q, r

    @staticmethod
    def backward(ctx: Any, grad_q: Any, grad_r: Any) -> Any:
        q, r = ctx.saved_tensors
        _refuse_dependent(raw_of(r), q.shape[-2])
        m = r @ flipped(grad_r) - flipped(grad_q) @ q
        left = grad_q + q @ (tril(m) + flipped(tril(m, -1)))
        return flipped(solve(r, flipped(left)))


class Svd(Function):
    """A = U diag(s) Vᵀ, reduced.

    With X = UᵀŪ - ŪᵀU, Y = VᵀV̄ - V̄ᵀV (Giles 2008; Ionescu, Vantzos & Sminchisescu 2015, "Training deep networks with
    structured layers by matrix backpropagation", arXiv:1509.07838; Townsend 2016, "Differentiating the singular value
    decomposition")

        Ā = U (diag(s̄) + Z) Vᵀ + (I - UUᵀ) Ū S⁻¹ Vᵀ + U S⁻¹ V̄ᵀ (I - VVᵀ)
        Z_ij = (X_ij s_j + s_i Y_ij) / (s_j² - s_i²),

    the fraction written as ½ (X + Y)_ij / (s_j - s_i) + ½ (X - Y)_ij / (s_j + s_i), which squares nothing small.
    """

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        xp = array_module(a)
        with linalg_errors(a):
            u, s, vh = xp.linalg.svd(a, full_matrices=False)
        ctx.save_for_backward(u, s, vh)
        return u, s, vh

    @staticmethod
    def backward(ctx: Any, grad_u: Any, grad_s: Any, grad_vh: Any) -> Any:
        u, s, vh = ctx.saved_tensors
        grad = (u * grad_s[..., None, :]) @ vh
        grad_v = flipped(grad_vh)
        uses_u, uses_v = _columns_used(grad_u), _columns_used(grad_v)
        if not (uses_u | uses_v).any():
            return grad
        rows, columns, v = u.shape[-2], vh.shape[-1], flipped(vh)
        size = s.shape[-1]
        raw = raw_of(s)
        tolerance = _tolerance(raw, max(rows, columns))
        _refuse_equal("svd: singular values", raw, tolerance, uses_u | uses_v)
        null = raw <= tolerance
        for used, side in ((uses_u, rows), (uses_v, columns)):
            if side > size and (used & to_numpy(null)).any():
                raise np.linalg.LinAlgError("svd: the vectors of a singular value that is zero have no gradient")
        x = flipped(u) @ grad_u
        y = vh @ grad_v
        x, y = x - flipped(x), y - flipped(y)
        ahead, behind = s[..., None, :], s[..., :, None]
        gaps = _reciprocal(ahead - behind, tolerance[..., None])
        sums = _reciprocal(ahead + behind, tolerance[..., None])
        grad = grad + u @ (((x + y) * gaps + (x - y) * sums) / 2) @ vh
        inverse = _reciprocal(s, tolerance)[..., None, :]
        if rows > size:
            outside = grad_u * inverse
            grad = grad + (outside - u @ (flipped(u) @ outside)) @ vh
        if columns > size:
            outside = grad_v * inverse
            grad = grad + u @ flipped(outside - v @ (vh @ outside))
        return grad


class Eigh(Function):
    """(A + Aᵀ)/2 = V diag(w) Vᵀ; Ā = V (diag(w̄) + ½ (VᵀV̄ - V̄ᵀV) ∘ F) Vᵀ, F_ij = 1/(w_j - w_i) (Giles 2008)."""

    floating = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        check_square(a)
        xp = array_module(a)
        with linalg_errors(a):
            w, v = xp.linalg.eigh((a + a.swapaxes(-1, -2)) / 2)
        ctx.save_for_backward(w, v)
        return w, v

    @staticmethod
    def backward(ctx: Any, grad_w: Any, grad_v: Any) -> Any:
        w, v = ctx.saved_tensors
        turned = flipped(v)
        grad = (v * grad_w[..., None, :]) @ turned
        used = _columns_used(grad_v)
        if not used.any():
            return grad
        raw = raw_of(w)
        tolerance = _tolerance(raw, raw.shape[-1])
        _refuse_equal("eigh: eigenvalues", raw, tolerance, used)
        x = turned @ grad_v
        gaps = _reciprocal(w[..., None, :] - w[..., :, None], tolerance[..., None])
        return grad + v @ ((x - flipped(x)) * gaps / 2) @ turned


def _tolerance(values: Array, size: int) -> Array:
    """Below this, a difference of sorted singular values or eigenvalues is rounding; shape (..., 1)."""
    largest = array_module(values).maximum(abs(values[..., :1]), abs(values[..., -1:]))
    return largest * (size * float(np.finfo(values.dtype).eps))


def _columns_used(grad: Any) -> np.ndarray:
    """Which columns of a matrix of vectors have a gradient; all where that gradient is itself differentiated."""
    if isinstance(grad, Tensor) and grad.requires_grad:
        return np.ones((*grad.shape[:-2], grad.shape[-1]), dtype=bool)
    return to_numpy((raw_of(grad) != 0).any(axis=-2))


def _refuse_dependent(r: Array, rows: int) -> None:
    """Raise LinAlgError where a column of R, so of A, is within rounding a combination of those before it."""
    xp = array_module(r)
    lengths = xp.sqrt((r * r).sum(axis=-2))
    if (abs(xp.diagonal(r, 0, -2, -1)) <= lengths * (rows * float(np.finfo(r.dtype).eps))).any():
        raise np.linalg.LinAlgError("qr: the gradient of linearly dependent columns does not exist")


def _refuse_equal(what: str, values: Array, tolerance: Array, used: np.ndarray) -> None:
    """Raise LinAlgError when the vector of a value that equals another one is used."""
    values, tolerance = to_numpy(values), to_numpy(tolerance)
    close = abs(values[..., None, :] - values[..., :, None]) <= tolerance[..., None]
    close &= ~np.eye(values.shape[-1], dtype=bool) & used[..., :, None]
    if close.any():
        *batch, i, j = (int(k) for k in np.argwhere(close)[0])
        pair = " and ".join(f"{float(values[(*batch, k)]):.6g}" for k in (i, j))
        raise np.linalg.LinAlgError(
            f"{what} {i} and {j}{f' of matrix {tuple(batch)}' if batch else ''} are equal within rounding ({pair}): "
            "their vectors have no gradient; functions of the values alone have one"
        )


def _reciprocal(x: Any, tolerance: Array) -> Any:
    """1 / x, and 0 where |x| is within the tolerance, without ever dividing by zero on the way."""
    small = (abs(raw_of(x)) <= tolerance).astype(x.dtype)
    return div(1 - small, x + small * (1 + abs(raw_of(x))))


def qr(a: Any) -> tuple[Any, Any]:
    """Q, R of the reduced QR decomposition, with the signs that LAPACK chooses (R's diagonal may be negative).

    Shapes: (..., m, n) → (..., m, k), (..., k, n) with k = min(m, n). A wide matrix [X, Y], X square, is decomposed as
    X = Q R₁, R = [R₁, Qᵀ Y]. The gradient raises LinAlgError where the first k columns are linearly dependent within
    rounding.
    """
    rows = a.shape[-2] if a.ndim > 1 else 0
    if a.ndim < 2 or a.shape[-1] <= rows:
        return Qr.apply(a)
    q, r = Qr.apply(a[..., :rows])
    return q, concatenate([r, matmul(flipped(q), a[..., rows:])], axis=-1)


def svd(a: Any) -> tuple[Any, Any, Any]:
    """U, S, Vh of the reduced singular value decomposition A = U diag(S) Vh, S descending.

    Shapes: (..., m, n) → (..., m, k), (..., k), (..., k, n) with k = min(m, n). U's columns and Vh's rows are unique up
    to a common sign only. Equal and zero singular values: see the top of this file. For the nearest matrix of lower
    rank, ``spectral_projection`` has a gradient where this composition has none.
    """
    return Svd.apply(a)


def eigh(a: Any) -> tuple[Any, Any]:
    """Eigenvalues (ascending) and orthonormal eigenvectors (columns) of symmetric matrices.

    Shapes: (..., n, n) → (..., n), (..., n, n). Of a matrix that is not symmetric the symmetric part (A + Aᵀ)/2 is
    taken, so the gradient is symmetric. Eigenvectors are unique up to sign only. Equal eigenvalues: see the top of this
    file. Raises LinAlgError for matrices that are not square.
    """
    return Eigh.apply(a)
