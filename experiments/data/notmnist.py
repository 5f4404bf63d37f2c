"""notMNIST: 28 x 28 grey letters A to J out of many fonts, as PNG files, as .mat, or as npz; drawn ones without data.

Layouts, each in `notmnist/`, `notMNIST_small/` or the data folder itself:

- PNG: folders `A` to `J` of 28 x 28 pictures; files that are no pictures are skipped and counted (there are two such
  in notMNIST_small);
- `notMNIST*.mat`, as the starter pack of the course has it: `images`, 28 x 28 x N, and `labels`, N, 0 to 9;
- `notmnist*.npz`: `x`, N x 28 x 28, and `y`, N, 0 to 9.

Source: Y. Bulatov, "notMNIST dataset", 2011. He gives no checksums, so nothing is downloaded here.
"""

import hashlib
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_hw.random import Stream

from . import glyphs
from .errors import DataError
from .glyphs import LETTERS, SIDE

TITLE = "notMNIST letters A to J"
FOLDER = "notmnist"
ADDRESSES: tuple[str, ...] = ()
FOLDERS = (FOLDER, "notMNIST_small", f"{FOLDER}/notMNIST_small", ".")
CLASSES = len(LETTERS)
TRAIN, VALIDATION = 13_000, 5_724  # of the 18,724 of notMNIST_small
LAYOUTS = f"folders A to J of PNG files, notMNIST_small.mat or notmnist.npz in {FOLDER}/"


@dataclass(frozen=True)
class Glyphs:
    """Letters.

    Attributes:
        images: uint8, N x 28 x 28, 0 paper to 255 ink.
        labels: int64, N, 0 for A to 9 for J.
        source: one line that says which data these are.
        skipped: files that could not be read as pictures.
    """

    images: np.ndarray
    labels: np.ndarray
    source: str
    skipped: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the arrays."""
        digest = hashlib.sha256()
        for array in (self.images, self.labels):
            digest.update(repr((array.dtype.str, array.shape)).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def load(data_dir: Path | None, drawn: int = 0, seed: int = 0) -> Glyphs:
    """Letters from a data folder, or drawn ones when it is None.

    Args:
        data_dir: see the layouts above.
        drawn: how many to draw without a data folder.
        seed: of drawn ones.

    Raises:
        DataError: no layout found, more than one, or something in it that is not as described.
    """
    if data_dir is None:
        images, labels = glyphs.draw(drawn, seed)
        return Glyphs(images, labels, f"{drawn:,} letters drawn from the outlines of {len(glyphs.FONTS)} fonts")
    if not data_dir.is_dir():
        raise DataError(data_dir, f"no such folder, expected one that holds {LAYOUTS}")
    path = find(data_dir)
    if path is None:
        raise DataError(data_dir, f"holds no notMNIST, expected {LAYOUTS}; give no data folder to use drawn letters")
    return _read(path)


def find(data_dir: Path) -> Path | None:
    """The folder of `A` to `J`, the .mat or the .npz file of a data folder; None when there is none.

    Raises:
        DataError: two of them in the same place.
    """
    for folder in (data_dir / name for name in FOLDERS):
        found = [folder] if any((folder / letter).is_dir() for letter in LETTERS) else []
        if folder.is_dir():
            named = sorted(path for path in folder.iterdir() if path.name.lower().startswith("notmnist"))
            found += [path for path in named if path.suffix in (".mat", ".npz") and path.is_file()]
        if len(found) > 1:
            names = " and ".join("folders A to J" if path == folder else path.name for path in found)
            raise DataError(folder, f"holds {names}, expected one of them")
        if found:
            return found[0]
    return None


def _read(path: Path) -> Glyphs:
    """What a path from `find` holds, checked."""
    if path.is_dir():
        return _read_folders(path)
    read = _read_mat if path.suffix == ".mat" else _read_npz
    images, labels = read(path)
    return Glyphs(_checked_images(path, images), _checked_labels(path, labels, len(images)), _source(len(images), path))


def _source(count: int, path: Path) -> str:
    kind = "PNG files" if path.is_dir() else path.name
    whole = "notMNIST_small" if count == TRAIN + VALIDATION else "notMNIST"
    return f"{count:,} letters of {whole}, {kind}"


def _read_folders(folder: Path) -> Glyphs:
    """Pictures in the order of their letters and names."""
    images, labels, skipped = [], [], []
    for label, letter in enumerate(LETTERS):
        if not (folder / letter).is_dir():
            raise DataError(folder, f"{letter}/ is missing, expected folders A to J of PNG files")
        read = 0
        for path in sorted((folder / letter).glob("*.png")):
            picture = _read_png(path)
            if picture is None:
                skipped.append(f"{letter}/{path.name}")
                continue
            images.append(picture)
            labels.append(label)
            read += 1
        if not read:
            raise DataError(folder / letter, "holds no PNG file that can be read, expected at least one")
    source = _source(len(images), folder)
    if skipped:
        source += f"; {len(skipped)} unreadable {'file' if len(skipped) == 1 else 'files'} skipped"
    return Glyphs(np.stack(images), np.array(labels, np.int64), source, tuple(skipped))


def _read_png(path: Path) -> np.ndarray | None:
    """The grey values of a picture, None when the file is no whole PNG picture."""
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as picture:
            if picture.size == (SIDE, SIDE):
                return np.asarray(picture.convert("L"))
    except (OSError, ValueError, SyntaxError, struct.error, zlib.error, Image.DecompressionBombError):
        return None
    raise DataError(path, f"a picture of {picture.height} x {picture.width} pixels, expected {SIDE} x {SIDE}")


def _read_mat(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """`images`, 28 x 28 x N, turned to N x 28 x 28, and `labels`, a row or a column of N."""
    from scipy.io import loadmat

    content = _loaded(path, "a .mat file of MATLAB 5 to 7", lambda: loadmat(path, variable_names=["images", "labels"]))
    images, labels = _array(path, content, "images"), _array(path, content, "labels")
    if images.ndim != 3 or images.shape[:2] != (SIDE, SIDE):
        raise DataError(path, f"`images` is {_shape(images)}, expected {SIDE} x {SIDE} x N")
    return images.transpose(2, 0, 1), labels.ravel() if max(labels.shape, default=0) == labels.size else labels


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """`x` and `y`."""

    def load() -> dict[str, Any]:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in ("x", "y") if name in archive}

    content = _loaded(path, "an npz file with plain arrays `x` and `y`", load)
    return _array(path, content, "x"), _array(path, content, "y")


def _loaded(path: Path, expected: str, load: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a library reads from a file; whatever it raises becomes a DataError: what damage makes it do is open."""
    try:
        return load()
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:150]
        raise DataError(path, f"cannot be read ({reason}), expected {expected}") from None


def _array(path: Path, content: dict[str, Any], name: str) -> np.ndarray:
    if name not in content:
        raise DataError(path, f"holds no `{name}`, expected `{name}` beside the other array")
    array = content[name]
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "uif":
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise DataError(path, f"`{name}` holds {kind}, expected numbers")
    return array


def _checked_images(path: Path, images: np.ndarray) -> np.ndarray:
    """uint8, N x 28 x 28."""
    if images.ndim != 3 or images.shape[1:] != (SIDE, SIDE) or not len(images):
        raise DataError(path, f"images of {_shape(images)}, expected N x {SIDE} x {SIDE}")
    rounded = images.astype(np.uint8) if images.dtype.kind != "f" else np.nan_to_num(images).round().astype(np.uint8)
    wrong = np.argwhere((images < 0) | (images > 255) | (images != rounded))
    if len(wrong):
        row = wrong[0][0]
        raise DataError(path, f"image {row} holds {images[tuple(wrong[0])]:g}, expected whole numbers from 0 to 255")
    return np.ascontiguousarray(rounded)


def _checked_labels(path: Path, labels: np.ndarray, count: int) -> np.ndarray:
    """int64, N."""
    if labels.shape != (count,):
        raise DataError(path, f"labels of shape {_shape(labels)}, expected {count:,} as there are images")
    wrong = np.flatnonzero(~np.isin(labels, np.arange(CLASSES)))
    if wrong.size:
        raise DataError(path, f"row {wrong[0]}: label {labels[wrong[0]]:g}, expected 0 to {CLASSES - 1} for A to J")
    return labels.astype(np.int64)


def _shape(array: np.ndarray) -> str:
    return " x ".join(map(str, array.shape)) or "one number"


def split(data: Glyphs, stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    """Indices for training and for validation: 13,000 and 5,724 of notMNIST_small, the same ratio of other numbers.

    Args:
        data: what to split.
        stream: of the random order.

    Raises:
        DataError: one of the two is without letters of some class.
    """
    count = len(data.labels)
    size = round(count * TRAIN / (TRAIN + VALIDATION))
    order = stream.permutation(count)
    parts = order[:size], order[size:]
    for name, part in zip(("training", "validation"), parts, strict=True):
        counts = np.bincount(data.labels[part], minlength=CLASSES)
        if not counts.all():
            raise DataError(data.source, f"0 letters {LETTERS[counts.argmin()]} for {name}, expected A to J")
    return parts


def repeated(data: Glyphs, train: np.ndarray, validation: np.ndarray) -> np.ndarray:
    """Which of the validation letters have the very picture of a training letter: booleans, one for each index."""
    known = {data.images[i].tobytes() for i in train}
    return np.array([data.images[i].tobytes() in known for i in validation], np.bool_)


def status(data_dir: Path) -> tuple[str, str]:
    """What `data_dir` holds of notMNIST: a state (`complete`, `other`, `absent` or `bad`) and one line about it."""
    try:
        path = find(data_dir)
        if path is None:
            return "absent", f"expected in {data_dir / FOLDER}"
        data = _read(path)
    except DataError as error:
        return "bad", str(error)
    state = "complete" if len(data.labels) + len(data.skipped) >= TRAIN + VALIDATION else "other"
    return state, f"{data.source}, in {path if path.is_dir() else path.parent}"


def download(data_dir: Path, addresses: tuple[str, ...] = ADDRESSES) -> None:
    """Downloads nothing: raises DataError that says how to get the data, unless they are there."""
    if find(data_dir) is None:
        raise DataError(
            data_dir / FOLDER,
            "notMNIST is published without checksums and not downloaded here; get notMNIST_small.tar.gz or "
            "notMNIST_small.mat, unpack it, then `python -m experiments data import notmnist FOLDER`",
        )


def import_folder(source: Path, data_dir: Path) -> str:
    """Checks the letters in `source`, then copies them to `data_dir/notmnist` as they are.

    Returns:
        One line that says which data these are.

    Raises:
        DataError: whatever `load` would raise for `source`, a letter is missing, or the target holds other letters;
            nothing is copied then.
    """
    data, wanted = load(source), find(source)
    assert wanted is not None  # load has found it
    counts = np.bincount(data.labels, minlength=CLASSES)
    if not counts.all():
        raise DataError(wanted, f"0 letters {LETTERS[counts.argmin()]}, expected A to J")
    target, present = data_dir / FOLDER, find(data_dir)
    if present is not None:
        if _read(present).digest != data.digest:
            raise DataError(present, f"is there already and differs from {wanted}; move it away to import")
        return data.source
    temporary = target.with_name(f"{FOLDER}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    if wanted.is_file():
        shutil.copyfile(wanted, temporary / wanted.name)
    else:
        for letter in LETTERS:
            shutil.copytree(wanted / letter, temporary / letter, ignore=lambda _, names: _not_png(names))
    target.mkdir(exist_ok=True)
    for path in temporary.iterdir():
        path.rename(target / path.name)
    temporary.rmdir()
    return data.source


def _not_png(names: list[str]) -> list[str]:
    return [name for name in names if not name.endswith(".png")]
