"""TensorBoard event files beside the metrics, written by tensorboardX when a run was asked for them."""

import importlib
import importlib.util
import shutil
from pathlib import Path
from typing import Any

from .errors import UserError
from .metrics import KEYS


def check_tensorboard() -> None:
    """Raises UserError when the library is missing."""
    if importlib.util.find_spec("tensorboardX") is None:
        raise UserError("--tensorboard: needs tensorboardX, which is not installed: pip install tensorboardX")


class EventFile:
    """Scalars named `LOOP/VALUE` by epoch, for `tensorboard --logdir`.

    Args:
        folder: made anew, so that a resumed run shows nothing twice.
        rows: the metrics so far.
    """

    def __init__(self, folder: Path, rows: list[dict[str, Any]]) -> None:
        check_tensorboard()
        shutil.rmtree(folder, ignore_errors=True)
        self._writer = importlib.import_module("tensorboardX").SummaryWriter(str(folder))
        for row in rows:
            self.add(row)

    def add(self, row: dict[str, Any]) -> None:
        """Adds a row of the metrics."""
        for name, value in row.items():
            if name not in KEYS:
                self._writer.add_scalar(f"{row['loop']}/{name}", value, row["epoch"])
        self._writer.flush()

    def close(self) -> None:
        """Writes what is left."""
        self._writer.close()
