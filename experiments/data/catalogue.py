"""The data sets that `python -m experiments data` knows."""

from pathlib import Path
from typing import Protocol

from . import cifar10, mnist, notmnist
from .audio import sets


class DataSet(Protocol):
    """What a loader module offers to the command line."""

    TITLE: str
    FOLDER: str

    @property
    def ADDRESSES(self) -> tuple[str, ...]:
        """Where it can be downloaded from; none when the user must get it."""
        ...

    def status(self, data_dir: Path) -> tuple[str, str]:
        """State (`complete`, `other`, `absent`, `bad`) and one line about it."""
        ...

    def download(self, data_dir: Path, addresses: tuple[str, ...] = ...) -> None:
        """Puts the published files below `data_dir`."""
        ...

    def import_folder(self, source: Path, data_dir: Path) -> str:
        """Checks what `source` holds, copies it below `data_dir`, and says in one line what it is."""
        ...


DATA_SETS: dict[str, DataSet] = {
    "mnist": mnist,
    "cifar10": cifar10,
    "notmnist": notmnist,
    "denoising": sets.DENOISING,
    "speakers": sets.SPEAKERS,
    "keywords": sets.KEYWORDS,
    "music": sets.MUSIC,
}
