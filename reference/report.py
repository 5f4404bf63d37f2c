"""What ``python -m reference`` prints: one row an operation, one column an oracle, no blank cell."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from reference.agreement import COLUMNS, Cell, Row, missing_row, row
from reference.cases import cases
from reference.mutation import Score, Used, operations_used, score, unexercised
from reference.table import Record

QUICK = 2  # samples of each operation under --quick


@dataclass
class Report:
    """Every operation's agreement and mutation score; ``scores`` lacks those that were not run."""

    rows: list[Row] = field(default_factory=list)
    scores: dict[str, Score] = field(default_factory=dict)
    unexercised: list[str] = field(default_factory=list)
    quick: bool = False
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return not self.failures()

    def failures(self) -> list[str]:
        """One line for each thing that is wrong."""
        lines = []
        for r in self.rows:
            failed = {column: cell for column, cell in r.cells.items() if not cell.ok}
            if len(failed) == len(COLUMNS) and len(set(failed.values())) == 1:
                lines.append(f"{r.name}: {failed[COLUMNS[0]].reason}")
                continue
            lines += [f"{r.name}: {column}: {cell} of {cell.needed:.1f} digits" for column, cell in failed.items()]
        lines += [f"{n}: a fault was not noticed: {m}" for n, s in self.scores.items() for m in s.survivors]
        return lines + [f"{name}: no record runs this operation and its gradient" for name in self.unexercised]

    def worst(self) -> tuple[float, str]:
        """The fewest digits of all, and where."""
        cells = [(r.name, column, cell.digits) for r in self.rows for column, cell in r.cells.items()]
        found = [(d, f"{name}, {column}") for name, column, d in cells if d is not None]
        return min(found, default=(0.0, "nothing was compared"))

    def mutation(self) -> tuple[int, int, Counter[str]]:
        """Faults caught, faults tried, and those left out by reason."""
        scores = self.scores.values()
        return sum(s.caught for s in scores), sum(s.total for s in scores), sum((s.excluded for s in scores), Counter())


def assemble(table: dict[str, Record], names: Iterable[str], *, whole: bool = True, quick: bool = False) -> Report:
    """Compare the operations ``names`` with their oracles, and try the checks with faulty rules unless ``quick``.

    ``whole`` says that these are all operations, so that one which is exercised by none of them is a failure.
    """
    report, start = Report(quick=quick), time.perf_counter()
    used: list[Used] = []
    for name in names:
        if name not in table:
            report.rows.append(missing_row(name))
            continue
        try:
            samples = cases(table[name], QUICK if quick else None)
        except Exception as error:
            failed = Cell(0.0, 1.0, f"the samples raised {type(error).__name__}: {error}")
            report.rows.append(Row(name, dict.fromkeys(COLUMNS, failed)))
            continue
        report.rows.append(row(table[name], samples))
        if report.rows[-1].ok and not quick:
            report.scores[name] = score(table[name], samples)
            used.append(operations_used(samples))
    if whole and not quick:
        report.unexercised = unexercised(used)
    report.seconds = time.perf_counter() - start
    return report


def _mutation_cell(report: Report, name: str) -> str:
    if name in report.scores:
        return str(report.scores[name])
    return "n/a: --quick" if report.quick else "n/a: checks fail"


def grid(report: Report, longest: int = 18) -> tuple[list[str], list[list[str]], list[str]]:
    """Header, rows of cells and notes. Longer text is a number in its cell and a note below; ``!`` marks a failure."""
    notes: list[str] = []

    def short(text: str) -> str:
        if len(text) <= longest:
            return text
        head, _, reason = text.partition(": ")
        if not reason:
            head, reason = text.partition(" (")[::2]
            reason = reason.rstrip(")")
        if reason not in notes:
            notes.append(reason)
        return f"{head} [{notes.index(reason) + 1}]"

    body = []
    for r in report.rows:
        found = [c.digits for c in r.cells.values() if c.digits is not None]
        cells = [short(str(r.cells[column])) + ("" if r.cells[column].ok else "!") for column in COLUMNS]
        score_cell = short(_mutation_cell(report, r.name))
        if r.name in report.scores and not report.scores[r.name].ok:
            score_cell += "!"
        body.append([r.name, *cells, f"{min(found):.1f}" if found else "n/a", score_cell])
    header = ["operation", *COLUMNS, "worst", "faults caught"]
    return header, body, [f"[{i}] {note}" for i, note in enumerate(notes, 1)]


def summary(report: Report) -> list[str]:
    """The lines below the table."""
    digits, where = report.worst()
    agreeing = sum(r.ok for r in report.rows)
    total = len(report.rows)
    lines = [
        f"{agreeing} of {total} operations agree with every oracle that applies, in {report.seconds:.0f} s",
        f"worst agreement: {digits:.1f} digits ({where})",
    ]
    if not report.quick:
        caught, total, excluded = report.mutation()
        percent = f" ({100 * caught / total:.4g} %)" if total else ""
        lines.append(f"mutation score: {caught} of {total} faults caught{percent}")
        lines += [f"  left out, since nothing changes: {count} where {reason}" for reason, count in excluded.items()]
    return lines + [f"FAIL  {failure}" for failure in report.failures()]


def plain(report: Report) -> str:
    """The whole report as aligned text."""
    header, body, notes = grid(report)
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    ruled = [header, ["-" * w for w in widths], *body]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in ruled]
    return "\n".join([*lines, "", *notes, *summary(report)])


_NARROW = {"finite differences": "differences", "complex step": "complex", "faults caught": "faults"}


def coloured(report: Report, console: Any) -> None:
    """The whole report on a terminal, as wide as that is."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    header, body, notes = grid(report, longest=18 if console.width > 160 else 8)
    table = Table(header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(header):
        table.add_column(_NARROW.get(name, name), overflow="fold", justify="left" if i == 0 else "right")
    for line in body:
        table.add_row(*(_tinted(escape(cell)) for cell in line))
    console.print(table)
    for note in notes:
        console.print(escape(note), style="dim", highlight=False)
    for sentence in summary(report):
        console.print(escape(sentence), style="bold red" if sentence.startswith("FAIL") else "", highlight=False)


def _tinted(cell: str) -> str:
    if cell.endswith("!"):
        return f"[bold red]{cell}[/]"
    return f"[dim]{cell}[/]" if cell.startswith("n/a") else cell


def as_json(report: Report) -> str:
    """The whole report for a machine."""
    operations = [
        {
            "name": r.name,
            "ok": r.ok and (r.name not in report.scores or report.scores[r.name].ok),
            "agreement": {column: _cell_fields(r.cells[column]) for column in COLUMNS},
            "mutation": _score_fields(report, r.name),
        }
        for r in report.rows
    ]
    digits, where = report.worst()
    caught, total, excluded = report.mutation()
    return json.dumps(
        {
            "ok": report.ok,
            "worst": {"digits": digits, "where": where},
            "mutation": {"caught": caught, "total": total, "excluded": dict(excluded)},
            "failures": report.failures(),
            "seconds": round(report.seconds, 1),
            "operations": operations,
        },
        indent=1,
    )


def _cell_fields(cell: Cell) -> dict[str, Any]:
    if cell.digits is None:
        return {"reason": cell.reason}
    found = {"digits": round(cell.digits, 2), "needed": cell.needed, "ok": cell.ok}
    return found | ({"reason": cell.reason} if cell.reason else {})


def _score_fields(report: Report, name: str) -> dict[str, Any]:
    if name not in report.scores:
        return {"reason": _mutation_cell(report, name).removeprefix("n/a: ")}
    found = report.scores[name]
    return {
        "caught": found.caught,
        "total": found.total,
        "survivors": list(map(str, found.survivors)),
        "excluded": dict(found.excluded),
    }
