"""Runs laid over each other: their curves, their metrics, and the settings in which they differ, in one page."""

from pathlib import Path
from typing import Any

import numpy as np

from . import figures
from .errors import UserError
from .folder import RunFolder, read_json, write_text
from .metrics import read_rows
from .report import Report, render

KEYS = ("loop", "epoch", "step")


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
    runs = [RunFolder.existing(folder) for folder in folders]
    names = _names(folders)
    orders = [read_json(run.order) for run in runs]
    summaries = [read_json(run.summary) if run.summary.exists() else {} for run in runs]
    rows = [read_rows(run.metrics) if run.metrics.exists() else [] for run in runs]
    path = out or folders[0].parent / f"compare-{'-'.join(names)[:100]}.html"
    report = Report(f"Comparison of {', '.join(names[:-1])} and {names[-1]}", None)
    report.section("Curves")
    for value in _values(rows):
        _curves(report, value, names, rows)
    report.section("Metrics")
    metrics = dict.fromkeys(key for summary in summaries for key in summary.get("metrics", {}))
    table = [(f"`{key}`", *(summary.get("metrics", {}).get(key, "-") for summary in summaries)) for key in metrics]
    table.append(("seconds", *(summary.get("seconds", "not finished") for summary in summaries)))
    report.table(("Metric", *names), table, caption="Metrics at the end of each run.")
    report.section("Settings")
    report.table(("Setting", *names), _differences(orders), caption="What the runs were asked to do, where it differs.")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, render("page.html.j2", report=report, facts=f"{len(runs)} runs.", closing=""))
    return path


def _names(folders: list[Path]) -> list[str]:
    names = [folder.resolve().name for folder in folders]
    return [name if names.count(name) == 1 else f"{i}-{name}" for i, name in enumerate(names, 1)]


def _values(rows: list[list[dict[str, Any]]]) -> list[str]:
    return list(dict.fromkeys(key for run in rows for row in run for key in row if key not in KEYS))


def _curves(report: Report, value: str, names: list[str], rows: list[list[dict[str, Any]]]) -> None:
    figure, axes = figures.new(width=9.0)
    for number, (name, run) in enumerate(zip(names, rows, strict=True)):
        loops = dict.fromkeys(row["loop"] for row in run if value in row)
        for style, loop in enumerate(loops):
            points = [(row["epoch"], row[value]) for row in run if row["loop"] == loop and value in row]
            axes.plot(
                *zip(*points, strict=True),
                label=f"{name}: {loop}",
                color=figures.COLOURS[style % len(figures.COLOURS)],
                linestyle=("-", "--", ":", "-.")[number % 4],
                marker="." if len(points) < 30 else None,
            )
    axes.set(ylabel=value)
    figures.by_epoch(axes)
    values = np.array([row[value] for run in rows for row in run if value in row])
    if values.min() > 0 and values.max() > 30 * values.min():
        axes.set_yscale("log")
    figure.legend(loc="outside right upper", fontsize="small")
    report.figure(value, figure, caption=f"`{value}` by epoch.", alt=f"{value} by epoch for {', '.join(names)}")


def _differences(orders: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    flat = [{**{k: v for k, v in order.items() if k != "config"}, **order.get("config", {})} for order in orders]
    keys = dict.fromkeys(key for order in flat for key in order if key not in ("data_dir", "check"))
    table = [(f"`{key}`", *(str(order.get(key, "-")) for order in flat)) for key in keys]
    different = [row for row in table if len(set(row[1:])) > 1]
    return different or [("none", *("-" for _ in orders))]
