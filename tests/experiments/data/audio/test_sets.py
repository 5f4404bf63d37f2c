"""`python -m experiments data` with sounds: status, download, import, build."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

from experiments.data import DataError
from experiments.data.audio import denoising, keywords, music, speakers
from experiments.data.audio.sets import DENOISING, KEYWORDS, MUSIC, SPEAKERS
from experiments.data.catalogue import DATA_SETS
from experiments.harness import cli

from . import sound_files as made
from .test_music import dsd100, stems
from .test_speakers import pickled, rows

WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")


def run(*arguments: object) -> int:
    return cli.main(["data", *map(str, arguments)])


def one_error_line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1, error
    return error


def test_status_of_nothing_and_of_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("denoising", "speakers", "keywords", "music"):
        assert DATA_SETS[name].status(tmp_path)[0] == "absent"
    made.speakers(tmp_path / "librispeech", list("abc"))
    made.noises(tmp_path / "noise")
    made.commands(tmp_path / "speech_commands", WORDS, people=1, published=True)
    stems(tmp_path / "music_stems", 1)
    assert run("status", "--data-dir", tmp_path) == 0
    text = capsys.readouterr().out
    assert "6 sentences and 3 noises to be mixed from librispeech/ and noise/" in text
    assert "6 recordings of 3 speakers to be cut" in text
    assert "11 clips of 11 words" in text
    assert "stems of 1 song, in" in text


def test_status_of_the_courses(tmp_path: Path) -> None:
    made.course(tmp_path / "homework3", sentences=1, noises=2)
    assert DENOISING.status(tmp_path) == (
        "other",
        f"2 mixtures of tr, 2 mixtures of v, 2 mixtures of te, in {tmp_path / 'homework3'}",
    )
    pickled(tmp_path / "hw4", rows(10, 20), rows(10, 20))
    assert SPEAKERS.status(tmp_path) == ("complete", f"trs.pkl and tes.pkl, in {tmp_path / 'hw4'}")
    (tmp_path / "homework3.zip").write_bytes(b"broken")
    assert DENOISING.status(tmp_path)[0] == "bad"
    assert run("status", "--data-dir", tmp_path) == 2


@pytest.mark.parametrize("name", ["denoising", "speakers", "keywords", "music"])
def test_download_says_where_to_get_them(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("download", name, "--data-dir", tmp_path) == 2
    assert "not downloaded here; " in one_error_line(capsys)


def test_import_of_homework3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made.course(tmp_path / "mine", sentences=1)
    (folder / "notes.txt").write_text("private")
    packed = made.zipped(folder, tmp_path / "mine.zip")
    wanted = denoising.load(folder).digest
    for number, source in enumerate((folder, packed)):
        target = tmp_path / f"data{number}"
        assert run("import", "denoising", source, "--data-dir", target) == 0
        assert denoising.load(target).digest == wanted
        assert not list(target.rglob("notes.txt"))
        assert run("import", "denoising", source, "--data-dir", target) == 0, "the same again is no error"
    capsys.readouterr()
    made.write(tmp_path / "data0" / "homework3" / "tr" / "trx0000.wav", made.noise())
    assert run("import", "denoising", folder, "--data-dir", tmp_path / "data0") == 2
    assert "is there already and differs" in one_error_line(capsys)
    assert run("import", "denoising", tmp_path / "data1", "--data-dir", tmp_path / "data2") == 0
    (tmp_path / "empty").mkdir()
    assert run("import", "denoising", tmp_path / "empty", "--data-dir", tmp_path / "data3") == 2
    assert not (tmp_path / "data3").exists()


def test_import_of_the_others(tmp_path: Path) -> None:
    pickled(tmp_path / "pickles", rows(20, 30), rows(10, 40), "hw4_")
    made.commands(tmp_path / "words", WORDS, people=14, published=True)
    dsd100(tmp_path / "songs", dev=2, test=1)
    target = tmp_path / "data"
    for name, source in (("speakers", "pickles"), ("keywords", "words"), ("music", "songs")):
        assert run("import", name, tmp_path / source, "--data-dir", target) == 0
    assert speakers.load(target).digest == speakers.load(tmp_path / "pickles").digest
    assert keywords.load(target).digest == keywords.load(tmp_path / "words").digest
    assert music.load(target).digest == music.load(tmp_path / "songs").digest
    assert not list(target.rglob("*.part"))


def test_too_little_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stems(tmp_path / "songs", 1)
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(DataError, match="too little space for"):
        MUSIC.import_folder(tmp_path / "songs", tmp_path / "data")
    assert KEYWORDS.look(tmp_path) is None


def test_build_denoising(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    speech = made.speakers(tmp_path / "speech", list("abcdefgh"))
    noise = made.noises(tmp_path / "noise")
    out = tmp_path / "out"
    arguments = ["--speech", speech, "--noise", noise, "--train", 4, "--validation", 2, "--test", 2, "--noises", 3]
    assert run("build", "denoising", *arguments, "--out", out, "--snr", 5, "--seed", 3) == 0
    assert "24" not in capsys.readouterr().err
    assert {p.name for p in out.iterdir()} == {"tr", "v", "te", "te_sources", "manifest.csv"}
    assert {p.name[:3] for p in (out / "te").iterdir()} == {"tex"}, "the sources of te are kept apart"
    assert {p.name[:3] for p in (out / "te_sources").iterdir()} == {"tes", "ten"}
    assert soundfile.info(out / "tr" / "trx0000.wav").subtype == "PCM_16"
    data = denoising.load(out)
    built = denoising.build(speech, noise, (4, 2, 2), 3, 5.0, 4.0, 3)
    assert not data.skipped
    for mine, theirs in zip((*data.train, *data.test), (*built.train, *built.test), strict=True):
        assert (mine.name, mine.speaker, mine.kind) == (theirs.name, theirs.speaker, theirs.kind)
        assert np.abs(mine.mixture - theirs.mixture).max() <= 1.01 / 32768
        assert mine.speech is not None and mine.noise is not None
        assert np.array_equal(mine.mixture, mine.speech + mine.noise)
    with (out / "manifest.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == 24
    assert lines[0]["speech_file"].endswith(".flac") and " from " in lines[0]["noise_file"]
    assert (speech / lines[0]["speech_file"]).is_file()
    by_part = {part: {line["speaker"] for line in lines if line["part"] == part} for part in ("tr", "v", "te")}
    assert len(set().union(*by_part.values())) == sum(map(len, by_part.values()))


def test_build_speakers(tmp_path: Path) -> None:
    folder = made.speakers(tmp_path / "speech", list("abcde"), each=10, seconds=0.6)
    out = tmp_path / "out"
    arguments = ["--speech", folder, "--train", 3, "--test", 2, "--seconds", 0.5]
    assert run("build", "speakers", *arguments, "--out", out) == 0
    data, built = speakers.load(out), speakers.build(folder, 3, 2, seconds=0.5)
    assert np.array_equal(data.train, built.train) and np.array_equal(data.test, built.test)
    with (out / "manifest.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert [line["who"] for line in lines[::10]] == [*built.train_names, *built.test_names]


def test_build_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    speech = made.speakers(tmp_path / "speech", list("abc"))
    noise = made.noises(tmp_path / "noise", kinds=1)
    usual = ["build", "denoising", "--speech", speech, "--noise", noise]
    counts = ["--train", 1, "--validation", 1, "--test", 1, "--noises", 1]
    assert run(*usual, "--out", tmp_path / "noise", *counts) == 2
    assert "is there already" in one_error_line(capsys)
    assert run(*usual, "--out", tmp_path / "out") == 2
    assert "1 kinds of noise, expected 10" in one_error_line(capsys)
    assert run(*usual, "--out", tmp_path / "out", "--train", 0) == 2
    assert "expected a whole number of at least 1" in one_error_line(capsys)
    nowhere = ["build", "denoising", "--speech", tmp_path / "none", "--noise", noise]
    assert run(*nowhere, "--out", tmp_path / "out", *counts) == 2
    assert "no such folder" in one_error_line(capsys)
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.part").exists()
