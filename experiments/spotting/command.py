"""`python -m experiments spot IN --model RUN_DIR`: which keywords are said in a recording, and when."""

import argparse
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

# What computes is imported by the command alone: `--help` and `list` need none of it.

HOP = 0.1  # seconds from window to window
PIECE = 200  # windows at once
SMOOTH = 3  # windows whose probabilities are averaged, as a word is in several of them


def add_arguments(commands: "argparse._SubParsersAction[Any]") -> None:
    """Puts `spot` on a command line; sets `command`."""
    parser = commands.add_parser("spot", help="find keywords in a recording of your own")
    parser.add_argument("source", type=Path, metavar="IN", help="a sound file, of any length")
    parser.add_argument("--model", type=Path, required=True, metavar="RUN_DIR", help="a run of keyword_spotting")
    parser.add_argument("--threshold", type=share, default=0.6, metavar="P", help="least probability, default: 0.6")
    parser.add_argument("--device", default="cpu", metavar="cpu|cuda", help="default: %(default)s")
    parser.set_defaults(command=spot)


def share(text: str) -> float:
    """A number from 0 to 1."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a number from 0 to 1")
    return number


def spot(options: argparse.Namespace) -> int:
    """The command. Raises DataError for the file, UserError for a run that has no such net."""
    from experiments.harness.errors import UserError
    from experiments.harness.execute import check_device, evaluate
    from experiments.harness.folder import RunFolder
    from experiments.harness.jobs import reopen

    check_device(options.device)
    name = RunFolder.existing(options.model).read_order().experiment
    if name != "keyword_spotting":
        raise UserError(f"{options.model}: a run of {name}, expected one of keyword_spotting")
    job = reopen(options.model)
    order = replace(job.order, device=options.device)
    work = replace(job.experiment, evaluate=lambda run: _find(run, options))
    evaluate(work, order, job.config, job.folder)
    return 0


def _find(run: Any, options: argparse.Namespace) -> None:
    import numpy as np

    from experiments.data.audio import keywords, sound
    from experiments.keyword_spotting import RATE

    from .training import new_net, probabilities

    names = (*keywords.KEYWORDS, keywords.UNKNOWN, keywords.SILENCE)
    net = new_net(run, len(names), RATE, 0, run.stream("masks"))
    run.load_model("all-seed0", net)
    found = sound.read(options.source, RATE)
    for note in found.notes:
        print(f"{options.source}: {note}")
    size, hop = round(run.config.seconds * RATE), round(HOP * RATE)
    samples = np.pad(found.samples, (0, max(0, size - len(found.samples))))
    windows = np.lib.stride_tricks.sliding_window_view(samples, size)[::hop]
    cuts = range(0, len(windows), PIECE)
    given = np.concatenate([probabilities(net, windows[cut : cut + PIECE], RATE, run.device) for cut in cuts])
    spotted = events(given, len(keywords.KEYWORDS), options.threshold)
    for window, label, probability in spotted:
        middle = window * HOP + run.config.seconds / 2
        print(f"{middle:8.1f} s  {names[label]:6}  {probability:.2f}")
    if not spotted:
        label = int(given.mean(axis=0).argmax())
        print(f"no keyword with a probability of {options.threshold:g} or more; most likely {names[label]}")


def events(given: Any, keywords: int, threshold: float) -> list[tuple[int, int, float]]:
    """Keywords in a row of windows: each stretch in which one is the most likely, and likely enough, counts once.

    Args:
        given: W x classes, probabilities; the first classes are the keywords.
        keywords: how many.
        threshold: least probability, averaged over three windows.

    Returns:
        window, class and probability where the latter is greatest, in the order of time.
    """
    import numpy as np

    width = min(SMOOTH, len(given))
    padded = np.pad(given, ((width // 2, width - 1 - width // 2), (0, 0)), mode="edge")
    smooth = np.lib.stride_tricks.sliding_window_view(padded, width, axis=0).mean(axis=-1)
    labels, best = smooth.argmax(axis=1), smooth.max(axis=1)
    labels = np.where((labels < keywords) & (best >= threshold), labels, -1)
    borders = np.flatnonzero(np.diff(labels, prepend=-2, append=-2))
    found = []
    for first, end in pairwise(borders):
        if labels[first] >= 0:
            window = int(first + best[first:end].argmax())
            found.append((window, int(labels[first]), float(best[window])))
    return found
