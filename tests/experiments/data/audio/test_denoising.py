"""Denoising data built from folders, and synthetic."""

from pathlib import Path

import numpy as np
import pytest

from experiments.data import DataError
from experiments.data.audio import denoising

from . import sound_files as made

SMALL = {"train": 4, "validation": 2, "test": 2, "noises": 3}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    made.speakers(tmp_path / "librispeech", [f"s{number}" for number in range(8)])
    made.noises(tmp_path / "noise")
    return tmp_path


def parts(data: denoising.Denoising) -> tuple[tuple[denoising.Example, ...], ...]:
    return data.train, data.validation, data.test


def check(data: denoising.Denoising) -> None:
    """Counts, sums, and nothing shared."""
    assert [len(part) for part in parts(data)] == [12, 6, 6]
    speakers = [{example.speaker for example in part} for part in parts(data)]
    assert not (speakers[0] & speakers[1] or speakers[0] & speakers[2] or speakers[1] & speakers[2])
    for kind in data.kinds:
        grounds = [[e.background for e in part if e.kind == kind] for part in parts(data)]
        for one, other in ((0, 1), (0, 2), (1, 2)):
            assert not any(np.may_share_memory(a, b) for a in grounds[one] for b in grounds[other])
    for example in (*data.train, *data.validation, *data.test):
        assert example.speech is not None and example.noise is not None
        assert np.array_equal(example.mixture, example.speech + example.noise)
        assert np.abs(example.mixture).max() <= 0.9901
        assert abs(10 * np.log10(np.sum(example.speech**2) / np.sum(example.noise**2))) < 1e-3


def test_built_from_folders(data_dir: Path) -> None:
    data = denoising.load(data_dir, seconds=0.5, **SMALL)
    check(data)
    assert data.source == (
        "librispeech and 3 kinds of noise mixed at 0 dB: 12 for train and 6 for validation and 6 for test, "
        "4 + 2 + 2 speakers"
    )
    assert data.digest == denoising.load(data_dir, seconds=0.5, **SMALL).digest
    assert data.digest != denoising.load(data_dir, seconds=0.5, seed=1, **SMALL).digest
    assert data.kinds == ("noise0", "noise1", "noise2")


def test_synthetic() -> None:
    data = denoising.load(None, seconds=2.5, **SMALL)
    check(data)
    assert data.source.startswith("synthetic speech and 3 kinds of synthetic noise mixed at 0 dB")
    assert data.digest == denoising.load(None, seconds=2.5, **SMALL).digest
    assert data.digest != denoising.load(None, seconds=2.5, seed=1, **SMALL).digest
    assert {len(example) > 1.9 * 16000 for example in data.train} == {True}


def test_synthetic_at_another_rate() -> None:
    data = denoising.load(None, train=1, validation=1, test=1, noises=1, seconds=2.0, rate=8000)
    assert data.rate == 8000
    assert 1.8 * 8000 < len(data.train[0]) < 2.5 * 8000


def test_the_longest_noises_are_taken(data_dir: Path) -> None:
    made.write(data_dir / "noise" / "aaa.flac", made.noise(1.0))
    assert denoising.load(data_dir, **SMALL).kinds == ("noise0", "noise1", "noise2")


def test_files_that_cannot_be_used(data_dir: Path) -> None:
    for name in ("s0", "s1", "s2"):
        (data_dir / "librispeech" / name / "00.flac").write_bytes(b"damaged")
    made.write(data_dir / "librispeech" / "s3" / "00.flac", made.noise(0.3))
    made.write(data_dir / "noise" / "silent.flac", np.zeros(9000, np.float32))
    data = denoising.load(data_dir, **SMALL)
    check(data)
    assert "skipped" in data.source and "noise/silent.flac: silent" in data.skipped[0]
    assert all("no sound file" in line or "0.30 s, expected at least 0.5 s" in line for line in data.skipped[1:])
    with pytest.raises(DataError, match=r"sentences for train, expected 40; .*files? skipped"):
        denoising.load(data_dir, train=40, validation=1, test=1, noises=3)


def test_too_little(data_dir: Path) -> None:
    with pytest.raises(DataError, match="3 kinds of noise, expected 9"):
        denoising.load(data_dir, **{**SMALL, "noises": 9})
    with pytest.raises(DataError, match="11 kinds, expected 1 to 10"):
        denoising.load(None, noises=11)
    with pytest.raises(DataError, match=r"no speech in noise, expected homework3\.zip$"):
        denoising.load(data_dir, source="course")
    with pytest.raises(DataError, match=r"no speech in noise, expected homework3\.zip, homework3/tr, or the folders"):
        denoising.load(data_dir / "noise")


def test_the_course_comes_first(data_dir: Path) -> None:
    made.course(data_dir / "homework3", sentences=1)
    assert denoising.load(data_dir).source.startswith("the course's layout in homework3")
    assert denoising.load(data_dir, source="built", **SMALL).source.startswith("librispeech and 3 kinds of noise")


def test_manifests_label_speech_and_noise(tmp_path: Path) -> None:
    lines = ["file,speaker"]
    for number in range(6):
        made.write(tmp_path / "speech" / f"{number}.wav", made.noise(seed=number))
        lines.append(f"{number}.wav,{'abc'[number % 3]}")
    (tmp_path / "speech" / "manifest.csv").write_text("\n".join(lines))
    made.noises(tmp_path / "noise", kinds=1)
    (tmp_path / "noise" / "manifest.csv").write_text("file,type\nnoise0.flac,rain\n")
    data = denoising.load(tmp_path, train=2, validation=1, test=1, noises=1)
    assert {e.speaker for part in parts(data) for e in part} == {"a", "b", "c"}
    assert data.kinds == ("rain",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,speaker\n../a.wav,x\n", r"line 2: '\.\./a\.wav' leads out of the folder"),
        ("file,speaker\n/etc/a.wav,x\n", "leads out of the folder"),
        ("file,speaker\na.wav,\n", "line 2: expected a file and its speaker"),
        ("name,speaker\na.wav,x\n", "columns 'name', 'speaker', expected `file`, `speaker`"),
        ("", "columns none"),
        ("\xff\xfe", "no CSV text"),
    ],
)
def test_manifests_that_are_none(data_dir: Path, text: str, words: str) -> None:
    (data_dir / "librispeech" / "manifest.csv").write_bytes(text.encode("latin1"))
    with pytest.raises(DataError, match=words):
        denoising.load(data_dir, **SMALL)


def test_names_of_librispeech_tell_the_speaker(tmp_path: Path) -> None:
    for speaker in (19, 84, 1272):
        for number in range(2):
            name = f"{speaker}-198-{number:04d}.flac"
            made.write(tmp_path / "LibriSpeech" / "dev-clean" / str(speaker) / "198" / name, made.noise(seed=number))
    made.noises(tmp_path / "noise", kinds=1)
    data = denoising.load(tmp_path, train=1, validation=1, test=1, noises=1)
    assert {e.speaker for part in parts(data) for e in part} == {"19", "84", "1272"}
