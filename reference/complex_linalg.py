"""Matrix functions continued into the complex plane, for the complex step: transposes, never conjugates.

numpy.linalg's det, inv and solve are analytic as they stand. Its Cholesky, QR, SVD and eigh conjugate, so they are
replaced here. Cholesky and QR are computed again with plain transposes. For SVD and eigh the real decomposition is
corrected by one complex Newton step on the equations that define it; Newton's error is quadratic in the imaginary part,
so the derivative comes out whole. Real input gives numpy.linalg's own result. Matrices are the last two axes.
"""

from __future__ import annotations

from tinygrad_hw.backend import Array, array_module


def _t(a: Array) -> Array:
    return a.swapaxes(-1, -2)


def symmetrize(a: Array) -> Array:
    """(A + A^T) / 2."""
    return (a + _t(a)) / 2


def slogdet(a: Array) -> tuple[Array, Array]:
    """Sign of det A and log |det A|; for complex input, log |Re det| continued by the phase that the sign carries."""
    xp = array_module(a)
    sign, logdet = xp.linalg.slogdet(a)
    if a.dtype.kind != "c":
        return sign, logdet
    real_sign = xp.sign(sign.real)
    turned = sign * real_sign
    return real_sign + 0j, logdet + 1j * xp.arctan2(turned.imag, turned.real)


def cholesky(a: Array) -> Array:
    """Lower L with L L^T = (A + A^T) / 2, column by column."""
    xp = array_module(a)
    a = symmetrize(a)
    if a.dtype.kind != "c":
        return xp.linalg.cholesky(a)
    lower = a * 0
    for j in range(a.shape[-1]):
        column = a[..., j:, j] - (lower[..., j:, :j] * lower[..., j : j + 1, :j]).sum(axis=-1)
        lower[..., j:, j] = column / xp.sqrt(column[..., :1])
    return lower


def qr(a: Array) -> tuple[Array, Array]:
    """Reduced Q and R with numpy.linalg.qr's signs: Gram-Schmidt, twice over for orthogonality, with transposes."""
    xp = array_module(a)
    real_q, real_r = xp.linalg.qr(a.real)
    if a.dtype.kind != "c":
        return real_q, real_r
    size = real_q.shape[-1]
    q = real_q + 0j
    for j in range(size):
        vector = a[..., :, j : j + 1]
        for _ in range(2):
            vector = vector - q[..., :, :j] @ (_t(q[..., :, :j]) @ vector)
        length = xp.sqrt((vector * vector).sum(axis=(-1, -2), keepdims=True))
        q[..., :, j : j + 1] = vector / (length * xp.sign(real_r[..., j : j + 1, j : j + 1]))
    return q, xp.triu(_t(q) @ a)


def eigh(a: Array) -> tuple[Array, Array]:
    """Eigenvalues in ascending order and eigenvectors (columns) of (A + A^T) / 2.

    Newton for each pair on (A - w I) v = 0 and (v^T v - 1) / 2 = 0. Equal eigenvalues make its matrix singular.
    """
    xp = array_module(a)
    a = symmetrize(a)
    values, vectors = xp.linalg.eigh(a.real)
    if a.dtype.kind != "c":
        return values, vectors
    n = a.shape[-1]
    values, vectors = values + 0j, vectors + 0j
    for i in range(n):
        v = vectors[..., :, i : i + 1]
        shifted = a - values[..., i, None, None] * xp.eye(n)
        jacobian = xp.concatenate(
            [xp.concatenate([shifted, -v], axis=-1), xp.concatenate([_t(v), _t(v)[..., :1] * 0], axis=-1)], axis=-2
        )
        residual = xp.concatenate([shifted @ v, (_t(v) @ v - 1) / 2], axis=-2)
        correction = xp.linalg.solve(jacobian, residual)[..., 0]
        vectors[..., :, i] -= correction[..., :n]
        values[..., i] -= correction[..., n]
    return values, vectors


def svd(a: Array) -> tuple[Array, Array, Array]:
    """Reduced U, S, V^T with numpy.linalg.svd's signs.

    The eigenvectors of [[0, A], [A^T, 0]] are (u, v) with eigenvalue s; Newton for each triple on A v = s u,
    A^T u = s v and u^T u + v^T v = 2. Equal singular values, or a zero one, make its matrix singular.
    """
    xp = array_module(a)
    u, s, vt = xp.linalg.svd(a.real, full_matrices=False)
    if a.dtype.kind != "c":
        return u, s, vt
    m, n = a.shape[-2:]
    u, s, vt = u + 0j, s + 0j, vt + 0j
    top = xp.concatenate([xp.zeros((*a.shape[:-2], m, m)), a], axis=-1)
    symmetric = xp.concatenate([top, xp.concatenate([_t(a), xp.zeros((*a.shape[:-2], n, n))], axis=-1)], axis=-2)
    for i in range(s.shape[-1]):
        z = xp.concatenate([u[..., :, i : i + 1], _t(vt)[..., :, i : i + 1]], axis=-2)
        shifted = symmetric - s[..., i, None, None] * xp.eye(m + n)
        jacobian = xp.concatenate(
            [xp.concatenate([shifted, -z], axis=-1), xp.concatenate([_t(z), _t(z)[..., :1] * 0], axis=-1)], axis=-2
        )
        residual = xp.concatenate([shifted @ z, _t(z) @ z / 2 - 1], axis=-2)
        correction = xp.linalg.solve(jacobian, residual)[..., 0]
        u[..., :, i] -= correction[..., :m]
        vt[..., i, :] -= correction[..., m : m + n]
        s[..., i] -= correction[..., m + n]
    return u, s, vt


def low_rank(a: Array, rank: int) -> Array:
    """U_k S_k V_k^T, the nearest matrix of rank ``rank``; A itself where that is no restriction."""
    if rank >= min(a.shape[-2:]):
        return a * 1
    u, s, vt = svd(a)
    return (u[..., :rank] * s[..., None, :rank]) @ vt[..., :rank, :]
