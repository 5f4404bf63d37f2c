"""Digits from idx files and from the embedded sample; what is wrong with a folder is said by file and row."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from experiments.data import DataError, mnist

from .idx_files import TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, digits, idx_bytes, write


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("below", ["mnist", "."])
def test_folder_is_read(tmp_path: Path, zipped: bool, below: str) -> None:
    arrays = digits()
    write(tmp_path / below, arrays, zipped=zipped)
    loaded = mnist.load(tmp_path)
    np.testing.assert_array_equal(loaded.train_images, arrays[TRAIN_IMAGES])
    np.testing.assert_array_equal(loaded.train_labels, arrays[TRAIN_LABELS])
    np.testing.assert_array_equal(loaded.test_labels, arrays[TEST_LABELS])
    assert loaded.train_labels.dtype == np.int64
    assert loaded.source == "digits in MNIST's form, idx files; 40 for training, 10 for testing"


def test_names_with_a_dot_are_read(tmp_path: Path) -> None:
    write(tmp_path, digits())
    for path in list(tmp_path.iterdir()):
        path.rename(tmp_path / path.name.replace("-idx", ".idx"))
    assert len(mnist.load(tmp_path).train_labels) == 40


def test_part_is_spread_evenly(tmp_path: Path) -> None:
    arrays = digits(train=41)
    write(tmp_path, arrays)
    loaded = mnist.load(tmp_path, train=5, test=2)
    np.testing.assert_array_equal(loaded.train_images, arrays[TRAIN_IMAGES][[0, 10, 20, 30, 40]])
    assert len(loaded.test_labels) == 2
    assert loaded.digest != mnist.load(tmp_path, train=6, test=2).digest
    assert loaded.digest == mnist.load(tmp_path, train=5, test=2).digest


def test_embedded_digits() -> None:
    loaded = mnist.load(None)
    assert loaded.train_images.shape == (4000, 28, 28)
    assert loaded.test_images.shape == (1000, 28, 28)
    assert loaded.train_images.dtype == np.uint8
    np.testing.assert_array_equal(np.bincount(loaded.train_labels), [400] * 10)
    np.testing.assert_array_equal(np.bincount(loaded.test_labels), [100] * 10)
    train = {image.tobytes() for image in loaded.train_images}
    assert not any(image.tobytes() in train for image in loaded.test_images)
    assert loaded.digest == mnist.load(None).digest
    part = mnist.load(None, train=300, test=100)
    np.testing.assert_array_equal(np.bincount(part.train_labels), [30] * 10)


def test_too_many_are_refused() -> None:
    with pytest.raises(DataError, match=r"4,000 training digits, expected at least 60,000; .*data download"):
        mnist.load(None, train=60_000)


def _label_out_of_range(folder: Path) -> None:
    labels = digits()[TRAIN_LABELS]
    labels[17] = 12
    (folder / TRAIN_LABELS).write_bytes(idx_bytes(labels))


def _counts_disagree(folder: Path) -> None:
    (folder / TRAIN_LABELS).write_bytes(idx_bytes(digits()[TRAIN_LABELS][:-1]))


def _truncated(folder: Path) -> None:
    path = folder / TRAIN_IMAGES
    path.write_bytes(path.read_bytes()[:-7])


def _swapped(folder: Path) -> None:
    (folder / TRAIN_IMAGES).write_bytes((folder / TRAIN_LABELS).read_bytes())


def _magic(folder: Path) -> None:
    path = folder / TRAIN_IMAGES
    path.write_bytes(b"\x89PNG" + path.read_bytes()[4:])


def _other_size(folder: Path) -> None:
    (folder / TRAIN_IMAGES).write_bytes(idx_bytes(np.zeros((40, 32, 32), np.uint8)))


def _missing(folder: Path) -> None:
    (folder / TEST_LABELS).unlink()


def _no_images(folder: Path) -> None:
    (folder / TRAIN_IMAGES).write_bytes(idx_bytes(np.zeros((0, 28, 28), np.uint8)))


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


DAMAGE: list[tuple[Callable[[Path], None], str]] = [
    (_label_out_of_range, "train-labels-idx1-ubyte: row 17: label 12, expected 0 to 9"),
    (_counts_disagree, "train-labels-idx1-ubyte: 39 labels, expected 40"),
    (_truncated, "train-images-idx3-ubyte: truncated: 31369 bytes, expected 31376"),
    (_swapped, "train-images-idx3-ubyte: byte 3: magic number 0x00000801 means 1 dimensions, expected 3"),
    (_magic, "train-images-idx3-ubyte: byte 0: magic number 0x89504e47, expected 0x00000803"),
    (_other_size, "train-images-idx3-ubyte: images of 32 x 32 pixels, expected 28 x 28"),
    (_missing, "t10k-labels-idx1-ubyte is missing, expected all four"),
    (_no_images, "train-images-idx3-ubyte: holds 0 images"),
    (_empty, "holds no MNIST, expected mnist/train-images-idx3-ubyte.gz"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE, ids=[damage.__name__ for damage, _ in DAMAGE])
def test_damage_is_named(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(write(tmp_path, digits()))
    with pytest.raises(DataError) as caught:
        mnist.load(tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such folder"):
        mnist.load(tmp_path / "nowhere")


def test_status(tmp_path: Path) -> None:
    assert mnist.status(tmp_path)[0] == "absent"
    write(tmp_path / "mnist", digits())
    assert mnist.status(tmp_path)[0] == "other"
    assert "40 training and 10 test" in mnist.status(tmp_path)[1]
    _truncated(tmp_path / "mnist")
    state, text = mnist.status(tmp_path)
    assert state == "bad"
    assert "truncated" in text


def test_import_copies_what_is_whole(tmp_path: Path) -> None:
    source = write(tmp_path / "source", digits(), zipped=True)
    target = tmp_path / "target"
    assert mnist.import_folder(source, target) == "digits in MNIST's form, idx files"
    assert sorted(path.name for path in (target / "mnist").iterdir()) == sorted(path.name for path in source.iterdir())
    assert mnist.load(target).digest == mnist.load(source).digest
    mnist.import_folder(source, target)


def test_import_refuses_damage_and_overwriting(tmp_path: Path) -> None:
    source = write(tmp_path / "source", digits())
    target = tmp_path / "target"
    other = write(target / "mnist", digits(seed=1))
    before = mnist.load(target).digest
    with pytest.raises(DataError, match="is there already and differs"):
        mnist.import_folder(source, target)
    assert mnist.load(target).digest == before
    _counts_disagree(source)
    with pytest.raises(DataError, match="39 labels"):
        mnist.import_folder(source, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert len(list(other.iterdir())) == 4
