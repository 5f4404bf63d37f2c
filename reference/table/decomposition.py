"""Records of QR, singular value and eigenvalue decompositions.

Their vectors are unique up to sign where the values stand apart, as they do here; the signs are LAPACK's. Laws that
hold whatever the signs, and values that coincide, are in tests/tinygrad_hw/test_linalg.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference import complex_linalg, linalg
from reference.table.record import Call, Failure, Record, call

SHAPES = ((3, 3), (5, 3), (3, 5), (2, 4, 3), (1, 4), (4, 1))


def _apart(rng: np.random.Generator) -> list[Call]:
    """Matrices with singular values from 0.5 to 3, well apart."""
    calls = []
    for shape in SHAPES:
        u, s, vt = np.linalg.svd(rng.normal(size=shape), full_matrices=False)
        calls.append(call((u * np.geomspace(3.0, 0.5, s.shape[-1])) @ vt))
    return calls


def _symmetric(rng: np.random.Generator) -> list[Call]:
    """Matrices whose symmetric part has eigenvalues from -2 to 3, well apart."""
    calls = []
    for shape in ((3, 3), (2, 4, 4), (1, 1)):
        v = np.linalg.qr(rng.normal(size=shape))[0]
        skew = 0.1 * rng.normal(size=shape)
        calls.append(call((v * np.linspace(-2.0, 3.0, shape[-1])) @ v.swapaxes(-1, -2) + skew - skew.swapaxes(-1, -2)))
    return calls


def _like_numpy(torch: Any, vectors: Any, expected: Any, axis: int) -> Any:
    """Signs that make ``vectors`` (along ``axis``) NumPy's."""
    return torch.from_numpy(np.sign((vectors.detach().numpy() * expected).sum(axis, keepdims=True)))


def _torch_qr(torch: Any, a: Any) -> Any:
    q, r = torch.linalg.qr(a)
    sign = _like_numpy(torch, q, np.linalg.qr(a.detach().numpy())[0], -2)
    return q * sign, r * sign.mT


def _torch_svd(torch: Any, a: Any) -> Any:
    u, s, vh = torch.linalg.svd(a, full_matrices=False)
    sign = _like_numpy(torch, u, np.linalg.svd(a.detach().numpy(), full_matrices=False)[0], -2)
    return u * sign, s, vh * sign.mT


def _torch_eigh(torch: Any, a: Any) -> Any:
    symmetric = (a + a.mT) / 2
    w, v = torch.linalg.eigh(symmetric)
    return w, v * _like_numpy(torch, v, np.linalg.eigh(symmetric.detach().numpy())[1], -2)


RECORDS = [
    Record(
        "qr",
        samples=_apart,
        numpy=lambda a: tuple(np.linalg.qr(a)),
        hand=linalg.hand_qr,
        torch=_torch_qr,
        complex_step=complex_linalg.qr,
        failures=(Failure(call(np.ones(3)), np.linalg.LinAlgError, "two-dimensional"),),
    ),
    Record(
        "svd",
        samples=_apart,
        numpy=lambda a: tuple(np.linalg.svd(a, full_matrices=False)),
        hand=linalg.hand_svd,
        torch=_torch_svd,
        complex_step=complex_linalg.svd,
        failures=(Failure(call(np.ones(3)), np.linalg.LinAlgError, "two-dimensional"),),
    ),
    Record(
        "eigh",
        samples=_symmetric,
        numpy=lambda a: tuple(np.linalg.eigh((a + a.swapaxes(-1, -2)) / 2)),
        hand=linalg.hand_eigh,
        torch=_torch_eigh,
        complex_step=complex_linalg.eigh,
        failures=(
            Failure(call(np.ones((2, 3))), np.linalg.LinAlgError, "square matrices"),
            Failure(call(np.ones(3)), np.linalg.LinAlgError, "square matrices"),
        ),
    ),
]
