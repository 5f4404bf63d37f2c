"""The backward pass: gradients pushed down the tape, youngest node first, each node freed as it is passed.

The pass takes the youngest pending node from a heap: a node is older than everything computed from it, so this is a
topological order without recursion and without a first pass over the graph (cf. Chainer's ``rank``). Gradients that
meet are added in place only into buffers that the pass made itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush
from typing import Any

import numpy as np

from tinygrad_hw import versions
from tinygrad_hw.autograd import Function, Node, OperationEvent, current_hooks, set_grad_enabled
from tinygrad_hw.backend import array_module, is_array
from tinygrad_hw.tensor import Tensor


def run_backward(
    roots: Sequence[tuple[Tensor, Any]],
    *,
    retain_graph: bool,
    create_graph: bool,
    targets: Sequence[Tensor] | None = None,
) -> list[Any]:
    """Push gradients from ``roots`` (tensor, its gradient) down the tape.

    With ``targets`` returns their gradients (None where there is no path) and leaves every ``.grad`` alone; without,
    adds to the ``.grad`` of every leaf. ``create_graph=True`` runs on Tensors and records what it does.
    """
    hooks = current_hooks()
    plain = not (create_graph or hooks)
    pending: dict[Any, Any] = {}  # gradients gathered so far, of nodes and leaves still to come
    owned: set[Node | Tensor] = set()  # those whose pending gradient is a buffer that this pass made
    heap: list[tuple[int, Node]] = []
    captured: dict[Node | Tensor, Any] = {}
    wanted = {target._node or target for target in targets or ()}
    needed = None if targets is None else _leading_to(wanted, [root._node or root for root, _ in roots])
    lent = _Lent(gradient for _, gradient in roots)
    in_place = targets is None and not create_graph

    for root, gradient in roots:
        start: Any = root._node or root
        if start in pending:
            gradient = pending[start] + gradient
        elif type(start) is Node:
            heappush(heap, (-start._sequence, start))
        pending[start] = gradient

    with set_grad_enabled(create_graph), lent:
        while heap:
            node = heappop(heap)[1]
            gradient = pending.pop(node)
            if node._saved is None:
                raise _already_freed(node)
            if node._clock != versions.clock:
                node._check_unchanged()
            if lent.rooms:
                lent.check_apart(node)
            if node._hooks:
                gradient = _call_hooks(node._hooks, gradient, create_graph)
                lent.keep_away(node, gradient)
            if wanted and node in wanted:
                captured[node] = gradient
                if not any(parent in needed for parent in node._parents):  # type: ignore[operator]
                    continue
            if in_place and node._op.writes_in_place:
                node._places = lent.lend(node, pending)
            if node._index is None:
                results = (
                    node._op.backward(node, gradient) if plain else _run_rule(node, (gradient,), create_graph, hooks)
                )
            elif node._index >= 0:  # one output among several: wait for the others
                _collect(node, gradient, pending, heap)
                continue
            else:
                results = _run_rule(node, _with_zeros(node, gradient, create_graph), create_graph, hooks)
            parents, op = node._parents, node._op
            if not retain_graph:
                node._free()
            if type(results) is not tuple:
                results = tuple(results) if type(results) is list else (results,)
            if len(results) != len(parents):
                _check_count(op, results, parents)
            parent: Any
            for parent, result in zip(parents, results, strict=False):
                if parent is None or result is None or (needed is not None and parent not in needed):
                    continue
                previous = pending.get(parent)
                if type(parent) is Node:
                    shape, dtype = parent._shape, parent._dtype
                    if previous is None:
                        heappush(heap, (-parent._sequence, parent))
                else:
                    shape, dtype = parent._data.shape, parent._data.dtype
                try:
                    fits = result.shape == shape and result.dtype is dtype
                except AttributeError:  # a Python number
                    fits = False
                if not shape and isinstance(result, np.generic):
                    result = np.asarray(result)  # NumPy gives scalars where there are no axes
                if not fits:
                    result = _fit(op, result, shape, dtype)
                if previous is None:
                    if op.fresh:
                        owned.add(parent)
                elif create_graph:
                    result = previous + result
                elif parent in owned:
                    previous += result
                    result = previous
                else:
                    result = previous + result
                    owned.add(parent)
                pending[parent] = result
        lent.give_back()
        slots = {id(leaf._grad_slot.base): leaf._grad_slot.base for leaf in pending if leaf._grad_slot is not None}
        for leaf, gradient in pending.items():  # only leaves are left
            mine = leaf in owned
            if leaf._hooks:
                gradient, mine = _call_hooks(leaf._hooks, gradient, create_graph), False
            if targets is None:
                _accumulate(leaf, gradient, mine, create_graph)
            else:
                captured[leaf] = gradient
        if targets is None:
            for memory in slots.values():  # once for the gradients of a flat optimiser, which share their memory
                versions.note_write(memory)
    return [captured.get(target._node or target) for target in targets or ()]


class _Lent:
    """Places where operations write gradients themselves, of leaves that have none yet; used as a block.

    A leaf goes without its place meanwhile, so that neither another thread nor a pass within this one writes there.
    Memory that a gradient given by the user lies in is left alone: it is still read.
    """

    def __init__(self, given: Iterable[Any]) -> None:
        self._places: dict[Tensor, Any] = {}
        self.rooms: set[int] = set()  # the memory that they lie in
        self._given = {_memory(gradient) for gradient in given}

    def lend(self, node: Node, pending: dict[Any, Any]) -> list[Any]:
        """A place for each argument of ``node`` that is a leaf whose gradient nothing was added to so far, or None."""
        places: list[Any] = [None] * len(node._parents)
        dtype = node._dtype if node._index is None else node._dtype[0]
        with _accumulating:
            for index, leaf in enumerate(node._parents):
                if not isinstance(leaf, Tensor) or leaf._grad is not None or leaf in pending:
                    continue
                place = leaf._grad_slot
                if place is None or place.dtype != dtype:
                    continue
                room = _memory(place)
                if room not in self._given:
                    places[index] = self._places[leaf] = place
                    self.rooms.add(room)
                    leaf._grad_slot = None
        return places

    def check_apart(self, node: Node) -> None:
        """Raise if an array that ``node`` keeps lies where this pass writes gradients."""
        # the engine's own operations keep their operands nowhere else
        for array in node._kept() if node._op._users else node._saved or ():
            if array is not None and _memory(array) in self.rooms:
                raise self._overwritten(node, "it keeps")

    def keep_away(self, node: Node, gradient: Any) -> None:
        """From now on leave the memory alone that ``gradient`` of a hook lies in; raise if it was lent already."""
        if _memory(gradient) in self.rooms:
            raise self._overwritten(node, "a hook gave")
        self._given.add(_memory(gradient))

    @staticmethod
    def _overwritten(node: Node, what: str) -> RuntimeError:
        return RuntimeError(
            f"{node._op.name()}: {what} a gradient that this backward overwrites: an optimiser's gradients have a "
            "fixed place, so use a copy, e.g. p.grad.clone()"
        )

    def give_back(self) -> None:
        for leaf, place in self._places.items():
            leaf._grad_slot = place

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: object) -> None:
        self.give_back()


def _memory(array: Any) -> int:
    """Tells arrays apart that share no memory: views have that of the array that they are views of."""
    array = array._data if isinstance(array, Tensor) else array
    base = getattr(array, "base", None)
    return id(array if base is None else base)


def _already_freed(node: Node) -> RuntimeError:
    what = f"{np.dtype(node._dtype)} {node._shape}" if node._index is None else f"{node._shape}"
    return RuntimeError(
        f"{node._op.name()}: backward through a graph that has already been freed (output {what}); pass "
        "retain_graph=True to the first backward, or detach() what later work takes from it"
    )


def _run_rule(node: Node, gradients: tuple[Any, ...], create_graph: bool, hooks: Sequence[Callable[..., None]]) -> Any:
    """The operation's backward, recorded under ``create_graph`` and watched by operation hooks."""
    if create_graph and node._op._users:
        node._check_attributes()
    start = time.perf_counter()
    try:
        node.recording = create_graph
        results = node._op.backward(node, *gradients)
    finally:
        node.recording = False
    seconds = time.perf_counter() - start
    outputs = results if type(results) is tuple else (results,)
    for hook in hooks:
        hook(OperationEvent("backward", node._op.name(), gradients, outputs, seconds, node))
    return results


def _check_count(op: type[Function], results: Sequence[Any], parents: Sequence[Any]) -> None:
    """Raise unless every gradient has an argument, and every argument that wants a gradient has one."""
    if len(results) > len(parents) or any(parent is not None for parent in parents[len(results) :]):
        raise RuntimeError(
            f"{op.name()}: backward returned {len(results)} gradients for {len(parents)} arguments of forward"
        )


def _collect(slot: Node, gradient: Any, pending: dict[Any, Any], heap: list[tuple[int, Node]]) -> None:
    """Put the gradient of one output among several with those of its siblings, and queue their operation."""
    operation = slot._parents[0]
    assert isinstance(operation, Node) and slot._index is not None
    siblings = pending.get(operation)
    if siblings is None:
        siblings = pending[operation] = [None] * len(operation._shape)
        heappush(heap, (-operation._sequence, operation))
    before = siblings[slot._index]
    siblings[slot._index] = gradient if before is None else before + gradient


def _leading_to(targets: set[Node | Tensor], roots: Sequence[Node | Tensor]) -> set[Node | Tensor]:
    """Every node and leaf from which some target can be reached, found without recursion."""
    order, seen, stack = [], set(roots), list(roots)
    while stack:
        node = stack.pop()
        order.append(node)
        if type(node) is Node:
            for parent in node._parents:
                if parent is not None and parent not in seen:
                    seen.add(parent)
                    stack.append(parent)
    # a parent is older than its child, so by age every parent is decided before its children
    order.sort(key=lambda node: node._sequence if type(node) is Node else 0)
    needed: set[Node | Tensor] = set()
    for node in order:
        if node in targets or (type(node) is Node and any(parent in needed for parent in node._parents)):
            needed.add(node)
    return needed


def _with_zeros(node: Node, gradients: list[Any], create_graph: bool) -> tuple[Any, ...]:
    """The gradients of an operation's outputs with zeros for the outputs that nobody used."""
    some = next(gradient for gradient in gradients if gradient is not None)
    xp = array_module(some._data if isinstance(some, Tensor) else some)

    def zeros(index: int) -> Any:
        array = xp.zeros(node._shape[index], node._dtype[index])
        return Tensor._make(array, None) if create_graph else array

    return tuple(zeros(i) if gradient is None else gradient for i, gradient in enumerate(gradients))


def _fit(op: type[Function], gradient: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """``gradient`` in the shape and dtype of what it is the gradient of; raises where that would hide a mistake."""
    from tinygrad_hw import functional as F

    if not isinstance(gradient, Tensor) and not is_array(gradient):
        gradient = np.asarray(gradient, dtype=dtype)
    if gradient.shape != shape:
        if not op.broadcasts:
            raise RuntimeError(
                f"{op.name()}: backward returned a gradient of shape {tuple(gradient.shape)} for an input of shape "
                f"{shape}"
            )
        gradient = F.sum_to(gradient, shape)
    return gradient if gradient.dtype == dtype else F.cast(gradient, dtype)


def _call_hooks(hooks: Sequence[Callable[[Tensor], Any]], gradient: Any, create_graph: bool) -> Any:
    """Let tensor hooks see, and replace, a gradient: a copy, since a pass may share one array among several."""
    from tinygrad_hw import functional as F

    tensor = F.clone(gradient) if create_graph else Tensor._make(array_module(gradient).array(gradient), None)
    for hook in tuple(hooks):
        replacement = hook(tensor)
        if replacement is None:
            continue
        if not isinstance(replacement, Tensor):
            raise TypeError(f"a tensor hook must return a Tensor or None, got {type(replacement).__name__}")
        if replacement.shape != tensor.shape or replacement.dtype != tensor.dtype:
            raise RuntimeError(
                f"a tensor hook must return a gradient {tensor.dtype} {tensor.shape}, got {replacement.dtype} "
                f"{replacement.shape}"
            )
        tensor = replacement
    return tensor if create_graph else tensor._data


_accumulating = threading.Lock()  # threads may differentiate into one leaf


def _accumulate(leaf: Tensor, gradient: Any, owned: bool, create_graph: bool) -> None:
    """Add ``gradient`` to ``leaf.grad``, in place only where the memory is the leaf's own."""
    with _accumulating:
        before = leaf._grad
        if create_graph:
            from tinygrad_hw import functional as F

            leaf._grad = F.clone(gradient) if before is None else before + gradient
        elif before is not None:
            if before.requires_grad:
                leaf._grad = Tensor._make(before._data + gradient, None)
            else:
                before._data += gradient
                versions.note_write(before._data)
        elif leaf._grad_slot is not None:
            if gradient is not leaf._grad_slot:
                leaf._grad_slot[...] = gradient
            leaf._grad = Tensor._make(leaf._grad_slot, None)
        else:
            keep = owned and is_array(gradient)
            leaf._grad = Tensor._make(gradient if keep else array_module(leaf._data).array(gradient), None)
