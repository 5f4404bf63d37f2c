"""Filters made by hand: what edge detectors, blurring and sharpening find in a picture."""

from typing import TYPE_CHECKING

import numpy as np

from experiments.harness import Run, figures
from tinygrad_hw import functional as F
from tinygrad_hw.backend import to_device, to_numpy

if TYPE_CHECKING:
    from experiments.convolution import Config

FILTERS: dict[str, np.ndarray] = {
    "as it is": np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], np.float64),
    "mean": np.full((3, 3), 1 / 9),
    "blur": np.outer([1, 2, 1], [1, 2, 1]) / 16,
    "sharpen": np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], np.float64),
    "Sobel, across": np.outer([1, 2, 1], [-1, 0, 1]) / 4,
    "Sobel, down": np.outer([-1, 0, 1], [1, 2, 1]) / 4,
    "Laplace": np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], np.float64),
}
EDGES = np.stack([FILTERS[name] for name in ("Sobel, across", "Sobel, down", "Laplace")])[:, None]
SIGNED = ("Sobel, across", "Sobel, down", "Laplace")


def filtered(pictures: np.ndarray, device: str) -> np.ndarray:
    """What each filter makes of each picture, continued beyond its rim: N x H x W -> N x filters x H x W."""
    kernels = to_device(np.stack(list(FILTERS.values()))[:, None], device)
    framed = F.pad(to_device(pictures[:, None], device), (1, 1, 1, 1), mode="replicate")
    return to_numpy(F.conv2d(framed, kernels))


def show(run: "Run[Config]", pictures: np.ndarray, edges_of: str) -> None:
    """A row for each picture (float64, N x H x W, 0 black to 1 white), a column for each filter."""
    answers = filtered(pictures, run.device)
    across, down = (answers[:, list(FILTERS).index(name)] for name in ("Sobel, across", "Sobel, down"))
    strength = np.hypot(across, down)
    columns = [*FILTERS, "strength of edges"]
    figure, axes = figures.new(
        len(pictures) + 1, len(columns), width=1.2 * len(columns), height=1.32 * (len(pictures) + 1), squeeze=False
    )
    for axis in axes.flat:
        axis.axis("off")
    for axis, (name, kernel) in zip(axes[0], FILTERS.items(), strict=False):
        axis.imshow(kernel, cmap="RdBu_r", vmin=-1, vmax=1)
        axis.set_title(name, fontsize=9)
    axes[0, -1].set_title(columns[-1], fontsize=9)
    axes[0, -1].text(0.5, 0.5, r"$\sqrt{s_x^2 + s_y^2}$", ha="center", va="center", transform=axes[0, -1].transAxes)
    for row, found, edges in zip(axes[1:], answers, strength, strict=True):
        for axis, name, answer in zip(row, FILTERS, found, strict=False):
            if name in SIGNED:
                limit = np.abs(answer).max() or 1.0
                axis.imshow(answer, cmap="RdBu_r", vmin=-limit, vmax=limit)
            else:
                axis.imshow(answer, cmap="gray", vmin=0, vmax=1)
        row[-1].imshow(edges, cmap="magma")
    run.report.section("Filters made by hand")
    run.report.text(
        """Nine numbers suffice to blur, to sharpen, to find edges. A mean over neighbours blurs. Differences of
        neighbours are zero where nothing changes and large at an edge: Sobel's filters take the difference across or
        down and the mean in the other direction, against noise. Laplace's compares a place with its four neighbours.
        A convolutional net starts with random numbers in their places, and often ends with filters much like these."""
    )
    run.report.figure(
        "filters",
        figure,
        caption=f"""Seven filters (top, red above zero, blue below) and what they make of {edges_of}. Answers with both
        signs are drawn in red and blue. Right: how strong edges are in any direction, $s_x$ and $s_y$ being Sobel's
        two answers.""",
        alt="Pictures blurred, sharpened, and reduced to their edges by seven filters",
        raster=True,
    )
