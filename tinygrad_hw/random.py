"""Named streams of random numbers from one seed: counter-based, so that their whole state is plain data.

A :class:`Stream` is named by (seed, name) and numbers its draws. Draw n takes its bits from the Philox4x64-10 generator
(Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011) as follows, every element on its
own, so that a GPU can make the same numbers in any order:

- key: blake2b, 16 bytes, of the text ``"<seed>/<name>"`` in UTF-8, read as two little-endian 64-bit words;
- block b = 1, 2, 3, ... of draw n is ``philox(counter=(b, n, 0, 0), key)``, four words of 64 bits (the counter's least
  significant word first, as in NumPy's ``Philox``); the words of all blocks in order are w[0], w[1], ...;
- h[0], h[1], ... are their halves of 32 bits, the low half of a word first.

What a draw makes of them, for element i:

========================  ==========================================================================================
uniform, float32          u = (h[i] >> 8) 2^-24, then low + (high - low) u
uniform, float64          u = (w[i] >> 11) 2^-53, then low + (high - low) u
normal, float32           Box-Muller from the pair j = i // 2: r = sqrt(-2 ln((h[2j] + ½) 2^-32)),
                          θ = 2π 2^-32 (h[2j+1] as a signed number); r cos θ for even i, r sin θ for odd i
normal, float64           likewise: r = sqrt(-2 ln(((w[2j] >> 11) + ½) 2^-53)), θ = 2π 2^-53 (w[2j+1] >> 11)
bernoulli(p)              h[i] < p 2^32 (rounded to an integer)
integers(low, high)       low + floor((high - low) (w[i] >> 11) 2^-53)
permutation(n)            the order that sorts w[0], ..., w[n-1]
========================  ==========================================================================================

Uniforms, masks, integers and permutations are equal to the bit everywhere; normals to the last place or two, since ln,
cos and sin are rounded differently by different processors. Draws are made on the host and copied to other devices.

A stream may be shared by threads (a lock numbers the draws), but which thread gets which draw is then a matter of luck:
give each its own name.
"""

from __future__ import annotations

import hashlib
import math
import operator
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_hw.backend import Array, to_device

Shape = int | tuple[int, ...]


def _checked_seed(seed: Any) -> int:
    if isinstance(seed, (bool, np.bool_)) or not hasattr(seed, "__index__"):
        raise TypeError(f"seed: expected a non-negative integer, got {seed!r}")
    if operator.index(seed) < 0:
        raise ValueError(f"seed: expected a non-negative integer, got {seed!r}")
    return operator.index(seed)


def _checked_counter(name: str, counter: Any) -> int:
    if not isinstance(counter, int) or not 0 <= counter < 2**64:
        raise ValueError(f"Stream {name!r}: expected a counter from 0 to 2^64 - 1, got {counter!r}")
    return counter


def _checked_shape(draw: str, shape: Any) -> tuple[int, ...]:
    try:
        sizes = tuple(map(operator.index, shape)) if isinstance(shape, (tuple, list)) else (operator.index(shape),)
    except TypeError:
        sizes = (-1,)
    if any(size < 0 for size in sizes):
        raise ValueError(f"{draw}: expected a shape of non-negative integers, got {shape!r}")
    return sizes


def _checked_dtype(draw: str, dtype: Any) -> np.dtype:
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise TypeError(f"{draw}: expected float32 or float64, got {np.dtype(dtype)}")
    return np.dtype(dtype)


class Stream:
    """Draw number 0, 1, 2, ... of the numbers that (seed, name) stand for.

    Args:
        seed: a non-negative integer of any size.
        name: what the numbers are for ("init", "data", "dropout", ...): streams of other names share nothing.

    Attributes:
        counter: how many draws were made; with seed and name it is the whole state.

    Raises:
        TypeError, ValueError: the seed is no non-negative integer, the name no text.
    """

    def __init__(self, seed: int, name: str) -> None:
        if not isinstance(name, str) or not name:
            raise TypeError(f"Stream: expected a name, got {name!r}")
        self.name = name
        self._lock = threading.Lock()
        self._restart(_checked_seed(seed), 0)

    def _restart(self, seed: int, counter: int) -> None:
        digest = hashlib.blake2b(f"{seed}/{self.name}".encode(), digest_size=16).digest()
        with self._lock:
            self.seed, self.counter = seed, counter
            self._generator = np.random.Philox(key=np.frombuffer(digest, "<u8").astype(np.uint64), counter=0)
            # Setting the state of one generator takes 0.7 µs, making a new one 6 µs.
            self._state = self._generator.state

    def __reduce__(self) -> Any:
        return _restored, (self.state_dict(),)  # copies and pickles go on from the same place, each by itself

    def __repr__(self) -> str:
        return f"Stream(seed={self.seed}, name={self.name!r}, counter={self.counter})"

    def _words(self, count: int) -> np.ndarray:
        """The first ``count`` words of 64 bits of the next draw."""
        with self._lock:
            self._state["state"]["counter"][1] = self.counter
            self._generator.state = self._state
            self.counter += 1
            return self._generator.random_raw(count)

    def _halves(self, count: int) -> np.ndarray:
        """The first ``count`` halves of 32 bits of the next draw."""
        return self._words((count + 1) // 2).astype("<u8", copy=False).view("<u4")[:count]

    def uniform(
        self, shape: Shape, low: float = 0.0, high: float = 1.0, dtype: Any = np.float32, device: str = "cpu"
    ) -> Array:
        """Numbers equally likely in [low, high) (``high`` itself can come up by rounding unless it is 1 and ``low`` 0).

        Raises ValueError for a shape that is none or limits that are not finite or in the wrong order, TypeError for a
        dtype other than float32 and float64.
        """
        shape, dtype = _checked_shape("uniform", shape), _checked_dtype("uniform", dtype)
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise ValueError(f"uniform: expected finite low <= high, got low={low}, high={high}")
        if dtype == np.float32:
            halves = self._halves(math.prod(shape))
            halves >>= 8
            u = halves.astype(np.float32)
            u *= 2.0**-24
        else:
            words = self._words(math.prod(shape))
            words >>= np.uint64(11)
            u = words.astype(np.float64)
            u *= 2.0**-53
        if (low, high) != (0.0, 1.0):
            u *= high - low
            u += low
        return to_device(u.reshape(shape), device)

    def normal(
        self, shape: Shape, mean: float = 0.0, std: float = 1.0, dtype: Any = np.float32, device: str = "cpu"
    ) -> Array:
        """Normally distributed numbers of the given mean and standard deviation, by Box and Muller's method (1958).

        The largest possible magnitude is 6.8 standard deviations in float32, 8.7 in float64.
        Raises ValueError for a shape that is none or a negative ``std``, TypeError as :meth:`uniform`.
        """
        shape, dtype = _checked_shape("normal", shape), _checked_dtype("normal", dtype)
        if not (math.isfinite(mean) and math.isfinite(std) and std >= 0):
            raise ValueError(f"normal: expected a finite mean and a finite std >= 0, got mean={mean}, std={std}")
        size = math.prod(shape)
        even = size + size % 2
        if dtype == np.float32:
            bits = self._halves(even)
            radius, unit = bits[0::2].astype(np.float32), 2.0**-32
            angle = bits.view("<i4")[1::2].astype(np.float32)
        else:
            bits = self._words(even)
            bits >>= np.uint64(11)
            radius, unit = bits[0::2].astype(np.float64), 2.0**-53
            angle = bits[1::2].astype(np.float64)
        radius += 0.5  # never 0, whose logarithm is none
        radius *= unit
        np.log(radius, out=radius)
        radius *= -2.0
        np.sqrt(radius, out=radius)
        radius *= std
        angle *= 2 * math.pi * unit
        result = bits.view(dtype)  # the bits have served: their memory takes the result
        np.cos(angle, out=result[0::2])
        np.sin(angle, out=result[1::2])
        result[0::2] *= radius
        result[1::2] *= radius
        if mean != 0.0:
            result += mean
        return to_device(result[:size].reshape(shape), device)

    def bernoulli(self, shape: Shape, p: float, device: str = "cpu") -> Array:
        """Booleans that are True with probability ``p`` (to 32 bits). Raises ValueError unless 0 <= p <= 1."""
        shape = _checked_shape("bernoulli", shape)
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"bernoulli: expected a probability from 0 to 1, got p={p}")
        halves, threshold = self._halves(math.prod(shape)), round(p * 2**32)
        chosen = halves < np.uint32(threshold) if threshold < 2**32 else np.ones(halves.shape, np.bool_)
        return to_device(chosen.reshape(shape), device)

    def integers(self, low: int, high: int, shape: Shape, device: str = "cpu") -> Array:
        """int64 numbers equally likely (to 53 bits) in [low, high).

        Raises ValueError for a range that is empty or more than 2^52 wide.
        """
        shape, low, high = _checked_shape("integers", shape), operator.index(low), operator.index(high)
        if not 0 < high - low <= 2**52:
            raise ValueError(f"integers: expected low < high, at most 2^52 apart, got low={low}, high={high}")
        u = (self._words(math.prod(shape)) >> np.uint64(11)).astype(np.float64)
        u *= (high - low) * 2.0**-53
        return to_device((u.astype(np.int64) + low).reshape(shape), device)

    def permutation(self, n: int, device: str = "cpu") -> Array:
        """The numbers 0 to n - 1 as int64, in random order."""
        sizes = _checked_shape("permutation", n)
        if len(sizes) != 1:
            raise ValueError(f"permutation: expected one size, got {n!r}")
        return to_device(self._words(sizes[0]).argsort().astype(np.int64, copy=False), device)

    def state_dict(self) -> dict[str, Any]:
        """Seed, name and counter: plain data, good for JSON."""
        return {"seed": self.seed, "name": self.name, "counter": self.counter}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where ``state`` was taken; raises ValueError when it is another stream's or incomplete."""
        if set(state) != {"seed", "name", "counter"}:
            raise ValueError(f"Stream {self.name!r}: expected a state with seed, name and counter, got {sorted(state)}")
        if state["name"] != self.name:
            raise ValueError(f"Stream {self.name!r}: expected its own state, got that of {state['name']!r}")
        self._restart(_checked_seed(state["seed"]), _checked_counter(self.name, state["counter"]))


def _restored(state: Mapping[str, Any]) -> Stream:
    stream = Stream(state["seed"], state["name"])
    stream.load_state_dict(state)
    return stream


class Streams:
    """The streams of one seed by name, each made when first asked for: ``streams["data"].permutation(60000)``.

    Raises TypeError or ValueError for a seed that is no non-negative integer.
    """

    def __init__(self, seed: int) -> None:
        self.seed = _checked_seed(seed)
        self._streams: dict[str, Stream] = {}
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> Stream:
        with self._lock:
            if name not in self._streams:
                self._streams[name] = Stream(self.seed, name)
            return self._streams[name]

    def __repr__(self) -> str:
        return f"Streams(seed={self.seed}, {self.state_dict()['counters']})"

    def state_dict(self) -> dict[str, Any]:
        """The seed and the counter of every stream that has been used: plain data, good for JSON."""
        with self._lock:
            return {"seed": self.seed, "counters": {name: stream.counter for name, stream in self._streams.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where ``state`` was taken: a stream that it does not name starts from the beginning.

        Streams handed out before stay the same objects. Raises ValueError for an incomplete state.
        """
        if set(state) != {"seed", "counters"}:
            raise ValueError(f"Streams: expected a state with seed and counters, got {sorted(state)}")
        seed = _checked_seed(state["seed"])
        counters = {name: _checked_counter(name, counter) for name, counter in state["counters"].items()}
        self._restart(seed, counters)

    def _restart(self, seed: int, counters: Mapping[str, int]) -> None:
        with self._lock:
            self.seed = seed
            for name in counters:
                self._streams.setdefault(name, Stream(seed, name))
            for name, stream in self._streams.items():
                stream._restart(seed, counters.get(name, 0))


_default = Streams(0)


def manual_seed(seed: int) -> Streams:
    """Restart the streams used where none is given (dropout, initialisation) from ``seed``, and return them.

    The seed is 0 until this is called. Streams already handed out are restarted too. Raises TypeError or ValueError for
    a seed that is no non-negative integer.
    """
    _default._restart(_checked_seed(seed), {})
    return _default


def default_streams() -> Streams:
    """The streams used where none is given: their ``state_dict()`` belongs in a checkpoint."""
    return _default


def default_stream(name: str) -> Stream:
    """One of :func:`default_streams`; shared by all threads."""
    return _default[name]
