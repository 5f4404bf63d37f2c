"""Products, determinants and decompositions: laws that hold whatever the shapes and signs, and degenerate matrices."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_hw as tg
from tinygrad_hw import functional as F

rng = np.random.default_rng(0)
seeds = st.integers(0, 2**32 - 1)


def normal(*shape: int, seed: int | None = None) -> np.ndarray:
    return np.asarray((rng if seed is None else np.random.default_rng(seed)).standard_normal(shape))


def leaf(data) -> tg.Tensor:
    return tg.tensor(data, requires_grad=True)


def orthogonal(n: int, k: int, seed: int = 1) -> np.ndarray:
    return np.linalg.qr(normal(n, k, seed=seed))[0]


def with_values(values, m: int, n: int, seed: int = 1) -> np.ndarray:
    """A matrix m x n with the given singular values."""
    k = len(values)
    return (orthogonal(m, k, seed) * np.array(values)) @ orthogonal(n, k, seed + 1).T


def symmetric_with(values, seed: int = 1) -> np.ndarray:
    v = orthogonal(len(values), len(values), seed)
    return (v * np.array(values)) @ v.T


def gradient(function, x: np.ndarray) -> np.ndarray:
    t = leaf(x)
    return tg.grad(function(t), t).numpy()


def hessian(function, x: np.ndarray) -> np.ndarray:
    t = leaf(x)
    return tg.jacobian(lambda u: tg.grad(function(u), u, create_graph=True), t).numpy()


# ------------------------------------------------------------------------------------------------------------- products


def is_multilinear(function, operands: list[np.ndarray], seed: int) -> None:
    """The gradient of a function linear in each operand, times any array, is its value with that put in its place."""
    tensors = [leaf(x) for x in operands]
    y = function(*tensors)
    g = normal(*y.shape, seed=seed)
    for i, grad in enumerate(tg.grad(y, tensors, g)):
        other = normal(*operands[i].shape, seed=seed + i + 1)
        there = np.asarray(function(*[other if k == i else x for k, x in enumerate(operands)]))
        assert grad.shape == operands[i].shape
        np.testing.assert_allclose((grad.numpy() * other).sum(), (g * there).sum(), rtol=1e-9, atol=1e-9)


@given(hnp.mutually_broadcastable_shapes(signature="(n?,k),(k,m?)->(n?,m?)", max_dims=2, max_side=3), seeds)
def test_matmul_of_any_shapes(shapes, seed):
    operands = [normal(*shape, seed=seed + i) for i, shape in enumerate(shapes.input_shapes)]
    np.testing.assert_allclose(F.matmul(*operands), np.matmul(*operands), atol=1e-12)
    is_multilinear(F.matmul, operands, seed)


@st.composite
def einsums(draw):
    """Subscripts for one to three operands over four letters, repetitions and ellipses included, and their shapes."""
    sizes = dict(zip("abcd", draw(st.permutations([1, 2, 3, 4])), strict=True))
    terms, shapes, ellipsis = [], [], False
    for _ in range(draw(st.integers(1, 3))):
        letters = draw(st.lists(st.sampled_from("abcd"), max_size=3))
        shape = [sizes[c] for c in letters]
        at = draw(st.none() | st.integers(0, len(letters)))
        if at is not None:
            ellipsis = True
            letters.insert(at, "...")
            shape[at:at] = draw(st.sampled_from([(), (2,), (1,), (3, 2), (3, 1)]))
        elif letters and draw(st.booleans()) and letters.count(letters[0]) == 1:
            shape[0] = 1  # broadcasts against the same letter elsewhere
        terms.append("".join(letters))
        shapes.append(tuple(shape))
    text = ",".join(terms)
    if draw(st.booleans()):
        output = draw(st.permutations(sorted(set("".join(terms)) - {"."})))
        output = output[: draw(st.integers(0, len(output)))]
        if ellipsis:
            output.insert(draw(st.integers(0, len(output))), "...")
        text += "->" + "".join(output)
    return text, shapes


@given(einsums(), seeds)
def test_einsum_of_random_subscripts(case, seed):
    text, shapes = case
    operands = [normal(*shape, seed=seed + i) for i, shape in enumerate(shapes)]
    try:
        expected = np.einsum(text, *operands)
    except ValueError:
        assume(False)
    np.testing.assert_allclose(F.einsum(text, *operands), expected, atol=1e-12)
    is_multilinear(lambda *xs: F.einsum(text, *xs), operands, seed)


def test_einsum_adds_the_gradients_of_one_tensor_given_twice():
    a = normal(3, 4)
    np.testing.assert_allclose(gradient(lambda x: F.einsum("ij,ij->", x, x), a), 2 * a)
    np.testing.assert_allclose(hessian(lambda x: F.einsum("ij,ij->", x, x), a).reshape(12, 12), 2 * np.eye(12))


def test_einsum_sums_over_an_ellipsis_that_the_output_leaves_out():
    a = normal(2, 3, 4)
    np.testing.assert_allclose(F.einsum("...i->i", a), a.sum((0, 1)))


@pytest.mark.parametrize("lead", [(5,), (2, 5), (), (0,)])
def test_linear_is_matmul_and_bias(lead):
    x, w, b = (leaf(v) for v in (normal(*lead, 3), normal(4, 3), normal(4)))
    g = normal(*lead, 4)
    ours, plain = F.linear(x, w, b), x @ w.T + b
    np.testing.assert_allclose(ours.detach().numpy(), plain.detach().numpy(), rtol=1e-14)
    for mine, other in zip(tg.grad(ours, [x, w, b], g), tg.grad(plain, [x, w, b], g), strict=True):
        np.testing.assert_allclose(mine.numpy(), other.numpy(), rtol=1e-13, atol=1e-14)


def test_linear_computes_only_the_gradients_that_are_wanted():
    """What training asks of its first layer and of a frozen one: one matrix product less."""
    seen = []
    x, w, b = normal(5, 3), normal(4, 3), normal(4)
    for wanted in product([False, True], repeat=3):
        args = [tg.tensor(v, requires_grad=want) for v, want in zip((x, w, b), wanted, strict=True)]
        if any(wanted):
            with tg.operation_hook(lambda event: seen.append(event) if event.phase == "backward" else None):
                F.linear(*args).backward(np.ones((5, 4)))
            assert [out is not None for out in seen[-1].outputs] == list(wanted)
            assert all(arg.grad is None or arg.grad.data.flags.c_contiguous for arg in args)


def test_products_keep_float32_among_integers_and_float64():
    single = leaf(np.ones((2, 3), np.float32))
    assert (single @ tg.tensor([1, 2, 3])).dtype == np.float32
    y = F.linear(single, np.ones((4, 3)))
    assert y.dtype == np.float64
    y.backward(np.ones((2, 4)))
    assert single.grad.dtype == np.float32
    assert F.linear(tg.tensor([[1, 2]]), tg.tensor([[3, 4]])).dtype == np.float32


# --------------------------------------------------------------------------------------------------------- determinants


def minor(a: np.ndarray, rows: set[int], columns: set[int]) -> float:
    n = len(a)
    kept = a[np.ix_([i for i in range(n) if i not in rows], [j for j in range(n) if j not in columns])]
    return float(np.linalg.det(kept))


def cofactors_by_minors(a: np.ndarray) -> np.ndarray:
    n = len(a)
    return np.array([[(-1) ** (i + j) * minor(a, {i}, {j}) for j in range(n)] for i in range(n)])


def second_derivative_by_minors(a: np.ndarray) -> np.ndarray:
    """d² det / dA_ij dA_km: the minor without rows i, k and columns j, m, signed; zero where a row or column recurs."""
    n = len(a)
    out = np.zeros((n, n, n, n))
    for i, j, k, m in product(range(n), repeat=4):
        if i != k and j != m:
            sign = (-1) ** (i + j + k + m) * np.sign(k - i) * np.sign(m - j)
            out[i, j, k, m] = sign * minor(a, {i, k}, {j, m})
    return out


@given(hnp.arrays(np.float64, st.integers(1, 4).map(lambda n: (n, n)), elements=st.integers(-2, 2)))
def test_derivatives_of_det_are_minors_whatever_the_rank(a):
    """Small integers make singular matrices of every rank."""
    np.testing.assert_allclose(F.cofactors(a), cofactors_by_minors(a), atol=1e-10)
    np.testing.assert_allclose(gradient(F.det, a), cofactors_by_minors(a), atol=1e-10)
    np.testing.assert_allclose(hessian(F.det, a), second_derivative_by_minors(a), atol=1e-10)


@pytest.mark.parametrize("rank", [0, 1, 2, 3, 4])
def test_the_gradient_of_det_has_rank_one_at_rank_n_minus_1_and_vanishes_below(rank):
    a = with_values([2.0, 1.5, 1.0, 0.5][:rank], 4, 4) if rank else np.zeros((4, 4))
    grad = gradient(F.det, a)
    np.testing.assert_allclose(grad, cofactors_by_minors(a), atol=1e-12)
    assert np.linalg.matrix_rank(grad, tol=1e-10) == {4: 4, 3: 1}.get(rank, 0)


def test_third_derivatives_of_det_need_an_invertible_matrix():
    def third(x):
        first = tg.grad(F.det(x), x, create_graph=True)
        second = tg.grad((first * direction).sum(), x, create_graph=True)
        return tg.grad((second * direction).sum(), x)

    direction = normal(3, 3)
    # det is cubic in a 3 x 3 matrix: its third derivative along D, D is 2 cof(D)
    np.testing.assert_allclose(third(leaf(normal(3, 3))).numpy(), 2 * cofactors_by_minors(direction), atol=1e-9)
    with pytest.raises(np.linalg.LinAlgError, match="cofactors: the second derivative of a singular matrix"):
        third(leaf(np.zeros((3, 3))))


def test_slogdet_and_logdet_at_the_edges():
    singular = leaf(np.ones((3, 3)))
    sign, logarithm = F.slogdet(singular)
    assert (sign.item(), logarithm.item()) == (0.0, -np.inf)
    with pytest.raises(np.linalg.LinAlgError, match="slogdet: the gradient of a singular matrix"):
        logarithm.backward()
    negative = np.diag([1.0, 2.0, -3.0])
    assert not gradient(lambda x: F.slogdet(x)[0], negative).any()
    both = F.logdet(np.stack([negative, -negative, np.ones((3, 3))]))
    np.testing.assert_array_equal(both[[0, 2]], [np.nan, -np.inf])
    assert np.isnan(F.logdet(tg.tensor(negative)).item()) and F.logdet(-np.eye(2)) == 0.0


def test_slogdet_where_det_leaves_the_floating_range():
    a = symmetric_with(np.geomspace(1e-3, 1e-1, 200))
    assert F.det(a) == 0.0
    np.testing.assert_allclose(F.slogdet(a)[1], np.log(np.geomspace(1e-3, 1e-1, 200)).sum(), rtol=1e-10)
    np.testing.assert_allclose(gradient(F.logdet, a), np.linalg.inv(a), rtol=1e-6)


# ------------------------------------------------------------------------------------------------------------ equations


@given(st.integers(1, 4), st.integers(0, 3), seeds)
def test_solve_inv_and_products_are_one_law(n, k, seed):
    a, b = with_values(np.linspace(1, 2, n), n, n, seed % 1000), normal(n, k, seed=seed)
    g = normal(n, k, seed=seed + 1)
    ta, tb = leaf(a), leaf(b)
    by_solve = tg.grad(F.solve(ta, tb), [ta, tb], g)
    by_inverse = tg.grad(F.inv(ta) @ tb, [ta, tb], g)
    for one, other in zip(by_solve, by_inverse, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-10)
    back = ta @ F.solve(ta, tb)  # the identity in b, constant in a
    grad_a, grad_b = tg.grad(back, [ta, tb], g)
    np.testing.assert_allclose(grad_a.numpy(), 0, atol=1e-10)
    np.testing.assert_allclose(grad_b.numpy(), g, atol=1e-10)


def test_cholesky_takes_the_symmetric_part():
    a = symmetric_with([1.0, 2.0, 3.0])
    skew = normal(3, 3)
    np.testing.assert_allclose(F.cholesky(a + skew - skew.T), np.linalg.cholesky(a), atol=1e-12)
    grad = gradient(lambda x: (F.cholesky(x) * normal(3, 3, seed=5)).sum(), a)
    np.testing.assert_allclose(grad, grad.T, atol=1e-12)


@given(st.integers(1, 4), seeds)
def test_cholesky_factors_multiply_back(n, seed):
    a, g = symmetric_with(np.linspace(1, 3, n), seed % 1000), normal(n, n, seed=seed)

    def product_of(x):
        low = F.cholesky(x)
        return ((low @ low.mT) * g).sum()

    np.testing.assert_allclose(gradient(product_of, a), (g + g.T) / 2, atol=1e-9)


# ------------------------------------------------------------------------------------------------------- decompositions

SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 4))


@given(SHAPES, seeds)
def test_qr_multiplies_back_whatever_the_signs(shape, seed):
    k = min(shape)
    a, g = with_values(np.linspace(1, 3, k), *shape, seed % 1000), normal(*shape, seed=seed)
    assume(np.linalg.cond(a[:, :k]) < 1e3)
    q, r = F.qr(a)
    assert q.shape == (shape[0], k) and r.shape == (k, shape[1])
    np.testing.assert_allclose(q @ r, a, atol=1e-12)
    np.testing.assert_allclose(q.T @ q, np.eye(k), atol=1e-12)
    np.testing.assert_allclose(r, np.triu(r), atol=0)
    np.testing.assert_allclose(gradient(lambda x: (F.qr(x)[0] @ F.qr(x)[1] * g).sum(), a), g, atol=1e-7)
    gram = normal(k, k, seed=seed + 1)  # QᵀQ is constant
    np.testing.assert_allclose(gradient(lambda x: (F.qr(x)[0].mT @ F.qr(x)[0] * gram).sum(), a), 0, atol=1e-7)


@given(SHAPES, seeds)
def test_svd_multiplies_back_whatever_the_signs(shape, seed):
    k = min(shape)
    a, g = with_values(np.linspace(1, 3, k), *shape, seed % 1000), normal(*shape, seed=seed)

    def back(x):
        u, s, vh = F.svd(x)
        return (((u * s) @ vh) * g).sum()

    np.testing.assert_allclose(gradient(back, a), g, atol=1e-9)
    x, direction = leaf(a), normal(*shape, seed=seed + 1)
    recorded = tg.grad(back(x), x, create_graph=True)  # the gradient is constant: its derivative is zero
    np.testing.assert_allclose(tg.grad(recorded, x, direction).numpy(), 0, atol=1e-7)


@given(st.integers(1, 4), seeds)
def test_eigh_multiplies_back_whatever_the_signs(n, seed):
    a, g = symmetric_with(np.linspace(-2, 2, n), seed % 1000), normal(n, n, seed=seed)

    def back(x):
        w, v = F.eigh(x)
        return (((v * w) @ v.mT) * g).sum()

    np.testing.assert_allclose(gradient(back, a), (g + g.T) / 2, atol=1e-9)


def test_the_projector_on_leading_vectors_against_its_own_differences():
    """Invariant under signs; the gap is small, and the gradient large, but right."""
    a, g = with_values([3.0, 1.001, 1.0, 0.2], 5, 4), normal(5, 5)

    def projector(x):
        u = F.svd(x)[0][:, :2]
        return ((u @ u.T) * g).sum()

    direction, h = normal(5, 4), 1e-7
    slope = float(projector(a + h * direction) - projector(a - h * direction)) / (2 * h)
    np.testing.assert_allclose((gradient(projector, a) * direction).sum(), slope, rtol=1e-4)


DEGENERATE = [
    ("tall, equal", with_values([2.0, 2.0, 1.0], 5, 3)),
    ("wide, equal", with_values([2.0, 1.0, 1.0], 3, 4)),
    ("identity", np.eye(3)),
    ("rank 1", np.outer(normal(4), normal(3))),
]


@pytest.mark.parametrize(("name", "a"), DEGENERATE)
def test_functions_of_singular_values_alone_never_divide_by_gaps(name, a):
    """||A||² = Σ s², log det(I + AᵀA) = Σ log(1 + s²): smooth, whatever the spectrum."""
    np.testing.assert_allclose(gradient(lambda x: (F.svd(x)[1] * F.svd(x)[1]).sum(), a), 2 * a, atol=1e-12)
    expected = 2 * a @ np.linalg.inv(np.eye(a.shape[1]) + a.T @ a)
    smooth = gradient(lambda x: ((F.svd(x)[1] * F.svd(x)[1]) + 1).log().sum(), a)
    np.testing.assert_allclose(smooth, expected, atol=1e-12)


def test_the_nuclear_norm_of_equal_singular_values():
    a = with_values([2.0, 2.0, 2.0], 5, 3)
    np.testing.assert_allclose(gradient(lambda x: F.svd(x)[1].sum(), a), a / 2, atol=1e-12)


def test_functions_of_eigenvalues_alone_never_divide_by_gaps():
    a = symmetric_with([1.0, 1.0, 3.0])
    np.testing.assert_allclose(gradient(lambda x: (F.eigh(x)[0] * F.eigh(x)[0]).sum(), a), 2 * a, atol=1e-12)
    x = leaf(a)
    recorded = tg.grad(F.eigh(x)[0].sum(), x, create_graph=True)
    np.testing.assert_allclose(recorded.detach().numpy(), np.eye(3), atol=1e-12)


def test_vectors_of_equal_values_are_refused_by_name():
    first = "svd: singular values 0 and 1 are equal within rounding .2 and 2.: their vectors have no gradient"
    with pytest.raises(np.linalg.LinAlgError, match=first):
        gradient(lambda x: F.svd(x)[0].sum(), with_values([2.0, 2.0, 1.0], 4, 3))
    with pytest.raises(np.linalg.LinAlgError, match=r"singular values 1 and 2 of matrix \(1,\)"):
        pair = np.stack([with_values([3.0, 2.0, 1.0], 3, 3), with_values([3.0, 1.0, 1.0], 3, 3)])
        gradient(lambda x: F.svd(x)[2].sum(), pair)
    with pytest.raises(np.linalg.LinAlgError, match="eigh: eigenvalues 1 and 2 are equal within rounding"):
        gradient(lambda x: F.eigh(x)[1].sum(), symmetric_with([1.0, 3.0, 3.0]))
    close = with_values([2.0, 2.0 + 1e-15, 1.0], 4, 3)
    with pytest.raises(np.linalg.LinAlgError, match="equal within rounding"):
        gradient(lambda x: F.svd(x)[0].sum(), close)


def test_the_second_derivative_of_vectors_of_equal_values_is_refused():
    x = leaf(np.eye(3))
    recorded = tg.grad(F.svd(x)[1].sum(), x, create_graph=True)
    with pytest.raises(np.linalg.LinAlgError, match="equal within rounding"):
        tg.grad(recorded, x, normal(3, 3))


def test_a_vector_that_stands_apart_has_its_gradient_though_others_coincide():
    """The leading left vector, the square of its entries (so its sign does not matter), against differences."""
    weights = normal(5)
    for a, vector in (
        (with_values([3.0, 1.0, 1.0], 5, 3), lambda x: F.svd(x)[0][:, 0]),
        (symmetric_with([1.0, 1.0, 1.0, 2.0, 4.0]), lambda x: F.eigh(x)[1][:, -1]),
    ):

        def function(x, vector=vector):
            return (vector(x) * vector(x) * weights).sum()

        direction, h = normal(*a.shape), 1e-5
        slope = float(function(a + h * direction) - function(a - h * direction)) / (2 * h)
        np.testing.assert_allclose((gradient(function, a) * direction).sum(), slope, rtol=1e-7)


def test_vectors_of_a_zero_singular_value():
    """A square matrix determines them (up to sign); of a tall one the left vector is any in the complement."""
    square, tall = with_values([2.0, 1.0, 0.0], 3, 3), with_values([2.0, 1.0, 0.0], 4, 3)
    weights = normal(3)

    def squares(x):
        last = F.svd(x)[0][:, 2]
        return (last * last * weights).sum()

    direction, h = normal(3, 3), 1e-5
    slope = float(squares(square + h * direction) - squares(square - h * direction)) / (2 * h)
    np.testing.assert_allclose((gradient(squares, square) * direction).sum(), slope, rtol=1e-7)
    with pytest.raises(np.linalg.LinAlgError, match="svd: the vectors of a singular value that is zero"):
        gradient(lambda x: F.svd(x)[0].sum(), tall)
    assert np.isfinite(gradient(lambda x: F.svd(x)[2].sum(), tall)).all()


@pytest.mark.parametrize("a", [np.ones((3, 2)), normal(4, 1) @ normal(1, 3), np.zeros((2, 2)), np.ones((2, 4))])
def test_qr_of_dependent_columns_is_refused(a):
    q, r = F.qr(a)
    np.testing.assert_allclose(q @ r, a, atol=1e-12)
    with pytest.raises(np.linalg.LinAlgError, match="qr: the gradient of linearly dependent columns"):
        gradient(lambda x: F.qr(x)[1].sum(), a)


def test_qr_does_not_mind_the_scale_of_columns():
    a = normal(4, 3) * np.array([1.0, 1e-14, 1e14])
    assert np.isfinite(gradient(lambda x: F.qr(x)[1].sum(), a)).all()


@pytest.mark.parametrize("name", ["det", "inv", "slogdet", "cholesky", "qr", "svd", "eigh", "cofactors"])
def test_a_batch_is_its_matrices_one_by_one(name):
    batch = np.stack([symmetric_with([1.0, 2.0, 4.0], seed) for seed in range(4)]).reshape(2, 2, 3, 3)
    x = leaf(batch)
    outputs = getattr(F, name)(x)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    weights = [normal(*output.shape) for output in outputs]
    grads = tg.grad(outputs, x, weights).numpy()
    for i in np.ndindex(2, 2):
        single = leaf(batch[i])
        alone = getattr(F, name)(single)
        alone = alone if isinstance(alone, tuple) else (alone,)
        for output, expected in zip(alone, outputs, strict=True):
            np.testing.assert_allclose(output.detach().numpy(), expected.detach().numpy()[i], atol=1e-12)
        np.testing.assert_allclose(tg.grad(alone, single, [w[i] for w in weights]).numpy(), grads[i], atol=1e-10)


@pytest.mark.parametrize("name", ["det", "inv", "slogdet", "logdet", "cholesky", "qr", "svd", "eigh", "trace"])
@pytest.mark.parametrize("shape", [(0, 0), (2, 0, 0), (0, 3, 3)])
def test_empty_matrices(name, shape):
    x = leaf(np.zeros(shape))
    outputs = getattr(F, name)(x)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    assert tg.grad(outputs, x, [np.ones(output.shape) for output in outputs]).shape == shape
    if name == "det":
        np.testing.assert_array_equal(outputs[0].detach().numpy(), np.ones(shape[:-2]))
