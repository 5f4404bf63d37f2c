"""What a run leaves in its folder; whether two runs left the same; and a crash in the middle of one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.harness.checkpoint import Checkpoint, LoopState


class CrashError(Exception):
    """Stands for a crash."""


def dying(function: Callable[..., Any], left: list[int]) -> Callable[..., Any]:
    """`function`, which crashes once it has been called as often as `left` says; more may be granted there."""

    def called(*arguments: Any, **named: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise CrashError
        return function(*arguments, **named)

    return called


def dying_after(function: Callable[..., Any], deaths: list[int]) -> Callable[..., Any]:
    """`function`, which crashes after the calls of these numbers, counted from 1: what they did is lost."""
    made = 0

    def called(*arguments: Any, **named: Any) -> Any:
        nonlocal made
        value = function(*arguments, **named)
        made += 1
        if made in deaths:
            raise CrashError
        return value

    return called


def summary_of(path: Path) -> dict[str, Any]:
    return dict(json.loads((path / "summary.json").read_text()))


def metrics_of(path: Path) -> dict[str, float]:
    return dict(summary_of(path)["metrics"])


def timeless_metrics_of(path: Path) -> dict[str, float]:
    """The metrics but for times and what is made of them, which no two runs have in common."""
    return {name: value for name, value in metrics_of(path).items() if "seconds" not in name and "speed" not in name}


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The metrics of every epoch."""
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def loops_of(path: Path) -> dict[str, LoopState]:
    """The loops in the checkpoint, in the order in which they began."""
    return Checkpoint.load(path / "checkpoint.safetensors").loops


def assert_same_run(path: Path, other: Path) -> None:
    """Two runs have the same metrics, and every loop of theirs the same plain state and the same bits in its arrays.

    Times are left out: metrics that are, and arrays of them.
    """
    assert (path / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
    found, expected = loops_of(path), loops_of(other)
    assert list(found) == list(expected)
    for name, state in found.items():
        assert state.tracked == expected[name].tracked, name
        assert state.arrays.keys() == expected[name].arrays.keys(), name
        for key, array in state.arrays.items():
            if not key.endswith("seconds"):
                assert array.tobytes() == expected[name].arrays[key].tobytes(), (name, key)
    assert timeless_metrics_of(path) == timeless_metrics_of(other)
