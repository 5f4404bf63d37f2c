"""Ten kinds of noise: whole, deterministic, and told apart by their spectra and their movement alone."""

import itertools

import numpy as np
import pytest

from experiments.data.audio import noises
from experiments.data.audio.voice import RATE

SECONDS = 6.0


@pytest.fixture(scope="module")
def drawn() -> dict[tuple[str, int], np.ndarray]:
    return {(kind, seed): noises.draw(kind, SECONDS, seed) for kind in noises.KINDS for seed in (0, 1)}


def bands(samples: np.ndarray) -> np.ndarray:
    """Mean power in 24 bands of equal ratio, dB against the whole."""
    frames = samples[: len(samples) // 512 * 512].reshape(-1, 512) * np.hanning(512)
    power = (np.abs(np.fft.rfft(frames, axis=1)) ** 2).mean(axis=0)
    edges = np.unique(np.geomspace(1, 257, 25).round().astype(int))
    sums = np.array([power[a:b].sum() for a, b in itertools.pairwise(edges)])
    return 10 * np.log10(sums / sums.sum() + 1e-6)


def test_there_are_ten() -> None:
    assert len(noises.KINDS) == 10


def test_level_and_length(drawn: dict[tuple[str, int], np.ndarray]) -> None:
    for (kind, _), samples in drawn.items():
        assert samples.shape == (round(SECONDS * RATE),) and samples.dtype == np.float32
        assert np.isfinite(samples).all()
        assert np.abs(samples).max() <= 0.9501, kind
        assert 0.02 < np.sqrt(np.mean(samples**2)) <= 0.0601, kind


def test_deterministic(drawn: dict[tuple[str, int], np.ndarray]) -> None:
    for kind in noises.KINDS:
        assert np.array_equal(noises.draw(kind, SECONDS, 0), drawn[kind, 0])
        assert not np.array_equal(drawn[kind, 0], drawn[kind, 1])


def test_kinds_differ_in_spectrum(drawn: dict[tuple[str, int], np.ndarray]) -> None:
    found = {key: bands(samples) for key, samples in drawn.items()}
    for one, other in itertools.combinations(noises.KINDS, 2):
        assert np.sqrt(np.mean((found[one, 0] - found[other, 0]) ** 2)) > 2.0, (one, other)


def test_another_seed_is_still_the_same_kind(drawn: dict[tuple[str, int], np.ndarray]) -> None:
    found = {key: bands(samples) for key, samples in drawn.items()}
    nearest = {
        kind: min(noises.KINDS, key=lambda other: float(np.sum((found[kind, 1] - found[other, 0]) ** 2)))
        for kind in noises.KINDS
    }
    assert nearest == {kind: kind for kind in noises.KINDS}
