"""Streaming equals the whole recording at once, whatever the blocks, in memory that does not grow."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.audio import masks
from experiments.audio.stream import MaskingStream, masked
from experiments.audio.transform import Transform


class Smoothing:
    """A masker with a state: a mask from each frame's magnitudes, averaged with the mask before."""

    def __init__(self) -> None:
        self.before: np.ndarray | None = None
        self.most = 0

    def __call__(self, mixture: np.ndarray) -> np.ndarray:
        self.most = max(self.most, mixture.shape[1])
        answers = []
        for frame in np.abs(mixture).T:
            mask = frame / (frame + 0.5)
            self.before = mask if self.before is None else 0.6 * self.before + 0.4 * mask
            answers.append(self.before)
        return np.stack(answers, axis=1)


def offline(signal: np.ndarray, transform: Transform) -> np.ndarray:
    spectrum = transform.analyse(signal)
    return transform.synthesise(masks.apply(Smoothing()(spectrum), spectrum), len(signal))


def blocks_of(signal: np.ndarray, ends: list[int]) -> list[np.ndarray]:
    return np.split(signal, sorted(min(end, len(signal)) for end in ends))


@given(
    st.integers(1, 400),
    st.lists(st.integers(0, 400), max_size=6),
    st.sampled_from([(16, 8), (16, 4), (15, 7), (16, 5), (12, 11), (12, 12), (1, 1), (2, 1)]),
    st.sampled_from([1, 3, 256]),
)
def test_streaming_equals_the_whole_at_once(
    samples: int, ends: list[int], sizes: tuple[int, int], frames_at_once: int
) -> None:
    transform = Transform(*sizes, window="hann" if sizes[1] <= sizes[0] // 2 else "hamming")
    signal = np.random.default_rng(samples).normal(size=samples).astype(np.float32)
    masker = Smoothing()
    stream = MaskingStream(masker, transform, frames_at_once)
    settled = [stream.push(block) for block in blocks_of(signal, ends)]
    results = np.concatenate([*settled, stream.finish()])
    assert results.dtype == np.float32
    assert results.shape == signal.shape
    assert masker.most <= frames_at_once
    assert samples - sum(map(len, settled)) <= transform.n_fft, "the rest is late by more than a frame"
    np.testing.assert_allclose(results, offline(signal, transform), atol=2e-5)


def test_ten_minutes_in_bounded_memory() -> None:
    rate, minutes, transform = 16_000, 10, Transform()
    tone = np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32)

    def blocks():  # type: ignore[no-untyped-def]
        noise = np.random.default_rng(0)
        for _ in range(60 * minutes):
            yield tone + 0.1 * noise.standard_normal(rate, dtype=np.float32)

    expected = offline(np.concatenate(list(blocks())), transform)
    tracemalloc.start()
    place, worst = 0, 0.0
    for block in masked(blocks(), Smoothing(), transform):
        worst = max(worst, float(np.abs(block - expected[place : place + len(block)]).max(initial=0)))
        place += len(block)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert place == len(expected) == rate * 60 * minutes
    assert worst < 1e-5
    assert peak < 2e6, "the recording alone is 38 MB"


def test_nothing_in_nothing_out() -> None:
    assert MaskingStream(Smoothing(), Transform()).finish().shape == (0,)
    assert [len(block) for block in masked([], Smoothing(), Transform())] == [0]


def test_what_is_refused() -> None:
    stream = MaskingStream(Smoothing(), Transform(16, 8))
    stream.push(np.zeros(100))
    with pytest.raises(ValueError, match="sample 102 is NaN or infinite"):
        stream.push(np.array([0, 0, np.nan, 0]))
    with pytest.raises(ValueError, match=r"one axis, got the shape \(2, 50\)"):
        stream.push(np.zeros((2, 50)))
    stream.finish()
    for call in (stream.finish, lambda: stream.push(np.zeros(3))):
        with pytest.raises(ValueError, match="the stream is finished"):
            call()
    with pytest.raises(ValueError, match=r"shapes differ: \(1,\) and \(9, 3\)"):
        MaskingStream(lambda mixture: np.ones(1), Transform(16, 8)).push(np.zeros(30))
    with pytest.raises(ValueError, match="frames_at_once 0"):
        MaskingStream(Smoothing(), Transform(), 0)
