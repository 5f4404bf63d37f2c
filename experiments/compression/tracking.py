"""How well the subspace that is followed from step to step agrees with the one that LAPACK finds anew."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import subspace_angles

import tinygrad_hw as tg
from experiments.harness import Step
from tinygrad_hw import functional as F
from tinygrad_hw import nn
from tinygrad_hw.backend import Array, array_module, device_of, synchronize, to_numpy
from tinygrad_hw.random import Stream

from .training import compressed, original


class Watch:
    """Compares, every so many steps of a training, the followed projection of each weight with the exact one.

    Args:
        net: its compressed layers seen through `nn.SubspaceProjection`.
        steps: of the training.
        every: so many steps between comparisons.

    Attributes:
        values: arrays of comparisons x layers, to be tracked: `angle`, the largest principal angle between the two
            column spaces in degrees; `exact_error` and `error`, the Frobenius norm of what the exact and the followed
            projection leave of the weight, relative to the weight's; `gap`, the first singular value that is dropped
            over the last that is kept; `exact_seconds` and `seconds` that the two took.
        steps: of the training, at which they were made.
    """

    def __init__(self, net: nn.Module, steps: int, every: int) -> None:
        self._net, self._every = net, every
        self.steps = np.arange(0, steps, every)
        names = ("angle", "exact_error", "error", "gap", "exact_seconds", "seconds")
        self.values = {name: np.zeros((len(self.steps), len(compressed(net)))) for name in names}

    def __call__(self, step: Step) -> None:
        """Compares when it is time, before the training's own step moves the subspace on."""
        row, between = divmod(step.index, self._every)
        if not between:
            for column, layer in enumerate(compressed(self._net)):
                projection = layer.parametrizations["weight"][0]
                for name, value in comparison(original(layer)._data, projection).items():
                    self.values[name][row, column] = value


def comparison(weight: Array, projection: nn.SubspaceProjection) -> dict[str, float]:
    """One row of `Watch.values`. The followed subspace is looked at after a step that is then forgotten."""
    rank, xp, device = projection.rank, array_module(weight), device_of(weight)
    began = time.perf_counter()
    u, s, vt = xp.linalg.svd(weight, full_matrices=False)
    exact = (u[:, :rank] * s[:rank]) @ vt[:rank]
    synchronize(device)
    between = time.perf_counter()
    followed, moved = F.subspace_project(weight, projection.basis._data, rank)
    synchronize(device)
    seconds = time.perf_counter() - between
    norm = float(xp.linalg.norm(weight))
    return {
        "angle": angle(u[:, :rank], followed, moved),
        "exact_error": float(xp.linalg.norm(weight - exact)) / norm,
        "error": float(xp.linalg.norm(weight - followed)) / norm,
        "gap": float(s[rank] / s[rank - 1]) if rank < len(s) else 0.0,
        "exact_seconds": between - began,
        "seconds": seconds,
    }


def angle(u: Array, followed: Array, moved: Array) -> float:
    """The largest principal angle, in degrees, between the columns of `u` and the column space of `followed`.

    That space is found from `followed @ moved`, whose columns span it: a thin matrix.
    """
    thin = to_numpy(followed).astype(np.float64) @ to_numpy(moved).astype(np.float64)
    space = np.linalg.svd(thin, full_matrices=False)[0][:, : u.shape[1]]
    return float(np.degrees(subspace_angles(to_numpy(u).astype(np.float64), space)[0]))


@dataclass(frozen=True)
class Loss:
    """What follows when the subspace of a fixed weight is turned away from it.

    Attributes:
        angles: the largest, in degrees, at each step.
        excess: what the followed projection leaves of the weight beyond the least possible, as a share of its norm.
        reseeded: how often the check mended it.
    """

    angles: np.ndarray
    excess: np.ndarray
    reseeded: int


def lose(weight: Array, rank: int, check_every: int, stream: Stream, *, at: int, steps: int) -> Loss:
    """Follows a weight that does not move; before step `at` the basis is exchanged for directions orthogonal to all
    the leading ones, or as many of them as there are.

    Args:
        weight: m x n.
        rank: of the projection.
        check_every: as in `nn.SubspaceProjection`.
        stream: of its random directions.
        at: see above.
        steps: in all.
    """
    xp = array_module(weight)
    u, s, vt = xp.linalg.svd(weight, full_matrices=False)
    least, norm = float(xp.linalg.norm(s[rank:])), float(xp.linalg.norm(s))
    projection = nn.SubspaceProjection(
        weight.shape, rank, check_every=check_every, stream=stream, dtype=weight.dtype, device=device_of(weight)
    )
    columns = projection.basis.shape[1]
    others = min(rank, len(vt) - columns)
    angles, excess = np.zeros(steps), np.zeros(steps)
    for step in range(steps):
        if step == at:
            projection.basis = tg.Tensor(vt[others : others + columns].T.copy())
        projection(tg.Tensor(weight))
        followed, moved = F.subspace_project(weight, projection.basis._data, rank)
        angles[step] = angle(u[:, :rank], followed, moved)
        excess[step] = (float(xp.linalg.norm(weight - followed)) - least) / norm
    return Loss(angles, excess, int(projection.reseeded.item()))


def medians(values: dict[str, Any], name: str) -> float:
    """The median over a training of the sum over the layers: the seconds that all of them took at one step."""
    return float(np.median(values[name].sum(axis=1)))
