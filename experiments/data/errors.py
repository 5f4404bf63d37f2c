"""The one exception that loaders raise."""

from pathlib import Path


class DataError(ValueError):
    """Data that cannot be used; says in one line the file, the byte or row, what was found and what was expected."""

    def __init__(self, path: Path | str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = Path(path)
