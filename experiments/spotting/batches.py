"""How a mini-batch of sounds is made: nine techniques, each a switch."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from experiments.data.audio.keywords import SILENCE, UNKNOWN, Clips
from tinygrad_hw.random import Stream

TECHNIQUES = {
    "augmentation": "augmentation",
    "balancing": "class balancing",
    "shift": "random time shift",
    "padding": "zero padding",
    "scaling": "amplitude scaling",
    "noise": "background noise",
    "unknown": "unknown class",
    "control": "controlled ratio of amplitudes",
    "silence": "silence",
}


@dataclass(frozen=True)
class Recipe:
    """Which techniques make a batch; the names are the keys of TECHNIQUES."""

    augmentation: bool = True
    balancing: bool = True
    shift: bool = True
    padding: bool = True
    scaling: bool = True
    noise: bool = True
    unknown: bool = True
    control: bool = True
    silence: bool = True


RECIPES: dict[str, Recipe] = {
    "all": Recipe(),
    "none": Recipe(**{field.name: False for field in fields(Recipe)}),
    **{f"without_{name}": replace(Recipe(), **{name: False}) for name in TECHNIQUES},
}


@dataclass(frozen=True)
class Strengths:
    """How much of each.

    Attributes:
        speed: augmentation plays a clip faster or slower by a share of at most this, which moves pitch and formants.
        shift: seconds, at most, earlier or later.
        scaling: decibels, at most, louder or softer.
        noise_share: share of the examples that get noise.
        ratios: least and greatest ratio of speech to noise in decibels, where it is controlled.
    """

    speed: float
    shift: float
    scaling: float
    noise_share: float
    ratios: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Batch:
    """Examples, and what was done to them.

    Attributes:
        sounds: float32, B x samples.
        labels: int64, B.
        chosen: B, which clips they are made of.
        stages: by technique, the sounds after it; of a batch that is to be shown.
    """

    sounds: np.ndarray
    labels: np.ndarray
    chosen: np.ndarray
    stages: dict[str, np.ndarray]


class Maker:
    """Makes batches from the clips of one part of the data.

    Args:
        clips: the part.
        names: of the classes.
        rate: samples a second.
        recipe: which techniques.
        strengths: of them.
    """

    def __init__(self, clips: Clips, names: tuple[str, ...], rate: int, recipe: Recipe, strengths: Strengths) -> None:
        self._clips, self._recipe, self._strengths, self._rate = clips, recipe, strengths, rate
        left_out = {UNKNOWN: not recipe.unknown, SILENCE: not recipe.silence}
        self._silence = names.index(SILENCE)
        self.classes = [label for label, name in enumerate(names) if not left_out.get(name)]
        self._by_class = [np.flatnonzero(clips.labels == label) for label in self.classes]
        self._usable = np.concatenate(self._by_class)
        self._backgrounds = list(clips.backgrounds.values())

    def __len__(self) -> int:
        """How many clips can be chosen."""
        return len(self._usable)

    def batch(self, size: int, stream: Stream, *, keep: bool = False) -> Batch:
        """Draws a batch; with `keep` the sounds are kept as they were after each technique."""
        recipe, strengths = self._recipe, self._strengths
        chosen = self._choose(size, stream)
        labels, lengths = self._clips.labels[chosen], self._clips.lengths[chosen]
        sounds, stages = self._clips.clips[chosen], dict[str, np.ndarray]()
        if keep:
            stages["recorded"] = sounds
        # Every draw is made whether it is used or not, so that recipes differ in what they use alone.
        drawn = stream.uniform((5, size), dtype=np.float64)
        speed = 1 + strengths.speed * (2 * drawn[0] - 1) * recipe.augmentation
        start = np.round(strengths.shift * self._rate * (2 * drawn[1] - 1)) * recipe.shift
        gain = 10 ** (strengths.scaling * (2 * drawn[2] - 1) * recipe.scaling / 20)
        for name, rows in (("augmentation", (speed, 0 * start)), ("shift", (speed, start))):
            if keep and getattr(recipe, name):
                stages[name] = placed(self._clips.clips[chosen], lengths, *rows, zeros=recipe.padding)
        if recipe.augmentation or recipe.shift or (lengths < sounds.shape[1]).any():
            sounds = placed(sounds, lengths, speed, start, zeros=recipe.padding)
        sounds = sounds * gain[:, None].astype(np.float32)
        if keep and recipe.scaling:
            stages["scaling"] = sounds
        if recipe.noise and self._backgrounds:
            noisy = drawn[3] < strengths.noise_share
            sounds = sounds + noisy[:, None] * self._noise(sounds, labels, drawn[4], stream)
            if keep:
                stages["noise"] = sounds
        return Batch(sounds, labels, chosen, stages)

    def _choose(self, size: int, stream: Stream) -> np.ndarray:
        """Clips: each as likely as any other, or with balancing each class as likely as any other."""
        first, second = stream.uniform((2, size), dtype=np.float64)
        if not self._recipe.balancing:
            return self._usable[(first * len(self._usable)).astype(np.int64)]
        groups = [self._by_class[int(place)] for place in first * len(self.classes)]
        return np.array([group[int(place * len(group))] for group, place in zip(groups, second, strict=True)])

    def _noise(self, sounds: np.ndarray, labels: np.ndarray, level: np.ndarray, stream: Stream) -> np.ndarray:
        """A stretch of a background for each sound: in a wanted ratio to it, or as loud as it happens to be."""
        pieces = stretches(self._backgrounds, sounds, stream)
        gains = level  # of the recording's own level
        if self._recipe.control:
            low, high = self._strengths.ratios
            controlled = ratio_gains(sounds, pieces, low + (high - low) * level)
            gains = np.where(labels == self._silence, level, controlled)  # nobody speaks: no ratio to control
        return pieces * gains[:, None].astype(np.float32)


def stretches(backgrounds: Sequence[np.ndarray], sounds: np.ndarray, stream: Stream) -> np.ndarray:
    """For each of the sounds, N x samples, as much of a background, drawn with its place; a short one repeats."""
    size = sounds.shape[1]
    which, where = stream.uniform((2, len(sounds)), dtype=np.float64)
    pieces = np.empty_like(sounds)
    for row, (kind, place) in enumerate(zip(which, where, strict=True)):
        recording = backgrounds[int(kind * len(backgrounds))]
        first = int(place * max(1, len(recording) - size))
        pieces[row] = np.resize(recording[first : first + size], size)
    return pieces


def placed(sounds: np.ndarray, lengths: np.ndarray, speed: np.ndarray, start: np.ndarray, *, zeros: bool) -> np.ndarray:
    """Clips at another speed, later by some samples, as long as before.

    Args:
        sounds: N x samples.
        lengths: N, how many of them were recorded.
        speed: N, 1 as recorded, about the middle of the clip.
        start: N, samples; negative for earlier.
        zeros: whether what is left empty is filled with zeros; else the clip goes round.

    Returns:
        the same shape, between samples by straight lines.
    """
    count, size = sounds.shape
    middle = (size - 1) / 2
    at = (np.arange(size) - middle) * speed[:, None] + (middle - start * speed)[:, None]
    recorded = lengths[:, None]
    if not zeros:
        at %= recorded
    low = np.floor(at).astype(np.int64)
    part = (at - low).astype(np.float32)
    rows = np.arange(count)[:, None]
    ends = []
    for place in (low, low + 1):
        inside = (place >= 0) & (place < recorded)
        found = sounds[rows, np.where(inside, place, 0)]
        ends.append(np.where(inside, found, 0) if zeros else found)
    return np.asarray(ends[0] + part * (ends[1] - ends[0]))


def ratio_gains(speech: np.ndarray, noise: np.ndarray, decibels: np.ndarray | float) -> np.ndarray:
    """What to multiply noises by for a ratio of power, speech to noise, float64 N; 0 for noise that is silent."""
    powers = [np.mean(np.square(sounds, dtype=np.float64), axis=1) for sounds in (speech, noise)]
    quotient = np.divide(powers[0], powers[1], out=np.zeros(len(speech)), where=powers[1] > 0)
    return np.asarray(np.sqrt(quotient * 10 ** (-np.asarray(decibels) / 10)))
