"""Record of one step of block power iteration, with its exact derivative.

The derivatives "identity" and "none" are no derivatives: tests/tinygrad_hw/test_subspace.py has them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference.subspace import hand_subspace_project, subspace_project
from reference.table.record import Call, Failure, Record, call


def _samples(rng: np.random.Generator) -> list[Call]:
    """Tall, wide and square; ranks from 1 to the basis' columns; a basis of one column and one that is complete."""
    sizes = ((5, 4, 3, 2), (4, 6, 3, 1), (4, 4, 2, 2), (3, 4, 3, 2), (6, 3, 1, 1), (3, 5, 3, 3))
    return [call(rng.normal(size=(m, n)), rng.normal(size=(n, p)), k, "exact") for m, n, p, k in sizes]


def _torch(torch: Any, w: Any, v: Any, rank: int, derivative: str) -> Any:
    y = w @ v
    q, _ = torch.linalg.qr(y)
    expected = np.linalg.qr(y.detach().numpy())[0]
    q = q * torch.from_numpy(np.sign((q.detach().numpy() * expected).sum(axis=0)))  # NumPy's signs
    b = q.T @ w
    u, s, vt = torch.linalg.svd(b, full_matrices=False)
    return q @ ((u[:, :rank] * s[:rank]) @ vt[:rank]), b.T


SQUARE = np.ones((3, 3))
FAILURES = (
    Failure(call(SQUARE, np.ones((3, 2)), 0), ValueError, "expected 1 <= rank"),
    Failure(call(SQUARE, np.ones((3, 2)), 3), ValueError, "expected 1 <= rank"),
    Failure(call(SQUARE, np.ones((3, 4)), 3), ValueError, "columns of the basis <= 3"),
    Failure(call(SQUARE, np.ones((3, 2)), 1.5), ValueError, "integer rank"),
    Failure(call(SQUARE, np.ones((2, 3)), 1), ValueError, "a basis (n, p)"),
    Failure(call(np.ones(3), np.ones((3, 1)), 1), ValueError, "expected a matrix (m, n)"),
    Failure(call(SQUARE, np.ones((3, 2)), 1, "approximate"), ValueError, "'identity', 'exact' or 'none'"),
    Failure(call(np.arange(9).reshape(3, 3), np.ones((3, 2)), 1), TypeError, "expected a floating Tensor"),
)
RECORDS = [
    Record(
        "subspace_project",
        samples=_samples,
        numpy=lambda w, v, rank, derivative: subspace_project(w, v, rank),
        hand=lambda g, w, v, rank, derivative: hand_subspace_project(g, w, v, rank),
        torch=_torch,
        failures=FAILURES,
    ),
]
