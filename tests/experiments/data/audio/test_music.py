"""Music with its sources: DSD100's layout, stems, synthetic songs."""

from pathlib import Path

import numpy as np
import pytest

from experiments.data import DataError
from experiments.data.audio import music, songs
from experiments.data.audio.music import Music, Track

from . import sound_files as made

NAMES = ("bass", "drums", "other", "vocals")


def dsd100(root: Path, dev: int = 4, test: int = 2, rate: int = made.RATE, seconds: float = 1.0) -> Path:
    for part, count in (("Dev", dev), ("Test", test)):
        for song in range(count):
            name = f"{song:03d} - {part}"
            stems = [made.noise(seconds, seed=10 * song + n + 500 * (part == "Test"), level=0.05) for n in range(4)]
            for stem, samples in zip(NAMES, stems, strict=True):
                stereo = np.stack([samples, 0.5 * samples], 1)
                made.write(root / "Sources" / part / name / f"{stem}.wav", stereo, rate, "FLOAT")
            whole = np.sum(stems, axis=0)
            path = root / "Mixtures" / part / name / "mixture.wav"
            made.write(path, np.stack([whole, 0.5 * whole], 1), rate, "FLOAT")
    return root


def stems(root: Path, count: int) -> Path:
    for song in range(count):
        vocals, rest = made.noise(1.0, seed=song), made.noise(1.0, seed=50 + song)
        tracks = {"vocals": vocals, "accompaniment": rest, "guitar": rest / 2, "mixture": vocals + rest}
        for name, samples in tracks.items():
            made.write(root / f"song{song}" / f"{name}.flac", samples)
    return root


def everything(data: Music) -> list[Track]:
    return [*data.train, *data.validation, *data.test]


def check(data: Music) -> None:
    names = [{track.name for track in part} for part in (data.train, data.validation, data.test)]
    assert all(names) and sum(map(len, names)) == len(set().union(*names))
    for track in everything(data):
        assert track.mixture.dtype == np.float32
        assert np.abs(track.mixture - sum(track.sources.values())).max() < 1e-4
        assert np.abs(track.mixture - track.vocals - track.accompaniment).max() < 1e-4


def test_dsd100(tmp_path: Path) -> None:
    dsd100(tmp_path / "DSD100")
    data = music.load(tmp_path, seconds=0)
    check(data)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [3, 1, 2]
    assert all("Dev" in track.name for track in (*data.train, *data.validation))
    assert all("Test" in track.name for track in data.test)
    assert set(data.test[0].sources) == set(NAMES)
    assert np.allclose(data.test[0].vocals, 0.75 * made.noise(1.0, seed=503, level=0.05), atol=1e-6)
    assert "30 files mixed down from stereo" in data.source
    assert data.digest == music.load(tmp_path / "DSD100", seconds=0).digest
    assert len(music.load(tmp_path, train=1).train) == 1


def test_dsd100_at_another_rate_and_from_the_middle(tmp_path: Path) -> None:
    dsd100(tmp_path, dev=2, test=1, rate=44_100)
    whole = music.load(tmp_path, seconds=0, rate=44_100).test[0].vocals
    part = music.load(tmp_path, seconds=0.2, rate=44_100).test[0].vocals
    start = (16_000 - 8_820) // 2
    assert np.array_equal(part, whole[start : start + 8_820])
    data = music.load(tmp_path, seconds=0.2)
    check(data)
    assert data.test[0].mixture.shape == (3_200,)
    assert "15 files resampled from 44100 Hz" in data.source


def test_songs_that_cannot_be_used(tmp_path: Path) -> None:
    root = dsd100(tmp_path / "DSD100", dev=6)
    made.write(root / "Sources" / "Dev" / "000 - Dev" / "bass.wav", made.noise(1.0, seed=99))
    (root / "Sources" / "Dev" / "001 - Dev" / "vocals.wav").unlink()
    made.write(root / "Sources" / "Dev" / "002 - Dev" / "drums.wav", made.noise(0.9))
    data = music.load(tmp_path, seconds=0)
    check(data)
    text = " | ".join(data.skipped)
    assert "000 - Dev: sources miss" in text and "dB of the mixture" in text
    assert "001 - Dev: no vocals beside others" in text
    assert "002 - Dev: samples: mixture 16,000" in text
    assert "3 songs skipped" in data.source
    for path in (root / "Mixtures" / "Test").rglob("*.wav"):
        path.write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"no song for test, expected at least one; .*songs skipped"):
        music.load(tmp_path)


def test_one_song_is_split_in_time(tmp_path: Path) -> None:
    stems(tmp_path / "music_stems", 1)
    data = music.load(tmp_path)
    check(data)
    joined = np.concatenate([track.vocals for track in everything(data)])
    assert np.array_equal(joined, made.noise(1.0, seed=0))
    assert set(data.train[0].sources) == {"vocals", "accompaniment"}
    assert [len(track.mixture) for track in everything(data)] == [9600, 3200, 3200]
    assert "split in time: 60 % for train" in data.source


def test_songs_are_shared_out(tmp_path: Path) -> None:
    stems(tmp_path / "music_stems", 5)
    data = music.load(tmp_path)
    check(data)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [3, 1, 1]
    assert "songs shared out" in data.source


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no music with its sources, expected DSD100/Mixtures/Dev or music_stems"):
        music.load(tmp_path)


@pytest.fixture(scope="module")
def synthetic() -> Music:
    return music.load(None, train=2, validation=1, test=1, seconds=8.0)


def test_synthetic_songs(synthetic: Music) -> None:
    check(synthetic)
    for track in everything(synthetic):
        assert tuple(track.sources) == songs.SOURCES
        assert track.mixture.shape == (8 * made.RATE,)
        assert np.abs(track.mixture).max() <= 0.9501
        for samples in track.sources.values():
            assert np.isfinite(samples).all() and 0.01 < np.sqrt(np.mean(samples**2)) < 0.2
    assert synthetic.digest == music.load(None, train=2, validation=1, test=1, seconds=8.0).digest
    assert synthetic.digest != music.load(None, train=2, validation=1, test=1, seconds=8.0, seed=1).digest
    assert "synthetic" in synthetic.source


def test_sources_sound_like_what_they_are(synthetic: Music) -> None:
    for track in everything(synthetic):
        centres = {}
        for name, samples in track.sources.items():
            power = np.abs(np.fft.rfft(samples)) ** 2
            hertz = np.fft.rfftfreq(len(samples), 1 / made.RATE)
            centres[name] = hertz[np.searchsorted(np.cumsum(power), 0.5 * power.sum())]
        assert centres["bass"] < 160
        assert centres["bass"] < min(centres["other"], centres["vocals"])
        frames = track.sources["drums"].reshape(-1, 400)
        level = np.sqrt(np.mean(frames**2, axis=1))
        assert level.max() > 4 * np.median(level), "strokes"


def test_notes() -> None:
    assert songs.hertz(69) == 440
    assert songs.hertz(57) == pytest.approx(220)
