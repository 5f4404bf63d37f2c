"""The other end of a worker: start it with its settings, ask, and hear what it says or how it ended."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]
_PATIENCE = 900.0  # seconds for one answer; compiling a step takes up to a minute


class EngineError(RuntimeError):
    """An engine cannot go on; the message says why in a line."""


def environment(threads: int, given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables of a worker: as many threads for every library, which read them when first imported."""
    names = ("OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB", "NUMEXPR")
    counts = {f"{name}_NUM_THREADS": str(threads) for name in names}
    # NPROC is what XLA takes for the number of processors
    return dict(given) | counts | {"NPROC": str(threads), "TORCHINDUCTOR_COMPILE_THREADS": "1"}


class Process:
    """A worker process; used as a block, it ends with it."""

    def __init__(self, engine: str, device: str, threads: int) -> None:
        self.engine = engine
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the process)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", engine, device],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=_ROOT,
            env=environment(threads),
            process_group=0,  # Ctrl-C is for the runner, which then ends its workers
            encoding="utf-8",
        )
        if hasattr(os, "sched_setaffinity"):
            allowed = sorted(os.sched_getaffinity(0))[:threads]
            os.sched_setaffinity(self._process.pid, allowed)
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """The answer to a command; raises :class:`EngineError` when the engine cannot, fails or ends."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._lines.get(timeout=_PATIENCE)
        except queue.Empty:
            raise EngineError(f"no answer to {do!r} within {_PATIENCE:.0f} s") from None
        except OSError:
            line = ""
        if not line:
            raise EngineError(f"its process ended: {self._last_words()}")
        answer = json.loads(line)
        if "answer" not in answer:
            raise EngineError(answer.get("unavailable") or answer["error"])
        found: dict[str, Any] = answer["answer"]
        return found

    def _last_words(self) -> str:
        status = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        return said[-1].strip()[:300] if said else f"exit status {status}"

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        with suppress(OSError):  # what could not be written to a process that had ended
            self._process.stdin.close()
        self._errors.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
