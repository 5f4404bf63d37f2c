"""The runner, with real worker processes on tiny nets: tables, files, interruptions, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from benchmarks import measure, run
from benchmarks.__main__ import main
from benchmarks.convolutional import Convolutional
from benchmarks.engines import EngineError, Process, environment
from benchmarks.peers import ENGINES
from benchmarks.workloads import Dense, dense

TINY = {
    "t1": Dense("t1", "tiny net", 8, "sgd", 0.1, 0, (6, 5, 3), ("relu",)),
    "t5": dense("t5", 8, 1, 8, rank=2),
}
FAST = ["--rounds", "2", "--seconds", "0.005", "--threads", "1", "--peers", "autograd"]

pytestmark = pytest.mark.skipif(ENGINES["autograd"].missing(), reason="autograd is not installed")


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    for module in ("benchmarks.run", "benchmarks.workloads"):
        monkeypatch.setattr(f"{module}.WORKLOADS", TINY)
    roof = {"flops": 1e9, "bytes": 1e9}
    monkeypatch.setattr(run, "_raise_roof", lambda options, results: results.data.update(roof=roof))


def test_a_run_from_end_to_end(tmp_path, capsys):
    path, figure = tmp_path / "results.json", tmp_path / "ratios.svg"
    assert main(["run", "--workloads", "t1,t5", *FAST, "--json", str(path), "--figure", str(figure)]) == 0
    out, err = capsys.readouterr()
    assert "tiny net" in out and "autograd" in out and "of the time of the fastest peer, autograd" in out
    assert "t1: autograd: same loss" in err
    data = json.loads(path.read_text())
    assert data["complete"] and data["settings"]["threads"] == 1 and data["machine"]["versions"]["numpy"]
    assert list(data["workloads"]) == ["t1", "t5"]
    assert list(data["workloads"]["t1"]["engines"]) == ["tinygrad_hw", "autograd"]
    assert list(data["workloads"]["t5"]["engines"]) == ["tinygrad_hw", "tinygrad_hw-subspace", "autograd"]
    for entry in data["workloads"].values():
        assert entry["complete"] and len(entry["control"]) == 2
        for name, engine in entry["engines"].items():
            assert len(engine["seconds"]) == len(engine["cpu_seconds"]) == 2 and min(engine["seconds"]) > 0
            assert "1 thread" in engine["blas"] and engine["versions"]["numpy"]
            assert engine["array_bytes"] > 0
            summary = entry["summary"][name]
            assert summary["ratio"]["low"] <= summary["ratio"]["median"] <= summary["ratio"]["high"]
            assert summary["roof"] > 0
    assert figure.read_text().startswith("<?xml") and not list(tmp_path.glob(".results*"))

    assert main(["report", str(path), "--markdown"]) == 0
    assert "| autograd |" in capsys.readouterr().out
    assert main(["report", str(path), "--figure", str(tmp_path / "again.png")]) == 0
    assert (tmp_path / "again.png").stat().st_size > 1000
    assert "tiny net" in capsys.readouterr().out


def test_an_interrupted_run_keeps_its_figures_and_goes_on(tmp_path, monkeypatch, capsys):
    path, said = tmp_path / "results.json", []

    def interrupting(line):
        said.append(line)
        if line.startswith("t5: autograd"):
            raise KeyboardInterrupt

    monkeypatch.setattr(run, "say", interrupting)
    begin = ["run", "--workloads", "t1", "t5", *FAST, "--json", str(path)]
    assert main(begin) == 130
    data = json.loads(path.read_text())
    assert not data["complete"] and data["workloads"]["t1"]["complete"]
    kept = data["workloads"]["t1"]["engines"]["tinygrad_hw"]["seconds"]
    assert "continue with --resume" in said[-1]

    monkeypatch.setattr(run, "say", said.append)
    capsys.readouterr()
    assert main(begin) == 2
    assert "holds an interrupted run" in capsys.readouterr().err
    assert main([*begin, "--resume", "--rounds", "3"]) == 2
    assert "was measured with rounds 2, not 3" in capsys.readouterr().err
    assert main([*begin, "--resume"]) == 0
    data = json.loads(path.read_text())
    assert data["complete"] and set(data["workloads"]) == {"t1", "t5"}
    assert data["workloads"]["t1"]["engines"]["tinygrad_hw"]["seconds"] == kept
    assert "t1: measured before" in said


class Pretended:
    """A process that answers as it is told."""

    def __init__(self, losses=(1.0, 0.5), fails_at=None):
        self.losses, self.fails_at, self.asked = list(losses), fails_at, []

    def ask(self, do, **arguments):
        self.asked.append(do)
        if do == self.fails_at:
            raise EngineError("its process ended: Killed")
        return {
            "warm": {},
            "hello": {"blas": "none"},
            "build": {"losses": self.losses},
            "time": {"seconds": arguments.get("repeats", 0) * 1e-3, "cpu_seconds": 1e-3},
        }[do]


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ((1.0 + 1e-6, 0.5), None),
        ((1.001, 0.5), "loss after 1 steps is 1.001, ours 1"),
        ((1.0, 0.51), "loss after 3 steps is 0.51, ours 0.5"),
        ((1.0, float("nan")), "loss after 3 steps is nan"),
    ],
)
def test_an_engine_with_another_loss_is_not_timed(losses, words):
    process = Pretended(losses)
    before = {"tinygrad_hw": {"losses": [1.0, 0.5]}}
    found = measure._prepared("jax", process, TINY["t1"], before, 0.1, True)
    if words is None:
        assert found["repeats"] == 100 and found["seconds"] == []
        assert process.asked[:3] == ["hello", "warm", "build"]
    else:
        assert words in found["reason"] and "time" not in process.asked


def test_an_engine_that_fails_is_said_and_left_out():
    found = measure._prepared("jax", Pretended(fails_at="build"), TINY["t1"], {}, 0.1, False)
    assert found == {"reason": "its process ended: Killed"}


def test_a_round_is_about_as_long_as_asked():
    assert measure._repeats(Pretended(), 0.2) == 200
    assert measure._repeats(Pretended(), 1e-4) == 1
    assert measure._repeats(Pretended(), 1e6) == 20_000


def test_a_worker_says_in_a_line_why_it_cannot():
    with Process("control", "gpu", 1) as process, pytest.raises(EngineError, match="DeviceError: unknown device 'gpu'"):
        process.ask("hello")


def test_a_worker_that_dies_is_noticed():
    with Process("autograd", "cpu", 1) as process:
        process._process.kill()
        with pytest.raises(EngineError, match="its process ended"):
            process.ask("hello")


def test_every_library_gets_as_many_threads():
    found = environment(3, {"PATH": "/bin"})
    assert found["PATH"] == "/bin"
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "NPROC"):
        assert found[name] == "3"


def test_a_name_may_stand_for_several_workloads(monkeypatch):
    monkeypatch.setattr(run, "TOGETHER", {"t": ["t1", "t5"]})
    assert run.chosen_workloads(["t5", "t"]) == ["t5", "t1"]
    assert run.chosen_workloads(["t"]) == run.chosen_workloads(None) == ["t1", "t5"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--workloads", "t11"], "unknown workload 't11'; did you mean 't1'?"),
        (["--peers", "torhc"], "unknown peer 'torhc'; did you mean 'torch'?"),
        (["--figure", "x.pdf"], "must end in .svg or .png"),
        (["--resume"], "--resume needs --json"),
        (["--resume", "--json", "nowhere.json"], "no run to continue"),
        (["--device", "gpu"], "expected cpu, cuda or cuda:N"),
        (["--device", "cpu:1"], "expected cpu, cuda or cuda:N"),
        (["--json", "/nonexistent/folder/x.json"], "no folder"),
        (["--json", "/"], "is a folder"),
        (["--rounds", "0"], "expected a positive whole number"),
        (["--seconds", "-1"], "expected seconds above 0"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_status_2(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        status = main(["run", *arguments])
    except SystemExit as stop:
        status = stop.code
    err = capsys.readouterr().err
    assert status == 2 and words in err and err.startswith("error: ") and err.count("\n") == 1


def test_a_peer_that_is_missing_is_said(monkeypatch, capsys):
    monkeypatch.setattr(type(ENGINES["jax"]), "missing", lambda self: self.package == "jax")
    assert main(["run", "--workloads", "none", "--peers", "jax"]) == 2
    assert "peer jax: jax is not installed: pip install -e '.[bench]'" in capsys.readouterr().err
    assert "jax" not in run.chosen_engines(None)
    assert "JAX, jit: not installed, left out" in capsys.readouterr().err


def test_a_peer_comes_in_all_its_forms_where_they_differ(monkeypatch):
    monkeypatch.setattr(type(ENGINES["jax"]), "missing", lambda self: False)
    assert run.chosen_engines(["jax", "torch"])[2:] == ["jax", "torch", "torch-channels-last"]
    assert run.chosen_engines(["torch-channels-last", "torch"])[2:] == ["torch-channels-last", "torch"]
    images = Convolutional("t3", "", 2, "sgd", 0.1, 0, ("conv2@3", "flatten", "dense3"), (1, 4, 4))
    for workload, forms in (
        (TINY["t1"], {"torch"}),
        (TINY["t5"], {"torch", "tinygrad_hw-subspace"}),
        (images, {"torch", "torch-channels-last"}),
    ):
        suited = {name for name, engine in ENGINES.items() if engine.suits(workload)}
        assert suited & {"torch", "torch-channels-last", "tinygrad_hw-subspace"} == forms


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_file_that_cannot_be_written_is_noticed_before_measuring(tmp_path, capsys):
    tmp_path.chmod(0o500)
    assert main(["run", "--workloads", "t1", *FAST, "--json", str(tmp_path / "x.json")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_missing_gpu_is_one_line_and_leaves_no_file(tmp_path):
    path = tmp_path / "results.json"
    command = [sys.executable, "-m", "benchmarks", "run", "--device", "cuda", "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode == 0:
        pytest.skip("there is a GPU")
    assert done.returncode == 2 and not path.exists()
    assert done.stderr.splitlines()[-1].startswith("error: device 'cuda' needs")
