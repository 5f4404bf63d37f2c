"""`python -m experiments verify A B --model RUN_DIR`: whether two recordings of one's own have one voice."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

# What computes is imported by the command alone: `--help` and `list` need none of it.
SHORTEST = 0.25  # seconds of speech that a verdict is given on
LONGEST = 60.0  # seconds that are heard of a recording


def add_arguments(commands: "argparse._SubParsersAction[Any]") -> None:
    """Puts `verify` on a command line; sets `command`."""
    parser = commands.add_parser("verify", help="say whether two recordings of your own have one voice")
    parser.add_argument("first", type=Path, metavar="A", help="a sound file")
    parser.add_argument("second", type=Path, metavar="B", help="another one")
    parser.add_argument("--model", type=Path, required=True, metavar="RUN_DIR", help="a run of speaker_verification")
    parser.add_argument("--device", default="cpu", metavar="cpu|cuda", help="default: %(default)s")
    parser.set_defaults(command=verify)


def verify(options: argparse.Namespace) -> int:
    """The command. Raises DataError for files, UserError for a run that has no such nets."""
    from experiments.harness.errors import UserError
    from experiments.harness.execute import check_device, evaluate
    from experiments.harness.jobs import reopen

    check_device(options.device)
    job = reopen(options.model)
    if job.experiment.name != "speaker_verification":
        raise UserError(f"{options.model}: a run of {job.experiment.name}, expected one of speaker_verification")
    order = replace(job.order, device=options.device)
    work = replace(job.experiment, evaluate=lambda run: _judge(run, options, job.folder.models))
    evaluate(work, order, job.config, job.folder)
    return 0


def _judge(run: Any, options: argparse.Namespace, models: Path) -> None:
    import numpy as np

    from experiments.data import DataError
    from experiments.data.audio.sound import read
    from experiments.speaker_verification import ALL, FIRST, RATE

    from .spectra import spectra
    from .training import TRANSFORM, calibration_of, saved

    vectors, notes = [], []
    more = (models / f"{calibration_of(ALL)}.safetensors").exists()
    verifier = saved(run, ALL if more else FIRST)
    for path in (options.first, options.second):
        sound = read(path, RATE, seconds=LONGEST)
        if sound.seconds < SHORTEST:
            raise DataError(path, f"{sound.seconds:.2f} s, expected {SHORTEST:g} s at least")
        notes += [f"{path}: {note}" for note in sound.notes]
        vectors.append(verifier.vectors(spectra(sound.samples[None], TRANSFORM, run.device))[0])
    logit = float(vectors[0] @ vectors[1]) + verifier.offset
    probability = 1 / (1 + np.exp(-logit))
    said = "one speaker" if logit > 0 else "two speakers"
    done = f" ({', '.join(notes)})" if notes else ""
    print(f"{said}: probability {probability:.2f} that {options.first} and {options.second} have one voice{done}")
