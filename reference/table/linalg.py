"""Records of linear equations and determinants. Square matrices here are far from singular."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reference import complex_linalg, linalg
from reference.elementwise import Gradients
from reference.table.record import Call, Failure, Record, call


def regular(rng: np.random.Generator, *shape: int) -> Any:
    """Square matrices with singular values from 0.5 to 2, neither symmetric nor with a determinant of one sign."""
    u, _, vt = np.linalg.svd(rng.normal(size=shape))
    return (u * np.geomspace(0.5, 2.0, shape[-1])) @ vt


def positive(rng: np.random.Generator, *shape: int) -> Any:
    """Symmetric positive definite matrices, eigenvalues from 0.5 to 2."""
    v = np.linalg.qr(rng.normal(size=shape))[0]
    return (v * np.geomspace(0.5, 2.0, shape[-1])) @ v.swapaxes(-1, -2)


def _of(make: Callable[..., Any], *shapes: tuple[int, ...]) -> Callable[[np.random.Generator], list[Call]]:
    return lambda rng: [call(make(rng, *shape)) for shape in shapes]


SQUARES = ((3, 3), (2, 4, 4), (1, 1), (0, 3, 3))
RECTANGLE = Failure(call(np.ones((2, 3))), np.linalg.LinAlgError, "square matrices")
VECTOR = Failure(call(np.ones(3)), np.linalg.LinAlgError, "square matrices")
SINGULAR = Failure(call(np.ones((3, 3))), np.linalg.LinAlgError, "Singular matrix")


def _equations(rng: np.random.Generator) -> list[Call]:
    sizes = [((3, 3), (3,)), ((3, 3), (3, 2)), ((2, 3, 3), (3,)), ((2, 3, 3), (3, 4))]
    sizes += [((4, 1, 3, 3), (2, 3, 1)), ((3, 3), (2, 3, 2))]
    return [call(regular(rng, *a), rng.normal(size=b)) for a, b in sizes]


def _solve(a: Any, b: Any) -> Any:
    return np.linalg.inv(a) @ b


def _cofactors(a: Any) -> Any:
    return np.linalg.det(a)[..., None, None] * np.linalg.inv(a).swapaxes(-1, -2)


def _hand_cofactors(g: Any, a: Any) -> Gradients:
    """C = det(A) B, B = A^-T. With d det A = det(A) <B, dA> and dB = -B dA^T B: dA = det(A) (<G, B> B - B G^T B)."""
    b = np.linalg.inv(a).swapaxes(-1, -2)
    inner = (g * b).sum((-1, -2))[..., None, None]
    return (np.linalg.det(a)[..., None, None] * (inner * b - b @ g.swapaxes(-1, -2) @ b),)


def _trace_samples(rng: np.random.Generator) -> list[Call]:
    return [call(rng.normal(size=shape)) for shape in ((3, 3), (2, 4), (5, 3, 2), (0, 3))]


RECORDS = [
    Record(
        "trace",
        samples=_trace_samples,
        numpy=lambda x: np.trace(x, 0, -2, -1),
        hand=linalg.hand_trace,
        torch=lambda torch, x: torch.diagonal(x, 0, -2, -1).sum(-1),
        failures=(Failure(call(np.ones(3)), ValueError, "matrices (..., n, m), got shape (3,)"),),
    ),
    Record(
        "inv",
        samples=_of(regular, *SQUARES),
        numpy=np.linalg.inv,
        hand=linalg.hand_inv,
        torch=lambda torch, a: torch.linalg.inv(a),
        failures=(RECTANGLE, VECTOR, SINGULAR),
    ),
    Record(
        "solve",
        samples=_equations,
        numpy=_solve,
        hand=linalg.hand_solve,
        torch=lambda torch, a, b: torch.linalg.solve(a, b),
        failures=(
            Failure(call(np.ones((2, 3)), np.ones(2)), np.linalg.LinAlgError, "square matrices"),
            Failure(call(np.ones((3, 3)), np.ones(3)), np.linalg.LinAlgError, "Singular matrix"),
            Failure(call(np.eye(3), np.ones((2, 3))), ValueError, "b (n,) or (..., n, k)"),
            Failure(call(np.ones((2, 3, 3)), np.ones((4, 3, 1))), ValueError, "broadcast"),
        ),
    ),
    Record(
        "det",
        samples=_of(regular, *SQUARES),
        numpy=np.linalg.det,
        hand=linalg.hand_det,
        torch=lambda torch, a: torch.linalg.det(a),
        failures=(RECTANGLE, VECTOR),
    ),
    Record(
        "cofactors",
        samples=_of(regular, *SQUARES),
        numpy=_cofactors,
        hand=_hand_cofactors,
        torch=lambda torch, a: torch.linalg.det(a)[..., None, None] * torch.linalg.inv(a).mT,
        failures=(RECTANGLE, VECTOR),
    ),
    Record(
        "slogdet",
        samples=_of(regular, *SQUARES),
        numpy=lambda a: tuple(np.linalg.slogdet(a)),
        hand=linalg.hand_slogdet,
        torch=lambda torch, a: tuple(torch.linalg.slogdet(a)),
        complex_step=complex_linalg.slogdet,
        failures=(RECTANGLE, VECTOR),
    ),
    Record(
        "logdet",
        samples=_of(positive, *SQUARES),
        numpy=lambda a: np.log(np.linalg.det(a)),
        hand=lambda g, a: linalg.hand_slogdet((None, g), a),
        torch=lambda torch, a: torch.logdet(a),
        failures=(RECTANGLE, VECTOR),
    ),
    Record(
        "cholesky",
        samples=_of(positive, *SQUARES),
        numpy=lambda a: np.linalg.cholesky((a + a.swapaxes(-1, -2)) / 2),
        hand=linalg.hand_cholesky,
        torch=lambda torch, a: torch.linalg.cholesky((a + a.mT) / 2),
        complex_step=complex_linalg.cholesky,
        failures=(
            RECTANGLE,
            VECTOR,
            Failure(call(np.diag([1.0, -1.0])), np.linalg.LinAlgError, "not positive definite"),
        ),
    ),
]
