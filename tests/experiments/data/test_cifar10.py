"""CIFAR-10 in all published forms, and drawn; what is wrong with a file is said by file and row, and nothing is run."""

import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from experiments.data import DataError, archives, cifar10, scenes
from experiments.data.cifar10 import NAMES, PIXELS
from experiments.harness import cli

from .cifar_files import BINARY, PYTHON, as_python_2, batches, binary_files, pack, python_3_files, python_files, write

ARRAYS = batches()
IMAGES = np.concatenate([ARRAYS[name][0] for name in PYTHON.train]).reshape(-1, 3, 32, 32)
LABELS = np.concatenate([ARRAYS[name][1] for name in PYTHON.train])

FORMS: dict[str, Callable[[Path], object]] = {
    "python folder": lambda path: write(path / PYTHON.folder, python_files(ARRAYS)),
    "python files": lambda path: write(path, python_files(ARRAYS)),
    "python folder below": lambda path: write(path / "cifar10" / PYTHON.folder, python_files(ARRAYS)),
    "python archive": lambda path: pack(path / PYTHON.archive, python_files(ARRAYS), PYTHON.folder),
    "python archive below": lambda path: pack(path / "cifar10" / PYTHON.archive, python_files(ARRAYS), PYTHON.folder),
    "binary folder": lambda path: write(path / BINARY.folder, binary_files(ARRAYS)),
    "binary archive": lambda path: pack(path / BINARY.archive, binary_files(ARRAYS), BINARY.folder),
    **{
        f"python 3, protocol {protocol}": lambda path, protocol=protocol: write(path, python_3_files(ARRAYS, protocol))
        for protocol in range(6)
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same(tmp_path: Path, form: str) -> None:
    FORMS[form](tmp_path)
    found = cifar10.load(tmp_path)
    np.testing.assert_array_equal(found.train_images, IMAGES)
    np.testing.assert_array_equal(found.train_labels, LABELS)
    np.testing.assert_array_equal(found.test_images.reshape(-1, PIXELS), ARRAYS[PYTHON.test][0])
    np.testing.assert_array_equal(found.test_labels, ARRAYS[PYTHON.test][1])
    assert found.train_images.dtype == np.uint8 and found.train_labels.dtype == np.int64
    assert found.names == NAMES
    kind = "binary" if "binary" in form else "python"
    packed = " in their archive" if "archive" in form else ""
    assert found.source == f"pictures in CIFAR-10's form, {kind} batches{packed}; 100 for training, 20 for testing"


def test_red_is_first_and_rows_go_down(tmp_path: Path) -> None:
    """The 3,072 numbers of a picture: 1,024 of red row by row, then green, then blue."""
    arrays = batches()
    arrays["data_batch_1"][0][0] = 0
    arrays["data_batch_1"][0][0, 1024 + 2 * 32 + 5] = 200
    write(tmp_path, python_files(arrays))
    image = cifar10.load(tmp_path).train_images[0]
    assert image[1, 2, 5] == 200 and image.sum() == 200


def test_other_names(tmp_path: Path) -> None:
    files = python_files(ARRAYS)
    files[PYTHON.meta] = as_python_2({"label_names": [f"thing {i}" for i in range(10)]})
    write(tmp_path, files)
    assert cifar10.load(tmp_path).names[3] == "thing 3"
    (tmp_path / PYTHON.meta).write_bytes(as_python_2({"label_names": ["one"]}))
    with pytest.raises(DataError, match=r"batches.meta: expected the names of 10 classes"):
        cifar10.load(tmp_path)


def test_published_pixels_are_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    sums = {"training": hashlib.sha256(IMAGES.tobytes()), "test": hashlib.sha256(ARRAYS[PYTHON.test][0].tobytes())}
    monkeypatch.setattr(cifar10, "PUBLISHED", {name: value.hexdigest() for name, value in sums.items()})
    for form in ("python folder", "binary archive"):
        FORMS[form](tmp_path / form)
        assert cifar10.load(tmp_path / form).source.startswith("CIFAR-10 as published")
        assert cifar10.status(tmp_path / form)[0] == "complete"
    changed = batches()
    changed["data_batch_3"][0][7, 7] ^= 1
    write(tmp_path, python_files(changed))
    assert cifar10.status(tmp_path)[0] == "other"


def test_part_is_spread_evenly(tmp_path: Path) -> None:
    write(tmp_path, binary_files(ARRAYS))
    part = cifar10.load(tmp_path, train=34, test=2)
    np.testing.assert_array_equal(part.train_images, IMAGES[::3])
    assert len(part.test_labels) == 2
    assert part.digest == cifar10.load(tmp_path, train=34, test=2).digest != cifar10.load(tmp_path, train=33).digest


# --- damage


def _batch(name: str, change: Callable[[dict], object]) -> Callable[[dict[str, bytes]], None]:
    """A change to the entries of one batch."""

    def apply(files: dict[str, bytes]) -> None:
        pixels, labels = ARRAYS[name]
        entries = {"data": pixels, "labels": [int(label) for label in labels]}
        change(entries)
        files[name] = as_python_2(entries)

    return apply


DAMAGE: dict[str, tuple[Callable[[dict[str, bytes]], object], str]] = {
    "truncated": (
        lambda files: files.update(data_batch_3=files["data_batch_3"][:-900]),
        "data_batch_3: no whole pickle of a dictionary",
    ),
    "not a pickle": (
        lambda files: files.update(data_batch_1=b"hello"),
        "data_batch_1: no whole pickle of a dictionary",
    ),
    "label": (
        _batch("data_batch_2", lambda e: e["labels"].__setitem__(7, 10)),
        "data_batch_2: row 7: label '10', expected 0 to 9",
    ),
    "negative label": (_batch("test_batch", lambda e: e["labels"].__setitem__(0, -1)), "test_batch: row 0: label '-1'"),
    "label as text": (_batch("test_batch", lambda e: e["labels"].__setitem__(2, "cat")), "row 2: label 'cat'"),
    "a label too few": (_batch("data_batch_5", lambda e: e["labels"].pop()), "data_batch_5: 19 labels, expected 20"),
    "no labels": (_batch("data_batch_4", lambda e: e.pop("labels")), "data_batch_4: holds data, expected `data` and"),
    "CIFAR-100": (_batch("data_batch_4", lambda e: e.update(fine_labels=e.pop("labels"))), "holds data, fine_labels"),
    "shape": (
        _batch("data_batch_1", lambda e: e.update(data=e["data"][:, :-1].copy())),
        "`data` is uint8 (20, 3071), expected uint8 N x 3072",
    ),
    "no array": (_batch("data_batch_1", lambda e: e.update(data=[1, 2])), "`data` is list, expected uint8 N x 3072"),
    "empty": (
        _batch("data_batch_1", lambda e: e.update(data=e["data"][:0], labels=[])),
        "data_batch_1: holds no pictures",
    ),
    "missing": (
        lambda files: files.pop("data_batch_4"),
        "data_batch_4 is missing, expected data_batch_1 to 5 and test",
    ),
    "list": (lambda files: files.update(test_batch=pickle.dumps([1])), "holds a list, expected a dictionary"),
    "nested": (
        lambda files: files.update(test_batch=pickle.dumps({"data": [[1]]})),
        "holds a list, expected arrays, numbers, text",
    ),
    "float64": (
        lambda files: files.update(test_batch=pickle.dumps({"data": np.zeros((2, PIXELS)), "labels": [1, 2]})),
        "`data` is float64 (2, 3072), expected uint8",
    ),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named(tmp_path: Path, kind: str, packed: bool) -> None:
    change, words = DAMAGE[kind]
    files = python_files(ARRAYS)
    change(files)
    if packed:
        pack(tmp_path / PYTHON.archive, files, PYTHON.folder)
    else:
        write(tmp_path / PYTHON.folder, files)
    with pytest.raises(DataError) as caught:
        cifar10.load(tmp_path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert cifar10.status(tmp_path) == ("bad", str(caught.value))


def test_damaged_binary_files(tmp_path: Path) -> None:
    path = write(tmp_path, binary_files(ARRAYS)) / "data_batch_2.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with pytest.raises(DataError, match=r"data_batch_2.bin: truncated: 19 records of 3073 bytes and 3068 bytes more"):
        cifar10.load(tmp_path)
    path.write_bytes(whole[: 3 * 3073] + b"\x0b" + whole[3 * 3073 + 1 :])
    with pytest.raises(DataError, match=r"data_batch_2.bin: row 3: label 11, expected 0 to 9"):
        cifar10.load(tmp_path)


class Runs:
    """Pickles as a call that would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("packed", [False, True])
def test_pickles_run_nothing(tmp_path: Path, packed: bool) -> None:
    touched = tmp_path / "touched"
    files = python_files(ARRAYS)
    files["data_batch_2"] = pickle.dumps({b"data": ARRAYS["data_batch_2"][0], b"labels": Runs(touched)}, 2)
    if packed:
        pack(tmp_path / PYTHON.archive, files, PYTHON.folder)
    else:
        write(tmp_path / PYTHON.folder, files)
    with pytest.raises(DataError, match=r"data_batch_2: the pickle asks for '\w+\.system', .*nothing of it was run"):
        cifar10.load(tmp_path)
    assert not touched.exists()
    pickle.loads(files["data_batch_2"])
    assert touched.exists(), "Python's own unpickler would have run it"


# ------------------------------------------------------------------------------------------------------------- archives


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (_member("../outside"), "member '../outside' leads out of its folder; nothing was read"),
        (_member("cifar-10-batches-py/../../outside"), "leads out of its folder"),
        (_member("/tmp/outside"), "leads out of its folder"),
        (_member("..\\outside"), "leads out of its folder"),
        (_member("cifar-10-batches-py/link", tarfile.SYMTYPE, "/etc/passwd"), "link' is a link, expected files and"),
        (_member("cifar-10-batches-py/link", tarfile.LNKTYPE, "data_batch_1"), "is a link"),
        (_member("device", tarfile.CHRTYPE), "member 'device' is a device"),
        (_member("pipe", tarfile.FIFOTYPE), "is a device or the like"),
        (_member("elsewhere/data_batch_1"), "holds data_batch_1 twice"),
    ],
)
def test_archives_that_could_do_harm(tmp_path: Path, member: tarfile.TarInfo, words: str) -> None:
    path = pack(tmp_path / "data" / PYTHON.archive, python_files(ARRAYS), PYTHON.folder, [member])
    before = sorted(tmp_path.rglob("*"))
    for use in (cifar10.load, lambda folder: cifar10.import_folder(folder, tmp_path / "new")):
        with pytest.raises(DataError) as caught:
            use(path.parent)
        assert words in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_archive_that_claims_too_much(tmp_path: Path) -> None:
    """A header alone can claim gigabytes; nothing of that size is read."""
    member = _member("cifar-10-batches-py/huge")
    member.size = 2**31
    path = tmp_path / PYTHON.archive
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(member)
    with pytest.raises(DataError, match=r"takes more than 536,870,912 bytes"):
        cifar10.load(tmp_path)


def test_archive_whose_headers_are_endless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers are read whole before there is a member to look at."""
    member = _member("cifar-10-batches-py/small")
    member.pax_headers = {"comment": "x" * 2**20}
    with tarfile.open(tmp_path / PYTHON.archive, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(member)
    monkeypatch.setattr(archives, "MOST", 2**16)
    with pytest.raises(DataError, match=r"takes more than 65,536 bytes"):
        cifar10.load(tmp_path)


def test_archive_of_another_compression(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / PYTHON.archive, "w:xz") as archive:
        archive.addfile(_member("cifar-10-batches-py/small"))
    with pytest.raises(DataError, match="no whole tar archive"):
        cifar10.load(tmp_path)


@pytest.mark.parametrize("end", [100, 20_000])
def test_truncated_archive(tmp_path: Path, end: int) -> None:
    path = pack(tmp_path / PYTHON.archive, python_files(ARRAYS), PYTHON.folder)
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(DataError, match=r"cifar-10-python.tar.gz: (no whole tar archive|truncated)"):
        cifar10.load(tmp_path)


def test_no_archive_at_all(tmp_path: Path) -> None:
    (tmp_path / PYTHON.archive).write_bytes(b"hello")
    with pytest.raises(DataError, match="no whole tar archive"):
        cifar10.load(tmp_path)


# ------------------------------------------------------------------------------------------------ status, import, split


def test_absent(tmp_path: Path) -> None:
    assert cifar10.status(tmp_path) == ("absent", f"expected in {tmp_path / PYTHON.folder}")
    with pytest.raises(DataError, match=r"holds no CIFAR-10, expected cifar-10-batches-py/ or .*data download cifar10"):
        cifar10.load(tmp_path)
    with pytest.raises(DataError, match=r"nowhere: no such folder"):
        cifar10.load(tmp_path / "nowhere")


@pytest.mark.parametrize("form", ["python folder", "binary folder", "python archive", "binary archive"])
def test_import(tmp_path: Path, form: str) -> None:
    FORMS[form](tmp_path / "source")
    target = tmp_path / "target"
    assert cifar10.import_folder(tmp_path / "source", target).startswith("pictures in CIFAR-10's form")
    assert cifar10.load(target).digest == cifar10.load(tmp_path / "source").digest
    cifar10.import_folder(tmp_path / "source", target)
    write(tmp_path / "other", python_files(batches(seed=1)))
    with pytest.raises(DataError, match="is there already and differs from"):
        cifar10.import_folder(tmp_path / "other", target)
    assert not list(target.rglob("*.part"))


def test_import_of_an_archive_by_its_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = pack(tmp_path / "cifar-10-binary.tar.gz", binary_files(ARRAYS), BINARY.folder)
    assert cli.main(["data", "import", "cifar10", str(path), "--data-dir", str(tmp_path / "data")]) == 0
    assert cifar10.load(tmp_path / "data").train_images.shape == (100, 3, 32, 32)
    capsys.readouterr()
    cli.main(["data", "status", "--data-dir", str(tmp_path / "data")])
    assert "cifar10     other     100 training and 20 test pictures" in capsys.readouterr().out


def test_split() -> None:
    labels = np.arange(100) % 10
    order = np.random.default_rng(0).permutation(100)
    train, validation = cifar10.split(labels, 30, order)
    assert sorted([*train, *validation]) == list(range(100))
    assert set(validation) == set(order[:30])
    with pytest.raises(DataError, match="100 pictures to be held out, but there are only 100"):
        cifar10.split(labels, 100, order)
    with pytest.raises(DataError, match="no permutation"):
        cifar10.split(labels, 30, np.zeros(100, np.int64))
    with pytest.raises(DataError, match=r"validation: no picture of class \d among 5"):
        cifar10.split(labels, 5, order)


# --------------------------------------------------------------------------------------------------------- drawn scenes


@pytest.fixture(scope="module")
def drawn() -> cifar10.Pictures:
    return cifar10.load(None)


def test_drawn(drawn: cifar10.Pictures) -> None:
    assert drawn.train_images.shape == (scenes.TRAIN, 3, 32, 32) and drawn.test_images.shape == (scenes.TEST, 3, 32, 32)
    assert drawn.train_images.dtype == np.uint8
    for labels in (drawn.train_labels, drawn.test_labels, drawn.train_labels[-500:]):
        assert len(set(cifar10.counts(labels))) == 1
    assert len({image.tobytes() for image in (*drawn.train_images, *drawn.test_images)}) == scenes.TRAIN + scenes.TEST
    again = scenes.draw(200, seed=0, name="training")
    np.testing.assert_array_equal(again[0], scenes.draw(200, seed=0, name="training")[0])
    assert not np.array_equal(again[0], scenes.draw(200, seed=1, name="training")[0])
    with pytest.raises(ValueError, match="positive multiple of 10"):
        scenes.draw(15, seed=0, name="training")
    with pytest.raises(DataError, match=r"6,000 training pictures, expected at least 50,000; .*data download cifar10"):
        cifar10.load(None, train=50_000)


def test_drawn_things_have_an_upright_and_no_side(drawn: cifar10.Pictures) -> None:
    """Left and right are alike but for chance, in every class; top and bottom are not."""
    values = drawn.train_images.mean(axis=1) / 255
    pixels = drawn.train_images / np.float32(255)
    smooth = pixels[..., :-1] + pixels[..., 1:]
    detail = np.abs(np.diff(smooth[:, :, :-1] + smooth[:, :, 1:], axis=2)).mean(axis=1)  # horizontal edges
    for label in range(10):
        of_class, details = values[drawn.train_labels == label], detail[drawn.train_labels == label]
        sides = of_class[:, :, :16].mean(axis=(1, 2)) - of_class[:, :, 16:].mean(axis=(1, 2))
        assert abs(sides.mean()) < 4 * sides.std() / np.sqrt(len(sides))
        assert sides.std() > 0.02, "single pictures do have a side"
        rows = details.mean(axis=2)
        ends = rows - rows[:, ::-1]
        assert (np.abs(ends.mean(axis=0)) > 5 * ends.std(axis=0) / np.sqrt(len(ends))).any()


def test_the_background_has_no_upright(drawn: cifar10.Pictures) -> None:
    """What is at the left and right rim, where no thing reaches, is as bright above as below."""
    rims = drawn.train_images[..., [0, -1]].mean(axis=(1, 3)) / 255
    ends = rims[:, :8].mean(axis=1) - rims[:, -8:].mean(axis=1)
    assert abs(ends.mean()) < 4 * ends.std() / np.sqrt(len(ends))


def test_colour_says_nothing_about_the_class(drawn: cifar10.Pictures) -> None:
    """Nearest mean colour, the best that colour alone can do, is little better than guessing."""
    train, test = (images.mean(axis=(2, 3)) / 255 for images in (drawn.train_images, drawn.test_images))
    means = np.stack([train[drawn.train_labels == label].mean(axis=0) for label in range(10)])
    answers = ((test[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (answers == drawn.test_labels).mean() < 0.2
