"""Finding out that an array was changed in place between forward and backward.

Every write that goes through the engine (``x += 1``, ``x.copy_``, ``p.data -= ...``, an optimiser's step) advances one
global clock and is noted: which bytes of which owner of memory, and when. A node remembers the clock of its forward; at
backward, equal clocks mean that nothing was written since, which costs one comparison. Otherwise the writes to the
memory of what the node saved are looked up.

An array handed out by ``Tensor.data`` can be written behind the engine's back (``x.data[0] = 5``), so a checksum of
its bytes is kept, and compared at backward or when the handed-out array dies. Not seen are writes to an array that was
taken out before the forward pass, to a NumPy array that was an operand itself, and to arrays on a GPU outside the
engine; under ``detect_anomaly()`` the first two are seen as well.
"""

from __future__ import annotations

import weakref
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from tinygrad_hw.backend import Array, is_array

clock = 0  # read by every recorded operation, so a plain module variable
_ALL = 1 << 62  # past the end of any memory
_MOST_RANGES = 64  # noted for one owner, before they are merged


class _Memory:
    """What is known of the memory that one array owns: the time of the last write to each range of its bytes."""

    __slots__ = ("handed_out", "owner", "writes")

    def __init__(self, owner: Array) -> None:
        key = id(owner)
        self.owner = weakref.ref(owner, lambda _: _memories.pop(key, None))
        self.writes: dict[tuple[int, int], int] = {}
        self.handed_out: dict[tuple[int, int], tuple[int, int]] = {}  # range: time and checksum of the last hand-out

    def checksum(self, low: int, high: int) -> int:
        owner = self.owner()
        assert owner is not None
        return zlib.crc32(owner.ravel(order="K").data.cast("B")[low:high])

    def note(self, low: int, high: int, when: int) -> None:
        """Record a write to these bytes at that time."""
        if len(self.writes) >= _MOST_RANGES:
            low, high = min(low, *(r[0] for r in self.writes)), max(high, *(r[1] for r in self.writes))
            when = max(when, *self.writes.values())
            self.writes.clear()
        self.writes[low, high] = max(when, self.writes.get((low, high), 0))

    def overlapping(self, low: int, high: int) -> list[tuple[int, int]]:
        """The ranges handed out that share a byte with these."""
        return [key for key in self.handed_out if key[0] < high and low < key[1]]

    def compare(self, key: tuple[int, int]) -> None:
        """Record a write, dated to the hand-out, if the bytes of a range have changed since they were handed out."""
        when, checksum = self.handed_out[key]
        if self.checksum(*key) != checksum:
            self.note(*key, when)

    def changed(self, time: int, low: int, high: int) -> bool:
        """Whether one of these bytes was written to after ``time``."""
        for key in self.overlapping(low, high):
            if self.handed_out[key][0] > time:
                self.compare(key)
        return any(when > time and begin < high and low < end for (begin, end), when in self.writes.items())


_memories: dict[int, _Memory] = {}
_passing: dict[int, weakref.ref] = {}  # views handed out, which may die before anything asks


def _owner(array: Array) -> Array:
    """The array that owns the memory which ``array`` views."""
    while getattr(array, "base", None) is not None and hasattr(array.base, "dtype"):
        array = array.base
    return array


def _range(array: Array, owner: Array) -> tuple[int, int]:
    """The bytes of ``owner`` that ``array`` lies in."""
    if array is owner and isinstance(array, np.ndarray):
        return 0, array.nbytes
    if not isinstance(array, np.ndarray):
        return 0, _ALL
    low, high = byte_bounds(array)
    start = byte_bounds(owner)[0]
    return int(low - start), int(high - start)


def _memory(owner: Array) -> _Memory:
    memory = _memories.get(id(owner))
    if memory is None:
        memory = _memories[id(owner)] = _Memory(owner)
    return memory


def note_write(array: Array) -> None:
    """Record that ``array`` has just been written to, or is about to be."""
    global clock
    clock += 1
    owner = _owner(array)
    memory, key = _memory(owner), _range(array, owner)
    if key in memory.writes:
        memory.writes[key] = clock
    else:
        memory.note(*key, clock)
    if memory.handed_out:
        for other in memory.overlapping(*key):
            del memory.handed_out[other]


def note_handed_out(array: Array) -> None:
    """Record that the caller now holds ``array`` itself and may write to it."""
    global clock
    owner = _owner(array)
    if array.size == 0 or not isinstance(owner, np.ndarray) or not owner.flags.forc or owner.dtype.hasobject:
        return
    clock += 1
    memory, key = _memory(owner), _range(array, owner)
    if key in memory.handed_out:
        memory.compare(key)
    memory.handed_out[key] = clock, memory.checksum(*key)
    if array is not owner and id(array) not in _passing:
        _passing[id(array)] = weakref.ref(array, _watcher(id(array), id(owner), key))


def _watcher(view: int, owner: int, key: tuple[int, int]) -> Callable[[Any], None]:
    """What looks at the bytes of a view once more when it dies."""

    def died(_: Any) -> None:
        _passing.pop(view, None)
        memory = _memories.get(owner)
        if memory is not None and memory.owner() is not None and key in memory.handed_out:
            memory.compare(key)
            del memory.handed_out[key]

    return died


def fingerprint(arrays: Iterable[Any]) -> list[int | None]:
    """Checksums of those of ``arrays`` that live on the CPU: what anomaly mode compares at backward."""
    return [
        zlib.crc32(np.ascontiguousarray(a).data.cast("B")) if isinstance(a, np.ndarray) and a.size else None
        for a in arrays
    ]


def changed_since(time: int, arrays: Iterable[Any]) -> int | None:
    """The position of the first of ``arrays`` that was written to after ``time``, or None."""
    for position, array in enumerate(arrays):
        if is_array(array):
            owner = _owner(array)
            memory = _memories.get(id(owner))
            if memory is not None and memory.changed(time, *_range(array, owner)):
                return position
    return None
