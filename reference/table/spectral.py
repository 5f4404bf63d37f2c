"""Record of the projection on matrices of lower rank, with its exact derivative.

The derivatives "identity" and "none" are no derivatives: tests/tinygrad_hw/test_spectral.py has them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference.svd import hand_svd_project, svd_project
from reference.table.record import Call, Failure, Record, call


def _samples(rng: np.random.Generator) -> list[Call]:
    """Tall, wide and square, ranks from 1 to full, a matrix of one column."""
    sizes = ((5, 3, 1), (5, 3, 2), (3, 6, 2), (4, 4, 3), (3, 4, 3), (4, 1, 1), (6, 5, 2))
    return [call(rng.normal(size=(m, n)), rank, "exact") for m, n, rank in sizes]


def _torch(torch: Any, w: Any, rank: int, derivative: str) -> Any:
    u, s, vt = torch.linalg.svd(w, full_matrices=False)
    return (u[:, :rank] * s[:rank]) @ vt[:rank]


FAILURES = (
    Failure(call(np.ones((3, 2)), 0), ValueError, "rank from 1"),
    Failure(call(np.ones((3, 2)), 3), ValueError, "rank from 1"),
    Failure(call(np.ones((3, 2)), 1.5), ValueError, "integer rank"),
    Failure(call(np.ones(3), 1), ValueError, "expected a matrix"),
    Failure(call(np.ones((3, 2)), 1, "approximate"), ValueError, "'identity', 'exact' or 'none'"),
    Failure(call(np.full((3, 2), np.nan), 1), np.linalg.LinAlgError, "SvdProject"),
)
RECORDS = [
    Record(
        "svd_project",
        samples=_samples,
        numpy=lambda w, rank, derivative: svd_project(w, rank),
        hand=lambda g, w, rank, derivative: hand_svd_project(g, w, rank),
        torch=_torch,
        failures=FAILURES,
    ),
]
