"""Seconds of training to a stated accuracy on the embedded digits: the same net, the same batches in the same order."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from benchmarks.engines import EngineError, Process
from benchmarks.measure import Say
from benchmarks.peers import ENGINES
from benchmarks.statistics import quartiles

# Nothing above imports NumPy: this module is also loaded by workers, whose engine must come first.

TARGET, EPOCHS, RUNS, BATCH = 0.94, 30, 5, 100
TRAINING, TESTING = 4000, 1000
COMPARED = ("tinygrad_hw", "torch")


def digits() -> tuple[Any, Any, Any, Any]:
    """Training images and labels, test images and labels: float32 pixels in [0, 1] in rows of 784."""
    from experiments.data import mnist

    data = mnist.load(None, TRAINING, TESTING)
    train, test = (x.reshape(len(x), -1).astype("float32") / 255 for x in (data.train_images, data.test_images))
    return train, data.train_labels, test, data.test_labels


def learn(engine: str, device: str, seed: int, target: float = TARGET, epochs: int = EPOCHS) -> dict[str, Any]:
    """Train 784-100-50-10 with Adam until ``target`` of the test digits are right, at most ``epochs`` times through.

    Returns:
        ``seconds`` spent on training steps (with the loading of batches, without testing) and ``epochs`` until the
        target was reached, both None if it was not; ``accuracy`` after each epoch.
    """
    import numpy as np

    from benchmarks.peers.functional import NumpyOps
    from benchmarks.workloads import Dense

    workload = Dense("digits", "", BATCH, "adam", 1e-3, seed, (784, 100, 50, 10), ("relu", "relu"))
    train, labels, test, test_labels = digits()
    ops: Any = NumpyOps(np, lambda x: x)
    ENGINES[engine].build(workload, device)()  # warm
    step = ENGINES[engine].build(workload, device)
    order, seconds, accuracy = workload.generator("order"), 0.0, []
    for _ in range(epochs):
        chosen = order.permutation(len(train))
        start = time.perf_counter()
        for first in range(0, len(train) - BATCH + 1, BATCH):
            rows = chosen[first : first + BATCH]
            step.load({"x": train[rows], "labels": labels[rows]})
            step()
        step.wait()
        seconds += time.perf_counter() - start
        right = workload.logits(ops, step.state(), test).argmax(axis=1) == test_labels
        accuracy.append(float(right.mean()))
        if accuracy[-1] >= target:
            return {"seconds": seconds, "epochs": len(accuracy), "accuracy": accuracy}
    return {"seconds": None, "epochs": None, "accuracy": accuracy}


def compare(
    names: Sequence[str], device: str, threads: int, say: Say, runs: int = RUNS, target: float = TARGET
) -> dict[str, Any]:
    """Seconds to the target by engine, over ``runs`` seeds of parameters and order, the engines taking turns."""
    found: dict[str, Any] = {"target": target, "title": f"784-100-50-10, batch {BATCH}, Adam", "engines": {}}
    processes: dict[str, Process] = {}
    try:
        for name in names:
            processes[name] = Process(name, device, threads)
            found["engines"][name] = {"runs": []}
        for seed in range(runs):
            for name in list(processes):
                say(f"accuracy: {ENGINES[name].title}, seed {seed}")
                try:
                    found["engines"][name]["runs"].append(processes[name].ask("learn", seed=seed, target=target))
                except EngineError as error:
                    say(f"accuracy: {ENGINES[name].title}: {error}")
                    found["engines"][name] = {"reason": str(error)}
                    processes.pop(name).close()
    finally:
        for process in processes.values():
            process.close()
    for engine in found["engines"].values():
        seconds = [run["seconds"] for run in engine.get("runs", ()) if run["seconds"] is not None]
        if seconds and len(seconds) == runs:
            engine["seconds"] = quartiles(seconds)
            engine["epochs"] = quartiles([run["epochs"] for run in engine["runs"]])
    return found
