"""Synthetic speech: sentences of no language by many speakers, and given words, deterministic by seed.

What a listener or a net finds in it: voiced and unvoiced sounds, formants that glide from phone to phone, a pitch that
falls over the sentence and rises on stressed syllables, last syllables drawn out, pauses; pitch, length of the vocal
tract, accent, slope of the voice and pace are a speaker's own, while level, distance and mood change by sentence.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from tinygrad_hw.random import Stream

from .phones import CONSONANTS, SILENCE, STOPS, VOWELS, Phone, states
from .voice import HOP, RATE, Tracks, Voice, render

LEVEL = 0.06  # root mean square of a sentence
ONSETS = ("", *CONSONANTS, *STOPS, "s t", "t r", "p l", "k r", "s p", "f l", "g r", "b l")
CODAS = ("", "", "", "n", "s", "t", "l", "m", "k", "z", "d", "r", "ng", "n t", "s t")
NEVER_FIRST = ("ng",)
Spoken = list[tuple[str, float]]  # phones, and how much each is stressed


def speaker(seed: int, name: str) -> Voice:
    """The voice that a name stands for."""
    return Voice.draw(Stream(seed, f"speech/voice/{name}"))


def sentence(voice: Voice, stream: Stream, seconds: tuple[float, float] = (2.0, 4.0)) -> np.ndarray:
    """One sentence.

    Args:
        voice: who speaks.
        stream: decides what is said, and how.
        seconds: between which lengths, uniformly.

    Returns:
        float32 samples at RATE, of root mean square LEVEL give or take 3 dB.
    """
    wanted = float(stream.uniform(1, *seconds)[0])
    syllables = max(2, round(wanted * 4.2 * voice.pace))
    return say(voice, _text(syllables, stream), stream, length=wanted)


def say(voice: Voice, text: Spoken, stream: Stream, *, length: float | None = None) -> np.ndarray:
    """Phones spoken, with the prosody of a sentence.

    Args:
        voice: who speaks.
        text: phones, each with its stress from 0 to 1.
        stream: of what differs each time.
        length: seconds that it shall take; None for what the phones take at the speaker's pace.

    Returns:
        float32 samples at RATE.
    """
    whole = [(state, stress) for phone, stress in text for state in states(phone)]
    draws = stream.uniform(len(whole) + 8).astype(float)
    durations = np.array([state.seconds * (1 + 0.45 * stress) for state, stress in whole])
    durations *= (0.85 + 0.3 * draws[8:]) / (voice.pace * (0.9 + 0.2 * draws[0]))
    durations[-3:] *= 1.3  # the end of a sentence is drawn out
    if length is not None:
        durations *= length / durations.sum()
    ends = np.maximum(np.round(np.cumsum(durations) * RATE / HOP), np.arange(1, len(whole) + 1)).astype(int)
    lengths = np.diff(ends, prepend=0)
    chosen = np.repeat(np.arange(len(whole)), lengths)
    stress = np.array([stress for _, stress in whole])[chosen]
    pitch = _pitch(voice, stress, draws, stream)
    samples = render(voice, glide(voice, [state for state, _ in whole], chosen, stress, pitch), stream)
    return _recorded(samples, draws, stream)


def glide(voice: Voice, path: Sequence[Phone], chosen: np.ndarray, stress: np.ndarray, pitch: np.ndarray) -> Tracks:
    """The targets of phones, joined by glides.

    Args:
        voice: who speaks.
        path: states that the tract passes through.
        chosen: T, which of them it is in, every HOP samples.
        stress: T, from 0 to 1.
        pitch: T, Hz.
    """
    targets = np.array([(*p.formants, p.voice, p.breath, p.hiss, p.centre, p.width) for p in path], np.float32)
    rows = targets[chosen]
    # The tongue needs some 50 ms from place to place; voice and noise set in faster.
    formants = ndimage.gaussian_filter1d(rows[:, :3], 2.2, axis=0, mode="nearest")
    levels = ndimage.gaussian_filter1d(rows[:, 3:6], 0.8, axis=0, mode="constant")
    levels *= (0.6 + 0.4 * stress)[:, None]
    accent = np.array(voice.accent, np.float32) / np.float32(voice.tract)
    return Tracks(
        formants=np.minimum(formants * accent, 0.45 * RATE),
        voice=levels[:, 0],
        breath=levels[:, 1],
        hiss=levels[:, 2],
        centre=rows[:, 6] * (0.6 + 0.4 / voice.tract),
        width=rows[:, 7],
        pitch=pitch,
    )


def _pitch(voice: Voice, stress: np.ndarray, draws: np.ndarray, stream: Stream) -> np.ndarray:
    """Falling over the sentence, rising where it is stressed, never quite steady; Hz."""
    count = len(stress)
    along = np.linspace(0.5, -0.5, count)
    mood = 1.5 * (draws[1] - 0.5)
    rising = ndimage.gaussian_filter1d(stress, 4.0, mode="nearest")
    wander = ndimage.gaussian_filter1d(stream.normal(count, dtype=np.float64), 6.0, mode="wrap")
    tremor = voice.tremor * stream.normal(count, dtype=np.float64)
    semitones = mood + voice.range * (along + 1.2 * (rising - 0.4) + 0.8 * wander) + tremor
    return np.asarray(voice.pitch * 2 ** (semitones / 12))


def _recorded(samples: np.ndarray, draws: np.ndarray, stream: Stream) -> np.ndarray:
    """As a microphone takes it up: a slope of treble and a level of its own, and 55 dB below it some hiss."""
    slope = np.float32(0.3 * (draws[2] - 0.5))
    out = samples - slope * np.concatenate([samples[:1], samples[:-1]])
    out -= out.mean()
    out *= LEVEL * 10 ** ((draws[3] - 0.5) * 6 / 20) / np.sqrt(np.mean(out * out) + 1e-12)
    out += stream.uniform(len(out), -1, 1) * np.float32(LEVEL * 10 ** (-55 / 20))
    peak = np.abs(out).max()
    return np.asarray(out * np.float32(min(1.0, 0.95 / peak)), np.float32)


def _text(syllables: int, stream: Stream) -> Spoken:
    """Syllables at random, some stressed, with pauses between phrases."""
    draws = stream.uniform((syllables, 5)).astype(float)
    vowels = tuple(VOWELS)
    text: Spoken = [(SILENCE, 0.0)]
    since = 0
    for number, (onset, vowel, coda, stressed, pause) in enumerate(draws):
        stress = float(0.6 + 0.4 * stressed) if stressed > 0.6 else float(0.5 * stressed)
        first = ONSETS[int(onset * len(ONSETS))].split()
        first = [] if first and first[0] in NEVER_FIRST else first
        phones = [*first, vowels[int(vowel * len(vowels))], *CODAS[int(coda * len(CODAS))].split()]
        text += [(phone, stress) for phone in phones]
        since += 1
        if since > 3 and pause < 0.15 and number < syllables - 2:
            text += [(SILENCE, 0.0)] * 3
            since = 0
    return [*text, (SILENCE, 0.0)]


def spelled(phones: Sequence[str], stressed: float = 0.8) -> Spoken:
    """A word: its phones, stressed evenly, between short silences."""
    return [(SILENCE, 0.0), *((phone, stressed) for phone in phones), (SILENCE, 0.0)]
