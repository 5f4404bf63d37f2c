"""Stride, padding, dilation and groups: which inputs each output is made of, asked of the gradient, as pictures."""

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.patches import Rectangle

import tinygrad_hw as tg
from experiments.harness import Run, figures
from tinygrad_hw import functional as F
from tinygrad_hw import nn
from tinygrad_hw.backend import to_device, to_numpy

if TYPE_CHECKING:
    from experiments.convolution import Config

SIDE, KERNEL = 7, 3
CASES: dict[str, dict[str, int]] = {
    "as it is": {},
    "padding 1": {"padding": 1},
    "stride 2": {"stride": 2},
    "stride 2, padding 1": {"stride": 2, "padding": 1},
    "dilation 2": {"dilation": 2},
    "dilation 2, padding 2": {"dilation": 2, "padding": 2},
}
CHANNELS, GROUPS = 8, (1, 2, 4, 8)


def places(size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """Output pixels along a side by the formula; 0 where the kernel is larger than the padded picture."""
    return max(0, (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1)


def measure(run: "Run[Config]") -> None:
    """Sizes by formula and by the engine over a grid of settings."""
    wrong, checks = 0, 0
    for size, kernel, stride, padding, dilation in product((5, 8, 11), (1, 2, 3, 5), (1, 2, 3), (0, 1, 2), (1, 2, 3)):
        picture, weight = (to_device(np.ones((1, 1, side, side)), run.device) for side in (size, kernel))
        expected = places(size, kernel, stride, padding, dilation)
        try:
            found = F.conv2d(picture, weight, stride=stride, padding=padding, dilation=dilation).shape[-1]
        except ValueError:
            found = 0
        wrong, checks = wrong + (found != expected), checks + 1
    run.metric(size_mismatches=wrong, size_checks=checks)


def taps(run: "Run[Config]", case: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """How many outputs use each pixel of the padded picture, and whether the output in the middle does."""
    options = {key: value for key, value in case.items() if key != "padding"}
    side = SIDE + 2 * case.get("padding", 0)
    picture = tg.Tensor(to_device(np.zeros((1, 1, side, side)), run.device), requires_grad=True)
    weight = to_device(np.ones((1, 1, KERNEL, KERNEL)), run.device)

    def asked(choose: Any) -> np.ndarray:
        picture.grad = None
        choose(F.conv2d(picture, weight, **options)).backward()
        assert picture.grad is not None
        return to_numpy(picture.grad.data)[0, 0].copy()

    middle = (places(SIDE, KERNEL, **case) - 1) // 2
    return asked(lambda y: y.sum()), asked(lambda y: y[0, 0, middle, middle])


def connections(run: "Run[Config]", groups: int) -> np.ndarray:
    """Which channels of the output hear which of the input: booleans, out x in."""
    layer = nn.Conv2d(CHANNELS, CHANNELS, KERNEL, groups=groups, bias=False).to(device=run.device, dtype=np.float64)
    layer.load_state_dict({"weight": np.ones(layer.weight.shape)})
    rows = []
    for channel in range(CHANNELS):
        picture = tg.Tensor(to_device(np.zeros((1, CHANNELS, KERNEL, KERNEL)), run.device), requires_grad=True)
        layer(picture)[0, channel].sum().backward()
        assert picture.grad is not None
        rows.append(to_numpy(picture.grad.data)[0].any(axis=(1, 2)))
    return np.array(rows)


def show(run: "Run[Config]") -> None:
    """Diagrams of all settings."""
    report = run.report
    report.section("Stride, padding, dilation, groups")
    report.text(
        """Four numbers say where a kernel goes. Padding puts a frame of zeros around the picture, so that the map need
        not be smaller than the picture. Stride leaves out places: a map of half the side is a quarter of the work.
        Dilation pulls the kernel's entries apart: it sees farther with as many weights. Of a picture of side $n$,
        the map has the side"""
    )
    report.formula(
        r"\left\lfloor \frac{n + 2 p - d (k - 1) - 1}{s} \right\rfloor + 1",
        note=f"""Kernel $k$, padding $p$, stride $s$, dilation $d$. In {run.metrics["size_checks"]:.0f} settings tried
        here, the engine's size was another in {run.metrics["size_mismatches"]:.0f}; where the formula gives none, it
        says that the kernel is larger than the picture.""",
    )
    figure, axes = figures.new(2, 3, width=9.0, height=6.4)
    for axis, (name, case) in zip(axes.flat, CASES.items(), strict=True):
        _draw(axis, run, name, case)
    report.figure(
        "geometry",
        figure,
        caption=f"""Kernels of {KERNEL} x {KERNEL} on pictures of {SIDE} x {SIDE} (thick frame; outside it the zeros of
        padding). Numbers and shades: how many outputs use each pixel. Orange: what the output in the middle is made
        of. Both were read off the gradient.""",
        alt="Six grids of pixels with the number of outputs that use each, and nine marked ones",
    )
    report.text(
        f"""Groups cut the channels into parts that do not hear each other: weights and work are divided by their
        number. With as many groups as channels each has a kernel of its own (depthwise convolution); a 1 x 1
        convolution after it mixes the channels again, both together with far fewer weights than one with all
        connections ({CHANNELS * KERNEL**2 + CHANNELS**2} instead of {CHANNELS**2 * KERNEL**2} here)."""
    )
    figure, axes = figures.new(1, len(GROUPS), width=9.0, height=2.7)
    for axis, groups in zip(axes, GROUPS, strict=True):
        axis.imshow(connections(run, groups), cmap="Blues", vmin=0, vmax=1.4)
        weights = nn.Conv2d(CHANNELS, CHANNELS, KERNEL, groups=groups, bias=False).weight.size
        axis.set(title=f"{groups} group{'s' if groups > 1 else ''}\n{weights} weights", xlabel="channels in")
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
    axes[0].set_ylabel("channels out")
    report.figure(
        "groups",
        figure,
        caption=f"""Which of {CHANNELS} output channels hear which of {CHANNELS} input channels, read off the gradient
        of a {KERNEL} x {KERNEL} convolution.""",
        alt="Four squares: full, two blocks, four blocks, and a diagonal",
    )


def _draw(axis: Any, run: "Run[Config]", name: str, case: dict[str, int]) -> None:
    used, one = taps(run, case)
    padding, side = case.get("padding", 0), places(SIDE, KERNEL, **case)
    axis.imshow(used, cmap="Blues", vmin=0, vmax=1.6 * KERNEL**2)
    for (row, column), count in np.ndenumerate(used):
        axis.text(column, row, f"{count:.0f}", ha="center", va="center", fontsize=7)
        if one[row, column]:
            axis.add_patch(
                Rectangle((column - 0.45, row - 0.45), 0.9, 0.9, fill=False, edgecolor=figures.COLOURS[1], linewidth=2)
            )
    axis.add_patch(Rectangle((padding - 0.5, padding - 0.5), SIDE, SIDE, fill=False, edgecolor="black", linewidth=1.5))
    axis.set(title=f"{name}: {side} x {side} outputs", xticks=[], yticks=[])
    axis.grid(False)
