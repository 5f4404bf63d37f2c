"""What nets are given of a sound: log-mel spectrum and mel-frequency cepstral coefficients.

Frequencies run along the last axis but one, frames along the last, as in librosa.
"""

import warnings
from functools import lru_cache

import librosa
import numpy as np
from librosa.filters import mel

from .transform import Transform

FLOOR = 1e-10  # of power, below which all is silence


def log_mel(
    signal: np.ndarray,
    rate: int,
    *,
    transform: Transform,
    bands: int = 40,
    low: float = 20.0,
    high: float | None = None,
    floor: float = FLOOR,
) -> np.ndarray:
    """The natural logarithm of the power in bands of equal width on the mel scale.

    log max(floor, Σ_k W[b, k] |X[k, t]|²), with librosa's triangular filters W of equal area (Slaney 1998, "Auditory
    Toolbox", Interval Research Technical Report 1998-010).

    Args:
        signal: ... x samples, real.
        rate: samples a second.
        transform: sizes of its spectrum X.
        bands: number of filters.
        low, high: the lowest and the highest frequency in hertz; default of the highest: half the rate.
        floor: of the power, so that silence has a logarithm.

    Returns:
        ... x bands x frames, in the signal's precision.

    Raises:
        ValueError: the signal is empty or not finite, a frequency is out of range, or there are more bands than the
            spectrum can tell apart.
    """
    filters = _filters(rate, transform.n_fft, bands, low, rate / 2 if high is None else high)
    power = np.abs(transform.analyse(signal)) ** 2
    return np.log(np.maximum(filters.astype(power.dtype) @ power, power.dtype.type(floor)))


@lru_cache(maxsize=16)
def _filters(rate: int, n_fft: int, bands: int, low: float, high: float) -> np.ndarray:
    if not 0 <= low < high <= rate / 2:
        raise ValueError(f"bands from {low:g} to {high:g} Hz: expected 0 ≤ low < high ≤ {rate / 2:g}, half the rate")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Empty filters detected")
        filters = mel(sr=rate, n_fft=n_fft, n_mels=bands, fmin=low, fmax=high, dtype=np.float64)
    empty = int((filters.max(axis=1) == 0).sum())
    if empty:
        raise ValueError(f"{empty} of {bands} bands hold no frequency of a spectrum of {n_fft // 2 + 1}: ask for fewer")
    return np.asarray(filters)


def mfcc(signal: np.ndarray, rate: int, *, transform: Transform, count: int = 13, bands: int = 40) -> np.ndarray:
    """Mel-frequency cepstral coefficients: the first of the orthonormal cosine transform of `log_mel` along the bands.

    (Davis and Mermelstein 1980, "Comparison of parametric representations for monosyllabic word recognition", IEEE
    Trans. ASSP 28.) Arguments and errors are those of `log_mel`; `count` is how many coefficients, at most `bands`.

    Returns:
        ... x count x frames.
    """
    if not 1 <= count <= bands:
        raise ValueError(f"{count} coefficients: expected 1 to {bands}, the number of bands")
    logarithms = log_mel(signal, rate, transform=transform, bands=bands)
    return np.asarray(librosa.feature.mfcc(S=logarithms, n_mfcc=count, dct_type=2, norm="ortho"))
