"""The folder of one run: what was asked for, the checkpoint, the metrics, the summary, the report."""

import contextlib
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .config import from_dict, settings
from .errors import UserError

_WORTHLESS = {"run.json", ".lock", "figures", "metrics.jsonl", "tensorboard"}  # as long as they are empty
RUNS = Path("runs")  # where runs go that are given no other place


@settings
class Order:
    """What a run was asked to do; kept in `run.json`, so that `resume` needs only the folder."""

    experiment: str
    profile: str
    seed: int
    device: str
    data_dir: str | None
    check: bool
    config: dict[str, Any]
    tensorboard: bool = False


class RunFolder:
    """Paths and small files of a run.

    Attributes:
        made: the folders around it that `create` made for it, innermost first; None for the folder of an earlier run.
    """

    def __init__(self, path: Path, made: Sequence[Path] | None = None) -> None:
        self.path, self.made = path, made
        self.order = path / "run.json"
        self.checkpoint = path / "checkpoint.safetensors"
        self.metrics = path / "metrics.jsonl"
        self.summary = path / "summary.json"
        self.report = path / "report.html"
        self.figures = path / "figures"
        self.sounds = path / "sounds"
        self.models = path / "models"
        self.tensorboard = path / "tensorboard"

    @classmethod
    def create(cls, path: Path, *, numbered: bool) -> "RunFolder":
        """Makes a folder for a new run.

        Args:
            path: wanted. An existing empty folder is taken.
            numbered: when the folder holds something already, take the first free of `PATH-2`, `PATH-3`, ... instead of
                refusing.

        Raises:
            UserError: it cannot be made or written to, or it holds something and `numbered` is False.
        """
        for number in range(1, 10_000):
            candidate = path if number == 1 else path.with_name(f"{path.name}-{number}")
            missing = [folder for folder in candidate.parents if not folder.exists()]
            try:
                candidate.parent.mkdir(parents=True, exist_ok=True)
                if _made(candidate) or (not numbered and not any(candidate.iterdir())) or _left_unused(candidate):
                    _probe(candidate)
                    return cls(candidate, missing)
            except OSError as error:
                raise UserError(f"{candidate}: output folder cannot be written: {error.strerror}") from None
            if not numbered:
                break
        held = "a run: continue it by `resume`, or give" if (candidate / "run.json").exists() else "files: give"
        raise UserError(f"{candidate}: output folder holds {held} another --out")

    def discard_unused(self) -> None:
        """Removes the folder again, if `create` gave it to this run, which has left nothing in it but its order."""
        if self.made is None or not _left_unused(self.path):
            return
        with contextlib.suppress(OSError):  # one that may not be removed, or that another run is in
            shutil.rmtree(self.path)
            for folder in self.made:
                folder.rmdir()

    @classmethod
    def existing(cls, path: Path) -> "RunFolder":
        """The folder of an earlier run. Raises UserError when it is none."""
        folder = cls(path)
        if not folder.order.is_file():
            raise UserError(f"{path}: no run in this folder (run.json is missing)")
        return folder

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from running in this folder at the same time. Raises UserError when one does."""
        with (self.path / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(f"{self.path}: another process is running in this folder") from None
            for abandoned in self.path.rglob(".*.tmp"):  # by a process killed in the middle of writing
                abandoned.unlink()
            yield

    def write_order(self, order: Order) -> None:
        """Writes `run.json`."""
        write_json(self.order, {name: getattr(order, name) for name in Order.__annotations__})

    def read_order(self) -> Order:
        """Reads `run.json`. Raises UserError when it is damaged."""
        try:
            return from_dict(Order, read_json(self.order))
        except UserError as error:
            raise UserError(f"{self.order}: {error}" if str(self.order) not in str(error) else str(error)) from None


def default_path(experiment: str, profile: str, seed: int, assignments: list[str]) -> Path:
    """`runs/EXPERIMENT-PROFILE-seedN`, followed by the changed settings: the same command gives the same name."""
    parts = [f"{experiment}-{profile}-seed{seed}", *(re.sub(r"[^\w.=+]+", "_", text) for text in sorted(assignments))]
    return RUNS / "-".join(parts)[:120]


def _made(path: Path) -> bool:
    try:
        path.mkdir()
    except FileExistsError:
        return False
    return True


def _left_unused(path: Path) -> bool:
    """Whether a run was begun here, failed before its first checkpoint (missing data, say), and left nothing."""
    held = {item.name: item for item in path.iterdir()}
    if "run.json" not in held or not set(held) <= _WORTHLESS:
        return False
    if any(held["figures"].iterdir() if "figures" in held else ()):
        return False
    if "metrics.jsonl" in held and held["metrics.jsonl"].stat().st_size:
        return False
    with (path / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False  # it is only just beginning
    return True


def _probe(path: Path) -> None:
    probe = path / ".probe"
    probe.write_bytes(b"")
    probe.unlink()


def write_json(path: Path, content: Any) -> None:
    """Writes JSON so that the file is either the old one or the whole new one."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes text so that the file is either the old one or the whole new one. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object. Raises UserError when there is none or it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a JSON object, found {type(content).__name__}")
    return content
