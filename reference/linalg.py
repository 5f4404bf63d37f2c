"""Matrix products, inverses, determinants and factorisations: derivative by hand, on plain arrays.

Written with differentials: from dC = <G, dY> = tr(G^T dY), substitute dY in terms of dA and read off what multiplies dA
(Giles 2008, "Collected matrix derivative results for forward and reverse mode algorithmic differentiation"). Matrices
are the last two axes; leading axes are batches. ``g`` is the gradient of the value, a tuple of them (None where an
output does not count) for slogdet, qr, svd and eigh. Symmetric input (cholesky, eigh) means that (A + A^T) / 2 is what
is factorised, so its gradient is symmetric too, as PyTorch's is.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_letters
from typing import Any

from reference.elementwise import Gradients, unbroadcast
from tinygrad_hw.backend import Array, array_module


def _t(a: Array) -> Array:
    return a.swapaxes(-1, -2)


def _sym(a: Array) -> Array:
    return (a + _t(a)) / 2


def hand_matmul(g: Array, a: Array, b: Array) -> Gradients:
    """C = AB: dA = G B^T, dB = A^T G; vectors count as one row (left) or one column (right), batches broadcast."""
    left = a[None, :] if a.ndim == 1 else a
    right = b[:, None] if b.ndim == 1 else b
    if a.ndim == 1:
        g = g[..., None, :] if b.ndim > 1 else g[..., None]
    if b.ndim == 1:
        g = g[..., None]
    return (
        unbroadcast(g @ _t(right), left).reshape(a.shape),
        unbroadcast(_t(left) @ g, right).reshape(b.shape),
    )


def hand_outer(g: Array, a: Array, b: Array) -> Gradients:
    """C_ij = a_i b_j: da = G b, db = G^T a."""
    return g @ b, g.T @ a


def hand_trace(g: Array, a: Array) -> Gradients:
    """tr A = sum A_ii: dA = g I."""
    return (g[..., None, None] * array_module(a).eye(*a.shape[-2:], dtype=a.dtype),)


def hand_einsum(g: Array, equation: str, *operands: Array) -> Gradients:
    """C_out = sum over the other indices of the product of the operands, each repeated index within one a diagonal.

    The gradient of an operand is the same sum with C and that operand exchanged: G times the other operands, summed
    over all indices that are not its own. An index that only it has is one along which it was summed: a factor of ones
    there. An index that it repeats: the identity matrix puts the gradient on the diagonal.
    """
    inputs, output = _expand(equation, [operand.ndim for operand in operands])
    xp = array_module(*operands)
    spare = [letter for letter in ascii_letters if letter not in "".join(inputs)]
    grads = []
    for position, operand in enumerate(operands):
        others = [(inputs[k], operands[k]) for k in range(len(operands)) if k != position]
        factors, own = [(output, g), *others], ""
        for axis, letter in enumerate(inputs[position]):
            size = operand.shape[axis]
            if letter in own:
                copy = spare[axis]
                factors.append((letter + copy, xp.eye(size, dtype=g.dtype)))
                own += copy
                continue
            if not any(letter in subscripts for subscripts, _ in factors):
                factors.append((letter, xp.ones(size, g.dtype)))
            own += letter
        terms = ",".join(subscripts for subscripts, _ in factors)
        grads.append(xp.einsum(f"{terms}->{own}", *(factor for _, factor in factors)))
    return tuple(unbroadcast(grad, operand) for grad, operand in zip(grads, operands, strict=True))


def _expand(equation: str, ndims: Sequence[int]) -> tuple[list[str], str]:
    """The subscripts of each operand and of the output, with "..." spelt out in unused letters and "->" supplied."""
    terms, arrow, output = equation.replace(" ", "").partition("->")
    names = terms.split(",")
    pairs = list(zip(names, ndims, strict=True))
    extra = [ndim - len(name.replace("...", "")) if "..." in name else 0 for name, ndim in pairs]
    unused = [letter for letter in ascii_letters if letter not in equation]
    leading = "".join(unused[: max(extra)])
    if not arrow:
        letters = sorted({letter for letter in terms if letter.isalpha() and terms.count(letter) == 1})
        output = "..." + "".join(letters)
    inputs = [name.replace("...", leading[len(leading) - count :]) for name, count in zip(names, extra, strict=True)]
    return inputs, output.replace("...", leading)


def hand_inv(g: Array, a: Array) -> Gradients:
    """Y = A^-1: from dY A + Y dA = 0, dY = -Y dA Y, so dA = -Y^T G Y^T."""
    y = _t(array_module(a).linalg.inv(a))
    return (-y @ g @ y,)


def hand_solve(g: Array, a: Array, b: Array) -> Gradients:
    """AX = B: from dA X + A dX = dB, dB = A^-T G and dA = -dB X^T. One vector ``b`` (n,) is one column."""
    solve = array_module(a).linalg.solve
    column = b.ndim == 1
    right, cotangent = (b[:, None], g[..., :, None]) if column else (b, g)
    d_b = solve(_t(a), cotangent)
    d_a = -d_b @ _t(solve(a, right))
    return unbroadcast(d_a, a), unbroadcast(d_b[..., 0] if column else d_b, b)


def hand_det(g: Array, a: Array) -> Gradients:
    """d det A / dA is the matrix of cofactors, det(A) A^-T for invertible A (Jacobi).

    With A = U S V^T it is det(U) det(V) U S' V^T, S'_ii the product of the other singular values: singular A as well.
    """
    xp = array_module(a)
    u, s, vt = xp.linalg.svd(a)
    n = s.shape[-1]
    others = xp.where(xp.eye(n, dtype=bool), 1.0, s[..., None, :]).prod(axis=-1)
    orientation = xp.linalg.det(u) * xp.linalg.det(vt)
    return ((g * orientation)[..., None, None] * ((u * others[..., None, :]) @ vt),)


def hand_slogdet(g: tuple[Array | None, Array], a: Array) -> Gradients:
    """d log |det A| = tr(A^-1 dA), so dA = g A^-T with g the gradient of the logarithm; the sign has derivative 0."""
    return (g[1][..., None, None] * _t(array_module(a).linalg.inv(a)),)


def hand_cholesky(g: Array, a: Array) -> Gradients:
    """A = L L^T: dA = sym(L^-T Phi(L^T G) L^-1), Phi the lower triangle with half the diagonal (Murray 2016, eq. 10).

    From dA = dL L^T + L dL^T: L^-1 dA L^-T = L^-1 dL + (L^-1 dL)^T, so dL = L Phi(L^-1 dA L^-T); G counts by its lower
    triangle only.
    """
    xp = array_module(a)
    lower = xp.linalg.cholesky(_sym(a))
    inverse = xp.linalg.inv(lower)
    return (_sym(_t(inverse) @ _phi(_t(lower) @ xp.tril(g)) @ inverse),)


def _phi(a: Array) -> Array:
    xp = array_module(a)
    return xp.tril(a) - a * xp.eye(a.shape[-1], dtype=a.dtype) / 2


def _or_zeros(g: Any, like: Array) -> Array:
    return array_module(like).zeros_like(like) if g is None else g


def hand_qr(g: tuple[Array | None, Array | None], a: Array) -> Gradients:
    """A = QR reduced, A (m x n) of full rank.

    m >= n: dA = (G_Q + Q copyltu(M)) R^-T, M = R G_R^T - G_Q^T Q, copyltu(M) the symmetric matrix with M's lower
    triangle (Walter & Lehmann 2018, "On algorithmic differentiation of the QR decomposition"; Giles' manner: dA R^-1 =
    dQ + Q dR R^-1 with Q^T dQ antisymmetric and dR R^-1 upper triangular).
    m < n: A = [X Y], R = [U V] with X = QU and V = Q^T Y, so dY = Q G_V and X is differentiated as above with
    G_Q + Y G_V^T in place of G_Q (Roberts & Roberts 2020, "QR and LQ decomposition matrix backpropagation algorithms").
    """
    xp = array_module(a)
    q, r = xp.linalg.qr(a)
    g_q, g_r = _or_zeros(g[0], q), _or_zeros(g[1], r)
    m = a.shape[-2]
    if a.shape[-1] > m:
        y, g_v = a[..., m:], g_r[..., m:]
        d_x = _qr_square_or_tall(g_q + y @ _t(g_v), g_r[..., :m], q, r[..., :m])
        return (xp.concatenate([d_x, q @ g_v], axis=-1),)
    return (_qr_square_or_tall(g_q, g_r, q, r),)


def _qr_square_or_tall(g_q: Array, g_r: Array, q: Array, r: Array) -> Array:
    xp = array_module(q)
    m = r @ _t(xp.triu(g_r)) - _t(g_q) @ q
    symmetric = xp.tril(m) + _t(xp.tril(m, -1))
    return _t(xp.linalg.solve(r, _t(g_q + q @ symmetric)))


def _inverse_gaps(values: Array, name: str) -> Array:
    """1 / (values_j - values_i), 0 on the diagonal; raises ValueError where two coincide to rounding."""
    xp = array_module(values)
    gaps = values[..., None, :] - values[..., :, None]
    diagonal = xp.eye(values.shape[-1], dtype=bool)
    scale = xp.abs(values).max(axis=-1)[..., None, None]
    if bool(((xp.abs(gaps) <= 8 * xp.finfo(values.dtype).eps * scale) & ~diagonal).any()):
        raise ValueError(f"{name}: two {name} values coincide: their vectors are not unique and have no derivative")
    return xp.where(diagonal, 0.0, 1.0 / xp.where(diagonal, 1.0, gaps))


def hand_eigh(g: tuple[Array | None, Array | None], a: Array) -> Gradients:
    """A = V diag(w) V^T: dw_i = v_i^T dA v_i, dV = V (F * V^T dA V), F_ij = 1 / (w_j - w_i) off the diagonal.

    So dA = sym(V (diag(g_w) + F * V^T G_V) V^T) (Giles 2008, 3.1). Equal eigenvalues: fine where only the eigenvalues
    count (``g[1]`` None), else ValueError, for the vectors are not functions of A there.
    """
    xp = array_module(a)
    w, v = xp.linalg.eigh(_sym(a))
    inside = _or_zeros(g[0], w)[..., None] * xp.eye(w.shape[-1], dtype=a.dtype)
    if g[1] is not None:
        inside = inside + _inverse_gaps(w, "eigh") * (_t(v) @ g[1])
    return (_sym(v @ inside @ _t(v)),)


def hand_svd(g: tuple[Array | None, Array | None, Array | None], a: Array) -> Gradients:
    """A = U diag(s) V^T reduced, the value being (U, s, V^T): Townsend 2016, "Differentiating the singular value
    decomposition"; Ionescu, Vantzos & Sminchisescu 2015, "Matrix backpropagation", sec. 4.

    With F_ij = 1 / (s_j^2 - s_i^2) off the diagonal and [X] = X - X^T, for A of full rank,
    dA = U (diag(g_s) + (F * [U^T G_U]) S + S (F * [V^T G_V])) V^T
         + (I - U U^T) G_U S^-1 V^T + U S^-1 G_V^T (I - V V^T).
    Only ``g[1]``, the singular values: dA = U diag(g_s) V^T, whatever their multiplicity. Else ValueError where two
    coincide.
    """
    xp = array_module(a)
    u, s, vt = xp.linalg.svd(a, full_matrices=False)
    v = _t(vt)
    middle = _or_zeros(g[1], s)[..., None] * xp.eye(s.shape[-1], dtype=a.dtype)
    result = u @ middle @ vt
    if g[0] is None and g[2] is None:
        return (result,)
    g_u, g_v = _or_zeros(g[0], u), _t(_or_zeros(g[2], vt))
    f = _inverse_gaps(s * s, "svd")
    row = s[..., None, :]
    turn_u = (f * (_t(u) @ g_u - _t(g_u) @ u)) * row
    turn_v = (f * (_t(v) @ g_v - _t(g_v) @ v)) * _t(row)
    result = result + u @ (turn_u + turn_v) @ vt
    if a.shape[-2] > s.shape[-1]:
        result = result + ((g_u - u @ (_t(u) @ g_u)) / row) @ vt
    if a.shape[-1] > s.shape[-1]:
        result = result + (u / row) @ _t(g_v - v @ (vt @ g_v))
    return (result,)
