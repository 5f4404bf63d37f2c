"""The figures: ratios with their spread by workload; times by size; seconds to an accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from benchmarks.peers import ENGINES, OURS, OWN
from benchmarks.report import fastest_own, number
from experiments.harness.figures import COLOURS, STYLE, new

_COLOUR = dict(zip([name for name in ENGINES if name not in OWN], COLOURS, strict=False)) | {OURS: "#000000"}
_PLAIN = FuncFormatter(lambda value, _: f"{value:g}")
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)


def ratios(data: Mapping[str, Any]) -> Figure | None:
    """Our time over that of each peer, one row each: median and quartiles over the rounds; left of 1 we are faster.

    None where nothing can be compared.
    """
    rows: list[tuple[str, str, Mapping[str, float]]] = []
    own: dict[str, str | None] = {}
    for workload, entry in data["workloads"].items():
        summary = entry.get("summary", {})
        own[workload] = fastest_own(summary)
        for name, row in summary.items():
            if name not in OWN and own[workload] in row["ratios"]:
                rows.append((workload, name, row["ratios"][own[workload]]))
    if not rows:
        return None
    workloads = list(dict.fromkeys(workload for workload, _, _ in rows))
    figure, axes = new(width=9.5, height=1.1 + 0.24 * len(rows) + 0.3 * len(workloads))
    place, ticks, labels = 0.0, [], []
    for workload in workloads:
        title = data["workloads"][workload]["title"]
        if own[workload] != OURS:
            title += f" ({ENGINES[str(own[workload])].title.partition(', ')[2]})"
        where: Any = {"transform": axes.get_yaxis_transform(), "va": "center", "backgroundcolor": "white"}
        heading = axes.text(0.005, place, f"{workload}: {title}", weight="bold", fontsize="small", **where)
        heading.set_in_layout(False)  # else a long one narrows the axes
        place += 1.0
        for _, name, ratio in (row for row in rows if row[0] == workload):
            colour = _COLOUR[name]
            axes.plot([ratio["low"], ratio["high"]], [place, place], color=colour, linewidth=5, alpha=0.4)
            axes.plot(ratio["median"], place, "o", color=colour, markersize=6)
            text, end = number(ratio["median"]), (ratio["high"], place)
            axes.annotate(text, end, (6, 0), textcoords="offset points", va="center")
            ticks.append(place)
            labels.append(ENGINES[name].title)
            place += 1.0
        place += 0.3
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xscale("log")
    lows, highs = [ratio["low"] for *_, ratio in rows], [ratio["high"] for *_, ratio in rows]
    axes.set_xlim(min(0.5, *lows) * 0.8, max(1.5, *highs) * 1.35)
    axes.set_ylim(place, -0.7)
    axes.set_yticks(ticks, labels)
    axes.grid(False, axis="y")
    axes.xaxis.set_major_locator(FixedLocator(_TICKS))
    axes.xaxis.set_major_formatter(_PLAIN)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("time of tinygrad_hw / time of the other, one training step (left of 1: tinygrad_hw is faster)")
    settings, machine = data["settings"], data["machine"]
    axes.set_title(f"{machine['processor']}, {settings['threads']} threads, device {settings['device']}", loc="left")
    return figure


def growth(found: Mapping[str, Any]) -> Figure:
    """Milliseconds a step over batch, width and depth."""
    axes_found = found["axes"]
    figure, panels = new(1, len(axes_found), width=3.6 * len(axes_found), height=3.6, squeeze=False, sharey=True)
    for panel, (axis, sizes) in zip(panels[0], axes_found.items(), strict=True):
        names = list(dict.fromkeys(name for row in sizes.values() for name in row))
        for name in names:
            points = [(int(size), row[name]) for size, row in sizes.items() if name in row]
            x, y = [size for size, _ in points], [time["median"] for _, time in points]
            panel.plot(x, y, "o-", color=_COLOUR[name], label=ENGINES[name].title, markersize=4)
            panel.fill_between(
                x, [t["low"] for _, t in points], [t["high"] for _, t in points], color=_COLOUR[name], alpha=0.2
            )
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.xaxis.set_major_locator(FixedLocator([int(size) for size in sizes]))
        panel.xaxis.set_minor_locator(NullLocator())
        for scale in (panel.xaxis, panel.yaxis):
            scale.set_major_formatter(_PLAIN)
        panel.set_xlabel(axis)
        others = ", ".join(f"{key} {value}" for key, value in found["base"].items() if key != axis)
        panel.set_title(others, loc="left")
    panels[0][0].set_ylabel("ms a training step")
    panels[0][0].legend(fontsize="small")
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write an SVG or a PNG, as the file's name ends; equal input gives an equal file."""
    options: dict[str, Any] = {"dpi": 160} if path.suffix == ".png" else {"metadata": {"Date": None}}
    with matplotlib.rc_context(STYLE):
        figure.savefig(path, **options)
