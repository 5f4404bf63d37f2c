"""Masking while the sound comes in: block by block, in memory that does not grow with the recording."""

from collections.abc import Callable, Iterable, Iterator

import librosa
import numpy as np
from librosa.filters import get_window

from tinygrad_hw import functional as F

from . import masks
from .transform import Transform, require_finite

Masker = Callable[[np.ndarray], np.ndarray]


class MaskingStream:
    """Takes blocks of a mixture and gives back the masked signal, as soon as each sample of it is settled.

    The result is that of the whole recording at once, `transform.synthesise(mask * transform.analyse(x), len(x))`: the
    windowed frames and the squares of their windows are added up as they come, and a sample is given out when no later
    frame can reach it, `n_fft` samples behind the input at most.

    Args:
        masker: takes the next frames of the mixture's spectrum, bins x frames (complex64, one frame at least), and
            returns a mask of that shape. It may keep a state (a recurrent net's) from call to call.
        transform: sizes of the spectrum.
        frames_at_once: how many frames the masker gets at most: what bounds the memory for long blocks.
    """

    def __init__(self, masker: Masker, transform: Transform, frames_at_once: int = 256) -> None:
        if frames_at_once < 1:
            raise ValueError(f"frames_at_once {frames_at_once}: expected 1 at least")
        self._masker, self._transform, self._most = masker, transform, frames_at_once
        margin = transform.n_fft // 2
        self._window = get_window(transform.window, transform.n_fft).astype(np.float32)
        self._waiting = np.zeros(margin, np.float32)  # input from the first sample of the next frame on
        self._sum, self._squares = np.zeros((2, transform.n_fft), np.float32)  # of all frames, from that sample on
        self._taken = 0
        self._given, self._finished = -margin, False  # the first frame begins before the signal

    def push(self, block: np.ndarray) -> np.ndarray:
        """Takes the next samples (one axis, any number of them) and returns those of the result that are settled.

        Raises ValueError where the block has several axes, a sample is NaN or infinite, the masker returns another
        shape, or the stream is finished.
        """
        self._require_open()
        if block.ndim != 1:
            raise ValueError(f"expected a block of one axis, got the shape {block.shape}")
        require_finite(block, self._taken)
        self._taken += len(block)
        return self._advance(block.astype(np.float32))

    def finish(self) -> np.ndarray:
        """Ends the recording, and returns the rest of the result: in all as many samples as came in."""
        self._require_open()
        self._finished = True
        if not self._taken:
            return np.zeros(0, np.float32)
        left = self._taken - max(self._given, 0)
        last = self._advance(np.zeros(self._transform.n_fft // 2, np.float32))
        return np.concatenate([last, self._release(len(self._sum))])[:left]

    def _require_open(self) -> None:
        if self._finished:
            raise ValueError("the stream is finished")

    def _advance(self, block: np.ndarray) -> np.ndarray:
        """Works on all whole frames that there are now."""
        self._waiting = np.concatenate([self._waiting, block])
        results = [np.zeros(0, np.float32)]
        n_fft, hop = self._transform.n_fft, self._transform.hop
        while len(self._waiting) >= n_fft:
            count = min(self._most, (len(self._waiting) - n_fft) // hop + 1)
            self._add(self._waiting[: n_fft + hop * (count - 1)], count)
            results.append(self._release(hop * count))
            self._waiting = self._waiting[hop * count :]
        return np.concatenate(results)

    def _add(self, samples: np.ndarray, count: int) -> None:
        """Masks the frames of `samples` and adds them, with room for the next ones."""
        n_fft, hop, window = self._transform.n_fft, self._transform.hop, self._window[:, None]
        mixture = librosa.stft(samples, n_fft=n_fft, hop_length=hop, window=self._transform.window, center=False)
        frames = np.fft.irfft(masks.apply(self._masker(mixture), mixture), n_fft, axis=0) * window
        squares = np.broadcast_to(window * window, frames.shape)
        room = np.zeros(hop * count, np.float32)
        self._sum, self._squares = np.append(self._sum, room), np.append(self._squares, room)
        for total, new in ((self._sum, frames), (self._squares, squares)):
            added = F.overlap_add(new, hop)
            total[: len(added)] += added

    def _release(self, count: int) -> np.ndarray:
        """The first samples of the sum, divided where a window reaches them, without those before the signal."""
        signal, squares = self._sum[:count], self._squares[:count]
        self._sum, self._squares = self._sum[count:], self._squares[count:]
        early = max(0, -self._given)
        self._given += count
        return (signal / np.where(squares > np.finfo(np.float32).tiny, squares, np.float32(1)))[early:]


def masked(blocks: Iterable[np.ndarray], masker: Masker, transform: Transform) -> Iterator[np.ndarray]:
    """The masked signal of a recording that comes in blocks, in blocks; see `MaskingStream`."""
    stream = MaskingStream(masker, transform)
    for block in blocks:
        yield stream.push(block)
    yield stream.finish()
