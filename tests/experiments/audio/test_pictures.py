"""Spectrograms: the right values in the right panel, on axes of seconds and kilohertz."""

import numpy as np
import pytest

from experiments.audio import masks, pictures
from experiments.audio.pictures import Panel
from experiments.audio.transform import Transform

RATE, SIZES = 16_000, Transform(512, 256)
MIXTURE = SIZES.analyse(np.sin(2 * np.pi * 2000 * np.arange(RATE) / RATE))


def test_panels() -> None:
    mask = masks.ideal_binary(MIXTURE, np.full_like(MIXTURE, 1.0))
    panels = [Panel("mixture", MIXTURE), Panel("mask", mask), Panel("recovered", MIXTURE * mask / 10)]
    figure = pictures.spectrograms(panels, RATE, SIZES)
    axes = [axis for axis in figure.axes if axis.images and axis.get_title()]
    assert [axis.get_title() for axis in axes] == ["mixture", "mask", "recovered"]
    mixture, shown_mask, recovered = (np.asarray(axis.images[0].get_array()) for axis in axes)
    assert mixture.max() == pytest.approx(0)
    assert recovered.max() == pytest.approx(-20)
    assert mixture.min() == -pictures.RANGE
    np.testing.assert_array_equal(shown_mask, mask)
    left, right, bottom, top = axes[0].images[0].get_extent()
    assert (left + right) / 2 == pytest.approx((MIXTURE.shape[1] - 1) / 2 * 256 / RATE)
    assert (bottom + top) / 2 == pytest.approx(4.0)
    row = mixture[:, 30].argmax()
    assert bottom + (row + 0.5) * (top - bottom) / len(mixture) == pytest.approx(2.0), "the tone is at 2 kHz"
    assert {axis.get_ylabel() for axis in figure.axes} >= {"kHz", "dB of the loudest bin", "mask"}


def test_silence_and_masks_alone() -> None:
    figure = pictures.spectrograms([Panel("silence", np.zeros((257, 5), np.complex64))], RATE, SIZES, columns=1)
    assert (np.asarray(figure.axes[0].images[0].get_array()) == -pictures.RANGE).all()
    figure = pictures.spectrograms([Panel("mask", np.ones((257, 5)))], RATE, SIZES)
    assert {axis.get_ylabel() for axis in figure.axes} == {"kHz", "", "mask"}, "no scale of what is not there"


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"one shape, got \[\(257, 5\), \(257, 6\)\]"):
        pictures.spectrograms([Panel("a", np.ones((257, 5))), Panel("b", np.ones((257, 6)))], RATE, SIZES)
