"""The README's figures: a short table between two markers, written from the file of a run and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.peers import ENGINES, OURS, OWN
from benchmarks.report import accuracy_title, machine_lines, markdown_row, number
from benchmarks.results import UserError
from benchmarks.statistics import best_peer

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"


def digest(data: Mapping[str, Any]) -> str:
    """One row for each workload: our time, and it divided by that of each peer, with the quartiles over the rounds."""
    entries = {name: entry for name, entry in data["workloads"].items() if OURS in entry.get("summary", {})}
    peers = [
        name for name in ENGINES if name not in OWN and any(name in entry["summary"] for entry in entries.values())
    ]
    head = ["one training step", "ms", *(f"time / {ENGINES[name].title}" for name in peers)]
    lines = [markdown_row(head), markdown_row(["---", *["---:"] * (len(head) - 1)])]
    for name, entry in entries.items():
        for own in (own for own in OWN if own in entry["summary"]):
            lines.append(markdown_row([_what(name, own, entry), *_cells(entry, own, peers)]))
    lines += ["", f"Measured on: {'; '.join(machine_lines(data))}."]
    if data.get("accuracy"):
        reached = [
            f"{ENGINES[name].title} {number(engine['seconds']['median'])}"
            for name, engine in data["accuracy"]["engines"].items()
            if engine.get("seconds")
        ]
        title = accuracy_title(data["accuracy"])
        lines += ["", f"{title[0].upper()}{title[1:]}: {', '.join(reached)}."]
    return "\n".join(lines)


def _what(name: str, own: str, entry: Mapping[str, Any]) -> str:
    return f"{name}: {entry['title']}" if own == OURS else f"{name}: {ENGINES[own].title.partition(', ')[2]}"


def _cells(entry: Mapping[str, Any], own: str, peers: list[str]) -> list[str]:
    """Our time, and the ratios to the peers, the best peer's in bold."""
    summary = entry["summary"]
    best, cells = best_peer(summary, OWN), [number(summary[own]["milliseconds"]["median"])]
    for peer in peers:
        ratio = summary.get(peer, {}).get("ratios", {}).get(own)
        if ratio is None:
            cells.append("–")
            continue
        median = f"**{number(ratio['median'])}**" if peer == best else number(ratio["median"])
        cells.append(f"{median} ({number(ratio['low'])} to {number(ratio['high'])})")
    return cells


def rewrite(path: Path, data: Mapping[str, Any]) -> None:
    """Put the table between the markers of a file; raises UserError when it has none or cannot be written."""
    try:
        text = path.read_text(encoding="utf-8")
        before, begin, rest = text.partition(BEGIN)
        _, end, after = rest.partition(END)
        if not begin or not end:
            raise UserError(f"{path}: has no lines {BEGIN} and {END}")
        path.write_text(f"{before}{BEGIN}\n{digest(data)}\n{END}{after}", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
