"""The only file that knows NumPy from CuPy: array modules, devices, transfers, BLAS settings.

An array is a ``numpy.ndarray`` (device ``"cpu"``) or a ``cupy.ndarray`` (device ``"cuda:N"``). CuPy is imported when a
GPU is first asked for, never before. A further array library joins through :func:`register_backend`.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import platform
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any


def _choose_blas_kernels() -> None:
    """Let OpenBLAS use its AVX-512 kernels on processors that it does not recognise (recent AMD in virtual machines).

    Also, let its threads wait 2^18 cycles of the clock for more work (0.1 ms), not 2^26: awake, they take a processor
    from whoever computes next. It reads both variables once, when NumPy is first imported; values that the user has set
    are respected.
    """
    if "numpy" in sys.modules or not sys.platform.startswith("linux"):
        return
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "18")
    if "OPENBLAS_CORETYPE" in os.environ:
        return
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            flags = next((line for line in file if line.startswith("flags")), "").split()
    except OSError:
        return
    if {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= set(flags):
        os.environ["OPENBLAS_CORETYPE"] = "SkylakeX"


def _keep_freed_memory() -> None:
    """Have glibc keep freed arrays of up to 32 MiB for the next ones instead of giving them back to the system.

    It would otherwise map each array of more than 128 KiB anew, and every page of it would cost a fault when it is
    first written. Settings of its own in the environment are respected.
    """
    own = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in own):
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(_M_MMAP_THRESHOLD, 2**25)  # the most that it takes
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_choose_blas_kernels()
_keep_freed_memory()

import numpy as np  # noqa: E402  (the BLAS setting above must come first)

Array = Any  # numpy.ndarray or cupy.ndarray: the two share no base class


class DeviceError(RuntimeError):
    """A device is missing or misspelt, or the operands of one operation live on different devices."""


@dataclass(frozen=True)
class Backend:
    """What the engine needs to know of an array library.

    ``name`` is the device kind ("cpu", "cuda"); ``module`` the array module; ``array_type`` the class of its arrays;
    ``device_of`` names an array's device; ``from_host`` and ``to_host`` copy between it and NumPy;
    ``move`` copies to the device of another index; within ``linalg_errors()`` a matrix that is singular, or not
    positive definite, raises LinAlgError.
    """

    name: str
    module: Any
    array_type: type
    device_of: Callable[[Array], str]
    from_host: Callable[[np.ndarray, int], Array]
    to_host: Callable[[Array], np.ndarray]
    synchronize: Callable[[], None]
    move: Callable[[Array, int], Array]
    linalg_errors: Callable[[], AbstractContextManager[Any]] = nullcontext


_CPU = Backend(
    name="cpu",
    module=np,
    array_type=np.ndarray,
    device_of=lambda array: "cpu",
    from_host=lambda array, index: array,
    to_host=lambda array: array,
    synchronize=lambda: None,
    move=lambda array, index: array,
)
_backends: dict[str, Backend] = {"cpu": _CPU}
_by_type: dict[type, Backend] = {np.ndarray: _CPU}


def register_backend(backend: Backend) -> None:
    """Make ``backend`` reachable by its device kind and its array class; a later one of the same kind replaces it."""
    _backends[backend.name] = backend
    _by_type[backend.array_type] = backend


def _cupy_backend() -> Backend:
    """Import CuPy and check that it can reach a GPU; raises :class:`DeviceError` that says how to get either."""
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as error:
        raise DeviceError(
            "device 'cuda' needs CuPy, which is not installed: pip install 'tinygrad_hw[cuda12]' for CUDA 12 "
            "or 'tinygrad_hw[cuda13]' for CUDA 13"
        ) from error
    if not cupy.cuda.is_available():
        raise DeviceError(
            f"device 'cuda' needs an NVIDIA GPU: CuPy {cupy.__version__} is installed but finds no GPU "
            "(see whether nvidia-smi lists one); device 'cpu' works everywhere"
        )

    def from_host(array: np.ndarray, index: int) -> Array:
        with cupy.cuda.Device(index):
            return cupy.asarray(array)

    def move(array: Array, index: int) -> Array:
        with cupy.cuda.Device(index):
            return array if array.device.id == index else cupy.array(array)

    return Backend(
        name="cuda",
        module=cupy,
        array_type=cupy.ndarray,
        device_of=lambda array: f"cuda:{array.device.id}",
        from_host=from_host,
        to_host=cupy.asnumpy,
        synchronize=lambda: cupy.cuda.get_current_stream().synchronize(),
        move=move,
        # without it CuPy returns unspecified values for a singular matrix
        linalg_errors=lambda: importlib.import_module("cupyx").errstate(linalg="raise"),
    )


def get_backend(kind: str) -> Backend:
    """The backend of device kind ``"cpu"`` or ``"cuda"``; raises :class:`DeviceError` when it cannot be had."""
    if kind not in _backends:
        if kind != "cuda":
            raise DeviceError(f"unknown device {kind!r}: expected 'cpu', 'cuda' or 'cuda:N'")
        register_backend(_cupy_backend())
    return _backends[kind]


def backend_of(array: Array) -> Backend | None:
    """The backend whose array ``array`` is, or None (numbers, lists, ...)."""
    backend = _by_type.get(type(array))
    if backend is None:
        if isinstance(array, np.ndarray):
            return _CPU
        if type(array).__module__.partition(".")[0] == "cupy":
            return get_backend("cuda")
    return backend


def is_array(value: object) -> bool:
    """Whether ``value`` is an array of a known backend (NumPy scalars and lists are not)."""
    return type(value) in _by_type or backend_of(value) is not None


def array_module(*arrays: Array) -> Any:
    """``numpy`` or ``cupy``: the array module of the first array among the arguments; ``numpy`` where there is none."""
    for array in arrays:
        if type(array) is np.ndarray:
            return np
        backend = backend_of(array)
        if backend is not None:
            return backend.module
    return np


def parse_device(device: str) -> tuple[Backend, int]:
    """Split ``"cpu"``, ``"cuda"`` or ``"cuda:N"`` into backend and index; raises :class:`DeviceError` otherwise."""
    kind, colon, index = str(device).partition(":")
    if colon and not index.isdecimal():
        raise DeviceError(f"unknown device {device!r}: expected 'cpu', 'cuda' or 'cuda:N'")
    if kind == "cpu" and colon:
        raise DeviceError(f"unknown device {device!r}: the CPU has no index, write 'cpu'")
    return get_backend(kind), int(index) if colon else 0


def device_of(array: Array) -> str:
    """``"cpu"`` or ``"cuda:N"``."""
    backend = backend_of(array)
    return "cpu" if backend is None else backend.device_of(array)


def linalg_errors(array: Array) -> AbstractContextManager[Any]:
    """A block in which the linear algebra of ``array``'s library raises LinAlgError instead of returning anything."""
    return (backend_of(array) or _CPU).linalg_errors()


def to_device(array: Array, device: str) -> Array:
    """``array`` on ``device``; the same object where it already lives there."""
    source, (target, index) = backend_of(array) or _CPU, parse_device(device)
    if source is target:
        return target.move(array, index)
    return target.from_host(source.to_host(array), index)


def to_numpy(array: Array) -> np.ndarray:
    """A NumPy array with the same values; the array itself where it is one already."""
    backend = backend_of(array)
    return np.asarray(array) if backend is None else backend.to_host(array)


def synchronize(device: str = "cpu") -> None:
    """Wait until every operation queued on ``device`` has finished (nothing to wait for on the CPU)."""
    parse_device(device)[0].synchronize()


def show_config() -> str:
    """One line each: Python, NumPy and its BLAS, processors, CuPy and its GPUs, optional libraries."""
    build: Any = np.show_config(mode="dicts")
    blas = build["Build Dependencies"]["blas"]
    lines = [
        f"python       {platform.python_version()} on {platform.system()} {platform.machine()}",
        f"numpy        {np.__version__} (BLAS: {blas.get('name')} {blas.get('version')}, "
        f"OPENBLAS_CORETYPE={os.environ.get('OPENBLAS_CORETYPE', 'unset')})",
        f"processors   {os.cpu_count()}",
    ]
    try:
        cupy = get_backend("cuda").module
        names = [
            cupy.cuda.runtime.getDeviceProperties(i)["name"].decode() for i in range(cupy.cuda.runtime.getDeviceCount())
        ]
        lines.append(f"cupy         {cupy.__version__} on {', '.join(names)}")
    except DeviceError as error:
        lines.append(f"cuda         unavailable: {error}")
    for name in ("numba", "scipy", "safetensors"):
        found = importlib.util.find_spec(name)
        lines.append(f"{name:12} {importlib.import_module(name).__version__ if found else 'not installed'}")
    return "\n".join(lines)
