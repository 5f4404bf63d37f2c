"""Small random changes of shape that leave alone what a picture shows: turns, shifts, size, slant, thickness."""

import math

import numpy as np
from scipy import ndimage

from tinygrad_hw.random import Stream


def warped(
    images: np.ndarray, stream: Stream, *, shift: float = 0.0, turn: float = 0.0, zoom: float = 0.0, slant: float = 0.0
) -> np.ndarray:
    """Each picture moved, turned, enlarged and slanted by random amounts of its own, with linear interpolation.

    Args:
        images: floating, N x C x H x W; what comes in from beyond the rim is 0.
        stream: of the amounts, uniform between minus and plus the following.
        shift: pixels, down and to the right, each by itself.
        turn: degrees, about the middle.
        zoom: share of the size, for height and width each by itself.
        slant: columns a row.

    Returns:
        New pictures of the same shape and dtype.
    """
    count, _, height, width = images.shape
    drawn = stream.uniform((6, count, 1, 1), -1.0, 1.0)
    angle = math.radians(turn) * drawn[0]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    rows, columns = rows - np.float32((height - 1) / 2), columns - np.float32((width - 1) / 2)
    columns = columns + slant * drawn[1] * rows
    places = np.empty((3, count, height, width), np.float32)  # where each new pixel comes from: picture, row, column
    places[0] = np.arange(count)[:, None, None]
    places[1] = (np.cos(angle) * rows - np.sin(angle) * columns) / (1 + zoom * drawn[2]) + shift * drawn[4]
    places[2] = (np.sin(angle) * rows + np.cos(angle) * columns) / (1 + zoom * drawn[3]) + shift * drawn[5]
    places[1] += (height - 1) / 2
    places[2] += (width - 1) / 2
    channels = [ndimage.map_coordinates(channel, places, order=1) for channel in images.swapaxes(0, 1)]
    return np.stack(channels, axis=1)


def thickened(images: np.ndarray, stream: Stream, most: float) -> np.ndarray:
    """Strokes of each picture made thicker or thinner by a random amount.

    Thicker is on the way from the picture to its dilation, the greatest value of each 3 x 3 neighbourhood; thinner on
    the way to its erosion, the least one (Serra, "Image analysis and mathematical morphology", 1982, on grey values).

    Args:
        images: floating, N x C x H x W, strokes brighter than what surrounds them.
        stream: of the amounts.
        most: how far on these ways at most, from 0 to 1.

    Returns:
        New pictures of the same shape and dtype.
    """
    amounts = stream.uniform((len(images), 1, 1, 1), -most, most)
    area = (1, 1, 3, 3)
    goals = np.where(amounts > 0, ndimage.maximum_filter(images, area), ndimage.minimum_filter(images, area))
    return images + np.abs(amounts) * (goals - images)
