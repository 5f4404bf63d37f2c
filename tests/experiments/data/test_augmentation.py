"""Laws of the augmentations: what undoes what, what stays, what moves where; and that nothing is changed in place."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.data import augmentation as aug
from tests import strict_backend
from tinygrad_hw.backend import to_device, to_numpy
from tinygrad_hw.random import Stream

PICTURES = np.random.default_rng(0).random((4, 3, 6, 8), dtype=np.float32)
TAGGED = np.arange(2 * 1 * 3 * 4, dtype=np.float64).reshape(2, 1, 3, 4) / 24  # every pixel is known by its value

ALL: dict[str, Callable[[Any], Any]] = {
    "brighten": aug.brighten,
    "darken": aug.darken,
    "mirror": aug.mirror,
    "upside_down": aug.upside_down,
    "rotate90": aug.rotate90,
    "shift": lambda x: aug.shift(x, [1, -2, 0, 3][: len(x)], [0, 1, -1, 2][: len(x)], fill=0.25),
    "random_shift": lambda x: aug.random_shift(x, Stream(0, "shift"), 2),
    "random_mirror": lambda x: aug.random_mirror(x, Stream(0, "mirror")),
    "crop": lambda x: aug.crop(x, 1, 1, 2, 3),
    "noise": lambda x: aug.noise(x, Stream(0, "noise"), 0.1),
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
    np.testing.assert_array_equal(aug.crop(TAGGED, 1, 2, 2, 2)[0, 0], picture[1:, 2:])


@given(st.integers(-7, 7), st.integers(-9, 9))
def test_shift(down: int, right: int) -> None:
    moved = aug.shift(PICTURES, [down] * 4, [right] * 4, fill=0.5)
    expected = np.full_like(PICTURES, 0.5)
    height, width = PICTURES.shape[2:]
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                expected[:, :, row, column] = PICTURES[:, :, row - down, column - right]
    np.testing.assert_array_equal(moved, expected)


def test_each_picture_is_moved_by_its_own_amount() -> None:
    moved = aug.shift(PICTURES, [0, 1, 2, 0], [0, 0, -1, 0])
    np.testing.assert_array_equal(moved[[0, 3]], PICTURES[[0, 3]])
    np.testing.assert_array_equal(moved[1, :, 1:], PICTURES[1, :, :-1])
    np.testing.assert_array_equal(moved[2, :, 2:, :-1], PICTURES[2, :, :-2, 1:])
    with pytest.raises(ValueError, match=r"shift: \(3,\) and \(4,\) distances for 4 pictures"):
        aug.shift(PICTURES, [1, 2, 3], [1, 2, 3, 4])


def test_random_ones_are_random_and_reproducible() -> None:
    many = np.broadcast_to(PICTURES[:1], (300, 3, 6, 8))
    shifted = aug.random_shift(many, Stream(0, "a"), 1)
    assert len({picture.tobytes() for picture in shifted}) == 9, "three places each way"
    np.testing.assert_array_equal(shifted, aug.random_shift(many, Stream(0, "a"), 1))
    np.testing.assert_array_equal(aug.random_shift(many, Stream(0, "a"), 0), many)
    mirrored = aug.random_mirror(many, Stream(0, "b"))
    same = (mirrored == many).all(axis=(1, 2, 3))
    assert 100 < same.sum() < 200
    np.testing.assert_array_equal(mirrored[~same], aug.mirror(many[~same]))
    grain = aug.noise(np.full((50, 3, 6, 8), 0.5, np.float32), Stream(0, "c"), 0.05) - 0.5
    assert grain.std() == pytest.approx(0.05, rel=0.05) and abs(grain.mean()) < 0.005
    with pytest.raises(ValueError, match="random_shift: -1 pixels at most"):
        aug.random_shift(many, Stream(0, "a"), -1)


@pytest.mark.parametrize("place", [(-1, 0, 2, 2), (0, 0, 7, 2), (5, 0, 2, 2), (0, 7, 1, 2), (0, 0, 0, 2)])
def test_crop_that_sticks_out(place: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"crop: .* leaves a picture of 6 x 8"):
        aug.crop(PICTURES, *place)


def test_preview() -> None:
    figure = aug.preview([("original", PICTURES), ("mirrored", aug.mirror(PICTURES))], ["a", "b", "c", "d"])
    assert len(figure.axes) == 8
    shown = [axis.images[0].get_array() for axis in figure.axes]
    np.testing.assert_array_equal(shown[0], PICTURES[0].transpose(1, 2, 0))
    np.testing.assert_array_equal(shown[4], shown[0][:, ::-1])
    assert [text.get_text() for axis in figure.axes for text in axis.texts] == ["original", "mirrored"]
    assert figure.axes[3].get_title() == "d"
