"""The cost of the tape itself: microseconds an operation on arrays so small that NumPy hardly matters.

A chain of 50 additions on 32 x 64 float32, forward and backward, divided by 50. Every engine runs the same chain; the
rounds are interleaved so that a slow spell of the machine meets all of them, and medians are taken.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

SHAPE, STEPS = (32, 64), 50
PEER, LIMIT = "torch", 1.25  # whose tape is the measure, and how much longer ours may take


def _ours(x: np.ndarray, ones: np.ndarray) -> Callable[[], np.ndarray]:
    import tinygrad_hw as tg

    leaf = tg.tensor(x, requires_grad=True)

    def run() -> np.ndarray:
        y = leaf
        for _ in range(STEPS):
            y = y + leaf
        y.backward(ones)
        gradient, leaf.grad = leaf.grad, None
        assert gradient is not None
        return gradient.numpy()

    return run


def _numpy(x: np.ndarray, ones: np.ndarray) -> Callable[[], np.ndarray]:
    def run() -> np.ndarray:
        y = x
        for _ in range(STEPS):
            y = y + x
        return ones * (STEPS + 1)

    return run


def _autograd(x: np.ndarray, ones: np.ndarray) -> Callable[[], np.ndarray]:
    from autograd.core import make_vjp

    def chain(leaf: np.ndarray) -> np.ndarray:
        y = leaf
        for _ in range(STEPS):
            y = y + leaf
        return y

    def run() -> np.ndarray:
        backward, _ = make_vjp(chain, x)
        return backward(ones)

    return run


def _mygrad(x: np.ndarray, ones: np.ndarray) -> Callable[[], np.ndarray]:
    import mygrad

    def run() -> np.ndarray:
        leaf = mygrad.tensor(x)
        y = leaf
        for _ in range(STEPS):
            y = y + leaf
        y.backward(ones)
        return leaf.grad

    return run


def _torch(x: np.ndarray, ones: np.ndarray) -> Callable[[], np.ndarray]:
    import torch

    leaf, ones_tensor = torch.tensor(x, requires_grad=True), torch.tensor(ones)

    def run() -> np.ndarray:
        y = leaf
        for _ in range(STEPS):
            y = y + leaf
        y.backward(ones_tensor)
        gradient, leaf.grad = leaf.grad, None
        return gradient.numpy()

    return run


ENGINES = {
    "tinygrad_hw": _ours,
    "autograd": _autograd,
    "mygrad": _mygrad,
    "torch": _torch,
    "numpy alone (forward)": _numpy,
}


def measure(rounds: int, repeats: int) -> dict[str, list[float]]:
    """Microseconds an operation of every engine that is installed, in each round."""
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    ones = np.ones(SHAPE, np.float32)
    runs = {}
    for name, make in ENGINES.items():
        module = name.partition(" ")[0]
        if importlib.util.find_spec(module) is None:
            print(f"{name}: not installed (pip install -e '.[bench]')")
            continue
        run = make(x, ones)
        np.testing.assert_array_equal(run(), (STEPS + 1) * ones, err_msg=name)
        for _ in range(repeats):
            run()
        runs[name] = run
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            for _ in range(repeats):
                run()
            times[name].append((time.perf_counter() - start) / repeats / STEPS * 1e6)
    return times


def main(rounds: int, repeats: int, check: bool, path: Path | None) -> int:
    """Print the table; with ``check``, 1 when the ratio to the peer is above the limit, 2 when there is no peer.

    A number of microseconds says as much of the machine as of the tape, so the verdict is a ratio: of times a moment
    apart, the median over the rounds.
    """
    times = measure(rounds, repeats)
    ours = times["tinygrad_hw"]
    rows = {}
    print(f"chain of {STEPS} additions on {SHAPE[0]} x {SHAPE[1]} float32, forward + backward, µs an operation")
    print(f"{'engine':24}{'median':>8}{'least':>8}{'greatest':>10}{'ours/it':>9}")
    for name, values in times.items():
        ratio = statistics.median(own / its for own, its in zip(ours, values, strict=True))
        rows[name] = {
            "median": statistics.median(values),
            "least": min(values),
            "greatest": max(values),
            "ratio": ratio,
        }
        print(f"{name:24}{rows[name]['median']:8.2f}{min(values):8.2f}{max(values):10.2f}{ratio:9.2f}")
    share = rows.get(PEER, {}).get("ratio")
    kept = None if share is None else share <= LIMIT
    if share is None:
        print(f"limit {LIMIT} times {PEER}: no verdict, {PEER} is not installed")
    else:
        print(f"limit {LIMIT} times {PEER}: {'kept' if kept else 'exceeded'}, {share:.2f}")
    if path is not None:
        path.write_text(json.dumps({"microseconds": rows, "peer": PEER, "limit": LIMIT, "kept": kept}, indent=2) + "\n")
    return 0 if kept or not check else 2 if kept is None else 1
