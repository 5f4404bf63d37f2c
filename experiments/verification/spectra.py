"""What the net is given of an utterance: the logarithm of its spectrum's magnitudes, all utterances equally loud."""

import numpy as np

from experiments.audio.transform import Transform
from tinygrad_hw.backend import Array, to_device
from tinygrad_hw.random import Stream

FLOOR = 0.1  # added to magnitudes before the logarithm; white noise as loud as all utterances has about 20
RIPPLES = 6  # cosines that a random colour is made of


def equally_loud(signals: np.ndarray) -> np.ndarray:
    """Signals (... x samples) with a root mean square of 1: how close a microphone stood tells nothing of a voice."""
    level = np.sqrt(np.mean(np.square(signals, dtype=np.float64), axis=-1, keepdims=True))
    return np.asarray(signals / np.maximum(level, np.finfo(np.float32).tiny), np.float32)


def spectra(signals: np.ndarray, transform: Transform, device: str) -> Array:
    """log(FLOOR + |X|) of utterances of one length: U x samples to frames x U x bins, float32, on the device."""
    rows = [np.log(np.abs(transform.analyse(signal)) + np.float32(FLOOR)).T for signal in equally_loud(signals)]
    return to_device(np.stack(rows, axis=1), device)


def recoloured(signals: np.ndarray, stream: Stream, decibels: float) -> np.ndarray:
    """Each signal as if another microphone had heard it: through a smooth random filter of its own.

    The filter's gain is a sum of cosines along the logarithm of frequency from 60 Hz (at 16 kHz) to half the rate, with
    normal amplitudes; its phase is zero.

    Args:
        signals: U x samples.
        stream: of the amplitudes.
        decibels: standard deviation of the gain at a frequency, over the filters.
    """
    count, samples = signals.shape
    place = np.linspace(0, 1, samples // 2 + 1)
    place = np.log(np.maximum(place, 1 / 128)) / np.log(128) + 1
    waves = np.cos(np.pi * np.outer(np.arange(1, RIPPLES + 1), place))
    gains = decibels * np.sqrt(2 / RIPPLES) * stream.normal((count, RIPPLES), dtype=np.float64) @ waves
    return np.fft.irfft(np.fft.rfft(signals) * 10 ** (gains / 20), samples).astype(np.float32)
