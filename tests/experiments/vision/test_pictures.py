"""Figures of nets that see: the right picture under the right title, the right numbers in the matrix."""

import numpy as np
import pytest

from experiments.vision import pictures

DRAW = np.random.default_rng(0)
COLOUR, GREY = DRAW.random((5, 3, 6, 6)), DRAW.random((5, 1, 6, 6))


def shown(figure: pictures.Figure) -> list[np.ndarray]:
    return [np.asarray(axis.images[0].get_array()) for axis in figure.axes if axis.images]


def titles(figure: pictures.Figure) -> list[str]:
    return [axis.get_title() for axis in figure.axes if axis.images]


@pytest.mark.parametrize("images", [COLOUR, GREY])
def test_grid(images: np.ndarray) -> None:
    figure = pictures.grid(images, list("abcde"), columns=3)
    assert titles(figure) == list("abcde")
    assert len(figure.axes) == 6
    for picture, image in zip(shown(figure), images, strict=True):
        np.testing.assert_array_equal(picture, image.transpose(1, 2, 0).squeeze())


def test_filters_share_one_scale() -> None:
    weights = DRAW.normal(size=(4, 3, 5, 5))
    weights[2] *= 10
    limit = np.abs(weights).max()
    for picture, kernel in zip(shown(pictures.filters(weights)), weights, strict=True):
        np.testing.assert_allclose(picture, kernel.transpose(1, 2, 0) / limit / 2 + 0.5)
        assert picture.min() >= 0 and picture.max() <= 1
    grey = pictures.filters(weights[:, :1])
    assert {axis.images[0].get_clim() for axis in grey.axes} == {
        (-np.abs(weights[:, :1]).max(), np.abs(weights[:, :1]).max())
    }
    assert shown(pictures.filters(np.zeros((1, 3, 5, 5))))[0].max() == 0.5


def test_feature_maps() -> None:
    maps = DRAW.random((5, 2, 4, 4))
    maps[:, 1] *= 100
    figure = pictures.feature_maps(COLOUR, maps)
    assert titles(figure)[:3] == ["picture", "1", "2"]
    found = shown(figure)
    assert len(found) == 15
    np.testing.assert_array_equal(found[3], COLOUR[1].transpose(1, 2, 0))
    np.testing.assert_array_equal(found[4], maps[1, 0])
    assert figure.axes[5].images[0].get_clim() == (0, maps[:, 1].max())
    pictures.feature_maps(COLOUR, np.zeros((5, 2, 4, 4)))


def test_confusion() -> None:
    labels, answers = np.array([0, 0, 2, 2, 2]), np.array([0, 1, 2, 2, 0])
    counts = pictures.confusion(labels, answers, 3)
    np.testing.assert_array_equal(counts, [[1, 1, 0], [0, 0, 0], [1, 0, 2]])
    figure = pictures.confusion_matrix(counts, ["a", "b", "c"])
    written = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    assert written == {(0, 0): "50", (1, 0): "50", (0, 2): "33", (2, 2): "67"}, "column, row: percent of the row"
    assert figure.axes[0].get_ylabel() == "class" and figure.axes[0].get_xlabel() == "answer"


def test_most_confident_mistakes() -> None:
    labels = np.array([0, 1, 1, 0, 1])
    first = np.array([0.9, 0.6, 0.95, 0.2, 0.3])
    probabilities = np.stack([first, 1 - first], axis=1)
    np.testing.assert_array_equal(pictures.confident_mistakes(labels, probabilities, 10), [2, 3, 1])
    np.testing.assert_array_equal(pictures.confident_mistakes(labels, probabilities, 1), [2])
    figure = pictures.mistakes(COLOUR, labels, probabilities, ["cat", "dog"], count=2)
    assert figure is not None
    assert titles(figure) == ["dog\nas cat\n95%", "cat\nas dog\n80%"]
    np.testing.assert_array_equal(shown(figure)[0], COLOUR[2].transpose(1, 2, 0))
    assert pictures.mistakes(COLOUR, np.array([0, 0, 0, 1, 1]), probabilities, ["cat", "dog"]) is None
