"""Short-time Fourier transform: librosa's values over a grid of settings, the laws it obeys, and where it ends."""

from __future__ import annotations

import warnings

import librosa
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import get_window

import tinygrad_hw as tg
from tinygrad_hw import functional as F
from tinygrad_hw.functional.fourier import WINDOWS
from tinygrad_hw.gradcheck import gradcheck

LEADS = ((), (2,), (2, 3))


def complex_of(pairs):
    return pairs[..., 0] + 1j * pairs[..., 1]


@st.composite
def settings(draw):
    """Transform, hop, window's length, window and centring."""
    n_fft = draw(st.integers(2, 24))
    win = draw(st.integers(1, n_fft))
    window = draw(st.sampled_from([*WINDOWS, "given"]))
    if window == "given":
        window = np.random.default_rng(win).uniform(0.1, 1, size=win)
    return dict(
        n_fft=n_fft, hop_length=draw(st.integers(1, win)), win_length=win, window=window, center=draw(st.booleans())
    )


def close(ours, theirs):
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    tolerance = {np.float32: 2e-5, np.float64: 1e-12}[ours.real.dtype.type]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * max(1, np.abs(theirs).max(initial=0)))


@given(
    settings(), st.integers(1, 60), st.sampled_from(LEADS), st.sampled_from([np.float32, np.float64]), st.integers(0, 9)
)
def test_stft_is_librosas(chosen, samples, lead, dtype, seed):
    samples = samples if chosen["center"] else max(samples, chosen["n_fft"])
    x = np.random.default_rng(seed).normal(size=(*lead, samples)).astype(dtype)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "n_fft=.* is too large")
        expected = librosa.stft(x, **chosen)
    close(complex_of(F.stft(x, **chosen)), expected)


@given(settings(), st.integers(13, 60), st.integers(0, 9))
def test_mirrored_margins_are_librosas(chosen, samples, seed):
    """librosa mirrors a piece of the signal where it takes a short cut, and when hops are long the piece is too short:
    there its transform of the signal that NumPy has mirrored counts."""
    x = np.random.default_rng(seed).normal(size=samples)
    chosen["center"] = True
    ours = complex_of(F.stft(x, **chosen, pad_mode="reflect"))
    margin = chosen["n_fft"] // 2
    mirrored = np.pad(x, margin, mode="reflect")
    close(ours, librosa.stft(mirrored, **{**chosen, "center": False}))
    if chosen["hop_length"] < margin:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "n_fft=.* is too large")
            close(ours, librosa.stft(x, **chosen, pad_mode="reflect"))


@given(
    settings(), st.integers(1, 12), st.sampled_from(LEADS), st.sampled_from([np.float32, np.float64]),
    st.one_of(st.none(), st.integers(1, 150)), st.integers(0, 9),
)  # fmt: skip
def test_istft_is_librosas(chosen, frames, lead, dtype, length, seed):
    draw = np.random.default_rng(seed)
    pairs = draw.normal(size=(*lead, chosen["n_fft"] // 2 + 1, frames, 2)).astype(dtype)
    expected = librosa.istft(complex_of(pairs), **chosen, length=length)
    ours = F.istft(pairs, **chosen, length=length)
    window = chosen["window"]
    if isinstance(window, str):
        window = get_window(window, chosen["win_length"])
    # where a sample has next to no window, its value is rounding, divided by that
    least = np.abs(window[np.abs(window) > 1e-30]).min(initial=1.0) if dtype == np.float32 else 1.0
    assert ours.dtype == expected.dtype == dtype
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, rtol=0, atol=(2e-5 if dtype == np.float32 else 1e-10) / least)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("hop", [256, 512, 768])
def test_as_the_experiments_use_it(hop, dtype):
    """1,024 samples, Hann, half overlapping and more: librosa's both ways, and the signal comes back."""
    x = np.random.default_rng(0).normal(size=(3, 16_001)).astype(dtype)
    y = F.stft(x, 1024, hop)
    z = librosa.stft(x, n_fft=1024, hop_length=hop)
    close(complex_of(y), z)
    back = F.istft(y, 1024, hop, length=x.shape[-1])
    expected = librosa.istft(z, n_fft=1024, hop_length=hop, length=x.shape[-1])
    close(back[:, :15_800], expected[:, :15_800])  # the last window ends at 15,872 where hops are long
    if hop <= 512:
        np.testing.assert_allclose(back, x, atol=2e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("size", [1, 2, 7, 16])
def test_windows_are_scipys(name, size):
    impulses = np.eye(size)
    np.testing.assert_allclose(
        complex_of(F.stft(impulses, size, 1, window=name, center=False))[:, 0, 0].real,
        get_window(name, size),
        atol=1e-15,
    )


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 20), st.integers(0, 9))
def test_frame_and_overlap_add_are_each_others_transpose(length, hop, more, seed):
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(2, length + more))
    framed = F.frame(x, length, hop)
    np.testing.assert_array_equal(framed, librosa.util.frame(x, frame_length=length, hop_length=hop))
    f = draw.normal(size=framed.shape)
    added = F.overlap_add(f, hop)
    np.testing.assert_allclose((framed * f).sum(), (x[:, : added.shape[1]] * added).sum(), atol=1e-12)


def test_frames_do_not_share_memory_with_the_signal():
    x = np.arange(6.0)
    for framed in (F.frame(x, 3, 1), F.frame(x, 6, 1)):
        assert not np.shares_memory(framed, x)


@pytest.mark.parametrize("chosen", [dict(hop_length=5, win_length=12), dict(window="boxcar", center=False), {}])
def test_training_through_a_mask_and_back_to_the_signal(chosen):
    """The loss that the transforms are for: a masked spectrum, turned into a signal, compared with another one."""
    draw = np.random.default_rng(0)
    mixture, clean = draw.normal(size=(2, 2, 41))
    spectrum = F.stft(mixture, 16, **chosen)
    scores = tg.Tensor(draw.normal(size=spectrum.shape[:-1]), requires_grad=True)

    def loss(scores):
        masked = F.sigmoid(scores).unsqueeze(-1) * spectrum
        return ((F.istft(masked, 16, **chosen, length=41) - clean) ** 2).sum().log()

    assert gradcheck(loss, scores, order=2)


def test_both_transforms_and_the_window_are_differentiable_twice():
    draw = np.random.default_rng(1)
    x = tg.Tensor(draw.normal(size=(2, 30)), requires_grad=True)
    w = tg.Tensor(draw.uniform(0.3, 1, size=9), requires_grad=True)

    def again(x, w):
        return F.istft(F.stft(x, 12, 4, 9, w, pad_mode="reflect") ** 2, 12, 4, 9, w, length=28)

    assert gradcheck(again, [x, w], order=2)


def test_samples_without_a_window_are_left_alone():
    """Hann windows end to end: the first sample of each has the weight 0, nothing is divided, no gradient is NaN."""
    y = tg.Tensor(np.random.default_rng(0).normal(size=(5, 3, 2)), requires_grad=True)
    x = F.istft(y, 8, 8, center=False)
    assert (x.detach().numpy()[::8] == 0).all()
    assert (x.detach().numpy().reshape(3, 8)[:, 1:] != 0).all()
    (x * x).sum().backward()
    assert np.isfinite(y.grad.numpy()).all()


def test_nan_spoils_the_frames_it_is_in_and_no_other():
    x = np.random.default_rng(0).normal(size=64)
    x[30] = np.nan
    spoilt = np.isnan(F.stft(x, 16, 4)).any(axis=(0, 2))
    assert [t for t in range(17) if spoilt[t]] == [t for t in range(17) if 4 * t - 8 <= 30 < 4 * t + 8]
    assert np.isfinite(F.stft(x, 16, 4)[:, ~spoilt]).all()


def test_a_padded_batch_has_the_frames_of_its_members():
    """Zeros after a shorter signal are the zeros that centring adds: its frames are those that it has alone."""
    draw = np.random.default_rng(0)
    short, long = draw.normal(size=37), draw.normal(size=50)
    batch = F.stft(np.stack([np.pad(short, (0, 13)), long]), 16, 4)
    alone = F.stft(short, 16, 4)
    np.testing.assert_array_equal(batch[0, :, : alone.shape[1]], alone)
    np.testing.assert_array_equal(batch[1], F.stft(long, 16, 4))


def test_an_impulse_has_a_flat_spectrum_and_its_gradient_is_a_cosine():
    x = tg.Tensor(np.eye(8)[3], requires_grad=True)
    y = F.stft(x, 8, 8, window="boxcar", center=False)
    np.testing.assert_allclose(np.abs(complex_of(y.detach().numpy())), np.ones((5, 1)), atol=1e-14)
    y[2, 0, 0].backward()
    np.testing.assert_allclose(x.grad.numpy(), np.cos(2 * np.pi * 2 * np.arange(8) / 8), atol=1e-14)
