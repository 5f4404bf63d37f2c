"""A whole run: which workloads and engines, in which order, and what happens when it is interrupted."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import accuracy, machine, report
from benchmarks.engines import EngineError, Process
from benchmarks.measure import side_by_side
from benchmarks.peers import ENGINES, FORMS, OURS, PEERS
from benchmarks.results import Results, UserError
from benchmarks.scaling import scaling
from benchmarks.workloads import TOGETHER, WORKLOADS, nearest

INTERRUPTED = 130


@dataclass(frozen=True)
class Options:
    """What the command line says.

    Attributes:
        workloads, peers: names; None for all (of the peers, all that are installed).
        scaling, accuracy: measure these too.
        figure: where the figure of ratios goes, if anywhere.
    """

    device: str
    workloads: list[str] | None
    peers: list[str] | None
    json: Path | None
    figure: Path | None
    threads: int
    rounds: int
    seconds: float
    scaling: bool
    accuracy: bool
    resume: bool


def say(line: str) -> None:
    """Progress and what could not be measured go to standard error, apart from the tables."""
    print(line, file=sys.stderr, flush=True)


def chosen_workloads(names: Sequence[str] | None) -> list[str]:
    """The workloads named, all for None, none for ``["none"]``; raises UserError for an unknown one."""
    if names == ["none"]:
        return []
    found = [each for name in names or WORKLOADS for each in TOGETHER.get(name, [name])]
    for name in found:
        if name not in WORKLOADS:
            raise UserError(nearest("workload", name, [*WORKLOADS, *TOGETHER]))
    return list(dict.fromkeys(found))


def chosen_engines(names: Sequence[str] | None) -> list[str]:
    """Ours, then the peers named, or all that are installed; raises UserError for one that is unknown or missing."""
    for name in names or ():
        if name not in PEERS and names != ["none"]:
            raise UserError(nearest("peer", name, PEERS))
    if names == ["none"]:
        found: list[str] = []
    elif names:
        found = list(dict.fromkeys(form for name in names for form in FORMS.get(name, [name])))
        for name in found:
            if ENGINES[name].missing():
                raise UserError(f"peer {name}: {ENGINES[name].package} is not installed: {_how(name)}")
    else:
        found = [name for name in PEERS if not ENGINES[name].missing()]
        for name in PEERS:
            if name not in found:
                say(f"{ENGINES[name].title}: not installed, left out ({_how(name)})")
    return [name for name, engine in ENGINES.items() if engine.ours] + found


def _how(name: str) -> str:
    return "pip install torch" if ENGINES[name].package == "torch" else "pip install -e '.[bench]'"


def run(options: Options) -> int:
    """Measure, print, write; returns the exit status. Raises UserError before anything is measured."""
    workloads, engines = chosen_workloads(options.workloads), chosen_engines(options.peers)
    if options.figure is not None and options.figure.suffix not in (".svg", ".png"):
        raise UserError(f"--figure: {options.figure} must end in .svg or .png")
    settings = {key: getattr(options, key) for key in ("device", "threads", "rounds", "seconds")}
    wanted = settings | {"workloads": workloads, "engines": engines}
    results = Results.begin(options.json, wanted, machine.describe(), options.resume)
    if kernels := os.environ.get("OPENBLAS_CORETYPE"):
        say(f"OPENBLAS_CORETYPE={kernels} is set and decides the speed of NumPy's products; unset, the best is chosen")
    try:
        _raise_roof(options, results)
        _measure(options, workloads, engines, settings, results)
    except KeyboardInterrupt:
        results.save()
        report.show(results.data)
        kept = f"; kept in {options.json}: continue with --resume" if options.json else ""
        say(f"interrupted{kept}")
        return INTERRUPTED
    results.data["complete"] = True
    results.save()
    report.show(results.data)
    if options.figure is not None:
        draw(results.data, options.figure)
    return 0


def _measure(
    options: Options, workloads: list[str], engines: list[str], settings: dict[str, Any], results: Results
) -> None:
    data = results.data
    for name in workloads:
        if data["workloads"].get(name, {}).get("complete"):
            say(f"{name}: measured before")
            continue
        workload = WORKLOADS[name]
        say(f"{name}: {workload.title}")
        compared = [engine for engine in engines if ENGINES[engine].suits(workload)]

        def keep(entry: dict[str, Any], name: str = name) -> None:
            data["workloads"][name] = entry
            results.save()

        side_by_side(workload, compared, say=say, keep=keep, **settings)
    if options.scaling:

        def keep_growth(found: dict[str, Any]) -> None:
            data["scaling"] = found
            results.save()

        fewer = settings | {"rounds": min(settings["rounds"], 5)}
        usual = [OURS, "torch", "jax"] if options.peers is None else engines
        compared = [engine for engine in usual if engine in engines and not ENGINES[engine].only_with]
        scaling(compared, fewer, say, keep_growth, data.get("scaling"))
    if options.accuracy and not data.get("accuracy"):
        compared = [engine for engine in accuracy.COMPARED if engine in engines]
        data["accuracy"] = accuracy.compare(compared, options.device, options.threads, say)
        results.save()
    _raise_roof(options, results)


def _raise_roof(options: Options, results: Results) -> None:
    """Measure the roof and keep the higher figures; raises UserError when the device is not there."""
    try:
        with Process("control", options.device, options.threads) as control:
            found = control.ask("roof")
    except EngineError as error:
        if results.data["roof"] is None:
            results.discard()
        raise UserError(str(error).removeprefix("DeviceError: ")) from error
    before = results.data["roof"] or found
    results.data["roof"] = {key: max(value, before[key]) for key, value in found.items()}


def draw(data: dict[str, Any], path: Path) -> None:
    """Write the figure of ratios, and beside it that of growth if there is one; raises UserError when it cannot."""
    from benchmarks import figure

    try:
        made = figure.ratios(data)
        if made is None:
            say(f"{path}: not drawn: there is nothing to compare")
        else:
            figure.save(made, path)
        if data.get("scaling"):
            figure.save(figure.growth(data["scaling"]), path.with_stem(f"{path.stem}-scaling"))
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error
