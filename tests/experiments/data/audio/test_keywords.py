"""Speech Commands in both layouts, split by speaker, and synthetic words."""

from pathlib import Path

import numpy as np
import pytest

from experiments.data import DataError
from experiments.data.audio import keywords
from experiments.data.audio.keywords import Clips, Keywords

from . import sound_files as made

WORDS = ("yes", "no", "up")


def parts(data: Keywords) -> tuple[Clips, Clips, Clips]:
    return data.train, data.validation, data.test


def check(data: Keywords) -> None:
    """Shapes agree, every class everywhere, nobody and no moment of a noise on two sides."""
    for part in parts(data):
        count = len(part.labels)
        assert part.clips.shape[0] == count == len(part.lengths) == len(part.speakers)
        assert part.clips.dtype == np.float32 and part.labels.dtype == np.int64
        assert np.bincount(part.labels, minlength=len(data.names)).min() > 0
        for clip, length in zip(part.clips, part.lengths, strict=True):
            assert not clip[length:].any() and clip[:length].any()
    people = [{name for name in part.speakers if name} for part in parts(data)]
    assert people[0] and not (people[0] & people[1] or people[0] & people[2] or people[1] & people[2])
    for kind in data.train.backgrounds:
        a, b, c = (part.backgrounds[kind] for part in parts(data))
        assert not np.may_share_memory(a, b) and not np.may_share_memory(b, c) and len(a) > len(b) > 0


@pytest.mark.parametrize("published", [True, False])
def test_both_layouts(tmp_path: Path, published: bool) -> None:
    folder = made.commands(tmp_path / "speech_commands", WORDS, people=20, published=published)
    if not published:
        made.noises(tmp_path / "noise", kinds=2)
    data = keywords.load(tmp_path, keywords=WORDS, seconds=0.25)
    check(data)
    assert data.names == ("yes", "no", "up", "_unknown_", "_silence_")
    assert sum(len(part.labels) for part in parts(data)) == 100
    assert set(data.train.backgrounds) == ({"hum"} if published else {"noise0", "noise1"})
    assert data.digest == keywords.load(tmp_path, keywords=WORDS, seconds=0.25).digest
    assert data.digest != keywords.load(tmp_path, keywords=WORDS, seconds=0.25, seed=1).digest
    if published:
        assert keywords.load(folder, keywords=WORDS, seconds=0.25).digest == data.digest
    sizes = [len(part.labels) for part in parts(data)]
    assert 55 <= sizes[0] <= 80 and 5 <= sizes[1] <= 20 and 10 <= sizes[2] <= 32


def test_labels_and_speakers_are_those_of_the_files(tmp_path: Path) -> None:
    made.commands(tmp_path, WORDS, people=20, published=False)
    data = keywords.load(tmp_path, keywords=WORDS, seconds=0.3)
    for part in parts(data):
        for clip, length, label, speaker in zip(part.clips, part.lengths, part.labels, part.speakers, strict=True):
            if label < 4:
                person = (int(speaker, 16) - 4096) // 7919
                assert np.array_equal(clip[:length], made.noise(0.1 + 0.01 * person, seed=50 * label + person))
            else:
                assert speaker == "" and length == 3200


def test_long_clips_keep_the_loudest_part_and_short_ones_are_left_out(tmp_path: Path) -> None:
    folder = made.commands(tmp_path / "speech_commands", WORDS, people=20, published=False)
    path = sorted((folder / "yes").iterdir())[0]
    made.write(path, np.concatenate([np.zeros(8000, np.float32), made.noise(0.2, seed=1)]))
    short = sorted((folder / "no").iterdir())[0]
    made.write(short, made.noise(0.05))
    data = keywords.load(tmp_path, keywords=WORDS, seconds=0.25)
    assert data.skipped == (f"no/{short.name}: 0.050 s, expected at least 0.1 s",)
    assert "1 file skipped" in data.source and "no background noises" in data.source
    clips = np.concatenate([part.clips for part in parts(data)])
    whole = np.sum(made.noise(0.2, seed=1) ** 2)
    assert np.isclose(np.sum(clips**2, axis=1), whole, rtol=1e-3).any()


def test_at_most_so_many(tmp_path: Path) -> None:
    made.commands(tmp_path / "speech_commands", WORDS, people=40, published=True)
    data = keywords.load(tmp_path, keywords=WORDS, seconds=0.25, per_class=15)
    total = np.sum([np.bincount(part.labels, minlength=5) for part in parts(data)], axis=0)
    assert total.tolist() == [15] * 5
    check(data)


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no speech_commands/, expected one folder for each word"):
        keywords.load(tmp_path)
    made.commands(tmp_path / "speech_commands", WORDS, people=20, published=False)
    with pytest.raises(DataError, match="no folder left/"):
        keywords.load(tmp_path, keywords=("yes", "left"))
    made.commands(tmp_path / "few" / "speech_commands", WORDS, people=2, published=False)
    with pytest.raises(DataError, match=r"no clip of .* for "):
        keywords.load(tmp_path / "few", keywords=WORDS)
    with pytest.raises(DataError, match="banana, expected some of yes, no"):
        keywords.load(None, keywords=("yes", "banana"))
    with pytest.raises(DataError, match="3 speakers, expected at least 10"):
        keywords.load(None, speakers=3)


def test_synthetic() -> None:
    data = keywords.load(None, keywords=WORDS, speakers=10)
    check(data)
    assert [len(part.labels) for part in parts(data)] == [7 * 6, 6, 12]
    assert np.abs(data.train.clips).max() < 1
    assert data.digest == keywords.load(None, keywords=WORDS, speakers=10).digest
    assert data.digest != keywords.load(None, keywords=WORDS, speakers=10, seed=1).digest
    assert len(data.train.backgrounds) == 10 and "synthetic" in data.source
