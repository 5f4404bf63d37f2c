"""The metrics of a run: one JSON object per line, appended as they come, cut back to the checkpoint on resume."""

import json
import os
from pathlib import Path
from typing import Any

from .errors import UserError

KEYS = ("loop", "epoch", "step")  # what a row has beside its values


class MetricsLog:
    """Rows in memory and in a file.

    Args:
        path: the file.
        length: bytes of an existing file that count; what follows was written after the last checkpoint and is cut off.
        write: False leaves the file as it is and keeps new rows in memory alone.

    Raises:
        UserError: the file is shorter than `length` or not JSON lines.
    """

    def __init__(self, path: Path, length: int, *, write: bool = True) -> None:
        self.rows = read_rows(path, length) if length else []
        self._file = None
        if write:
            self._file = path.open("ab")
            self._file.truncate(length)

    def append(self, row: dict[str, Any]) -> None:
        """Adds a row. Raises OSError when it cannot be written."""
        self.rows.append(row)
        if self._file is not None:
            self._file.write(json.dumps(row).encode() + b"\n")
            self._file.flush()

    def settled(self) -> int:
        """Length in bytes, once all rows are on the disk."""
        if self._file is None:
            return 0
        self._file.flush()
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()


def read_rows(path: Path, length: int | None = None) -> list[dict[str, Any]]:
    """Rows in the first `length` bytes of a metrics file, all whole lines when None. Raises UserError when damaged."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    if length is None:
        length = content.rfind(b"\n") + 1
    if len(content) < length:
        raise UserError(f"{path}: {len(content)} bytes, but the checkpoint was written after {length}")
    rows = []
    for number, line in enumerate(content[:length].splitlines(), 1):
        try:
            rows.append(json.loads(line))
        except ValueError:
            raise UserError(f"{path}: line {number} is not JSON") from None
    return rows
