"""The process in which one engine runs one workload: ``python -m benchmarks.worker ENGINE DEVICE``.

It reads a command as a line of JSON, answers with a line of JSON, and ends with its input. Apart from all others, an
engine has its memory measured by itself, and cannot change another's settings (allocator, BLAS kernels, threads).
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.peers import ENGINES, UnavailableError

_REST = 0.06  # seconds before a round: threads of whoever ran last wait awake for work, OpenBLAS's for 0.03 s
_SETTLE = 0.01  # seconds of steps before the clock starts, two at least: the caches hold the data of others


class Worker:
    """Answers commands; ``step`` is what is timed."""

    def __init__(self, engine: str, device: str) -> None:
        self.engine, self.device = engine, device
        self.step: Any = None
        if engine == "control":
            from benchmarks.peers.control import Control

            self.step = Control(device)
        else:
            ENGINES[engine].module()  # before NumPy
        self.baseline = resident("VmRSS")

    def hello(self) -> dict[str, Any]:
        """What the process runs with."""
        return {"blas": blas(), "versions": versions()}

    def warm(self) -> dict[str, Any]:
        """Train a small net for three steps: afterwards the libraries are there that an engine loads when it first
        needs them (Numba, PyTorch's compiler, ...), and memory is counted from here."""
        from benchmarks.workloads import Dense

        self.build(Dense("warm", "", 128, "adam", 1e-3, 0, (784, 128, 10), ("relu",)).describe())
        self.step = None
        gc.collect()
        reset_peak()
        self.baseline = resident("VmRSS")
        return {}

    def build(self, workload: Mapping[str, Any]) -> dict[str, Any]:
        """Make the step ready, and its loss after 1 and after 3 steps."""
        from benchmarks.workloads import from_description

        engine, wanted = ENGINES[self.engine], from_description(workload)
        comparable = wanted.comparable()
        self.step = engine.build(comparable, self.device)
        losses = [self.step.value(self.step()) for _ in range(3)]
        if comparable != wanted:
            self.step = None  # not beside the other in memory
            self.step = engine.build(wanted, self.device)
        return {"losses": [losses[0], losses[2]]}

    def time(self, repeats: int) -> dict[str, float]:
        """Seconds, on the clock and of all processors, of so many steps."""
        step = self.step
        time.sleep(_REST)
        settled = time.perf_counter() + _SETTLE
        steps = 0
        while steps < min(2, repeats) or time.perf_counter() < settled:
            step()
            step.wait()
            steps += 1
        start, busy = time.perf_counter(), time.process_time()
        for _ in range(repeats):
            step()
        step.wait()
        return {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - busy}

    def peak(self) -> dict[str, int | None]:
        """Bytes of memory, at the most, above what the process had before the workload; see :meth:`warm`."""
        most = resident("VmHWM")
        return {"peak_bytes": None if most is None or self.baseline is None else most - self.baseline}

    def count(self) -> dict[str, Any]:
        """Operations and arrays of one step; the most bytes that NumPy's arrays took up at a time above the start."""
        found = dict(self.step.launches() or {"operations": None, "arrays": None})
        tracemalloc.start()
        self.step()
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        self.step()
        found["array_bytes"] = tracemalloc.get_traced_memory()[1] - before
        tracemalloc.stop()
        return found

    def roof(self) -> dict[str, float]:
        """See :meth:`benchmarks.peers.control.Control.roof`."""
        found: dict[str, float] = self.step.roof()
        return found

    def learn(self, **settings: Any) -> dict[str, Any]:
        """See :func:`benchmarks.accuracy.learn`."""
        from benchmarks.accuracy import learn

        return learn(self.engine, self.device, **settings)


def resident(field: str) -> int | None:
    """Bytes of memory that are resident now ("VmRSS") or were at the most ("VmHWM"); None where the system keeps none.

    Not ``ru_maxrss``: a process inherits that of the one that started it.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), None)


def reset_peak() -> None:
    """Forget the peak so far, where the system can: importing an engine may take more than it keeps."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def blas() -> str:
    """Whose matrix products this process uses, with their kernels and threads."""
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        library = "MKL" if torch.backends.mkl.is_available() else "its own"
        return f"{library}, {torch.backends.cpu.get_cpu_capability()}, {_threads(torch.get_num_threads())}"
    if "jax" in sys.modules:
        return "XLA"
    try:
        import threadpoolctl
    except ImportError:
        return "unknown: threadpoolctl is not installed"
    return "; ".join(
        f"{pool['internal_api']} {pool['version']}, {pool.get('architecture') or 'unknown'} kernels, "
        f"{_threads(pool['num_threads'])}"
        for pool in threadpoolctl.threadpool_info()
        if pool["user_api"] == "blas"
    )


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def versions() -> dict[str, str]:
    """Of the libraries that this process has loaded."""
    import importlib.metadata

    found: dict[str, str] = {}
    for name in ("tinygrad_hw", "numpy", "numba", "cupy", "torch", "jax", "autograd", "mygrad"):
        if name in sys.modules:
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                found[name] = str(getattr(sys.modules[name], "__version__", "unknown"))
    return found


def main(engine: str, device: str) -> None:
    """Serve until the input ends. What else the engine prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker: Worker | None = None
    for line in sys.stdin:
        command = json.loads(line)
        try:
            if worker is None:
                worker = Worker(engine, device)
            answer = {"answer": getattr(worker, command.pop("do"))(**command)}
        except UnavailableError as error:
            answer = {"unavailable": str(error)}
        except Exception as error:
            # whatever an engine raises ends that engine's figures, not the run
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
