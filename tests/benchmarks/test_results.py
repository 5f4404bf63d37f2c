"""From rounds to ratios, and the file they are kept in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import readme, report, scaling
from benchmarks.__main__ import main
from benchmarks.peers import OURS, OWN
from benchmarks.results import Results, UserError, load
from benchmarks.statistics import best_peer, disturbed, kept_rounds, quartiles, summarise

ROOT = Path(__file__).parents[2]
SETTINGS = {"device": "cpu", "threads": 2, "rounds": 5, "seconds": 0.3}
MACHINE = {"processor": "x", "processors": 2, "system": "y", "python": "3", "versions": {"numpy": "2"}}


def entry(**engines):
    found = {name: {"seconds": given} if isinstance(given, list) else given for name, given in engines.items()}
    return {
        "title": "a net", "flops": 4e6, "bytes": 1e6, "parameters": 10, "complete": True, "control": [1.0] * 5,
        "engines": found,
    }  # fmt: skip


def test_a_round_with_a_slow_control_does_not_count():
    control = [1.0, 1.1, 2.0, 1.0, 1.2]
    assert disturbed(control) == [False, False, True, False, False]
    assert kept_rounds(control) == [0, 1, 3, 4]
    assert kept_rounds([1.0, 1.0, 2.0, 2.0, 2.0]) == [0, 1, 2, 3, 4]  # too many to leave out


def test_ratios_are_formed_within_a_round():
    made = entry(tinygrad_hw=[1.0, 2.0, 3.0, 4.0, 5.0], jax=[2.0, 4.0, 6.0, 8.0, 10.0])
    found = summarise(made, {"flops": 4e6, "bytes": 1e9}, "tinygrad_hw")
    assert found["jax"]["ratio"] == {"median": 0.5, "low": 0.5, "high": 0.5}
    assert found["jax"]["ratios"] == {"tinygrad_hw": found["jax"]["ratio"]}
    assert found["tinygrad_hw"]["milliseconds"]["median"] == 3000.0
    assert found["tinygrad_hw"]["roof"] == pytest.approx(1 / 3)  # 4e6 operations at 4e6 a second, in 3 s


def test_the_roof_is_that_of_memory_where_memory_takes_longer():
    found = summarise(entry(tinygrad_hw=[1.0] * 5), {"flops": 1e12, "bytes": 2e6}, "tinygrad_hw")
    assert found["tinygrad_hw"]["roof"] == pytest.approx(0.5)


def test_a_round_that_was_interrupted_does_not_count():
    made = entry(tinygrad_hw=[1.0, 1.0, 9.0], jax=[2.0, 2.0])
    assert summarise(made, None, "tinygrad_hw")["tinygrad_hw"]["milliseconds"]["median"] == 1000.0
    assert summarise(entry(tinygrad_hw=[], jax=[]), None, "tinygrad_hw") == {}


def test_without_our_time_there_are_no_ratios():
    found = summarise(entry(tinygrad_hw={"reason": "failed"}, jax=[2.0] * 5), None, "tinygrad_hw")
    assert "ratio" not in found["jax"]


def test_quartiles_and_the_fastest_peer():
    assert quartiles([4.0, 1.0, 2.0, 3.0, 5.0]) == {"median": 3.0, "low": 2.0, "high": 4.0}
    rows = summarise(entry(tinygrad_hw=[1.0] * 5, torch=[3.0] * 5, jax=[2.0] * 5), None, "tinygrad_hw")
    assert best_peer(rows, ["tinygrad_hw"]) == "jax"
    assert best_peer({}, []) is None


def test_the_file_is_whole_at_any_time(tmp_path):
    path = tmp_path / "results.json"
    results = Results.begin(path, SETTINGS, MACHINE, False)
    assert load(path)["complete"] is False
    results.data["workloads"]["w1"] = entry(tinygrad_hw=[1.0] * 5)
    results.save()
    assert load(path)["workloads"]["w1"]["summary"]["tinygrad_hw"]["milliseconds"]["median"] == 1000.0
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]
    results.data["workloads"]["w1"]["control"] = {1, 2}  # JSON cannot hold a set
    with pytest.raises(TypeError):
        results.save()
    assert load(path)["workloads"]["w1"]["control"] == [1.0] * 5
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_a_run_is_continued_with_the_same_settings_alone(tmp_path):
    path = tmp_path / "results.json"
    Results.begin(path, SETTINGS, MACHINE, False)
    with pytest.raises(UserError, match="interrupted"):
        Results.begin(path, SETTINGS, MACHINE, False)
    with pytest.raises(UserError, match="threads 2, not 1"):
        Results.begin(path, SETTINGS | {"threads": 1}, MACHINE, True)
    with pytest.raises(UserError, match="another machine"):
        Results.begin(path, SETTINGS, MACHINE | {"processor": "z"}, True)
    continued = Results.begin(path, SETTINGS | {"workloads": ["w1"]}, MACHINE, True)
    continued.data["complete"] = True
    continued.save()
    assert Results.begin(path, SETTINGS, MACHINE, False).data["workloads"] == {}  # a finished one is replaced


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "is not JSON"), ("[]", "holds no figures"), ('{"format": 1}', "holds no figures"), (None, "cannot be read")],
)
def test_what_is_no_file_of_figures_is_said(text, words, tmp_path):
    path = tmp_path / "results.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=words):
        load(path)


def test_a_file_of_another_format_is_said(tmp_path):
    path = tmp_path / "results.json"
    Results.begin(path, SETTINGS, MACHINE, False)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(UserError, match="format 99, expected 1"):
        load(path)


def whole():
    made = entry(tinygrad_hw=[1.0] * 5, torch=[2.0] * 5, jax={"reason": "not timed: its loss is wrong | really"})
    made["engines"]["torch"]["blas"] = "MKL"
    data = {
        "format": 1, "complete": True, "settings": SETTINGS, "machine": MACHINE, "roof": {"flops": 1e9, "bytes": 1e9},
        "workloads": {"w1": made},
        "scaling": {
            "base": {"width": 512, "depth": 3, "batch": 128},
            "axes": {"batch": {"8": {"tinygrad_hw": quartiles([1.0]), "torch": quartiles([2.0])}, "32": {}}},
        },
        "accuracy": {
            "target": 0.94, "title": "net",
            "engines": {
                "tinygrad_hw": {"seconds": quartiles([1.0]), "epochs": quartiles([3])}, "torch": {"reason": "failed"},
            },
        },
    }  # fmt: skip
    made["summary"] = summarise(made, data["roof"], "tinygrad_hw")
    return data


def with_projection():
    """As :func:`whole`, with a workload that our engine runs in a second form."""
    data = whole()
    made = entry(tinygrad_hw=[9.0] * 5, **{"tinygrad_hw-subspace": [1.0] * 5}, torch=[10.0] * 5, jax=[8.0] * 5)
    made["summary"] = summarise(made, data["roof"], "tinygrad_hw", ["tinygrad_hw-subspace"])
    data["workloads"]["w5"] = made
    return data


def test_a_second_form_of_our_engine_has_ratios_of_its_own():
    data = with_projection()
    assert data["workloads"]["w5"]["summary"]["torch"]["ratios"]["tinygrad_hw-subspace"]["median"] == 0.1
    assert (
        "tinygrad_hw, warm-started subspace takes 0.125 of the time of the fastest peer, JAX, jit"
        in report.markdown(data)
    )


def test_the_readme_has_the_figures_of_the_file(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n")
    readme.rewrite(path, with_projection())
    lines = path.read_text().splitlines()
    assert lines[0] == "before" and lines[-1] == "after" and "old" not in lines
    assert "| w1: a net | 1000 | **0.500** (0.500 to 0.500) | – |" in lines
    assert "| w5: a net | 9000 | 0.900 (0.900 to 0.900) | **1.12** (1.12 to 1.12) |" in lines
    assert "| w5: warm-started subspace | 1000 | 0.100 (0.100 to 0.100) | **0.125** (0.125 to 0.125) |" in lines
    assert any(line.startswith("Measured on: x, 2 of 2 processors") for line in lines)
    once = path.read_text()
    readme.rewrite(path, with_projection())
    assert path.read_text() == once


@pytest.mark.parametrize(
    ("text", "words"), [("nothing here", "has no lines"), (None, "No such file")], ids=["no markers", "no file"]
)
def test_a_readme_without_a_place_for_figures_is_said(text, words, tmp_path, capsys):
    path, results = tmp_path / "README.md", tmp_path / "x.json"
    results.write_text(json.dumps(whole()))
    if text is not None:
        path.write_text(text)
    assert main(["report", str(results), "--readme", str(path)]) == 2
    error = capsys.readouterr().err
    assert words in error and error.startswith("error: ") and error.count("\n") == 1


def test_the_readme_of_this_repository_is_that_of_its_results():
    data = load(ROOT / "benchmarks" / "results" / "cpu.json")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.partition(readme.BEGIN)[2].partition(readme.END)[0] == f"\n{readme.digest(data)}\n"
    for entry in data["workloads"].values():
        stored = json.loads(json.dumps(entry["summary"]))
        assert stored == summarise(entry, data["roof"], OURS, OWN), "a summary is not that of its rounds"


def test_the_tables_say_everything(capsys):
    text = report.markdown(whole())
    assert "| PyTorch | 2000 | 0.500 | 0.500 to 0.500 |" in text
    assert "not timed: its loss is wrong \\| really" in text
    assert "tinygrad_hw takes 0.500 of the time of the fastest peer, PyTorch; 5 rounds." in text
    assert "ms a step by batch (width 512, depth 3)" in text and "94 % of 1,000 test digits" in text
    assert "products of torch: MKL" in text
    report.show(whole())
    assert "PyTorch" in capsys.readouterr().out


def test_the_figures_are_drawn(tmp_path):
    from benchmarks import figure

    drawn = figure.ratios(whole())
    figure.save(drawn, tmp_path / "a.svg")
    figure.save(figure.ratios(whole()), tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    figure.save(figure.growth(whole()["scaling"]), tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    empty = whole() | {"workloads": {}}
    assert figure.ratios(empty) is None


def test_growth_measures_each_size_once(monkeypatch):
    asked = []

    def side_by_side(workload, names, **settings):
        asked.append(workload.name)
        assert settings["whole"] is False
        return entry(tinygrad_hw=[1.0] * 5)

    monkeypatch.setattr(scaling, "side_by_side", side_by_side)
    kept = []
    axes = {"batch": (4, 8), "depth": (1,)}
    found = scaling.scaling(["tinygrad_hw"], {}, lambda line: None, lambda f: kept.append(json.dumps(f)), None, axes)
    assert asked == ["batch4", "batch8", "depth1"] and len(kept) == 3
    del found["axes"]["batch"]["8"]
    asked.clear()
    scaling.scaling(["tinygrad_hw"], {}, lambda line: None, kept.append, found, axes)
    assert asked == ["batch8"]
    assert scaling.variant("width", 64).sizes == (784, 64, 64, 64, 10)
    assert scaling.variant("batch", 8).batch == 8 and len(scaling.variant("depth", 8).activations) == 8
