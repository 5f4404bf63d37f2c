"""Writes tiny data sets in MNIST's layout."""

import gzip
import struct
from pathlib import Path

import numpy as np

from experiments.data.idx import DTYPES
from experiments.data.mnist import PUBLISHED

CODES = {np.dtype(dtype).newbyteorder("="): code for code, dtype in DTYPES.items()}
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = PUBLISHED


def idx_bytes(array: np.ndarray) -> bytes:
    """An array as the content of an idx file."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, CODES[array.dtype], array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def digits(train: int = 40, test: int = 10, seed: int = 0) -> dict[str, np.ndarray]:
    """Random pictures with every label in turn, by published file name."""
    draw = np.random.default_rng(seed)
    arrays = {}
    for images, labels, count in ((TRAIN_IMAGES, TRAIN_LABELS, train), (TEST_IMAGES, TEST_LABELS, test)):
        arrays[images] = draw.integers(0, 256, (count, 28, 28), np.uint8)
        arrays[labels] = (np.arange(count) % 10).astype(np.uint8)
    return arrays


def write(folder: Path, arrays: dict[str, np.ndarray], *, zipped: bool = False) -> Path:
    """Writes the files into a folder and returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        content = idx_bytes(array)
        path = folder / (f"{name}.gz" if zipped else name)
        path.write_bytes(gzip.compress(content, mtime=0) if zipped else content)
    return folder
