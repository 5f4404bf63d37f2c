"""Mixing: the ratio is as asked, nothing is clipped, no speaker and no moment of a noise on two sides."""

import numpy as np
import pytest

from experiments.data.audio.mixing import Noise, Sentence, allot, gain_for, mix, piece, segments
from tinygrad_hw.random import Stream

from . import sound_files as made


@pytest.mark.parametrize("snr", [-5.0, 0.0, 10.0])
def test_ratio_and_sum(snr: float) -> None:
    sentences = [
        Sentence("ada", made.noise(0.5, seed=1, level=0.3), "a"),
        Sentence("bob", made.noise(0.4, seed=2), "b"),
    ]
    noises = {"rain": Noise(made.noise(2.0, seed=3), "rain.wav"), "wind": Noise(made.noise(0.1, seed=4), "wind.wav")}
    examples = mix("tr", sentences, noises, snr, Stream(0, "mix"), made.RATE)
    assert [example.name for example in examples] == ["tr0000", "tr0001", "tr0002", "tr0003"]
    assert [example.speaker for example in examples] == ["ada", "ada", "bob", "bob"]
    assert [example.kind for example in examples] == ["rain", "wind"] * 2
    for example in examples:
        assert example.speech is not None and example.noise is not None
        assert np.array_equal(example.mixture, example.speech + example.noise)
        ratio = 10 * np.log10(np.sum(example.speech**2) / np.sum(example.noise**2))
        assert abs(ratio - snr) < 1e-3
        assert max(np.abs(x).max() for x in (example.mixture, example.speech, example.noise)) <= 0.9901
    assert examples[0].speech is examples[1].speech


def test_origins_tell_the_truth() -> None:
    recording = made.noise(4.0, seed=3)
    parts = Noise(recording, "rain.wav").parts()
    for part in parts:
        sentences = [Sentence("ada", made.noise(0.2), "a.wav")]
        example = mix("v", sentences, {"rain": part}, 0.0, Stream(1, "m"), made.RATE)[0]
        assert example.origin[0] == "a.wav"
        start = round(float(example.origin[1].removeprefix("rain.wav from ").removesuffix(" s")) * made.RATE)
        first = min(range(max(0, start - 9), start + 9), key=lambda n: _away(recording, n, example.background))
        assert _away(recording, first, example.background) == 0


def _away(recording: np.ndarray, first: int, found: np.ndarray | None) -> float:
    assert found is not None
    there = recording[first : first + len(found)]
    return float(np.abs(there - found).max()) if len(there) == len(found) else np.inf


def test_silent_noise_has_no_ratio() -> None:
    with pytest.raises(ValueError, match="noise without any sound"):
        gain_for(made.noise(), np.zeros(100, np.float32), 0.0)


def test_segments_share_no_moment() -> None:
    recording = np.arange(1003, dtype=np.float32)
    parts = segments(recording)
    assert np.array_equal(np.concatenate(parts), recording)
    assert [round(len(part) / 1003, 2) for part in parts] == [0.6, 0.2, 0.2]


def test_quiet_stretches_are_avoided() -> None:
    recording = np.concatenate([np.zeros(90_000, np.float32), made.noise(0.7)])
    for seed in range(20):
        found, start = piece(recording, 1000, Stream(seed, "piece"))
        assert np.array_equal(found, recording[start : start + 1000])
        assert np.sqrt(np.mean(found**2)) > 0.1 * np.sqrt(np.mean(recording**2)), "one place in nine is loud"


def test_short_noise_is_repeated() -> None:
    recording = made.noise(0.1)
    found, start = piece(recording, 5000, Stream(0, "piece"))
    assert np.array_equal(found, np.tile(recording, 5)[start : start + 5000])


def test_speakers_are_on_one_side() -> None:
    speakers = {f"s{number:02d}": 1 + number % 3 for number in range(30)}
    parts = allot(speakers, (20, 5, 5), Stream(0, "who"))
    names = [{name for name, _ in part} for part in parts]
    assert sum(map(len, names)) == len(set().union(*names)) == 30
    assert [len(group) for group in names] == [20, 5, 5]
    for part in parts:
        assert sorted(part) == sorted((name, n) for name in {name for name, _ in part} for n in range(speakers[name]))
        assert [number for _, number in part] == sorted(number for _, number in part), "everybody's first comes first"
    assert parts == allot(speakers, (20, 5, 5), Stream(0, "who")) != allot(speakers, (20, 5, 5), Stream(1, "who"))
    assert [len({n for n, _ in p}) for p in allot({"a": 9, "b": 9, "c": 9}, (1000, 1, 1), Stream(0, "w"))] == [1, 1, 1]
    with pytest.raises(ValueError, match="2 speakers, expected at least 3"):
        allot({"a": 9, "b": 9, "c": 0}, (1, 1, 1), Stream(0, "who"))
