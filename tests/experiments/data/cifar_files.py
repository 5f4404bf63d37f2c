"""Writes tiny data sets in CIFAR-10's layouts, as the published files are made."""

import io
import pickle
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from experiments.data.cifar10 import LAYOUTS, NAMES, PIXELS

PYTHON, BINARY = LAYOUTS


def batches(each: int = 20, test: int = 20, seed: int = 0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Random pixels (N x 3072) and labels, all ten in turn, by name of the python batch."""
    draw = np.random.default_rng(seed)
    sizes = {**dict.fromkeys(PYTHON.train, each), PYTHON.test: test}
    return {
        name: (draw.integers(0, 256, (size, PIXELS), np.uint8), (np.arange(size) % 10).astype(np.uint8))
        for name, size in sizes.items()
    }


def as_python_2(entries: dict[str, Any]) -> bytes:
    """A dictionary as Python 2 pickled it, protocol 2: text and the bytes of arrays as strings of 8-bit characters."""
    body = b"".join(_opcodes(key) + _opcodes(value) for key, value in entries.items())
    return b"\x80\x02}(" + body + b"u."


def _opcodes(value: Any) -> bytes:
    if isinstance(value, str):
        return b"T" + len(value).to_bytes(4, "little") + value.encode("latin1")
    if isinstance(value, int):
        return b"J" + value.to_bytes(4, "little", signed=True)
    if isinstance(value, list):
        return b"](" + b"".join(map(_opcodes, value)) + b"e"
    assert isinstance(value, np.ndarray) and value.dtype == np.uint8
    shape = b"(" + b"".join(map(_opcodes, value.shape)) + b"t"
    made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
    dtype = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    raw = b"T" + value.size.to_bytes(4, "little") + value.tobytes()
    return made + b"(K\x01" + shape + dtype + b"\x89" + raw + b"tb"


def python_files(content: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, bytes]:
    """The files of the python layout, by name, with the entries that nobody reads."""
    files = {
        name: as_python_2(
            {
                "batch_label": f"batch {name}",
                "labels": [int(label) for label in labels],
                "data": pixels,
                "filenames": [f"{row}.png" for row in range(len(labels))],
            }
        )
        for name, (pixels, labels) in content.items()
    }
    return {**files, PYTHON.meta: as_python_2({"num_cases_per_batch": 20, "label_names": list(NAMES)})}


def python_3_files(content: dict[str, tuple[np.ndarray, np.ndarray]], protocol: int) -> dict[str, bytes]:
    """The same as Python 3 would write them, with keys of bytes and without names."""
    return {
        name: pickle.dumps({b"data": pixels, b"labels": labels.tolist()}, protocol)
        for name, (pixels, labels) in content.items()
    }


def binary_files(content: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, bytes]:
    """The files of the binary layout, by name."""
    files = {
        f"{name}.bin": np.concatenate([labels[:, None], pixels], axis=1).tobytes()
        for name, (pixels, labels) in content.items()
    }
    return {**files, BINARY.meta: ("\n".join(NAMES) + "\n\n").encode()}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    """Writes files into a folder and returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def pack(path: Path, files: dict[str, bytes], folder: str, more: Iterable[tarfile.TarInfo] = ()) -> Path:
    """Packs files of a folder into a .tar.gz, after further members without content, and returns it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for member in more:
            archive.addfile(member)
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path
