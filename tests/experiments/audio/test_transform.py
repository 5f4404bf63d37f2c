"""Transform of whole recordings and the features made of it: librosa's values, and what is refused."""

import warnings

import librosa
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.audio import features
from experiments.audio.transform import Transform
from tinygrad_hw import functional as F

DRAW = np.random.default_rng(0)
SIZES = Transform()


@given(st.integers(1, 90), st.integers(2, 20), st.data())
def test_there_and_back(samples: int, n_fft: int, data: st.DataObject) -> None:
    transform = Transform(n_fft, data.draw(st.integers(1, max(1, n_fft // 2))))
    signal = np.random.default_rng(samples).normal(size=(2, samples))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spectrum = transform.analyse(signal)
    assert spectrum.shape == (2, transform.bins, transform.frames(samples))
    np.testing.assert_allclose(transform.synthesise(spectrum, samples), signal, atol=1e-9)
    pairs = F.stft(signal, n_fft, transform.hop)
    np.testing.assert_allclose(pairs[..., 0] + 1j * pairs[..., 1], spectrum, atol=1e-12)


def test_float32_stays_float32() -> None:
    signal = DRAW.normal(size=5000).astype(np.float32)
    spectrum = SIZES.analyse(signal)
    assert spectrum.dtype == np.complex64
    assert spectrum.shape == (513, 10)
    assert SIZES.synthesise(spectrum, 5000).dtype == np.float32


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="empty signal"):
        SIZES.analyse(np.zeros(0))
    with pytest.raises(ValueError, match="sample 3 is NaN or infinite"):
        SIZES.analyse(np.array([0, 1, 2, np.inf, np.nan]))
    with pytest.raises(ValueError, match="hop 2000: expected 1 to 1024"):
        Transform(hop=2000)


def test_log_mel_is_the_logarithm_of_librosas_mel_spectrum() -> None:
    signal = DRAW.normal(size=16_000).astype(np.float32)
    expected = librosa.feature.melspectrogram(
        y=signal, sr=16_000, n_fft=512, hop_length=160, n_mels=30, fmin=50, fmax=7000
    )
    found = features.log_mel(signal, 16_000, transform=Transform(512, 160), bands=30, low=50, high=7000)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.log(expected), atol=1e-4)


def test_a_louder_sound_has_the_logarithm_of_the_gain_more_and_silence_the_floor() -> None:
    signal = DRAW.normal(size=4000)
    difference = features.log_mel(10 * signal, 8000, transform=SIZES) - features.log_mel(signal, 8000, transform=SIZES)
    np.testing.assert_allclose(difference, 2 * np.log(10), atol=1e-9)
    silent = features.log_mel(np.zeros(4000), 8000, transform=SIZES)
    np.testing.assert_allclose(silent, np.log(features.FLOOR))


def test_a_tone_is_in_the_band_of_its_frequency() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000)
    mel = features.log_mel(tone, 16_000, transform=SIZES, bands=40)
    middles = librosa.mel_frequencies(n_mels=42, fmin=20, fmax=8000)[1:-1]
    assert abs(middles[mel.mean(axis=1).argmax()] - 1000) < 80


def test_cepstral_coefficients_are_librosas() -> None:
    signal = DRAW.normal(size=(2, 8000))
    found = features.mfcc(signal, 16_000, transform=SIZES, count=13, bands=40)
    power = librosa.feature.melspectrogram(y=signal, sr=16_000, n_fft=1024, hop_length=512, n_mels=40, fmin=20)
    np.testing.assert_allclose(found, librosa.feature.mfcc(S=np.log(power), n_mfcc=13), atol=1e-3)
    assert found.shape == (2, 13, 16)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"high": 9000.0}, "from 20 to 9000 Hz: expected 0 ≤ low < high ≤ 8000"),
        ({"low": -1.0}, "from -1 to 8000 Hz"),
        ({"low": 500.0, "high": 500.0}, "from 500 to 500 Hz"),
        ({"bands": 400}, "of 400 bands hold no frequency of a spectrum of 513"),
    ],
)
def test_bands_that_make_no_sense(settings: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        features.log_mel(np.ones(2000), 16_000, transform=SIZES, **settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="41 coefficients: expected 1 to 40"):
        features.mfcc(np.ones(2000), 16_000, transform=SIZES, count=41)
