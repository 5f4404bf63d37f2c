"""The short-time Fourier transform of whole recordings, librosa's, with one set of sizes for both ways."""

from dataclasses import dataclass

import librosa
import numpy as np


@dataclass(frozen=True)
class Transform:
    """Sizes of a short-time Fourier transform; the defaults are the course's, 513 frequencies.

    Attributes:
        n_fft: samples of a frame.
        hop: samples from frame to frame, at most `n_fft`.
        window: a name that `librosa.stft` and `tinygrad_hw.functional.stft` both know.
    """

    n_fft: int = 1024
    hop: int = 512
    window: str = "hann"

    def __post_init__(self) -> None:
        if not 1 <= self.hop <= self.n_fft:
            raise ValueError(f"hop {self.hop}: expected 1 to {self.n_fft} samples, the length of a frame")

    @property
    def bins(self) -> int:
        """Number of frequencies."""
        return self.n_fft // 2 + 1

    def frames(self, samples: int) -> int:
        """Number of frames of a signal."""
        return 1 + (samples + self.n_fft // 2 * 2 - self.n_fft) // self.hop

    def analyse(self, signal: np.ndarray) -> np.ndarray:
        """The spectrum of a signal: ... x samples (real) to ... x bins x frames (complex of the same precision).

        Frames are centred, zeros before the first sample and after the last. Raises ValueError where the signal is
        empty or a sample is NaN or infinite.
        """
        if signal.shape[-1] == 0:
            raise ValueError("an empty signal has no spectrum")
        require_finite(signal)
        samples = signal.shape[-1]
        if samples < self.n_fft:  # what librosa does, too, but not without a warning
            signal = np.concatenate([signal, np.zeros((*signal.shape[:-1], self.n_fft - samples), signal.dtype)], -1)
        spectrum = librosa.stft(
            signal, n_fft=self.n_fft, hop_length=self.hop, window=self.window, center=True, pad_mode="constant"
        )
        return np.asarray(spectrum[..., : self.frames(samples)])

    def synthesise(self, spectrum: np.ndarray, samples: int) -> np.ndarray:
        """The signal of `samples` samples whose spectrum is nearest to the given one: back from `analyse`."""
        return np.asarray(
            librosa.istft(spectrum, hop_length=self.hop, n_fft=self.n_fft, window=self.window, length=samples)
        )


def require_finite(signal: np.ndarray, first: int = 0) -> None:
    """Raises ValueError with the number of the first sample that is NaN or infinite, counted from `first`."""
    finite = np.isfinite(signal).all(axis=tuple(range(signal.ndim - 1)))
    if not finite.all():
        raise ValueError(f"sample {first + int(finite.argmin())} is NaN or infinite")
