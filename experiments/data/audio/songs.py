"""Synthetic music in tracks: a sung melody, bass, drums and chords, deterministic by seed; their sum is the mixture."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage, signal

from tinygrad_hw.random import Stream

from . import speech
from .phones import CONSONANTS, PAUSE, VOWELS, Phone
from .voice import HOP, RATE, render

SOURCES = ("bass", "drums", "other", "vocals")
PROGRESSIONS = ((0, 4, 5, 3), (5, 3, 0, 4), (0, 5, 3, 4), (0, 3, 4, 0), (1, 4, 0, 5))  # steps of the scale
SCALE = (0, 2, 4, 5, 7, 9, 11)
LEVELS = {"bass": 0.06, "drums": 0.07, "other": 0.05, "vocals": 0.08}  # root mean square
BEATS = 4  # in a bar


def song(name: str, seed: int, seconds: float = 20.0) -> dict[str, np.ndarray]:
    """The sources of a song.

    Args:
        name: of the song; with the seed it decides tempo, key, chords, melody, singer and sound.
        seed: see there.
        seconds: its length.

    Returns:
        float32, N samples at RATE for each of SOURCES; their sum stays within full scale.
    """
    stream = Stream(seed, f"song/{name}")
    draws = stream.uniform(12, dtype=np.float64)
    count = round(seconds * RATE)
    beat = 60 / (84 + 48 * draws[0])
    bars = int(seconds / (beat * BEATS)) + 1
    chosen = PROGRESSIONS[int(draws[1] * len(PROGRESSIONS))]
    steps = [chosen[bar % len(chosen)] for bar in range(bars)]
    key = 45 + int(draws[2] * 12)  # the note A2 as MIDI counts, and up
    tracks = {
        "bass": _bass(steps, key, beat, count, stream),
        "drums": _drums(bars, beat, count, stream),
        "other": _chords(steps, key, beat, count, stream),
        "vocals": _vocals(steps, key, beat, count, stream, seed, name),
    }
    for number, source in enumerate(SOURCES):
        level = LEVELS[source] * 10 ** ((draws[3 + number] - 0.5) * 6 / 20)
        tracks[source] *= level / max(np.sqrt(np.mean(tracks[source] ** 2)), 1e-9)
    peak = max(np.abs(sum(tracks.values())).max(), *(np.abs(track).max() for track in tracks.values()))
    return {source: (track * min(1.0, 0.95 / peak)).astype(np.float32) for source, track in tracks.items()}


def hertz(note: float) -> float:
    """The frequency of a note as MIDI counts them: 69 is 440 Hz, twelve are an octave."""
    return float(440 * 2 ** ((note - 69) / 12))


def _step(number: int) -> int:
    """Semitones of a step of the major scale, over octaves."""
    return SCALE[number % len(SCALE)] + 12 * (number // len(SCALE))


def _add(total: np.ndarray, start: float, sound: np.ndarray) -> None:
    first = round(start * RATE)
    piece = sound[: max(0, len(total) - first)]
    total[first : first + len(piece)] += piece


def _tone(note: float, seconds: float, slope: float, decay: float, harmonics: int) -> np.ndarray:
    """A plucked note: harmonics that fall by a power of their number and die away the faster the higher they are."""
    time = np.arange(int(seconds * RATE)) / RATE
    base = hertz(note)
    number = np.arange(1, min(harmonics, int(0.45 * RATE / base)) + 1)[:, None]
    waves = np.sin(2 * np.pi * base * number * time) * number**-slope * np.exp(-decay * number**0.5 * time)
    edges = np.minimum(np.minimum(time / 0.005, (seconds - time) / 0.02), 1.0)
    return np.asarray(waves.sum(axis=0) * np.clip(edges, 0, 1))


def _bass(steps: Sequence[int], key: int, beat: float, count: int, stream: Stream) -> np.ndarray:
    """Roots and fifths in quavers, with gaps."""
    total = np.zeros(count)
    slope = float(stream.uniform(1, 1.0, 1.8)[0])
    notes: dict[int, np.ndarray] = {}
    for bar, step in enumerate(steps):
        draws = stream.uniform(2 * BEATS, dtype=np.float64)
        for quaver, draw in enumerate(draws):
            if quaver and draw < 0.3:
                continue
            note = key - 12 + _step(step) % 12 + (7 if draw > 0.85 else 0)
            if note not in notes:
                notes[note] = _tone(note, 0.9 * beat, slope, 2.5, 14)
            _add(total, (bar * BEATS + quaver / 2) * beat, notes[note])
    return total


def _drums(bars: int, beat: float, count: int, stream: Stream) -> np.ndarray:
    """Kick on one and three, snare on two and four, hats between, a few strokes more."""
    time = np.arange(int(0.3 * RATE)) / RATE
    sweep = 2 * np.pi * np.cumsum(48 + 90 * np.exp(-time * 35)) / RATE
    kick = np.sin(sweep) * np.exp(-time * 14) + 0.3 * np.exp(-time * 400)
    rattle = signal.lfilter(*signal.butter(2, [1200, 6500], "band", fs=RATE), stream.uniform(len(time), -1, 1))
    snare = 1.6 * rattle * np.exp(-time * 18) + 0.5 * np.sin(2 * np.pi * 190 * time) * np.exp(-time * 30)
    hiss = signal.lfilter(*signal.butter(3, 5500, "high", fs=RATE), stream.uniform(len(time), -1, 1))
    hat = 0.7 * hiss * np.exp(-time * 55)
    total = np.zeros(count)
    for bar in range(bars):
        draws = stream.uniform((2 * BEATS, 2), dtype=np.float64)
        for quaver, (extra, loud) in enumerate(draws):
            when, force = (bar * BEATS + quaver / 2) * beat, 0.7 + 0.3 * loud
            _add(total, when, force * hat)
            if quaver in (0, 4) or extra < 0.12:
                _add(total, when, force * kick)
            if quaver in (2, 6) or extra > 0.93:
                _add(total, when, force * snare)
    return total


def _chords(steps: Sequence[int], key: int, beat: float, count: int, stream: Stream) -> np.ndarray:
    """Triads, struck on every beat or picked note by note, with a sound of the song's own."""
    total = np.zeros(count)
    slope, decay, picked = stream.uniform(3, dtype=np.float64)
    notes: dict[int, np.ndarray] = {}

    def tone(note: int) -> np.ndarray:
        if note not in notes:
            notes[note] = _tone(note, (0.95 if picked < 0.5 else 1.9) * beat, 1.0 + 1.2 * slope, 0.5 + 3 * decay, 10)
        return notes[note]

    for bar, step in enumerate(steps):
        triad = [key + 12 + _step(step + third) for third in (0, 2, 4)]
        for quaver in range(2 * BEATS):
            when = (bar * BEATS + quaver / 2) * beat
            if picked >= 0.5:
                _add(total, when, tone(triad[(0, 1, 2, 1)[quaver % 4]]))
            elif quaver % 2 == 0:
                for note in triad:
                    _add(total, when, tone(note))
    return total


def _vocals(
    steps: Sequence[int], key: int, beat: float, count: int, stream: Stream, seed: int, name: str
) -> np.ndarray:
    """A melody near the chords, sung in syllables with vibrato; the last bar of every four is a rest."""
    voice = speech.speaker(seed, f"singer/{name}")
    centre = round(69 + 12 * np.log2(voice.pitch * 1.25 / 440))
    path: list[Phone] = [PAUSE]
    chosen: list[int] = []
    notes: list[float] = []
    vowels, onsets = tuple(VOWELS.values()), tuple(CONSONANTS.values())
    before = float(centre)
    for bar, step in enumerate(steps):
        for number, draw in enumerate(stream.uniform((BEATS, 4), dtype=np.float64)):
            rows = round((bar * BEATS + number + 1) * beat * RATE / HOP) - len(chosen)
            resting = bar % 4 == 3 and number > 0
            # A note of the chord on the first beat, of the scale elsewhere, the nearest to the note before.
            step_here = step + (0, 2, 4)[int(3 * draw[0])] if number == 0 else int(7 * draw[0])
            above = (key + _step(step_here) - before + 6) % 12 - 6
            note = (
                before + above if abs(before + above - centre) <= 9 else centre + (key + _step(step_here) - centre) % 12
            )
            for half in range(2 if draw[1] < 0.35 else 1):
                length = rows // 2 if draw[1] < 0.35 and half == 0 else rows - (rows // 2 if half else 0)
                if resting:
                    chosen += [0] * length
                else:
                    onset = min(8, length // 3)
                    path += [onsets[int((draw[2] + 0.5 * half) % 1 * len(onsets))], vowels[int(draw[3] * len(vowels))]]
                    chosen += [len(path) - 2] * onset + [len(path) - 1] * (length - onset)
                notes += [note + 2 * half] * length
            before = note
    target = ndimage.gaussian_filter1d(np.array(notes, float), 2.5, mode="nearest")
    time = np.arange(len(target)) * HOP / RATE
    target += 0.35 * np.sin(2 * np.pi * 5.5 * time) + 0.08 * stream.normal(len(target), dtype=np.float64)
    pitch = 440 * 2 ** ((target - 69) / 12)
    sung = render(voice, speech.glide(voice, path, np.array(chosen), np.ones(len(chosen)), pitch), stream)
    return np.pad(sung.astype(np.float64), (0, max(0, count - len(sung))))[:count]
