"""Arrays from pickle files, without running anything that the files ask for.

A pickle is a program: loading it may call any function by name. Here the names that a pickled NumPy array needs stand
for inert records, every other name is refused, and the array is made from the records at the end: neither the pickle
nor NumPy's own unpickling code decides what happens. Pickles of Python 2 and 3, protocols 0 to 5, NumPy 1 and 2.
"""

import io
import math
import pickle
import pickletools
import re
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

import numpy as np

from .errors import DataError
from .idx import content

T = TypeVar("T")
KINDS = {"b": "booleans", "i": "whole numbers", "u": "whole numbers", "f": "real numbers"}
CODE = re.compile(r"b1|[iu][1248]|f[248]")
ORDERS: dict[str, Literal["<", ">", "="]] = {"<": "<", ">": ">", "=": "=", "|": "="}
BROKEN = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    ImportError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    RecursionError,
    TypeError,
    UnicodeError,
    ValueError,
    struct.error,
)


class Refused(pickle.UnpicklingError):
    """Something in the pickle that no array of numbers needs."""


class _Record:
    """What a name in the pickle stands for. Only its own two methods are ever called by the unpickler."""

    # Without attributes of its own no pickle can leave anything in a class or an instance.
    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise Refused(f"sets the state of {type(self).__name__}")


class _Dtype(_Record):
    """`numpy.dtype(code, align, copy)`, then its state `(version, byte order, ...)`."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, *flags: Any) -> None:
        text = code.decode("latin1") if isinstance(code, bytes) else code
        if not isinstance(text, str) or not CODE.fullmatch(text):
            raise Refused(f"holds values of type {_shown(text)}, expected booleans, whole or real numbers")
        self.code, self.order = text, ORDERS["="]

    def __setstate__(self, state: Any) -> None:
        order = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        if not isinstance(order, str) or order not in ORDERS:
            raise Refused(f"holds values in byte order {_shown(order)}")
        self.order = ORDERS[order]

    def numpy(self) -> np.dtype:
        """The dtype that was meant: of plain numbers, which nothing in the file can extend."""
        return np.dtype(self.code).newbyteorder(self.order)


class _Array(_Record):
    """`_reconstruct(ndarray, (0,), b"b")`, then its state `(version, shape, dtype, by columns, bytes)`."""

    __slots__ = ("columns", "dtype", "raw", "shape")

    def __init__(self, kind: Any, *rest: Any) -> None:
        if kind is not _Kind:
            raise Refused("holds an array of a class of its own")
        self.raw: Any = None

    def __setstate__(self, state: Any) -> None:
        _, self.shape, self.dtype, self.columns, self.raw = state


class _Buffer(_Array):
    """`_frombuffer(bytes, dtype, shape, order)`, in which protocol 5 writes an array."""

    __slots__ = ()

    def __init__(self, raw: Any, dtype: Any, shape: Any, order: Any) -> None:
        self.shape, self.dtype, self.columns, self.raw = shape, dtype, order == "F", raw


class _Kind(_Record):
    """`numpy.ndarray` itself: only ever passed on."""

    __slots__ = ()

    def __init__(self, *arguments: Any) -> None:
        raise Refused("makes an array in a way of its own")


class _Encoded(_Record):
    """`_codecs.encode(text, "latin1")`: how Python 3 writes bytes for Python 2."""

    __slots__ = ()

    def __new__(cls, text: Any, encoding: Any = "latin1", *rest: Any) -> Any:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1") or rest:
            raise Refused("asks for `_codecs.encode` in a way that no array does")
        return text.encode("latin1")


ALLOWED: dict[tuple[str, str], type] = {
    ("numpy", "ndarray"): _Kind,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _Encoded,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _Buffer for core in ("core", "_core")},
}


class _Reader(pickle.Unpickler):
    """Finds nothing but the records."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise Refused(
                f"asks for {_shown(f'{module}.{name}')}, which no array of numbers needs; nothing of it was run"
            )
        return ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> NoReturn:
        raise Refused("refers to something outside the file")


def read_array(path: Path, shape: Sequence[int | None], kinds: str = "biuf") -> np.ndarray:
    """The one array that a pickle file holds, gzipped or not.

    Args:
        path: the file.
        shape: that the array must have; None stands for any size of at least 1.
        kinds: NumPy's letters of the kinds of number allowed: `b`, `i`, `u`, `f`.

    Returns:
        The array in native byte order, owning its memory.

    Raises:
        DataError: the file cannot be read, is no pickle, holds or asks for anything but one array of that shape and
            kind, or real numbers that are NaN or infinite.
    """
    array = _unpickled(path, content(path), _made, "an array")
    _check(path, array, shape, kinds)
    return array


def read_dict(path: Path, raw: bytes | None = None) -> dict[str, Any]:
    """The dictionary that a pickle holds, from text to arrays, numbers, text, and lists of numbers or text.

    Args:
        path: the file, gzipped or not.
        raw: the pickle itself when it is part of `path`, such as a member of an archive.

    Returns:
        The entries. Byte strings, keys among them, have become text of the same 8-bit characters.

    Raises:
        DataError: the file cannot be read, is no pickle, or holds or asks for anything else.
    """
    return _unpickled(path, content(path) if raw is None else raw, _entries, "a dictionary")


def _unpickled(path: Path, raw: bytes, made: Callable[[Any], T], what: str) -> T:
    """What `made` makes of the records in a pickle. Raises DataError for anything unexpected, or bytes after it."""
    stream = io.BytesIO(raw)
    try:
        _guard(stream)
        # Python 2 wrote byte strings as text, of which latin1 keeps every byte.
        result = made(_Reader(stream, encoding="latin1").load())
    except Refused as error:
        raise DataError(path, f"the pickle {error}") from None
    except BROKEN as error:
        raise DataError(path, f"no whole pickle of {what} ({type(error).__name__}: {_first_line(error)})") from None
    if stream.read(1):
        raise DataError(path, f"goes on after {what}, at byte {stream.tell() - 1}, expected {what} alone")
    return result


def _guard(stream: io.BytesIO) -> None:
    """Refuses a note under a number that no honest pickle reaches: Python's table of notes would grow to that size."""
    for opcode, argument, position in pickletools.genops(stream):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and (argument or 0) > (position or 0):
            raise Refused(f"notes something under number {argument} at byte {position}")
    stream.seek(0)


def _made(found: Any) -> np.ndarray:
    """The array that the records describe."""
    if not isinstance(found, _Array) or found.raw is None:
        raise Refused(f"holds {_named(found)}, expected one NumPy array")
    shape, raw = found.shape, found.raw
    if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
        raise Refused("holds an array whose shape is no tuple of sizes")
    if not isinstance(found.dtype, _Dtype):
        raise Refused("holds an array without a type")
    if isinstance(raw, str):
        raw = raw.encode("latin1")
    dtype = found.dtype.numpy()
    expected = math.prod(shape) * dtype.itemsize
    if not isinstance(raw, bytes | bytearray) or len(raw) != expected:
        size = f"{len(raw)} bytes" if isinstance(raw, bytes | bytearray) else _named(raw)
        raise Refused(f"holds {size} of values, expected {expected} for shape {shape} of {dtype.name}")
    values = np.frombuffer(bytes(raw), dtype).astype(dtype.newbyteorder("="))
    return values.reshape(shape, order="F" if found.columns else "C")


def _entries(found: Any) -> dict[str, Any]:
    """The dictionary of values that the records describe."""
    if type(found) is not dict:
        raise Refused(f"holds {_named(found)}, expected a dictionary")
    return {_text(key): _value(value) for key, value in found.items()}


def _text(key: Any) -> str:
    if not isinstance(key, str | bytes):
        raise Refused(f"holds {_named(key)} as a key, expected text")
    return key.decode("latin1") if isinstance(key, bytes) else key


def _value(value: Any, *, inner: bool = False) -> Any:
    if isinstance(value, str | bytes):
        return _text(value)
    if isinstance(value, int | float):
        return value
    # Lists within lists are not looked into: a few bytes can stand for more of them than fit into any memory.
    if type(value) is list and not inner:
        return [_value(item, inner=True) for item in value]
    if isinstance(value, _Array) and not inner:
        return _made(value)
    raise Refused(f"holds {_named(value)}, expected arrays, numbers, text, or lists of numbers or text")


def _check(path: Path, array: np.ndarray, shape: Sequence[int | None], kinds: str) -> None:
    fits = array.ndim == len(shape) and all(
        have == want if want is not None else have >= 1 for have, want in zip(array.shape, shape, strict=True)
    )
    if not fits:
        wanted = " x ".join("N" if size is None else str(size) for size in shape)
        raise DataError(path, f"an array of {' x '.join(map(str, array.shape)) or 'one number'}, expected {wanted}")
    if array.dtype.kind not in kinds:
        wanted = ", ".join(dict.fromkeys(KINDS[kind] for kind in kinds))
        raise DataError(path, f"values of type {array.dtype.name}, expected {wanted}")
    if array.dtype.kind == "f":
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            index = [int(i) for i in bad[0]]
            raise DataError(path, f"value {index} is {array[tuple(index)]}, expected finite numbers")


def _shown(value: Any) -> str:
    """Text from the file, short and printable; of anything else its kind: its text may be larger than the memory."""
    return ascii(value[:60]) if isinstance(value, str) else _named(value)


def _named(value: Any) -> str:
    names = {
        type: "a class",
        int: "a number",
        float: "a number",
        list: "a list",
        tuple: "a tuple",
        dict: "a dictionary",
        str: "text",
        bytes: "bytes",
    }
    return names.get(type(value), "an unfinished array" if isinstance(value, _Record) else "something else")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no more is known"])[0][:100]
