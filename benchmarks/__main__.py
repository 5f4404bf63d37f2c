"""Command line: ``python -m benchmarks overhead``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive whole number, got {text!r}")
    return int(text)


def _file(text: str) -> Path:
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {path.parent}")
    return path


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    overhead = commands.add_parser(
        "overhead", help="microseconds an operation of the tape, ours against autograd, MyGrad and PyTorch"
    )
    overhead.add_argument("--rounds", type=_positive, default=25, help="interleaved rounds (default %(default)s)")
    overhead.add_argument("--repeats", type=_positive, default=40, help="chains a round (default %(default)s)")
    overhead.add_argument("--check", action="store_true", help="exit with 1 when the budget is exceeded")
    overhead.add_argument("--json", type=_file, metavar="FILE", help="write the figures to FILE")
    options = parser.parse_args(argv)

    from benchmarks import overhead as module

    return module.main(options.rounds, options.repeats, options.check, options.json)


if __name__ == "__main__":
    sys.exit(main())
