"""Augmentations: what can be done to a picture without changing what it shows, as functions on arrays.

All take pictures N x C x H x W of a real dtype with values from 0 (black) to 1 (white), on the CPU or a GPU, and return
new ones of the same shape and dtype, again from 0 to 1; nothing is changed in place.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure

from experiments.harness import figures
from experiments.vision import pictures
from tinygrad_hw.backend import Array, array_module, to_numpy


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
