"""``python -m reference``: who agrees with whom.

One row for each operation of the engine: the digits to which its value, gradient and second derivative agree with
each oracle, and how many faults put into its rules its checks have caught. Exit status 0 when all is well, 1 when an
agreement is too poor, a fault was not noticed or an operation has no record, 2 when the command is misspelt.

``python -m reference check module:function`` checks a gradient of your own; see ``python -m reference check --help``.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterable, Iterator, Sequence

from reference.cases import public_operations
from reference.report import as_json, assemble, coloured, plain
from reference.table import records


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["check"]:
        from reference.check import main as check

        return check(arguments[1:])
    options = _parser().parse_args(arguments)
    table = records()
    known = sorted({*table, *public_operations()})
    for name in options.only or ():
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            print(f"python -m reference: no operation {name!r}{hint}", file=sys.stderr)
            return 2
    names = options.only or known
    report = assemble(table, _watched(names), whole=not options.only, quick=options.quick)
    if options.json:
        print(as_json(report))
    elif (console := _terminal()) is not None:
        coloured(report, console)
    else:
        print(plain(report))
    return 0 if report.ok else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m reference", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print for a machine")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these operations alone")
    parser.add_argument("--quick", action="store_true", help="two samples an operation, and no faults")
    return parser


def _terminal() -> object | None:
    """A console to print a table on, or None where the output goes to a file or the library for it is missing."""
    if not sys.stdout.isatty():
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console()


def _watched(names: Sequence[str]) -> Iterator[str]:
    """``names`` one by one, with a bar and the time left on standard error where that is a terminal."""
    yield from _with_bar(names) if sys.stderr.isatty() else names


def _with_bar(names: Sequence[str]) -> Iterable[str]:
    try:
        from rich.console import Console
        from rich.progress import Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        yield from names
        return
    columns = (*Progress.get_default_columns()[:-1], TextColumn("time left"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=len(names))
        for name in names:
            progress.update(task, description=name)
            yield name
            progress.advance(task)


if __name__ == "__main__":
    sys.exit(main())
