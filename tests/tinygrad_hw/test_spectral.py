"""The projection on lower rank: its three derivatives, where the exact one ends, and the laws it obeys."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_hw as tg
from reference import finite_differences
from reference.probing import digits_agreed
from tinygrad_hw import functional as F


def matrix_with(values, m, n, seed=0):
    """A random m x n matrix with the given singular values."""
    rng = np.random.default_rng(seed)
    k = len(values)
    u, v = np.linalg.qr(rng.normal(size=(m, k)))[0], np.linalg.qr(rng.normal(size=(n, k)))[0]
    return (u * values) @ v.T


def gradient(w, rank, g, derivative="exact"):
    w = tg.tensor(w, requires_grad=True)
    return tg.grad(F.svd_project(w, rank, derivative), w, g).numpy()


SIZES = st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda size: st.tuples(st.just(size), st.integers(1, min(size)), st.integers(0, 1000))
)


@given(SIZES)
def test_laws(drawn):
    """A projection that commutes with transposing; its derivative is symmetric, and gives back tangent directions."""
    (m, n), rank, seed = drawn
    rng = np.random.default_rng(seed)
    w, x, y = rng.normal(size=(3, m, n))
    p = F.svd_project(w, rank)
    assert np.linalg.matrix_rank(p) == rank
    np.testing.assert_allclose(F.svd_project(p, rank), p, atol=1e-12)
    np.testing.assert_allclose(F.svd_project(w.T, rank), p.T, atol=1e-12)
    dx, dy = gradient(w, rank, x), gradient(w, rank, y)
    scale = np.abs(dx).max() * np.abs(y).max() + 1
    np.testing.assert_allclose((dx * y).sum(), (x * dy).sum(), atol=1e-10 * scale)
    np.testing.assert_allclose(gradient(w.T, rank, x.T), dx.T, atol=1e-10 * scale)
    np.testing.assert_allclose(gradient(w, rank, p), p, atol=1e-10 * scale)  # P(tw) = t P(w)


def test_identity_passes_the_gradient_and_none_passes_nothing():
    rng = np.random.default_rng(0)
    w, g = rng.normal(size=(2, 5, 4))
    np.testing.assert_array_equal(gradient(w, 2, g, "identity"), g)
    x = tg.tensor(w, requires_grad=True)
    y = F.svd_project(x, 2, "none")
    assert not y.requires_grad
    np.testing.assert_array_equal(y.numpy(), F.svd_project(w, 2))
    np.testing.assert_array_equal(F.svd_project(x, 2).detach().numpy(), y.numpy())


def test_the_default_derivative_is_the_identity():
    x = tg.tensor(np.diag([3.0, 3.0, 1.0]), requires_grad=True)
    F.svd_project(x, 1).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.ones((3, 3)))


@pytest.mark.parametrize("shape", [(40, 9), (9, 40)])
def test_tall_and_wide_matrices(shape):
    rng = np.random.default_rng(0)
    w, g = rng.normal(size=(2, *shape))
    numeric = finite_differences.gradient(lambda a: F.svd_project(a, 4), (w,), g)[0]
    assert digits_agreed(gradient(w, 4, g), numeric) > 8


def test_singular_values_may_be_equal_on_one_side_of_the_cut():
    g = np.random.default_rng(1).normal(size=(6, 5))
    for values, rank in (([3, 3, 1], 2), ([3, 1, 1], 1), ([2, 2, 2, 0.5, 0.5], 3)):
        w = matrix_with(np.array(values, float), 6, 5)
        numeric = finite_differences.gradient(lambda a, k=rank: F.svd_project(a, k), (w,), g)[0]
        assert digits_agreed(gradient(w, rank, g), numeric) > 7


def test_a_matrix_of_that_rank_is_left_alone_and_differentiated_along_its_tangent():
    w = matrix_with(np.array([2.0, 1.0]), 6, 5)
    g = np.random.default_rng(1).normal(size=(6, 5))
    np.testing.assert_allclose(F.svd_project(w, 2), w, atol=1e-14)
    u, _, vt = np.linalg.svd(w)
    left, right = np.eye(6) - u[:, :2] @ u[:, :2].T, np.eye(5) - vt[:2].T @ vt[:2]
    np.testing.assert_allclose(gradient(w, 2, g), g - left @ g @ right, atol=1e-13)


@pytest.mark.parametrize(("values", "rank"), [([3, 2, 2, 1], 2), ([3, 2], 3), ([0.0], 1)])
def test_equal_singular_values_at_the_cut_have_no_derivative(values, rank):
    w = matrix_with(np.array(values, float), 6, 5)
    with pytest.raises(ValueError, match=rf"^SvdProject: singular values {rank} and {rank + 1} coincide"):
        F.svd_project(tg.tensor(w, requires_grad=True), rank, "exact")
    for derivative in ("identity", "none"):
        F.svd_project(tg.tensor(w, requires_grad=True), rank, derivative)
    F.svd_project(tg.tensor(w), rank, "exact")  # no gradient is wanted
    F.svd_project(w, rank, "exact")


def test_full_rank_is_the_identity_without_sharing_memory():
    w = np.random.default_rng(0).normal(size=(3, 5))
    p = F.svd_project(w, 3, "exact")
    np.testing.assert_array_equal(p, w)
    assert not np.shares_memory(p, w)
    np.testing.assert_array_equal(gradient(w, 3, w), w)


def test_the_second_derivative_of_the_exact_one():
    rng = np.random.default_rng(0)
    for shape, rank in (((5, 4), 2), ((3, 6), 1)):
        w, g, v = rng.normal(size=(3, *shape))

        def project(t, rank=rank, g=g):
            return (F.svd_project(t, rank, "exact") * g).sum()

        _, product = tg.hvp(project, tg.tensor(w), v)
        h = 1e-6
        numeric = (gradient(w + h * v, rank, g) - gradient(w - h * v, rank, g)) / (2 * h)
        assert digits_agreed(product.numpy(), numeric) > 7


def test_float32_stays_float32():
    w = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    assert F.svd_project(w, 2).dtype == np.float32
    assert gradient(w, 2, w).dtype == np.float32
