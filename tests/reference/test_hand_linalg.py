"""Matrix derivatives by hand, and the complex continuations of factorisations, against all oracles."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference import complex_linalg as cl
from reference import finite_differences as fd
from reference import linalg, svd
from reference.probing import digits_agreed

rng = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return np.asarray(rng.standard_normal(shape))


def positive(*shape: int) -> np.ndarray:
    a = normal(*shape)
    return a @ a.swapaxes(-1, -2) + np.eye(shape[-1]) + 0.1 * normal(*shape)


def with_singular_values(values: list[float], m: int, n: int) -> np.ndarray:
    k = len(values)
    return np.linalg.qr(normal(m, k))[0] * np.array(values) @ np.linalg.qr(normal(n, k))[0].T


def sym(a):
    return (a + a.mT) / 2


MATMULS = [
    ((3, 4), (4, 2)),
    ((4,), (4,)),
    ((4,), (4, 2)),
    ((3, 4), (4,)),
    ((5, 3, 4), (4, 2)),
    ((3, 4), (5, 4, 2)),
    ((2, 1, 3, 4), (5, 4, 2)),
    ((5, 3, 4), (4,)),
    ((4,), (5, 4, 2)),
]


@pytest.mark.parametrize("left, right", MATMULS)
def test_matmul(agree, left, right) -> None:
    agree(linalg.hand_matmul, (normal(*left), normal(*right)), np.matmul, np.matmul, torch.matmul)


EINSUMS = [
    ("ij,jk->ik", (3, 4), (4, 2)),
    ("ij,jk", (3, 4), (4, 2)),
    ("ij->ji", (3, 4)),
    ("ij->", (3, 4)),
    ("ii->i", (3, 3)),
    ("ii", (3, 3)),
    ("iij->j", (3, 3, 2)),
    ("i,j->ij", (3,), (4,)),
    ("bij,bjk,kl->bil", (2, 3, 4), (2, 4, 5), (5, 3)),
    ("...ij,...jk->...ik", (2, 3, 4), (4, 2)),
    ("...i,i->...", (2, 3, 4), (4,)),
    ("ij,k->i", (3, 4), (2,)),
    ("ij,ij->ij", (3, 4), (1, 4)),
    ("Ab,b...->A...", (2, 3), (3, 4, 5)),
]


@pytest.mark.parametrize("equation, shapes", [(equation, shapes) for equation, *shapes in EINSUMS])
def test_einsum(agree, equation, shapes) -> None:
    in_numpy = partial(np.einsum, equation)
    agree(
        lambda g, *o: linalg.hand_einsum(g, equation, *o),
        tuple(normal(*shape) for shape in shapes),
        lambda *o: np.asarray(in_numpy(*o)),
        lambda *o: np.asarray(in_numpy(*o)),
        partial(torch.einsum, equation),
    )


def test_outer_and_trace(agree) -> None:
    agree(linalg.hand_outer, (normal(3), normal(4)), np.outer, np.outer, torch.outer)
    agree(linalg.hand_trace, (normal(4, 4),), np.trace, np.trace, torch.trace)
    agree(linalg.hand_trace, (normal(3, 4),), np.trace, np.trace)
    batched = partial(np.trace, axis1=-2, axis2=-1)
    agree(linalg.hand_trace, (normal(2, 3, 4),), batched, batched)


@pytest.mark.parametrize("shape", [(4, 4), (1, 1), (2, 3, 3)])
def test_inv_det_slogdet(agree, shape) -> None:
    a = normal(*shape)
    agree(linalg.hand_inv, (a,), np.linalg.inv, np.linalg.inv, torch.linalg.inv)
    agree(linalg.hand_det, (a,), np.linalg.det, np.linalg.det, torch.linalg.det)
    g = None, normal(*shape[:-2])
    agree(linalg.hand_slogdet, (a,), cl.slogdet, cl.slogdet, lambda a: tuple(torch.linalg.slogdet(a)), g=g)


@pytest.mark.parametrize("values, left", [([2.0, 1.0, 0.0], 1), ([2.0, 0.0, 0.0], 0), ([1.0, 1.0, 1.0], 1)])
def test_det_of_a_singular_matrix(values, left) -> None:
    """Cofactors, by definition: signed determinants of what is left without a row and a column."""
    a = with_singular_values(values, 3, 3)
    cofactors = [
        [(-1) ** (i + j) * np.linalg.det(np.delete(np.delete(a, i, 0), j, 1)) for j in range(3)] for i in range(3)
    ]
    np.testing.assert_allclose(linalg.hand_det(np.asarray(1.0), a)[0], cofactors, atol=1e-14)
    assert bool(np.abs(cofactors).max() > 1e-10) == bool(left)


@pytest.mark.parametrize(
    "left, right", [((3, 3), (3,)), ((3, 3), (3, 2)), ((2, 3, 3), (2, 3, 4)), ((2, 3, 3), (3, 4)), ((3, 3), (2, 3, 4))]
)
def test_solve(agree, left, right) -> None:
    in_torch = torch.linalg.solve if len(right) > 1 or len(left) == 2 else None
    agree(linalg.hand_solve, (normal(*left), normal(*right)), np.linalg.solve, np.linalg.solve, in_torch)


@pytest.mark.parametrize("shape", [(4, 4), (2, 3, 3)])
def test_cholesky(agree, shape) -> None:
    agree(linalg.hand_cholesky, (positive(*shape),), cl.cholesky, cl.cholesky, lambda a: torch.linalg.cholesky(sym(a)))


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5), (2, 4, 3), (2, 3, 4)])
def test_qr(agree, shape) -> None:
    in_torch = None if shape[-1] > shape[-2] else lambda a: tuple(torch.linalg.qr(a))
    agree(linalg.hand_qr, (normal(*shape),), cl.qr, cl.qr, in_torch)
    small = min(shape[-2:])
    q, r = normal(*shape[:-1], small), normal(*shape[:-2], small, shape[-1])
    agree(linalg.hand_qr, (normal(*shape),), cl.qr, cl.qr, in_torch, g=(q, None))
    agree(linalg.hand_qr, (normal(*shape),), cl.qr, cl.qr, in_torch, g=(None, r))


def facing(vectors, base, sign):
    """``vectors`` (columns) with the signs that make them face ``base``: LAPACK may choose others a step away."""
    return sign((vectors * base).sum(-2))[..., None, :]


def eigh_facing(a):
    base = np.linalg.eigh(sym(a))[1]

    def in_numpy(a):
        w, v = np.linalg.eigh(sym(a))
        return w, v * facing(v, base, np.sign)

    def in_torch(a):
        w, v = torch.linalg.eigh(sym(a))
        return w, v * facing(v.detach(), torch.tensor(base), torch.sign)

    return in_numpy, in_torch


@pytest.mark.parametrize("shape", [(4, 4), (2, 3, 3)])
def test_eigh(agree, shape) -> None:
    a = normal(*shape)
    in_numpy, in_torch = eigh_facing(a)
    agree(linalg.hand_eigh, (a,), in_numpy, cl.eigh, in_torch)
    agree(linalg.hand_eigh, (a,), in_numpy, cl.eigh, in_torch, g=(normal(*shape[:-1]), None))


def svd_facing(a):
    base = np.linalg.svd(a, full_matrices=False)[0]

    def in_numpy(a):
        u, s, vt = np.linalg.svd(a, full_matrices=False)
        sign = facing(u, base, np.sign)
        return u * sign, s, vt * sign.mT

    def in_torch(a):
        u, s, vt = torch.linalg.svd(a, full_matrices=False)
        sign = facing(u.detach(), torch.tensor(base), torch.sign)
        return u * sign, s, vt * sign.mT

    return in_numpy, in_torch


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5), (2, 3, 4)])
def test_svd(agree, shape) -> None:
    a, s = normal(*shape), min(shape[-2:])
    in_numpy, in_torch = svd_facing(a)
    gu, gs, gv = normal(*shape[:-1], s), normal(*shape[:-2], s), normal(*shape[:-2], s, shape[-1])
    for g in [(gu, gs, gv), (gu, None, None), (None, gs, None), (None, None, gv)]:
        agree(linalg.hand_svd, (a,), in_numpy, cl.svd, in_torch, g=g)


def test_degenerate_values() -> None:
    """Equal values: the values' own gradient is fine, the vectors have none and say so."""
    a = np.diag([2.0, 2.0, 1.0])
    g = normal(3)
    v = np.linalg.eigh(a)[1]
    np.testing.assert_allclose(linalg.hand_eigh((g, None), a)[0], v @ np.diag(g) @ v.T)
    with pytest.raises(ValueError, match="two eigh values coincide"):
        linalg.hand_eigh((None, normal(3, 3)), a)
    u, _, vt = np.linalg.svd(a)
    np.testing.assert_allclose(linalg.hand_svd((None, g, None), a)[0], u @ np.diag(g) @ vt)
    with pytest.raises(ValueError, match="two svd values coincide"):
        linalg.hand_svd((normal(3, 3), None, None), a)


@pytest.mark.parametrize(
    "shape, rank", [((5, 5), 2), ((6, 4), 1), ((4, 6), 3), ((3, 4), 3), ((4, 3), 5), ((2, 4, 5), 2)]
)
def test_projection(agree, shape, rank) -> None:
    project = partial(svd.svd_project, rank=rank)

    def in_torch(w):
        u, s, vt = torch.linalg.svd(w, full_matrices=False)
        return (u[..., :rank] * s[..., None, :rank]) @ vt[..., :rank, :]

    agree(lambda g, w: svd.hand_svd_project(g, w, rank), (normal(*shape),), project, project, in_torch, digits=8)


@given(st.integers(0, 2**30), st.integers(1, 4), st.integers(1, 6), st.integers(1, 6))
def test_projection_is_its_own_adjoint(seed, rank, m, n) -> None:
    """The Jacobian of the projection is symmetric: <A, J B> = <J A, B>; and J is exact on the projection itself."""
    draw = np.random.default_rng(seed)
    w, a, b = draw.standard_normal((3, m, n))
    ja, jb = svd.hand_svd_project(a, w, rank)[0], svd.hand_svd_project(b, w, rank)[0]
    assert (ja * b).sum() == pytest.approx((a * jb).sum(), rel=1e-7, abs=1e-8)
    # P(tw) = t P(w), so J w = P(w)
    np.testing.assert_allclose(svd.hand_svd_project(w, w, rank)[0], svd.svd_project(w, rank), rtol=1e-8, atol=1e-9)


def test_projection_of_a_matrix_of_lower_rank() -> None:
    """Rank exactly k: the derivative is the projection on the tangent space of the rank-k matrices."""
    w, g = with_singular_values([3.0, 2.0], 5, 4), normal(5, 4)
    u, _, vt = np.linalg.svd(w)
    left, right = u[:, :2] @ u[:, :2].T, vt[:2].T @ vt[:2]
    expected = left @ g + g @ right - left @ g @ right
    np.testing.assert_allclose(svd.hand_svd_project(g, w, 2)[0], expected, atol=1e-12)


def test_projection_without_a_gap_and_bad_rank() -> None:
    w = with_singular_values([3.0, 2.0, 2.0], 5, 4)
    with pytest.raises(ValueError, match="singular values 2 and 3 coincide"):
        svd.hand_svd_project(normal(5, 4), w, 2)
    (fine,) = fd.gradient(partial(svd.svd_project, rank=1), (w,), g := normal(5, 4))
    assert digits_agreed(svd.hand_svd_project(g, w, 1)[0], fine) > 8
    with pytest.raises(ValueError, match="rank must be at least 1, got 0"):
        svd.svd_project(w, 0)


def test_projection_identity() -> None:
    g = normal(5, 4)
    (passed,) = svd.hand_svd_project_identity(g, normal(5, 4), 2)
    np.testing.assert_array_equal(passed, g)
    assert passed is not g


def test_float32_stays_float32() -> None:
    a, p = normal(3, 3).astype(np.float32), positive(3, 3).astype(np.float32)
    one = np.float32(1)
    for grads in [
        linalg.hand_inv(a, a),
        linalg.hand_det(one, a),
        linalg.hand_slogdet((None, one), a),
        linalg.hand_solve(a, a, p),
        linalg.hand_cholesky(a, p),
        linalg.hand_qr((a, a), p),
        linalg.hand_eigh((a[0], a), p),
        linalg.hand_svd((a, a[0], a), p),
        linalg.hand_einsum(a, "ij,jk->ik", a, p),
        linalg.hand_einsum(one, "ii", a),
        linalg.hand_trace(one, a),
        svd.hand_svd_project(a, p, 2),
    ]:
        assert all(grad.dtype == np.float32 for grad in grads)


def test_continuations_give_the_real_factorisations() -> None:
    a = normal(2, 4, 4)
    np.testing.assert_array_equal(cl.cholesky(positive(3, 3)).shape, (3, 3))
    for ours, theirs in [(cl.qr, np.linalg.qr), (cl.svd, partial(np.linalg.svd, full_matrices=False))]:
        for x, y, z in zip(ours(a), theirs(a), ours(a + 0j), strict=True):
            np.testing.assert_array_equal(x, y)
            np.testing.assert_allclose(z, y, atol=1e-13)
    for x, y, z in zip(cl.eigh(a), np.linalg.eigh(sym(a)), cl.eigh(a + 0j), strict=True):
        np.testing.assert_array_equal(x, y)
        np.testing.assert_allclose(z, y, atol=1e-13)
    u, _, vt = cl.svd(normal(5, 3) + 1e-4j * normal(5, 3))  # one Newton step: right to the square of the imaginary part
    assert np.abs(u.T @ u - np.eye(3)).max() < 1e-6
    assert np.abs(vt @ vt.T - np.eye(3)).max() < 1e-6
