"""Mini-batches of whole sentences: signals padded with silence, their spectra, and new mixtures of known sources."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.signal

from experiments.audio.transform import Transform
from experiments.data.audio.mixing import Example, gain_for
from experiments.data.audio.sound import resampled
from tinygrad_hw import functional as F
from tinygrad_hw.backend import Array, array_module, to_device
from tinygrad_hw.random import Stream

SPEEDS = 21  # how many there are between the slowest and the fastest


@dataclass(frozen=True, eq=False)
class Pair:
    """A mixture and the speech in it: float32, N each."""

    mixture: np.ndarray
    speech: np.ndarray


@dataclass(frozen=True, eq=False)
class Batch:
    """What a net learns from in one step; B sentences of up to N samples or T frames, K frequencies; zero beyond.

    Attributes:
        speech: signals, B x N.
        inside: 1 up to a sentence's end, then 0, B x N.
        spectra: of the mixtures, B x K x T x 2, real and imaginary part.
        magnitudes: of the mixtures, T x B x K.
        target: ideal binary masks, T x B x K.
        cost: by how much the energy of the error grows when a bin's binary mask is wrong, | |S|² - |N|² |, T x B x K.
        lengths: frames of each sentence, int64.
    """

    speech: Array
    inside: Array
    spectra: Array
    magnitudes: Array
    target: Array
    cost: Array
    lengths: np.ndarray

    @classmethod
    def of(cls, pairs: Sequence[Pair], transform: Transform, device: str) -> "Batch":
        """Puts sentences together.

        Each is cut off after a whole number of hops, so that its last frame has its middle at the end, no later frame
        reaches back into it, and padding changes nothing.
        """
        hop = transform.hop
        counts = np.array([max(len(pair.speech) // hop, 1) for pair in pairs])
        signals = np.zeros((2, len(pairs), hop * int(counts.max())), np.float32)
        for number, (pair, count) in enumerate(zip(pairs, counts, strict=True)):
            kept = min(hop * count, len(pair.speech))
            signals[0, number, :kept], signals[1, number, :kept] = pair.mixture[:kept], pair.speech[:kept]
        mixture, speech = to_device(signals, device)
        spectra, wanted = (analyse(signal, transform) for signal in (mixture, speech))
        energies = [by_frame(energy(part)) for part in (wanted, spectra - wanted)]
        xp = array_module(spectra)
        target = (energies[0] > energies[1]).astype(spectra.dtype)
        magnitudes = xp.sqrt(by_frame(energy(spectra)))
        cost = xp.abs(energies[0] - energies[1])
        lengths = counts + 1
        frames = np.arange(magnitudes.shape[0])[:, None, None] < lengths[:, None]
        cost *= to_device(frames.astype(np.float32), device)
        inside = np.arange(signals.shape[-1]) < hop * counts[:, None]
        return cls(speech, to_device(inside.astype(np.float32), device), spectra, magnitudes, target, cost, lengths)


def analyse(signals: Array, transform: Transform) -> Array:
    """Spectra ... x K x T x 2 of signals on any device, equal to librosa's."""
    return F.stft(signals, transform.n_fft, transform.hop, window=transform.window)


def synthesise(spectra: Any, transform: Transform, samples: int) -> Any:
    """Signals of spectra: back from `analyse`, differentiable."""
    return F.istft(spectra, transform.n_fft, transform.hop, window=transform.window, length=samples)


def energy(spectra: Array) -> Array:
    """|X|² of pairs of real and imaginary part."""
    return spectra[..., 0] ** 2 + spectra[..., 1] ** 2  # a sum over so short an axis is many times slower


def by_frame(values: Array) -> Array:
    """B x K x T to T x B x K, the order of the recurrent layers; contiguous."""
    return array_module(values).ascontiguousarray(values.transpose(2, 0, 1))


@dataclass(frozen=True)
class Changes:
    """How new mixtures differ from those of the data; 0 for not at all.

    Attributes:
        spread: the ratio of speech to noise is more or less than the example's by up to so many dB.
        level: the mixture is softer or louder by up to so many dB.
        speed: speech is played faster or slower by up to this share, which changes voice and length.
        noise_speed: so is noise, and every other time backwards.
        colour: speech and noise pass through a random filter each, see `coloured`.
    """

    spread: float
    level: float
    speed: float
    noise_speed: float
    colour: float


class Mixer:
    """Where the training pairs come from: as they were mixed, or mixed anew each time.

    Args:
        examples: with known sources.
        stream: of what is drawn.
        changes: see Changes.
        rate: samples a second.
    """

    def __init__(self, examples: Sequence[Example], stream: Stream, changes: Changes, rate: int) -> None:
        self._examples, self._stream, self._changes, self._rate = examples, stream, changes, rate
        self._kinds: dict[str, list[int]] = {}
        for number, example in enumerate(examples):
            self._kinds.setdefault(example.kind, []).append(number)

    def as_they_are(self, indices: np.ndarray) -> list[Pair]:
        """The mixtures of the data."""
        return [pair_of(self._examples[i]) for i in indices]

    def anew(self, indices: np.ndarray) -> list[Pair]:
        """The speech of each example with another stretch of noise of the same kind, at another ratio and level."""
        drawn = self._stream.uniform((len(indices), 15), dtype=np.float64)
        return [self._mixed(self._examples[i], row) for i, row in zip(indices, drawn, strict=True)]

    def _mixed(self, example: Example, drawn: np.ndarray) -> Pair:
        assert example.speech is not None and example.noise is not None
        others, changes = self._kinds[example.kind], self._changes
        found = self._examples[others[int(drawn[0] * len(others))]]
        assert found.background is not None
        speech = coloured(self._played(example.speech, changes.speed, drawn[1]), changes.colour, drawn[7:11])
        start = int(drawn[2] * len(found.background))
        noise = np.roll(found.background, -start)
        if changes.noise_speed:
            noise = self._played(noise[:: 1 if drawn[5] < 0.5 else -1], changes.noise_speed, drawn[6])
        noise = coloured(np.resize(noise, len(speech)), changes.colour, drawn[11:])
        ratio = ratio_of(example) + changes.spread * (2 * drawn[3] - 1)
        if not noise.any():
            return pair_of(example)
        noise = np.float32(gain_for(speech, noise, ratio)) * noise
        gain = np.float32(10 ** (changes.level * (2 * drawn[4] - 1) / 20))
        return Pair(gain * (speech + noise), gain * speech)

    def _played(self, samples: np.ndarray, most: float, drawn: float) -> np.ndarray:
        """At another speed, slower or faster by up to `most`."""
        step = round(drawn * (SPEEDS - 1)) / (SPEEDS - 1)
        return resampled(samples, self._rate, round(self._rate * (1 + most * (2 * step - 1))))


def coloured(samples: np.ndarray, most: float, drawn: np.ndarray) -> np.ndarray:
    """Through (1 + a z⁻¹ + b z⁻²) / (1 + c z⁻¹ + d z⁻²), as another room and microphone would change a sound.

    Valin 2018, "A hybrid DSP/deep learning approach to real-time full-band speech enhancement", eq. 7, with the limit
    3/8, at which the filter is stable.

    Args:
        samples: float32, N.
        most: the four coefficients are from -most to most; 0 leaves the samples as they are.
        drawn: four numbers from 0 to 1.
    """
    if not most:
        return samples
    a, b, c, d = most * (2 * drawn - 1)
    return np.asarray(scipy.signal.lfilter([1, a, b], [1, c, d], samples), np.float32)


def pair_of(example: Example) -> Pair:
    """A mixture of the data with its speech, which must be known."""
    assert example.speech is not None
    return Pair(example.mixture, example.speech)


def ratio_of(example: Example) -> float:
    """Of speech to noise, dB."""
    assert example.speech is not None and example.noise is not None
    energies = [float(np.square(signal, dtype=np.float64).sum()) for signal in (example.speech, example.noise)]
    return 10 * float(np.log10(energies[0] / max(energies[1], 1e-12)))
