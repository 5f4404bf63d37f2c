"""Parameters side by side in one array, their gradients in a second, an optimiser's state in further ones.

An optimiser then passes once over a few long arrays instead of over many short ones. Each Parameter's array becomes a
view of the flat one, and so does its gradient: the backward pass writes it there (``Tensor._grad_slot``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_hw import kernels, versions
from tinygrad_hw.backend import Array, device_of, to_device
from tinygrad_hw.tensor import Tensor

_ALIGNMENT = 64  # bytes: a cache line of a CPU, and enough for the widest loads of a GPU
_BLOCK_BYTES = 128 * 1024  # of one array; an update's half a dozen blocks then stay in the cache of one core


@dataclass(eq=False, slots=True)
class Entry:
    """One parameter and its place in a buffer; ``steps`` counts the updates it has had."""

    parameter: Tensor
    group: dict[str, Any]
    label: str
    start: int
    stop: int
    value: Array
    gradient: Array
    steps: int = 0


class FlatBuffer:
    """The parameters of one dtype on one device.

    Entries start at multiples of 64 bytes; the gaps hold zeros in values and gradients alike, and every update rule
    leaves a zero with gradient zero as it is.

    Attributes:
        values, gradients: the flat arrays.
        states: further flat arrays by name.
        entries: the parameters in order.
    """

    def __init__(self, members: Sequence[tuple[Tensor, dict[str, Any], str]]) -> None:
        first = members[0][0]
        self.dtype, self.device = first.dtype, first.device
        unit = _ALIGNMENT // math.gcd(_ALIGNMENT, self.dtype.itemsize)
        starts, length = [], 0
        for parameter, _, _ in members:
            starts.append(length)
            length += -(-parameter.size // unit) * unit
        self.length = length
        self.values, self.gradients = self._zeros(length), self._zeros(length)
        self.states: dict[str, Array] = {}
        block = length if self.device != "cpu" else _BLOCK_BYTES // self.dtype.itemsize
        self._block = max(1, min(block, length))
        self._work = tuple(self._zeros(self._block) for _ in range(2))
        self.entries: list[Entry] = []
        for (parameter, group, label), start in zip(members, starts, strict=True):
            stop, shape = start + parameter.size, parameter.shape
            value, gradient = (flat[start:stop].reshape(shape) for flat in (self.values, self.gradients))
            self.entries.append(Entry(parameter, group, label, start, stop, value, gradient))
            self._adopt(self.entries[-1])
        versions.note_write(self.values)

    def _zeros(self, length: int) -> Array:
        room = np.zeros(length * self.dtype.itemsize + _ALIGNMENT, np.uint8)
        offset = -room.ctypes.data % _ALIGNMENT
        return to_device(room[offset : offset + length * self.dtype.itemsize].view(self.dtype), self.device)

    def make_state(self, name: str) -> None:
        """See to it that there is a state array ``name``; a new one is filled with zeros."""
        if name not in self.states:
            self.states[name] = self._zeros(self.length)

    def state(self, name: str, entry: Entry) -> Array:
        """The part of state array ``name`` that is ``entry``'s, in its shape."""
        return self.states[name][entry.start : entry.stop].reshape(entry.value.shape)

    def _adopt(self, entry: Entry) -> None:
        """Bring a parameter's values into their place; raises if they no longer fit there."""
        parameter = entry.parameter
        found = (parameter.shape, parameter.dtype, parameter.device)
        if found != (entry.value.shape, self.dtype, self.device):
            raise RuntimeError(
                f"{entry.label}: the optimiser holds it as {self.dtype} {entry.value.shape} on {self.device}, but it "
                f"is now {found[1]} {found[0]} on {found[2]}; make the optimiser after module.to(...)"
            )
        entry.value[...] = parameter._data
        parameter._data = entry.value
        parameter._grad_slot = entry.gradient

    def gather(self) -> Iterator[tuple[Entry, bool]]:
        """Each entry, its values and gradient in place, and whether it has a gradient.

        Values or gradients that were replaced from outside (``p.data = ...``, ``p.grad = ...``, another optimiser over
        the same parameter) are copied in. Raises RuntimeError where a parameter or gradient has another shape, dtype or
        device than the buffer.
        """
        for entry in self.entries:
            parameter = entry.parameter
            if parameter._data is not entry.value:
                self._adopt(entry)
                versions.note_write(self.values)
            gradient = parameter._grad
            if gradient is not None and gradient._data is not entry.gradient:
                found = gradient._data
                if (found.shape, found.dtype, device_of(found)) != (entry.value.shape, self.dtype, self.device):
                    raise RuntimeError(
                        f"{entry.label}: expected a gradient {self.dtype} {entry.value.shape} on {self.device}, got "
                        f"{found.dtype} {found.shape} on {device_of(found)}"
                    )
                entry.gradient[...] = found
                parameter.grad, parameter._grad_slot = Tensor._make(entry.gradient, None), entry.gradient
            yield entry, gradient is not None

    def runs(self) -> list[list[Entry]]:
        """The entries that have a gradient, in runs of neighbours of one group with equally many steps."""
        runs: list[list[Entry]] = []
        last: Entry | None = None
        for entry, live in self.gather():
            if live and last is not None and last.group is entry.group and last.steps == entry.steps:
                runs[-1].append(entry)
            elif live:
                runs.append([entry])
            last = entry if live else None
        return runs

    def note_update(self, run: Sequence[Entry]) -> None:
        """Record that the values of a run have been written to; for all of them, as usual, this is looked up faster."""
        whole = len(run) == len(self.entries) and self.values.base is not None
        versions.note_write(self.values.base if whole else self.values[run[0].start : run[-1].stop])

    def blocks(
        self, run: Sequence[Entry], names: Sequence[str], fuses: bool = False
    ) -> Iterator[tuple[Array, Array, list[Array], list[Array]]]:
        """Values, gradients, states and two scratch arrays of equal length, block after block of a run.

        With ``fuses`` a run that has fused kernels comes whole, without scratch arrays.
        """
        states = [self.states[name] for name in names]
        whole = slice(run[0].start, run[-1].stop)
        values = self.values[whole]
        if fuses and kernels.fused(values):
            yield values, self.gradients[whole], [state[whole] for state in states], []
            return
        for begin in range(run[0].start, run[-1].stop, self._block):
            part = slice(begin, min(begin + self._block, run[-1].stop))
            scratch = [work[: part.stop - begin] for work in self._work]
            yield self.values[part], self.gradients[part], [state[part] for state in states], scratch
