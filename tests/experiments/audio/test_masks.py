"""Masks and measures: what they are by definition, and what a listener would notice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.audio import masks, measures
from experiments.audio.transform import Transform

DRAW = np.random.default_rng(0)
SIZES = Transform(256, 64)


def spectrum() -> np.ndarray:
    return (DRAW.normal(size=(5, 7)) + 1j * DRAW.normal(size=(5, 7))).astype(np.complex64)


def test_masks_by_definition() -> None:
    source, rest = spectrum(), spectrum()
    rest[0, 0] = source[0, 0]
    binary = masks.ideal_binary(source, rest)
    np.testing.assert_array_equal(
        binary, [[float(abs(source[k, t]) > abs(rest[k, t])) for t in range(7)] for k in range(5)]
    )
    assert binary[0, 0] == 0
    s, r = np.abs(source), np.abs(rest)
    np.testing.assert_allclose(masks.ideal_ratio(source, rest), s**2 / (s**2 + r**2), rtol=1e-5)
    np.testing.assert_allclose(masks.ideal_ratio(source, rest, power=1), s / (s + r), rtol=1e-5)
    np.testing.assert_array_equal(masks.ideal_ratio(source, rest, power=1e5) > 0.5, binary > 0.5)
    assert masks.ideal_ratio(np.zeros((1, 1)), np.zeros((1, 1)))[0, 0] == 0.5
    assert masks.ideal_ratio(1e-30 * source, 1e-30 * rest).max() <= 1
    assert {binary.dtype, masks.ideal_ratio(source, rest).dtype} == {np.dtype(np.float32)}


def test_a_mask_scales_magnitudes_and_keeps_phases() -> None:
    mixture, mask = spectrum(), DRAW.random((5, 7))
    masked = masks.apply(mask, mixture)
    assert masked.dtype == np.complex64
    np.testing.assert_allclose(np.abs(masked), mask * np.abs(mixture), rtol=1e-5)
    np.testing.assert_allclose(np.angle(masked), np.angle(mixture), atol=1e-5)


def test_ideal_masks_raise_the_ratio() -> None:
    """Two tones that frequency tells apart: either mask gives the source back."""
    time = np.arange(8000) / 8000
    source, rest = np.sin(2 * np.pi * 500 * time), np.sin(2 * np.pi * 2000 * time)
    parts = SIZES.analyse(source), SIZES.analyse(rest)
    assert measures.snr(source, source + rest) == pytest.approx(0, abs=0.1)
    for mask in (masks.ideal_binary(*parts), masks.ideal_ratio(*parts)):
        recovered = SIZES.synthesise(masks.apply(mask, parts[0] + parts[1]), 8000)
        assert measures.snr(source, recovered) > 25


@pytest.mark.parametrize("make", [masks.ideal_binary, masks.ideal_ratio, masks.apply])
def test_shapes_must_agree(make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"shapes differ: \(5, 7\) and \(5, 6\)"):
        make(np.ones((5, 7)), np.ones((5, 6)))
    with pytest.raises(ValueError, match="above 0"):
        masks.ideal_ratio(np.ones((5, 7)), np.ones((5, 7)), power=0)


# ------------------------------------------------------------------------------------------------------------- measures


def test_ratios_of_known_signals() -> None:
    s, n = np.array([1.0, -1.0, 1.0, -1.0]), np.array([0.1, 0.1, 0.1, 0.1])
    assert measures.snr(s, s + n) == pytest.approx(20)
    assert measures.si_snr(s, 7 * (s + n)) == pytest.approx(20)
    assert measures.snr(s, s) == measures.si_snr(s, 2 * s) == np.inf
    assert measures.snr(s, 0 * s) == pytest.approx(0)
    assert measures.si_snr(s, n) == -np.inf
    np.testing.assert_allclose(measures.snr(np.stack([s, 10 * s]), np.stack([s + n, 10 * s + n])), [20, 40])


@given(st.floats(0.01, 100), st.integers(0, 50))
def test_laws_of_the_ratios(gain: float, seed: int) -> None:
    s, e = np.random.default_rng(seed).normal(size=(2, 30))
    assert measures.si_snr(s, gain * e) == pytest.approx(measures.si_snr(s, e), abs=1e-9)
    assert measures.snr(gain * s, gain * e) == pytest.approx(measures.snr(s, e), abs=1e-9)
    best = (e @ s) / (e @ e)
    assert measures.snr(s, best * e) >= measures.snr(s, e) - 1e-9
    # the cosine between the two says the same: si_snr = 10 log10(c² / (1 - c²)), (1 - c²)⁻¹ being the best snr
    assert measures.snr(s, best * e) == pytest.approx(10 * np.log10(1 + 10 ** (measures.si_snr(s, e) / 10)), abs=1e-9)


@pytest.mark.parametrize("measure", [measures.snr, measures.si_snr, measures.hear])
def test_what_has_no_ratio(measure) -> None:  # type: ignore[no-untyped-def]
    one = np.ones(4)
    for reference, estimate, words in (
        (one, np.ones(5), r"of one shape, got \(4,\) and \(5,\)"),
        (np.ones(0), np.ones(0), "of one shape"),
        (np.zeros(4), one, "the reference is silent"),
        (one, np.array([1, np.nan, 1, 1]), "the estimate has samples that are NaN or infinite"),
    ):
        with pytest.raises(ValueError, match=words):
            measure(reference, estimate)


@pytest.mark.parametrize("shift", [0, 7, -3])
def test_shift_level_and_clipping_are_heard(shift: int) -> None:
    s = DRAW.normal(size=1000)
    estimate = np.roll(0.1 * s, shift) + 0.01 * DRAW.normal(size=1000)
    heard = measures.hear(s, estimate)
    assert heard.shift == shift
    assert heard.level == pytest.approx(-20, abs=1)
    assert heard.clipped == 0
    assert measures.hear(s, np.clip(s, -1, 1)).clipped == pytest.approx(0.317, abs=0.04)
    assert measures.hear(s, 0 * s).level == -np.inf
    with pytest.raises(ValueError, match="expected one signal"):
        measures.hear(s.reshape(2, 500), estimate.reshape(2, 500))
