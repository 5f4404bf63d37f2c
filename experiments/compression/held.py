"""A projection by LAPACK that need not find its singular vectors at every step."""

import numpy as np

import tinygrad_hw as tg
from tinygrad_hw import functional as F
from tinygrad_hw import nn
from tinygrad_hw.backend import array_module


class HeldProjection(nn.Module):
    """A weight projected on a column space that LAPACK finds every so many steps: P = U Uᵀ W.

    U: the D leading left singular vectors that the weight had when they were last found. At that step P is the nearest
    matrix of rank D, until the next the nearest with these columns. The derivative is the identity. In `eval()` P is
    the nearest, found by LAPACK.

    Args:
        weight: to be projected; m x n, floating.
        rank: D, at most min(m, n).
        every: calls while training from one decomposition to the next; 1 projects by LAPACK at every step.

    Attributes:
        space: buffer, U.
        steps: buffer, calls made while training.
        excess: buffer, by how much |W - P| at its worst, just before a decomposition, was above the least possible, as
            a share of |W|.
    """

    space: tg.Tensor
    steps: tg.Tensor
    excess: tg.Tensor

    def __init__(self, weight: tg.Tensor, rank: int, every: int) -> None:
        super().__init__()
        self.rank, self.every = rank, every
        self.register_buffer("space", tg.zeros((weight.shape[0], rank), dtype=weight.dtype, device=weight.device))
        self.register_buffer("steps", tg.zeros((), dtype=np.int64, device=weight.device))
        self.register_buffer("excess", tg.zeros((), dtype=weight.dtype, device=weight.device))

    def forward(self, w: tg.Tensor) -> tg.Tensor:
        if not self.training:
            return F.svd_project(w, self.rank)
        a, xp, steps = w.data, array_module(w.data), int(self.steps.item())
        held = self.space.data
        if steps % self.every == 0:
            u, s, _ = F.svd(a)
            if steps:
                left, least = (xp.linalg.norm(x) for x in (a - held @ (held.T @ a), s[self.rank :]))
                self.excess = tg.Tensor(xp.maximum(self.excess.data, (left - least) / xp.linalg.norm(s)))
            held = u[:, : self.rank].copy()
            self.space = tg.Tensor(held)
        self.steps = self.steps + 1
        return F.straight_through(w, tg.Tensor(held @ (held.T @ a)))
