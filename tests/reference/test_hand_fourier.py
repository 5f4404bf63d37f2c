"""The short-time Fourier transform by matrices: against fast transforms, librosa, and for its gradient all oracles."""

from __future__ import annotations

from functools import partial

import librosa
import numpy as np
import pytest

from reference import fourier

rng = np.random.default_rng(0)


@pytest.mark.parametrize("n", [1, 2, 7, 8])
def test_matrices_are_the_fast_transforms(n) -> None:
    x = rng.standard_normal((3, n))
    spectrum = np.tensordot(x, fourier.analysis(n), axes=(1, 2))
    expected = np.fft.rfft(x)
    np.testing.assert_allclose(spectrum[..., 0] + 1j * spectrum[..., 1], expected, atol=1e-13)
    pairs = rng.standard_normal((3, n // 2 + 1, 2))
    back = np.tensordot(pairs, fourier.synthesis(n), axes=((1, 2), (1, 2)))
    np.testing.assert_allclose(back, np.fft.irfft(pairs[..., 0] + 1j * pairs[..., 1], n), atol=1e-13)


@pytest.mark.parametrize("window", ["hann", "hamming", "blackman", "boxcar"])
def test_values_are_librosas(window) -> None:
    x = rng.standard_normal((2, 45))
    sizes = {"n_fft": 12, "hop_length": 4, "win_length": 9, "window": window}
    y, expected = fourier.stft(x, **sizes), librosa.stft(x, **sizes)
    np.testing.assert_allclose(y[..., 0] + 1j * y[..., 1], expected, atol=1e-13)
    changed = y**2
    expected = librosa.istft(changed[..., 0] + 1j * changed[..., 1], **sizes, length=45)
    np.testing.assert_allclose(fourier.istft(changed, **sizes, length=45), expected, atol=1e-12)


@pytest.mark.parametrize("settings", [{}, {"center": False}, {"pad_mode": "reflect"}])
def test_gradients_of_the_transform(agree, settings) -> None:
    x, w = rng.standard_normal((2, 17)), rng.uniform(0.3, 1, 6)

    def value(x, w):
        return fourier.stft(x, 8, 3, 6, w, **settings)

    def hand(g, x, w):
        return fourier.hand_stft(g, x, 8, 3, 6, w, **settings)

    agree(hand, (x, w), value, value)
    sizes = {"n_fft": 7, "hop_length": 2, **settings}
    agree(partial(fourier.hand_stft, **sizes), (x,), partial(fourier.stft, **sizes))


@pytest.mark.parametrize("settings", [{}, {"center": False, "length": 20}, {"length": 9}])
def test_gradients_of_the_inverse(agree, settings) -> None:
    y, w = rng.standard_normal((2, 5, 4, 2)), rng.uniform(0.3, 1, 6)

    def value(y, w):
        return fourier.istft(y, 8, 3, 6, w, **settings)

    def hand(g, y, w):
        return fourier.hand_istft(g, y, 8, 3, 6, w, **settings)

    agree(hand, (y, w), value, value)


def test_gradients_of_frames(agree) -> None:
    frames = (
        partial(fourier.frame, frame_length=4, hop_length=3),
        partial(fourier.hand_frame, frame_length=4, hop_length=3),
    )
    agree(frames[1], (rng.standard_normal((2, 12)),), frames[0], frames[0])
    added = partial(fourier.overlap_add, hop_length=2), partial(fourier.hand_overlap_add, hop_length=2)
    agree(added[1], (rng.standard_normal((2, 3, 4)),), added[0], added[0])
