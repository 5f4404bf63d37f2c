"""`python -m experiments denoise`: equal to the whole recording at once, in bounded memory; each error one line."""

import tracemalloc
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile

from experiments.audio import masks
from experiments.audio.transform import Transform
from experiments.denoising.assessment import Masker
from experiments.denoising.nets import Denoiser
from experiments.harness import cli
from tinygrad_hw import serialization
from tinygrad_hw.random import Stream

from .data.audio import sound_files
from .test_cli import one_error_line

RATE = 16_000
TRANSFORM = Transform()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "run"
    settings = ["--set", "epochs=1", "--set", "hidden=16", "--set", "layers=2"]
    assert cli.main(["run", "speech_denoising", "--profile", "smoke", "--quiet", *settings, "--out", str(path)]) == 0
    return path


def denoise(source: Path, target: Path, model: Path, *more: str) -> int:
    return cli.main(["denoise", str(source), str(target), "--model", str(model), *more])


def offline(model: Path, samples: np.ndarray, *, binary: bool = False) -> np.ndarray:
    """The whole recording at once, by librosa's transforms."""
    net = Denoiser("gru", 513, 16, 2, 0.1, init=Stream(0, "x"), masks=Stream(0, "x"))
    net.load_state_dict(serialization.load(model / "models" / "recurrent.safetensors"))
    spectrum = librosa.stft(samples, n_fft=1024, hop_length=512)
    mask = Masker(net, "cpu", binary=binary)(spectrum)
    return np.asarray(librosa.istft(masks.apply(mask, spectrum), hop_length=512, n_fft=1024, length=len(samples)))


def test_ten_minutes_in_bounded_memory_equal_the_whole_at_once(model: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in.wav", tmp_path / "out.wav"
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(source, "w", RATE, 1, subtype="PCM_16") as file:
        for second in range(600):
            tone = np.sin(2 * np.pi * (200 + second) * np.arange(RATE) / RATE)
            file.write(0.1 * tone + 0.05 * rng.standard_normal(RATE))
    tracemalloc.start()
    assert denoise(source, target, model) == 0
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6, "the recording alone is 38 MB, its spectrum 77 MB"
    found, rate = soundfile.read(target, dtype="float32")
    samples, _ = soundfile.read(source, dtype="float32")
    assert rate == RATE
    assert found.shape == samples.shape
    np.testing.assert_allclose(found, offline(model, samples), atol=2 / 32768)  # written with 16 bits


@pytest.mark.parametrize("mask", ["soft", "binary"])
@pytest.mark.parametrize("samples", [1, 300, 1024, 20_001])
def test_short_recordings_and_both_masks(model: Path, tmp_path: Path, mask: str, samples: int) -> None:
    source = sound_files.write(tmp_path / "in.wav", sound_files.noise(2.0)[:samples])
    assert denoise(source, tmp_path / "out.flac", model, "--mask", mask) == 0
    found, _ = soundfile.read(tmp_path / "out.flac", dtype="float32")
    recorded, _ = soundfile.read(source, dtype="float32")
    padded = np.pad(recorded, (0, max(0, 1024 - samples)))  # librosa wants a whole frame
    expected = offline(model, padded, binary=mask == "binary")[:samples]
    if samples >= 1024:
        np.testing.assert_allclose(found, expected, atol=2 / 32768)
    assert len(found) == samples
    assert np.isfinite(found).all()


def test_another_rate_and_stereo_are_said(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left, right = sound_files.tone(440, 1.5, 44_100), sound_files.tone(660, 1.5, 44_100)
    source = sound_files.write(tmp_path / "in.wav", np.stack([left, right], axis=1), 44_100)
    assert denoise(source, tmp_path / "out.wav", model) == 0
    told = capsys.readouterr().out
    assert "1.5 s at 16,000 Hz, soft mask: mixed down from 2 channels, resampled from 44,100 Hz" in told
    found, rate = soundfile.read(tmp_path / "out.wav", dtype="float32")
    mono = (left + right) / 2
    expected = offline(model, librosa.resample(mono, orig_sr=44_100, target_sr=RATE, res_type="soxr_hq"))
    assert rate == RATE
    assert abs(len(found) - len(expected)) <= 1
    count = min(len(found), len(expected)) - 1100
    np.testing.assert_allclose(found[:count], expected[:count], atol=3e-4)


def test_samples_beyond_full_scale_are_counted(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loud = 40 * sound_files.noise(0.5)
    source = sound_files.write(tmp_path / "in.wav", loud, subtype="FLOAT")
    assert denoise(source, tmp_path / "out.wav", model) == 0
    assert "beyond full scale were clipped" in capsys.readouterr().out


def test_a_recording_may_be_replaced_by_itself(model: Path, tmp_path: Path) -> None:
    source = sound_files.write(tmp_path / "in.wav", sound_files.noise(0.5))
    before = source.read_bytes()
    assert denoise(source, source, model) == 0
    assert source.read_bytes() != before
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


def bad_files(folder: Path) -> dict[str, Path]:
    """By what the error says."""
    whole = sound_files.write(folder / "whole.wav", sound_files.noise(0.5)).read_bytes()
    files = {"empty": b"", "no sound file": b"nothing" * 99, "truncated": whole[:-1000]}
    found = {}
    for number, (words, content) in enumerate(files.items()):
        found[words] = folder / f"{number}.wav"
        found[words].write_bytes(content)
    spoilt = sound_files.noise(0.5)
    spoilt[1234] = np.nan
    found["sample 1234 is NaN"] = sound_files.write(folder / "nan.wav", spoilt, subtype="FLOAT")
    found["cannot be read: No such file"] = folder / "missing.wav"
    return found


def test_bad_recordings(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, source in bad_files(tmp_path).items():
        assert denoise(source, tmp_path / "out.wav", model) == 2
        line = one_error_line(capsys)
        assert words in line and source.name in line
        assert not list(tmp_path.glob("*out*")) and not list(tmp_path.glob(".*"))


def test_bad_targets_and_models(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = sound_files.write(tmp_path / "in.wav", sound_files.noise(0.5))
    for target, words in (
        (tmp_path / "out.mp5", "ends in one of .wav"),
        (tmp_path / "nowhere" / "out.wav", "no such folder"),
        (tmp_path, "ends in one of"),
    ):
        assert denoise(source, target, model) == 2
        assert words in one_error_line(capsys)
    assert denoise(source, tmp_path / "out.wav", tmp_path) == 2
    assert "no run in this folder" in one_error_line(capsys)
    (tmp_path / "copy" / "models").mkdir(parents=True)
    (tmp_path / "copy" / "run.json").write_bytes((model / "run.json").read_bytes())
    assert denoise(source, tmp_path / "out.wav", tmp_path / "copy") == 2
    assert "no such model" in one_error_line(capsys)
    text = (model / "run.json").read_text().replace('"speech_denoising"', '"convolution"')
    (tmp_path / "copy" / "run.json").write_text(text)
    assert denoise(source, tmp_path / "out.wav", tmp_path / "copy") == 2
    assert "a run of convolution, expected one of speech_denoising" in one_error_line(capsys)
