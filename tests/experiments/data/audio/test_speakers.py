"""Verification matrices: the course's pickles, cut from folders, synthetic."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from experiments.data import DataError
from experiments.data.audio import speakers
from experiments.data.audio.speakers import loudest

from . import sound_files as made


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("run",)


def pickled(folder: Path, train: object, test: object, prefix: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in ((f"{prefix}trs.pkl", train), (f"{prefix}tes.pkl", test)):
        (folder / name).write_bytes(pickle.dumps(value, protocol=2))
    return folder


def rows(count: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, (count, size)).astype(np.float32)


@pytest.mark.parametrize("prefix", ["", "hw4_"])
@pytest.mark.parametrize("folder", ["hw4", "speakers", "."])
def test_the_course(tmp_path: Path, prefix: str, folder: str) -> None:
    train, test = rows(50, 618), rows(20, 731, seed=1)
    pickled(tmp_path / folder, train, test, prefix)
    data = speakers.load(tmp_path)
    assert np.array_equal(data.train, train.reshape(5, 10, 618))
    assert np.array_equal(data.test, test.reshape(2, 10, 731))
    assert data.train.dtype == np.float32
    assert data.source == (
        f"the course's {prefix}trs.pkl and {prefix}tes.pkl: 5 x 10 x 618 for train and 2 x 10 x 731 for test"
    )
    assert speakers.load(tmp_path, train=2, test=1).train.shape == (2, 10, 618)


def test_whole_numbers_are_scaled(tmp_path: Path) -> None:
    train = np.full((10, 50), 16384, np.int16)
    pickled(tmp_path, train, train.astype(np.float64) / 32768)
    data = speakers.load(tmp_path)
    assert np.array_equal(data.train, data.test)
    assert data.train.max() == 0.5


def test_pickles_that_are_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = rows(10, 50), rows(10, 50)
    bad[3, 7] = np.nan
    for value, words in (
        (Harmful(), "asks for .*print"),
        (rows(15, 50), "15 rows, expected 10 utterances of each speaker"),
        (good.reshape(10, 5, 10), "expected N x N"),
        (bad, r"value \[3, 7\] is nan"),
        (0 * good, "no speaker without a silent row"),
        ([1, 2], "expected one NumPy array"),
    ):
        pickled(tmp_path, value, good)
        with pytest.raises(DataError, match=words) as caught:
            speakers.load(tmp_path)
        assert "\n" not in str(caught.value)
    assert "run" not in capsys.readouterr().out
    (tmp_path / "tes.pkl").unlink()
    with pytest.raises(DataError, match=r"tes\.pkl is missing"):
        speakers.load(tmp_path)


def test_silent_rows_leave_out_their_speaker(tmp_path: Path) -> None:
    train = rows(30, 50)
    train[14] = 0
    pickled(tmp_path, train, rows(10, 50))
    data = speakers.load(tmp_path)
    assert np.array_equal(data.train, train.reshape(3, 10, 50)[[0, 2]])
    assert data.train_names == ("train-00", "train-02")
    assert data.skipped == ("trs.pkl: row 14 is silent, so all of speaker 1",)
    assert "1 utterance skipped" in data.source


def test_cut_from_recordings_of_their_own(tmp_path: Path) -> None:
    made.speakers(tmp_path / "librispeech", list("abcdef"), each=4, seconds=0.8)
    options = {"train": 3, "test": 2, "utterances": 3, "seconds": 0.5}
    data = speakers.load(tmp_path, **options)
    assert data.train.shape == (3, 3, 8000) and data.test.shape == (2, 3, 8000)
    assert not set(data.train_names) & set(data.test_names)
    flat = np.concatenate([data.train, data.test]).reshape(15, -1)
    assert len({row.tobytes() for row in flat}) == 15, "nothing twice"
    for name, matrix in zip((*data.train_names, *data.test_names), (*data.train, *data.test), strict=True):
        own = [made.noise(0.8, seed=100 * "abcdef".index(name) + number) for number in range(4)]
        for utterance in matrix:
            assert any(np.array_equal(utterance, loudest(samples, 8000)) for samples in own)
    assert data.digest == speakers.load(tmp_path, **options).digest != speakers.load(tmp_path, seed=1, **options).digest
    assert speakers.load(tmp_path, **{**options, "train": 0}).train.shape == (4, 3, 8000)


def test_cut_into_pieces(tmp_path: Path) -> None:
    """One long recording each, with a pause in it; those with recordings of their own are test speakers."""
    pause = np.concatenate([made.noise(1.0, seed=1), np.zeros(16000, np.float32), made.noise(2.0, seed=2)])
    for name in "abc":
        made.write(tmp_path / "voices" / name / "0.flac", pause)
    made.speakers(tmp_path / "voices", ["d"], each=5, seconds=0.5)
    data = speakers.load(tmp_path, corpus="voices", train=3, test=1, utterances=5, seconds=0.5)
    assert data.test_names == ("d",)
    assert np.sqrt(np.mean(data.train**2, axis=2)).min() > 0.05, "pauses are no utterances"
    assert "from recordings of their own for 1 speakers, cut from fewer for 3" in data.source


def test_speakers_with_too_little(tmp_path: Path) -> None:
    made.speakers(tmp_path / "librispeech", list("abcd"), each=3)
    made.speakers(tmp_path / "librispeech", ["e"], each=1)
    (tmp_path / "librispeech" / "a" / "00.flac").write_bytes(b"damaged")
    data = speakers.load(tmp_path, train=0, test=1, utterances=3)
    assert len(data.train_names) == 2
    assert any(line.startswith("a/00.flac: no sound file") for line in data.skipped)
    assert any(line == "a: 2 utterances of 1 s, expected 3" for line in data.skipped)
    assert "2 speakers skipped" in data.source
    with pytest.raises(DataError, match="2 training speakers with 3 utterances of 1 s, expected 9; 1 file skipped"):
        speakers.load(tmp_path, train=9, test=1, utterances=3)
    with pytest.raises(DataError, match="3 test speakers with 3 utterances"):
        speakers.load(tmp_path, train=1, test=9, utterances=3)


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no utterances by speaker, expected hw4/trs\.pkl"):
        speakers.load(tmp_path)
    with pytest.raises(DataError, match=r"no trs\.pkl and tes\.pkl"):
        speakers.load(tmp_path, corpus="course")
    with pytest.raises(DataError, match="no folder voices/"):
        speakers.load(tmp_path, corpus="voices")
    (tmp_path / "voices").mkdir()
    with pytest.raises(DataError, match="no sound file with a speaker"):
        speakers.load(tmp_path, corpus="voices")


def test_speech_commands_by_speaker(tmp_path: Path) -> None:
    made.commands(tmp_path / "speech_commands", ("yes", "no", "up"), people=6, published=False)
    data = speakers.load(tmp_path, corpus="speech_commands", train=4, test=2, utterances=4, seconds=0.2)
    assert data.train.shape == (4, 4, 3200)
    assert all(len(name) == 8 and int(name, 16) for name in (*data.train_names, *data.test_names))


def test_synthetic() -> None:
    options = {"train": 4, "test": 2, "utterances": 3, "seconds": 0.5}
    data = speakers.load(None, **options)
    assert data.train.shape == (4, 3, 8000) and data.test.shape == (2, 3, 8000)
    assert not set(data.train_names) & set(data.test_names)
    assert np.abs(data.train).max() < 1 and np.sqrt(np.mean(data.train**2, axis=2)).min() > 0.02
    assert data.digest == speakers.load(None, **options).digest != speakers.load(None, seed=1, **options).digest
    assert "synthetic" in data.source


def test_synthetic_speakers_can_be_told_apart() -> None:
    """Mean spectra of one speaker's utterances are nearer to each other than to those of others, mostly."""
    data = speakers.load(None, train=1, test=12, utterances=4, seconds=1.0)
    frames = data.test.reshape(12, 4, -1, 400) * np.hanning(400)
    power = np.abs(np.fft.rfft(frames, axis=3))[..., :200].reshape(12, 4, -1, 50, 4).mean(axis=4) ** 2
    features = np.log(power + 1e-5).mean(axis=2).reshape(48, -1)
    away = np.sum((features[:, None] - features[None]) ** 2, axis=2) + np.diag(np.full(48, np.inf))
    right = np.mean(away.argmin(axis=1) // 4 == np.arange(48) // 4)
    assert right > 0.4, "by luck it would be 3 of 47"


def test_the_loudest_stretch() -> None:
    samples = np.concatenate([np.zeros(1000), made.noise(0.1), np.zeros(1000)]).astype(np.float32)
    found = loudest(samples, 1600)
    assert np.sum(found**2) > 0.97 * np.sum(samples**2)
    assert np.array_equal(loudest(samples[:10] + 1, 15), np.pad(np.ones(10, np.float32), (2, 3)))
