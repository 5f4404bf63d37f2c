"""CIFAR-10: 32 x 32 colour pictures of ten classes, from the published files or archives, or drawn as embedded default.

Read are the python batches (pickles, through an allow-list), the binary ones (a label byte and 3,072 pixel bytes each),
both as files in a folder or in the archive that they are published in, which is read in place and never unpacked.

Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", University of Toronto, 2009.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import files, scenes
from .archives import members
from .errors import DataError
from .idx import content
from .pickles import read_dict

TITLE = "CIFAR-10, 50,000 colour pictures for training and 10,000 for testing"
FOLDER = "cifar10"  # where the archive is put; the published folders may also stand beside it
CLASSES, SIDE = 10, 32
PIXELS = 3 * SIDE * SIDE
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# SHA-256 of the pixels (uint8, N x 3072, red before green before blue), the same in all the published forms.
PUBLISHED = {
    "training": "9d5c2eddadb0deff02c14c350c0385aab7b1d5ff1edfeb4997c8dc8644960111",
    "test": "177777c33ba79825320efa646ad04a94bdc3c80e4ebe3bd21724f8cdfd4b9d56",
}
ARCHIVE_SUM = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"  # of cifar-10-python.tar.gz as it is
ADDRESSES = ("https://www.cs.toronto.edu/~kriz/",)


@dataclass(frozen=True)
class Layout:
    """One of the published forms: its folder, its archive, its files, and how a file is read."""

    folder: str
    archive: str
    train: tuple[str, ...]
    test: str
    meta: str
    read: "Callable[[Path, bytes], tuple[np.ndarray, np.ndarray]]"
    names: "Callable[[Path, bytes], Any]"

    @property
    def batches(self) -> tuple[str, ...]:
        """The files that must be there, training before test."""
        return (*self.train, self.test)


@dataclass(frozen=True)
class Pictures:
    """Training and test pictures.

    Attributes:
        train_images, test_images: uint8, N x 3 x 32 x 32, red, green and blue, 0 dark to 255 bright.
        train_labels, test_labels: int64, N, 0 to 9.
        names: of the ten classes.
        source: one line that says which data these are.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    names: tuple[str, ...]
    source: str

    @property
    def digest(self) -> str:
        """SHA-256 of the arrays, equal exactly when the data are."""
        digest = hashlib.sha256()
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(repr((array.dtype.str, array.shape)).encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def load(data_dir: Path | None, train: int = 0, test: int = 0) -> Pictures:
    """Pictures from a data folder, or the drawn ones of `scenes` when it is None.

    Args:
        data_dir: holds one of the published folders or archives, or is such a folder itself.
        train, test: how many of each to keep, evenly spaced through the set, or to draw; 0 for all.

    Raises:
        DataError: files missing, damaged or contradicting each other, an archive that no honest one is like, or fewer
            pictures than asked for.
    """
    if data_dir is None:
        return _drawn(train, test)
    found = _read(data_dir)
    for what, labels, wanted in (("training", found.train_labels, train), ("test", found.test_labels, test)):
        _check_amount(str(data_dir), what, len(labels), wanted)
    (train_images, train_labels), (test_images, test_labels) = (
        _evenly(found.train_images, found.train_labels, train),
        _evenly(found.test_images, found.test_labels, test),
    )
    source = _amounts(found.source, train_labels, test_labels)
    return Pictures(train_images, train_labels, test_images, test_labels, found.names, source)


def split(labels: np.ndarray, held_out: int, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices for training and for validation: the first `held_out` of a random order, and the others.

    Args:
        labels: int64, N.
        held_out: how many are set aside for validation.
        order: a permutation of 0 to N - 1.

    Returns:
        Training and validation indices, ascending; together they are 0 to N - 1, each once.

    Raises:
        DataError: nothing left to train on, or a class that is missing on either side.
    """
    if held_out >= len(labels):
        raise DataError("validation", f"{held_out:,} pictures to be held out, but there are only {len(labels):,}")
    validation, train = np.sort(order[:held_out]), np.sort(order[held_out:])
    if not np.array_equal(np.sort(np.concatenate([train, validation])), np.arange(len(labels))):
        raise DataError("validation", "the order is no permutation, training and validation would overlap")
    for side, indices in (("training", train), ("validation", validation)):
        missing = np.flatnonzero(counts(labels[indices]) == 0)
        if missing.size:
            raise DataError(side, f"no picture of class {missing[0]} among {len(indices):,}, expected all ten classes")
    return train, validation


def counts(labels: np.ndarray) -> np.ndarray:
    """How many labels there are of each of the ten classes, int64."""
    return np.bincount(labels, minlength=CLASSES)


def _check_amount(where: str, what: str, available: int, wanted: int) -> None:
    if wanted > available:
        raise DataError(
            where,
            f"{available:,} {what} pictures, expected at least {wanted:,}; all 60,000 of CIFAR-10 come with "
            "`python -m experiments data download cifar10 --data-dir DIR`, then run with --data-dir DIR",
        )


def _evenly(images: np.ndarray, labels: np.ndarray, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    if wanted in (0, len(labels)):
        return images, labels
    kept = np.linspace(0, len(labels) - 1, wanted).round().astype(np.int64)
    return images[kept], labels[kept]


def _amounts(source: str, train: np.ndarray, test: np.ndarray) -> str:
    return f"{source}; {len(train):,} for training, {len(test):,} for testing"


def _drawn(train: int, test: int) -> Pictures:
    arrays: list[np.ndarray] = []
    for what, available, wanted in (("training", scenes.TRAIN, train), ("test", scenes.TEST, test)):
        _check_amount("the drawn pictures", what, available, wanted)
        count = wanted or available
        images, labels = scenes.draw(-(-count // CLASSES) * CLASSES, seed=0, name=what)
        arrays += [images[:count], labels[:count]]
    source = _amounts("drawn scenes with ten kinds of thing", arrays[1], arrays[3])
    return Pictures(arrays[0], arrays[1], arrays[2], arrays[3], scenes.NAMES, source)


# ------------------------------------------------------------------------------------------------------ published forms


def _read_pickle(path: Path, raw: bytes) -> tuple[np.ndarray, np.ndarray]:
    batch = read_dict(path, raw)
    for key in ("data", "labels"):
        if key not in batch:
            raise DataError(path, f"holds {', '.join(sorted(batch)) or 'nothing'}, expected `data` and `labels`")
    pixels, labels = batch["data"], batch["labels"]
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != PIXELS:
        found = f"{pixels.dtype.name} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise DataError(path, f"`data` is {found}, expected uint8 N x {PIXELS}")
    if isinstance(labels, np.ndarray):
        labels = labels.tolist()
    if not isinstance(labels, list) or len(labels) != len(pixels):
        found = f"{len(labels):,} labels" if isinstance(labels, list) else "no list of labels"
        raise DataError(path, f"{found}, expected {len(pixels):,} as there are pictures")
    for row, label in enumerate(labels):
        if type(label) is not int or not 0 <= label < CLASSES:
            raise DataError(path, f"row {row}: label {str(label)[:20]!r}, expected 0 to {CLASSES - 1}")
    return pixels, np.array(labels, np.int64)


def _read_binary(path: Path, raw: bytes) -> tuple[np.ndarray, np.ndarray]:
    record = PIXELS + 1
    if len(raw) % record:
        whole, rest = divmod(len(raw), record)
        raise DataError(path, f"truncated: {whole:,} records of {record} bytes and {rest} bytes more")
    rows = np.frombuffer(raw, np.uint8).reshape(-1, record)
    labels = rows[:, 0].astype(np.int64)
    wrong = np.flatnonzero(labels >= CLASSES)
    if wrong.size:
        raise DataError(path, f"row {wrong[0]}: label {labels[wrong[0]]}, expected 0 to {CLASSES - 1}")
    return rows[:, 1:], labels


LAYOUTS = (
    Layout(
        "cifar-10-batches-py",
        "cifar-10-python.tar.gz",
        tuple(f"data_batch_{number}" for number in range(1, 6)),
        "test_batch",
        "batches.meta",
        _read_pickle,
        lambda path, raw: read_dict(path, raw).get("label_names"),
    ),
    Layout(
        "cifar-10-batches-bin",
        "cifar-10-binary.tar.gz",
        tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        "test_batch.bin",
        "batches.meta.txt",
        _read_binary,
        lambda path, raw: raw.decode("ascii", "replace").split(),
    ),
)


@dataclass(frozen=True)
class Place:
    """Where files of a layout are: a folder, or an archive."""

    layout: Layout
    path: Path

    @property
    def packed(self) -> bool:
        """Whether it is an archive."""
        return self.path.is_file()

    def contents(self) -> dict[str, bytes]:
        """The bytes of the files of the layout that are there, by name. Raises DataError for damage."""
        wanted = (*self.layout.batches, self.layout.meta)
        if self.packed:
            return members(self.path, wanted)
        return {name: content(self.path / name) for name in wanted if (self.path / name).is_file()}


def find(data_dir: Path) -> Place | None:
    """Where CIFAR-10 is: a published folder, the batches themselves, or an archive; None for nowhere.

    Folders and archives may be in `data_dir` or in `data_dir/cifar10`, batches in `data_dir` itself.
    `data_dir` may be an archive, too: of the binary batches when its name says so.
    """
    if data_dir.is_file():
        return Place(LAYOUTS["binary" in data_dir.name], data_dir)
    for layout in LAYOUTS:
        for folder in (data_dir / layout.folder, data_dir / FOLDER / layout.folder, data_dir):
            if any((folder / name).is_file() for name in layout.batches):
                return Place(layout, folder)
    for layout in LAYOUTS:
        for folder in (data_dir, data_dir / FOLDER):
            if (folder / layout.archive).is_file():
                return Place(layout, folder / layout.archive)
    return None


def _read(data_dir: Path) -> Pictures:
    if not data_dir.exists():
        raise DataError(data_dir, f"no such folder, expected one that holds {LAYOUTS[0].folder}/data_batch_1 and so on")
    place = find(data_dir)
    if place is None:
        raise DataError(
            data_dir,
            f"holds no CIFAR-10, expected {LAYOUTS[0].folder}/ or {LAYOUTS[0].archive}: get it by `python -m "
            f"experiments data download cifar10 --data-dir {data_dir}`, or give no data folder to use drawn pictures",
        )
    layout, parts = place.layout, place.contents()
    missing = [name for name in layout.batches if name not in parts]
    if missing:
        raise DataError(place.path, f"{missing[0]} is missing, expected {layout.train[0]} to 5 and {layout.test}")
    read = {name: layout.read(place.path / name, parts.pop(name)) for name in layout.batches}
    for name, (_, labels) in read.items():
        if not len(labels):
            raise DataError(place.path / name, "holds no pictures, expected at least 1")
    images = np.concatenate([read[name][0] for name in layout.train])
    labels = np.concatenate([read[name][1] for name in layout.train])
    test_images, test_labels = read.pop(layout.test)
    names = _names(place, parts)
    sums = {"training": images, "test": test_images}
    published = all(
        hashlib.sha256(np.ascontiguousarray(sums[part]).data).hexdigest() == PUBLISHED[part] for part in sums
    )
    kind = "CIFAR-10 as published" if published else "pictures in CIFAR-10's form"
    form = f"{'python' if layout is LAYOUTS[0] else 'binary'} batches{' in their archive' if place.packed else ''}"
    shape = (-1, 3, SIDE, SIDE)
    return Pictures(
        images.reshape(shape), labels, test_images.reshape(shape).copy(), test_labels, names, f"{kind}, {form}"
    )


def _names(place: Place, parts: dict[str, bytes]) -> tuple[str, ...]:
    """The names of the classes; the published ones where the file with them is missing."""
    if place.layout.meta not in parts:
        return NAMES
    path = place.path / place.layout.meta
    names = place.layout.names(path, parts[place.layout.meta])
    if not isinstance(names, list) or len(names) != CLASSES or not all(isinstance(n, str) and n for n in names):
        raise DataError(path, f"expected the names of {CLASSES} classes")
    return tuple(names)


# --------------------------------------------------------------------------------------------------- the command `data`


def status(data_dir: Path) -> tuple[str, str]:
    """What `data_dir` holds of CIFAR-10: a state (`complete`, `other`, `absent` or `bad`) and one line about it."""
    place = find(data_dir)
    if place is None:
        return "absent", f"expected in {data_dir / LAYOUTS[0].folder}"
    try:
        found = _read(data_dir)
    except DataError as error:
        return "bad", str(error)
    state = "complete" if found.source.startswith("CIFAR-10 as published") else "other"
    amounts = f"{len(found.train_labels):,} training and {len(found.test_labels):,} test pictures"
    return state, f"{amounts}, {found.source}, in {place.path}"


def download(data_dir: Path, addresses: tuple[str, ...] = ADDRESSES) -> None:
    """Puts the published archive (170 MB) into `data_dir/cifar10`, unless CIFAR-10 is there already in any form.

    Raises:
        DataError: no address gave it, its SHA-256 is another than the published one, or other pictures are there.
    """
    state, text = status(data_dir)
    if state == "complete":
        return
    if state != "absent":
        raise DataError(data_dir, f"holds other pictures ({text}); move them away to download CIFAR-10")
    archive = LAYOUTS[0].archive
    sources = tuple(f"{base.rstrip('/')}/{archive}" for base in addresses)
    files.fetch(sources, data_dir / FOLDER, archive, ARCHIVE_SUM, packed=True)


def import_folder(source: Path, data_dir: Path) -> str:
    """Checks the batches in a folder, or in an archive, whole, then copies them below `data_dir` under published names.

    Returns:
        One line that says which data these are.

    Raises:
        DataError: whatever `load` would raise for `source`, or the target holds other pictures; nothing is copied then.
    """
    found = _read(source)
    place, present = find(source), find(data_dir) if data_dir.is_dir() else None
    assert place is not None, "it was just read"
    if present is not None:
        if _read(data_dir).digest != found.digest:
            raise DataError(present.path, f"is there already and differs from {place.path}; move it away to import")
        return found.source
    if place.packed:
        wanted = {data_dir / FOLDER / place.layout.archive: place.path}
    else:
        names = [name for name in (*place.layout.batches, place.layout.meta) if (place.path / name).is_file()]
        wanted = {data_dir / place.layout.folder / name: place.path / name for name in names}
    for target, path in wanted.items():
        files.copy(path, target)
    return found.source
