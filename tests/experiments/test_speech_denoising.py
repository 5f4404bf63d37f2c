"""Speech denoising: mini-batches, losses, what a run leaves behind, that a crash leaves no trace."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import soundfile

from experiments.audio.transform import Transform
from experiments.data.audio.mixing import Example
from experiments.denoising.batches import Batch, Changes, Mixer, Pair, coloured, ratio_of
from experiments.denoising.nets import Denoiser
from experiments.denoising.training import Learner, Rules, cross_entropy, ratios
from experiments.harness import cli
from experiments.speech_denoising import EXPERIMENT
from tests import strict_backend
from tinygrad_hw import Tensor, serialization
from tinygrad_hw import functional as F
from tinygrad_hw.gradcheck import gradcheck
from tinygrad_hw.random import Stream

from .data.audio import sound_files
from .runs import CrashError, assert_same_run, dying_after, loops_of
from .test_cli import one_error_line
from .test_report import Page, assert_accessible, assert_loads_nothing

RUN = ["run", "speech_denoising", "--profile", "smoke", "--quiet"]
TRANSFORM = Transform()
SMALL = Transform(16, 8)
CLAIMED = {"snr_db", "snr_db_soft", "snr_db_fc", "snr_db_fc_soft", "snr_db_ideal", "snr_db_mixture", "snr_db_above_fc"}


def some_pair(samples: int, seed: int = 0) -> Pair:
    rng = np.random.default_rng(seed)
    speech, noise = 0.1 * rng.standard_normal((2, samples), dtype=np.float32)
    return Pair(speech + noise, speech)


def example(kind: str, seed: int, samples: int = 4000) -> Example:
    rng = np.random.default_rng(seed)
    speech, noise = 0.1 * rng.standard_normal((2, samples), dtype=np.float32)
    return Example(f"tr{seed:04d}", "somebody", kind, speech, noise, gain=0.5)


def small_net(kind: Any, seed: int = 0) -> Denoiser:
    return Denoiser(kind, SMALL.bins, 12, 1, 0.0, init=Stream(seed, "init"), masks=Stream(seed, "masks"))


# ------------------------------------------------------------------------------------------------------------- batches


def test_a_batch_holds_librosas_spectra_and_the_ideal_mask() -> None:
    pairs = [some_pair(512 * 9, 1), some_pair(512 * 6, 2)]
    batch = Batch.of(pairs, TRANSFORM, "cpu")
    assert list(batch.lengths) == [10, 7]
    assert batch.magnitudes.shape == (10, 2, 513) == batch.target.shape == batch.cost.shape
    for number, pair in enumerate(pairs):
        length = batch.lengths[number]
        mixture, speech = (librosa.stft(s, n_fft=1024, hop_length=512) for s in (pair.mixture, pair.speech))
        noise = mixture - speech
        np.testing.assert_allclose(batch.magnitudes[:length, number], np.abs(mixture).T, atol=2e-5)
        spectrum = batch.spectra[number, :, :length]
        np.testing.assert_allclose(spectrum[..., 0] + 1j * spectrum[..., 1], mixture, atol=2e-5)
        difference = np.abs(speech) - np.abs(noise)
        clear = np.abs(difference.T) > 1e-4
        assert (batch.target[:length, number] == (difference.T > 0))[clear].all()
        cost = np.abs(np.abs(speech) ** 2 - np.abs(noise) ** 2)
        np.testing.assert_allclose(batch.cost[:length, number], cost.T, atol=1e-3)
        assert not batch.cost[length:, number].any(), "what is padded costs nothing"


def test_short_sentences_and_parts_of_hops() -> None:
    batch = Batch.of([some_pair(300), some_pair(1500)], TRANSFORM, "cpu")
    assert list(batch.lengths) == [2, 3]
    assert batch.speech.shape == (2, 1024)
    np.testing.assert_array_equal(batch.speech[0, :300], some_pair(300).speech)
    assert not batch.speech[0, 300:].any()


def test_ratios_are_those_of_librosas_inverse() -> None:
    pairs = [some_pair(512 * 9, 1), some_pair(512 * 6, 2)]
    batch = Batch.of(pairs, TRANSFORM, "cpu")
    mask = np.random.default_rng(0).uniform(0, 1, batch.target.shape).astype(np.float32)
    found = ratios(mask, batch, TRANSFORM)
    for number, pair in enumerate(pairs):
        spectrum = librosa.stft(pair.mixture, n_fft=1024, hop_length=512)
        masked = spectrum * mask[: batch.lengths[number], number].T
        signal = librosa.istft(masked, hop_length=512, n_fft=1024, length=len(pair.speech))
        expected = 10 * np.log10((pair.speech**2).sum() / ((pair.speech - signal) ** 2).sum())
        assert found[number] == pytest.approx(expected, abs=1e-3)


def test_derivative_of_the_ratio_and_of_the_weighted_loss() -> None:
    batch = Batch.of([some_pair(40, 1), some_pair(24, 2)], SMALL, "cpu")
    names = ("speech", "inside", "spectra", "magnitudes", "target", "cost")
    wide = replace(batch, **{name: getattr(batch, name).astype(np.float64) for name in names})
    logits = Tensor(np.random.default_rng(0).normal(size=batch.target.shape), requires_grad=True)
    assert gradcheck(lambda y: ratios(F.sigmoid(y), wide, SMALL), (logits,))
    assert gradcheck(lambda y: cross_entropy(y, wide, 0.5), (logits,))


def test_cross_entropy_weighs_bins_by_cost_and_sentences_alike() -> None:
    batch = Batch.of([some_pair(40, 1), Pair(*(10 * s for s in (some_pair(24, 2).mixture, some_pair(24, 2).speech)))],
                     SMALL, "cpu")  # fmt: skip
    logits = np.random.default_rng(0).normal(size=batch.target.shape).astype(np.float32)
    expected = []
    for number, length in enumerate(batch.lengths):
        y, m, w = (each[:length, number] for each in (logits, batch.target, batch.cost**0.5))
        each = -(m * np.log(1 / (1 + np.exp(-y))) + (1 - m) * np.log(1 / (1 + np.exp(y))))
        expected.append((w * each).sum() / w.sum())
    assert float(cross_entropy(logits, batch, 0.5)) == pytest.approx(np.mean(expected), rel=1e-4)


def test_new_mixtures_have_the_wanted_ratio_and_noise_of_the_same_kind() -> None:
    examples = [example("low", 0), example("low", 1), example("high", 2)]
    mixer = Mixer(examples, Stream(0, "mixing"), Changes(3.0, 6.0, 0.0, 0.0, 0.0), 16_000)
    seen = []
    for _ in range(20):
        for chosen, pair in zip(examples, mixer.anew(np.arange(3)), strict=True):
            noise = pair.mixture - pair.speech
            ratio = 10 * np.log10((pair.speech**2).sum() / (noise**2).sum())
            assert abs(ratio - ratio_of(chosen)) < 3.01
            assert chosen.speech is not None
            gain = pair.speech @ chosen.speech / (chosen.speech @ chosen.speech)
            assert 10 ** (-6.1 / 20) < gain < 10 ** (6.1 / 20)
            np.testing.assert_allclose(pair.speech, gain * chosen.speech, atol=1e-6)
            spectra = [np.abs(np.fft.rfft(e.background)) for e in examples if e.background is not None]
            likeness = [np.corrcoef(np.abs(np.fft.rfft(noise)), spectrum)[0, 1] for spectrum in spectra]
            best = int(np.argmax(likeness))
            assert likeness[best] > 0.99, "a rolled noise has the same magnitudes"
            assert examples[best].kind == chosen.kind
            seen.append((best, round(float(ratio), 3)))
    assert {best for best, _ in seen} == {0, 1, 2}
    assert len({ratio for _, ratio in seen}) > 50


def test_speech_at_other_speeds() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000).astype(np.float32)
    chosen = Example("tr0000", "a", "x", tone, np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32))
    mixer = Mixer([chosen], Stream(0, "mixing"), Changes(0.0, 0.0, 0.1, 0.0, 0.0), 16_000)
    pairs = [mixer.anew(np.array([0]))[0] for _ in range(30)]
    lengths = {len(pair.speech) for pair in pairs}
    assert min(lengths) < 15_000 and max(lengths) > 17_000
    for pair in pairs[:5]:
        peak = np.abs(np.fft.rfft(pair.speech)).argmax() * 16_000 / len(pair.speech)
        assert peak == pytest.approx(1000 * 16_000 / len(pair.speech), abs=2)


def test_noise_at_other_speeds_and_backwards() -> None:
    """A click with a tail tells both: how long the tail is, and on which side."""
    noise = np.zeros(8000, np.float32)
    noise[2000:4000] = np.exp(-np.arange(2000) / 300)
    chosen = Example("tr0000", "a", "x", np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32), noise)
    mixer = Mixer([chosen], Stream(0, "mixing"), Changes(0.0, 0.0, 0.0, 0.3, 0.0), 16_000)
    forwards, lengths = [], []
    for _ in range(40):
        pair = mixer.anew(np.array([0]))[0]
        found = pair.mixture - pair.speech
        found = np.roll(found, 4000 - int(np.abs(found).argmax()))
        lengths.append(int((np.abs(found) > 0.5 * np.abs(found).max()).sum()))
        forwards.append(np.abs(found[4020:4100]).sum() > np.abs(found[3900:3980]).sum())
    assert 8 < sum(forwards) < 32
    assert min(lengths) < 170 and max(lengths) > 240


def test_filters_are_those_of_their_formula_and_stable() -> None:
    impulse = np.zeros(64, np.float32)
    impulse[0] = 1
    a, b, c, d = 0.3 * (2 * np.array([0.9, 0.2, 0.6, 0.3]) - 1)
    expected = np.zeros(64)
    for n in range(64):
        past = [expected[n - 1] if n else 0.0, expected[n - 2] if n > 1 else 0.0]
        expected[n] = {0: 1.0, 1: a, 2: b}.get(n, 0.0) - c * past[0] - d * past[1]
    found = coloured(impulse, 0.3, np.array([0.9, 0.2, 0.6, 0.3]))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert coloured(impulse, 0.0, np.ones(4)) is impulse
    for corner in np.ndindex(2, 2, 2, 2):
        long = coloured(np.resize(impulse, 64), 0.375, np.array(corner, float))
        assert np.abs(long[-8:]).max() < 1e-3


# ------------------------------------------------------------------------------------------------------------ learning


@pytest.mark.parametrize("kind", ["gru", "lstm", "dense"])
@pytest.mark.parametrize("by_ratio", [False, True])
def test_a_net_learns_a_mask_that_is_there_to_be_learned(kind: str, by_ratio: bool) -> None:
    """Speech below, noise above: half of the bins are to pass."""

    def pair(seed: int) -> Pair:
        spectra = np.fft.rfft(np.random.default_rng(seed).normal(size=(2, 400)))
        spectra[0, 100:], spectra[1, :100] = 0, 0
        speech, noise = np.fft.irfft(spectra).astype(np.float32)
        return Pair(speech + noise, speech)

    learner = Learner(small_net(kind), Rules(0.02, 5.0, 0.5, 0), SMALL, 60)
    unseen = [Batch.of([pair(100), pair(101)], SMALL, "cpu")]
    before = learner.validate(unseen)
    for seed in range(60):
        learner.step(Batch.of([pair(2 * seed), pair(2 * seed + 1)], SMALL, "cpu"), by_ratio=by_ratio)
    after = learner.validate(unseen)
    assert after["validation_snr"] > before["validation_snr"] + 2
    assert after["validation_snr_soft"] > 5


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_padding_and_truncation(kind: str) -> None:
    """A sentence in a batch with a longer one gives the same as alone; pieces are what they say."""
    net = small_net(kind)
    short, both = (Batch.of(pairs, SMALL, "cpu") for pairs in ([some_pair(40)], [some_pair(40), some_pair(96, 1)]))
    alone, _ = net(short.magnitudes, lengths=short.lengths)
    together, _ = net(both.magnitudes, lengths=both.lengths)
    np.testing.assert_allclose(together.data[:6, 0], alone.data[:, 0], atol=1e-6)
    pieces = Learner(net, Rules(0.01, 5.0, 0.5, 4), SMALL, 1)._logits(both).data
    assert pieces.shape == together.shape
    for start in range(0, 13, 4):
        expected, _ = net(np.ascontiguousarray(both.magnitudes[start : start + 4, 1:]))
        np.testing.assert_allclose(pieces[start : start + 4, 1:], expected.data, atol=1e-6)
    assert np.abs(pieces[4:, 1] - together.data[4:, 1]).max() > 1e-3


# ---------------------------------------------------------------------------------------------------------------- runs


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("smoke") / "run"
    assert cli.main([*RUN, "--check", "--out", str(path)]) == 0
    return path


def test_smoke_run(smoke: Path) -> None:
    metrics = json.loads((smoke / "summary.json").read_text())["metrics"]
    assert metrics.keys() >= CLAIMED
    assert metrics["snr_db_mixture"] == pytest.approx(0, abs=1e-3)
    assert metrics["snr_db_ideal"] > max(metrics["snr_db"], metrics["snr_db_fc"])
    assert metrics["snr_db_above_fc"] == metrics["snr_db"] - metrics["snr_db_fc"]
    assert metrics["shift"] == 0
    rows = [json.loads(line) for line in (smoke / "metrics.jsonl").read_text().splitlines()]
    assert [(row["loop"], row["epoch"]) for row in rows] == [("fc", 1), ("fc", 2), ("recurrent", 1), ("recurrent", 2)]
    page = Page(html := (smoke / "report.html").read_text(encoding="utf-8"))
    assert_loads_nothing(html)
    assert_accessible(page)
    assert len(page.all("audio")) == 18
    assert "nan" not in page.text.split()


def test_recovered_signals_are_in_the_zip(smoke: Path) -> None:
    with zipfile.ZipFile(smoke / "recovered.zip") as archive:
        assert archive.namelist() == ["te0000.wav", "te0001.wav", "te0002.wav"]
        with archive.open("te0000.wav") as file:
            signal, rate = soundfile.read(file, dtype="float32")
    assert rate == 16_000
    assert 0.8 * rate <= len(signal) <= rate
    assert 0.01 < np.abs(signal).max() < 1


def test_the_saved_nets_give_the_same_again(smoke: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert cli.main(["evaluate", str(smoke)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    compared = {row[0]: row[1:] for row in rows if len(row) == 3}
    assert compared.keys() >= CLAIMED
    assert all(now == before for name, (now, before) in compared.items() if name != "metric")
    arrays = serialization.load(smoke / "models" / "recurrent.safetensors")
    assert arrays["hidden.weight_ih_l0"].shape == (96, 513)
    assert arrays["mean"].shape == (513,)


def test_the_courses_files_whose_test_sources_nobody_has(tmp_path: Path) -> None:
    sound_files.course(tmp_path / "homework3")
    out = tmp_path / "run"
    assert cli.main([*RUN, "--data-dir", str(tmp_path), "--set", "truncate=5", "--out", str(out)]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert "the course's layout" in summary["data"]["denoising"]["source"]
    assert summary["metrics"].keys() >= CLAIMED
    text = Page((out / "report.html").read_text(encoding="utf-8")).text
    assert "validation mixtures of" in text
    with zipfile.ZipFile(out / "recovered.zip") as archive:
        assert len(archive.namelist()) == 10


def test_crashes_leave_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nets, optimisers, schedules, dropout and mixing go on where they were."""
    settings = ["--set", "epochs=4", "--set", "checkpoint_steps=1"]
    whole, crashed = tmp_path / "whole", tmp_path / "crashed"
    assert cli.main([*RUN, *settings, "--out", str(whole)]) == 0
    deaths = [1, 4, 6, 9, 13, 15]
    monkeypatch.setattr(Learner, "step", dying_after(Learner.step, deaths))
    with pytest.raises(CrashError):
        cli.main([*RUN, *settings, "--out", str(crashed)])
    for _ in deaths[1:]:
        with pytest.raises(CrashError):
            cli.main(["resume", str(crashed), "--quiet"])
    assert cli.main(["resume", str(crashed), "--quiet"]) == 0
    assert_same_run(crashed, whole)
    assert list(loops_of(crashed)) == ["fc", "recurrent"]
    assert (crashed / "recovered.zip").read_bytes() == (whole / "recovered.zip").read_bytes()


def test_on_a_device_that_refuses_to_mix_with_numpy(tmp_path: Path) -> None:
    strict_backend.install()
    for device in ("cpu", "strict"):
        assert cli.main([*RUN, "--device", device, "--out", str(tmp_path / device)]) == 0
    found, expected = (json.loads((tmp_path / d / "summary.json").read_text())["metrics"] for d in ("strict", "cpu"))
    assert found == pytest.approx(expected, rel=1e-2, abs=1e-2)


def test_a_batch_larger_than_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*RUN, "--set", "batch=7", "--out", str(tmp_path / "run")]) == 2
    assert "batch=7: there are 6 training mixtures" in one_error_line(capsys)


def test_full_profile_is_the_documents() -> None:
    config = EXPERIMENT.profiles["full"]
    assert (config.batch, config.truncate, config.noises, config.snr) == (10, 0, 10, 0.0)  # type: ignore[attr-defined]
    assert TRANSFORM.bins == 513
