"""How far a unit sees: receptive fields, by formula and as the places where the gradient is not zero."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

import tinygrad_hw as tg
from experiments.harness import Run, figures
from tinygrad_hw import functional as F
from tinygrad_hw.backend import to_device, to_numpy

if TYPE_CHECKING:
    from experiments.convolution import Config

DEPTHS = (1, 2, 4, 8)  # whose fields are shown
SHOWN = 19  # of the picture that they are shown on
DRAWS = 100  # of random kernels for each of them
SIDE = 95  # of the picture, large enough for every field below


@dataclass(frozen=True)
class Layer:
    """A convolution, or a mean over windows that do not overlap, as far as fields go."""

    kernel: int = 3
    stride: int = 1
    dilation: int = 1


PLAIN, POOL = Layer(), Layer(kernel=2, stride=2)
STACKS: dict[str, tuple[Layer, ...]] = {
    "3 x 3": (PLAIN,) * 8,
    "5 x 5": (Layer(kernel=5),) * 8,
    "3 x 3 and pooling in turn": (PLAIN, POOL) * 4,
    "3 x 3, dilation 1, 2, 4, ...": tuple(Layer(dilation=2**i) for i in range(5)),
}


def by_formula(layers: tuple[Layer, ...]) -> int:
    """Pixels along a side: 1 + Σ (kernel - 1) dilation Π of the strides before."""
    field, step = 1, 1
    for layer in layers:
        field += (layer.kernel - 1) * layer.dilation * step
        step *= layer.stride
    return field


def gradient(run: "Run[Config]", layers: tuple[Layer, ...], side: int = SIDE, name: str = "") -> np.ndarray:
    """What every pixel of a picture does to the unit in the middle of the last layer: float64, side x side.

    Args:
        run: gives device and streams.
        layers: from the picture on.
        side: of the picture.
        name: of the stream of random kernels; kernels of ones when empty, under which nothing can cancel.
    """
    picture = tg.Tensor(to_device(np.zeros((1, 1, side, side)), run.device), requires_grad=True)
    x = picture
    for number, layer in enumerate(layers):
        shape = (1, 1, layer.kernel, layer.kernel)
        kernel = run.stream(f"{name} {number}").normal(shape, dtype=np.float64) if name else np.ones(shape)
        x = F.conv2d(x, to_device(kernel, run.device), stride=layer.stride, dilation=layer.dilation)
    middle = x.shape[-1] // 2
    x[0, 0, middle, middle].backward()
    assert picture.grad is not None
    return to_numpy(picture.grad.data)[0, 0]


def mean_squares(run: "Run[Config]", depth: int) -> np.ndarray:
    """Squares of the gradient through 3 x 3 kernels, mean over DRAWS of them: float64, SHOWN x SHOWN."""
    return np.mean([gradient(run, (PLAIN,) * depth, SHOWN, f"field {draw}") ** 2 for draw in range(DRAWS)], axis=0)


def width(weights: np.ndarray) -> float:
    """Standard deviation of the row, as spread out by the weights."""
    rows, shares = np.arange(len(weights)), weights.sum(axis=1) / weights.sum()
    return float(np.sqrt(shares @ (rows - shares @ rows) ** 2))


def extent(found: np.ndarray) -> int:
    """Side of the smallest square with everything that is not zero."""
    rows, columns = np.nonzero(found)
    return int(max(np.ptp(rows), np.ptp(columns))) + 1


@dataclass(frozen=True)
class Fields:
    """What was measured: sides of the fields after each layer of each stack, int64, and mean squares by depth."""

    sides: dict[str, np.ndarray]
    squares: dict[int, np.ndarray]


def measure(run: "Run[Config]") -> Fields:
    """Extent of the fields against the formula, and how wide that is of them which is used."""
    sides, wrong = {}, 0
    for name, stack in STACKS.items():
        sides[name] = np.array([extent(gradient(run, stack[: depth + 1])) for depth in range(len(stack))])
        wrong += sum(side != by_formula(stack[: depth + 1]) for depth, side in enumerate(sides[name]))
    squares = {depth: mean_squares(run, depth) for depth in DEPTHS}
    widths = {depth: width(found) for depth, found in squares.items()}
    slope = np.polyfit(np.log(DEPTHS), np.log([widths[depth] for depth in DEPTHS]), 1)[0]
    run.metric(field_mismatches=wrong, used_field_exponent=slope)
    return Fields(sides, squares)


def show(run: "Run[Config]", fields: Fields) -> None:
    """Growth of the fields, and what fills them."""
    report, sides, squares = run.report, fields.sides, fields.squares
    report.section("How far a unit sees")
    report.text(
        """A unit of the first layer sees as much of the picture as its kernel covers; one of the second sees what
        those that it covers see. With kernels of $k_l$, strides $s_l$ and dilations $d_l$ the side of this receptive
        field is"""
    )
    report.formula(
        r"r_L = 1 + \sum_{l=1}^{L} (k_l - 1) \, d_l \prod_{i=1}^{l-1} s_i",
        note="Receptive field after $L$ layers, in pixels of the picture.",
    )
    figure, axis = figures.new(height=3.8)
    for (name, stack), colour in zip(STACKS.items(), figures.COLOURS, strict=False):
        depths = np.arange(1, len(stack) + 1)
        axis.plot(depths, [by_formula(stack[:depth]) for depth in depths], color=colour, linewidth=1.2, label=name)
        axis.plot(depths, sides[name], "o", color=colour, markersize=5)
    axis.set(xlabel="layers", ylabel="side of the receptive field (pixels)")
    axis.legend()
    report.figure(
        "fields",
        figure,
        caption="""Receptive field by depth: lines by the formula, dots measured, as the extent of the gradient of one
        unit by the picture. By stacking alone it grows linearly, with pooling or dilation exponentially.""",
        alt="Side of the receptive field by number of layers for four stacks; dots on lines",
    )
    panels, axes = figures.new(1, len(DEPTHS), width=2.1 * len(DEPTHS), height=2.4)
    for axis, depth in zip(axes, DEPTHS, strict=True):
        strength = np.sqrt(squares[depth])
        axis.imshow(strength / strength.max(), cmap="magma", vmin=0, vmax=1)
        axis.set_title(f"{depth} layer{'s' if depth > 1 else ''}: {by_formula((PLAIN,) * depth)} pixels")
        axis.axis("off")
    report.figure(
        "effective_fields",
        panels,
        caption=f"""How strongly each pixel acts on one unit after 1, 2, 4 and 8 layers of random 3 x 3 kernels (root
        mean square of {DRAWS} draws, {SHOWN} x {SHOWN} pixels). Many paths lead from the middle, few from the rim: what
        a unit really uses is smaller than its field. Its width grows with the square root of the depth (Luo and others
        2016), here with depth to the power of {run.metrics["used_field_exponent"]:.2f}.""",
        alt="Bright spots that grow with the number of layers and fade towards their rims",
        raster=True,
    )
