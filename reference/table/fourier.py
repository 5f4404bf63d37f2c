"""Records of the short-time Fourier transform, its inverse, and the frames that they are made of."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference import fourier as by_hand
from reference.table.record import Call, Failure, Record, call

Shape = tuple[int, ...]

FRAMED: tuple[tuple[Shape, int, int], ...] = (((2, 11), 4, 3), ((9,), 3, 5), ((3, 2, 7), 7, 2), ((0, 6), 2, 1))
ADDED: tuple[tuple[Shape, int], ...] = (((2, 4, 3), 3), ((3, 2), 5), ((3, 2, 7, 4), 2), ((0, 2, 5), 1))
SIGNALS: tuple[tuple[Shape, tuple[Any, ...], dict[str, Any]], ...] = (
    ((2, 23), (8,), {}),
    ((19,), (7, 3, 5), {"window": "hamming"}),
    ((2, 3, 17), (6, 4, 5), {"window": "blackman", "center": False}),
    ((2, 14), (9, 2, 6), {"window": "boxcar", "pad_mode": "reflect"}),
    ((3,), (8, 3), {}),  # shorter than a frame
    ((0, 12), (4, 1), {}),
)
SPECTRA: tuple[tuple[Shape, tuple[Any, ...], dict[str, Any]], ...] = (
    ((2, 5, 4, 2), (8,), {}),
    ((4, 6, 2), (7, 3, 5), {"window": "hamming"}),
    ((2, 3, 4, 5, 2), (6, 2, 5), {"window": "boxcar", "length": 9}),
    ((2, 5, 3, 2), (9, 4), {"window": "hamming", "center": False, "length": 25}),
    ((5, 4, 2), (8, 3, 6), {"window": "boxcar", "center": False}),  # the first and the last sample in no window
    ((4, 3, 2), (6,), {"center": False}),
    ((0, 3, 5, 2), (4, 1), {}),
)
WINDOWED = ((8, 3, 6), (9, 2, 8))  # transform, hop and window of calls with a window of random numbers


def _frames(rng: np.random.Generator) -> list[Call]:
    return [call(rng.normal(size=shape), length, hop) for shape, length, hop in FRAMED]


def _added(rng: np.random.Generator) -> list[Call]:
    return [call(rng.normal(size=shape), hop) for shape, hop in ADDED]


def _signals(rng: np.random.Generator) -> list[Call]:
    named = [call(rng.normal(size=shape), *sizes, **settings) for shape, sizes, settings in SIGNALS]
    given = [call(rng.normal(size=(2, 21)), *sizes, rng.uniform(0.3, 1, size=sizes[2])) for sizes in WINDOWED]
    return named + given


def _spectra(rng: np.random.Generator) -> list[Call]:
    named = [call(rng.normal(size=shape), *sizes, **settings) for shape, sizes, settings in SPECTRA]
    given = [
        call(rng.normal(size=(3, n // 2 + 1, 4, 2)), n, hop, win, rng.uniform(0.3, 1, size=win))
        for n, hop, win in WINDOWED
    ]
    return named + given


def _torch_window(torch: Any, window: Any, size: int) -> Any:
    if not isinstance(window, str):
        return window
    names = {"hann": "hann", "hamming": "hamming", "blackman": "blackman"}
    made = getattr(torch, f"{names[window]}_window") if window in names else torch.ones
    return made(size, dtype=torch.float64)


def _torch_frame(torch: Any, x: Any, length: int, hop: int) -> Any:
    return x.unfold(-1, length, hop).transpose(-1, -2)


def _torch_overlap_add(torch: Any, frames: Any, hop: int) -> Any:
    *lead, length, count = frames.shape
    if 0 in lead:
        return NotImplemented
    size = length + hop * (count - 1)
    flat = frames.reshape(-1, length, count)
    return torch.nn.functional.fold(flat, (1, size), (1, length), stride=(1, hop)).reshape(*lead, size)


def _torch_stft(
    torch: Any,
    x: Any,
    n_fft: int,
    hop: int | None = None,
    win: int | None = None,
    window: Any = "hann",
    **settings: Any,
) -> Any:
    win = win or n_fft
    if 0 in x.shape:
        return NotImplemented
    y = torch.stft(
        x.reshape(-1, x.shape[-1]), n_fft, hop or win // 4, win, _torch_window(torch, window, win), return_complex=True,
        **{"pad_mode": "constant", **settings},
    )  # fmt: skip
    return torch.view_as_real(y).reshape(*x.shape[:-1], *y.shape[1:], 2)


def _torch_istft(
    torch: Any, y: Any, n_fft: int, hop: int | None = None, win: int | None = None, window: Any = "hann",
    center: bool = True, length: int | None = None,
) -> Any:  # fmt: skip
    """PyTorch refuses a window that leaves a sample out, and pads nothing with zeros."""
    win = win or n_fft
    if not center or 0 in y.shape:
        return NotImplemented
    flat = torch.view_as_complex(y.reshape(-1, *y.shape[-3:]).contiguous())
    x = torch.istft(flat, n_fft, hop or win // 4, win, _torch_window(torch, window, win), center, length=length)
    return x.reshape(*y.shape[:-3], x.shape[-1])


def _ones(*shape: int) -> np.ndarray:
    return np.ones(shape)


WINDOW_FAILURES: tuple[tuple[tuple[Any, ...], type[Exception], str], ...] = (
    ((8, 9), ValueError, "hop_length must be at most the window's length 8, got 9"),
    ((8, 5, 4), ValueError, "hop_length must be at most the window's length 4, got 5"),
    ((8, 2, 9), ValueError, "win_length must be at most n_fft=8, got 9"),
    ((8, 2, 0), ValueError, "win_length must be one integer of at least 1"),
    ((8, 0), ValueError, "hop_length must be one integer of at least 1"),
    ((8, 2.5), TypeError, "hop_length must be an integer"),
    ((8.0,), TypeError, "n_fft must be an integer"),
    ((8, 2, 6, "triangle"), ValueError, "one of hann, hamming, blackman, boxcar, got 'triangle'"),
    ((8, 2, 6, _ones(8)), ValueError, "expected a window of 6 entries, got (8,)"),
    ((8, 2, 6, np.ones(6, np.int64)), TypeError, "expected a floating Tensor or array, got int64"),
)
STFT_FAILURES = (
    *(Failure(call(_ones(2, 20), *sizes), error, words) for sizes, error, words in WINDOW_FAILURES),
    Failure(call(_ones(2, 0), 8), ValueError, "of one sample at least, got (2, 0)"),
    Failure(call(_ones(), 8), ValueError, "expected a signal (..., samples)"),
    Failure(call(_ones(2, 7), 8, center=False), ValueError, "n_fft=8 is more than the samples of (2, 7)"),
    Failure(call(_ones(4), 8, pad_mode="reflect"), ValueError, "needs more than 4 samples, got (4,)"),
    Failure(call(_ones(9), 8, pad_mode="edge"), ValueError, "must be 'constant' or 'reflect', got 'edge'"),
    Failure(call(np.ones(9, np.int16), 8), TypeError, "expected a floating Tensor or array, got int16"),
)
ISTFT_FAILURES = (
    *(Failure(call(_ones(5, 3, 2), *sizes), error, words) for sizes, error, words in WINDOW_FAILURES),
    Failure(call(_ones(5, 3), 8), ValueError, "expected a spectrum (..., 5, frames, 2) for n_fft=8, got (5, 3)"),
    Failure(call(_ones(5, 3, 2), 10), ValueError, "expected a spectrum (..., 6, frames, 2) for n_fft=10"),
    Failure(call(_ones(5, 3, 1), 8), ValueError, "got (5, 3, 1)"),
    Failure(call(_ones(2, 5, 0, 2), 8), ValueError, "got (2, 5, 0, 2)"),
    Failure(call(_ones(5, 3, 2), 8, length=0), ValueError, "length must be one integer of at least 1"),
    Failure(call(np.ones((5, 3, 2), np.int64), 8), TypeError, "expected a floating Tensor or array, got int64"),
)
FRAME_FAILURES = (
    Failure(call(_ones(2, 3), 4, 1), ValueError, "a frame of 4 is longer than the signal (2, 3)"),
    Failure(call(_ones(2, 0), 1, 1), ValueError, "of one sample at least"),
    Failure(call(_ones(5), 0, 1), ValueError, "frame_length must be one integer of at least 1"),
    Failure(call(_ones(5), 2, 0), ValueError, "hop_length must be one integer of at least 1"),
    Failure(call(np.ones(5, np.int64), 2, 1), TypeError, "expected a floating Tensor or array, got int64"),
)
ADD_FAILURES = (
    Failure(call(_ones(4), 2), ValueError, "expected (..., frame_length, frames)"),
    Failure(call(_ones(4, 0), 2), ValueError, "neither of them zero, got (4, 0)"),
    Failure(call(_ones(4, 3), 0), ValueError, "hop_length must be one integer of at least 1"),
    Failure(call(np.ones((4, 3), np.int64), 2), TypeError, "expected a floating Tensor or array, got int64"),
)

RECORDS = [
    Record(
        "frame",
        samples=_frames,
        numpy=by_hand.frame,
        hand=by_hand.hand_frame,
        torch=_torch_frame,
        failures=FRAME_FAILURES,
    ),
    Record(
        "overlap_add",
        samples=_added,
        numpy=by_hand.overlap_add,
        hand=by_hand.hand_overlap_add,
        torch=_torch_overlap_add,
        failures=ADD_FAILURES,
    ),
    Record(
        "stft",
        samples=_signals,
        numpy=by_hand.stft,
        hand=by_hand.hand_stft,
        torch=_torch_stft,
        failures=STFT_FAILURES,
    ),
    Record(
        "istft",
        samples=_spectra,
        numpy=by_hand.istft,
        hand=by_hand.hand_istft,
        torch=_torch_istft,
        failures=ISTFT_FAILURES,
    ),
]
