"""Short-time Fourier transform, its inverse, and the frames that both are made of.

Values are librosa's, edges included. The engine differentiates real numbers, so a spectrum is a real array whose last
axis holds real and imaginary part, as PyTorch's ``view_as_real`` has it: ``y[..., 0] + 1j * y[..., 1]`` is librosa's.
Time runs along the last axis of signals and, before that pair, of frames and spectra.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_hw.autograd import Function
from tinygrad_hw.backend import Array, array_module
from tinygrad_hw.functional.arithmetic import cast, expand, mul
from tinygrad_hw.functional.checks import check_floating, integers
from tinygrad_hw.functional.elementwise import where
from tinygrad_hw.functional.shape import pad, transpose
from tinygrad_hw.tensor import raw_of

__all__ = ["frame", "istft", "overlap_add", "stft"]

# Coefficients of a window's cosines 1, cos(φ), cos(2 φ), φ = 2π i / length: Harris 1978, "On the use of windows for
# harmonic analysis with the discrete Fourier transform", Proc. IEEE 66.
WINDOWS = {
    "hann": (0.5, -0.5),
    "hamming": (0.54, -0.46),
    "blackman": (0.42, -0.5, 0.08),
    "boxcar": (1.0,),
}


# ---------------------------------------------------------------------------------------------------------- linear maps


class Frames(Function):
    """f[t, j] = x[t H + j] for ``count`` frames, 0 beyond x; x̄ adds them up again, see :class:`Overlapped`.

    Cut into pieces of H samples, the j-th pieces of all frames are pieces of x: one copy for each j, no index arrays.
    """

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Array, length: int, hop: int, count: int) -> Array:
        xp, size, pieces = array_module(x), x.shape[-1], -(-length // hop)
        ctx.hop, ctx.size = hop, size
        rows = xp.zeros((*x.shape[:-1], (count - 1 + pieces) * hop), x.dtype)
        used = min(size, rows.shape[-1])
        rows[..., :used] = x[..., :used]
        rows = rows.reshape((*x.shape[:-1], count - 1 + pieces, hop))
        frames = xp.empty((*x.shape[:-1], count, length), x.dtype)
        for j in range(pieces):
            piece = frames[..., j * hop : (j + 1) * hop]
            piece[...] = rows[..., j : j + count, : piece.shape[-1]]
        return frames

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return Overlapped.apply(grad, ctx.hop, ctx.size)


def _whole_frames(x: Any, length: int, hop: int) -> Any:
    return Frames.apply(x, length, hop, (x.shape[-1] - length) // hop + 1)


class Overlapped(Function):
    """x[i] = Σ_t f[t, i - t H], of ``size`` samples: the transpose of :class:`Frames`, which is its derivative."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, frames: Array, hop: int, size: int) -> Array:
        *lead, count, length = frames.shape
        ctx.arguments = length, hop, count
        pieces = -(-length // hop)
        rows = array_module(frames).zeros((*lead, max(count - 1 + pieces, -(-size // hop)), hop), frames.dtype)
        for j in range(pieces):
            piece = frames[..., j * hop : (j + 1) * hop]
            rows[..., j : j + count, : piece.shape[-1]] += piece
        return rows.reshape((*lead, rows.shape[-2] * hop))[..., :size]

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return Frames.apply(grad, *ctx.arguments)


def _weights(x: Array, size: int) -> Array:
    """How often each frequency of n real samples counts in all n: 1 for 0 and n / 2, 2 for those between; (bins, 1)."""
    weights = array_module(x).full((size // 2 + 1, 1), 2.0, dtype=x.dtype)
    weights[0] = 1.0
    if size % 2 == 0:
        weights[-1] = 1.0
    return weights


class RealFourier(Function):
    """y[k] = (Σ_i x[i] cos(2π k i / n), -Σ_i x[i] sin(2π k i / n)) for k = 0 ... n / 2, along the last axis.

    With u[k] of :func:`_weights`, x̄[i] = Σ_k ȳ[k, 0] cos(2π k i / n) - ȳ[k, 1] sin(2π k i / n) = n (F⁻¹ ȳ / u)[i].
    """

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Array) -> Array:
        ctx.size = x.shape[-1]
        if ctx.needs_input_grad[0]:
            ctx.weights = ctx.size / _weights(x, ctx.size)
        y = array_module(x).fft.rfft(x)
        return y.view(x.dtype).reshape((*y.shape, 2))

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return InverseRealFourier.apply(mul(grad, ctx.weights), ctx.size)


class InverseRealFourier(Function):
    """x[i] = 1/n Σ_k u[k] (y[k, 0] cos(2π k i / n) - y[k, 1] sin(2π k i / n)): back from :class:`RealFourier`.

    ȳ = u / n F x̄. The sines of the frequencies 0 and n / 2 are zero, so their imaginary parts do not matter.
    """

    fresh = True

    @staticmethod
    def forward(ctx: Any, y: Array, size: int) -> Array:
        xp = array_module(y)
        if ctx.needs_input_grad[0]:
            ctx.weights = _weights(y, size) / size
        spectrum = xp.ascontiguousarray(y).view("c8" if y.dtype.itemsize == 4 else "c16")[..., 0]
        return xp.fft.irfft(spectrum, size)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return mul(RealFourier.apply(grad), ctx.weights)


# ------------------------------------------------------------------------------------------------------------ arguments


def _sizes(name: str, n_fft: Any, hop_length: Any, win_length: Any) -> tuple[int, int, int]:
    """Length of the transform, hop, and length of the window; raises where they do not fit each other."""
    (n_fft,) = integers(name, "n_fft", n_fft, 1, 1)
    win = n_fft if win_length is None else integers(name, "win_length", win_length, 1, 1)[0]
    if win > n_fft:
        raise ValueError(f"{name}: win_length must be at most n_fft={n_fft}, got {win}")
    (hop,) = integers(name, "hop_length", win // 4 if hop_length is None else hop_length, 1, 1)
    if hop > win:
        raise ValueError(f"{name}: hop_length must be at most the window's length {win}, got {hop}: samples were lost")
    return n_fft, hop, win


def _window(name: str, window: Any, size: int, n_fft: int, like: Any) -> Any:
    """The window in the middle of ``n_fft`` entries, zeros around it, as ``like`` in dtype (and device if by name)."""
    if isinstance(window, str):
        if window not in WINDOWS:
            raise ValueError(f"{name}: window must be an array or one of {', '.join(WINDOWS)}, got {window!r}")
        turns = np.outer(2 * np.pi * np.arange(size) / size, np.arange(len(WINDOWS[window])))
        values = np.cos(turns) @ WINDOWS[window] if size > 1 else np.ones(1)
        window = array_module(raw_of(like)).asarray(values.astype(like.dtype))
    else:
        check_floating(name, window)
        if tuple(window.shape) != (size,):
            raise ValueError(f"{name}: expected a window of {size} entries, got {tuple(window.shape)}")
    before = (n_fft - size) // 2
    return pad(cast(window, like.dtype), (before, n_fft - size - before))


def _check_signal(name: str, x: Any) -> None:
    check_floating(name, x)
    if x.ndim < 1 or x.shape[-1] == 0:
        raise ValueError(f"{name}: expected a signal (..., samples) of one sample at least, got {tuple(x.shape)}")


# ----------------------------------------------------------------------------------------------------- public functions


def frame(x: Any, frame_length: int, hop_length: int) -> Any:
    """Pieces of a signal, one every ``hop_length`` samples: y[..., j, t] = x[..., t hop_length + j].

    Shapes: (..., samples) → (..., frame_length, frames), frames = ⌊(samples - frame_length) / hop_length⌋ + 1, as
    librosa.util.frame; samples after the last whole frame are left out. Floating; the gradient is :func:`overlap_add`.

    Raises TypeError for what is not floating and sizes that are not integers; ValueError for sizes below 1 and a signal
    shorter than a frame.
    """
    _check_signal("frame", x)
    (length,) = integers("frame", "frame_length", frame_length, 1, 1)
    (hop,) = integers("frame", "hop_length", hop_length, 1, 1)
    if length > x.shape[-1]:
        raise ValueError(f"frame: a frame of {length} is longer than the signal {tuple(x.shape)}")
    return transpose(_whole_frames(x, length, hop), -1, -2)


def overlap_add(frames: Any, hop_length: int) -> Any:
    """The sum of frames, each ``hop_length`` samples after the last: y[..., i] = Σ_t frames[..., i - t hop_length, t].

    Shapes: (..., frame_length, frames) → (..., frame_length + hop_length (frames - 1)). Floating; the gradient is
    :func:`frame`.

    Raises TypeError for what is not floating and a hop that is no integer; ValueError for a hop below 1 and fewer than
    two axes or one frame.
    """
    check_floating("overlap_add", frames)
    (hop,) = integers("overlap_add", "hop_length", hop_length, 1, 1)
    if frames.ndim < 2 or 0 in frames.shape[-2:]:
        raise ValueError(
            f"overlap_add: expected (..., frame_length, frames), neither of them zero, got {tuple(frames.shape)}"
        )
    length, count = frames.shape[-2:]
    return Overlapped.apply(transpose(frames, -1, -2), hop, length + hop * (count - 1))


def stft(
    x: Any, n_fft: int, hop_length: int | None = None, win_length: int | None = None, window: Any = "hann",
    center: bool = True, pad_mode: str = "constant",
) -> Any:  # fmt: skip
    """Short-time Fourier transform of real signals, equal to ``librosa.stft``: the spectrum of each windowed frame,

        y[..., k, t] = Σ_j w[j] x[..., t H + j] exp(-2πi k j / n_fft),   k = 0 ... ⌊n_fft / 2⌋, H the hop.

    Shapes: (..., samples) → (..., n_fft // 2 + 1, frames, 2), the last axis holding real and imaginary part;
    frames = 1 + ⌊(samples + 2 ⌊n_fft / 2⌋ - n_fft) / H⌋ when centred, else 1 + ⌊(samples - n_fft) / H⌋. float32 stays
    float32. Differentiable any number of times, with respect to the window, too. NaN spreads over the frames it is in.

    Args:
        n_fft: length of a frame and of its transform.
        hop_length: samples from frame to frame, at most ``win_length``; default: a quarter of ``win_length``.
        win_length: of the window, which has zeros around it up to ``n_fft``; default: ``n_fft``.
        window: "hann", "hamming", "blackman" or "boxcar" (periodic, as SciPy's ``get_window`` has them), or
            ``win_length`` numbers.
        center: whether frame t has its middle at sample t H, the signal continued by n_fft // 2 samples on both sides.
        pad_mode: by zeros ("constant") or mirrored ("reflect", for signals longer than n_fft // 2).

    Source: Allen 1977, "Short term spectral analysis, synthesis, and modification by discrete Fourier transform", IEEE
    Trans. ASSP 25.

    Raises TypeError for what is not floating and sizes that are not integers; ValueError for an empty signal, one too
    short for a frame or for mirroring, sizes out of range, an unknown window or mode, and a window of another length.
    """
    _check_signal("stft", x)
    n_fft, hop, win = _sizes("stft", n_fft, hop_length, win_length)
    w = _window("stft", window, win, n_fft, x)
    if pad_mode not in ("constant", "reflect"):
        raise ValueError(f"stft: pad_mode must be 'constant' or 'reflect', got {pad_mode!r}")
    margin = n_fft // 2 if center else 0
    if pad_mode == "reflect" and margin >= x.shape[-1]:
        raise ValueError(f"stft: pad_mode 'reflect' needs more than {margin} samples, got {tuple(x.shape)}")
    if x.shape[-1] + 2 * margin < n_fft:
        raise ValueError(
            f"stft: n_fft={n_fft} is more than the samples of {tuple(x.shape)}; center=True would pad them"
        )
    padded = pad(x, (margin, margin), pad_mode) if margin else x
    return transpose(RealFourier.apply(mul(_whole_frames(padded, n_fft, hop), w)), -2, -3)


def istft(
    spectrum: Any, n_fft: int, hop_length: int | None = None, win_length: int | None = None, window: Any = "hann",
    center: bool = True, length: int | None = None,
) -> Any:  # fmt: skip
    """Inverse of :func:`stft`, equal to ``librosa.istft``: the signal whose transform is nearest in squares,

        x[..., i] = Σ_t w[i - t H] v[..., i - t H, t] / Σ_t w[i - t H]²,   v[..., j, t] = inverse transform of frame t,

    undivided where that sum is (all but) zero (Griffin and Lim 1984, "Signal estimation from modified short-time
    Fourier transform", IEEE Trans. ASSP 32, eq. 6).

    Shapes: (..., n_fft // 2 + 1, frames, 2) → (..., samples), samples = n_fft + H (frames - 1), less 2 ⌊n_fft / 2⌋ when
    centred, or ``length``. float32 stays float32. Differentiable any number of times, with respect to the window, too.

    Args:
        n_fft, hop_length, win_length, window, center: what :func:`stft` was given.
        length: samples to give back, cut off or zeros added; what whole hops do not fill is lost otherwise.

    Raises TypeError for what is not floating and sizes that are not integers; ValueError for a spectrum that is not of
    ``n_fft``, has no frames or no pairs, sizes out of range, an unknown window and a window of another length.
    """
    check_floating("istft", spectrum)
    n_fft, hop, win = _sizes("istft", n_fft, hop_length, win_length)
    bins = n_fft // 2 + 1
    if spectrum.ndim < 3 or spectrum.shape[-3] != bins or spectrum.shape[-1] != 2 or spectrum.shape[-2] == 0:
        raise ValueError(
            f"istft: expected a spectrum (..., {bins}, frames, 2) for n_fft={n_fft}, got {tuple(spectrum.shape)}"
        )
    w = _window("istft", window, win, n_fft, spectrum)
    start, count = n_fft // 2 if center else 0, spectrum.shape[-2]
    stop = n_fft + hop * (count - 1) - start if length is None else start + integers("istft", "length", length, 1, 1)[0]
    frames = mul(InverseRealFourier.apply(transpose(spectrum, -2, -3), n_fft), w)
    signal = Overlapped.apply(frames, hop, stop)[..., start:]
    squares = Overlapped.apply(expand(mul(w, w), (count, n_fft)), hop, stop)[start:]
    covered = raw_of(squares) > float(np.finfo(squares.dtype).tiny)
    return signal / where(covered, squares, 1.0)
