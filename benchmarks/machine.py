"""What the figures were measured on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

_PACKAGES = ("tinygrad_hw", "numpy", "numba", "torch", "jax", "jaxlib", "autograd", "mygrad", "cupy-cuda12x")

# Variables by which a user tunes one library or another; the workers inherit them.
_TUNING = (
    "OPENBLAS_",
    "GOTO_",
    "MKL_",
    "OMP_",
    "KMP_",
    "GOMP_",
    "NUMBA_",
    "XLA_",
    "JAX_",
    "TORCH_",
    "ONEDNN_",
    "DNNL_",
    "MALLOC_",
    "LD_PRELOAD",
)


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe() -> dict[str, object]:
    """Processor, system, Python, versions of what is installed of the engines, variables that tune a library."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "processors": processors(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": found,
        "environment": {name: value for name, value in sorted(os.environ.items()) if name.startswith(_TUNING)},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
