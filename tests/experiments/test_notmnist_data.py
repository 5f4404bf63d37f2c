"""notMNIST's layouts, written by the tests themselves; what is wrong with one is said by file and row."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from experiments.data import DataError, notmnist
from experiments.data.catalogue import DATA_SETS
from experiments.data.notmnist import LETTERS, TRAIN, VALIDATION, Glyphs
from experiments.harness import cli
from tinygrad_hw.random import Stream

from .test_cli import one_error_line


def draw(count: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random pictures, every class in turn."""
    return np.random.default_rng(seed).integers(0, 256, (count, 28, 28), np.uint8), np.arange(count) % 10


def png(picture: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return stream.getvalue()


def write_png(folder: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        (folder / LETTERS[label]).mkdir(parents=True, exist_ok=True)
        (folder / LETTERS[label] / f"{number:05}.png").write_bytes(png(image))
    return folder


def write_mat(folder: Path, images: np.ndarray, labels: np.ndarray, name: str = "notMNIST_small.mat") -> Path:
    """As the starter pack has it: pictures along the last axis, all numbers as doubles."""
    folder.mkdir(parents=True, exist_ok=True)
    savemat(folder / name, {"images": images.transpose(1, 2, 0).astype(float), "labels": labels.astype(float)})
    return folder


def write_npz(folder: Path, images: object, labels: object, name: str = "notmnist10k.npz") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / name, x=images, y=labels)  # type: ignore[arg-type]
    return folder


WRITERS: list[Callable[..., Path]] = [write_png, write_mat, write_npz]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("below", ["notmnist", "notMNIST_small", "notmnist/notMNIST_small", "."])
def test_layouts_are_read(tmp_path: Path, write: Callable[..., Path], below: str) -> None:
    images, labels = draw()
    write(tmp_path / below, images, labels)
    data = notmnist.load(tmp_path)
    # PNG files come by letter, then by name.
    order = np.argsort(labels, kind="stable") if write is write_png else np.arange(40)
    np.testing.assert_array_equal(data.images, images[order])
    np.testing.assert_array_equal(data.labels, labels[order])
    assert data.images.dtype == np.uint8
    assert data.images.flags.c_contiguous
    assert data.labels.dtype == np.int64
    assert data.skipped == ()
    kind = {write_png: "PNG files", write_mat: "notMNIST_small.mat", write_npz: "notmnist10k.npz"}[write]
    assert data.source == f"40 letters of notMNIST, {kind}"


def test_layouts_agree(tmp_path: Path) -> None:
    images, labels = draw()
    labels = np.sort(labels)
    found = [notmnist.load(write(tmp_path / write.__name__, images, labels)) for write in WRITERS]
    assert len({data.digest for data in found}) == 1
    images[3, 4, 5] ^= 1
    assert notmnist.load(write_npz(tmp_path / "other", images, labels)).digest != found[0].digest


def test_labels_of_a_mat_as_column_or_row(tmp_path: Path) -> None:
    images, labels = draw()
    for number, shaped in enumerate((labels[:, None], labels[None])):
        write_mat(tmp_path / str(number), images, shaped)
        np.testing.assert_array_equal(notmnist.load(tmp_path / str(number)).labels, labels)


def test_unreadable_pictures_are_skipped_and_counted(tmp_path: Path) -> None:
    images, labels = draw()
    whole = png(images[0])
    write_png(tmp_path, images, labels)
    broken = {
        "A/empty.png": b"",
        "A/text.png": b"no picture",
        "B/cut.png": whole[: len(whole) // 2],
        "C/gif.png": b"GIF89a" + whole,
        "J/damaged.png": whole[:60] + bytes(20) + whole[80:],
        "J/header.png": whole[:12],
    }
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "A" / "notes.txt").write_text("not looked at")
    data = notmnist.load(tmp_path)
    assert len(data.labels) == 40
    assert sorted(data.skipped) == sorted(broken)
    assert data.source == "40 letters of notMNIST, PNG files; 6 unreadable files skipped"


def test_other_kinds_of_png_become_grey(tmp_path: Path) -> None:
    images, labels = draw(10)
    write_png(tmp_path, images, labels)
    Image.fromarray(images[0]).convert("RGB").save(tmp_path / "A" / "00000.png")
    Image.fromarray(images[1]).convert("RGBA").save(tmp_path / "B" / "00001.png")
    np.testing.assert_array_equal(notmnist.load(tmp_path).images, images)


def test_whole_set_is_recognised(tmp_path: Path) -> None:
    count = TRAIN + VALIDATION
    write_npz(tmp_path / "notmnist", np.zeros((count, 28, 28), np.uint8), np.arange(count) % 10)
    assert notmnist.load(tmp_path).source == "18,724 letters of notMNIST_small, notmnist10k.npz"
    assert notmnist.status(tmp_path)[0] == "complete"


GOOD, LABELS = draw()
HALF = GOOD.astype(float)
HALF[7, 1, 2] = 0.5
HOLE = GOOD.astype(float)
HOLE[7, 1, 2] = np.nan
BAD_LABELS = LABELS.copy()
BAD_LABELS[11] = 10
NPZ_ERRORS = [
    ((GOOD[0], LABELS[:1]), "images of 28 x 28, expected N x 28 x 28"),
    ((GOOD[:, :27], LABELS), "images of 40 x 27 x 28, expected N x 28 x 28"),
    ((GOOD[:0], LABELS[:0]), "images of 0 x 28 x 28, expected N x 28 x 28"),
    ((HALF, LABELS), "image 7 holds 0.5, expected whole numbers from 0 to 255"),
    ((HOLE, LABELS), "image 7 holds nan, expected whole numbers from 0 to 255"),
    ((GOOD.astype(int) + 1, LABELS), r"image \d+ holds 256, expected whole numbers from 0 to 255"),
    ((GOOD.astype(int) - 1, LABELS), r"image \d+ holds -1, expected whole numbers from 0 to 255"),
    ((GOOD > 9, LABELS), "`x` holds bool, expected numbers"),
    ((GOOD, LABELS[:39]), "labels of shape 39, expected 40 as there are images"),
    ((GOOD, LABELS[:, None]), "labels of shape 40 x 1, expected 40 as there are images"),
    ((GOOD, BAD_LABELS), "row 11: label 10, expected 0 to 9 for A to J"),
    ((GOOD, LABELS - 0.5), "row 0: label -0.5, expected 0 to 9 for A to J"),
    ((GOOD, np.array(["A"] * 40)), "`y` holds <U1, expected numbers"),
    ((GOOD, LABELS.astype(object)), r"cannot be read \(Object arrays cannot be loaded when allow_pickle=False\)"),
]


@pytest.mark.parametrize(("arrays", "message"), NPZ_ERRORS, ids=[message[:30] for _, message in NPZ_ERRORS])
def test_bad_npz(tmp_path: Path, arrays: tuple[np.ndarray, np.ndarray], message: str) -> None:
    write_npz(tmp_path, *arrays)
    with pytest.raises(DataError) as caught:
        notmnist.load(tmp_path)
    assert re.match(rf"{re.escape(str(tmp_path / 'notmnist10k.npz'))}: {message}", str(caught.value)), caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notmnist.npz", b"PK\3\4 no archive"),
        ("notmnist.npz", b""),
        ("notMNIST.mat", b""),
        ("notMNIST.mat", b"x" * 300),
    ],
)
def test_files_of_another_kind(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: cannot be read \(.*\), expected an? \.?(npz|mat) file") as caught:
        notmnist.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_truncated_files(tmp_path: Path) -> None:
    for write, name in ((write_mat, "notMNIST_small.mat"), (write_npz, "notmnist10k.npz")):
        path = write(tmp_path / name[-3:], *draw()) / name
        path.write_bytes(path.read_bytes()[:-500])
        with pytest.raises(DataError, match=f"{name}: cannot be read"):
            notmnist.load(path.parent)


def test_arrays_missing(tmp_path: Path) -> None:
    savemat(tmp_path / "notMNIST.mat", {"images": GOOD.transpose(1, 2, 0)})
    with pytest.raises(DataError, match=r"notMNIST\.mat: holds no `labels`"):
        notmnist.load(tmp_path)
    savemat(tmp_path / "notMNIST.mat", {"images": GOOD, "labels": LABELS})
    with pytest.raises(DataError, match=r"notMNIST\.mat: `images` is 40 x 28 x 28, expected 28 x 28 x N"):
        notmnist.load(tmp_path)
    savemat(tmp_path / "notMNIST.mat", {"images": "text", "labels": LABELS})
    with pytest.raises(DataError, match=r"notMNIST\.mat: `images` holds <U4, expected numbers"):
        notmnist.load(tmp_path)
    (tmp_path / "notMNIST.mat").unlink()
    np.savez(tmp_path / "notmnist.npz", x=GOOD)
    with pytest.raises(DataError, match=r"notmnist\.npz: holds no `y`"):
        notmnist.load(tmp_path)


def test_bad_folders(tmp_path: Path) -> None:
    write_png(tmp_path, *draw())
    wrong = tmp_path / "D" / "wide.png"
    wrong.write_bytes(png(np.zeros((28, 30), np.uint8)))
    with pytest.raises(DataError, match=rf"{re.escape(str(wrong))}: a picture of 28 x 30 pixels, expected 28 x 28"):
        notmnist.load(tmp_path)
    wrong.unlink()
    for path in (tmp_path / "C").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"C: holds no PNG file that can be read, expected at least one"):
        notmnist.load(tmp_path)
    for path in (tmp_path / "C").iterdir():
        path.unlink()
    (tmp_path / "C").rmdir()
    with pytest.raises(DataError, match=r"C/ is missing, expected folders A to J"):
        notmnist.load(tmp_path)


def test_nothing_or_too_much(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such folder, expected one that holds folders A to J"):
        notmnist.load(tmp_path / "nowhere")
    with pytest.raises(
        DataError, match=r"holds no notMNIST, expected folders A to J of PNG files, notMNIST_small\.mat"
    ):
        notmnist.load(tmp_path)
    write_npz(tmp_path / "notmnist", *draw())
    write_mat(tmp_path / "notmnist", *draw())
    with pytest.raises(DataError, match=r"holds notMNIST_small.mat and notmnist10k.npz, expected one of them"):
        notmnist.load(tmp_path)
    assert notmnist.status(tmp_path)[0] == "bad"


def glyphs(count: int, labels: np.ndarray | None = None) -> Glyphs:
    images, usual = draw(count)
    return Glyphs(images, usual if labels is None else labels, "some letters")


@pytest.mark.parametrize(("count", "train"), [(18_724, 13_000), (10_000, 6_943), (2_400, 1_666)])
def test_split(count: int, train: int) -> None:
    labels = np.arange(count) % 10
    data = Glyphs(np.zeros((count, 1, 1), np.uint8), labels, "some letters")
    parts = notmnist.split(data, Stream(0, "split"))
    assert [len(part) for part in parts] == [train, count - train]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(count))
    again, other = (notmnist.split(data, Stream(seed, "split")) for seed in (0, 1))
    np.testing.assert_array_equal(parts[0], again[0])
    assert not np.array_equal(parts[0], other[0])


def test_split_without_a_class() -> None:
    with pytest.raises(DataError, match="some letters: 0 letters F for training, expected A to J"):
        notmnist.split(glyphs(200, np.where(np.arange(200) % 10 == 5, 4, np.arange(200) % 10)), Stream(0, "split"))


def test_repeated_pictures_are_found() -> None:
    data = glyphs(30)
    data.images[25], data.images[28] = data.images[3], data.images[29]
    found = notmnist.repeated(data, np.arange(20), np.arange(20, 30))
    np.testing.assert_array_equal(np.flatnonzero(found), [5])


def test_status_and_import(tmp_path: Path) -> None:
    assert notmnist.status(tmp_path)[0] == "absent"
    images, labels = draw()
    for number, write in enumerate(WRITERS):
        source, target = write(tmp_path / f"source{number}", images, labels), tmp_path / f"target{number}"
        described = notmnist.import_folder(source, target)
        assert described.startswith("40 letters of notMNIST")
        assert notmnist.load(target).digest == notmnist.load(source).digest
        assert notmnist.import_folder(source, target) == described
        state, text = notmnist.status(target)
        assert state == "other"
        assert text == f"{described}, in {target / 'notmnist'}"
        assert [path.name for path in target.iterdir()] == ["notmnist"]
        other = write(tmp_path / f"other{number}", *draw(seed=1))
        with pytest.raises(DataError, match="is there already and differs from"):
            notmnist.import_folder(other, target)
        assert notmnist.load(target).digest == notmnist.load(source).digest


def test_import_of_damage_copies_nothing(tmp_path: Path) -> None:
    source = write_npz(tmp_path / "source", GOOD, BAD_LABELS)
    with pytest.raises(DataError, match="row 11: label 10"):
        notmnist.import_folder(source, tmp_path / "target")
    assert not (tmp_path / "target").exists()
    images, labels = draw()
    source = write_npz(tmp_path / "without_d", images, np.where(labels == 3, 4, labels))
    with pytest.raises(DataError, match="0 letters D, expected A to J"):
        notmnist.import_folder(source, tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_download_says_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not downloaded here; get notMNIST_small\.tar\.gz or notMNIST_small\.mat"):
        notmnist.download(tmp_path)
    write_npz(tmp_path / "notmnist", *draw())
    notmnist.download(tmp_path)


def test_download_of_everything_leaves_it_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []
    for name, data_set in DATA_SETS.items():
        if data_set is not notmnist:
            monkeypatch.setattr(data_set, "download", lambda data_dir, name=name: asked.append(name))
    assert cli.main(["data", "download", "--data-dir", str(tmp_path)]) == 0
    assert asked == [name for name, data_set in DATA_SETS.items() if data_set.ADDRESSES] == ["mnist", "cifar10"]
    capsys.readouterr()
    assert cli.main(["data", "download", "notmnist", "--data-dir", str(tmp_path)]) == 2
    assert "data import notmnist FOLDER" in one_error_line(capsys)


def test_drawn_letters() -> None:
    data = notmnist.load(None, drawn=200, seed=3)
    assert data.images.shape == (200, 28, 28)
    assert data.images.dtype == np.uint8
    np.testing.assert_array_equal(np.bincount(data.labels), [20] * 10)
    assert data.digest == notmnist.load(None, drawn=200, seed=3).digest
    assert len({data.digest, notmnist.load(None, 200, 4).digest, notmnist.load(None, 190, 3).digest}) == 3
    assert len(np.unique(data.images.reshape(200, -1), axis=0)) == 200
    assert "200 letters drawn from the outlines of 17 fonts" in data.source


def test_drawn_letters_look_like_their_class() -> None:
    """The nearest mean of other letters of a class tells the class far more often than chance."""
    data = notmnist.load(None, drawn=2000)
    pixels = data.images.reshape(2000, -1) / 255.0
    means = np.stack([pixels[:1500][data.labels[:1500] == label].mean(axis=0) for label in range(10)])
    distances = ((pixels[1500:, None] - means) ** 2).sum(axis=2)
    assert (distances.argmin(axis=1) == data.labels[1500:]).mean() > 0.4


def test_every_font_and_style_draws_every_letter() -> None:
    from experiments.data import glyphs as drawing

    letters = drawing._letters()
    assert letters.shape == (10, len(drawing.FONTS) * len(drawing.STYLES), 56, 56)
    assert (letters.max(axis=(2, 3)) > 0.4).all()
    flat = letters.reshape(-1, 56 * 56)
    assert len(np.unique(flat, axis=0)) == len(flat), "no font shows the same picture for two letters"
