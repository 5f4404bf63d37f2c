"""Arrays in files: the safetensors format, both ways with PyTorch, and files replaced whole or not at all.

Format: https://github.com/huggingface/safetensors (a JSON header, then the raw bytes; nothing in it can be executed).
"""

from __future__ import annotations

import contextlib
import importlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_hw.backend import to_numpy
from tinygrad_hw.tensor import Tensor

PathLike = str | os.PathLike[str]

_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
    "C64": np.complex64,
}
_STORABLE = frozenset(np.dtype(dtype) for dtype in _DTYPES.values())


class SerializationError(RuntimeError):
    """A file cannot be written or read; the message is one line that names the file and the reason."""


def save(path: PathLike, arrays: Mapping[str, np.ndarray | Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write named arrays, for example ``module.state_dict()``, to a safetensors file that PyTorch can load.

    The file appears whole or not at all: see :func:`atomic_write`.

    Args:
        path: the file; its folder must exist.
        arrays: arrays or Tensors of any shape and memory layout, on any device; booleans, integers, float16/32/64 or
            complex64.
        metadata: texts to store beside them.

    Raises:
        TypeError: ``arrays`` is no mapping.
        SerializationError: a name, dtype or metadata entry that the format cannot hold, or the file cannot be written.
    """
    if not isinstance(arrays, Mapping):
        raise TypeError(f"save {path}: expected arrays by name, got {type(arrays).__name__}")
    library = _safetensors("save", path)
    # The library's NumPy writer copies memory as it lies, so each array is brought to C order first. (Not by
    # ascontiguousarray, which would give an array without axes one.)
    contiguous = {}
    for name, value in arrays.items():
        array = np.asarray(to_numpy(value._data if isinstance(value, Tensor) else value), order="C")
        if not isinstance(name, str) or name == "__metadata__":
            raise SerializationError(f"save {path}: names must be text other than '__metadata__', got {name!r}")
        if array.dtype.newbyteorder("=") not in _STORABLE:
            raise SerializationError(
                f"save {path}: array {name!r} has dtype {array.dtype}, which safetensors cannot hold"
            )
        contiguous[name] = array
    texts = None if metadata is None else dict(metadata)
    for key, text in (texts or {}).items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise SerializationError(f"save {path}: metadata must be text to text, got {key!r}: {text!r}")
    try:
        content = importlib.import_module("safetensors.numpy").save(contiguous, metadata=texts)
    except library.SafetensorError as error:
        raise SerializationError(f"save {path}: {_one_line(error)}") from error
    atomic_write(path, content)


def load(path: PathLike) -> dict[str, np.ndarray]:
    """Read the arrays of a safetensors file, whoever wrote it; each is a writable NumPy array of its own.

    bfloat16, which NumPy lacks, becomes float32 (exactly: it is the upper half of a float32).

    Raises:
        SerializationError: the file is missing, unreadable, truncated or no safetensors file, or holds a dtype that
            NumPy lacks (8-bit floats).
    """
    library = _safetensors("load", path)
    try:
        entries = library.deserialize(Path(path).read_bytes())
    except OSError as error:
        raise SerializationError(f"load {path}: {_reason(error)}") from error
    except library.SafetensorError as error:
        raise _malformed("load", path, error) from error
    entries.sort(key=lambda entry: entry[0])  # the library's own order may change from run to run
    return {name: _decode(path, name, entry["dtype"], entry["data"], entry["shape"]) for name, entry in entries}


def load_metadata(path: PathLike) -> dict[str, str]:
    """The texts stored beside the arrays of a safetensors file, without reading the arrays; raises as :func:`load`."""
    library = _safetensors("load_metadata", path)
    try:
        with open(path, "rb"), library.safe_open(os.fspath(path), framework="numpy") as file:
            return dict(file.metadata() or {})
    except OSError as error:
        raise SerializationError(f"load_metadata {path}: {_reason(error)}") from error
    except library.SafetensorError as error:
        raise _malformed("load_metadata", path, error) from error


def atomic_write(path: PathLike, content: bytes) -> None:
    """Write a file so that a reader, or the next start after a crash, finds the old content or the new, no mixture.

    The bytes go to a temporary file in the same folder, are flushed to the disk, and the file is renamed over ``path``.
    On any failure the previous file is untouched and the temporary is removed.

    Raises:
        SerializationError: the folder is missing or not writable, or the disk is full.
    """
    target = Path(os.path.realpath(path))  # a link stays a link
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            with open(temporary, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        missing = isinstance(error, FileNotFoundError) and not target.parent.is_dir()
        reason = f"there is no folder {target.parent}" if missing else _reason(error)
        raise SerializationError(f"save {path}: {reason}") from error
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power cut, where the system can: not every file system offers it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _decode(path: PathLike, name: str, dtype: str, data: bytes, shape: list[int]) -> np.ndarray:
    if dtype == "BF16":
        halves = np.frombuffer(data, np.dtype("<u2")).astype(np.uint32)
        return (halves << 16).view(np.float32).reshape(shape)
    if dtype not in _DTYPES:
        raise SerializationError(f"load {path}: array {name!r} has dtype {dtype}, which NumPy lacks")
    stored = np.dtype(_DTYPES[dtype])
    return np.frombuffer(data, stored.newbyteorder("<")).reshape(shape).astype(stored)


def _safetensors(action: str, path: PathLike) -> Any:
    try:
        return importlib.import_module("safetensors")
    except ImportError as error:
        raise SerializationError(
            f"{action} {path}: needs the safetensors library, which is not installed: pip install safetensors"
        ) from error


def _malformed(action: str, path: PathLike, error: Exception) -> SerializationError:
    size = os.path.getsize(path)
    return SerializationError(
        f"{action} {path}: not a safetensors file, or a truncated one ({size} bytes; {_one_line(error)})"
    )


def _reason(error: OSError) -> str:
    return error.strerror or _one_line(error)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
