"""Linear layers of low rank: kept as two thin factors, or as a full weight that every step projects on low rank."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np

from tinygrad_hw import functional as F
from tinygrad_hw.autograd import no_grad
from tinygrad_hw.backend import Array, array_module, device_of, linalg_errors
from tinygrad_hw.creation import zeros
from tinygrad_hw.nn import init
from tinygrad_hw.nn.linear import Linear, make_parameter
from tinygrad_hw.nn.module import Module
from tinygrad_hw.random import Stream, default_stream
from tinygrad_hw.tensor import Tensor


class LowRankLinear(Module):
    """y = x (U Vᵀ)ᵀ + b, computed as (x V) Uᵀ + b: (..., in_features) → (..., out_features).

    Parameters u (out_features, rank), vt (rank, in_features) and bias (out_features,): rank (in + out) weights, and as
    many multiplications for a row of x, instead of in · out. Their starting values give y the variance that those of
    :class:`Linear` give it.

    Args:
        in_features, out_features: sizes of the last axis before and after.
        rank: from 1 to the smaller of the two.
        bias: whether b is added.
        stream: where the starting values are drawn; default ``default_stream("init")``.
        dtype, device: of the parameters.

    Raises ValueError for sizes or a rank out of range and, when called, for another number of features.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        rank: int,
        bias: bool = True,
        *,
        stream: Stream | None = None,
        dtype: Any = None,
        device: str | None = None,
    ) -> None:
        super().__init__()
        _check_rank("LowRankLinear", rank, (out_features, in_features))
        self.in_features, self.out_features, self.rank = in_features, out_features, rank
        self.u = make_parameter((out_features, rank), dtype, device)
        self.vt = make_parameter((rank, in_features), dtype, device)
        self.bias = make_parameter((out_features,), dtype, device) if bias else None
        self.reset_parameters(stream)

    def reset_parameters(self, stream: Stream | None = None) -> None:
        """Draw the starting values anew."""
        bound = 1 / math.sqrt(self.in_features)
        init.uniform_(self.u, -math.sqrt(3 / self.rank), math.sqrt(3 / self.rank), stream=stream)
        init.uniform_(self.vt, -bound, bound, stream=stream)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound, stream=stream)

    @classmethod
    def from_linear(cls, linear: Linear, rank: int) -> Self:
        """The layer of rank ``rank`` nearest to ``linear``: u the leading left singular vectors of its weight, vt the
        right ones times the singular values; the bias as it is.

        Raises ValueError for a rank out of range, LinAlgError when the weight is not finite.
        """
        with no_grad():
            weight = linear.weight._data
        _check_rank("LowRankLinear.from_linear", rank, weight.shape)
        u, s, vt = F.svd(weight)
        return cls.from_factors(u[:, :rank], s[:rank, None] * vt[:rank], linear.bias)

    @classmethod
    def from_factors(cls, u: Any, vt: Any, bias: Any = None) -> Self:
        """The layer with copies of these parameters, on their device and of their dtype.

        Raises ValueError for factors that do not fit together or a rank beyond their sizes, RuntimeError for a bias of
        another size.
        """
        if u.ndim != 2 or vt.ndim != 2 or u.shape[1] != vt.shape[0]:
            raise ValueError(
                f"LowRankLinear.from_factors: expected (out, rank) and (rank, in), got {u.shape} and {vt.shape}"
            )
        device = device_of(u._data if isinstance(u, Tensor) else u)
        layer = cls(
            vt.shape[1], u.shape[0], u.shape[1], bias is not None,
            stream=Stream(0, "overwritten"), dtype=u.dtype, device=device,
        )  # fmt: skip
        layer.load_state_dict({"u": u, "vt": vt} | ({} if bias is None else {"bias": bias}))
        return layer

    def forward(self, x: Any) -> Tensor:
        if x.ndim == 0 or x.shape[-1] != self.in_features:
            raise ValueError(
                f"LowRankLinear({self.extra_repr()}): expected {self.in_features} features on the last axis, got an "
                f"input of shape {tuple(x.shape)}"
            )
        return F.linear(F.linear(x, self.vt), self.u, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, rank={self.rank}, "
            f"bias={self.bias is not None}"
        )


class SubspaceProjection(Module):
    """About the matrix of rank ``rank`` nearest to a weight, its subspace kept and followed from step to step.

    To be registered by :func:`tinygrad_hw.nn.parametrize.register_parametrization`. While training, each call makes one
    step of :func:`tinygrad_hw.functional.subspace_project` and keeps the basis; in ``eval()`` the step is made from the
    basis as it stands, and forgotten.

    The first call seeds the basis: random directions, four times as many as are kept, are drawn towards the leading
    ones by a few steps of power iteration, and the best are kept (Halko, Martinsson & Tropp 2011, "Finding structure
    with randomness", SIAM Review 53, algorithms 4.4 and 5.1). Power iteration follows directions that turn, but one
    that the basis is orthogonal to (after other weights were loaded, or where a direction grew from nothing) stays
    invisible. So every ``check_every`` calls random vectors are sent through the remainder (I - QQᵀ) W, Q the basis of
    the kept column space, and power iteration on it gives a lower bound for its largest singular value. Above the
    smallest singular value that is kept, the subspace is lost: a direction outside it carries more of W than one
    inside. Then it is seeded again, the old directions among the random ones.

    Args:
        shape: of the weight, (m, n).
        rank: from 1 to min(m, n).
        oversampling: columns kept beyond the rank (fewer where the matrix has no more): the further s_{p+1} lies below
            s_k, the better the leading k directions are followed.
        derivative: as in ``subspace_project``.
        check_every: calls between two checks.
        stream: of the random directions; default ``default_stream("subspace")``.
        dtype, device: of the weight, and of the basis.

    Attributes:
        basis: buffer (n, p). steps: buffer, calls made while training. reseeded: buffer, how often it was found lost.

    Raises ValueError for a rank out of range and other settings that make no sense and, when called, for a weight of
    another shape or dtype.
    """

    basis: Tensor
    steps: Tensor
    reseeded: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        rank: int,
        oversampling: int = 8,
        derivative: str = "identity",
        check_every: int = 100,
        *,
        stream: Stream | None = None,
        dtype: Any = None,
        device: str = "cpu",
    ) -> None:
        super().__init__()
        _check_rank("SubspaceProjection", rank, shape)
        if derivative not in ("identity", "exact", "none"):
            raise ValueError(
                f"SubspaceProjection: expected derivative 'identity', 'exact' or 'none', got {derivative!r}"
            )
        for name, value, least in (("oversampling", oversampling, 0), ("check_every", check_every, 1)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"SubspaceProjection: {name} must be an integer >= {least}, got {value!r}")
        self.shape, self.rank, self.derivative, self.check_every = tuple(shape), rank, derivative, check_every
        self.stream = stream
        columns = min(rank + oversampling, *shape)
        self.register_buffer("basis", zeros((shape[1], columns), dtype=dtype, device=device))
        self.register_buffer("steps", zeros((), dtype=np.int64, device=device))
        self.register_buffer("reseeded", zeros((), dtype=np.int64, device=device))

    def forward(self, w: Tensor) -> Tensor:
        if (w.shape, w.dtype) != (self.shape, self.basis.dtype):
            raise ValueError(
                f"SubspaceProjection: expected a weight {self.basis.dtype} {self.shape}, got {w.dtype} {w.shape}"
            )
        steps, basis = int(self.steps.item()), self.basis
        if steps == 0:
            basis = self._seeded(w._data)
        elif self.training and steps % self.check_every == 0 and self.lost(w):
            basis = self._seeded(w._data, basis._data)
            self.reseeded = self.reseeded + 1
        projection, moved = F.subspace_project(w, basis, self.rank, self.derivative)
        if self.training:
            self.basis, self.steps = moved.detach(), self.steps + 1
        return projection

    def lost(self, w: Tensor, directions: int = 4, iterations: int = 4) -> bool:
        """Whether a direction outside the subspace is found to carry more of ``w`` than the weakest one kept.

        Args:
            directions, iterations: how many random vectors are sent through the remainder, and how often. What is found
                is a lower bound: True is certain (but for 1 % and rounding), False is likely.
        """
        a, xp = w._data, array_module(w._data)
        with linalg_errors(a):
            q = xp.linalg.qr(a @ self.basis._data)[0]
            b = q.T @ a
            kept = xp.linalg.svd(b, compute_uv=False)
            z = self._random(a, directions)
            for _ in range(iterations):
                y = xp.linalg.qr(a @ z - q @ (b @ z))[0]
                z = a.T @ y - b.T @ (q.T @ y)
            found = xp.linalg.svd(z, compute_uv=False)[0]
        rounding = max(a.shape) * float(np.finfo(a.dtype).eps) * kept[0]
        return bool(found > 1.01 * kept[self.rank - 1] + rounding)

    def _seeded(self, w: Array, old: Array | None = None, iterations: int = 8) -> Tensor:
        """A basis of the leading directions, from random ones and those of ``old``.

        With 4 p columns the span approaches the leading k by (s_{4p+1} / s_k)² a step: soon, where p are not enough.
        """
        xp = array_module(w)
        columns = self.basis.shape[1]
        block = self._random(w, 4 * columns)
        with linalg_errors(w):
            if old is not None:
                block = xp.concatenate([xp.linalg.qr(old)[0], xp.linalg.qr(block)[0]], axis=1)
            for _ in range(iterations):
                block = w.T @ xp.linalg.qr(w @ block)[0]
            return Tensor(block @ xp.linalg.svd(block, full_matrices=False)[2][:columns].T)

    def _random(self, w: Array, columns: int) -> Array:
        stream = self.stream or default_stream("subspace")
        return stream.normal((w.shape[1], columns), dtype=w.dtype, device=self.basis.device)

    def extra_repr(self) -> str:
        columns = self.basis.shape[1]
        return f"{self.shape}, rank={self.rank}, columns={columns}, derivative={self.derivative!r}"


def _check_rank(owner: str, rank: Any, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless ``shape`` is that of a matrix and ``rank`` one that it can have."""
    for size in shape:
        if not isinstance(size, (int, np.integer)) or isinstance(size, bool) or size < 1:
            raise ValueError(f"{owner}: expected sizes that are positive integers, got {tuple(shape)}")
    if len(shape) != 2 or not isinstance(rank, (int, np.integer)) or isinstance(rank, bool):
        raise ValueError(f"{owner}: expected a matrix and an integer rank, got {tuple(shape)} and rank {rank!r}")
    if not 1 <= rank <= min(shape):
        raise ValueError(f"{owner}: expected a rank from 1 to {min(shape)} for {tuple(shape)}, got {rank}")
