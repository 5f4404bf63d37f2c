"""`python -m experiments verify`: the verdict of the saved nets on two files, each error one line."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from experiments.harness import cli
from experiments.speaker_verification import EXPERIMENT
from experiments.verification.net import Siamese, embedded
from experiments.verification.spectra import spectra
from experiments.verification.training import TRANSFORM
from tinygrad_hw import serialization
from tinygrad_hw.random import Stream

from .data.audio import sound_files
from .test_cli import one_error_line
from .test_denoise_command import bad_files


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "run"
    settings = ["--set", "epochs=10", "--set", "learning_rate=0.01"]
    assert (
        cli.main(["run", "speaker_verification", "--profile", "smoke", "--quiet", *settings, "--out", str(path)]) == 0
    )
    return path


def verify(first: Path, second: Path, model: Path) -> int:
    return cli.main(["verify", str(first), str(second), "--model", str(model)])


def logit(model: Path, name: str, *signals: np.ndarray) -> float:
    """The calibrated mean over the saved nets of inner product and offset."""
    config = EXPERIMENT.profiles["smoke"]
    found = []
    for fold in (1, 2):
        net = Siamese(
            TRANSFORM.bins, config.width, config.hidden, config.embedding, 0.0,  # type: ignore[attr-defined]
            init=Stream(0, "x"), masks=Stream(0, "x"),
        )  # fmt: skip
        net.load_state_dict(serialization.load(model / "models" / f"{name}-fold{fold}.safetensors"))
        left, right = (embedded(net, spectra(signal[None], TRANSFORM, "cpu"))[0] for signal in signals)
        found.append(left @ right + net.offset.item())
    numbers = serialization.load(model / "models" / f"{name}-calibration.safetensors")
    return float(numbers["slope"][0] * np.mean(found) + numbers["offset"][0])


def test_verdicts(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sounds = [sound_files.noise(0.8, seed=1), sound_files.tone(440, 1.3), sound_files.tone(300, 0.7)]
    paths = [sound_files.write(tmp_path / f"{number}.wav", sound) for number, sound in enumerate(sounds)]
    said = set()
    for a, b in ((0, 0), (0, 1), (1, 2), (2, 1)):
        assert verify(paths[a], paths[b], model) == 0
        out = capsys.readouterr().out
        assert out.count("\n") == 1
        found = re.fullmatch(r"(one|two) speakers?: probability ([\d.]+) that (\S+) and (\S+) have one voice\n", out)
        assert found, out
        expected = logit(model, "all", sounds[a], sounds[b])
        assert float(found[2]) == pytest.approx(1 / (1 + np.exp(-expected)), abs=0.011)
        assert found[1] == ("one" if expected > 0 else "two")
        assert (found[3], found[4]) == (str(paths[a]), str(paths[b]))
        said.add(found[1])
    assert verify(paths[0], paths[0], model) == 0
    assert capsys.readouterr().out.startswith("one speaker: ")


def test_loudness_rate_and_channels_do_not_count_and_are_said(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tone = sound_files.tone(440, 1.0, 16_000)
    plain = sound_files.write(tmp_path / "plain.wav", tone)
    other = sound_files.tone(440, 1.0, 44_100)
    stereo = sound_files.write(tmp_path / "stereo.wav", 0.25 * np.stack([other, other], axis=1), 44_100)
    assert verify(plain, stereo, model) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert f"({stereo}: mixed down from stereo, {stereo}: resampled from 44100 Hz)" in out
    probability = float(out.split("probability ")[1].split()[0])
    assert probability == pytest.approx(1 / (1 + np.exp(-logit(model, "all", tone, tone))), abs=0.05)


def test_the_first_nets_where_there_are_no_others(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "copy" / "models").mkdir(parents=True)
    (tmp_path / "copy" / "run.json").write_bytes((model / "run.json").read_bytes())
    for path in (model / "models").glob("first-*"):
        (tmp_path / "copy" / "models" / path.name).write_bytes(path.read_bytes())
    sounds = [sound_files.noise(0.8, seed=1), sound_files.noise(0.8, seed=2)]
    paths = [sound_files.write(tmp_path / f"{number}.wav", sound) for number, sound in enumerate(sounds)]
    assert verify(paths[0], paths[1], tmp_path / "copy") == 0
    found = float(capsys.readouterr().out.split("probability ")[1].split()[0])
    assert found == pytest.approx(1 / (1 + np.exp(-logit(model, "first", *sounds))), abs=0.011)


def test_bad_recordings(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = sound_files.write(tmp_path / "good.wav", sound_files.noise(0.5))
    bad = bad_files(tmp_path)
    bad["sample 1234 is nan"] = bad.pop("sample 1234 is NaN")
    bad["0.20 s, expected 0.25 s at least"] = sound_files.write(tmp_path / "short.wav", sound_files.noise(0.2))
    bad["silent"] = sound_files.write(tmp_path / "silent.wav", np.zeros(16_000, np.float32))
    for words, path in bad.items():
        for pair in ((good, path), (path, good)):
            assert verify(*pair, model) == 2
            line = one_error_line(capsys)
            assert words in line and path.name in line


def test_bad_models(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = sound_files.write(tmp_path / "good.wav", sound_files.noise(0.5))
    assert verify(good, good, tmp_path) == 2
    assert "no run in this folder" in one_error_line(capsys)
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "run.json").write_bytes((model / "run.json").read_bytes())
    assert verify(good, good, tmp_path / "copy") == 2
    assert "no such model" in one_error_line(capsys)
    order = json.loads((model / "run.json").read_text()) | {"experiment": "convolution", "config": {}}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "run.json").write_text(json.dumps(order))
    assert verify(good, good, tmp_path / "other") == 2
    assert "a run of convolution, expected one of speaker_verification" in one_error_line(capsys)
    assert cli.main(["verify", str(good), "--model", str(model)]) == 2
    assert "see python -m experiments verify --help" in one_error_line(capsys)
