"""Optimiser updates on the CPU, each in one pass over memory, compiled by Numba.

Each is given flat arrays of one floating dtype and settings as Python floats, rounds where NumPy would, and so gives
the bits that the generic path gives: no reordering, no fused multiply-add.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_hw.backend import Array
from tinygrad_hw.kernels.pool import (
    as_word,
    compiled,
    doubles,
    floats,
    kernel,
    number32,
    number64,
    pool,
    prepare,
    run,
    settings,
)

_SHARE = 2**13  # entries of a part
_SHARED = 2**16  # entries from which threads are worth waking


@compiled()
def _adam_loop(
    p: Any, g: Any, m: Any, v: Any, first: int, last: int,
    shrink: Any, decay: Any, rest1: Any, beta2: Any, rest2: Any, eps: Any, rate: Any,
) -> None:  # fmt: skip
    for i in range(first, last):
        x, slope = p[i], g[i]
        if shrink != 1:
            x = x * shrink
        if decay != 0:
            slope = x * decay + slope
        mean = m[i] + (slope - m[i]) * rest1
        square = v[i] * beta2 + slope * slope * rest2
        m[i], v[i] = mean, square
        p[i] = x - mean / (math.sqrt(square) + eps) * rate


@compiled()
def _sgd_loop(p: Any, g: Any, first: int, last: int, decay: Any, rate: Any) -> None:
    for i in range(first, last):
        slope = g[i]
        if decay != 0:
            slope = p[i] * decay + slope
        p[i] = p[i] - slope * rate


@kernel
def _adam32(job: int, part: int, who: int) -> None:
    p, g, m, v, size, a, b, c, d, e, f, h = settings(job)
    _adam_loop(
        floats(p), floats(g), floats(m), floats(v), part * _SHARE, min(size, (part + 1) * _SHARE),
        number32(a), number32(b), number32(c), number32(d), number32(e), number32(f), number32(h),
    )  # fmt: skip


@kernel
def _adam64(job: int, part: int, who: int) -> None:
    p, g, m, v, size, a, b, c, d, e, f, h = settings(job)
    _adam_loop(
        doubles(p), doubles(g), doubles(m), doubles(v), part * _SHARE, min(size, (part + 1) * _SHARE),
        number64(a), number64(b), number64(c), number64(d), number64(e), number64(f), number64(h),
    )  # fmt: skip


@kernel
def _sgd32(job: int, part: int, who: int) -> None:
    p, g, size, decay, rate, _, _, _, _, _, _, _ = settings(job)
    first, last = part * _SHARE, min(size, (part + 1) * _SHARE)
    _sgd_loop(floats(p), floats(g), first, last, number32(decay), number32(rate))


@kernel
def _sgd64(job: int, part: int, who: int) -> None:
    p, g, size, decay, rate, _, _, _, _, _, _, _ = settings(job)
    first, last = part * _SHARE, min(size, (part + 1) * _SHARE)
    _sgd_loop(doubles(p), doubles(g), first, last, number64(decay), number64(rate))


_ADAM = {np.dtype(np.float32): _adam32.address, np.dtype(np.float64): _adam64.address}
_SGD = {np.dtype(np.float32): _sgd32.address, np.dtype(np.float64): _sgd64.address}


@compiled()
def _adam(
    state: int, kernel: int, number: int, p: Any, g: Any, m: Any, v: Any,
    shrink: float, decay: float, rest1: float, beta2: float, rest2: float, eps: float, rate: float,
) -> None:  # fmt: skip
    prepare(state, (
        p.ctypes.data, g.ctypes.data, m.ctypes.data, v.ctypes.data, p.size, as_word(shrink), as_word(decay),
        as_word(rest1), as_word(beta2), as_word(rest2), as_word(eps), as_word(rate),
    ))  # fmt: skip
    run(state, kernel, -(-p.size // _SHARE), number)


@compiled()
def _sgd(state: int, kernel: int, number: int, p: Any, g: Any, decay: float, rate: float) -> None:
    prepare(state, (p.ctypes.data, g.ctypes.data, p.size, as_word(decay), as_word(rate)))
    run(state, kernel, -(-p.size // _SHARE), number)


def adam(p: Array, g: Array, m: Array, v: Array, *given: float) -> None:
    """p ← s p; g ← g + λ p; m ← m + (1 - β₁)(g - m); v ← β₂ v + (1 - β₂) g²; p ← p - η' m / (√v + ε').

    Args:
        p, m, v: changed in place. g: read. Each (size,) in one piece.
        given: s, λ, 1 - β₁, β₂, 1 - β₂, ε', η' in this order.
    """
    with pool.turn:
        number = pool.number(p.size >= _SHARED)
        _adam(pool.state, _ADAM[p.dtype], number, p, g, m, v, *map(float, given))


def sgd(p: Array, g: Array, decay: float, rate: float) -> None:
    """p ← p - η (g + λ p) for λ ``decay`` and η ``rate``; ``p`` is changed in place."""
    with pool.turn:
        number = pool.number(p.size >= _SHARED)
        _sgd(pool.state, _SGD[p.dtype], number, p, g, float(decay), float(rate))
