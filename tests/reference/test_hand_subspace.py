"""One step of block power iteration by hand, against all oracles."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reference.subspace import hand_subspace_project, subspace_project


def in_torch(w, v, rank):
    q, _ = torch.linalg.qr(w @ v)
    b = q.T @ w
    u, s, vt = torch.linalg.svd(b, full_matrices=False)
    return q @ ((u[:, :rank] * s[:rank]) @ vt[:rank]), b.T


@pytest.mark.parametrize("m, n, p, k", [(5, 4, 3, 2), (4, 6, 2, 1), (4, 4, 2, 2), (3, 3, 3, 2)])
def test_step(agree, m, n, p, k) -> None:
    rng = np.random.default_rng(m + n)

    def hand(g, w, v, rank):
        return hand_subspace_project(g, w, v, rank)

    agree(hand, (rng.normal(size=(m, n)), rng.normal(size=(n, p)), k), subspace_project, subspace_project, in_torch)
