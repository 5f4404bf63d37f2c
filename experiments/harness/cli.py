"""The command line: `python -m experiments list | run | resume | evaluate | compare | index | publish | data`.

Exit status: 0 done; 1 a claim failed under `--check`; 2 anything that ends in one line of explanation: wrong arguments,
bad data, a folder or disk that cannot be written, a loss that became NaN or infinite; 130 interrupted.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from experiments.data import DataError

from . import experiment as registry
from .config import Settings, allowed, as_dict, changed, describe, plain, suggest
from .errors import DONE, INTERRUPTED, WRONG, Interrupted, UserError

if TYPE_CHECKING:
    from experiments.data.catalogue import DataSet


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and end in status 2."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status."""
    return _ending(partial(_dispatch, arguments))[0]


def _dispatch(arguments: Sequence[str] | None) -> int:
    options = parser().parse_args(arguments)
    return int(options.command(options))


def _ending(work: Callable[[], int]) -> tuple[int, str]:
    """The exit status of some work, and the error that ended it early, which is printed in one line."""
    try:
        return work(), ""
    except (Interrupted, KeyboardInterrupt):
        return INTERRUPTED, "interrupted"
    except BrokenPipeError:
        # The reader of our output has gone; nothing is left to tell it, and Python must not try at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE, "nobody reads the output"
    except (UserError, DataError) as error:
        text = str(error)
    except OSError as error:
        text = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    text = f"error: {' '.join(text.split())}"
    print(text, file=sys.stderr)
    return WRONG, text


def parser() -> Parser:
    """The whole command line."""
    top = Parser(prog="python -m experiments", description="Sixteen problems, solved with tinygrad_hw.")
    commands = top.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)

    listing = commands.add_parser("list", help="name the experiments")
    listing.add_argument("--settings", action="store_true", help="with their settings and the values of each profile")
    listing.set_defaults(command=list_experiments)

    run = commands.add_parser("run", help="run experiments")
    run.add_argument("names", nargs="+", metavar="NAME", help="an experiment, or `all`")
    run.add_argument("--profile", choices=registry.PROFILES, default="demo", help="default: %(default)s")
    run.add_argument("--device", default="cpu", metavar="cpu|cuda", help="default: %(default)s")
    run.add_argument(
        "--data-dir",
        type=Path,
        default=os.environ.get("TINYGRAD_HW_DATA") or None,
        metavar="DIR",
        help="where data are; default: $TINYGRAD_HW_DATA, else embedded or synthetic data",
    )
    run.add_argument("--out", type=Path, metavar="DIR", help="default: runs/NAME-PROFILE-seedN, then ...-2, ...-3")
    seeding = run.add_mutually_exclusive_group()
    seeding.add_argument("--seed", type=seed, default=[0], dest="seeds", metavar="N", help="default: 0")
    seeding.add_argument(
        "--seeds", type=seeds, dest="seeds", metavar="N,N,...", help="a run each, then their mean and spread"
    )
    run.add_argument("--set", action="append", default=[], dest="settings", metavar="key=value", help="may be repeated")
    run.add_argument("--check", action="store_true", help="exit with status 1 when a claim fails")
    run.add_argument("--quiet", action="store_true", help="print the claims and the report's path alone")
    run.add_argument("--tensorboard", action="store_true", help="write event files, too; needs tensorboardX")
    run.set_defaults(command=run_experiments)

    resume = commands.add_parser("resume", help="continue interrupted runs")
    resume.add_argument("folders", nargs="+", type=Path, metavar="RUN_DIR")
    resume.add_argument("--quiet", action="store_true", help="as in run")
    resume.set_defaults(command=resume_run)

    evaluating = commands.add_parser("evaluate", help="measure the models that a run saved")
    evaluating.add_argument("folder", type=Path, metavar="RUN_DIR")
    evaluating.add_argument("--data-dir", type=Path, metavar="DIR", help="default: that of the run")
    evaluating.add_argument("--device", metavar="cpu|cuda", help="default: that of the run")
    evaluating.set_defaults(command=evaluate_run)

    index = commands.add_parser("index", help="write a page of all runs in a folder")
    index.add_argument("folder", type=Path, nargs="?", default=Path("runs"), metavar="FOLDER", help="default: runs")
    index.set_defaults(command=index_runs)

    compare = commands.add_parser("compare", help="lay runs over each other in one page")
    compare.add_argument("folders", nargs="+", type=Path, metavar="RUN_DIR")
    compare.add_argument("--out", type=Path, metavar="FILE", help="default: runs/compare-....html")
    compare.set_defaults(command=compare_runs)

    publishing = commands.add_parser("publish", help="put what runs measured into experiments/results/")
    publishing.add_argument("folders", nargs="+", type=Path, metavar="RUN_DIR")
    publishing.set_defaults(command=publish_runs)

    data = commands.add_parser("data", help="see, download or import data")
    _add_data_commands(data)

    from experiments.denoising.command import add_arguments as add_denoise
    from experiments.spotting.command import add_arguments as add_spot
    from experiments.verification.command import add_arguments as add_verify

    add_denoise(commands)
    add_verify(commands)
    add_spot(commands)
    return top


def _add_data_commands(data: Parser) -> None:
    commands = data.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    where = Parser(add_help=False)
    where.add_argument(
        "--data-dir",
        type=Path,
        default=os.environ.get("TINYGRAD_HW_DATA") or "data",
        metavar="DIR",
        help="default: $TINYGRAD_HW_DATA, else ./data",
    )
    status = commands.add_parser("status", parents=[where], help="what is there, and whether it is whole")
    status.set_defaults(command=data_status)
    download = commands.add_parser(
        "download", parents=[where], help="get the published files; continues where it stopped"
    )
    download.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    download.add_argument(
        "--from", dest="addresses", action="append", metavar="URL", help="a mirror instead of the usual"
    )
    download.set_defaults(command=data_download)
    imported = commands.add_parser("import", parents=[where], help="check files you have, then copy them into place")
    imported.add_argument("name", metavar="NAME")
    imported.add_argument("source", type=Path, metavar="FOLDER")
    imported.set_defaults(command=data_import)
    from experiments.data.audio.build import add_arguments

    built = commands.add_parser("build", help="make data in a course's layout from speech and noises of your own")
    add_arguments(built.add_subparsers(metavar="NAME", required=True, parser_class=Parser))


def seed(text: str) -> list[int]:
    """One seed: a whole number from 0 to 2**63 - 1."""
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number, expected a whole one such as 0") from None
    if not 0 <= number < 2**63:
        raise argparse.ArgumentTypeError(f"{text} is out of range, expected 0 to 2**63 - 1")
    return [number]


def seeds(text: str) -> list[int]:
    """Several seeds, such as 0,1,2; each counts once."""
    return list(dict.fromkeys(number for part in text.split(",") for number in seed(part)))


def list_experiments(options: argparse.Namespace) -> int:
    """`list`."""
    titles = registry.titles()
    width = max(map(len, titles), default=0)
    for name, title in sorted(titles.items()):
        print(f"{name:{width}}  {title}")
        if options.settings:
            profiles = registry.load(name).profiles
            values = {profile: as_dict(config) for profile, config in profiles.items()}
            kind = type(profiles["demo"])
            ranges = allowed(kind)
            for key, meaning in describe(kind).items():
                defaults = {profile: plain(values[profile][key]) for profile in registry.PROFILES}
                shown = ", ".join(f"{profile} {value}" for profile, value in defaults.items())
                shown = shown if len(set(defaults.values())) > 1 else f"default {defaults['demo']}"
                print(f"    {key}: {meaning} ({ranges[key]}; {shown})")
    return DONE


def run_experiments(options: argparse.Namespace) -> int:
    """`run`: every argument is checked, and every folder made, before the first experiment begins."""
    from .jobs import carry_out_all, prepare

    names = sorted(registry.titles()) if options.names == ["all"] else list(dict.fromkeys(options.names))
    experiments = [registry.load(name) for name in names]
    configs = [_settings_of(experiment, options, alone=len(experiments) == 1) for experiment in experiments]
    jobs = prepare(
        list(zip(experiments, configs, strict=True)),
        profile=options.profile,
        seeds=options.seeds,
        device=options.device,
        data_dir=None if options.data_dir is None else Path(options.data_dir),
        out=options.out,
        assignments=options.settings,
        check=options.check,
        tensorboard=options.tensorboard,
        quiet=options.quiet,
    )
    return carry_out_all(jobs, _ending, quiet=options.quiet)


def _settings_of(experiment: registry.Experiment, options: argparse.Namespace, *, alone: bool) -> Settings:
    """The profile's settings with those of the command line. Raises UserError, which says whose, if need be."""
    try:
        return changed(experiment.profiles[options.profile], options.settings)
    except UserError as error:
        raise UserError(str(error) if alone else f"{experiment.name}: {error}") from None


def resume_run(options: argparse.Namespace) -> int:
    """`resume`."""
    from .jobs import carry_out_all, reopen, runs_in

    folders = [run for folder in options.folders for run in runs_in(folder)]
    return carry_out_all(list(map(reopen, dict.fromkeys(folders))), _ending, quiet=options.quiet)


def evaluate_run(options: argparse.Namespace) -> int:
    """`evaluate`."""
    from .jobs import evaluate_models

    print(evaluate_models(options.folder, options.data_dir, options.device))
    return DONE


def index_runs(options: argparse.Namespace) -> int:
    """`index`."""
    from .index import write_index

    print(f"index: {write_index(options.folder)}")
    return DONE


def publish_runs(options: argparse.Namespace) -> int:
    """`publish`."""
    from .publish import publish

    print(f"results: {publish(options.folders)}")
    return DONE


def compare_runs(options: argparse.Namespace) -> int:
    """`compare`."""
    from .compare import compare

    print(f"comparison: {compare(options.folders, options.out)}")
    return DONE


def data_status(options: argparse.Namespace) -> int:
    """`data status`."""
    from experiments.data.catalogue import DATA_SETS

    print(f"data folder: {options.data_dir}")
    found = {name: data_set.status(Path(options.data_dir)) for name, data_set in DATA_SETS.items()}
    for name, (state, text) in found.items():
        print(f"{name:10}  {state:8}  {text}")
    return WRONG if any(state == "bad" for state, _ in found.values()) else DONE


def data_download(options: argparse.Namespace) -> int:
    """`data download`."""
    from experiments.data.catalogue import DATA_SETS

    for name in options.names or [name for name, data_set in DATA_SETS.items() if data_set.ADDRESSES]:
        arguments = (tuple(options.addresses),) if options.addresses else ()
        _data_set(name).download(Path(options.data_dir), *arguments)
        print(f"{name}: {_data_set(name).status(Path(options.data_dir))[1]}")
    return DONE


def data_import(options: argparse.Namespace) -> int:
    """`data import`."""
    described = _data_set(options.name).import_folder(options.source, Path(options.data_dir))
    print(f"{options.name}: {described}, now in {options.data_dir}")
    return DONE


def _data_set(name: str) -> "DataSet":
    from experiments.data.catalogue import DATA_SETS

    if name not in DATA_SETS:
        raise UserError(f"no data set {name!r}; {suggest(name, list(DATA_SETS))}")
    return DATA_SETS[name]
