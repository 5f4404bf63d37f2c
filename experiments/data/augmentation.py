"""Augmentations: what can be done to a picture without changing what it shows, as functions on arrays.

All take pictures N x C x H x W of a real dtype with values from 0 (black) to 1 (white), on the CPU or a GPU, and return
new ones of the same shape and dtype, again from 0 to 1; nothing is changed in place.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.harness import figures
from experiments.vision import pictures
from tinygrad_hw.backend import Array, array_module, device_of, to_device, to_numpy
from tinygrad_hw.random import Stream


def brighten(images: Array, factor: float = 1.1) -> Array:
    """min(factor x, 1): a tenth more light; what would be brighter than white is white."""
    return array_module(images).minimum(images * factor, 1)


def darken(images: Array, factor: float = 0.9) -> Array:
    """factor x, from 0 to 1: a tenth less light. Raises ValueError for a factor that is not."""
    if not 0 <= factor <= 1:
        raise ValueError(f"darken: factor {factor}, expected 0 to 1")
    return images * factor


def mirror(images: Array) -> Array:
    """Left and right exchanged: x[..., w] becomes x[..., W - 1 - w]. Its own inverse."""
    return images[..., ::-1].copy()


def upside_down(images: Array) -> Array:
    """Top and bottom exchanged: x[..., h, w] becomes x[..., H - 1 - h, w]. Its own inverse."""
    return images[..., ::-1, :].copy()


def rotate90(images: Array, turns: int = 1) -> Array:
    """Turned by 90 degrees counter-clockwise, `turns` times: N x C x W x H for an odd number, four are none."""
    return array_module(images).rot90(images, turns, axes=(-2, -1)).copy()


def shift(images: Array, down: np.ndarray, right: np.ndarray, fill: float = 0.0) -> Array:
    """Each picture moved by whole pixels; what comes in at the rim is `fill`.

    Args:
        images: N x C x H x W.
        down, right: N whole numbers, how far each picture moves; negative is up and left.
        fill: from 0 to 1.

    Raises:
        ValueError: not one number for each picture.
    """
    down, right = np.asarray(down), np.asarray(right)
    if down.shape != (len(images),) or right.shape != (len(images),):
        raise ValueError(f"shift: {down.shape} and {right.shape} distances for {len(images)} pictures")
    height, width = images.shape[-2:]
    rows, columns = np.arange(height) - down[:, None], np.arange(width) - right[:, None]
    inside = ((rows >= 0) & (rows < height))[:, None, :, None] & ((columns >= 0) & (columns < width))[:, None, None, :]
    device = device_of(images)
    number = to_device(np.arange(len(images))[:, None, None, None], device)
    channel = to_device(np.arange(images.shape[1])[:, None, None], device)
    row, column = (to_device(np.clip(at, 0, size - 1), device) for at, size in ((rows, height), (columns, width)))
    moved = images[number, channel, row[:, None, :, None], column[:, None, None, :]]
    return array_module(images).where(to_device(inside, device), moved, images.dtype.type(fill))


def random_shift(images: Array, stream: Stream, most: int, fill: float = 0.0) -> Array:
    """Each picture moved by up to `most` pixels each way, at random: padded by `most`, then cropped at a random place.

    Raises ValueError for a negative number.
    """
    if most < 0:
        raise ValueError(f"random_shift: {most} pixels at most, expected 0 or more")
    down, right = stream.integers(-most, most + 1, (2, len(images)))
    return shift(images, down, right, fill)


def random_mirror(images: Array, stream: Stream, share: float = 0.5) -> Array:
    """Each picture mirrored with a probability. Raises ValueError unless it is from 0 to 1."""
    chosen = to_device(stream.bernoulli(len(images), share)[:, None, None, None], device_of(images))
    return array_module(images).where(chosen, images[..., ::-1], images)


def crop(images: Array, top: int, left: int, height: int, width: int) -> Array:
    """The part from row `top` and column `left`: N x C x height x width. Raises ValueError where it sticks out."""
    if (
        min(top, left) < 0
        or min(height, width) < 1
        or top + height > images.shape[-2]
        or left + width > images.shape[-1]
    ):
        size = f"{images.shape[-2]} x {images.shape[-1]}"
        raise ValueError(f"crop: {height} x {width} at ({top}, {left}) leaves a picture of {size}")
    return images[..., top : top + height, left : left + width].copy()


def noise(images: Array, stream: Stream, deviation: float) -> Array:
    """Gaussian noise of a standard deviation added to every value, then clipped to 0 to 1."""
    grain = stream.normal(images.shape, std=deviation, device=device_of(images))
    return array_module(images).clip(images + grain.astype(images.dtype), 0, 1)


def preview(rows: Sequence[tuple[str, Array]], titles: Sequence[str] = ()) -> Figure:
    """The same pictures in several versions: a row for each version, its name beside it.

    Args:
        rows: names and pictures N x C x H x W from 0 to 1, N the same for all.
        titles: N, above the first row.
    """
    count = len(rows[0][1])
    figure, axes = figures.new(len(rows), count, width=0.95 * count + 1, height=0.97 * len(rows) + 0.3, squeeze=False)
    for line, (name, images) in zip(axes, rows, strict=True):
        for axis, image in zip(line, to_numpy(images), strict=True):
            pictures.show(axis, image)
        line[0].text(-0.15, 0.5, name, transform=line[0].transAxes, ha="right", va="center", fontsize=9)
    for axis, title in zip(axes[0], titles, strict=False):
        axis.set_title(title, fontsize=8)
    return figure
