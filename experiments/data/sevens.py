"""Sevens with a hidden effect: the course's pictures when they are there, else MNIST's sevens with an effect put on.

The course's layout: `tr7.pkl` with 6,265 and `te7.pkl` with 1,028 pictures, each a pickled array N x 28 x 28.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.effects.apply import EFFECTS, change
from tinygrad_hw.random import Stream

from . import mnist
from .errors import DataError
from .pickles import read_array

FOLDERS = ("sevens", "hw4", ".")
TRAIN, TEST = "tr7.pkl", "te7.pkl"
COURSE = (6265, 1028)
DIGIT = 7
OVERSHOOT = 0.2  # interpolation by splines leaves the range of its input by so much


@dataclass(frozen=True)
class Sevens:
    """Sevens that something was done to, and sevens as they were written.

    Attributes:
        train, test: float32, N x 28 x 28, 0 paper to 1 ink.
        train_amounts, test_amounts: of the effect on each, float64; None for the course's, where they are not known.
        untouched: float32, M x 28 x 28: sevens of MNIST without effect.
        source: one line that says which data these are.
    """

    train: np.ndarray
    test: np.ndarray
    train_amounts: np.ndarray | None
    test_amounts: np.ndarray | None
    untouched: np.ndarray
    source: str

    @property
    def digest(self) -> str:
        """SHA-256 of the arrays."""
        digest = hashlib.sha256()
        for array in (self.train, self.test, self.untouched, self.train_amounts, self.test_amounts):
            if array is not None:
                digest.update(repr((array.dtype.str, array.shape)).encode())
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def find(data_dir: Path) -> dict[str, Path]:
    """The course's pickles in `data_dir/sevens`, `data_dir/hw4` or `data_dir`, gzipped or not: name to path."""
    for folder in FOLDERS:
        candidates = [(name, data_dir / folder / file) for name in (TRAIN, TEST) for file in (f"{name}.gz", name)]
        found = {name: path for name, path in candidates if path.is_file()}
        if found:
            return found
    return {}


def load(
    data_dir: Path | None, effect: str, extent: float, seed: int, copies: int = 1, *, source: str = "any"
) -> Sevens:
    """The course's sevens from a data folder that has them, else MNIST's (embedded when it is None) with an effect.

    Args:
        data_dir: see `find` and `mnist.load`.
        source: `any` as above; `course` or `mnist` for these alone.
        effect: a key of EFFECTS.
        extent: how much of it at most.
        seed: of the amounts.
        copies: how many pictures with amounts of their own each training seven gives. None of these four matters to
            the course's sevens.

    Raises:
        DataError: files damaged, missing or of another shape, a pickle with anything but pictures, or no sevens.
    """
    paths = find(data_dir) if data_dir is not None and source != "mnist" else {}
    if paths and data_dir is not None:
        return _course(data_dir, paths)
    if source == "course":
        raise DataError(data_dir or "no data folder", f"{TRAIN} and {TEST} are missing, expected in {FOLDERS[0]}/")
    train, test, where = _untouched(data_dir)
    parts = []
    for name, images in (("training", np.tile(train, (copies, 1, 1))), ("test", test)):
        parts.append(change(images, EFFECTS[effect], extent, Stream(seed, f"{effect}/{name}")))
    (train_images, train_amounts), (test_images, test_amounts) = parts
    each = f", each {copies} times" if copies > 1 else ""
    text = f"sevens of {where}: {len(train):,} for training{each}, {len(test):,} for testing, {effect} put on"
    return Sevens(train_images, test_images, train_amounts, test_amounts, train, text)


def _untouched(data_dir: Path | None) -> tuple[np.ndarray, np.ndarray, str]:
    digits = mnist.load(data_dir)
    where = "the embedded MNIST sample" if data_dir is None else data_dir
    parts = []
    for name, images, labels in (
        ("training", digits.train_images, digits.train_labels),
        ("test", digits.test_images, digits.test_labels),
    ):
        chosen = images[labels == DIGIT]
        if not len(chosen):
            raise DataError(where, f"no {name} digits with label {DIGIT}, expected at least one")
        parts.append((chosen / 255.0).astype(np.float32))
    return parts[0], parts[1], digits.source.split(";")[0].removesuffix(", idx files")


def _course(data_dir: Path, paths: dict[str, Path]) -> Sevens:
    missing = [name for name in (TRAIN, TEST) if name not in paths]
    if missing:
        raise DataError(next(iter(paths.values())).parent, f"{missing[0]} is missing, expected {TRAIN} and {TEST}")
    train, test = (_scaled(paths[name]) for name in (TRAIN, TEST))
    untouched, _, beside = _untouched(data_dir if mnist.find(data_dir) else None)
    kind = "the course's sevens" if (len(train), len(test)) == COURSE else "sevens in the course's form"
    source = (
        f"{kind}: {len(train):,} for training, {len(test):,} for testing; "
        f"beside {len(untouched):,} untouched ones of {beside}"
    )
    return Sevens(train, test, None, None, untouched, source)


def _scaled(path: Path) -> np.ndarray:
    """The pictures of a pickle, 0 to 1; written as 0 to 1 or as 0 to 255, perhaps with the overshoot of splines."""
    side = mnist.SIDE
    pictures = read_array(path, (None, side, side)).astype(np.float32)
    low, high = float(pictures.min()), float(pictures.max())
    top = 1.0 if high <= 1.0 + OVERSHOOT else 255.0
    if low < -OVERSHOOT * top or high > (1.0 + OVERSHOOT) * top or high <= 0.0:
        raise DataError(path, f"values from {low:g} to {high:g}, expected 0 to 1 or 0 to 255")
    return np.clip(pictures / top, 0.0, 1.0)
