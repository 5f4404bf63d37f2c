"""How the time of a step grows with batch, width and depth of a dense net."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.measure import Say, side_by_side
from benchmarks.peers import OURS
from benchmarks.statistics import summarise
from benchmarks.workloads import Dense, dense

WIDTH, DEPTH, BATCH = 512, 3, 128
AXES: dict[str, tuple[int, ...]] = {
    "batch": (8, 32, 128, 512),
    "width": (64, 256, 1024, 2048),
    "depth": (1, 2, 4, 8, 16),
}


def variant(axis: str, size: int) -> Dense:
    """The net with one of its three sizes changed."""
    sizes = {"batch": BATCH, "width": WIDTH, "depth": DEPTH} | {axis: size}
    return dense(f"{axis}{size}", sizes["width"], sizes["depth"], sizes["batch"])


def scaling(
    names: Sequence[str],
    settings: Mapping[str, Any],
    say: Say,
    keep: Callable[[dict[str, Any]], None],
    found: dict[str, Any] | None = None,
    axes: Mapping[str, Sequence[int]] = AXES,
) -> dict[str, Any]:
    """Milliseconds a step by axis, size and engine.

    Args:
        settings: device, threads, rounds, seconds.
        keep: is given the figures after every size.
        found: figures of an interrupted run; sizes that are in it are not measured again.
    """
    found = found or {"base": {"width": WIDTH, "depth": DEPTH, "batch": BATCH}, "axes": {axis: {} for axis in axes}}
    for axis, sizes in axes.items():
        for size in sizes:
            if str(size) in found["axes"][axis]:
                continue
            say(f"scaling: {axis} {size}")
            entry = side_by_side(variant(axis, size), names, say=say, keep=lambda entry: None, whole=False, **settings)
            rows = summarise(entry, None, OURS)
            found["axes"][axis][str(size)] = {name: row["milliseconds"] for name, row in rows.items()}
            keep(found)
    return found
