"""Padded batches of sequences with the padding left out: the rows that a recurrence works on."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from tinygrad_hw.backend import Array, array_module, is_array, to_numpy
from tinygrad_hw.tensor import raw_of


class Packing:
    """Which entries of a padded batch (T, B) are valid, and in which order a recurrence meets them.

    Sequences are taken longest first, so those still running at a step are the first ``counts[step]``; their rows lie
    together, step after step: N rows in all. Reversed, each sequence begins at its last valid entry. Nothing beyond a
    length is ever read. A recurrence keeps its states in B + N rows, the initial ones first.

    Attributes:
        size: T and B.
        counts: of each step, how many sequences are still running; steps at which none is are left out.
        whole: whether nothing is padding: rows are then the batch itself, and no index is needed.
        reverse: whether time runs backwards.
        valid: (N,) where each row lies among the T B entries. order: (B,) the sequences, longest first.
        before: (N,) the row of states that each row follows. last: (B,) that of each sequence's final state, in
            ``order``. unpacked: (T B,) the row of each entry, N where it is padding.
    """

    def __init__(self, steps: int, batch: int, lengths: tuple[int, ...] | None, reverse: bool) -> None:
        self.size, self.reverse = (steps, batch), reverse
        self.whole = lengths is None or all(length == steps for length in lengths)
        each = np.full(batch, steps) if lengths is None else np.asarray(lengths, np.int64)
        self.order = np.argsort(-each, kind="stable")
        each = each[self.order]
        counts = (each > np.arange(steps)[:, None]).sum(axis=1)
        self.counts = tuple(counts[counts > 0].tolist())
        starts = np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64)
        self.rows = int(starts[-1])
        step = np.repeat(np.arange(len(self.counts)), self.counts)
        place = np.arange(self.rows) - starts[step]
        time = each[place] - 1 - step if reverse else step
        self.valid = time * batch + self.order[place]
        self.before = np.where(step == 0, place, batch + starts[step - 1] + place)
        self.last = np.where(each == 0, 0, batch + starts[np.maximum(each - 1, 0)]) + np.arange(batch)
        self.unpacked = np.full(steps * batch, self.rows)
        self.unpacked[self.valid] = np.arange(self.rows)

    def pack(self, x: Array) -> Array:
        """(T, B, K) → (N, K), in one piece: of a whole batch that lies so a view."""
        xp = array_module(x)
        if self.whole:
            return xp.ascontiguousarray((x[::-1] if self.reverse else x).reshape(self.rows, x.shape[-1]))
        return xp.ascontiguousarray(x.reshape(-1, x.shape[-1])[xp.asarray(self.valid)])

    def unpack(self, rows: Array) -> Array:
        """(N, K) → (T, B, K), zeros where there is no row; of a whole batch a view."""
        shape = (*self.size, rows.shape[-1])
        if self.whole:
            return rows.reshape(shape)[::-1] if self.reverse else rows.reshape(shape)
        xp = array_module(rows)
        out = xp.zeros((self.size[0] * self.size[1], shape[-1]), rows.dtype)
        out[xp.asarray(self.valid)] = rows
        return out.reshape(shape)

    def sort(self, each: Array) -> Array:
        """A copy of what there is one of for each sequence, (B, ...), longest first."""
        xp = array_module(each)
        return xp.array(each, order="C") if self.whole else xp.ascontiguousarray(each[xp.asarray(self.order)])

    def unsort(self, each: Array) -> Array:
        """The reverse of :meth:`sort`; a new array, or the same one."""
        if self.whole:
            return each
        xp = array_module(each)
        out = xp.empty_like(each)
        out[xp.asarray(self.order)] = each
        return out

    def previous(self, states: Array) -> Array:
        """The state (N, H) before each row, of states (B + N, H); of a whole batch a view."""
        return states[: self.rows] if self.whole else states[array_module(states).asarray(self.before)]

    def final(self, states: Array) -> Array:
        """The state of each sequence after its last row, (B, H), of states (B + N, H); a new array."""
        return self.unsort(states[array_module(states).asarray(self.last)])


_made = lru_cache(maxsize=16)(Packing)


def packing(name: str, steps: int, batch: int, lengths: Any, reverse: bool) -> Packing:
    """The packing of a batch of ``lengths``, (B,) integers or None for T each.

    Raises TypeError in the name of operation ``name`` unless lengths are integers; ValueError where they are not one
    for each sequence, or outside 0 ... T.
    """
    if lengths is None:
        return _made(steps, batch, None, reverse)
    given = raw_of(lengths)
    each = to_numpy(given) if is_array(given) else np.asarray(given)
    if each.size and each.dtype.kind not in "iu":
        raise TypeError(f"{name}: lengths must be integers, got {each.dtype}")
    if each.shape != (batch,):
        raise ValueError(f"{name}: expected lengths ({batch},), one for each sequence, got {each.shape}")
    outside = np.flatnonzero((each < 0) | (each > steps))
    if outside.size:
        first = int(outside[0])
        raise ValueError(f"{name}: lengths must be from 0 to {steps}, but lengths[{first}] is {int(each[first])}")
    return _made(steps, batch, tuple(map(int, each)), reverse)
