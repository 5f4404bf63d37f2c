"""Speaker verification: what a run leaves behind, whom the threshold comes from, that a crash leaves no trace."""

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.data.audio import speakers
from experiments.harness import cli
from experiments.speaker_verification import EXPERIMENT
from experiments.verification.training import TRANSFORM, Learner
from tests import strict_backend
from tinygrad_hw import serialization

from .data.audio import sound_files
from .runs import CrashError, assert_same_run, dying_after, loops_of
from .test_cli import one_error_line
from .test_report import Page, assert_accessible, assert_loads_nothing

RUN = ["run", "speaker_verification", "--profile", "smoke", "--quiet"]
MEASURED = ("test_accuracy", "test_balanced_accuracy", "test_recoloured_accuracy", "test_auc", "eer",
            "baseline_accuracy", "baseline_balanced_accuracy", "baseline_recoloured_accuracy", "baseline_auc",
            "baseline_eer")  # fmt: skip
METRICS = {f"{name}{end}" for name in MEASURED for end in ("", "_all")}


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("smoke") / "run"
    assert cli.main([*RUN, "--check", "--out", str(path)]) == 0
    return path


def test_smoke_run(smoke: Path) -> None:
    metrics = json.loads((smoke / "summary.json").read_text())["metrics"]
    assert metrics.keys() == METRICS
    assert all(0 <= value <= 1 for value in metrics.values())
    rows = [json.loads(line) for line in (smoke / "metrics.jsonl").read_text().splitlines()]
    loops = [f"{name}-fold{fold}" for name in ("first", "all") for fold in (1, 2)]
    assert [(row["loop"], row["epoch"]) for row in rows] == [(loop, epoch) for loop in loops for epoch in (1, 2)]
    assert rows[1]["step"] == 2 * 2 and rows[-1]["step"] == 2 * 3, "a mini-batch of each speaker who is not left out"
    page = Page(html := (smoke / "report.html").read_text(encoding="utf-8"))
    assert_loads_nothing(html)
    assert_accessible(page)
    assert "nan" not in page.text.split()
    assert 4 <= len(page.all("audio")) <= 8 and len(page.all("audio")) % 2 == 0
    assert {path.stem for path in (smoke / "figures").iterdir()} == {
        "roc", "scores", "learning", "embedding", "speakers",
    }  # fmt: skip


def test_the_saved_nets_give_the_same_again(smoke: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert cli.main(["evaluate", str(smoke)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    compared = {row[0]: row[1:] for row in rows if len(row) == 3}
    assert compared.keys() >= METRICS
    assert all(now == before for now, before in compared.values())
    arrays = serialization.load(smoke / "models" / "all-fold2.safetensors")
    assert arrays["frames.weight"].shape == (16, 513)
    assert arrays["recurrent.weight_ih_l0_reverse"].shape == (24, 16)


def test_nothing_is_learned_or_chosen_from_test_speakers(
    smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With others in their place nets and threshold are the same to the last bit."""
    load = speakers.load

    def others(*args: Any, **kwargs: Any) -> speakers.Speakers:
        data = load(*args, **kwargs)
        noise = np.random.default_rng(0).normal(0, 0.1, data.test.shape).astype(np.float32)
        return replace(data, test=noise)

    monkeypatch.setattr(speakers, "load", others)
    assert cli.main([*RUN, "--out", str(tmp_path / "run")]) == 0
    for path in (smoke / "models").iterdir():
        assert (tmp_path / "run" / "models" / path.name).read_bytes() == path.read_bytes()
    metrics = [json.loads((run / "summary.json").read_text())["metrics"] for run in (smoke, tmp_path / "run")]
    assert metrics[0] != metrics[1]


def test_the_courses_pickles_have_no_further_speakers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "hw4").mkdir()
    for name, people, samples in (("trs.pkl", 4, 3000), ("tes.pkl", 3, 4000)):
        rows = rng.normal(0, 0.1, (10 * people, samples)).astype(np.float32)
        (tmp_path / "hw4" / name).write_bytes(pickle.dumps(rows, protocol=2))
    sound_files.commands(tmp_path / "speech_commands", ("yes", "no"), people=6, published=False)
    out = tmp_path / "run"
    assert cli.main([*RUN, "--data-dir", str(tmp_path), "--out", str(out)]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert "the course's trs.pkl and tes.pkl" in summary["data"]["speakers"]["source"]
    assert summary["not_judged"] == {"test_accuracy_all": "there are 4 training speakers, and no others"}
    assert summary["metrics"].keys() == {name for name in METRICS if not name.endswith("_all")}


def test_speech_commands_before_librispeech(tmp_path: Path) -> None:
    sound_files.commands(tmp_path / "speech_commands", ("yes", "no", "up"), people=9, published=False)
    sound_files.speakers(tmp_path / "librispeech", [str(n) for n in range(9)], each=4)
    for corpus, wanted in (("any", "speech_commands"), ("librispeech", "librispeech")):
        settings = ["--set", f"corpus={corpus}", "--set", "utterances=4", "--set", "seconds=0.15"]
        out = tmp_path / f"run-{corpus}"
        assert cli.main([*RUN, *settings, "--data-dir", str(tmp_path), "--out", str(out)]) == 0
        source = json.loads((out / "summary.json").read_text())["data"]["speakers"]["source"]
        assert source.startswith(f"{wanted}: 6 training and 3 test speakers with 4 utterances")


def test_crashes_leave_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nets, optimisers, schedules, dropout and pairs go on where they were."""
    settings = ["--set", "epochs=3", "--set", "checkpoint_steps=1"]
    whole, crashed = tmp_path / "whole", tmp_path / "crashed"
    assert cli.main([*RUN, *settings, "--out", str(whole)]) == 0
    deaths = [1, 4, 8, 9, 15, 24]
    monkeypatch.setattr(Learner, "step", dying_after(Learner.step, deaths))
    with pytest.raises(CrashError):
        cli.main([*RUN, *settings, "--out", str(crashed)])
    for _ in deaths[1:]:
        with pytest.raises(CrashError):
            cli.main(["resume", str(crashed), "--quiet"])
    assert cli.main(["resume", str(crashed), "--quiet"]) == 0
    assert_same_run(crashed, whole)
    assert list(loops_of(crashed)) == ["first-fold1", "first-fold2", "all-fold1", "all-fold2"]
    for path in (whole / "models").iterdir():
        assert (crashed / "models" / path.name).read_bytes() == path.read_bytes()
    found, expected = (json.loads((run / "summary.json").read_text())["metrics"] for run in (crashed, whole))
    assert found == expected


def test_on_a_device_that_refuses_to_mix_with_numpy(tmp_path: Path) -> None:
    strict_backend.install()
    for device in ("cpu", "strict"):
        assert cli.main([*RUN, "--device", device, "--out", str(tmp_path / device)]) == 0
    found, expected = (json.loads((tmp_path / d / "summary.json").read_text())["metrics"] for d in ("strict", "cpu"))
    assert found == pytest.approx(expected, abs=0.03)


def test_too_few_speakers_for_the_folds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*RUN, "--set", "folds=3", "--out", str(tmp_path / "run")]) == 2
    assert "folds=3: 4 training speakers, expected 2 at least for each fold" in one_error_line(capsys)
    assert cli.main([*RUN, "--set", "batch=4", "--out", str(tmp_path / "run")]) == 2
    assert "a batch of 4 is more than the 2 examples" in one_error_line(capsys)


def test_full_profile_is_the_documents() -> None:
    config: Any = EXPERIMENT.profiles["full"]
    assert (config.speakers, config.test, config.utterances) == (50, 20, 10)
    assert config.pairs <= 45 and config.batch == 1
    assert TRANSFORM.bins == 513
    assert {claim.metric: claim.targets["full"] for claim in EXPERIMENT.claims} == {
        "test_accuracy": 0.75, "test_accuracy_all": 0.8,
    }  # fmt: skip
