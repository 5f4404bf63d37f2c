"""How good a recovered signal is, in decibels, and whether it can be listened to at all."""

from dataclasses import dataclass

import numpy as np
import scipy.signal

FULL = 0.999  # of full scale: samples at or beyond it count as clipped


def snr(reference: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """Signal-to-noise ratio in dB, 10 log10(Σ s² / Σ (s - ŝ)²), the noise being all that differs from the reference.

    Args:
        reference: ... x samples, the true source s.
        estimate: of the same shape, ŝ.

    Returns:
        one number for each signal (float64), infinite where the two are equal.

    Raises:
        ValueError: shapes differ, there are no samples, one is NaN or infinite, or a reference is silent.
    """
    s, e = _pair(reference, estimate)
    return _decibels((s * s).sum(axis=-1), ((s - e) ** 2).sum(axis=-1))


def si_snr(reference: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """Scale-invariant signal-to-noise ratio in dB: `snr` against the multiple of the reference nearest to the estimate.

    10 log10(|α s|² / |α s - ŝ|²) with α = <ŝ, s> / |s|² (Le Roux, Wisdom, Erdogan and Hershey 2019, "SDR: half-baked or
    well done?", ICASSP, eq. 3 and 4). Means are not removed, as there. Arguments and errors as in `snr`; minus infinity
    for an estimate without anything of the reference in it.
    """
    s, e = _pair(reference, estimate)
    target = ((e * s).sum(axis=-1) / (s * s).sum(axis=-1))[..., None] * s
    return _decibels((target * target).sum(axis=-1), ((target - e) ** 2).sum(axis=-1))


@dataclass(frozen=True)
class Heard:
    """What an ear would notice first.

    Attributes:
        level: root mean square in dB of full scale; minus infinity for silence.
        clipped: share of the samples at full scale.
        shift: samples by which the estimate lags behind the reference.
    """

    level: float
    clipped: float
    shift: int


def hear(reference: np.ndarray, estimate: np.ndarray) -> Heard:
    """Level and clipping of one recovered signal, and its shift, where the correlation with the reference is greatest.

    Args:
        reference, estimate: one-dimensional, of one length.

    Raises:
        ValueError: as in `snr`, or there is more than one signal.
    """
    s, e = _pair(reference, estimate)
    if s.ndim != 1:
        raise ValueError(f"expected one signal, got the shape {s.shape}")
    correlation = scipy.signal.correlate(e, s, mode="full", method="fft")
    shift = int(np.abs(correlation).argmax()) - (len(s) - 1) if e.any() else 0
    mean = float((e * e).mean())
    level = 10 * np.log10(mean) if mean else -np.inf
    return Heard(float(level), float((np.abs(e) >= FULL).mean()), shift)


def _pair(reference: np.ndarray, estimate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if reference.shape != estimate.shape or reference.ndim == 0 or reference.shape[-1] == 0:
        raise ValueError(f"expected two signals of one shape, got {reference.shape} and {estimate.shape}")
    s, e = reference.astype(np.float64), estimate.astype(np.float64)
    for name, signal in (("reference", s), ("estimate", e)):
        if not np.isfinite(signal).all():
            raise ValueError(f"the {name} has samples that are NaN or infinite")
    if not (s != 0).any(axis=-1).all():
        raise ValueError("the reference is silent: no ratio to it is defined")
    return s, e


def _decibels(signal: np.ndarray, noise: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.asarray(10 * np.log10(np.divide(signal, noise)))
