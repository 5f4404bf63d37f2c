"""Keyword spotting: each technique by itself, fair comparisons, the command, and that a run continues where it was."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import tinygrad_hw as tg
from experiments.data.audio import keywords
from experiments.data.audio.keywords import SILENCE, UNKNOWN, Clips, Keywords
from experiments.harness import cli
from experiments.keyword_spotting import RATE
from experiments.spotting import nets
from experiments.spotting.batches import RECIPES, TECHNIQUES, Maker, Recipe, Strengths, placed, ratio_gains
from experiments.spotting.command import events
from experiments.spotting.training import Learner, Questions, in_noise
from tests import strict_backend
from tinygrad_hw.random import Stream

from .runs import CrashError, assert_same_run, dying, metrics_of
from .test_cli import one_error_line
from .test_report import Page, assert_accessible, assert_loads_nothing

RUN = ["run", "keyword_spotting", "--profile", "smoke", "--quiet"]
NAMES = ("yes", "no", UNKNOWN, SILENCE)
STRENGTHS = Strengths(speed=0.1, shift=0.01, scaling=10.0, noise_share=0.8, ratios=(0.0, 20.0))
NOTHING = RECIPES["none"]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("smoke") / "run"
    assert cli.main([*RUN, "--check", "--out", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def data() -> Keywords:
    return keywords.load(None, speakers=10)


def part(counts: tuple[int, ...] = (30, 10, 5, 5), size: int = 400) -> Clips:
    """Clips of noise, each with its own number as its level, so that it can be told from which one a sound is made."""
    labels = np.repeat(np.arange(4), counts)
    stream, count = Stream(0, "part"), len(labels)
    level = 0.01 * (1 + np.arange(count, dtype=np.float32))
    clips = np.sign(stream.uniform((count, size), -1.0, 1.0)) * level[:, None]
    backgrounds = {"hum": stream.uniform(3000, -0.2, 0.2), "hiss": stream.uniform(100, -0.01, 0.01)}
    return Clips(clips, np.full(count, size), labels, ("a",) * count, backgrounds)


def maker(recipe: Recipe, clips: Clips | None = None, strengths: Strengths = STRENGTHS) -> Maker:
    return Maker(clips or part(), NAMES, 1000, recipe, strengths)


def test_smoke_run(smoke: Path) -> None:
    metrics = metrics_of(smoke)
    for name in TECHNIQUES:
        for test in ("", "_5db"):
            cost = metrics[f"all_accuracy{test}"] - metrics[f"without_{name}_accuracy{test}"]
            assert metrics[f"{name}_left_out_cost{test}"] == pytest.approx(cost)
    assert metrics["gain_5db"] == pytest.approx(metrics["accuracy_5db"] - metrics["none_accuracy_5db"])
    rows = [json.loads(line) for line in (smoke / "metrics.jsonl").read_text().splitlines()]
    assert [row["loop"] for row in rows] == [f"{name}-seed0" for name in RECIPES]
    page = Page(html := (smoke / "report.html").read_text(encoding="utf-8"))
    assert_loads_nothing(html)
    assert_accessible(page)
    assert len(page.all("figure")) == 9
    assert len(page.all("audio")) == 5 + 8
    assert "nan" not in page.text.split()


def test_saved_models_give_the_same_accuracy(smoke: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert cli.main(["evaluate", str(smoke)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    compared = {row[0]: row[1:] for row in rows if len(row) == 3 and row[0] != "metric"}
    assert set(compared) == {f"{name}_accuracy{test}" for name in ("all", "none") for test in ("", "_5db")}
    assert all(now == before for now, before in compared.values())


def test_nothing_is_done_without_techniques() -> None:
    clips = part()
    batch = maker(NOTHING, clips).batch(2000, Stream(0, "b"))
    np.testing.assert_array_equal(batch.sounds, clips.clips[batch.chosen])
    np.testing.assert_array_equal(batch.labels, clips.labels[batch.chosen])
    assert set(batch.labels) == {0, 1}, "neither other words nor silence"
    assert set(batch.chosen) == set(range(40))


def test_balancing_unknown_and_silence() -> None:
    plain, balanced = replace(NOTHING, unknown=True, silence=True), replace(NOTHING, balancing=True, unknown=True)
    shares = np.bincount(maker(plain).batch(4000, Stream(0, "b")).labels, minlength=4) / 4000
    np.testing.assert_allclose(shares, np.array([30, 10, 5, 5]) / 50, atol=0.03)
    shares = np.bincount(maker(balanced).batch(3000, Stream(0, "b")).labels, minlength=4) / 3000
    np.testing.assert_allclose(shares, [1 / 3, 1 / 3, 1 / 3, 0], atol=0.03)
    assert len(maker(plain)) == 50 and len(maker(balanced)) == 45


def test_placed_moves_and_goes_round() -> None:
    sound = np.arange(1, 9, dtype=np.float32)[None]
    one, length = np.ones(1), np.array([8])
    for start, expected in ((2, [0, 0, 1, 2, 3, 4, 5, 6]), (-3, [4, 5, 6, 7, 8, 0, 0, 0])):
        moved = placed(sound, length, one, np.array([start]), zeros=True)
        np.testing.assert_allclose(moved[0], expected)
        np.testing.assert_allclose(
            placed(sound, length, one, np.array([start]), zeros=False)[0], np.roll(sound[0], start)
        )
    short = np.array([[1, 2, 3, 0, 0, 0, 0, 0]], np.float32)
    np.testing.assert_allclose(placed(short, np.array([3]), one, np.zeros(1), zeros=True), short)
    np.testing.assert_allclose(placed(short, np.array([3]), one, np.zeros(1), zeros=False)[0], [1, 2, 3, 1, 2, 3, 1, 2])


def test_placed_changes_the_pitch() -> None:
    time = np.arange(4000) / 4000
    tone = np.sin(2 * np.pi * 200 * time).astype(np.float32)[None]
    faster = placed(tone, np.array([4000]), np.array([1.1]), np.zeros(1), zeros=False)[0]
    assert np.abs(np.fft.rfft(faster * np.hanning(4000))).argmax() == 220
    slower = placed(tone, np.array([4000]), np.array([0.9]), np.zeros(1), zeros=True)[0]
    assert np.abs(np.fft.rfft(slower * np.hanning(4000))).argmax() == 180
    assert slower.dtype == np.float32


def test_scaling() -> None:
    clips = part()
    batch = maker(replace(NOTHING, scaling=True), clips).batch(300, Stream(0, "b"))
    gains = batch.sounds[:, 0] / clips.clips[batch.chosen][:, 0]
    decibels = 20 * np.log10(gains)
    assert -10 <= decibels.min() < -9 and 9 < decibels.max() <= 10
    np.testing.assert_allclose(batch.sounds, gains[:, None] * clips.clips[batch.chosen], rtol=1e-5)


def test_noise_in_a_controlled_ratio() -> None:
    clips = part()
    batch = maker(replace(NOTHING, noise=True, control=True, silence=True), clips).batch(400, Stream(0, "b"))
    speech = clips.clips[batch.chosen]
    noise = batch.sounds - speech
    noisy = np.abs(noise).max(axis=1) > 0
    assert noisy.mean() == pytest.approx(0.8, abs=0.06)
    spoken = noisy & (batch.labels != 3)
    power = (speech[spoken].astype(np.float64) ** 2).mean(axis=1) / (noise[spoken].astype(np.float64) ** 2).mean(axis=1)
    ratios = 10 * np.log10(power)
    assert -0.01 <= ratios.min() < 2 and 18 < ratios.max() <= 20.01
    silent = noise[noisy & (batch.labels == 3)]
    assert np.abs(silent).max() <= 0.2, "at most as loud as it was recorded"


def test_noise_as_it_comes() -> None:
    clips = part()
    batch = maker(replace(NOTHING, noise=True), clips).batch(400, Stream(0, "b"))
    levels = np.abs(batch.sounds - clips.clips[batch.chosen]).max(axis=1)
    loudness = clips.clips[batch.chosen].max(axis=1)
    assert levels.max() <= 0.2001
    assert abs(np.corrcoef(levels, loudness)[0, 1]) < 0.15, "whatever the clip is"


def test_ratio_gains() -> None:
    speech, noise = np.full((3, 5), 2.0), np.full((3, 5), 0.5)
    noise[1] = 0
    np.testing.assert_allclose(ratio_gains(speech, noise, np.array([0.0, 0.0, 20.0])), [4, 0, 0.4])


def test_stages_are_what_the_batch_went_through() -> None:
    given = maker(RECIPES["all"])
    kept, plain = (given.batch(20, Stream(0, "b"), keep=keep) for keep in (True, False))
    np.testing.assert_array_equal(kept.sounds, plain.sounds)
    assert list(kept.stages) == ["recorded", "augmentation", "shift", "scaling", "noise"]
    np.testing.assert_array_equal(kept.stages["noise"], kept.sounds)
    for before, after in zip(list(kept.stages.values())[:-1], list(kept.stages.values())[1:], strict=True):
        assert not np.array_equal(before, after)


def test_recipes_differ_in_what_they_leave_out_alone() -> None:
    """Without noise, for instance, the same clips are chosen, and moved and scaled alike."""
    full, without = (maker(RECIPES[name]).batch(500, Stream(0, "b")) for name in ("all", "without_noise"))
    np.testing.assert_array_equal(full.chosen, without.chosen)
    same = np.isclose(full.sounds, without.sounds).all(axis=1)
    assert same.mean() == pytest.approx(0.2, abs=0.08), "those that get no noise"


def test_masked_hides_stripes() -> None:
    spectra = Stream(0, "s").normal((200, 1, 40, 50))
    hidden = nets.masked(spectra, (6, 8), Stream(0, "m"))
    changed = hidden != spectra
    bands, frames = changed.all(axis=3).sum(axis=(1, 2)), changed.all(axis=2).sum(axis=(1, 2))
    assert set(bands) == set(range(7)) and set(frames) == set(range(9))
    union = changed.all(axis=3, keepdims=True) | changed.all(axis=2, keepdims=True)
    np.testing.assert_array_equal(changed, union)
    np.testing.assert_array_equal(nets.masked(spectra, (0, 0), Stream(0, "m")), spectra)


def test_in_noise(data: Keywords) -> None:
    noisy = in_noise(data.test, data, 5.0, Stream(0, "n"))
    noise = (noisy - data.test.clips).astype(np.float64)
    spoken = data.test.labels != data.names.index(SILENCE)
    power = (data.test.clips[spoken].astype(np.float64) ** 2).mean(axis=1) / (noise[spoken] ** 2).mean(axis=1)
    np.testing.assert_allclose(10 * np.log10(power), 5, atol=0.01)
    assert not noise[~spoken].any()


def test_questions(data: Keywords) -> None:
    asked = Questions.of(data.test.clips, data.test.labels, data, "cpu")
    labels = data.test.labels.copy()
    assert asked.right(labels) == (1, 1)
    labels[labels >= 10] = 0
    shares = asked.right(labels)
    assert shares == (pytest.approx((data.test.labels < 10).mean()), 1)


def test_net_sees_the_whole_clip() -> None:
    """Every frame and band has a part in the answer, except a few at the far edges."""
    net = nets.build(12, 51, (4, 6), 16, 0.0, Stream(0, "i"), Stream(0, "m"))
    net.eval()
    x = tg.Tensor(Stream(0, "x").normal((1, 1, 40, 51)), requires_grad=True)
    net(x).sum().backward()
    assert x.grad is not None
    reached = np.abs(np.array(x.grad.data[0, 0])) > 0
    assert reached.any(axis=0).sum() >= 48 and reached.any(axis=1).sum() >= 37
    assert nets.heard(np.zeros((2, 16000), np.float32), 16000).shape == (2, 1, 40, nets.frames(16000, 16000))


def test_events() -> None:
    given = np.full((30, 4), 0.1)
    given[5:9, 1] = 0.9
    given[9:12, 0] = 0.8
    given[20:24, 3] = 0.95  # no keyword
    given[27, 0] = 0.9  # too short to last
    found = events(given, 2, 0.6)
    assert [(label, round(probability, 2)) for _, label, probability in found] == [(1, 0.9), (0, 0.8)]
    assert 5 <= found[0][0] < 9 <= found[1][0] < 12
    assert events(given[5:6], 2, 0.6) == [(0, 1, pytest.approx(0.9))]
    assert events(np.full((5, 4), 0.25), 2, 0.6) == []


def test_spot(smoke: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], data: Keywords) -> None:
    path = tmp_path / "in.wav"
    soundfile.write(path, np.concatenate([data.test.clips[0], data.test.clips[1]]), RATE)
    capsys.readouterr()
    assert cli.main(["spot", str(path), "--model", str(smoke), "--threshold", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all(line.split()[2] in keywords.KEYWORDS or "no keyword" in line for line in lines)
    assert cli.main(["spot", str(path), "--model", str(smoke), "--threshold", "1"]) == 0
    assert "no keyword with a probability of 1 or more; most likely" in capsys.readouterr().out


def test_spot_refuses(smoke: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["spot", str(tmp_path / "none.wav"), "--model", str(smoke)]) == 2
    assert "none.wav" in one_error_line(capsys)
    assert cli.main(["spot", "a.wav", "--model", str(tmp_path)]) == 2
    assert str(tmp_path) in one_error_line(capsys)
    assert cli.main(["spot", "a.wav", "--model", str(smoke), "--threshold", "2"]) == 2
    assert "expected a number from 0 to 1" in one_error_line(capsys)
    (smoke / "models" / "all-seed0.safetensors").rename(tmp_path / "kept")
    try:
        soundfile.write(tmp_path / "a.wav", np.ones(RATE) * 0.1, RATE)
        assert cli.main(["spot", str(tmp_path / "a.wav"), "--model", str(smoke)]) == 2
        assert "no such model" in one_error_line(capsys)
    finally:
        (tmp_path / "kept").rename(smoke / "models" / "all-seed0.safetensors")


def test_a_crash_leaves_no_trace(smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = [3]
    monkeypatch.setattr(Learner, "step", dying(Learner.step, left))
    path = tmp_path / "run"
    begin: Callable[[], int] = lambda: cli.main([*RUN, "--set", "checkpoint_steps=1", "--out", str(path)])
    with pytest.raises(CrashError):
        begin()
    left[0] = 10
    with pytest.raises(CrashError):
        cli.main(["resume", str(path), "--quiet"])
    left[0] = 10**6
    assert cli.main(["resume", str(path), "--quiet"]) == 0
    assert_same_run(path, smoke)


def test_on_a_device_that_refuses_to_mix_with_numpy(tmp_path: Path, smoke: Path) -> None:
    strict_backend.install()
    assert cli.main([*RUN, "--device", "strict", "--out", str(tmp_path)]) == 0
    rows, expected = (
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (tmp_path, smoke)
    )
    for row, other in zip(rows, expected, strict=True):
        values: Any = {key: value for key, value in other.items() if isinstance(value, float)}
        assert {key: row[key] for key in values} == pytest.approx(values, rel=1e-3)


@pytest.mark.parametrize("setting", ["speed=1", "shift=0.6", "masks=50,1", "noise_share=1.1", "channels=3", "batch=1"])
def test_wrong_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str) -> None:
    assert cli.main([*RUN, "--set", setting, "--out", str(tmp_path / "run")]) == 2
    assert f"setting {setting.partition('=')[0]}=" in one_error_line(capsys)
    assert not (tmp_path / "run").exists()
