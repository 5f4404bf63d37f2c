"""The diagram of how a mini-batch is made."""

from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from experiments.harness import figures

from .batches import TECHNIQUES

SOURCE, CHANGE, RESULT = "#dbe9f6", "#fde5c8", "#d9f0e3"


def draw(batch: int) -> Figure:
    """Boxes from recordings (left) to the batch (right); what a technique does has its name in bold."""
    figure, axis = figures.new(width=9.0, height=4.6)
    axis.set(xlim=(0, 100), ylim=(0, 60))
    axis.axis("off")

    def bold(*names: str) -> str:
        return "\n".join(r"$\bf{" + TECHNIQUES[name].replace(" ", r"\ ") + "}$" for name in names)

    _box(axis, 0, 46, 19, 12, "clips of keywords", SOURCE)
    _box(axis, 0, 31, 19, 12, f"clips of other words\n{bold('unknown')}", SOURCE)
    _box(axis, 0, 16, 19, 12, f"nobody speaks\n{bold('silence')}", SOURCE)
    _box(axis, 0, 1, 19, 12, "recordings of noise", SOURCE)
    _box(axis, 25, 29, 17, 16, f"draw a class,\nthen a clip\n{bold('balancing')}", CHANGE)
    _box(axis, 47, 45, 22, 13, f"play faster, slower\n{bold('augmentation')}", CHANGE)
    _box(axis, 47, 27, 22, 15, f"move, fill up\n{bold('shift', 'padding')}", CHANGE)
    _box(axis, 47, 12, 22, 12, f"louder, softer\n{bold('scaling')}", CHANGE)
    _box(axis, 25, 0.5, 17, 13, "draw a stretch", CHANGE)
    _box(axis, 73, 0.5, 27, 15, f"set its level, add it\n{bold('control', 'noise')}", CHANGE)
    _box(axis, 76, 24, 21, 13, f"log-mel spectrum,\nhide stripes\n{bold('augmentation')}", CHANGE)
    _box(axis, 76, 45, 21, 13, f"mini-batch\n{batch} spectra, labels", RESULT)
    for start, end in (
        ((19, 52), (25, 41)), ((19, 37), (25, 37)), ((19, 22), (25, 33)), ((19, 7), (25, 7)),
        ((42, 40), (47, 51)), ((58, 45), (58, 42)), ((58, 27), (58, 24)),
        ((69, 17), (76, 15.5)), ((42, 7), (73, 7)), ((86.5, 15.5), (86.5, 24)), ((86.5, 37), (86.5, 45)),
    ):  # fmt: skip
        axis.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "#555555", "linewidth": 1.2})
    return figure


def _box(axis: Any, left: float, bottom: float, width: float, height: float, text: str, colour: str) -> None:
    style = "round,pad=0,rounding_size=1.5"
    axis.add_patch(FancyBboxPatch((left, bottom), width, height, boxstyle=style, facecolor=colour, edgecolor="#777777"))
    axis.text(left + width / 2, bottom + height / 2, text, ha="center", va="center", fontsize=8.5)
