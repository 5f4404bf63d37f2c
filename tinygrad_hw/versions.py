"""Finding out that an array was changed in place between forward and backward.

Every write that goes through the engine (``x += 1``, ``x.copy_``, ``p.data -= ...``, an optimiser's step) advances one
global clock and is noted with its time. A node remembers the clock at which it saved its arrays; at backward, equal
clocks mean that nothing was written since, which costs one comparison. Otherwise the later writes are searched for one
that shares memory with a saved array. Arrays handed out by ``Tensor.data`` can be written behind the engine's back
(``x.data[0] = 5``): they are noted with a checksum of their bytes, and compared by it.
"""

from __future__ import annotations

import weakref
import zlib
from collections import deque
from collections.abc import Iterable

import numpy as np

from tinygrad_hw.backend import Array, to_numpy

clock = 0  # read by every recorded operation, so a plain module variable
_writes: dict[int, tuple[int, weakref.ref]] = {}
_handed_out: dict[int, tuple[weakref.ref, deque[tuple[int, int]]]] = {}


def _checksum(array: Array) -> int:
    return zlib.crc32(np.ascontiguousarray(to_numpy(array)).data.cast("B"))


def _owner(array: Array) -> Array:
    """The array that owns the memory which ``array`` views."""
    while getattr(array, "base", None) is not None and hasattr(array.base, "dtype"):
        array = array.base
    return array


def note_write(array: Array) -> None:
    """Record that ``array`` has just been written to, or is about to be."""
    global clock
    clock += 1
    key = id(array)
    _writes[key] = (clock, weakref.ref(array, lambda _: _writes.pop(key, None)))
    _handed_out.pop(key, None)


def note_handed_out(array: Array) -> None:
    """Record that the caller now holds ``array`` itself and may write to it."""
    global clock
    if array.size == 0 or not isinstance(array, np.ndarray):  # a checksum on a GPU would wait for it
        return
    clock += 1
    key = id(array)
    if key not in _handed_out:
        _handed_out[key] = (weakref.ref(array, lambda _: _handed_out.pop(key, None)), deque(maxlen=8))
    history = _handed_out[key][1]
    checksum = _checksum(array)
    if history and history[-1][1] == checksum:
        history.pop()  # the same content at a later time says as much
    history.append((clock, checksum))


def _share_memory(a: Array, b: Array) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.may_share_memory(a, b)
    return _owner(a) is _owner(b)


def changed_since(time: int, arrays: Iterable[Array | None]) -> int | None:
    """The position of the first of ``arrays`` that was written to after ``time``, or None."""
    later = [ref() for written, ref in list(_writes.values()) if written > time]
    for ref, history in list(_handed_out.values()):
        array = ref()
        first_after = next((checksum for handed, checksum in history if handed > time), None)
        if array is not None and first_after is not None and _checksum(array) != first_after:
            later.append(array)
    for position, saved in enumerate(arrays):
        if hasattr(saved, "dtype") and any(w is not None and _share_memory(saved, w) for w in later):
            return position
    return None
