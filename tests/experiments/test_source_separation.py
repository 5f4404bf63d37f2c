"""source_separation: excerpts, truncated gradients, BSS Eval's ratios, and the command from smoke run to evaluation."""

import zipfile
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from scipy import signal

from experiments.audio import measures
from experiments.audio.transform import Transform
from experiments.data.audio.music import Track
from experiments.harness import cli
from experiments.separation import cost
from experiments.separation.assessment import assess, bss_eval, fixed_mask, ideal_masks, taken_apart
from experiments.separation.excerpts import Cutter, Excerpts
from experiments.separation.nets import Separator
from experiments.separation.training import MAIN, WAYS, Learner, Rules, Way, cross_entropy, soft_mask, validate
from experiments.source_separation import EXPERIMENT, TRANSFORM
from tests import strict_backend
from tinygrad_hw import serialization
from tinygrad_hw.random import Stream

from . import runs
from .test_cli import one_error_line
from .test_report import Page, assert_accessible, assert_loads_nothing

RUN = ["run", "source_separation", "--profile", "smoke", "--quiet"]
SMALL = Transform(16, 8)


def track(name: str, seed: int, samples: int = 4000) -> Track:
    rng = np.random.default_rng(seed)
    vocals, bass, drums = 0.1 * rng.standard_normal((3, samples), dtype=np.float32)
    return Track(name, vocals + bass + drums, {"bass": bass, "drums": drums, "vocals": vocals})


def without_vocals(song: Track) -> Track:
    rest = song.accompaniment
    return Track(song.name, rest, {"other": rest, "vocals": np.zeros_like(rest)})


def tonal(seed: int, samples: int = 400) -> Track:
    """Vocals below a quarter of the rate, accompaniment above."""
    spectra = np.fft.rfft(np.random.default_rng(seed).normal(size=(2, samples)))
    spectra[0, samples // 4 :], spectra[1, : samples // 4] = 0, 0
    vocals, rest = np.fft.irfft(spectra).astype(np.float32)
    return Track(f"tonal-{seed}", vocals + rest, {"vocals": vocals, "other": rest})


def excerpts_of(seed: int, samples: int = 8 * 15, count: int = 3) -> Excerpts:
    rng = np.random.default_rng(seed)
    vocals, rest = 0.3 * rng.standard_normal((2, count, samples), dtype=np.float32)
    return Excerpts.of(vocals + rest, vocals, 1.0, SMALL, "cpu")


def small_net(*, learned: bool = False, layers: int = 1, transform: Transform = SMALL) -> Separator:
    init, masks = Stream(0, "init"), Stream(0, "masks")
    return Separator(transform.bins, 12, layers, 0.0, learned=learned, init=init, masks=masks)


def gradients(net: Separator, way: Way, excerpts: Excerpts, piece: int = 4) -> dict[str, np.ndarray]:
    for parameter in net.parameters():
        parameter.grad = None
    Learner(net, way, Rules(0.01, 5.0, piece), 1).gradient(excerpts)
    return {name: value.grad.data.copy() for name, value in net.named_parameters() if value.grad is not None}


# ----------------------------------------------------------------------------------------------------------- excerpts


def test_excerpts_hold_librosas_spectra_and_the_phase_sensitive_mask() -> None:
    tracks = [track("a", 1, 512 * 9), track("b", 2, 512 * 9)]
    mixture, vocals = (np.stack([getattr(t, part) for t in tracks]) for part in ("mixture", "vocals"))
    excerpts = Excerpts.of(mixture, vocals, 1.5, TRANSFORM, "cpu")
    assert excerpts.magnitudes.shape == (10, 2, 513) == excerpts.target.shape == excerpts.weight.shape
    for number in range(2):
        whole, sung = (librosa.stft(s[number], n_fft=1024, hop_length=512).T for s in (mixture, vocals))
        np.testing.assert_allclose(excerpts.magnitudes[:, number], np.abs(whole), atol=2e-5)
        expected = np.clip(np.abs(sung) / np.abs(whole) * np.cos(np.angle(sung) - np.angle(whole)), 0, 1)
        clear = np.abs(whole) > 0.05
        np.testing.assert_allclose(excerpts.target[:, number][clear], expected[clear], atol=1e-3)
        share = np.abs(whole) ** 1.5
        np.testing.assert_allclose(excerpts.weight[:, number], share / share.sum() / 2, atol=1e-7)


def test_silent_excerpts_are_learned_from_without_harm() -> None:
    silence = np.zeros((2, 80), np.float32)
    excerpts = Excerpts.of(silence, silence, 1.0, SMALL, "cpu")
    assert not excerpts.target.any() and not excerpts.weight.any()
    net = small_net(learned=True)
    found = gradients(net, WAYS["stateless_learned"], excerpts)
    assert all(np.isfinite(value).all() for value in found.values())


def test_excerpts_are_cut_from_songs_and_put_together() -> None:
    songs = [track("a", 1, 900), track("b", 2, 300)]
    cutter = Cutter(songs, 100, Stream(0, "cuts"), remix=0.5, level=6.0)
    mixtures, vocals = cutter.cut(200)
    matched = 0
    seen = [0, 0]
    for mixture, voice in zip(mixtures, vocals, strict=True):
        places = []
        for part in (voice, mixture - voice):
            sources = [song.vocals if part is voice else song.accompaniment for song in songs]
            best = max(
                ((signal.correlate(s, part, "valid") / np.linalg.norm(part), n) for n, s in enumerate(sources)),
                key=lambda found: found[0].max() / np.linalg.norm(sources[found[1]][int(found[0].argmax()) :][:100]),
            )
            start, number = int(best[0].argmax()), best[1]
            original = sources[number][start : start + 100]
            gain = part @ original / (original @ original)
            np.testing.assert_allclose(part, gain * original, atol=1e-6)
            assert 10 ** (-6 / 20) <= gain <= 10 ** (6 / 20)
            places.append((number, start))
        seen[places[0][0]] += 1
        matched += places[0] == places[1]
    assert 70 <= matched <= 130, "half of them were to be put together anew"
    assert 120 <= seen[0] <= 180, "three quarters of the music are in the longer song"


def test_a_short_song_is_followed_by_silence() -> None:
    song = track("a", 1, 60)
    mixtures, vocals = Cutter([song], 100, Stream(0, "cuts"), remix=1.0, level=0.0).cut(3)
    np.testing.assert_allclose(mixtures[:, :60], np.tile(song.mixture, (3, 1)), atol=1e-6)
    assert not mixtures[:, 60:].any() and not vocals[:, 60:].any()


# ------------------------------------------------------------------------------------------------------------ learning


def test_pieces_as_long_as_the_excerpt_truncate_nothing() -> None:
    excerpts = excerpts_of(0)
    expected = gradients(small_net(), WAYS["full"], excerpts)
    for name in ("stateful", "stateless"):
        found = gradients(small_net(), WAYS[name], excerpts, piece=16)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_allclose(found[key], value, atol=1e-6)


@pytest.mark.parametrize("learned", [False, True])
def test_truncated_gradients_are_those_of_the_pieces(learned: bool) -> None:
    """Against the same sums put together by hand: piece by piece, from the state that each begins with."""
    excerpts = excerpts_of(1)
    for stateful in (True, False):
        net, other = (small_net(learned=learned, layers=2) for _ in range(2))
        if learned:
            for each in (net, other):
                drawn = np.random.default_rng(3).normal(size=(2, 2, 1, 12)).astype(np.float32)
                each.load_state_dict({"first_h": drawn[0], "first_c": drawn[1]}, strict=False)
        found = gradients(net, Way("", stateful, learned), excerpts, piece=6)
        state = None
        for start in range(0, 16, 6):
            frames = slice(start, start + 6)
            logits, after = other(excerpts.magnitudes[frames], state)
            cross_entropy(logits, excerpts, frames).backward()
            state = tuple(part.detach() for part in after) if stateful else None
        for name, parameter in other.named_parameters():
            assert parameter.grad is not None
            np.testing.assert_allclose(found[name], parameter.grad.data, rtol=1e-4, atol=1e-6, err_msg=name)
        assert ("first_h" in found) == learned


def test_a_learned_start_changes_nothing_at_first() -> None:
    plain, learned = (small_net(learned=flag).state_dict() for flag in (False, True))
    for name, value in plain.items():
        np.testing.assert_array_equal(learned[name], value)
    assert learned.keys() - plain.keys() == {"first_h", "first_c"}
    assert not learned["first_h"].any() and not learned["first_c"].any()


def test_the_ways_differ() -> None:
    excerpts = excerpts_of(2)
    found = {name: gradients(small_net(learned=way.learned), way, excerpts) for name, way in WAYS.items()}
    weight = "hidden.weight_hh_l0"
    assert np.abs(found["stateful"][weight] - found["stateless"][weight]).max() > 1e-5
    assert np.abs(found["stateful"][weight] - found["full"][weight]).max() > 1e-5
    # every stateless piece has a part in the first state's gradient, of stateful ones the first alone
    sizes = {name: np.abs(found[name]["first_c"]).sum() for name in ("stateful_learned", "stateless_learned")}
    assert sizes["stateless_learned"] > 1.5 * sizes["stateful_learned"]


@pytest.mark.parametrize("name", list(WAYS))
def test_a_net_learns_a_mask_that_is_there_to_be_learned(name: str) -> None:
    net = small_net(learned=WAYS[name].learned)
    cutter = Cutter([tonal(seed) for seed in range(10)], 120, Stream(0, "cuts"), remix=0.5, level=3.0)
    learner = Learner(net, WAYS[name], Rules(0.02, 5.0, 4), 40)
    unseen = [tonal(100), tonal(101)]
    before = validate(net, unseen, 8, 1.0, SMALL, "cpu")
    for _ in range(40):
        learner.step(Excerpts.of(*cutter.cut(4), 1.0, SMALL, "cpu"))
    after = validate(net, unseen, 8, 1.0, SMALL, "cpu")
    assert after["validation_loss"] < before["validation_loss"] - 0.15
    assert after["validation_snr"] > before["validation_snr"] + 4
    if net.learned:
        assert np.abs(net.state_dict()["first_c"]).max() > 1e-3, "the first state has been learned, too"


def test_validation_songs_together_and_one_by_one() -> None:
    net, songs = small_net(), [tonal(1), without_vocals(tonal(2, 320)), tonal(3, 332)]
    together = validate(net, songs, 2, 1.0, SMALL, "cpu")
    alone = [validate(net, [song], 2, 1.0, SMALL, "cpu") for song in songs]
    assert together["validation_loss"] == pytest.approx(np.mean([each["validation_loss"] for each in alone]), rel=1e-3)
    assert together["validation_snr"] == pytest.approx(np.mean([alone[n]["validation_snr"] for n in (0, 2)]), abs=1e-3)
    spectrum = SMALL.analyse(songs[2].mixture)
    recovered = SMALL.synthesise(soft_mask(net, spectrum, "cpu") * spectrum, 332)
    assert alone[2]["validation_snr"] == pytest.approx(float(measures.snr(songs[2].vocals, recovered)), abs=1e-3)
    assert alone[1]["validation_snr"] == 0


def test_whole_songs_are_masked_with_the_state_carried_or_begun_anew() -> None:
    net = small_net(learned=True)
    net.load_state_dict({"first_h": np.full((1, 1, 12), 0.5, np.float32)}, strict=False)
    spectrum = SMALL.analyse(track("a", 5, 8 * 10).mixture)
    magnitudes = np.ascontiguousarray(np.abs(spectrum).T[:, None])
    carried = 1 / (1 + np.exp(-net(magnitudes)[0].data[:, 0].T))
    np.testing.assert_allclose(soft_mask(net, spectrum, "cpu"), carried, atol=1e-6)
    restarted = soft_mask(net, spectrum, "cpu", 4)
    np.testing.assert_array_equal(restarted[:, :4], soft_mask(net, spectrum[:, :4], "cpu"))
    np.testing.assert_array_equal(restarted[:, 8:], soft_mask(net, spectrum[:, 8:], "cpu"))
    assert np.abs(restarted[:, 4:] - carried[:, 4:]).max() > 1e-3


def test_memory_of_an_update_is_that_of_a_piece() -> None:
    nets = {name: small_net(learned=WAYS[name].learned) for name in ("stateful", "stateless_learned", "full")}
    costs = cost.measure(nets, Rules(0.01, 5.0, 8), (64, 256), 2, Stream(0, "cost"), "cpu")
    growth = {name: peak[1] / peak[0] for name, peak in costs.peak.items()}
    assert growth["full"] > 3
    assert costs.peak["full"][1] > 2.5 * costs.peak["stateful"][1]
    assert all(len(each) == 2 and min(each) > 0 for each in costs.seconds.values())


# ------------------------------------------------------------------------------------------------------------ measures


def test_bss_eval_on_what_is_known() -> None:
    rng = np.random.default_rng(0)
    vocals, rest, dirt = rng.standard_normal((3, 20_000))
    found = bss_eval(np.stack([vocals, rest]), np.stack([vocals + 0.1 * rest, rest + 0.01 * dirt]))
    assert found[0].sdr == pytest.approx(20, abs=0.3) == found[0].sir
    assert found[0].sar > 60
    assert found[1].sdr == pytest.approx(40, abs=0.5) == found[1].sar
    assert found[1].sir > 50
    # louder, and filtered: still the same source
    moved = np.stack([3 * np.roll(vocals, 7), rest])
    assert bss_eval(np.stack([vocals, rest]), moved)[0].sdr > 30
    assert measures.snr(vocals, moved[0]) < 0


def test_the_scale_has_the_mixture_below_and_ideal_masks_above() -> None:
    songs = [tonal(1, 16_000), tonal(2, 16_000)]
    transform = Transform(256, 128)
    fixed = fixed_mask([tonal(3, 16_000)], transform)
    assert fixed[:60].min() > 0.95 and fixed[70:].max() < 0.05
    scores = assess({MAIN: small_net(transform=transform)}, fixed, songs, 4, transform, "cpu")
    assert set(scores.ratios) == {"mixture", "fixed", "ideal_binary", "ideal", MAIN, f"{MAIN}_restarted"}
    assert (scores.gain("fixed") > 15).all(), "here an equaliser does it"
    assert scores.of("mixture") == pytest.approx(0, abs=0.5)
    assert (scores.gain("ideal") > 15).all() and (scores.gain("ideal_binary") > 15).all()
    assert (np.abs(scores.gain(MAIN)) < 2).all(), "it has not learned anything"
    assert [each.shift for each in scores.heard] == [0] * 4
    assert scores.gain("ideal", "accompaniment") == pytest.approx(
        scores.of("ideal", source="accompaniment") - scores.of("mixture", source="accompaniment")
    )
    assert len(scores.positions[MAIN]) == 4


def test_what_is_taken_apart_adds_up_to_the_song() -> None:
    song = track("a", 1)
    for mask in ideal_masks(song, SMALL).values():
        parts = taken_apart(mask, song.mixture, SMALL)
        np.testing.assert_allclose(parts.sum(axis=0), song.mixture, atol=1e-6)
        direct = SMALL.synthesise((1 - mask) * SMALL.analyse(song.mixture), len(song.mixture))
        np.testing.assert_allclose(parts[1], direct, atol=1e-5)


# ---------------------------------------------------------------------------------------------------------------- runs


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("smoke") / "run"
    assert cli.main([*RUN, "--check", "--out", str(path)]) == 0
    return path


def test_smoke_run(smoke: Path) -> None:
    metrics = runs.metrics_of(smoke)
    assert metrics.keys() >= {claim.metric for claim in EXPERIMENT.claims}
    assert metrics["sdr_ideal"] > metrics["sdr_ideal_binary"] > metrics["sdr"] > metrics["sdr_mixture"] - 1
    assert metrics["sdr_gain"] == pytest.approx(metrics["sdr"] - metrics["sdr_mixture"])
    assert metrics["memory_full_over_truncated"] > 1.5
    rows = runs.rows_of(smoke)
    assert [(row["loop"], row["epoch"]) for row in rows] == [(name, epoch) for name in WAYS for epoch in (1, 2)]
    page = Page(html := (smoke / "report.html").read_text(encoding="utf-8"))
    assert_loads_nothing(html)
    assert_accessible(page)
    assert page.all("audio")
    assert "nan" not in page.text.split()


def test_recovered_sources_are_in_the_zip(smoke: Path) -> None:
    with zipfile.ZipFile(smoke / "recovered.zip") as archive:
        assert archive.namelist() == ["test-00-vocals.wav", "test-00-accompaniment.wav"]
        signals = []
        for name in archive.namelist():
            with archive.open(name) as file:
                samples, rate = soundfile.read(file, dtype="float32")
            assert (rate, len(samples)) == (16_000, 32_000)
            assert 0.01 < np.abs(samples).max() < 1
            signals.append(samples)
    assert np.abs(signals[0] - signals[1]).max() > 0.01


def test_the_saved_nets_give_the_same_again(smoke: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert cli.main(["evaluate", str(smoke)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    compared = {row[0]: row[1:] for row in rows if len(row) == 3}
    assert compared.keys() >= {"sdr", "sdr_gain", "stateful_above_stateless", "sdr_full_restarted"}
    assert all(now == before for name, (now, before) in compared.items() if name != "metric")
    arrays = serialization.load(smoke / "models" / "stateless_learned.safetensors")
    assert arrays["first_h"].shape == (1, 1, 16) and arrays["hidden.weight_ih_l0"].shape == (64, 513)


def test_crashes_leave_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nets, first states, optimisers, schedules, dropout and cuts go on where they were."""
    settings = ["--set", "checkpoint_steps=1"]
    whole, crashed = tmp_path / "whole", tmp_path / "crashed"
    assert cli.main([*RUN, *settings, "--out", str(whole)]) == 0
    left = [2]
    monkeypatch.setattr(Learner, "step", runs.dying(Learner.step, left))
    with pytest.raises(runs.CrashError):
        cli.main([*RUN, *settings, "--out", str(crashed)])
    for granted in (3, 5, 4):
        left[0] = granted
        with pytest.raises(runs.CrashError):
            cli.main(["resume", str(crashed), "--quiet"])
    left[0] = 10_000
    assert cli.main(["resume", str(crashed), "--quiet"]) == 0
    assert (crashed / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    found, expected = runs.loops_of(crashed), runs.loops_of(whole)
    assert list(found) == list(expected) == list(WAYS)
    for name, loop in found.items():
        assert loop.tracked == expected[name].tracked
        for key, array in loop.arrays.items():
            assert array.tobytes() == expected[name].arrays[key].tobytes(), (name, key)
    assert (crashed / "recovered.zip").read_bytes() == (whole / "recovered.zip").read_bytes()


def write_stems(folder: Path, song: Track, rate: int = 16_000) -> None:
    folder.mkdir(parents=True)
    soundfile.write(folder / "mixture.wav", song.mixture, rate, subtype="FLOAT")
    for name, samples in song.sources.items():
        soundfile.write(folder / f"{name}.wav", samples, rate, subtype="FLOAT")


def test_one_song_in_stems(tmp_path: Path) -> None:
    write_stems(tmp_path / "data" / "music_stems" / "song", track("song", 1, 48_000))
    out = tmp_path / "run"
    options = ["--set", "epochs=1", "--data-dir", str(tmp_path / "data"), "--out", str(out)]
    assert cli.main([*RUN, *options]) == 0
    assert "each song split in time" in runs.summary_of(out)["data"]["music"]["source"]
    text = " ".join(Page((out / "report.html").read_text(encoding="utf-8")).text.split())
    assert "other parts of the songs that it was trained on" in text


def write_dsd100(root: Path, songs: dict[str, list[Track]]) -> None:
    for part, tracks in songs.items():
        for song in tracks:
            for folder in (root / "Mixtures" / part / song.name, root / "Sources" / part / song.name):
                folder.mkdir(parents=True)
            soundfile.write(root / "Mixtures" / part / song.name / "mixture.wav", song.mixture, 16_000, subtype="FLOAT")
            for name, samples in song.sources.items():
                soundfile.write(root / "Sources" / part / song.name / f"{name}.wav", samples, 16_000, subtype="FLOAT")


def test_dsd100_and_songs_that_nobody_sings_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dev = [track("a", 1, 32_000), without_vocals(track("b", 2, 32_000)), track("c", 3, 32_000)]
    test = [without_vocals(track("d", 4, 32_000)), track("e", 5, 32_000)]
    write_dsd100(tmp_path / "DSD100", {"Dev": dev, "Test": test})
    counts = ["--set", "epochs=1", "--set", "train=0", "--set", "validation=0", "--set", "test=0"]
    options = [*RUN, *counts, "--data-dir", str(tmp_path)]
    assert cli.main([*options, "--out", str(tmp_path / "run")]) == 0
    assert "DSD100's layout" in runs.summary_of(tmp_path / "run")["data"]["music"]["source"]
    text = " ".join(Page((tmp_path / "run" / "report.html").read_text(encoding="utf-8")).text.split())
    assert "1 test song is left out" in text
    with zipfile.ZipFile(tmp_path / "run" / "recovered.zip") as archive:
        assert len(archive.namelist()) == 4
    capsys.readouterr()
    silent = tmp_path / "silent"
    write_dsd100(silent / "DSD100", {"Dev": dev, "Test": test[:1]})
    assert cli.main([*RUN, "--data-dir", str(silent), "--out", str(tmp_path / "run2")]) == 2
    assert "no test song with both vocals and accompaniment" in one_error_line(capsys)


def test_on_a_device_that_refuses_to_mix_with_numpy(tmp_path: Path) -> None:
    strict_backend.install()
    for device in ("cpu", "strict"):
        assert cli.main([*RUN, "--device", device, "--out", str(tmp_path / device)]) == 0
    found, expected = (
        {name: value for name, value in runs.timeless_metrics_of(tmp_path / d).items() if "mib" not in name}
        for d in ("strict", "cpu")
    )
    del found["memory_full_over_truncated"], expected["memory_full_over_truncated"]
    assert found == pytest.approx(expected, rel=1e-2, abs=1e-2)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("batch=5", "batch=5: there are 4 excerpts in an epoch"),
        ("piece=25", "piece=25: an excerpt has 24 frames"),
        ("remix=2", "setting remix=2"),
        ("hidden=0", "setting hidden=0"),
        ("weighting=-1", "setting weighting=-1"),
    ],
)
def test_wrong_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str, message: str) -> None:
    assert cli.main([*RUN, "--set", setting, "--out", str(tmp_path / "run")]) == 2
    assert message in one_error_line(capsys)


def test_a_folder_without_music(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*RUN, "--data-dir", str(tmp_path), "--out", str(tmp_path / "run")]) == 2
    assert "no music with its sources" in one_error_line(capsys)
