"""Runs laid over each other: their curves, their metrics, and the settings in which they differ, in one page.

Runs that differ in nothing but the seed are one group: a colour, thin lines for the seeds, a thick one for their mean.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import figures
from .errors import UserError
from .folder import RunFolder, read_json, write_text
from .metrics import KEYS, read_rows
from .report import Report, render
from .seeds import over_seeds

APART = ("seed", "data_dir", "check", "tensorboard")  # what may differ within a group


Curve = tuple[list[int], list[float]]


@dataclass(frozen=True)
class Member:
    """A run of the comparison: what was asked for, what came out, and the metrics of its epochs."""

    name: str
    order: dict[str, Any]
    summary: dict[str, Any]
    rows: list[dict[str, Any]]

    @property
    def metrics(self) -> dict[str, float | None]:
        return dict(self.summary.get("metrics", {}))

    def curves(self, family: str, value: str) -> list[Curve]:
        """Epochs and values of each loop of a family."""
        found: dict[str, Curve] = {}
        for row in self.rows:
            if family_of(row["loop"]) == family and value in row:
                epochs, values = found.setdefault(row["loop"], ([], []))
                epochs.append(row["epoch"])
                values.append(row[value])
        return list(found.values())


Groups = dict[str, list[Member]]


def family_of(loop: str) -> str:
    """What loops have in common that differ in the seed alone, such as `dropout-seed0` and `dropout-seed1`."""
    return re.sub(r"[-_ ]seed\d+$", "", loop)


def compare(folders: list[Path], out: Path | None) -> Path:
    """Writes the page and returns its path.

    Args:
        folders: of two runs or more; unfinished ones are shown as far as they got.
        out: the file, or None for `compare-A-B.html` beside the first run.

    Raises:
        UserError: fewer than two folders, or one that holds no run.
    """
    if len(folders) < 2:
        raise UserError("compare: one run given, expected two or more")
    members = [_member(name, RunFolder.existing(folder)) for name, folder in zip(_names(folders), folders, strict=True)]
    groups = _groups(members)
    names = [member.name for member in members]
    path = out or folders[0].parent / f"compare-{'-'.join(names)[:100]}.html"
    titles = [member.name if member.summary else f"{member.name} (unfinished)" for member in members]
    report = Report(f"Comparison of {', '.join(titles[:-1])} and {titles[-1]}", None)
    report.section("Curves")
    report.text("Thin lines are single seeds, a thick one is their mean in every epoch that all of them reached.")
    for value in dict.fromkeys(key for member in members for row in member.rows for key in row if key not in KEYS):
        _curves(report, value, groups)
    report.section("Metrics")
    _metrics(report, members)
    if any(len(group) > 1 for group in groups.values()):
        _spreads(report, groups)
    report.section("Settings")
    caption = "What the runs were asked to do, and what they found, where it differs."
    report.table(("Setting", *names), _differences(members), caption=caption)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, render("page.html.j2", report=report, facts=f"{len(members)} runs.", closing=""))
    return path


def _member(name: str, run: RunFolder) -> Member:
    return Member(
        name,
        read_json(run.order),
        read_json(run.summary) if run.summary.exists() else {},
        read_rows(run.metrics) if run.metrics.exists() else [],
    )


def _names(folders: list[Path]) -> list[str]:
    names = [folder.resolve().name for folder in folders]
    return [name if names.count(name) == 1 else f"{i}-{name}" for i, name in enumerate(names, 1)]


def _groups(members: list[Member]) -> Groups:
    """Runs by what they were asked for apart from the seed, each group under the name of its first, without a seed."""
    found: dict[str, list[Member]] = {}
    for member in members:
        asked = {key: value for key, value in member.order.items() if key not in APART}
        found.setdefault(json.dumps(asked, sort_keys=True), []).append(member)
    named: Groups = {}
    for group in found.values():
        short = re.sub(r"[-_]?seed\d+", "", group[0].name) or str(group[0].order["experiment"])
        name = f"{short} ({len(group)} seeds)" if len(group) > 1 else group[0].name
        named[name if name not in named else f"{name}, {len(named) + 1}"] = group
    return named


def _curves(report: Report, value: str, groups: Groups) -> None:
    """A figure with a panel for each family of loops."""
    everyone = [member for group in groups.values() for member in group]
    loops = list(dict.fromkeys(family_of(row["loop"]) for member in everyone for row in member.rows if value in row))
    columns = min(3, len(loops))
    count = -(-len(loops) // columns)
    figure, axes = figures.new(count, columns, width=9.0, height=0.6 + 2.9 * count, squeeze=False, sharey=True)
    for axis in axes.flat[len(loops) :]:
        axis.axis("off")
    for axis, loop in zip(axes.flat, loops, strict=False):
        for number, (name, group) in enumerate(groups.items()):
            _draw(axis, [curve for member in group for curve in member.curves(loop, value)], name, number)
        axis.set_title(loop)
        figures.by_epoch(axis)
    for row in axes:
        row[0].set_ylabel(value)
    numbers = np.array([row[value] for member in everyone for row in member.rows if value in row])
    if numbers.min() > 0 and numbers.max() > 30 * numbers.min():
        axes[0, 0].set_yscale("log")  # of all panels: they share it
    handles = {line.get_label(): line for axis in axes.flat for line in axis.get_lines() if line.get_label()[:1] != "_"}
    figure.legend(handles.values(), handles.keys(), loc="outside upper left", fontsize="small", ncols=2)
    names = ", ".join(groups)
    report.figure(value, figure, caption=f"`{value}` by epoch.", alt=f"{value} by epoch for {names}")


def _draw(axis: Any, curves: list[Curve], name: str, number: int) -> None:
    """The curves of a group in one panel."""
    style = {
        "color": figures.COLOURS[number % len(figures.COLOURS)],
        "linestyle": ("-", "--", ":", "-.")[number // len(figures.COLOURS) % 4],
    }
    if not curves:
        return
    marker = "." if max(len(epochs) for epochs, _ in curves) < 30 else None
    if len(curves) == 1:
        axis.plot(*curves[0], label=name, marker=marker, **style)
        return
    for curve in curves:
        axis.plot(*curve, linewidth=0.8, alpha=0.5, **style)
    together = min(len(epochs) for epochs, _ in curves)
    mean = np.mean([values[:together] for _, values in curves], axis=0)
    axis.plot(curves[0][0][:together], mean, label=name, marker=marker, linewidth=2.2, **style)


def _metrics(report: Report, members: list[Member]) -> None:
    keys = dict.fromkeys(key for member in members for key in member.metrics)
    table = [(f"`{key}`", *(_shown(member.metrics.get(key)) for member in members)) for key in keys]
    report.table(("Metric", *(member.name for member in members)), table, caption="Metrics at the end of each run.")
    ends = [(m.name, m.order["seed"], claims_text(m.summary), m.summary.get("seconds", "-")) for m in members]
    report.table(("Run", "Seed", "Claims", "Seconds"), ends, caption="How each run ended.")


def _spreads(report: Report, groups: Groups) -> None:
    found = {name: over_seeds([m.metrics for m in group if m.summary]) for name, group in groups.items()}
    keys = dict.fromkeys(key for metrics in found.values() for key in metrics)
    table = [(f"`{key}`", *(str(metrics.get(key, "-")) for metrics in found.values())) for key in keys]
    caption = "Mean ± sample standard deviation over the finished runs of each group."
    report.table(("Metric", *found), table, caption=caption)


def _shown(value: float | None) -> float | str:
    return "-" if value is None else value


def claims_text(summary: dict[str, Any]) -> str:
    """How many claims of a run hold, in words."""
    if not summary:
        return "not finished"
    passed = [claim["passed"] for claim in summary["claims"]]
    return f"{sum(passed)} of {len(passed)} hold" if passed else "none made"


def _differences(members: list[Member]) -> list[tuple[str, ...]]:
    flat = [
        {**{k: v for k, v in member.order.items() if k != "config"}, **member.order.get("config", {})}
        | {f"data: {name}": entry["source"] for name, entry in member.summary.get("data", {}).items()}
        for member in members
    ]
    keys = dict.fromkeys(key for order in flat for key in order if key == "seed" or key not in APART)
    table = [(f"`{key}`", *(str(order.get(key, "-")) for order in flat)) for key in keys]
    different = [row for row in table if len(set(row[1:])) > 1]
    return different or [("none", *("-" for _ in members))]
