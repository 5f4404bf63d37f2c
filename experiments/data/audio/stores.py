"""A folder or a zip archive as the same thing: names and the bytes behind them; nothing is ever unpacked."""

import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Protocol

from ..errors import DataError

MOST = 1 << 32  # bytes that an archive may have once it is decompressed
MOST_EACH = 1 << 26  # bytes of one file in it


class Store(Protocol):
    """Where files of a data set are."""

    root: Path

    def names(self) -> list[str]:
        """Paths of all files, in order, with forward slashes."""
        ...

    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises DataError when they cannot be had."""
        ...


class Folder:
    """Files below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        """Paths of all files below it, in order."""
        return sorted(p.relative_to(self.root).as_posix() for p in self.root.rglob("*") if p.is_file())

    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises DataError when they cannot be read."""
        try:
            return (self.root / name).read_bytes()
        except OSError as error:
            raise DataError(self.root / name, f"cannot be read: {error.strerror or error}") from None


class Zip:
    """Members of a zip archive, read in place.

    Raises:
        DataError: no whole archive; a member whose path is absolute or leads out of its folder, a link, encrypted,
            named twice, or too large, alone or all together.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            self._archive = zipfile.ZipFile(root)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise DataError(root, f"no whole zip archive ({' '.join(str(error).split())})") from None
        self._members: dict[str, zipfile.ZipInfo] = {}
        for member in self._archive.infolist():
            self._check(member)
            if not member.is_dir():
                self._members[member.filename] = member
        total = sum(member.file_size for member in self._members.values())
        if total > MOST:
            raise DataError(root, f"{total:,} bytes when decompressed, expected at most {MOST:,}")

    def _check(self, member: zipfile.ZipInfo) -> None:
        place, shown = PurePosixPath(member.filename), ascii(member.filename[:60])
        # orig_filename: what is written in the archive, before zipfile cuts it at a null byte.
        if place.is_absolute() or ".." in place.parts or any(c in member.orig_filename for c in "\\:\0"):
            raise DataError(self.root, f"member {shown} leads out of its folder; nothing was read")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise DataError(self.root, f"member {shown} is a link, expected files and folders alone")
        if member.flag_bits & 1:
            raise DataError(self.root, f"member {shown} is encrypted")
        if member.filename in self._members:
            raise DataError(self.root, f"holds {shown} twice")

    def names(self) -> list[str]:
        """Paths of all files in it, in order."""
        return sorted(self._members)

    def read(self, name: str) -> bytes:
        """The bytes of a member. Raises DataError when it is damaged or larger than is plausible."""
        member = self._members[name]
        if member.file_size > MOST_EACH:
            raise DataError(self.root / name, f"{member.file_size:,} bytes, expected at most {MOST_EACH:,}")
        try:
            with self._archive.open(member) as stream:
                raw = stream.read(member.file_size + 1)  # never more than the table of contents promised
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
            raise DataError(self.root / name, f"damaged in its archive ({' '.join(str(error).split())})") from None
        if len(raw) != member.file_size:
            raise DataError(self.root / name, f"{len(raw):,} of {member.file_size:,} bytes in its archive")
        return raw


def store(path: Path) -> Store:
    """A store for a folder or an archive, told apart by what it is."""
    return Folder(path) if path.is_dir() else Zip(path)
