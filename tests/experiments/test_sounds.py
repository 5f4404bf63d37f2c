"""Sounds in reports and files: equally loud, nothing clipped, bounded in size, and played by a real browser."""

import base64
import io
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from experiments.harness import Clip, sounds
from experiments.harness import report as reports
from experiments.harness.report import Report, render
from experiments.harness.run import Run

from .test_report import Page, assert_accessible, assert_loads_nothing
from .toy import run_toy, toy

RATE = 8000
CHROMIUM = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)


def tone(seconds: float = 1.0, gain: float = 0.5) -> np.ndarray:
    return (gain * np.sin(2 * np.pi * 440 * np.arange(int(RATE * seconds)) / RATE)).astype(np.float32)


def noise(seconds: float = 1.0) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(int(RATE * seconds), dtype=np.float32)


def root_mean_square(samples: np.ndarray) -> float:
    return float(np.sqrt((samples.astype(np.float64) ** 2).mean()))


def decoded(content: bytes) -> tuple[np.ndarray, int]:
    return soundfile.read(io.BytesIO(content), dtype="float32")  # type: ignore[no-any-return]


# ------------------------------------------------------------------------------------------------------------- loudness


def test_clips_become_equally_loud() -> None:
    clips = [Clip("quiet", 1e-3 * tone(), RATE), Clip("loud", 30 * noise(), RATE), Clip("silent", 0 * tone(), RATE)]
    quiet, loud, silent = sounds.equally_loud(clips)
    assert root_mean_square(quiet.samples) == pytest.approx(root_mean_square(loud.samples), rel=1e-5)
    assert root_mean_square(quiet.samples) == pytest.approx(sounds.LOUDNESS, rel=1e-5)
    assert not silent.samples.any()
    assert {clip.samples.dtype for clip in (quiet, loud, silent)} == {np.dtype(np.float32)}


def test_a_clip_with_a_peak_keeps_all_of_them_below_full_scale() -> None:
    spike = 0.001 * noise()
    spike[100] = 1.0
    clips = sounds.equally_loud([Clip("spike", spike, RATE), Clip("tone", tone(), RATE)])
    assert np.abs(clips[0].samples).max() == pytest.approx(sounds.PEAK, rel=1e-5)
    assert root_mean_square(clips[0].samples) == pytest.approx(root_mean_square(clips[1].samples), rel=1e-5)


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.zeros(0, np.float32), r"got float32 \(0,\)"),
        (np.zeros((1, 2, 3)), r"channels x samples, got float64 \(1, 2, 3\)"),
        (np.zeros(5, np.int16), r"got int16 \(5,\)"),
        (np.array([0, np.nan]), "sound 'a': a sample is NaN or infinite"),
    ],
)
def test_what_is_no_sound(samples: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Clip("a", samples, RATE)


# ---------------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
def test_what_is_encoded_is_read_again(kind: str) -> None:
    for samples in (tone(), np.stack([tone(), -0.5 * tone()])):
        found, rate = decoded(sounds.encode(Clip("a", samples, RATE), kind))
        assert rate == RATE
        np.testing.assert_allclose(found.T, samples, atol=1 / 2**15)


def test_a_file_clips_nothing() -> None:
    found, _ = decoded(sounds.encode(Clip("a", 3 * tone(), RATE)))
    np.testing.assert_array_equal(found, 3 * tone())


def test_a_zip_of_sounds(tmp_path: Path) -> None:
    path = tmp_path / "recovered.zip"
    clips = [Clip("te/0000", tone(), RATE), Clip("te/0001", 2 * noise(), RATE)]
    sounds.write_zip(path, iter(clips))
    before = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["te-0000.wav", "te-0001.wav"]
        for clip, name in zip(clips, archive.namelist(), strict=True):
            found, rate = decoded(archive.read(name))
            assert rate == RATE
            np.testing.assert_allclose(found, clip.samples, atol=1 / 2**15)
    sounds.write_zip(path, clips)
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match=r"recovered.zip: two sounds are called te-0000.wav"):
        sounds.write_zip(path, [clips[0], clips[0]])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_saves_sounds(tmp_path: Path) -> None:
    experiment = toy()
    plain = experiment.run

    def with_sounds(run: Run) -> None:
        plain(run)
        run.report.audio("pair", [Clip("one", tone(), RATE), Clip("the other", noise(), RATE)], caption="Two.")
        run.save_sounds("recovered", [Clip("a", tone(), RATE)])

    object.__setattr__(experiment, "run", with_sounds)
    run_toy(experiment, tmp_path)
    assert zipfile.ZipFile(tmp_path / "recovered.zip").namelist() == ["a.wav"]
    assert {path.name for path in (tmp_path / "sounds").iterdir()} == {"pair-one.wav", "pair-the-other.wav"}
    assert (tmp_path / "report.html").read_text(encoding="utf-8").count("<audio") == 2


# --------------------------------------------------------------------------------------------------------------- report


def page_of(report: Report) -> str:
    return render("page.html.j2", report=report, facts="", closing="")


def players(html: str) -> list[tuple[np.ndarray, int]]:
    return [decoded(base64.b64decode(found)) for found in re.findall(r'src="data:audio/flac;base64,([^"]+)"', html)]


def test_players_in_a_report(tmp_path: Path) -> None:
    report = Report("Sounds", None, tmp_path / "sounds")
    report.section("Listen")
    report.audio(
        "first", [Clip("noisy & <loud>", 9 * noise(), RATE), Clip("clean", tone(25), RATE)], caption="$x$ & y."
    )
    report.audio("second", [Clip("nothing", 0 * tone(), RATE)], caption="Silence.")
    html = page_of(report)
    page = Page(html)
    assert_loads_nothing(html)
    assert_accessible(page)
    assert [audio["aria-label"] for audio in page.all("audio")] == ["noisy & <loud>", "clean", "nothing"]
    assert all("controls" in audio for audio in page.all("audio")), "a keyboard reaches the browser's own controls"
    for words in (
        "Sound 1.",
        "Sound 2.",
        "noisy & <loud>",
        "first 20 of 25 s",
        "silent",
        "equally loud",
    ):
        assert words in page.text
    (noisy, rate), (clean, _), (silent, _) = players(html)
    assert (rate, len(clean), len(noisy)) == (RATE, 20 * RATE, RATE)
    assert root_mean_square(noisy) == pytest.approx(root_mean_square(clean), rel=1e-3)
    assert not silent.any()
    kept = {path.name: soundfile.info(path) for path in (tmp_path / "sounds").iterdir()}
    assert set(kept) == {"first-noisy-loud.wav", "first-clean.wav", "second-nothing.wav"}
    assert kept["first-clean.wav"].duration == 25


def test_the_page_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = [Clip("a", noise(), RATE), Clip("b", noise(2), RATE), Clip("c", 0.1 * tone(), RATE)]
    monkeypatch.setattr(reports, "SOUND", 40_000)
    report = Report("Sounds", None, tmp_path / "sounds")
    report.audio("many", clips, caption="Many.")
    html = page_of(report)
    assert len(html) < 60_000
    assert len(players(html)) == 2
    assert "2.0 s, in sounds/many-b.wav" in Page(html).text
    assert (tmp_path / "sounds" / "many-b.wav").exists()
    nowhere = Report("Sounds", None)
    nowhere.audio("many", clips, caption="Many.")
    assert "2.0 s, not kept" in Page(page_of(nowhere)).text


def test_names_and_labels_are_unique() -> None:
    report = Report("Sounds", None)
    report.audio("a", [Clip("x", tone(), RATE)], caption="")
    with pytest.raises(ValueError, match="'a' exists already"):
        report.audio("a", [Clip("x", tone(), RATE)], caption="")
    with pytest.raises(ValueError, match="labels that differ"):
        report.audio("b", [Clip("x", tone(), RATE), Clip("x", noise(), RATE)], caption="")
    with pytest.raises(ValueError, match="labels that differ"):
        report.audio("c", [], caption="")


PLAYS = """<script>
Promise.all([...document.querySelectorAll("audio")].map(async player => {
  const context = new OfflineAudioContext(1, 1, 8000);
  const bytes = Uint8Array.from(atob(player.src.split(",")[1]), letter => letter.charCodeAt(0));
  const samples = (await context.decodeAudioData(bytes.buffer)).getChannelData(0);
  const peak = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
  await (player.readyState ? null : new Promise(done => { player.onloadedmetadata = player.onerror = done; }));
  player.focus();
  return [player.duration.toFixed(3), peak.toFixed(3), player.error ? "error" : "fine",
          document.activeElement === player ? "focused" : "not focused"].join(" ");
})).then(found => { document.title = found.join("; "); });
</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_chromium_plays_them(tmp_path: Path) -> None:
    """A real browser reads each player's duration, decodes its samples, and gives it the keyboard's focus."""
    report = Report("Sounds", None)
    clips = [
        Clip("tone", tone(2.5), RATE),
        Clip("noise", noise(), RATE),
        Clip("stereo", np.stack([tone(), tone()]), RATE),
    ]
    report.audio("listen", clips, caption="Three.")
    path = tmp_path / "page.html"
    path.write_text(page_of(report).replace("</body>", PLAYS), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--dump-dom"]
    assert CHROMIUM is not None
    command = [CHROMIUM, *options, f"--user-data-dir={tmp_path / 'profile'}", path.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    title = re.search(r"<title>(.*?)</title>", dom)
    assert title
    peaks = [np.abs(clip.samples).max() for clip in sounds.equally_loud(clips)]
    expected = [f"{clip.seconds:.3f} {peak:.3f} fine focused" for clip, peak in zip(clips, peaks, strict=True)]
    assert title[1].split("; ") == expected
