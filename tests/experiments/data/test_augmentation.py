"""Laws of the augmentations: what undoes what, what stays, what moves where; and that nothing is changed in place."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from experiments.data import augmentation as aug
from tests import strict_backend
from tinygrad_hw.backend import to_device, to_numpy

PICTURES = np.random.default_rng(0).random((4, 3, 6, 8), dtype=np.float32)
TAGGED = np.arange(2 * 1 * 3 * 4, dtype=np.float64).reshape(2, 1, 3, 4) / 24  # every pixel is known by its value

ALL: dict[str, Callable[[Any], Any]] = {
    "brighten": aug.brighten,
    "darken": aug.darken,
    "mirror": aug.mirror,
    "upside_down": aug.upside_down,
    "rotate90": aug.rotate90,
}


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("name", ALL)
def test_type_and_range_stay_and_nothing_is_changed_in_place(name: str, dtype: str) -> None:
    given = PICTURES.astype(dtype)
    before = given.copy()
    made = ALL[name](given)
    assert made.dtype == given.dtype
    assert made.min() >= 0 and made.max() <= 1
    made[...] = 0
    np.testing.assert_array_equal(given, before)


@pytest.mark.parametrize("name", ALL)
def test_on_a_device_that_refuses_to_mix_with_numpy(name: str) -> None:
    strict_backend.install()
    found = to_numpy(ALL[name](to_device(PICTURES, "strict")))
    np.testing.assert_array_equal(found, ALL[name](PICTURES))


def test_brighten_and_darken() -> None:
    np.testing.assert_array_equal(aug.brighten(PICTURES), np.minimum(1.1 * PICTURES, 1).astype(np.float32))
    assert (aug.brighten(PICTURES) == 1).any() and (PICTURES < 1).all()
    np.testing.assert_array_equal(aug.darken(PICTURES), np.float32(0.9) * PICTURES)
    with pytest.raises(ValueError, match=r"darken: factor 1.2, expected 0 to 1"):
        aug.darken(PICTURES, 1.2)


def test_what_undoes_what() -> None:
    for once in (aug.mirror, aug.upside_down):
        assert not np.array_equal(once(PICTURES), PICTURES)
        np.testing.assert_array_equal(once(once(PICTURES)), PICTURES)
    assert aug.rotate90(PICTURES).shape == (4, 3, 8, 6)
    np.testing.assert_array_equal(aug.rotate90(PICTURES, 4), PICTURES)
    np.testing.assert_array_equal(aug.rotate90(aug.rotate90(PICTURES), -1), PICTURES)
    np.testing.assert_array_equal(aug.rotate90(PICTURES, 2), aug.mirror(aug.upside_down(PICTURES)))
    np.testing.assert_array_equal(
        aug.mirror(aug.rotate90(PICTURES)), aug.rotate90(aug.upside_down(PICTURES)), "a reflection either way"
    )


def test_what_goes_where() -> None:
    picture = TAGGED[0, 0]
    np.testing.assert_array_equal(aug.mirror(TAGGED)[0, 0, 0], picture[0, ::-1])
    np.testing.assert_array_equal(aug.upside_down(TAGGED)[0, 0, :, 0], picture[::-1, 0])
    turned = aug.rotate90(TAGGED)[0, 0]  # counter-clockwise: what was on the right is on top
    np.testing.assert_array_equal(turned[0], picture[:, -1])
    assert turned[-1, 0] == picture[0, 0], "the top left corner has come to the bottom left"


def test_preview() -> None:
    figure = aug.preview([("original", PICTURES), ("mirrored", aug.mirror(PICTURES))], ["a", "b", "c", "d"])
    assert len(figure.axes) == 8
    shown = [axis.images[0].get_array() for axis in figure.axes]
    np.testing.assert_array_equal(shown[0], PICTURES[0].transpose(1, 2, 0))
    np.testing.assert_array_equal(shown[4], shown[0][:, ::-1])
    assert [text.get_text() for axis in figure.axes for text in axis.texts] == ["original", "mirrored"]
    assert figure.axes[3].get_title() == "d"
