"""Command line: ``python -m benchmarks run | report | overhead``.

Exit status: 0 done; 1 the limit of ``overhead --check`` is exceeded; 2 wrong arguments, a missing device or peer, or a
file that cannot be written, in one line; 130 interrupted, what was measured being kept.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive whole number, got {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 3600:
        raise argparse.ArgumentTypeError(f"expected seconds above 0, got {text!r}")
    return value


def _file(text: str) -> Path:
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {path.parent}")
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is a folder")
    return path


def _names(texts: list[str] | None) -> list[str] | None:
    """Names separated by commas or spaces."""
    return None if texts is None else [name for text in texts for name in text.split(",") if name]


def _device(text: str) -> str:
    kind, _, index = text.partition(":")
    if kind not in ("cpu", "cuda") or (":" in text and (kind == "cpu" or not index.isdecimal())):
        raise argparse.ArgumentTypeError(f"unknown device {text!r}: expected cpu, cuda or cuda:N")
    return text


class _Parser(argparse.ArgumentParser):
    """Its errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m benchmarks", description="Ratios against named peers.")
    commands = parser.add_subparsers(dest="command", required=True)

    run = commands.add_parser("run", help="whole training steps, ours against its peers")
    run.add_argument("--device", type=_device, default="cpu", metavar="cpu|cuda", help="default: %(default)s")
    run.add_argument("--workloads", nargs="+", metavar="NAME", help="e.g. w1,w2; `none` for none; default: all")
    run.add_argument("--peers", nargs="+", metavar="NAME", help="e.g. torch,jax; `none`; default: all installed")
    run.add_argument("--json", type=_file, metavar="FILE", help="write all figures to FILE, after each round")
    run.add_argument("--figure", type=_file, metavar="FILE", help="draw the ratios to FILE, an SVG or PNG")
    run.add_argument("--threads", type=_positive, metavar="N", help="default: as many as there are processors")
    run.add_argument("--rounds", type=_positive, default=11, metavar="N", help="default: %(default)s")
    run.add_argument("--seconds", type=_seconds, default=0.3, metavar="S", help="of an engine's round; default: 0.3")
    run.add_argument("--scaling", action="store_true", help="also: how time grows with batch, width and depth")
    run.add_argument("--accuracy", action="store_true", help="also: seconds to a stated accuracy, ours and PyTorch")
    run.add_argument("--resume", action="store_true", help="continue the interrupted run in the --json file")

    reporting = commands.add_parser("report", help="table and figure of a file that `run` wrote")
    reporting.add_argument("file", type=Path, metavar="FILE")
    reporting.add_argument("--figure", type=_file, metavar="FILE", help="draw the ratios to FILE, an SVG or PNG")
    reporting.add_argument("--readme", type=Path, metavar="FILE", help="renew the table between the markers of FILE")
    reporting.add_argument("--markdown", action="store_true", help="print the tables as Markdown")

    overhead = commands.add_parser(
        "overhead", help="microseconds an operation of the tape, ours against autograd, MyGrad and PyTorch"
    )
    overhead.add_argument("--rounds", type=_positive, default=25, help="interleaved rounds (default %(default)s)")
    overhead.add_argument("--repeats", type=_positive, default=40, help="chains a round (default %(default)s)")
    overhead.add_argument("--check", action="store_true", help="exit with 1 above a fixed share of PyTorch's time")
    overhead.add_argument("--json", type=_file, metavar="FILE", help="write the figures to FILE")
    return parser


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    if options.command == "overhead":
        from benchmarks import overhead

        return overhead.main(options.rounds, options.repeats, options.check, options.json)
    from benchmarks.results import UserError

    try:
        return _report(options) if options.command == "report" else _run(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted before anything was measured", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace) -> int:
    from benchmarks import machine
    from benchmarks.run import Options, run

    return run(
        Options(
            device=options.device,
            workloads=_names(options.workloads),
            peers=_names(options.peers),
            json=options.json,
            figure=options.figure,
            threads=options.threads or machine.processors(),
            rounds=options.rounds,
            seconds=options.seconds,
            scaling=options.scaling,
            accuracy=options.accuracy,
            resume=options.resume,
        )
    )


def _report(options: argparse.Namespace) -> int:
    from benchmarks import report
    from benchmarks.readme import rewrite
    from benchmarks.results import load
    from benchmarks.run import draw

    data = load(options.file)
    if options.readme is not None:
        rewrite(options.readme, data)
    elif options.markdown:
        print(report.markdown(data))
    else:
        report.show(data)
    if options.figure is not None:
        draw(data, options.figure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
