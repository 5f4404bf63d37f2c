"""Synthetic speech, listened to by measurement: pitch, formants, level, and that speakers and sentences differ."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.data.audio import phones, speech, words
from experiments.data.audio.speech import glide, say, sentence, speaker, spelled
from experiments.data.audio.voice import HOP, RATE, Voice, render
from tinygrad_hw.random import Stream

MAN = Voice(100.0, 2.0, 1.0, (1.0, 1.0, 1.0), (3500.0, 4500.0, 5500.0, 6500.0, 7500.0), 0.2, 0.6, 0.005, 1.0, 0.0)


def held(voice: Voice, vowel: str, pitch: float, seconds: float = 0.5) -> np.ndarray:
    """A vowel at one pitch."""
    rows = round(seconds * RATE / HOP)
    tracks = glide(voice, [phones.VOWELS[vowel]], np.zeros(rows, int), np.ones(rows), np.full(rows, pitch))
    return render(voice, tracks, Stream(0, "held"))


def pitch_of(samples: np.ndarray, low: float = 60, high: float = 500) -> float:
    """Hz, by the first great peak of the autocorrelation: those of two and three periods are about as high."""
    power = np.abs(np.fft.rfft(samples, 2 * len(samples))) ** 2
    correlation = np.fft.irfft(power)[: len(samples)]
    lags = np.arange(int(RATE / high), int(RATE / low))
    inner = correlation[lags]
    peaks = (inner >= correlation[lags - 1]) & (inner >= correlation[lags + 1]) & (inner > 0.85 * inner.max())
    return RATE / lags[np.flatnonzero(peaks)[0]] if peaks.any() else RATE / lags[inner.argmax()]


@pytest.mark.parametrize("pitch", [85.0, 120.0, 200.0, 310.0])
def test_pitch_is_as_asked(pitch: float) -> None:
    assert abs(pitch_of(held(MAN, "aa", pitch)) / pitch - 1) < 0.03


@pytest.mark.parametrize("vowel", ["iy", "eh", "aa", "uw", "er"])
@pytest.mark.parametrize("tract", [1.0, 0.85])
def test_formants_are_where_they_belong(vowel: str, tract: float) -> None:
    """The peaks of the spectrum, smoothed over the harmonics, near the first two formants."""
    samples = held(replace(MAN, tract=tract), vowel, 62.0)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    hertz = np.fft.rfftfreq(len(samples), 1 / RATE)
    width = int(70 / hertz[1])
    smooth = 20 * np.log10(np.convolve(spectrum, np.hanning(width), "same") + 1e-9)
    for formant in phones.VOWELS[vowel].formants[:2]:
        near = np.abs(hertz - formant / tract) < 0.2 * formant
        peak = hertz[near][smooth[near].argmax()]
        assert abs(peak - formant / tract) < max(62.0, 0.12 * formant), "within a harmonic, or 12 %"


def test_a_hiss_is_no_voice() -> None:
    rows = 60
    hiss = glide(MAN, [phones.CONSONANTS["s"]], np.zeros(rows, int), np.ones(rows), np.full(rows, 100.0))
    power = np.abs(np.fft.rfft(render(MAN, hiss, Stream(0, "hiss")))) ** 2
    hertz = np.fft.rfftfreq(rows * HOP, 1 / RATE)
    assert power[hertz > 4000].sum() > 0.95 * power.sum()
    vowel = np.abs(np.fft.rfft(held(MAN, "aa", 100.0))) ** 2
    hertz = np.fft.rfftfreq(2 * (len(vowel) - 1), 1 / RATE)
    assert vowel[hertz < 4000].sum() > 0.95 * vowel.sum()


def test_sentences_are_neither_silent_nor_clipped_and_as_long_as_asked() -> None:
    for number in range(8):
        samples = sentence(speaker(0, f"a{number}"), Stream(0, f"b{number}"), (1.5, 2.5))
        assert samples.dtype == np.float32
        assert 1.5 * RATE - HOP <= len(samples) <= 2.5 * RATE + 40 * HOP
        assert np.abs(samples).max() < 0.96
        assert 0.03 < np.sqrt(np.mean(samples**2)) < 0.1
        assert abs(samples.mean()) < 1e-3
        frames = samples[: len(samples) // 400 * 400].reshape(-1, 400)
        level = 20 * np.log10(np.sqrt(np.mean(frames**2, axis=1)) + 1e-9)
        assert np.percentile(level, 95) - np.percentile(level, 5) > 20, "syllables and pauses differ in level"


def test_sentences_have_the_pitch_of_their_speaker() -> None:
    for number in range(6):
        voice = speaker(1, f"s{number}")
        samples = sentence(voice, Stream(1, f"t{number}"), (3.0, 3.0))
        frames = samples[: len(samples) // 800 * 800].reshape(-1, 800)
        loud = frames[np.argsort(-np.mean(frames**2, axis=1))[: len(frames) // 3]]
        found = np.median([pitch_of(frame, 65, 450) for frame in loud])
        assert abs(12 * np.log2(found / voice.pitch)) < 5, (found, voice.pitch)


def test_the_spectrum_over_time_falls_as_that_of_speech() -> None:
    """Most power below 1 kHz, a tenth or less above 2 kHz, and some above 4 kHz, where only hisses are loud."""
    power = np.zeros(257)
    for number in range(12):
        samples = sentence(speaker(2, f"s{number}"), Stream(2, f"t{number}"))
        frames = samples[: len(samples) // 512 * 512].reshape(-1, 512) * np.hanning(512)
        power += (np.abs(np.fft.rfft(frames, axis=1)) ** 2).sum(axis=0)
    below, above = power[:32].sum(), power[64:].sum()
    assert below > 0.8 * power.sum() and above < 0.1 * power.sum()
    assert 0.001 < power[128:].sum() / power.sum() < 0.03


def test_voices_differ_and_come_again() -> None:
    voices = [speaker(0, f"x{number}") for number in range(60)]
    pitches, tracts = np.array([voice.pitch for voice in voices]), np.array([voice.tract for voice in voices])
    assert pitches.min() < 105 and pitches.max() > 210 and pitches.min() > 80 and pitches.max() < 260
    assert np.corrcoef(pitches, tracts)[0, 1] < -0.6, "high voices have short tracts"
    assert len({(voice.pitch, voice.tilt) for voice in voices}) == 60
    assert speaker(0, "x3") == voices[3] != speaker(1, "x3")


def test_deterministic() -> None:
    voice = speaker(0, "a")
    first = sentence(voice, Stream(0, "b"))
    assert np.array_equal(first, sentence(voice, Stream(0, "b")))
    other = sentence(voice, Stream(1, "b"))
    assert len(first) != len(other) or not np.array_equal(first, other)


def test_every_phone_can_be_said() -> None:
    known = [*phones.VOWELS, *phones.CONSONANTS, *phones.STOPS]
    samples = say(MAN, spelled(known), Stream(0, "all"))
    assert np.isfinite(samples).all() and np.abs(samples).max() <= 0.95
    said = {phone for text in (*speech.ONSETS, *speech.CODAS) for phone in text.split()}
    spelt = {phone for text in (*words.KEYWORDS.values(), *words.OTHERS.values()) for phone in text.split()}
    assert said | spelt <= set(known)
    with pytest.raises(KeyError):
        phones.states("qq")


def test_words_fill_a_clip() -> None:
    for word in ("stop", "yes", "marvin"):
        samples = words.clip(speaker(0, "w"), word, Stream(0, word))
        assert samples.shape == (RATE,) and samples.dtype == np.float32
        level = np.sqrt(np.mean(samples.reshape(-1, 400) ** 2, axis=1))
        assert level.max() > 20 * level.min() > 0, "a word, and beside it a microphone's hiss"
        assert np.abs(samples).max() < 1
