"""Engines side by side: each checked once, then timed in interleaved rounds with a control in each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks.engines import EngineError, Process
from benchmarks.peers import ENGINES, OURS
from benchmarks.workloads import Workload

Say = Callable[[str], None]
_MOST = 20_000  # steps a round


def side_by_side(
    workload: Workload,
    names: Sequence[str],
    *,
    device: str,
    threads: int,
    rounds: int,
    seconds: float,
    say: Say,
    keep: Callable[[dict[str, Any]], None],
    whole: bool = True,
) -> dict[str, Any]:
    """Time ``workload`` in the engines ``names``, ours first.

    Each engine has a process of its own. One whose loss after 1 or after 3 steps is not ours, or that fails, is not
    timed. A round times the control, then each engine for about ``seconds``, in one order and then in its reverse,
    starting with another one every second time: nobody always follows the same one.

    Args:
        say: is told what happens, in a line.
        keep: is given the entry after every round.
        whole: measure memory, launches and allocations too.

    Returns:
        The workload's counts, ``control`` and each engine's ``seconds`` a step in every round, losses, memory, ...; or
        why an engine has none.
    """
    counts = workload.counts()
    entry: dict[str, Any] = {
        "title": workload.title, "workload": workload.describe(), "flops": counts.flops, "bytes": counts.bytes,
        "parameters": counts.parameters, "complete": False, "control": [], "engines": {},
    }  # fmt: skip
    with ExitStack() as stack:
        control = stack.enter_context(Process("control", device, threads))
        control_repeats = _repeats(control, min(0.05, seconds))
        ready: dict[str, Process] = {}
        for name in names:
            process = stack.enter_context(Process(name, device, threads))
            found = entry["engines"][name] = _prepared(name, process, workload, entry["engines"], seconds, whole)
            if "reason" in found:
                say(f"{workload.name}: {ENGINES[name].title}: {found['reason']}")
                process.close()
            else:
                ready[name] = process
                say(f"{workload.name}: {ENGINES[name].title}: same loss, {found['repeats']} steps a round")
        for number in range(rounds):
            entry["control"].append(_timed(control, control_repeats)["seconds"])
            order = list(ready)
            start = number // 2 % max(len(order), 1)
            turns = order[start:] + order[:start]
            for name in turns if number % 2 == 0 else reversed(turns):
                found = entry["engines"][name]
                try:
                    times = _timed(ready[name], found["repeats"])
                except EngineError as error:
                    say(f"{workload.name}: {ENGINES[name].title}: {error}")
                    entry["engines"][name] = {"reason": str(error)}
                    del ready[name]
                    continue
                found["seconds"].append(times["seconds"])
                found["cpu_seconds"].append(times["cpu_seconds"])
            keep(entry)
        for name, process in ready.items() if whole else ():
            try:
                entry["engines"][name] |= process.ask("peak") | process.ask("count")
            except EngineError as error:
                say(f"{workload.name}: {ENGINES[name].title}: memory and launches: {error}")
    entry["complete"] = True
    keep(entry)
    return entry


def _prepared(
    name: str, process: Process, workload: Workload, before: Mapping[str, Any], seconds: float, whole: bool
) -> dict[str, Any]:
    """What is known of an engine before the first round, or the ``reason`` why it has none."""
    try:
        found = process.ask("hello")
        if whole:
            process.ask("warm")
        found |= process.ask("build", workload=workload.describe())
        reference = before.get(OURS, {}).get("losses")
        if reference is not None:
            for steps, mine, ours, tolerance in zip(
                (1, 3), found["losses"], reference, ENGINES[name].tolerance, strict=True
            ):
                if not abs(mine - ours) <= tolerance * abs(ours):
                    return found | {"reason": f"not timed: its loss after {steps} steps is {mine:.7g}, ours {ours:.7g}"}
        return found | {"repeats": _repeats(process, seconds), "seconds": [], "cpu_seconds": []}
    except EngineError as error:
        return {"reason": str(error)}


def _repeats(process: Process, seconds: float) -> int:
    """How many steps take about so long; finding out warms up."""
    repeats = 1
    while True:
        taken = process.ask("time", repeats=repeats)["seconds"]
        if taken >= seconds / 4 or repeats >= _MOST:
            return max(1, min(_MOST, round(repeats * seconds / taken)))
        repeats = min(_MOST, 2 * repeats if taken <= 0 else max(2 * repeats, int(repeats * seconds / 3 / taken)))


def _timed(process: Process, repeats: int) -> dict[str, float]:
    """Seconds a step."""
    return {key: value / repeats for key, value in process.ask("time", repeats=repeats).items()}
