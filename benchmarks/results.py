"""The file of figures: written whole after every round, so that what was measured survives whatever comes."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.peers import OURS, OWN
from benchmarks.statistics import summarise

FORMAT = 1
# A run is continued only where these are equal.
_SAME = ("device", "threads", "rounds", "seconds")


class UserError(Exception):
    """What the user can put right, in a line."""


class Results:
    """All figures of a run.

    Args:
        path: where they go; None keeps them in memory.
        data: what a run that is continued has found so far.

    Attributes:
        data: plain data: format, complete, settings, machine, roof, workloads, and scaling and accuracy if asked for.
    """

    def __init__(self, path: Path | None, data: dict[str, Any]) -> None:
        self.path, self.data = path, data

    @staticmethod
    def begin(path: Path | None, settings: Mapping[str, Any], machine: Mapping[str, Any], resume: bool) -> Results:
        """New, or continued from the file.

        Raises UserError when the file cannot be written, or holds an interrupted run and ``resume`` is not set, or
        ``resume`` is and there is none with the same settings.
        """
        new: dict[str, Any] = {
            "format": FORMAT, "complete": False, "settings": dict(settings), "machine": dict(machine), "roof": None,
            "workloads": {},
        }  # fmt: skip
        if resume:
            if path is None or not path.exists():
                raise UserError(f"--resume: there is no run to continue in {path}" if path else "--resume needs --json")
            data = load(path)
            for key in _SAME:
                if data["settings"].get(key) != settings[key]:
                    raise UserError(
                        f"{path}: was measured with {key} {data['settings'].get(key)}, not {settings[key]}: give the "
                        "same settings to continue it"
                    )
            if data["machine"] != dict(machine):
                raise UserError(f"{path}: was measured on another machine or with other versions")
            data["settings"], data["complete"] = dict(settings), False
            return Results(path, data)
        if path is not None and path.exists():
            try:
                interrupted = not load(path)["complete"]
            except UserError:
                interrupted = False  # no results: the user has named a file to overwrite
            if interrupted:
                raise UserError(f"{path}: holds an interrupted run: continue it with --resume, or remove it")
        results = Results(path, new)
        results.save()
        return results

    def discard(self) -> None:
        """Remove the file of a run that could not begin."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def save(self) -> None:
        """Replace the file; the previous one survives any failure. Raises UserError when it cannot be written."""
        self.data["workloads"] = dict(sorted(self.data["workloads"].items()))  # whatever the order of several runs
        for entry in self.data["workloads"].values():
            entry["summary"] = summarise(entry, self.data["roof"], OURS, OWN)
        if self.path is None:
            return
        try:
            descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    json.dump(self.data, file, indent=1)
                    file.write("\n")
                os.chmod(name, 0o644)
                os.replace(name, self.path)
            except BaseException:
                os.unlink(name)
                raise
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written: {error.strerror}") from error


def load(path: Path) -> dict[str, Any]:
    """The figures in a file; raises UserError when it cannot be read or holds something else."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError:
        raise UserError(f"{path}: is not JSON") from None
    if not isinstance(data, dict) or not {"format", "workloads", "machine", "settings"} <= set(data):
        raise UserError(f"{path}: holds no figures of `python -m benchmarks run`")
    if data["format"] != FORMAT:
        raise UserError(f"{path}: is of format {data['format']}, expected {FORMAT}")
    found: dict[str, Any] = data
    return found
