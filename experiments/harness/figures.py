"""Figures in one style: readable colours for colour-blind readers, no global state, drawn without a display."""

import base64
import io
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.ticker import MaxNLocator

# Okabe and Ito, "Color universal design" (2008): told apart with every common kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
STYLE: Any = {
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.titlesize": "medium",
    "grid.color": "#dddddd",
    "font.size": 10.0,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    # Equal input gives an equal file.
    "svg.hashsalt": "tinygrad_hw",
}


def new(rows: int = 1, columns: int = 1, width: float = 7.5, height: float = 4.0, **kwargs: Any) -> tuple[Figure, Any]:
    """A figure and its axes (one, or an array of rows x columns as matplotlib gives it). Sizes in inches."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(rows, columns, **kwargs)


def by_epoch(*axes: Any) -> None:
    """Labels the horizontal axis as epochs, and marks whole ones alone."""
    for axis in axes:
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))


def grid(images: np.ndarray, titles: list[str], columns: int) -> Figure:
    """Grey pictures (N x height x width, high values dark) in rows, each under its title."""
    rows = max(1, -(-len(images) // columns))
    figure, axes = new(rows, columns, width=0.9 * columns, height=1.35 * rows, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, title in zip(axes.flat, images, titles, strict=False):
        axis.imshow(image, cmap="gray_r")
        axis.set_title(title, fontsize=9)
    return figure


def sheet(images: np.ndarray, columns: int, label: str) -> Figure:
    """Signed pictures (N x height x width) on one sheet: red above zero, blue below, one scale for all."""
    count, height, width = images.shape
    rows = -(-count // columns)
    canvas = np.full((rows * (height + 1), columns * (width + 1)), np.nan)
    for number, image in enumerate(images):
        top, left = (number // columns) * (height + 1), (number % columns) * (width + 1)
        canvas[top : top + height, left : left + width] = image
    limit = np.abs(images).max()
    figure, axes = new(width=9.0, height=9.0 * canvas.shape[0] / canvas.shape[1] + 0.7)
    drawn = axes.imshow(canvas, cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes.axis("off")
    figure.colorbar(drawn, ax=axes, location="bottom", shrink=0.4, aspect=40, pad=0.02, label=label)
    return figure


def strip(frames: np.ndarray) -> str:
    """Grey pictures (N x height x width, 0 white to 1 black) side by side, one PNG pixel each, as a data URI."""
    buffer = io.BytesIO()
    imsave(buffer, np.concatenate(list(frames), axis=1), cmap="gray_r", vmin=0.0, vmax=1.0, format="png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def save(figure: Figure, folder: Path | None, name: str, *, raster: bool = False) -> str:
    """Saves a figure in a folder (unless None) and returns it as a data URI.

    Args:
        figure: made by `new`.
        folder: made when missing; gets `NAME.png` and, unless raster, `NAME.svg`.
        name: of the files, without suffix.
        raster: return the PNG, not the SVG, which is large for pictures of pixels and for thousands of points.
    """
    formats: dict[str, dict[str, Any]] = {"png": {"dpi": 160}} | (
        {} if raster else {"svg": {"metadata": {"Date": None}}}
    )
    for suffix, options in formats.items():
        buffer = io.BytesIO()
        with matplotlib.rc_context(STYLE):
            figure.savefig(buffer, format=suffix, **options)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.{suffix}").write_bytes(buffer.getvalue())
    kind = "image/png" if raster else "image/svg+xml"
    return f"data:{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
