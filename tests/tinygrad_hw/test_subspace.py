"""The projection that follows a subspace: laws of its value, its three derivatives, how fast it converges."""

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
    """An m x n matrix with these singular values, and its singular vectors."""
    rng = np.random.default_rng(seed)
    u, v = (np.linalg.qr(rng.normal(size=(side, len(values))))[0] for side in (m, n))
    return (u * values) @ v.T, u, v


def tangents(a, b):
    """Of the principal angles between the column spaces of a and b, of equally many columns."""
    a, b = np.linalg.qr(a)[0], np.linalg.qr(b)[0]
    inside = a.T @ b
    return np.linalg.svd((b - a @ inside) @ np.linalg.inv(inside), compute_uv=False)


@given(
    m=st.integers(2, 8), n=st.integers(2, 8), columns=st.integers(1, 8), rank=st.integers(1, 8), seed=st.integers(0, 99)
)
def test_it_is_a_projection_of_the_weight_and_never_better_than_the_best(m, n, columns, rank, seed):
    rng = np.random.default_rng(seed)
    columns = min(columns, m, n)
    rank = min(rank, columns)
    w, basis = rng.normal(size=(m, n)), rng.normal(size=(n, columns))
    p, moved = F.subspace_project(w, basis, rank)
    squared = (w**2).sum()
    assert np.linalg.matrix_rank(p) <= rank and moved.shape == basis.shape
    np.testing.assert_allclose((p**2).sum() + ((w - p) ** 2).sum(), squared, rtol=1e-12)
    assert ((w - p) ** 2).sum() >= ((w - F.svd_project(w, rank)) ** 2).sum() - 1e-12 * squared
    if columns == min(m, n):  # the span misses nothing of W's row or column space
        np.testing.assert_allclose(p, F.svd_project(w, rank), atol=1e-9 * np.sqrt(squared))


def test_the_span_alone_counts():
    rng = np.random.default_rng(0)
    w, basis = rng.normal(size=(9, 7)), rng.normal(size=(7, 4))
    p, moved = F.subspace_project(w, basis, 2)
    other, moved_too = F.subspace_project(w, basis @ rng.normal(size=(4, 4)), 2)
    np.testing.assert_allclose(other, p, atol=1e-12)
    assert tangents(moved, moved_too).max() < 1e-12


def test_tangents_of_the_angles_shrink_by_the_squared_ratio_of_singular_values():
    values = np.geomspace(8, 0.5, 12)
    w, _, v = matrix_with(values, 15, 12)
    rank, columns = 3, 5
    basis = np.random.default_rng(1).normal(size=(12, columns))
    found = []
    for _ in range(15):
        p, basis = F.subspace_project(w, basis, rank)
        rows = np.linalg.svd(p)[2][:rank].T
        found.append(tangents(v[:, :rank], rows).max())
    ratio = (values[columns] / values[rank - 1]) ** 2
    later = np.array(found[8:])
    np.testing.assert_allclose(later[1:] / later[:-1], ratio, rtol=0.02)
    np.testing.assert_allclose(p, F.svd_project(w, rank), atol=10 * later[-1])


@pytest.mark.parametrize("smallest", [1e-1, 1e-3, 1e-6])
def test_float32_loses_little_whatever_the_spectrum(smallest):
    w, _, _ = matrix_with(np.geomspace(1.0, smallest, 60), 90, 70)
    single, rank = w.astype(np.float32), 20
    basis = np.random.default_rng(1).normal(size=(70, 28)).astype(np.float32)
    for _ in range(100):
        p, basis = F.subspace_project(single, basis, rank)
    assert p.dtype == basis.dtype == np.float32
    excess = np.linalg.norm(w - p) - np.linalg.norm(w - F.svd_project(w, rank))
    assert abs(excess) < 1e-7


@pytest.mark.parametrize("derivative", ["identity", "exact", "none"])
def test_every_derivative_has_the_same_value(derivative):
    rng = np.random.default_rng(0)
    w, basis = rng.normal(size=(6, 5)), rng.normal(size=(5, 3))
    expected = F.subspace_project(w, basis, 2)
    for found in (
        F.subspace_project(w, basis, 2, derivative),
        F.subspace_project(tg.tensor(w, requires_grad=True), tg.tensor(basis), 2, derivative),
        F.subspace_project(tg.tensor(w), basis, 2, derivative),
    ):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one.detach().numpy() if isinstance(one, tg.Tensor) else one, other, atol=1e-13)


def test_identity_passes_the_gradient_and_none_passes_nothing():
    rng = np.random.default_rng(0)
    w, basis, g = rng.normal(size=(4, 4)), rng.normal(size=(4, 2)), rng.normal(size=(4, 4))
    for derivative in ("identity", "none"):
        x, v = tg.tensor(w, requires_grad=True), tg.tensor(basis, requires_grad=True)
        p, moved = F.subspace_project(x, v, 1, derivative)
        assert p.requires_grad == (derivative == "identity") and not moved.requires_grad
        if derivative == "identity":
            p.backward(g)
            np.testing.assert_array_equal(x.grad.numpy(), g)
            assert v.grad is None
    p, _ = F.subspace_project(tg.tensor(w, requires_grad=True), basis, 1)
    assert p.requires_grad, "the identity is the default"


def gradient(w, basis, rank, g):
    x = tg.tensor(w, requires_grad=True)
    F.subspace_project(x, basis, rank, "exact")[0].backward(g)
    return x.grad.numpy()


def test_the_exact_derivative_is_that_of_the_step_with_the_basis_held():
    rng = np.random.default_rng(0)
    w, basis, g = rng.normal(size=(12, 9)), rng.normal(size=(9, 5)), rng.normal(size=(12, 9))
    numeric = finite_differences.gradient(lambda a: F.subspace_project(a, basis, 3)[0], (w,), g)[0]
    assert digits_agreed(gradient(w, basis, 3, g), numeric) > 8


def test_with_the_leading_directions_it_tends_to_that_of_the_best_projection():
    g = np.random.default_rng(1).normal(size=(9, 8))
    apart = []
    for small in (1e-1, 1e-2, 1e-3):
        w, _, v = matrix_with(np.array([4, 3, 2, 1, 0.9, *small * np.array([1, 0.8, 0.6])]), 9, 8)
        x = tg.tensor(w, requires_grad=True)
        F.svd_project(x, 3, "exact").backward(g)
        apart.append(np.abs(gradient(w, v[:, :5], 3, g) - x.grad.numpy()).max())
    assert 8 < apart[0] / apart[1] < 12 and 8 < apart[1] / apart[2] < 12, "in proportion to s_6 / s_3"
    assert apart[2] < 1e-3


def test_where_the_exact_derivative_does_not_exist_it_raises():
    w, basis = np.ones((4, 3)), np.eye(3)[:, :2]  # of rank 1: W V has dependent columns
    p, _ = F.subspace_project(tg.tensor(w, requires_grad=True), basis, 2, "exact")
    with pytest.raises(np.linalg.LinAlgError, match="linearly dependent columns"):
        p.sum().backward()
    F.subspace_project(tg.tensor(w, requires_grad=True), basis, 2)[0].sum().backward()


def test_a_weight_of_zeros_is_no_end():
    basis = np.random.default_rng(0).normal(size=(5, 3))
    p, basis = F.subspace_project(np.zeros((6, 5)), basis, 2)
    assert not p.any() and not basis.any()
    w, _, _ = matrix_with(np.array([5.0, 4, 1, 0.5, 0.1]), 6, 5)
    for _ in range(30):
        p, basis = F.subspace_project(w, basis, 2)
    np.testing.assert_allclose(p, F.svd_project(w, 2), atol=1e-12)
