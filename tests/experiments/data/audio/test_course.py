"""The course's denoising layout, from a folder and from the zip; files that do not fit are left out and counted."""

from pathlib import Path

import numpy as np
import pytest

from experiments.data import DataError
from experiments.data.audio import denoising

from . import sound_files as made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made.course(tmp_path / "homework3")


def test_folder_and_zip_are_the_same(folder: Path, tmp_path: Path) -> None:
    from_folder = denoising.load(tmp_path)
    packed = made.zipped(folder, tmp_path / "elsewhere" / "homework3.zip")
    found = [denoising.load(place) for place in (folder, packed, packed.parent)]
    assert {data.digest for data in found} == {from_folder.digest}
    assert not (tmp_path / "elsewhere" / "tr").exists(), "the archive is read in place"
    assert [len(part) for part in (from_folder.train, from_folder.validation, from_folder.test)] == [20, 20, 20]
    assert from_folder.source == "the course's layout in homework3: 20 of tr and 20 of v and 20 of te"


def test_what_an_example_is(folder: Path) -> None:
    data = denoising.load(folder)
    example = data.train[13]
    assert (example.name, example.speaker, example.kind) == ("tr0013", "speaker 00", "noise 3")
    assert example.speech is not None and example.noise is not None
    assert np.array_equal(example.mixture, example.speech + example.noise)
    assert np.array_equal(example.speech, made.noise(0.5, seed=1))
    assert data.train[0].speech is data.train[9].speech, "a sentence is in memory once"
    assert data.test[0].speech is None and data.test[0].noise is None
    assert len(data.test[0].mixture) == len(data.test[0]) == 6400


def test_counts_limit_and_rates_change(folder: Path) -> None:
    data = denoising.load(folder, train=1, validation=1, rate=8000)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [10, 10, 20]
    assert data.train[0].mixture.shape == (3200,)
    assert "files resampled from 16000 Hz" in data.source


def test_sources_of_te_that_are_kept_apart(folder: Path) -> None:
    speech, grain = made.noise(0.4, seed=0), made.noise(0.4, seed=1000, level=0.05)
    made.write(folder / "te_sources" / "tes0000.wav", speech)
    made.write(folder / "te_sources" / "ten0000.wav", grain)
    data = denoising.load(folder)
    assert np.array_equal(data.test[0].speech, speech)
    assert data.test[1].speech is None


def broken(folder: Path, name: str, samples: np.ndarray, rate: int = made.RATE) -> str:
    """The one line about a file that was left out because of `samples`."""
    made.write(folder / name, samples, rate, subtype="FLOAT")
    data = denoising.load(folder)
    assert len(data.train) == 19
    assert len(data.skipped) == 1
    assert "1 file skipped (" in data.source
    return data.skipped[0]


def test_mixtures_that_are_not_the_sum(folder: Path) -> None:
    wrong = made.noise(0.4, seed=0)
    wrong[77] += 0.01
    text = broken(folder, "tr/trs0004.wav", wrong)
    assert text.startswith("tr/trx0004.wav: not the sum of speech and noise: sample 77 differs by 0.0100")


def test_rounding_is_no_difference(folder: Path) -> None:
    """Three files cut off to 16 bits each: the sum may be wrong by three steps."""
    off = made.noise(0.4, seed=0) + np.float32(3 / 32768)
    made.write(folder / "tr" / "trs0004.wav", off)
    assert len(denoising.load(folder).train) == 20
    made.write(folder / "tr" / "trs0004.wav", off + np.float32(1 / 32768))
    assert len(denoising.load(folder).train) == 19


def test_lengths_rates_and_values(folder: Path) -> None:
    right = made.noise(0.4, seed=0)
    assert "6,400 samples, speech 6,399, noise 6,400" in broken(folder, "tr/trs0004.wav", right[:-1])
    assert "16000 Hz, speech 8000 Hz" in broken(folder, "tr/trs0004.wav", right, 8000)
    bad = right.copy()
    bad[5] = np.nan
    assert "trs0004.wav: sample 5 is nan" in broken(folder, "tr/trs0004.wav", bad)
    assert "trs0004.wav: silent" in broken(folder, "tr/trs0004.wav", 0 * right)
    assert "trs0004.wav: empty" in broken(folder, "tr/trs0004.wav", right[:0])
    (folder / "tr" / "trs0004.wav").unlink()
    data = denoising.load(folder)
    assert data.skipped == ("tr/trx0004.wav: trs0004.wav is missing beside it",)


def test_truncated_in_the_zip(folder: Path, tmp_path: Path) -> None:
    path = folder / "v" / "vn0003.wav"
    path.write_bytes(path.read_bytes()[:1000])
    data = denoising.load(made.zipped(folder, tmp_path / "homework3.zip"))
    assert len(data.validation) == 19
    assert data.skipped[0].startswith("homework3/v/vn0003.wav: truncated")


def test_nothing_left(folder: Path) -> None:
    for path in (folder / "v").glob("vs*"):
        path.unlink()
    with pytest.raises(DataError, match=r"no file of v can be used: v/vx0019\.wav: vs0019\.wav is missing"):
        denoising.load(folder)
    for path in (folder / "v").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"no v/vx0000\.wav, expected the course's folders tr, v, te"):
        denoising.load(folder)


def test_two_of_one_number(folder: Path) -> None:
    made.write(folder / "copy" / "tr" / "trx0000.wav", made.noise())
    with pytest.raises(DataError, match=r"holds copy/tr/trx0000\.wav and tr/trx0000\.wav, expected one"):
        denoising.load(folder)


def test_labels_of_a_manifest(folder: Path) -> None:
    (folder / "manifest.csv").write_text("name,speaker,noise\nv0001,Ada,rain\n")
    example = denoising.load(folder).validation[1]
    assert (example.speaker, example.kind) == ("Ada", "rain")
    (folder / "manifest.csv").write_text("file,who\nv0001,Ada\n")
    with pytest.raises(DataError, match="expected the columns name, speaker, noise"):
        denoising.load(folder)
