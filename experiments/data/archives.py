"""Files out of a tar archive, read in place: nothing is unpacked, and one that could do harm is refused whole."""

import gzip
import tarfile
import zlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any

from .errors import DataError

MOST = 1 << 29  # bytes that an archive may have once it is decompressed


class _Bounded:
    """A stream that ends in a DataError after :data:`MOST` bytes, whatever its headers make tarfile read."""

    def __init__(self, path: Path, stream: Any) -> None:
        self.path, self.stream, self.total = path, stream, 0

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`."""
        data: bytes = self.stream.read(size)
        self.total += len(data)
        if self.total > MOST:
            raise DataError(self.path, f"takes more than {MOST:,} bytes, expected a published archive")
        return data


def members(path: Path, wanted: Collection[str]) -> dict[str, bytes]:
    """The bytes of the members whose last part of the path is one of `wanted`.

    Args:
        path: a tar file, compressed by gzip or not.
        wanted: names without folders.

    Returns:
        What is there, by name.

    Raises:
        DataError: damaged or truncated, a member whose path is absolute or leads out of its folder, a link, a device,
            one name twice, or more than 512 MiB in all.
    """
    found: dict[str, bytes] = {}
    try:
        with (
            path.open("rb") as file,
            gzip.open(file) if file.peek(2)[:2] == b"\x1f\x8b" else file as stream,
            tarfile.open(mode="r|", fileobj=_Bounded(path, stream)) as archive,  # type: ignore[call-overload]
        ):
            for member in archive:
                _check(path, member)
                if member.size > MOST:
                    raise DataError(path, f"takes more than {MOST:,} bytes, expected a published archive")
                name = PurePosixPath(member.name).name
                if not member.isfile() or name not in wanted:
                    continue
                if name in found:
                    raise DataError(path, f"holds {name} twice")
                stream = archive.extractfile(member)
                found[name] = stream.read() if stream else b""
                if len(found[name]) != member.size:
                    raise DataError(path, f"truncated: {name} has {len(found[name]):,} of {member.size:,} bytes")
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise DataError(path, f"no whole tar archive: {' '.join(str(error).split()) or type(error).__name__}") from None
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from None
    return found


def _check(path: Path, member: tarfile.TarInfo) -> None:
    place, shown = PurePosixPath(member.name), ascii(member.name[:60])
    if place.is_absolute() or ".." in place.parts or "\\" in member.name:
        raise DataError(path, f"member {shown} leads out of its folder; nothing was read")
    if not (member.isreg() or member.isdir()):
        kind = "a link" if member.issym() or member.islnk() else "a device or the like"
        raise DataError(path, f"member {shown} is {kind}, expected files and folders alone")
