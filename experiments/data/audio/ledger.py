"""What happened to the files of a data set while they were read: counted, with one example of each."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..errors import DataError
from .sound import Sound, read


class Ledger:
    """Reads sound files and keeps count.

    Attributes:
        changed: how many files were resampled or mixed down, by what was done.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._left_out: dict[str, list[str]] = {}
        self.changed: dict[str, int] = {}

    def read(
        self, path: Path, rate: int, *, raw: bytes | None = None, silence: bool = False, **part: float | None
    ) -> np.ndarray | None:
        """The samples of a file as `sound.read` gives them; None, noted as skipped, when it cannot be used."""
        try:
            found = read(path, rate, raw=raw, silence=silence, **part)  # type: ignore[arg-type]
        except DataError as error:
            self.skip(path, str(error).removeprefix(f"{path}: "))
            return None
        self.note(found)
        return found.samples

    def note(self, found: Sound) -> None:
        """Counts what was done to a sound."""
        for note in found.notes:
            self.changed[note] = self.changed.get(note, 0) + 1

    def skip(self, path: Path, reason: str, what: str = "file") -> None:
        """Notes a file, or another thing, that cannot be used."""
        name = path.relative_to(self.root) if path.is_relative_to(self.root) else path
        self._left_out.setdefault(what, []).append(f"{name.as_posix()}: {reason}")

    @property
    def skipped(self) -> tuple[str, ...]:
        """What could not be used, `name: reason` each, by kind of thing."""
        return tuple(line for lines in self._left_out.values() for line in lines)

    def summary(self) -> str:
        """What to add to the line about the source: empty, or `; ...` with counts and the first skipped file."""
        parts = [f"{_number(count, 'file')} {note}" for note, count in sorted(self.changed.items())]
        for what, lines in self._left_out.items():
            example = f"the first: {lines[0]}" if len(lines) > 1 else lines[0]
            parts.append(f"{_number(len(lines), what)} skipped ({example})")
        return "".join(f"; {part}" for part in parts)


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def digest(items: Iterable[object]) -> str:
    """SHA-256 of arrays and texts, equal exactly when they are."""
    whole = hashlib.sha256()
    for item in items:
        if isinstance(item, np.ndarray):
            whole.update(repr((item.dtype.str, item.shape)).encode())
            whole.update(np.ascontiguousarray(item).data)
        else:
            whole.update(repr(item).encode())
    return whole.hexdigest()
