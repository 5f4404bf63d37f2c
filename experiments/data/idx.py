"""The idx format: two zero bytes, a type code, the number of dimensions, their sizes (big-endian), then the values.

Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", section "File formats".
"""

import gzip
import hashlib
import io
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from .errors import DataError

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP_MAGIC = b"\x1f\x8b"


def read_idx(path: Path, ndim: int | None = None, code: int | None = None) -> np.ndarray:
    """Reads an idx file, gzipped or not (told apart by its first bytes, not by its name).

    Args:
        path: the file.
        ndim: the number of dimensions it must have; any when None.
        code: the idx type code it must have, such as 0x08 for unsigned bytes; any when None.

    Returns:
        The values in native byte order, in the file's shape.

    Raises:
        DataError: not idx, another kind of idx, shorter or longer than its header says, or damaged gzip data.
    """
    return _parse(path, io.BytesIO(content(path)), ndim, code)


def content(path: Path) -> bytes:
    """The file's bytes, decompressed when gzipped. Raises DataError for damaged gzip data or an unreadable file."""
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == GZIP_MAGIC
        with cast(BinaryIO, gzip.open(path, "rb")) if zipped else path.open("rb") as stream:
            return _read_all(path, stream)
    except OSError as error:
        if isinstance(error, gzip.BadGzipFile):
            raise DataError(path, f"damaged gzip data: {error}") from None
        raise DataError(path, f"cannot be read: {error.strerror or error}") from None


def sha256(path: Path) -> str:
    """SHA-256 of the decompressed content, so that one sum serves a file whether it is gzipped or not."""
    return hashlib.sha256(content(path)).hexdigest()


def _read_all(path: Path, stream: BinaryIO) -> bytes:
    pieces: list[bytes] = []
    try:
        while piece := stream.read(1 << 20):
            pieces.append(piece)
    except EOFError:
        raise DataError(path, f"truncated gzip data after byte {sum(map(len, pieces))} of its content") from None
    except zlib.error as error:
        raise DataError(path, f"damaged gzip data: {error}") from None
    return b"".join(pieces)


def _parse(path: Path, stream: io.BytesIO, ndim: int | None, code: int | None) -> np.ndarray:
    total = stream.getbuffer().nbytes
    magic = stream.read(4)
    if len(magic) < 4:
        raise DataError(path, f"ends at byte {total}, expected an idx header of at least 4 bytes")
    found_code, found_ndim = magic[2], magic[3]
    wanted = f"{code or 0x08:04x}{ndim or 1:02x}"
    if magic[:2] != b"\0\0" or found_code not in DTYPES or (code or found_code) != found_code:
        raise DataError(path, f"byte 0: magic number 0x{magic.hex()}, expected 0x{wanted:0>8} (idx)")
    if ndim is not None and found_ndim != ndim:
        raise DataError(path, f"byte 3: magic number 0x{magic.hex()} means {found_ndim} dimensions, expected {ndim}")
    sizes = stream.read(4 * found_ndim)
    if len(sizes) < 4 * found_ndim:
        raise DataError(path, f"ends at byte {total}, expected {4 * found_ndim} bytes of sizes from byte 4")
    shape = struct.unpack(f">{found_ndim}I", sizes)
    dtype = np.dtype(DTYPES[found_code])
    header = 4 + 4 * found_ndim
    expected = header + math.prod(shape) * dtype.itemsize
    if total != expected:
        sizes_text = " x ".join(map(str, shape)) or "1"
        kind = "truncated" if total < expected else "too long"
        raise DataError(path, f"{kind}: {total} bytes, expected {expected} for {sizes_text} values after the header")
    values = np.frombuffer(stream.getbuffer(), dtype, offset=header).reshape(shape)
    return values.astype(dtype.newbyteorder("="))
