"""One sound file: rates, channels, and every way in which it can be unusable."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from experiments.data import DataError
from experiments.data.audio.sound import duration, read, resampled

from . import sound_files as made


def test_samples_come_back_as_they_were(tmp_path: Path) -> None:
    samples = made.noise()
    for name in ("a.wav", "a.flac"):
        found = read(made.write(tmp_path / name, samples), made.RATE)
        assert found.samples.dtype == np.float32
        assert np.array_equal(found.samples, samples)
        assert (found.rate, found.notes, found.seconds) == (made.RATE, (), 0.5)
        assert duration(tmp_path / name) == 0.5


def test_bytes_serve_as_well_as_a_file(tmp_path: Path) -> None:
    path = made.write(tmp_path / "a.wav", made.noise())
    raw = path.read_bytes()
    path.unlink()
    assert np.array_equal(read(path, raw=raw).samples, made.noise())


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_another_rate_is_resampled_and_said(tmp_path: Path, rate: int) -> None:
    found = read(made.write(tmp_path / "a.wav", made.tone(1000, rate=rate), rate), made.RATE)
    assert found.notes == (f"resampled from {rate} Hz",)
    assert abs(len(found.samples) - made.RATE // 2) <= 1
    middle = slice(1000, 7000)
    assert np.abs(found.samples - made.tone(1000, 0.6)[: len(found.samples)])[middle].max() < 1e-3
    assert np.array_equal(resampled(made.tone(1000), made.RATE, made.RATE), made.tone(1000))


def test_what_the_new_rate_cannot_hold_is_gone(tmp_path: Path) -> None:
    path = made.write(tmp_path / "a.wav", made.tone(12_000, rate=48_000) + made.tone(500, rate=48_000), 48_000)
    assert np.abs(read(path, made.RATE).samples - made.tone(500)[:8000])[1000:7000].max() < 1e-3


def test_stereo_is_mixed_down_and_said(tmp_path: Path) -> None:
    left, right = made.noise(seed=1), made.noise(seed=2)
    found = read(made.write(tmp_path / "a.wav", np.stack([left, right], 1)))
    assert np.allclose(found.samples, (left + right) / 2, atol=1e-7)
    assert found.notes == ("mixed down from stereo",)
    assert read(made.write(tmp_path / "b.wav", np.stack([left] * 5, 1))).notes == ("mixed down from 5 channels",)


def test_a_part_is_read(tmp_path: Path) -> None:
    path, samples = made.write(tmp_path / "a.flac", made.noise(2.0)), made.noise(2.0)
    assert np.array_equal(read(path, start=0.5, seconds=0.25).samples, samples[8000:12000])
    assert np.array_equal(read(path, start=1.75, seconds=9).samples, samples[28000:])
    with pytest.raises(DataError, match="empty: no sample"):
        read(path, start=2.0)


def fails(path: Path, words: str, **options: bool) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read(path, made.RATE, **options)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_files_that_are_no_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    fails(path, "cannot be read: No such file")
    path.write_bytes(b"")
    fails(path, "empty: 0 bytes")
    path.write_bytes(b"RIFF")
    fails(path, "no sound file that can be read")
    path.write_bytes(b"this is no sound at all" * 100)
    fails(path, "no sound file that can be read")
    fails(made.write(tmp_path / "b.wav", np.zeros(0, np.float32)), "empty: no sample")
    fails(tmp_path, "cannot be read: Is a directory")
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="no sound file"):
        duration(path)


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
@pytest.mark.parametrize("kept", [0.3, 0.7, 0.99])
def test_truncated(tmp_path: Path, name: str, kept: float) -> None:
    path = made.write(tmp_path / name, made.noise(3.0))
    raw = path.read_bytes()
    path.write_bytes(raw[: int(kept * len(raw))])
    fails(path, r"truncated: [\d,]+ of 96,000 bytes" if name == "a.wav" else "truncated|no sound file that can be read")


def test_a_header_of_a_pipe_is_no_truncation(tmp_path: Path) -> None:
    path = made.write(tmp_path / "a.wav", made.noise())
    raw = bytearray(path.read_bytes())
    place = raw.index(b"data") + 4
    raw[place : place + 4] = raw[4:8] = b"\xff\xff\xff\xff"
    path.write_bytes(raw)
    assert np.array_equal(read(path).samples, made.noise())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(tmp_path: Path, value: float) -> None:
    samples = made.noise()
    samples[123] = value
    fails(made.write(tmp_path / "a.wav", samples, subtype="FLOAT"), f"sample 123 is {value}, expected finite")


def test_silent(tmp_path: Path) -> None:
    path = made.write(tmp_path / "a.wav", np.full(100, 2 / 32768, np.float32))
    fails(path, "silent: no sample of 100")
    assert read(path, silence=True).samples.max() == np.float32(2 / 32768)
    opposite = made.write(tmp_path / "b.wav", np.stack([made.noise(), -made.noise()], 1))
    fails(opposite, "cancel each other")
    assert not read(opposite, silence=True).samples.any()


def test_a_header_that_promises_too_much(tmp_path: Path) -> None:
    path = made.write(tmp_path / "a.flac", made.noise())
    raw = bytearray(path.read_bytes())
    raw[21] |= 0x0F  # the number of samples in FLAC's STREAMINFO: 36 bits that end at byte 25
    raw[22:26] = b"\xff\xff\xff\xff"
    path.write_bytes(raw)
    fails(path, "expected at most 268,435,456 in all")


@pytest.mark.parametrize("rate", [1, 999, 768_001])
def test_a_rate_that_nobody_records_at(tmp_path: Path, rate: int) -> None:
    fails(made.write(tmp_path / "a.wav", made.noise(), rate), "samples a second, expected 1,000 to 768,000")


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg"])
def test_damage_anywhere_is_told_or_read(tmp_path: Path, name: str) -> None:
    """A few bytes changed at random, many times: samples that are finite, or one clear line, nothing else."""
    path = tmp_path / name
    soundfile.write(path, made.noise(0.1), made.RATE)
    raw, draw = path.read_bytes(), np.random.default_rng(0)
    told = 0
    for turn in range(150):
        broken = bytearray(raw)
        for place in draw.integers(0, len(raw) if turn % 2 else min(120, len(raw)), 3):
            broken[place] = draw.integers(0, 256)
        try:
            assert np.isfinite(read(path, raw=bytes(broken)).samples).all()
        except DataError as error:
            told += 1
            assert "\n" not in str(error)
    assert told > 10


def test_soundfile_is_what_wrote_them(tmp_path: Path) -> None:
    """The helper writes what it says: else the tests above would prove little."""
    path = made.write(tmp_path / "a.wav", made.noise())
    assert soundfile.info(path).subtype == "PCM_16"
