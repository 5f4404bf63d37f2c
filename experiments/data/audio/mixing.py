"""Speech and noise put together: who and which part of a noise goes where, at which ratio."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tinygrad_hw.random import Stream

PARTS = ("train", "validation", "test")
SHARES = (0.6, 0.2, 0.2)  # of the speakers, and of each noise in time
BLOCK = 64  # samples: how finely places in a noise are told apart


@dataclass(frozen=True, eq=False)
class Example:
    """A mixture and, except in the course's `te`, what it is made of.

    Attributes:
        name: as the course names its files, without the letter of the kind: `tr0012`.
        speaker: who speaks; empty where it is not known.
        kind: of noise; empty where it is not known.
        speech: float32, N; None where it is not known. Mixtures with the same sentence share it.
        background: the noise before `gain` is put on it; None where it is not known.
        gain: of the background.
        recorded: the mixture where it was read from a file.
        origin: which sentence and which part of which noise it was mixed from; empty for what was not mixed here.
    """

    name: str
    speaker: str
    kind: str
    speech: np.ndarray | None
    background: np.ndarray | None
    gain: float = 1.0
    recorded: np.ndarray | None = None
    origin: tuple[str, str] = ("", "")

    @property
    def noise(self) -> np.ndarray | None:
        """float32, N: gain times background."""
        return None if self.background is None else np.float32(self.gain) * self.background

    @property
    def mixture(self) -> np.ndarray:
        """float32, N: what was recorded, else speech + noise."""
        if self.recorded is not None:
            return self.recorded
        assert self.speech is not None and self.background is not None
        return self.speech + np.float32(self.gain) * self.background

    def __len__(self) -> int:
        known = self.recorded if self.recorded is not None else self.speech
        assert known is not None
        return len(known)


@dataclass(frozen=True, eq=False)
class Sentence:
    """What somebody says: the speaker, float32 samples, and where they are from."""

    speaker: str
    samples: np.ndarray
    origin: str


@dataclass(frozen=True, eq=False)
class Noise:
    """A stretch of a recording: float32 samples, the recording, and which sample of it is the first here."""

    samples: np.ndarray
    origin: str
    first: int = 0

    def parts(self) -> tuple["Noise", "Noise", "Noise"]:
        """The stretches for training, validation and test, see `segments`."""
        train, validation, test = segments(self.samples)
        second = self.first + len(train)
        return (
            Noise(train, self.origin, self.first),
            Noise(validation, self.origin, second),
            Noise(test, self.origin, second + len(validation)),
        )


def segments(noise: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first 60 % of a recording for training, the next 20 % for validation, the last 20 % for testing; views."""
    ends = np.round(np.cumsum((0.0, *SHARES)) * len(noise)).astype(int)
    train, validation, test = (noise[a:b] for a, b in itertools.pairwise(ends))
    return train, validation, test


def piece(noise: np.ndarray, count: int, stream: Stream) -> tuple[np.ndarray, int]:
    """`count` samples from a random place of a noise, repeated from its beginning when it is shorter, and the place.

    Recordings have quiet stretches, which no gain should raise to the level of speech: places where the mean square is
    more than 10 dB below that of the whole are never taken, unless there is no other.
    """
    if len(noise) < count:
        noise = np.tile(noise, -(-count // len(noise)) + 1)
    blocks = np.square(noise[: len(noise) // BLOCK * BLOCK]).reshape(-1, BLOCK).mean(axis=1, dtype=np.float64)
    along = np.concatenate([[0.0], np.cumsum(blocks)])
    span = max(1, count // BLOCK)
    starts = np.arange(0, max(1, min(len(noise) - count, len(blocks) * BLOCK - span * BLOCK) + 1), BLOCK)
    first = starts // BLOCK
    power = (along[np.minimum(first + span, len(blocks))] - along[first]) / span
    loud = np.flatnonzero(power >= 0.1 * blocks.mean()) if len(blocks) else np.zeros(1, int)
    chosen = loud if len(loud) else power.argmax()[None]
    start = int(starts[chosen[int(stream.integers(0, len(chosen), 1)[0])]])
    return noise[start : start + count], start


def gain_for(speech: np.ndarray, noise: np.ndarray, snr: float) -> float:
    """What to multiply noise by: 10 log10(sum s^2 / sum (g n)^2) = snr. Raises ValueError for silent noise."""
    level = _rms(noise)
    if level == 0:
        raise ValueError("noise without any sound in it, no gain gives it a ratio to speech")
    return float(_rms(speech) / level * 10 ** (-snr / 20))


def mix(
    part: str,
    sentences: Sequence[Sentence],
    noises: Mapping[str, Noise],
    snr: float,
    stream: Stream,
    rate: int,
) -> list[Example]:
    """Every sentence with every noise, in the order of the course: all noises of the first sentence, then the second.

    Args:
        part: the course's prefix, `tr`, `v` or `te`.
        sentences: in order.
        noises: by kind, the part of each recording that is meant for this part of the data.
        snr: dB, over the whole of a sentence.
        stream: of the places in the noises.
        rate: samples a second, to tell origins.

    Returns:
        Examples, whose mixtures stay within full scale: a sentence that would not is made softer in all of them.
    """
    examples = []
    for index, sentence in enumerate(sentences):
        speech = sentence.samples
        found = [piece(noise.samples, len(speech), stream) for noise in noises.values()]
        places = [place for place, _ in found]
        gains = [gain_for(speech, place, snr) for place in places]
        peak = max(
            max(float(np.abs(speech + np.float32(gain) * place).max()), gain * float(np.abs(place).max()))
            for gain, place in zip(gains, places, strict=True)
        )
        down = min(1.0, 0.99 / max(peak, float(np.abs(speech).max())))
        softer = speech * np.float32(down) if down < 1 else speech
        for number, (kind, gain, (place, start)) in enumerate(zip(noises, gains, found, strict=True)):
            name = f"{part}{index * len(noises) + number:04d}"
            origin = (sentence.origin, f"{noises[kind].origin} from {(noises[kind].first + start) / rate:.3f} s")
            examples.append(Example(name, sentence.speaker, kind, softer, place, gain * down, origin=origin))
    return examples


def allot(
    speakers: Mapping[str, int], wanted: Sequence[int], stream: Stream
) -> tuple[list[tuple[str, int]], list[tuple[str, int]], list[tuple[str, int]]]:
    """Whose sentences may go into training, validation and test: no speaker into two of them.

    Args:
        speakers: how many sentences each has.
        wanted: how many sentences each part shall have; it gets speakers in this ratio, at least one.
        stream: of who goes where.

    Returns:
        For each part `(speaker, number of the sentence)`, the first of every speaker before the second of any.

    Raises:
        ValueError: fewer than three speakers.
    """
    names = sorted(name for name, count in speakers.items() if count)
    if len(names) < len(PARTS):
        raise ValueError(f"{len(names)} speakers, expected at least {len(PARTS)}: one each for {', '.join(PARTS)}")
    names = [names[i] for i in stream.permutation(len(names))]
    first = round(wanted[0] / sum(wanted) * len(names))
    first = min(max(first, 1), len(names) - 2)
    second = first + round(wanted[1] / (wanted[1] + wanted[2]) * (len(names) - first))
    second = min(max(second, first + 1), len(names) - 1)
    groups = names[:first], names[first:second], names[second:]
    train, validation, test = (
        [(name, number) for number, name in sorted((n, name) for name in group for n in range(speakers[name]))]
        for group in groups
    )
    return train, validation, test


def _rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
