"""Figures as tables: for the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.peers import ENGINES, OWN
from benchmarks.statistics import best_peer, disturbed

Rows = list[list[str]]
HEAD = ["engine", "ms a step", "ours / it", "quartiles", "of roof", "memory", "operations", "arrays"]


def number(value: float | None, digits: int = 3) -> str:
    """Three digits that count, without powers of ten."""
    if value is None:
        return "–"
    if value >= 10 ** (digits - 1):
        return f"{value:.0f}"
    return f"{value:#.{digits}g}".rstrip(".")


def _title(name: str) -> str:
    return ENGINES[name].title if name in ENGINES else name


def workload_rows(entry: Mapping[str, Any]) -> Rows:
    """A row for each engine, in the columns of :data:`HEAD`; one that was not timed says why."""
    rows, summary = [], entry.get("summary", {})
    for name, engine in entry["engines"].items():
        row = summary.get(name)
        if row is None:
            rows.append([_title(name), engine.get("reason", "not timed"), *[""] * (len(HEAD) - 2)])
            continue
        ratio, roof, peak = row.get("ratio"), row.get("roof"), engine.get("peak_bytes")
        rows.append(
            [
                _title(name),
                number(row["milliseconds"]["median"]),
                number(ratio["median"]) if ratio else "–",
                f"{number(ratio['low'])} to {number(ratio['high'])}" if ratio else "–",
                f"{100 * roof:.0f} %" if roof else "–",
                "–" if peak is None else f"{peak / 2**20:.0f} MiB",
                str(engine.get("operations") or "–"),
                str(engine.get("arrays") or "–"),
            ]
        )
    return rows


def fastest_own(summary: Mapping[str, Any]) -> str | None:
    """The fastest form of this engine, if any was timed."""
    timed = [name for name in OWN if name in summary]
    return min(timed, key=lambda name: summary[name]["milliseconds"]["median"]) if timed else None


def verdict(entry: Mapping[str, Any]) -> str:
    """Ours against the fastest peer, in a line; empty where one of them was not timed."""
    summary = entry.get("summary", {})
    best, name = best_peer(summary, OWN), fastest_own(summary)
    if best is None or name is None:
        return ""
    share = summary[best]["ratios"][name]["median"]
    return f"{_title(name)} takes {number(share)} of the time of the fastest peer, {_title(best)}"


def rounds_line(entry: Mapping[str, Any]) -> str:
    """How many rounds, and how many of them met a slow machine."""
    slow = sum(disturbed(entry["control"]))
    text = f"{len(entry['control'])} rounds"
    if slow:
        kept = "left out" if 2 * slow <= len(entry["control"]) else "too many to leave out: the machine was busy"
        text += f", {slow} of them disturbed ({kept})"
    return text + ("" if entry["complete"] else ", interrupted")


def machine_lines(data: Mapping[str, Any]) -> list[str]:
    """What the figures were measured on and with."""
    machine, settings, roof = data["machine"], data["settings"], data["roof"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        f"{machine['processor']}, {settings['threads']} of {machine['processors']} processors, {machine['system']}, "
        f"device {settings['device']}",
        f"Python {machine['python']}, {versions}",
    ]
    if machine.get("environment"):
        lines.append(f"set: {', '.join(f'{key}={value}' for key, value in machine['environment'].items())}")
    if roof:
        lines.append(
            f"roof: {roof['flops'] / 1e9:.0f} GFLOP/s in a large float32 product, {roof['bytes'] / 1e9:.0f} GB/s in a "
            "large copy"
        )
    kernels: dict[str, list[str]] = {}
    for entry in data["workloads"].values():
        for name, engine in entry["engines"].items():
            if "blas" in engine and name not in kernels.setdefault(engine["blas"], []):
                kernels[engine["blas"]].append(name)
    return lines + [f"products of {', '.join(names)}: {blas}" for blas, names in kernels.items()]


def scaling_tables(found: Mapping[str, Any]) -> Iterator[tuple[str, list[str], Rows]]:
    """For each axis a title, the heads and the rows: milliseconds a step by size."""
    base = found["base"]
    for axis, sizes in found["axes"].items():
        names = list(dict.fromkeys(name for rows in sizes.values() for name in rows))
        others = ", ".join(f"{key} {value}" for key, value in base.items() if key != axis)
        rows = [
            [_title(name), *(number(row[name]["median"]) if name in row else "–" for row in sizes.values())]
            for name in names
        ]
        yield f"ms a step by {axis} ({others})", ["engine", *sizes], rows


def accuracy_rows(found: Mapping[str, Any]) -> Rows:
    """Engine, seconds to the target, epochs to it."""
    rows = []
    for name, engine in found["engines"].items():
        seconds, epochs = engine.get("seconds"), engine.get("epochs")
        reason = engine.get("reason", "not reached in every run")
        spread = f"{number(seconds['low'])} to {number(seconds['high'])}" if seconds else ""
        rows.append(
            [
                _title(name),
                number(seconds["median"]) if seconds else reason,
                spread,
                f"{epochs['median']:g}" if epochs else "",
            ]
        )
    return rows


def accuracy_title(found: Mapping[str, Any]) -> str:
    """What was learned, and how well."""
    return f"seconds of training to {100 * found['target']:g} % of 1,000 test digits right ({found['title']})"


ACCURACY_HEAD = ["engine", "seconds", "quartiles", "epochs"]


def sections(data: Mapping[str, Any]) -> Iterator[tuple[str, list[str], Rows, str]]:
    """Every table: title, heads, rows, and a line below it."""
    for name, entry in data["workloads"].items():
        below = "; ".join(filter(None, (verdict(entry), rounds_line(entry))))
        title = (
            f"{name}: {entry['title']}; {entry['parameters']:,} parameters, {number(entry['flops'] / 1e9)} GFLOP and "
            f"{number(entry['bytes'] / 1e6)} MB a step"
        )
        yield title, HEAD, workload_rows(entry), below
    if data.get("scaling"):
        for title, head, rows in scaling_tables(data["scaling"]):
            yield title, head, rows, ""
    if data.get("accuracy"):
        yield accuracy_title(data["accuracy"]), ACCURACY_HEAD, accuracy_rows(data["accuracy"]), ""


def markdown(data: Mapping[str, Any]) -> str:
    """All tables as Markdown."""
    lines = [*(f"- {line}" for line in machine_lines(data)), ""]
    for title, head, rows, below in sections(data):
        lines += [f"**{title}**", "", markdown_row(head), markdown_row(["---", *["---:"] * (len(head) - 1)])]
        lines += [markdown_row(row) for row in rows]
        lines += ["", *([below + ".", ""] if below else [])]
    return "\n".join(lines)


def markdown_row(cells: Sequence[str]) -> str:
    """The cells as a row of a table in Markdown."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def show(data: Mapping[str, Any]) -> None:
    """Print all tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=110)  # a file or a pipe has no width of its own
    for line in machine_lines(data):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    for title, head, rows, below in sections(data):
        table = Table(title=title, title_justify="left", title_style="bold", caption=below, caption_justify="left")
        for number, column in enumerate(head):
            table.add_column(column, justify="left" if number == 0 else "right")
        for row in rows:
            table.add_row(*row)
        console.print()
        console.print(table, markup=False)
