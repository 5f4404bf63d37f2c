"""Drawn scenes: 32 x 32 colour pictures of ten kinds of thing, from a seed; what stands in for CIFAR-10.

Every thing stands or hangs as gravity has it, a little tilted at most: there is an upright to be learnt, and it can be
told by the thing alone, because the background has none. Colours, sizes, places, haze, grain and side light are random
and say nothing about the class. A thing is not symmetric (a door, a sail, a bonnet, a leaf to one side), but each
picture is as likely as its mirror image: the last step of the drawing mirrors half of them.
"""

from collections.abc import Callable

import numpy as np

from tinygrad_hw.random import Stream

SIDE = 32
NAMES = ("house", "tree", "fir", "boat", "car", "mushroom", "flower", "balloon", "snowman", "lighthouse")
TRAIN, TEST = 6_000, 2_000  # pictures in the embedded set


class Canvas:
    """Pictures under way: painted one shape after the other, each N at a time.

    A shape is a signed distance, negative inside, in units of the picture's half width; parameters are N x 1 x 1. The
    x axis points right, the y axis down, both from -1 to 1. `place` moves what follows to where the thing is.
    """

    def __init__(self, count: int, stream: Stream) -> None:
        axis = (np.arange(SIDE, dtype=np.float32) + 0.5) * (2 / SIDE) - 1
        self.count, self.stream = count, stream
        self.across, self.down = np.broadcast_to(axis, (count, SIDE, SIDE)), axis[:, None] + np.zeros((count, 1, 1))
        self.x, self.y, self.size = self.across, self.down, np.ones((count, 1, 1))
        self.pixels = np.zeros((3, count, SIDE, SIDE), np.float32)

    def draw(self, low: float, high: float) -> np.ndarray:
        """A number for each picture, N x 1 x 1."""
        return self.stream.uniform((self.count, 1, 1), low, high)

    def colour(
        self, saturation: tuple[float, float] = (0.3, 1.0), value: tuple[float, float] = (0.3, 1.0)
    ) -> np.ndarray:
        """A colour of any hue for each picture, 3 x N x 1 x 1."""
        hue, strength, bright = self.draw(0, 6), self.draw(*saturation), self.draw(*value)
        ramps = [np.clip(np.abs((hue + shift) % 6 - 3) - 1, 0, 1) for shift in (0, 4, 2)]
        return np.stack([bright * (1 - strength * (1 - ramp)) for ramp in ramps])

    def place(self, x: np.ndarray, y: np.ndarray, size: np.ndarray, tilt: np.ndarray) -> None:
        """Makes (x, y) the origin, `size` the unit, turned by `tilt` in radians."""
        right, below, cos, sin = self.across - x, self.down - y, np.cos(tilt), np.sin(tilt)
        self.x, self.y = (cos * right + sin * below) / size, (cos * below - sin * right) / size
        self.size = size

    def paint(self, distance: np.ndarray, colour: np.ndarray, opacity: np.ndarray | float = 1.0) -> None:
        """Lays a colour over where the distance is negative, with an edge one pixel wide."""
        cover = np.clip(0.5 - distance * self.size * (SIDE / 2), 0, 1) * opacity
        self.pixels += cover * (colour - self.pixels)

    def oval(self, x: float, y: float, width: float, height: float) -> np.ndarray:
        """An ellipse by its centre and half axes."""
        return (np.hypot((self.x - x) / width, (self.y - y) / height) - 1) * min(width, height)

    def wedge(
        self, x: float, top: float, bottom: float, at_top: float, at_bottom: float, lean: float = 0
    ) -> np.ndarray:
        """A trapezium from `top` to `bottom` with these half widths; its middle moves by `lean` on the way down."""
        share = np.clip((self.y - top) / (bottom - top), 0, 1)
        half = at_top + (at_bottom - at_top) * share
        return np.maximum(np.abs(self.x - x - lean * share) - half, np.maximum(top - self.y, self.y - bottom))


def house(canvas: Canvas) -> None:
    """Walls, a gable roof with a chimney on one side, a door on the other, a window."""
    canvas.paint(canvas.wedge(0.3, -1.05, -0.5, 0.1, 0.1), canvas.colour())
    canvas.paint(canvas.wedge(0, -0.45, 0.6, 0.6, 0.6), canvas.colour())
    canvas.paint(canvas.wedge(0, -1.0, -0.4, 0.05, 0.8), canvas.colour())
    canvas.paint(canvas.wedge(-0.25, 0.0, 0.6, 0.15, 0.15), canvas.colour(value=(0.1, 0.5)))
    canvas.paint(canvas.wedge(0.28, -0.15, 0.2, 0.15, 0.15), canvas.colour((0, 0.4), (0.7, 1)))


def tree(canvas: Canvas) -> None:
    """A trunk and a crown of three overlapping rounds."""
    crown = canvas.colour()
    canvas.paint(canvas.wedge(0, -0.2, 0.6, 0.1, 0.16), canvas.colour(value=(0.1, 0.6)))
    for x, y, radius in ((-0.3, -0.35, 0.4), (0.28, -0.3, 0.36), (0.0, -0.7, 0.42)):
        canvas.paint(canvas.oval(x, y, radius, radius), crown * canvas.draw(0.8, 1.1))


def fir(canvas: Canvas) -> None:
    """A short trunk under three tiers, each wider than the one above."""
    needles = canvas.colour()
    canvas.paint(canvas.wedge(0, 0.2, 0.6, 0.1, 0.1), canvas.colour(value=(0.1, 0.6)))
    for top, half in ((-0.35, 0.68), (-0.75, 0.54), (-1.1, 0.4)):
        canvas.paint(canvas.wedge(0, top, top + 0.65, 0.02, half), needles * canvas.draw(0.8, 1.1))


def boat(canvas: Canvas) -> None:
    """A hull wider above than below, a mast, a sail on one side of it."""
    canvas.paint(canvas.wedge(0, -1.05, 0.2, 0.05, 0.05), canvas.colour(value=(0.1, 0.5)))
    canvas.paint(canvas.wedge(0.06, -1.0, 0.0, 0.01, 0.3, lean=0.3), canvas.colour((0, 0.7), (0.6, 1)))
    canvas.paint(canvas.wedge(0.05, 0.15, 0.6, 0.85, 0.55), canvas.colour())


def car(canvas: Canvas) -> None:
    """A body with a bonnet to one side, a cabin, windows, two wheels."""
    body = canvas.colour()
    canvas.paint(canvas.wedge(-0.2, -0.35, 0.1, 0.35, 0.5), body)
    canvas.paint(canvas.wedge(-0.2, -0.25, 0.02, 0.25, 0.36), canvas.colour((0, 0.4), (0.6, 1)))
    canvas.paint(canvas.wedge(0, 0.02, 0.42, 0.85, 0.9), body)
    tyre = canvas.colour((0, 0.3), (0.0, 0.3))
    for x in (-0.5, 0.5):
        canvas.paint(canvas.oval(x, 0.42, 0.2, 0.2), tyre)
        canvas.paint(canvas.oval(x, 0.42, 0.08, 0.08), canvas.colour((0, 0.3), (0.6, 1)))


def mushroom(canvas: Canvas) -> None:
    """A stem under half a round, with spots."""
    canvas.paint(canvas.wedge(0, -0.2, 0.6, 0.17, 0.24), canvas.colour((0, 0.4), (0.6, 1)))
    cap = np.maximum(canvas.oval(0, -0.1, 0.75, 0.8), canvas.y + 0.1)
    canvas.paint(cap, canvas.colour())
    spots = canvas.colour((0, 0.3), (0.7, 1))
    for x, y, radius in ((-0.35, -0.35, 0.13), (0.1, -0.55, 0.14), (0.42, -0.28, 0.1)):
        canvas.paint(canvas.oval(x, y, radius, radius), spots)


def flower(canvas: Canvas) -> None:
    """A thin stem with a leaf on one side, petals around a middle."""
    green = canvas.colour(value=(0.2, 0.8))
    canvas.paint(canvas.wedge(0, -0.5, 0.6, 0.05, 0.05), green)
    canvas.paint(canvas.oval(0.24, 0.2, 0.24, 0.1), green)
    petals = canvas.colour()
    for turn in np.arange(5) * (2 * np.pi / 5):
        canvas.paint(canvas.oval(0.33 * np.sin(turn), -0.6 - 0.33 * np.cos(turn), 0.22, 0.22), petals)
    canvas.paint(canvas.oval(0, -0.6, 0.18, 0.18), canvas.colour())


def balloon(canvas: Canvas) -> None:
    """A striped round that narrows downwards, ropes, a basket."""
    skin = canvas.colour()
    canvas.paint(canvas.oval(0, -0.5, 0.55, 0.58), skin)
    canvas.paint(canvas.wedge(0, -0.4, 0.15, 0.5, 0.12), skin)
    canvas.paint(canvas.oval(0, -0.5, 0.2, 0.58), canvas.colour())
    for x in (-0.1, 0.1):
        canvas.paint(canvas.wedge(x, 0.1, 0.4, 0.02, 0.02), skin * 0.5)
    canvas.paint(canvas.wedge(0, 0.36, 0.6, 0.16, 0.13), canvas.colour(value=(0.1, 0.6)))


def snowman(canvas: Canvas) -> None:
    """Three rounds, each smaller than the one below, a nose to one side, a hat."""
    snow = canvas.colour((0, 0.7), (0.6, 1))
    for y, radius in ((0.2, 0.42), (-0.3, 0.3), (-0.7, 0.22)):
        canvas.paint(canvas.oval(0, y, radius, radius), snow * canvas.draw(0.85, 1.05))
    canvas.paint(canvas.wedge(0.2, -0.72, -0.64, 0.14, 0.14), canvas.colour())
    hat = canvas.colour(value=(0.0, 0.5))
    canvas.paint(canvas.wedge(0, -0.92, -0.84, 0.32, 0.32), hat)
    canvas.paint(canvas.wedge(0, -1.15, -0.88, 0.18, 0.18), hat)


def lighthouse(canvas: Canvas) -> None:
    """A slender tower, wider at its foot, with bands, a lamp and a beam to one side."""
    canvas.paint(canvas.wedge(0.5, -1.05, -0.75, 0.45, 0.45), canvas.colour((0, 0.5), (0.8, 1)), 0.5)
    canvas.paint(canvas.wedge(0, -0.75, 0.6, 0.16, 0.34), canvas.colour())
    bands = canvas.colour()
    for top, half in ((-0.5, 0.19), (-0.05, 0.25)):
        canvas.paint(canvas.wedge(0, top, top + 0.22, half, half + 0.03), bands)
    canvas.paint(canvas.wedge(0, -1.05, -0.75, 0.13, 0.13), canvas.colour((0, 0.4), (0.8, 1)))
    canvas.paint(canvas.wedge(0, -1.2, -1.02, 0.02, 0.2), bands * 0.7)


THINGS: tuple[Callable[[Canvas], None], ...] = (
    house,
    tree,
    fir,
    boat,
    car,
    mushroom,
    flower,
    balloon,
    snowman,
    lighthouse,
)


def draw(count: int, *, seed: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Pictures and their classes, in an order in which every ten that begin at a multiple of ten have all classes.

    Args:
        count: how many, a multiple of ten.
        seed: the same seed and name give the same pictures.
        name: of the set, such as `training`; sets of other names share no draws.

    Returns:
        uint8, count x 3 x 32 x 32, and int64, count, 0 to 9.

    Raises:
        ValueError: a count that is no positive multiple of ten.
    """
    classes = len(NAMES)
    if count < 1 or count % classes:
        raise ValueError(f"{count} drawn scenes, expected a positive multiple of {classes}")
    each = count // classes
    words = Stream(seed, f"scenes/{name}/order").uniform((each, classes), dtype=np.float64)
    labels = words.argsort(axis=1).reshape(-1).astype(np.int64)
    images = np.empty((count, 3, SIDE, SIDE), np.uint8)
    for label, thing in enumerate(THINGS):
        pixels = _scenes(Canvas(each, Stream(seed, f"scenes/{name}/{NAMES[label]}")), thing)
        images[labels == label] = np.rint(255 * pixels.transpose(1, 0, 2, 3)).astype(np.uint8)
    return images, labels


def _scenes(canvas: Canvas, thing: Callable[[Canvas], None]) -> np.ndarray:
    """A thing in as many scenes as the canvas has pictures: 3 x N x 32 x 32 from 0 to 1."""
    draw = canvas.draw
    turn = draw(0, 2 * np.pi)  # the background has neither an upright nor a side
    slope = (np.cos(turn) * canvas.across + np.sin(turn) * canvas.down + draw(-0.6, 0.6)) * 2
    first, second = canvas.colour((0.0, 0.8), (0.2, 1.0)), canvas.colour((0.0, 0.8), (0.2, 1.0))
    canvas.pixels[:] = first + np.clip(slope * draw(0.5, 4) + 0.5, 0, 1) * (second - first)
    for _ in range(3):
        canvas.place(draw(-1, 1), draw(-1, 1), draw(0.1, 0.45), draw(0, np.pi))
        canvas.paint(canvas.oval(0, 0, 1.0, 0.6), canvas.colour(), draw(0.1, 0.6))
    canvas.place(draw(-0.25, 0.25), draw(0.05, 0.35), draw(0.6, 0.85), draw(-0.2, 0.2))
    thing(canvas)
    pixels = canvas.pixels
    pixels *= 1 + draw(0.0, 0.35) * canvas.across  # light from one side
    haze = draw(0.0, 0.4)
    pixels += haze * (canvas.colour((0, 0.3), (0.4, 0.9)) - pixels)
    pixels *= draw(0.7, 1.15)
    pixels += draw(0.02, 0.08) * canvas.stream.normal(pixels.shape)
    mirrored = canvas.stream.bernoulli(canvas.count, 0.5)
    pixels[:, mirrored] = pixels[:, mirrored, :, ::-1]
    return np.clip(pixels, 0, 1)
