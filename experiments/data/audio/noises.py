"""Ten kinds of synthetic noise, deterministic by seed; each in its own part of the plane of time and frequency.

Broad (wind, rain, surf, fan), harmonic (hum, engine), chirping (birds, crickets), of blows (dishes), and of voices
(babble), so that a net must tell speech from more than one thing that it is not.
"""

from collections.abc import Callable

import numpy as np
from scipy import fft, ndimage, signal

from tinygrad_hw.random import Stream

from . import speech
from .voice import RATE

LEVEL = 0.06  # root mean square
VOICES = 6  # in the babble


def draw(kind: str, seconds: float, seed: int) -> np.ndarray:
    """A recording of one kind.

    Args:
        kind: a key of KINDS.
        seconds: its length.
        seed: the same gives the same noise.

    Returns:
        float32 samples at RATE, of root mean square LEVEL or, where that would leave full scale, less.
    """
    count = round(seconds * RATE)
    samples = KINDS[kind](count, Stream(seed, f"noise/{kind}"))
    samples = samples - samples.mean()
    samples *= LEVEL / np.sqrt(np.mean(samples**2))
    return np.asarray(samples * min(1.0, 0.95 / np.abs(samples).max()), np.float32)


def _coloured(count: int, stream: Stream, gain: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Noise with a spectrum: `gain` of the frequency in Hz, of unit mean square."""
    size = fft.next_fast_len(count, real=True)
    hertz = np.maximum(fft.rfftfreq(size, 1 / RATE), 1.0).astype(np.float32)
    spectrum = fft.rfft(stream.uniform(size, -1, 1)) * gain(hertz).astype(np.float32)
    samples = fft.irfft(spectrum, size)[:count]
    return np.asarray(samples / np.sqrt(np.mean(samples**2)))


def _slow(count: int, stream: Stream, hertz: float, low: float, high: float) -> np.ndarray:
    """Something that wanders between two values, some `hertz` turns a second; float32."""
    points = max(4, int(count / RATE * hertz * 2) + 2)
    knots = ndimage.gaussian_filter1d(stream.uniform(points, dtype=np.float64), 0.7, mode="wrap")
    return np.interp(np.linspace(0, points - 1, count), np.arange(points), low + (high - low) * knots).astype(
        np.float32
    )


def _placed(count: int, stream: Stream, rate: float, shapes: list[np.ndarray], spread: float) -> np.ndarray:
    """Short sounds at random times, `rate` of them a second, with levels that differ by `spread` dB."""
    total = np.zeros(count, np.float32)
    events = max(1, round(rate * count / RATE))
    draws = stream.uniform((events, 3), dtype=np.float64)
    for when, which, loud in draws:
        shape = shapes[int(which * len(shapes))]
        start = int(when * count)
        piece = shape[: count - start]
        total[start : start + len(piece)] += piece * 10 ** (-spread * loud / 20)
    return total


def wind(count: int, stream: Stream) -> np.ndarray:
    """Gusts: low noise that swells, and a whistle that comes with them."""
    gust = _slow(count, stream, 0.5, 0.1, 1.0) ** 2
    low = _coloured(count, stream, lambda f: 1 / (1 + (f / 180) ** 1.5))
    whistle = _coloured(count, stream, lambda f: np.exp(-0.5 * ((f - 620) / 60) ** 2))
    return gust * low + 0.25 * gust**2 * whistle


def rain(count: int, stream: Stream) -> np.ndarray:
    """An even hiss, stronger above 2 kHz, and drops."""
    hiss = _coloured(count, stream, lambda f: f / (f + 2500))
    time = np.arange(200) / RATE
    drops = [
        (np.sin(2 * np.pi * hertz * time) * np.exp(-time * 700)).astype(np.float32)
        for hertz in (2300, 3100, 4200, 5600)
    ]
    return hiss + 4 * _placed(count, stream, 60, drops, 20)


def surf(count: int, stream: Stream) -> np.ndarray:
    """Waves that break every few seconds: pink noise that grows, then brighter as it falls."""
    later = RATE // 2
    wave = _slow(count + later, stream, 0.25, 0.0, 1.0) ** 3 + 0.05
    deep = _coloured(count, stream, lambda f: f**-0.5 / (1 + f / 900))
    foam = _coloured(count, stream, lambda f: 1 / (1 + (1200 / f) ** 2))
    return wave[later:] * deep + 0.5 * wave[:count] * foam


def fan(count: int, stream: Stream) -> np.ndarray:
    """Steady noise of moving air below 3 kHz with the faint tones of the blades."""
    air = _coloured(count, stream, lambda f: 1 / (1 + (f / 700) ** 2) ** 0.75)
    time = np.arange(count) / RATE
    blades = sum(np.sin(2 * np.pi * 94 * k * time + k) / k for k in range(1, 8))
    return air + 0.25 * np.asarray(blades)


def hum(count: int, stream: Stream) -> np.ndarray:
    """Mains: 50 Hz and its odd harmonics, steady, with a little hiss."""
    time = np.arange(count) / RATE
    phases = stream.uniform(40, 0, 2 * np.pi, dtype=np.float64)
    tones = sum(np.sin(2 * np.pi * 50 * k * time + phases[k]) / k**0.7 for k in range(1, 40, 2))
    return np.asarray(tones) + 0.05 * _coloured(count, stream, lambda f: np.ones_like(f))


def engine(count: int, stream: Stream) -> np.ndarray:
    """A motor that speeds up and slows down: pulses of 25 to 60 a second through the resonances of its pipe."""
    phase = np.cumsum(_slow(count, stream, 0.4, 25, 60).astype(np.float64) / RATE)
    pulses = np.exp(-8 * (phase % 1.0)) * (0.6 + 0.4 * (np.floor(phase) % 4 == 0))
    out = np.zeros(count)
    for hertz, width, gain in ((90, 60, 1.0), (310, 120, 0.8), (900, 300, 0.7), (2200, 700, 0.4)):
        b, a = signal.iirpeak(hertz, hertz / width, fs=RATE)
        out += gain * signal.lfilter(b, a, pulses)
    return out + 0.02 * _coloured(count, stream, lambda f: 1 / (1 + f / 2000))


def birds(count: int, stream: Stream) -> np.ndarray:
    """Calls of whistles that glide between 2 and 7 kHz, near and far."""
    shapes = []
    for start, end, trill, seconds in stream.uniform((14, 4), dtype=np.float64):
        time = np.arange(int((0.06 + 0.25 * seconds) * RATE)) / RATE
        along = time / time[-1]
        hertz = 2200 + 3500 * (start + (end - start) * along) + 500 * trill * np.sin(2 * np.pi * 28 * time)
        tone = np.sin(2 * np.pi * np.cumsum(hertz) / RATE) + 0.15 * np.sin(4 * np.pi * np.cumsum(hertz) / RATE)
        shapes.append((tone * np.sin(np.pi * along) ** 0.7).astype(np.float32))
    leaves = _coloured(count, stream, lambda f: 1 / (1 + (f / 2000) ** 2))
    return _placed(count, stream, 5, shapes, 25) + 0.01 * leaves


def crickets(count: int, stream: Stream) -> np.ndarray:
    """A few insects, each a tone of its own between 3.5 and 5.5 kHz in quick pulses."""
    time = np.arange(count) / RATE
    out = np.zeros(count)
    for hertz, pulses, chirps, gain in stream.uniform((5, 4), dtype=np.float64):
        pulse = np.maximum(np.sin(2 * np.pi * (22 + 12 * pulses) * time), 0)
        chirp = signal.lfilter([0.01], [1, -0.99], np.sin(2 * np.pi * (0.9 + 1.2 * chirps) * time + 9 * gain) > -0.2)
        out += (0.3 + gain) * pulse * chirp * np.sin(2 * np.pi * (3500 + 2000 * hertz) * time)
    return out + 0.03 * _coloured(count, stream, lambda f: 1 / (1 + f / 500))


def dishes(count: int, stream: Stream) -> np.ndarray:
    """Blows on plates and glasses: many resonances that ring for a tenth of a second, over a dull clatter."""
    time = np.arange(int(0.35 * RATE)) / RATE
    shapes = []
    for _ in range(10):
        draws = stream.uniform((9, 3), dtype=np.float64)
        rings = sum(
            (0.3 + g) * np.exp(-time * (12 + 60 * d)) * np.sin(2 * np.pi * 700 * 9.0**h * time) for h, d, g in draws
        )
        knock = np.exp(-time * 300) * stream.uniform(len(time), -1, 1)
        shapes.append((np.asarray(rings) + 3 * knock).astype(np.float32))
    clatter = _coloured(count, stream, lambda f: 1 / (1 + (f / 1500) ** 2)) * _slow(count, stream, 3, 0.0, 1.0) ** 2
    return _placed(count, stream, 7, shapes, 25) + 0.1 * clatter


def babble(count: int, stream: Stream) -> np.ndarray:
    """Several people who speak at once, none of whom is a speaker of `speech`."""
    total = np.zeros(count, np.float32)
    for number in range(VOICES):
        voice = speech.speaker(stream.seed, f"babble/{number}")
        pieces: list[np.ndarray] = []
        while sum(map(len, pieces)) < count:
            pieces.append(speech.sentence(voice, stream))
        total += np.concatenate(pieces)[:count]
    return total


KINDS: dict[str, Callable[[int, Stream], np.ndarray]] = {
    kind.__name__: kind for kind in (wind, rain, surf, fan, hum, engine, birds, crickets, dishes, babble)
}
