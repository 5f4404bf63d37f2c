"""`python -m experiments data build`: data in the course's layouts out of any speech and any noises."""

import argparse
from pathlib import Path

# What reads and synthesises sound is imported by the commands alone: `--help` and `list` need none of it.
SENTENCES = (("train", 120), ("validation", 20), ("test", 20))


def add_arguments(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Puts `build denoising` and `build speakers` on a command line; each sets `command`."""
    noisy = commands.add_parser("denoising", help="mix any speech with any noises: tr/, v/, te/ as WAV files")
    noisy.add_argument("--speech", type=Path, required=True, metavar="DIR", help="sentences by speaker")
    noisy.add_argument("--noise", type=Path, required=True, metavar="DIR", help="recordings of noises")
    noisy.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    for part, count in SENTENCES:
        noisy.add_argument(f"--{part}", type=_positive, default=count, metavar="N", help=f"sentences; default: {count}")
    noisy.add_argument("--noises", type=_positive, default=10, metavar="N", help="kinds of noise; default: 10")
    noisy.add_argument("--snr", type=float, default=0.0, metavar="DB", help="speech to noise; default: 0")
    noisy.add_argument("--seconds", type=float, default=4.0, metavar="S", help="of a sentence; 0 whole; default: 4")
    noisy.set_defaults(command=build_denoising)
    who = commands.add_parser("speakers", help="cut utterances of any speakers: trs.pkl, tes.pkl")
    who.add_argument("--speech", type=Path, required=True, metavar="DIR", help="recordings by speaker")
    who.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    who.add_argument("--train", type=_positive, default=50, metavar="N", help="speakers; default: 50")
    who.add_argument("--test", type=_positive, default=20, metavar="N", help="speakers; default: 20")
    who.add_argument("--seconds", type=float, default=1.0, metavar="S", help="of an utterance; default: 1")
    who.set_defaults(command=build_speakers)
    for each in (noisy, who):
        each.add_argument("--rate", type=_positive, default=16_000, metavar="HZ", help="default: 16000")
        each.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")


def build_denoising(options: argparse.Namespace) -> int:
    """`data build denoising`."""
    from . import denoising
    from .writing import write_denoising

    data = denoising.build(
        options.speech,
        options.noise,
        (options.train, options.validation, options.test),
        options.noises,
        options.snr,
        options.seconds,
        options.seed,
        options.rate,
    )
    write_denoising(data, options.out)
    print(f"{data.source}, now in {options.out}")
    return 0


def build_speakers(options: argparse.Namespace) -> int:
    """`data build speakers`."""
    from . import speakers
    from .writing import write_speakers

    data = speakers.build(
        options.speech,
        options.train,
        options.test,
        seconds=options.seconds,
        seed=options.seed,
        rate=options.rate,
    )
    write_speakers(data, options.out)
    print(f"{data.source}, now in {options.out}")
    return 0


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a whole number of at least 1")
    return int(text)
