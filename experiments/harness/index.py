"""A page of all runs in a folder: by experiment, with their claims, each linked to its report."""

import os
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from . import experiment as registry
from .claims import PRINTED
from .compare import claims_text
from .errors import UserError
from .folder import RunFolder, read_json, write_text
from .report import Report, render

Entry = tuple[RunFolder, dict[str, Any], dict[str, Any]]


def write_index(folder: Path) -> Path:
    """Writes `index.html` in a folder and returns its path; runs may lie deeper. Raises UserError if there are none."""
    runs = sorted(path.parent for path in folder.rglob("run.json"))
    if not runs:
        raise UserError(f"{folder}: no runs in this folder")
    report = Report("Runs", None)
    by_experiment: dict[str, list[Entry]] = {}
    damaged = []
    for path in runs:
        run = RunFolder(path)
        try:
            order, summary = read_json(run.order), read_json(run.summary) if run.summary.exists() else {}
            by_experiment.setdefault(str(order["experiment"]), []).append((run, order, summary))
        except (UserError, KeyError) as error:
            damaged.append((f"`{path}`", str(error)))
    titles = registry.titles()
    for name, entries in sorted(by_experiment.items()):
        report.section(titles.get(name, name))
        _table(report, name, entries, folder)
    pages = sorted(path for path in folder.rglob("compare-*.html"))
    if pages:
        report.section("Comparisons")
        rows = [(_link(page, folder, page.stem), _when(page)) for page in pages]
        report.table(("Page", "Made"), rows, caption="Runs laid over each other.")
    if damaged:
        report.section("Damaged")
        report.table(("Folder", "Error"), damaged, caption="Runs that cannot be read.")
    path = folder / "index.html"
    write_text(path, render("page.html.j2", report=report, facts=f"{len(runs)} runs.", closing=""))
    return path


def _table(report: Report, name: str, entries: list[Entry], base: Path) -> None:
    rows = []
    for run, order, summary in entries:
        title = os.path.relpath(run.path, base)
        failed = [_failed(claim) for claim in summary.get("claims", []) if not claim["passed"]]
        rows.append(
            (
                _link(run.report, base, title) if run.report.exists() else title,
                order.get("profile", "-"),
                order.get("seed", "-"),
                order.get("device", "-"),
                _when(run.summary if summary else run.order),
                summary.get("seconds", "-"),
                claims_text(summary),
                "; ".join(failed) or "-",
            )
        )
    header = ("Run", "Profile", "Seed", "Device", "When", "Seconds", "Claims", "Failed")
    report.table(header, rows, caption=f"Runs of `{name}`.")


def _failed(claim: dict[str, Any]) -> str:
    measured = "not measured" if claim["measured"] is None else f"{claim['measured']:.4g}"
    return f"`{claim['name']}` {measured} ({PRINTED[claim['relation']]} {claim['target']:g})"


def _link(path: Path, base: Path, text: str) -> Markup:
    return Markup('<a href="{}">{}</a>').format(quote(os.path.relpath(path, base)), text)


def _when(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime).strftime("%Y-%m-%d %H:%M")
