"""Equivariance: a picture that moves moves its feature map; and what breaks that."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from experiments.harness import Run, figures
from experiments.harness.report import short
from tinygrad_hw import functional as F
from tinygrad_hw.backend import Array, device_of, to_device, to_numpy

from .filters import FILTERS
from .flipping import greatest

if TYPE_CHECKING:
    from experiments.convolution import Config

REACH = 5  # shifts from minus to plus this, down and to the right
Map = Callable[[Array], Array]


def moved(x: Array, down: int, right: int) -> Array:
    """N x C x H x W, moved on; what leaves at one side comes in at the other."""
    return F.roll(x, (down, right), (2, 3))


def on_a_torus(x: Array, kernel: Array, stride: int = 1) -> Array:
    """Cross-correlation of a picture that goes on at its other side."""
    margin = kernel.shape[-1] // 2
    return F.conv2d(F.pad(x, (margin,) * 4, mode="circular"), kernel, stride=stride)


def error(layer: Map, x: Array, stride: int = 1) -> float:
    """The greatest |f(g(x)) - g(f(x))| over all shifts g by multiples of the stride, over the greatest |f(x)|."""
    before, worst = layer(x), 0.0
    for down in range(-REACH, REACH + 1):
        for right in range(-REACH, REACH + 1):
            after = layer(moved(x, stride * down, stride * right))
            worst = max(worst, greatest(after - moved(before, down, right)))
    return worst / greatest(before)


def measure(run: "Run[Config]", pictures: np.ndarray) -> None:
    """Measures on pictures N x 1 x H x W, float64."""
    side = pictures.shape[-1]
    x = to_device(pictures, run.device)

    def drawn(name: str, *shape: int) -> Array:
        return run.stream(f"translation {name}").normal(shape, dtype=np.float64, device=run.device)

    first, second, dense = drawn("first", 4, 1, 3, 3), drawn("second", 2, 4, 5, 5), drawn("dense", side**2, side**2)

    def deep(x: Array) -> Array:
        return on_a_torus(F.relu(on_a_torus(x, first)), second)

    def connected(x: Array) -> Array:
        return F.matmul(x.reshape(len(x), -1), dense).reshape(x.shape)

    run.metric(
        equivariance_error=max(error(lambda x: on_a_torus(x, first), x), error(deep, x)),
        interior_error=_interior_error(x, first),
        stride_equivariance_error=error(lambda x: on_a_torus(x, first, stride=2), x, stride=2),
        dense_equivariance_error=error(connected, x),
        odd_shift_error=_odd_shift_error(x, first),
        rotation_error=_rotation_error(x, first),
    )


def _interior_error(x: Array, kernel: Array) -> float:
    """The same with zeros around the picture, away from the rim, over which something has come in."""
    before, worst = F.conv2d(x, kernel, padding=1), 0.0
    for shift in range(1, REACH + 1):
        after = F.conv2d(moved(x, shift, shift), kernel, padding=1)
        inside = (..., slice(shift + 1, -1), slice(shift + 1, -1))
        worst = max(worst, greatest((after - moved(before, shift, shift))[inside]))
    return worst / greatest(before)


def _odd_shift_error(x: Array, kernel: Array) -> float:
    """With stride 2, a picture that moves by one pixel: the best that moving the answer by 0 or 1 can do."""
    before, after = on_a_torus(x, kernel, stride=2), on_a_torus(moved(x, 0, 1), kernel, stride=2)
    return min(greatest(after - moved(before, 0, right)) for right in (0, 1)) / greatest(before)


def _rotation_error(x: Array, kernel: Array) -> float:
    """A turn by 90 degrees instead of a shift."""

    def turned(images: Array) -> Array:
        return to_device(np.rot90(to_numpy(images), axes=(2, 3)).copy(), device_of(images))

    before = on_a_torus(x, kernel)
    return greatest(on_a_torus(turned(x), kernel) - turned(before)) / greatest(before)


def show(run: "Run[Config]", picture: np.ndarray) -> None:
    """One picture (H x W), its map, and both orders of moving and filtering."""
    report, found, (down, right) = run.report, run.metrics, (3, 6)
    report.section("Equivariance to translation")
    report.text("Let $g$ move a picture and $f$ be a convolution. Moving first or filtering first is the same:")
    report.formula(
        r"f(g(x)) = g(f(x))",
        r"\sum_m x(i + m - s) \, w(m) = \left[ \sum_m x(j + m) \, w(m) \right]_{j = i - s}",
        note="Equivariance; why it holds: the sum at one place is the sum at the other, with the same weights.",
    )
    kernel = to_device(FILTERS["Sobel, down"][None, None], run.device)
    x = to_device(picture[None, None], run.device)
    panels = {
        "$x$": x,
        "$f(x)$": on_a_torus(x, kernel),
        "$g(x)$": moved(x, down, right),
        "$f(g(x))$": on_a_torus(moved(x, down, right), kernel),
        "$g(f(x))$": moved(on_a_torus(x, kernel), down, right),
        "difference": on_a_torus(moved(x, down, right), kernel) - moved(on_a_torus(x, kernel), down, right),
    }
    figure, axes = figures.new(1, len(panels), width=1.5 * len(panels), height=1.9)
    limit = greatest(panels["$f(x)$"])
    for axis, (title, panel) in zip(axes, panels.items(), strict=True):
        signed = "f(" in title or title == "difference"
        style = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit} if signed else {"cmap": "gray", "vmin": 0, "vmax": 1}
        axis.imshow(to_numpy(panel)[0, 0], **style)
        axis.set_title(title)
        axis.axis("off")
    report.figure(
        "equivariance",
        figure,
        caption=f"""A picture $x$, its edges $f(x)$, the picture moved by {down} pixels down and {right} to the right,
        its edges, the edges moved, and the difference of the last two, on the same scale.""",
        alt="A picture and its edges, both moved; filtering and moving in either order give the same",
        raster=True,
    )
    shifts = (2 * REACH + 1) ** 2
    report.text(
        f"""Measured in double precision over {shifts} shifts, on pictures that go on at their other side, with random
        kernels and with two layers and a rectifier between them, the greatest difference between $f(g(x))$ and
        $g(f(x))$, over the greatest answer, is {short(found["equivariance_error"])} (0 is equality to the last bit).
        With zeros around the picture it holds away from the rim ({short(found["interior_error"])}); at the rim the
        zeros are seen. With stride 2 it holds for shifts by
        even numbers, which move the map by half as much ({short(found["stride_equivariance_error"])}); when the
        picture moves by one pixel, the map is another one ({short(found["odd_shift_error"])} of its greatest entry).
        A fully connected layer is not equivariant at all ({short(found["dense_equivariance_error"])}), and convolution
        is not so to turns by 90° ({short(found["rotation_error"])}).""",
    )
