"""The effects that can be hidden in pictures: what each does to one, and how strongly it is drawn to do so."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from tinygrad_hw.random import Stream

FINE = 3  # outlines are drawn on a grid this much finer than the picture


@dataclass(frozen=True)
class Effect:
    """One way to change a picture (H x W, float64, 0 paper to 1 ink) by an amount.

    Attributes:
        title: what it does, for sentences: "turned about the centre".
        unit: of the amount, for axes and tables.
        usual: the extent when none is asked for.
        least, most: extents lie above the first and at most at the second.
        draw: stream, extent, count -> that many amounts, float64.
        apply: picture, amount -> picture.
    """

    title: str
    unit: str
    usual: float
    least: float
    most: float
    draw: Callable[[Stream, float, int], np.ndarray]
    apply: Callable[[np.ndarray, float], np.ndarray]


def both_ways(stream: Stream, extent: float, count: int) -> np.ndarray:
    """Uniform from -extent to extent."""
    return stream.uniform(count, -extent, extent, dtype=np.float64)


def one_way(stream: Stream, extent: float, count: int) -> np.ndarray:
    """Uniform from 0 to extent."""
    return stream.uniform(count, 0.0, extent, dtype=np.float64)


def factor(stream: Stream, extent: float, count: int) -> np.ndarray:
    """From 1 / extent to extent, the logarithm uniform."""
    return np.exp(both_ways(stream, float(np.log(extent)), count))


def fading(stream: Stream, extent: float, count: int) -> np.ndarray:
    """Uniform from 1 - extent to 1."""
    return 1.0 - one_way(stream, extent, count)


def mapped(image: np.ndarray, linear: np.ndarray, right: float = 0.0, down: float = 0.0) -> np.ndarray:
    """Ink at centre + p goes to centre + linear p + (down, right); p is (row, column) from the picture's centre."""
    inverse = np.linalg.inv(linear)
    centre = (np.array(image.shape) - 1) / 2
    offset = centre - inverse @ (centre + np.array([down, right]))
    return np.clip(ndimage.affine_transform(image, inverse, offset, order=3), 0.0, 1.0)


def turning(degrees: float) -> np.ndarray:
    """The rotation counter-clockwise as seen, on (row, column)."""
    angle = np.radians(degrees)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def leaning(shear: float) -> np.ndarray:
    """Everything goes to the right by `shear` times its height above the centre, on (row, column)."""
    return np.array([[1.0, 0.0], [-shear, 1.0]])


def stroke_width(image: np.ndarray) -> float:
    """Mean width of the strokes in pixels: twice the ink over the length of its outline.

    The outline's length is the integral of the slope over the picture, which blur does not change (coarea formula:
    Federer, "Curvature measures", 1959): a stroke of length L and width w has ink w L and two edges of length L. A
    picture without strokes has width 0.
    """
    down, right = np.gradient(image)
    outline = float(np.hypot(down, right).sum())
    return 2 * float(image.sum()) / outline if outline else 0.0


class Outline:
    """A picture's strokes as the distance of each point from their edge, so that they can be drawn wider.

    Args:
        image: H x W; ink is where it is darker than half of `ink`.

    Attributes:
        ink: how dark its inked part is.
    """

    def __init__(self, image: np.ndarray) -> None:
        weight = float((image**2).sum())
        self.ink = float((image**3).sum()) / weight if weight else 1.0
        self._shape = image.shape
        inside = ndimage.zoom(image / self.ink, FINE, order=1, grid_mode=True, mode="grid-constant") >= 0.5
        if inside.any():
            outward = ndimage.distance_transform_edt(~inside)
            self._depth = (ndimage.distance_transform_edt(inside) - outward) / FINE
        else:
            self._depth = np.full(inside.shape, -np.inf)  # the nearest stroke is infinitely far away

    def drawn(self, wider: float) -> np.ndarray:
        """H x W, 0 to 1, with strokes that are so many pixels wider; negative for narrower."""
        height, width = self._shape
        fine = np.clip(self._depth + wider / 2 + 0.5, 0.0, 1.0)
        return fine.reshape(height, FINE, width, FINE).mean(axis=(1, 3))


EFFECTS: dict[str, Effect] = {
    "rotation": Effect(
        "turned about the centre",
        "degrees counter-clockwise",
        60.0,
        0.0,
        90.0,
        both_ways,
        lambda image, amount: mapped(image, turning(amount)),
    ),
    "shift": Effect(
        "moved to the side",
        "pixels to the right",
        4.0,
        0.0,
        8.0,
        both_ways,
        lambda image, amount: mapped(image, np.eye(2), right=amount),
    ),
    "shift_y": Effect(
        "moved up or down",
        "pixels downwards",
        4.0,
        0.0,
        8.0,
        both_ways,
        lambda image, amount: mapped(image, np.eye(2), down=amount),
    ),
    "scale": Effect(
        "made larger or smaller",
        "times the size",
        1.5,
        1.0,
        2.0,
        factor,
        lambda image, amount: mapped(image, amount * np.eye(2)),
    ),
    "shear": Effect(
        "slanted",
        "pixels to the right per pixel upwards",
        0.9,
        0.0,
        1.5,
        both_ways,
        lambda image, amount: mapped(image, leaning(amount)),
    ),
    "thickness": Effect(
        "drawn with a broader pen",
        "pixels of stroke width added",
        4.0,
        0.0,
        6.0,
        one_way,
        lambda image, amount: Outline(image).drawn(amount),
    ),
    "brightness": Effect(
        "faded",
        "times the ink",
        0.7,
        0.0,
        0.95,
        fading,
        lambda image, amount: amount * image,
    ),
}


def change(images: np.ndarray, effect: Effect, extent: float, stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    """Changes each picture by an amount of its own.

    Args:
        images: N x H x W, float, 0 to 1.
        effect, extent: which, and how much at most.
        stream: where the amounts are drawn.

    Returns:
        The changed pictures, float32, and the N amounts, float64.
    """
    amounts = effect.draw(stream, extent, len(images))
    pairs = zip(images.astype(np.float64), amounts, strict=True)
    changed = [effect.apply(image, amount) for image, amount in pairs]
    return np.array(changed, np.float32).reshape(images.shape), amounts
