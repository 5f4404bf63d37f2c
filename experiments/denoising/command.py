"""`python -m experiments denoise IN OUT --model RUN_DIR`: noise out of a recording of any length, as it comes in."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

# What computes is imported by the command alone: `--help` and `list` need none of it.


def add_arguments(commands: "argparse._SubParsersAction[Any]") -> None:
    """Puts `denoise` on a command line; sets `command`."""
    parser = commands.add_parser("denoise", help="take the noise out of a recording of your own")
    parser.add_argument("source", type=Path, metavar="IN", help="a sound file with speech in noise")
    parser.add_argument("target", type=Path, metavar="OUT", help="what to write: WAV, FLAC, OGG or AIFF")
    parser.add_argument("--model", type=Path, required=True, metavar="RUN_DIR", help="a run of speech_denoising")
    parser.add_argument("--mask", choices=("soft", "binary"), default="soft", help="default: %(default)s")
    parser.add_argument("--device", default="cpu", metavar="cpu|cuda", help="default: %(default)s")
    parser.set_defaults(command=denoise)


def denoise(options: argparse.Namespace) -> int:
    """The command. Raises DataError for files, UserError for a run that has no such net."""
    from experiments.harness.errors import UserError
    from experiments.harness.execute import check_device, evaluate
    from experiments.harness.folder import RunFolder
    from experiments.harness.jobs import reopen

    check_device(options.device)
    name = RunFolder.existing(options.model).read_order().experiment
    if name != "speech_denoising":
        raise UserError(f"{options.model}: a run of {name}, expected one of speech_denoising")
    job = reopen(options.model)
    order = replace(job.order, device=options.device)
    work = replace(job.experiment, evaluate=lambda run: _clean(run, options))
    evaluate(work, order, job.config, job.folder)
    return 0


def _clean(run: Any, options: argparse.Namespace) -> None:
    from experiments.audio.recording import Recording, writing
    from experiments.audio.stream import masked
    from experiments.speech_denoising import RATE, TRANSFORM, new_net

    from .assessment import Masker

    net = new_net(run, "recurrent")
    run.load_model("recurrent", net)
    masker = Masker(net, run.device, binary=options.mask == "binary")
    with Recording(options.source) as recording, writing(options.target, RATE) as writer:
        for block in masked(recording.blocks(RATE), masker, TRANSFORM):
            writer.write(block)
        notes = recording.notes(RATE)
    if writer.clipped:
        notes.append(f"{writer.clipped:,} samples beyond full scale were clipped")
    done = f": {', '.join(notes)}" if notes else ""
    print(f"{options.target}: {writer.samples / RATE:.1f} s at {RATE:,} Hz, {options.mask} mask{done}")
