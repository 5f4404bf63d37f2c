"""From seconds in rounds to medians, ratios and shares of the roof."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SLOW = 1.25  # a round counts as disturbed when the control took this much longer than it mostly does


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """Median, lower and upper quartile."""
    low, median, high = np.percentile(np.asarray(values, np.float64), (25, 50, 75))
    return {"median": float(median), "low": float(low), "high": float(high)}


def disturbed(control: Sequence[float]) -> list[bool]:
    """Which rounds met a slow machine: those whose control took :data:`SLOW` times the lower quartile or more."""
    limit = SLOW * float(np.percentile(np.asarray(control, np.float64), 25)) if control else math.inf
    return [seconds >= limit for seconds in control]


def kept_rounds(control: Sequence[float]) -> list[int]:
    """The rounds that count: the undisturbed ones, or all when those are less than half."""
    calm = [i for i, slow in enumerate(disturbed(control)) if not slow]
    return calm if 2 * len(calm) >= len(control) else list(range(len(control)))


def summarise(
    entry: Mapping[str, Any], roof: Mapping[str, float] | None, ours: str, own: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
    """For each engine of a workload that was timed: milliseconds a step, our time over its time, share of the roof.

    A ratio is formed in each round, of times that are a moment apart, and the median of these taken. ``ours`` is the
    engine whose time is above the line in ``ratio``; ``ratios`` has the same for each of ``own``, other forms of it.
    """
    timed = {name: engine for name, engine in entry["engines"].items() if engine.get("seconds")}
    # an interrupted round is one that not every engine has
    whole = min(len(entry["control"]), *(len(engine["seconds"]) for engine in timed.values())) if timed else 0
    rounds = kept_rounds(entry["control"][:whole])

    def ratio(above: Mapping[str, Any], below: Mapping[str, Any]) -> dict[str, float]:
        return quartiles([above["seconds"][i] / below["seconds"][i] for i in rounds])

    found = {}
    for name, engine in timed.items():
        steps = [engine["seconds"][i] for i in rounds]
        row: dict[str, Any] = {"milliseconds": {key: 1e3 * value for key, value in quartiles(steps).items()}}
        if ours in timed:
            row["ratio"] = ratio(timed[ours], engine)
        row["ratios"] = {other: ratio(timed[other], engine) for other in (ours, *own) if other in timed}
        if roof:
            least = max(entry["flops"] / roof["flops"], entry["bytes"] / roof["bytes"])
            row["roof"] = 1e3 * least / row["milliseconds"]["median"]
        found[name] = row
    return found


def best_peer(summary: Mapping[str, Mapping[str, Any]], own: Sequence[str]) -> str | None:
    """The fastest engine that is not among ``own``."""
    peers = {name: row["milliseconds"]["median"] for name, row in summary.items() if name not in own}
    return min(peers, key=peers.__getitem__) if peers else None
