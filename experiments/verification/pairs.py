"""Pairs of utterances: those of one speaker, and those of different ones, as the problem's mini-batches have them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tinygrad_hw.random import Stream


@dataclass(frozen=True, eq=False)
class Pairs:
    """P pairs of utterances, which are numbered speaker by speaker.

    Attributes:
        left, right: numbers of utterances, int64 P.
        same: 1 for a positive pair, of one speaker, 0 for a negative one; float32 P.
    """

    left: np.ndarray
    right: np.ndarray
    same: np.ndarray

    def __len__(self) -> int:
        return len(self.same)

    @classmethod
    def together(cls, parts: Iterable["Pairs"]) -> "Pairs":
        """All pairs of some lists, in order."""
        found = list(parts)
        return cls(*(np.concatenate([getattr(part, name) for part in found]) for name in ("left", "right", "same")))


def minibatch(speaker: int, speakers: int, each: int, count: int, stream: Stream) -> Pairs:
    """The mini-batch of a speaker: `count` positive pairs and as many negative ones.

    Positive pairs are drawn from the each (each - 1) / 2 pairs of the speaker's utterances, a negative pair is one of
    the speaker's utterances with one of anybody else's. Nothing of the speaker's own is drawn again before all of it
    was.

    Args:
        speaker: from 0 to speakers - 1.
        speakers: two at least.
        each: utterances of each speaker, two at least.
        count: L of the problem.
        stream: what is drawn from.
    """
    first, second = np.triu_indices(each, 1)
    chosen = _drawn(len(first), count, stream)
    others = stream.integers(0, (speakers - 1) * each, count)
    others += each * (others >= speaker * each)
    own = speaker * each
    return Pairs(
        np.concatenate([own + first[chosen], own + _drawn(each, count, stream)]),
        np.concatenate([own + second[chosen], others]),
        np.repeat(np.array([1, 0], np.float32), count),
    )


def _drawn(size: int, count: int, stream: Stream) -> np.ndarray:
    rounds = [stream.permutation(size) for _ in range(-(-count // size))]
    return np.concatenate(rounds)[:count]


def batches_of_all(speakers: int, each: int, count: int, stream: Stream) -> Pairs:
    """One mini-batch of each speaker."""
    return Pairs.together(minibatch(speaker, speakers, each, count, stream) for speaker in range(speakers))


def all_pairs(speakers: int, each: int) -> Pairs:
    """Every pair of different utterances, once."""
    left, right = np.triu_indices(speakers * each, 1)
    return Pairs(left, right, (left // each == right // each).astype(np.float32))
