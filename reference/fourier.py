"""Short-time Fourier transform and its inverse by loops over frames and the DFT as a matrix; derivatives by hand.

A frame of n samples has the spectrum A f and comes back as S of it, for the matrices (k frequency, j sample)

    A[k, 0, j] = cos(2π k j / n),         S[j, k, 0] =  u[k] / n cos(2π k j / n),
    A[k, 1, j] = -sin(2π k j / n),        S[j, k, 1] = -u[k] / n sin(2π k j / n),

u being 1 for the frequencies 0 and n / 2, else 2 (each stands for itself and its conjugate). All maps are linear in the
signal, so a gradient goes back through their transposes. The inverse divides y = Σ w v by q = Σ w² where q > 0, so with
e = g / q the window's gradient is Σ over frames of e v - 2 e x w, x = y / q being the value.

Values accept complex input; where they branch, the real part decides. ``g`` is the gradient of the value; each
``hand_`` function returns one gradient for each array among its arguments, a window given by name being none.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference.elementwise import Gradients
from tinygrad_hw.backend import Array

TINY = float(np.finfo(np.float64).tiny)


def analysis(n: int) -> Array:
    """A (n // 2 + 1, 2, n)."""
    turns = 2 * np.pi * np.outer(np.arange(n // 2 + 1), np.arange(n)) / n
    return np.stack([np.cos(turns), -np.sin(turns)], axis=1)


def synthesis(n: int) -> Array:
    """S (n, n // 2 + 1, 2)."""
    counted = np.where(2 * np.arange(n // 2 + 1) % n == 0, 1.0, 2.0)
    return (analysis(n) * counted[:, None, None] / n).transpose(2, 0, 1)


def window_of(window: Any, size: int, n_fft: int) -> Array:
    """A window by name or as it is, with zeros around it."""
    if isinstance(window, str):
        cosines = [np.cos(2 * np.pi * k * np.arange(size) / size) for k in range(3)]
        window = {
            "hann": np.sin(np.pi * np.arange(size) / size) ** 2,
            "hamming": 0.54 - 0.46 * cosines[1],
            "blackman": 0.42 - 0.5 * cosines[1] + 0.08 * cosines[2],
            "boxcar": cosines[0],
        }[window]
    around = np.zeros(n_fft, window.dtype)
    around[_middle(size, n_fft)] = window
    return around


def _middle(size: int, n_fft: int) -> slice:
    return slice((n_fft - size) // 2, (n_fft - size) // 2 + size)


def _sizes(n_fft: int, hop: int | None, win: int | None) -> tuple[int, int]:
    win = n_fft if win is None else win
    return win // 4 if hop is None else hop, win


# --------------------------------------------------------------------------------------------------------------- frames


def frame(x: Array, frame_length: int, hop_length: int) -> Array:
    """One frame after the other."""
    count = (x.shape[-1] - frame_length) // hop_length + 1
    return np.stack([x[..., t * hop_length :][..., :frame_length] for t in range(count)], axis=-1)


def overlap_add(frames: Array, hop_length: int) -> Array:
    """One frame after the other, added where it was taken."""
    length, count = frames.shape[-2:]
    x = np.zeros((*frames.shape[:-2], length + hop_length * (count - 1)), frames.dtype)
    for t in range(count):
        x[..., t * hop_length : t * hop_length + length] += frames[..., t]
    return x


def _fitted(x: Array, size: int) -> Array:
    """The first ``size`` samples, or zeros after those that there are."""
    fitted = np.zeros((*x.shape[:-1], size), x.dtype)
    fitted[..., : x.shape[-1]] = x[..., :size]
    return fitted


def hand_frame(g: Array, x: Array, frame_length: int, hop_length: int) -> Gradients:
    """Samples that no frame holds have no gradient."""
    return (_fitted(overlap_add(g, hop_length), x.shape[-1]),)


def hand_overlap_add(g: Array, frames: Array, hop_length: int) -> Gradients:
    """Each frame's entries went to one sample each."""
    return (frame(g, frames.shape[-2], hop_length),)


# ----------------------------------------------------------------------------------------------------------- transforms


def _source(size: int, margin: int, mode: str) -> Array:
    """For each sample of the continued signal the sample that it is a copy of, -1 for none."""
    places = np.arange(-margin, size + margin)
    if mode == "reflect":
        return size - 1 - abs(size - 1 - abs(places))
    return np.where((places >= 0) & (places < size), places, -1)


def stft(
    x: Array, n_fft: int, hop_length: int | None = None, win_length: int | None = None, window: Any = "hann",
    center: bool = True, pad_mode: str = "constant",
) -> Array:  # fmt: skip
    """y[k, c, t] = Σ_j A[k, c, j] w[j] f[j, t], the pair c last."""
    hop, win = _sizes(n_fft, hop_length, win_length)
    source = _source(x.shape[-1], n_fft // 2 * center, pad_mode)
    frames = frame(np.where(source < 0, 0.0, x[..., source]), n_fft, hop)
    windowed = window_of(window, win, n_fft)[:, None] * frames
    return np.moveaxis(np.tensordot(windowed, analysis(n_fft), axes=(-2, 2)), (-2, -3), (-3, -2))


def hand_stft(
    g: Array, x: Array, n_fft: int, hop_length: int | None = None, win_length: int | None = None, window: Any = "hann",
    center: bool = True, pad_mode: str = "constant",
) -> Gradients:  # fmt: skip
    """h = Aᵀ g for each frame; w̄ = Σ h f, f̄ = h w, which goes back to the samples that the frames were copied from."""
    hop, win = _sizes(n_fft, hop_length, win_length)
    source = _source(x.shape[-1], n_fft // 2 * center, pad_mode)
    h = np.moveaxis(np.tensordot(g, analysis(n_fft), axes=((-3, -1), (0, 1))), -1, -2)
    frames = frame(np.where(source < 0, 0.0, x[..., source]), n_fft, hop)
    d_continued = _fitted(overlap_add(h * window_of(window, win, n_fft)[:, None], hop), len(source))
    d_x = np.zeros_like(x)
    for place, sample in enumerate(source):
        if sample >= 0:
            d_x[..., sample] += d_continued[..., place]
    d_window = np.moveaxis(h * frames, -2, -1).reshape(-1, n_fft).sum(axis=0)
    return (d_x,) if isinstance(window, str) else (d_x, d_window[_middle(win, n_fft)])


def _parts(
    spectrum: Array, n_fft: int, hop: int, win: int, window: Any, center: bool, length: int | None
) -> tuple[Array, Array, Array, Array, slice]:
    """Frames v, window w, y and q on the continued signal, and which of its samples the value has."""
    v = np.moveaxis(np.tensordot(spectrum, synthesis(n_fft), axes=((-3, -1), (1, 2))), -1, -2)
    w, count = window_of(window, win, n_fft), spectrum.shape[-2]
    start, whole = n_fft // 2 * center, n_fft + hop * (count - 1)
    stop = whole - start if length is None else start + length
    y, q = overlap_add(w[:, None] * v, hop), overlap_add(np.stack([w * w] * count, axis=-1), hop)
    return v, w, _fitted(y, stop), _fitted(q, stop), slice(start, stop)


def istft(
    spectrum: Array, n_fft: int, hop_length: int | None = None, win_length: int | None = None, window: Any = "hann",
    center: bool = True, length: int | None = None,
) -> Array:  # fmt: skip
    """x = y / q where q > 0, else y."""
    hop, win = _sizes(n_fft, hop_length, win_length)
    _, _, y, q, kept = _parts(spectrum, n_fft, hop, win, window, center, length)
    return (y / np.where(q.real > TINY, q, 1.0))[..., kept]


def hand_istft(
    g: Array, spectrum: Array, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
    window: Any = "hann", center: bool = True, length: int | None = None,
) -> Gradients:  # fmt: skip
    """With e = g / q: ȳ = e, so v̄ = w e and w̄ = Σ e v - 2 w Σ e x; the spectrum's gradient is Sᵀ v̄."""
    hop, win = _sizes(n_fft, hop_length, win_length)
    v, w, y, q, kept = _parts(spectrum, n_fft, hop, win, window, center, length)
    divided = q > TINY
    e, x = np.zeros_like(y), y / np.where(divided, q, 1.0)
    e[..., kept] = g
    e = e / np.where(divided, q, 1.0)
    whole = n_fft + hop * (v.shape[-1] - 1)
    of_y = frame(_fitted(e, whole), n_fft, hop)
    of_q = frame(_fitted(np.where(divided, e * x, 0.0), whole), n_fft, hop)
    d_window = np.moveaxis(of_y * v - 2 * w[:, None] * of_q, -2, -1).reshape(-1, n_fft).sum(axis=0)
    d_spectrum = np.tensordot(of_y * w[:, None], synthesis(n_fft), axes=(-2, 0))  # (..., frames, bins, 2)
    gradients = np.moveaxis(d_spectrum, -2, -3), d_window[_middle(win, n_fft)]
    return gradients[:1] if isinstance(window, str) else gradients
