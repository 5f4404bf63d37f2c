"""One call of one operation, run through the engine: its value, its gradient, and the cotangents to weigh them with.

This file, :mod:`reference.agreement` and :mod:`reference.mutation` are the only ones here that import the engine:
they compare it with the oracles, which know nothing of it. What the arguments of a call are made of (arrays inside
lists too) is taken apart and put together again here alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from reference import finite_differences
from reference.table import Call, Record
from tinygrad_hw import functional
from tinygrad_hw.backend import Array, array_module, is_array, to_numpy
from tinygrad_hw.derivatives import grad
from tinygrad_hw.tensor import Tensor

Engine = Callable[..., Any]


def engine_function(record: Record) -> Engine:
    """The operation itself; raises AttributeError that names it where the engine has none of that name."""
    function = getattr(functional, record.name, None)
    if not callable(function):
        raise AttributeError(
            f"tinygrad_hw.functional has no operation {record.name!r}, but the table has a record of it"
        )
    return function


def public_operations() -> list[str]:
    """The names of all registered operations: what ``tinygrad_hw.functional`` exports."""
    return sorted(functional.__all__)


# ----------------------------------------------------------------------------------------------- the parts of arguments


def arrays_in(value: Any) -> Iterator[Array]:
    """Every array in ``value``, inside tuples, lists and dictionaries too, in order."""
    if is_array(value):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from arrays_in(part)
    elif isinstance(value, dict):
        yield from arrays_in(list(value.values()))


def map_arrays(value: Any, change: Callable[[Array], Any]) -> Any:
    """``value`` with every array in it replaced by ``change(array)``."""
    if is_array(value):
        return change(value)
    if isinstance(value, (tuple, list)):
        return type(value)(map_arrays(part, change) for part in value)
    if isinstance(value, dict):
        return {key: map_arrays(part, change) for key, part in value.items()}
    return value


def map_call(call: Call, change: Callable[[Array], Any]) -> Call:
    """``call`` with every array, settings included, replaced by ``change(array)``."""
    return Call(map_arrays(call.args, change), map_arrays(dict(call.kwargs), change))


def is_floating(array: Array) -> bool:
    return bool(array.dtype.kind == "f")


def leaves_of(call: Call) -> list[Array]:
    """The arrays that gradients are taken of: the floating ones among the arguments, in order."""
    return [array for array in arrays_in(call.args) if is_floating(array)]


def with_leaves(call: Call, leaves: Sequence[Any]) -> Call:
    """``call`` with its leaves replaced, in order; arrays without axes that became scalars become arrays again."""
    remaining = iter(np.asarray(leaf) if isinstance(leaf, np.generic) else leaf for leaf in leaves)
    return Call(map_arrays(call.args, lambda array: next(remaining) if is_floating(array) else array), call.kwargs)


def outputs_of(value: Any) -> tuple[Any, ...]:
    """A value as a tuple of outputs."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def raw(value: Any) -> Array:
    """The array in a Tensor; arrays as they are, NumPy scalars and numbers as arrays without axes."""
    if isinstance(value, Tensor):
        return value._data
    return value if is_array(value) else np.asarray(value)


# --------------------------------------------------------------------------------------------------- through the engine


@dataclass(frozen=True)
class Result:
    """What the engine made of a call: its outputs and, in order, the gradients of its leaves."""

    outputs: tuple[Array, ...]
    gradients: tuple[Array, ...]


def _differentiable(outputs: Sequence[Any]) -> list[int]:
    return [i for i, output in enumerate(outputs) if isinstance(output, Tensor) and output.requires_grad]


def run(
    function: Engine,
    call: Call,
    cotangents: Sequence[Array | None],
    *,
    create_graph: bool = False,
    wanted: Sequence[int] | None = None,
) -> Result:
    """Value and gradients of ``call`` on Tensors, weighed by ``cotangents`` (one an output, None for those without).

    ``wanted`` limits the gradients to those leaves; the others take part as constants. A leaf that the value does not
    depend on has a gradient of zeros.
    """
    leaves = leaves_of(call)
    chosen = range(len(leaves)) if wanted is None else wanted
    tensors = [Tensor(leaf, requires_grad=i in chosen) for i, leaf in enumerate(leaves)]
    recorded = with_leaves(call, tensors)
    outputs = outputs_of(function(*recorded.args, **recorded.kwargs))
    used = _differentiable(outputs)
    inputs = [tensors[i] for i in chosen]
    gradients: Sequence[Any] = [None] * len(inputs)
    if used and inputs:
        weights = [Tensor(_fitted(cotangents[i], outputs[i])) for i in used]
        gradients = grad([outputs[i] for i in used], inputs, weights, create_graph=create_graph, allow_unused=True)
    return Result(
        tuple(map(raw, outputs)),
        tuple(_or_zeros(gradient, tensor) for gradient, tensor in zip(gradients, inputs, strict=True)),
    )


def _fitted(cotangent: Any, output: Tensor) -> Array:
    """``cotangent`` on the output's device and in its dtype; itself where it is both already."""
    if cotangent is None:
        raise ValueError(f"the output {output.dtype} {output.shape} requires a gradient but its value is not floating")
    moved = array_module(output._data).asarray(to_numpy(cotangent))
    return moved if moved.dtype == output.dtype else moved.astype(output.dtype)


def _or_zeros(gradient: Any, like: Tensor) -> Array:
    return array_module(like._data).zeros_like(like._data) if gradient is None else raw(gradient)


def second_gradients(
    function: Engine, call: Call, cotangents: Sequence[Array | None], weights: Sequence[Array]
) -> tuple[Result, tuple[Array, ...]]:
    """The recorded gradient, and the derivative of ``sum <weights, gradients>`` by each leaf and each cotangent.

    That is a Hessian-vector product, and for the cotangents the forward derivative of the operation.
    """
    tensors = [Tensor(leaf, requires_grad=True) for leaf in leaves_of(call)]
    recorded = with_leaves(call, tensors)
    outputs = outputs_of(function(*recorded.args, **recorded.kwargs))
    used = _differentiable(outputs)
    vectors = [Tensor(_fitted(cotangents[i], outputs[i]), requires_grad=True) for i in used]
    first: Sequence[Any] = [None] * len(tensors)
    if used:
        first = grad([outputs[i] for i in used], tensors, vectors, create_graph=True, allow_unused=True)
    pairs = [(g, Tensor(w)) for g, w in zip(first, weights, strict=True) if g is not None and g.requires_grad]
    second: Sequence[Any] = [None] * (len(tensors) + len(vectors))
    if pairs:
        second = grad([g for g, _ in pairs], [*tensors, *vectors], [w for _, w in pairs], allow_unused=True)
    full: list[Any] = [_or_zeros(g, tensor) for g, tensor in zip(second, [*tensors, *vectors], strict=True)]
    by_output = dict(zip(used, full[len(tensors) :], strict=True))
    of_cotangents = [
        by_output.get(i, 0.0 * c) for i, c in enumerate(cotangents) if c is not None
    ]  # an output that takes no part has no derivative
    result = Result(
        tuple(map(raw, outputs)), tuple(_or_zeros(g, tensor) for g, tensor in zip(first, tensors, strict=True))
    )
    return result, (*full[: len(tensors)], *of_cotangents)


# ---------------------------------------------------------------------------------------------------------------- cases


@dataclass(frozen=True, eq=False)
class Case:
    """One sample call of a record, with random cotangents for its outputs and random directions for its leaves.

    What the oracles expect of it is computed once and kept: faulty rules are tried against it by the thousand.
    """

    record: Record
    call: Call
    number: int

    def draw(self, purpose: str) -> np.random.Generator:
        """Random numbers that depend on the operation, the sample and the purpose alone."""
        return np.random.default_rng(zlib.crc32(f"{self.record.name} {self.number} {purpose}".encode()))

    @cached_property
    def function(self) -> Engine:
        return engine_function(self.record)

    @cached_property
    def leaves(self) -> list[Array]:
        return leaves_of(self.call)

    @cached_property
    def outputs(self) -> tuple[Array, ...]:
        """The engine's value on plain arrays."""
        return tuple(map(raw, outputs_of(self.function(*self.call.args, **self.call.kwargs))))

    @cached_property
    def cotangents(self) -> tuple[Array | None, ...]:
        rng = self.draw("cotangents")
        return tuple(rng.standard_normal(o.shape) if is_floating(o) else None for o in self.outputs)

    @property
    def cotangent(self) -> Any:
        """The cotangents in the form of the operation's value: one array, or a tuple where it returns several."""
        several = isinstance(self.function(*self.call.args, **self.call.kwargs), (tuple, list))
        return self.cotangents if several else self.cotangents[0]

    @cached_property
    def result(self) -> Result:
        """The engine's value and gradients."""
        return run(self.function, self.call, self.cotangents)

    @property
    def differentiable(self) -> bool:
        """Whether there is a derivative to compare: an entry to vary, and an output that may carry a gradient."""
        return any(leaf.size for leaf in self.leaves) and any(c is not None for c in self.cotangents)

    def directions(self, purpose: str, arrays: Sequence[Array]) -> list[Array | None]:
        """A random direction for each array, None for empty ones."""
        rng = self.draw(purpose)
        return [rng.standard_normal(array.shape) if array.size else None for array in arrays]

    @property
    def weighed(self) -> tuple[Array, ...]:
        """The cotangents of those outputs that have one."""
        return tuple(c for c in self.cotangents if c is not None)

    def flat(self, function: Engine) -> Callable[..., tuple[Array, ...]]:
        """``function`` as one of its leaves alone, returning those outputs that have a cotangent."""

        def of_leaves(*leaves: Array) -> tuple[Array, ...]:
            call = with_leaves(self.call, leaves)
            outputs = outputs_of(function(*call.args, **call.kwargs))
            return tuple(raw(o) for o, c in zip(outputs, self.cotangents, strict=True) if c is not None)

        return of_leaves

    @cached_property
    def slopes(self) -> list[tuple[list[Array | None], float]]:
        """Random directions, and the slope of the engine's own value along them by finite differences."""
        found = []
        for purpose in ("one direction", "another direction"):
            directions = self.directions(purpose, self.leaves)
            slope = finite_differences.directional(self.flat(self.function), self.leaves, directions, self.weighed)
            found.append((directions, slope))
        return found

    @cached_property
    def hand(self) -> tuple[Array, ...]:
        """The gradients by hand."""
        assert callable(self.record.hand)
        return tuple(map(raw, self.record.hand(self.cotangent, *self.call.args, **self.call.kwargs)))

    @cached_property
    def weights(self) -> tuple[Array, ...]:
        """Random weights for the gradients, which make one number of them to differentiate again."""
        rng = self.draw("weights")
        return tuple(rng.standard_normal(leaf.shape) for leaf in self.leaves)

    @cached_property
    def second_slope(self) -> tuple[list[Array | None], float]:
        """A random direction of leaves and cotangents, and the slope of the weighed first gradient along it."""
        count = len(self.leaves)
        present = [i for i, c in enumerate(self.cotangents) if c is not None]

        def gradients(*arrays: Array) -> tuple[Array, ...]:
            cotangents: list[Array | None] = [None] * len(self.cotangents)
            for i, cotangent in zip(present, arrays[count:], strict=True):
                cotangents[i] = cotangent
            return run(self.function, with_leaves(self.call, arrays[:count]), cotangents).gradients

        arrays = [*self.leaves, *self.weighed]
        directions = self.directions("second direction", arrays)
        return directions, finite_differences.directional(gradients, arrays, directions, self.weights)


def cases(record: Record, limit: int | None = None) -> list[Case]:
    """The record's sample calls; the same ones on every run."""
    seed = np.random.default_rng(zlib.crc32(record.name.encode()))
    return [Case(record, call, number) for number, call in enumerate(record.samples(seed)[:limit])]
