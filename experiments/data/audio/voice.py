"""A speaker's voice: pulses of the vocal folds and noise, shaped by the resonances of a vocal tract.

Source and filter after G. Fant, "Acoustic theory of speech production", 1960. Pulses: the derivative of the glottal
flow of A. E. Rosenberg (type C, JASA 49, 1971), read from a table by the phase of the pitch. Filter: a cascade of
resonances,

    H(z) = prod_i (1 - 2 r_i cos t_i + r_i^2) / (1 - 2 r_i cos t_i z^-1 + r_i^2 z^-2),
    r = exp(-pi B / rate),  t = 2 pi F / rate,

applied to windows of 16 ms, half of each over the next, by their spectra: so a second of sound takes two milliseconds.
"""

from dataclasses import dataclass

import numpy as np
from scipy import fft

from tinygrad_hw.random import Stream

RATE = 16_000
HOP, WINDOW, SIZE = 128, 256, 512
TABLE = 1 << 14
BINS = SIZE // 2 + 1
BANDWIDTHS = (60.0, 90.0, 150.0)  # of the first three formants, Hz
_ANGLES = np.linspace(0.0, np.pi, BINS)
_Z = np.exp(-1j * _ANGLES).astype(np.complex64)  # z^-1 on the unit circle
_Z2 = _Z * _Z
_HERTZ = (_ANGLES * RATE / (2 * np.pi)).astype(np.float32)
_HANN = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)


@dataclass(frozen=True)
class Voice:
    """What is a speaker's own.

    Attributes:
        pitch: mean frequency of the vocal folds, Hz.
        range: how far the pitch rises and falls, semitones.
        tract: length of the vocal tract against a man's; formants are divided by it.
        accent: three factors on the formants, beside that.
        higher: formants four to eight, as far as the rate holds them, Hz.
        tilt: how steeply the harmonics fall beside the pulse's own slope, as a power of their number; below 0 less.
        opening: the part of a period in which the vocal folds are open.
        breath: noise beside the pulses.
        pace: how fast, 1 is medium.
        tremor: how irregular the pitch is, semitones.
    """

    pitch: float
    range: float
    tract: float
    accent: tuple[float, float, float]
    higher: tuple[float, ...]
    tilt: float
    opening: float
    breath: float
    pace: float
    tremor: float

    @classmethod
    def draw(cls, stream: Stream) -> "Voice":
        """A voice at random: half of them low with long tracts, half high with short ones."""
        u = stream.uniform(24).astype(float)
        high = u[0] < 0.5
        low_pitch, octave = (165.0, 0.55) if high else (82.0, 0.80)
        tract = (0.84 if high else 0.96) + 0.11 * u[1]
        higher = (3500 + 1000 * np.arange(5)) / tract * (1.0 + 0.08 * (u[7:12] - 0.5))
        return cls(
            pitch=float(low_pitch * 2.0 ** (octave * u[2])),
            range=float(1.5 + 3.0 * u[3]),
            tract=float(tract),
            accent=tuple((1.0 + 0.12 * (u[4:7] - 0.5)).tolist()),
            higher=tuple(higher[higher < 0.48 * RATE].tolist()),
            tilt=float(-0.55 + 0.7 * u[12]),
            opening=float(0.45 + 0.3 * u[13]),
            breath=float(0.002 * 10 ** u[14]),
            pace=float(0.85 + 0.35 * u[15]),
            tremor=float(0.05 + 0.2 * u[16]),
        )

    def pulse(self, pitch: float) -> np.ndarray:
        """One period of the derivative of the flow, float32, with unit mean square and harmonics below RATE / 2."""
        at = np.arange(TABLE) / TABLE
        rise = 0.7 * self.opening
        fall = self.opening - rise
        flow = np.where(at < rise, 0.5 - 0.5 * np.cos(np.pi * at / rise), 0.0)
        flow = np.where((at >= rise) & (at < self.opening), np.cos(np.pi * (at - rise) / (2 * fall)), flow)
        harmonics = np.fft.rfft(np.diff(flow, append=flow[:1]))
        number = np.arange(1, len(harmonics))
        harmonics[1:] *= number**-self.tilt
        harmonics[0] = 0.0
        harmonics[max(2, int(0.5 * RATE / pitch)) :] = 0.0
        wave = np.fft.irfft(harmonics)
        return (wave / np.sqrt(np.mean(wave**2))).astype(np.float32)


@dataclass
class Tracks:
    """How the tract and its excitation move, one row every HOP samples.

    Attributes:
        formants: T x 3, Hz, of this speaker.
        voice, breath, hiss: T, levels.
        centre, width: T, Hz, of the hiss.
        pitch: T, Hz.
    """

    formants: np.ndarray
    voice: np.ndarray
    breath: np.ndarray
    hiss: np.ndarray
    centre: np.ndarray
    width: np.ndarray
    pitch: np.ndarray


def render(voice: Voice, tracks: Tracks, stream: Stream) -> np.ndarray:
    """Sound of moving tracks: float32, T x HOP samples at RATE, not scaled to any level."""
    count = HOP * len(tracks.pitch)
    at = np.arange(count, dtype=np.float32) / HOP - 0.5
    rows = np.arange(len(tracks.pitch), dtype=np.float32)
    phase = np.cumsum(np.interp(at, rows, tracks.pitch) / RATE)
    cycle = (phase % 1.0 * TABLE).astype(np.int32)
    noise = stream.uniform((2, count), -1.732, 1.732)
    level = np.interp(at, rows, tracks.voice).astype(np.float32)
    breath = np.interp(at, rows, tracks.breath + voice.breath * tracks.voice).astype(np.float32)
    source = level * voice.pulse(float(np.mean(tracks.pitch)))[cycle] + breath * noise[0]
    spectra = _spectra(source) * _tract(voice, _midway(tracks.formants))
    hissing = np.flatnonzero(_midway(tracks.hiss) > 1e-3)  # most windows have none
    if hissing.size:
        level = np.interp(at, rows, tracks.hiss).astype(np.float32)
        away = (_HERTZ - _midway(tracks.centre)[hissing, None]) / _midway(tracks.width)[hissing, None]
        spectra[hissing] += _spectra(level * noise[1])[hissing] * np.exp(-0.5 * away * away)
    return _overlapped(fft.irfft(spectra, SIZE, axis=1), count)


def _midway(track: np.ndarray) -> np.ndarray:
    """Values at the middle of each window: between rows, one more than there are."""
    padded = np.concatenate([track[:1], track, track[-1:]]).astype(np.float32)
    return 0.5 * (padded[1:] + padded[:-1])


def _spectra(samples: np.ndarray) -> np.ndarray:
    """(T + 1) x BINS, complex64, of windows that begin HOP before the first sample and add up to one."""
    padded = np.pad(samples, (HOP, WINDOW - HOP))
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    return np.asarray(fft.rfft(windows * _HANN, SIZE, axis=1))


def _tract(voice: Voice, formants: np.ndarray) -> np.ndarray:
    """Responses, rows x BINS, complex64."""
    below = np.ones(BINS, np.complex64)
    for number, hertz in enumerate(voice.higher):
        below = below * _inverse(np.float32(hertz), 200.0 + 80.0 * number)
    response = np.broadcast_to(below, (len(formants), BINS)).copy()
    for column, bandwidth in enumerate(BANDWIDTHS):
        response *= _inverse(formants[:, column, None], bandwidth)
    return np.reciprocal(response)


def _inverse(hertz: np.ndarray | np.float32, bandwidth: float) -> np.ndarray:
    """One over a resonance, 1 at zero frequency."""
    radius = np.float32(np.exp(-np.pi * bandwidth / RATE))
    slope = 2 * radius * np.cos(2 * np.float32(np.pi) / RATE * hertz)
    square = radius * radius
    return (1 - slope * _Z + square * _Z2) / (1 - slope + square)


def _overlapped(pieces: np.ndarray, count: int) -> np.ndarray:
    """Pieces of SIZE samples added up, each HOP after the one before; the first HOP samples left out."""
    parts = SIZE // HOP
    rows = len(pieces)
    total = np.zeros((rows + parts - 1, HOP), np.float32)
    blocks = pieces.reshape(rows, parts, HOP)
    for part in range(parts):
        total[part : part + rows] += blocks[:, part]
    return total.reshape(-1)[HOP : HOP + count]
