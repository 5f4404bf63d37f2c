"""What a run was made with."""

import importlib.metadata
import os
import platform
from pathlib import Path

import numpy  # noqa: F401 - a library for matrix products must be loaded to be seen
import threadpoolctl

from tinygrad_hw.backend import parse_device

PACKAGES = ("numpy", "tinygrad_hw", "numba", "scipy", "matplotlib", "safetensors")


def versions(device: str) -> dict[str, str]:
    """Versions of Python and of the packages that numbers or figures may depend on; of CuPy on a GPU alone."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    if device.startswith("cuda"):
        found["cupy"] = parse_device(device)[0].module.__version__
    return found


def machine(device: str) -> dict[str, str]:
    """Operating system, processor, library of matrix products and, when used, the GPU."""
    found = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "matrix products": blas(),
    }
    if device.startswith("cuda"):
        backend, index = parse_device(device)
        found["GPU"] = backend.module.cuda.runtime.getDeviceProperties(index)["name"].decode()
    return found


def blas() -> str:
    """The library of matrix products, its kernels and its threads: sums are made in an order that depends on them."""
    found = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    if not found:
        return "unknown"
    # SciPy brings a library of its own, and the order is not always the same
    pool = next((pool for pool in found if "numpy" in pool["filepath"]), found[0])
    kernels = f" {pool['architecture']}" if pool.get("architecture") else ""
    threads = pool["num_threads"]
    return f"{pool['internal_api']} {pool['version']}{kernels}, {threads} thread{'s' if threads > 1 else ''}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
