"""What a net learns from: excerpts cut out of songs anywhere, their sources mixed anew, and their spectra."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experiments.audio.transform import Transform
from experiments.data.audio.music import Track
from experiments.denoising.batches import analyse, by_frame, energy
from tinygrad_hw.backend import Array, array_module, to_device
from tinygrad_hw.random import Stream

TINY = 1e-8
DRAWS = 7  # uniform numbers for one excerpt


@dataclass(frozen=True, eq=False)
class Excerpts:
    """B excerpts of T frames and K frequencies.

    Attributes:
        magnitudes: of the mixtures, T x B x K.
        target: masks Re(V X*) / |X|², but from 0 to 1, T x B x K.
        weight: of each bin's error, |X|^p; of each excerpt they add up to 1 / B.
    """

    magnitudes: Array
    target: Array
    weight: Array

    @classmethod
    def of(cls, mixture: np.ndarray, vocals: np.ndarray, power: float, transform: Transform, device: str) -> "Excerpts":
        """From signals, float32, B x N each."""
        whole, wanted = (analyse(to_device(signals, device), transform) for signals in (mixture, vocals))
        xp = array_module(whole)
        size = by_frame(energy(whole))
        shared = by_frame(wanted[..., 0] * whole[..., 0] + wanted[..., 1] * whole[..., 1])
        target = xp.clip(shared / (size + TINY), 0.0, 1.0)
        magnitudes = xp.sqrt(size)
        weight = magnitudes**power
        weight /= (weight.sum(axis=(0, 2), keepdims=True) + TINY) * len(mixture)
        return cls(magnitudes, target, weight)


class Cutter:
    """Draws excerpts.

    Args:
        tracks: songs; the longer one is, the more often an excerpt comes from it.
        samples: of an excerpt; of a song that is shorter the rest is silence.
        stream: of what is drawn.
        remix: share of the excerpts whose accompaniment is another stretch, of any song.
        level: vocals and accompaniment are each made louder or softer by up to so many dB.
    """

    def __init__(self, tracks: Sequence[Track], samples: int, stream: Stream, *, remix: float, level: float) -> None:
        self._parts = [(track.vocals, track.accompaniment) for track in tracks]
        lengths = np.array([len(track.mixture) for track in tracks], float)
        self._ends = np.cumsum(lengths / lengths.sum())
        self._samples, self._stream, self._remix, self._level = samples, stream, remix, level

    def cut(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Mixtures and vocals, float32, `count` x samples each."""
        mixtures, vocals = np.zeros((2, count, self._samples), np.float32)
        for number, draws in enumerate(self._stream.uniform((count, DRAWS), dtype=np.float64)):
            sung, played = self._place(draws[0], draws[1])
            other = self._place(draws[2], draws[3]) if draws[4] < self._remix else (sung, played)
            voice = self._gain(draws[5]) * self._piece(sung, played, 0)
            vocals[number] = voice
            mixtures[number] = voice + self._gain(draws[6]) * self._piece(*other, 1)
        return mixtures, vocals

    def _place(self, song: float, start: float) -> tuple[int, int]:
        """A song, and the sample that an excerpt of it begins at."""
        chosen = min(int(np.searchsorted(self._ends, song, side="right")), len(self._parts) - 1)
        room = max(len(self._parts[chosen][0]) - self._samples, 0)
        return chosen, int(start * (room + 1))

    def _piece(self, song: int, start: int, part: int) -> np.ndarray:
        found = self._parts[song][part][start : start + self._samples]
        return np.pad(found, (0, self._samples - len(found)))

    def _gain(self, draw: float) -> np.float32:
        return np.float32(10 ** (self._level * (2 * draw - 1) / 20))
