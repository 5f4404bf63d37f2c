"""Masks: how much of each bin of a mixture's spectrum is taken to be the wanted source."""

import librosa
import numpy as np


def ideal_binary(source: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """1 where |source| > |rest|, else 0, float32 (Wang 2005, "On ideal binary mask as the computational goal of ASA").

    Args:
        source: spectrum of what is wanted, complex or its magnitude.
        rest: of everything else in the mixture; of the same shape.

    Raises:
        ValueError: the shapes differ.
    """
    _require_equal_shapes(source, rest)
    return (np.abs(source) > np.abs(rest)).astype(np.float32)


def ideal_ratio(source: np.ndarray, rest: np.ndarray, power: float = 2.0) -> np.ndarray:
    """The share of the source, |source|^p / (|source|^p + |rest|^p), from 0 to 1; float32.

    With power 2 the Wiener filter's gain; with power 1 the ratio of magnitudes (Srinivasan, Roman and Wang 2006,
    "Binary and ratio time-frequency masks for robust speech recognition", Speech Communication 48). One half where
    both are silent.

    Args:
        source, rest: as in `ideal_binary`.
        power: above 0; as it grows, the mask becomes the binary one.

    Raises:
        ValueError: the shapes differ, or the power is not positive.
    """
    _require_equal_shapes(source, rest)
    if not power > 0:
        raise ValueError(f"power {power}: expected a number above 0")
    mask = librosa.util.softmask(np.abs(source), np.abs(rest), power=power, split_zeros=True)
    return np.asarray(mask, dtype=np.float32)


def apply(mask: np.ndarray, mixture: np.ndarray) -> np.ndarray:
    """The masked spectrum: the mixture's magnitudes times the mask, its phases kept; in the mixture's precision.

    Raises ValueError where the shapes differ.
    """
    _require_equal_shapes(mask, mixture)
    return mixture * mask.astype(mixture.real.dtype)


def _require_equal_shapes(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape:
        raise ValueError(f"shapes differ: {a.shape} and {b.shape}")
