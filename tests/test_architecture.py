"""The house rules that a machine can hold: which room may import which, file sizes, docstrings."""

from __future__ import annotations

import ast
import inspect
import types
from pathlib import Path

import pytest

import tinygrad_hw as tg

ROOT = Path(__file__).parents[1]
PACKAGES = ("tinygrad_hw", "reference", "experiments", "benchmarks")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TAPE = {"tensor", "autograd", "backward_pass", "derivatives", "anomaly", "gradcheck", "functional", "nn", "optim"}


def imports(path: Path) -> set[str]:
    """Every module that ``path`` imports, anywhere in it; ``from a import b`` counts as a and a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms(path: Path) -> set[str]:
    """The modules of the engine, by their first name below tinygrad_hw, that ``path`` imports."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("tinygrad_hw.")}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imports_run_one_way(path):
    package, place = relative(path).split("/")[0], relative(path)
    names = {name.split(".")[0] for name in imports(path)}
    if package == "tinygrad_hw":
        assert not names & {"reference", "experiments", "benchmarks", "tests"}
        if place.startswith("tinygrad_hw/functional/"):
            assert not rooms(path) & {"nn", "optim", "derivatives", "serialization"}
        if place.startswith("tinygrad_hw/kernels/"):
            assert not rooms(path) - {"backend", "kernels"}
        if place in ("tinygrad_hw/backend.py", "tinygrad_hw/versions.py"):
            assert not rooms(path) - {"backend"}
    if package == "reference" and place.split("/")[1] not in ("agreement.py", "cases.py", "mutation.py", "__main__.py"):
        assert not rooms(path) & TAPE, "an oracle must not know the tape"
        assert "tinygrad_hw" not in imports(path)
    if package in ("reference", "experiments"):
        assert "benchmarks" not in names and "tests" not in names


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_optional_libraries_stay_in_their_room(path):
    names = {name.split(".")[0] for name in imports(path)}
    place = relative(path)
    if place != "tinygrad_hw/backend.py" and not place.startswith("tinygrad_hw/kernels/"):
        assert not names & {"cupy", "cupyx"}
    if not place.startswith("tinygrad_hw/kernels/"):
        assert "numba" not in names
    if place not in ("reference/agreement.py", "reference/__main__.py") and not place.startswith("benchmarks/"):
        assert "torch" not in names


@pytest.mark.parametrize("path", [*SOURCES, *sorted((ROOT / "tests").rglob("*.py"))], ids=relative)
def test_files_stay_small_and_imports_stay_explicit(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 500
    starred = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.ImportFrom) and n.names[0].name == "*"]
    assert not starred
    assert "sys.path" not in text or path.name == Path(__file__).name


def public_objects() -> list[tuple[str, object]]:
    found = []
    for module in (tg, tg.functional, tg.nn, tg.nn.init, tg.optim, tg.serialization, tg.random):
        for name, value in vars(module).items():
            if (
                not name.startswith("_")
                and callable(value)
                and getattr(value, "__module__", "").startswith("tinygrad_hw")
            ):
                found.append((f"{module.__name__}.{name}", value))
    return found


@pytest.mark.parametrize(("name", "value"), public_objects(), ids=lambda v: v if isinstance(v, str) else "")
def test_what_is_public_is_documented(name, value):
    assert not isinstance(value, types.ModuleType)
    assert inspect.getdoc(value) and len(inspect.getdoc(value)) > 15, f"{name} has no docstring"
