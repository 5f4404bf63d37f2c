"""The tape: operations (:class:`Function`), the nodes that they leave behind, and the backward pass.

A node stands apart from the values: it holds its parents, what the operation asked to keep, and the shape and dtype of
its output, but never the output itself. So there is no reference cycle, and an intermediate value dies with its last
user. Nodes carry a sequence number; the backward pass takes the youngest pending node from a heap, which is a topological
order without recursion and without a first pass over the graph (cf. Chainer's ``rank``). Each node is freed as it is
passed.

A ``backward`` is written once and serves twice: on arrays by default, on recorded Tensors under ``create_graph=True``.
"""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any

import numpy as np

from tinygrad_hw import versions
from tinygrad_hw.backend import Array, array_module, is_array
from tinygrad_hw.operands import explain, harmonise
from tinygrad_hw.tensor import Tensor

_sequence = itertools.count(1)
_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
_ndarray = np.ndarray


class _TapeState(threading.local):
    """Per thread: whether operations are recorded, and who watches them."""

    enabled: bool = True
    hooks: tuple[Callable[[OperationEvent], None], ...] = ()


_state = _TapeState()


@dataclass
class OperationEvent:
    """What an operation hook is told: ``phase`` is "forward" or "backward", ``inputs`` and ``outputs`` are the arguments
    and results of that phase, ``seconds`` its duration on the host, ``node`` the tape's node (None if not recorded)."""

    phase: str
    name: str
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    seconds: float
    node: Node | None


class NotTwiceDifferentiableError(RuntimeError):
    """``create_graph=True`` met an operation whose backward cannot be recorded."""


class Node:
    """One recorded operation; the ``ctx`` that its ``forward`` and ``backward`` receive.

    Besides the attributes below, an operation may set its own (``ctx.axis = axis``): numbers, shapes, masks, i.e. what
    carries no gradient.
    """

    __slots__ = (
        "__dict__", "__weakref__", "_clock", "_dtype", "_freed", "_hooks", "_ids", "_index", "_op", "_output_ids", "_parents",
        "_saved", "_sequence", "_shape", "_slots", "_trace", "needs_input_grad", "recording",
    )  # fmt: skip

    def __init__(self, op: type[Function]) -> None:
        self._op = op
        self._saved: tuple[Array | None, ...] | None = ()
        self._parents: Sequence[Node | Tensor | None] = ()
        self._hooks: list[Callable[[Tensor], Tensor | None]] | None = None
        self.recording = False
        self._freed = False
        self._index: int | None = None
        self._trace: str | None = None

    def save_for_backward(self, *arrays: Array | None) -> None:
        """Keep inputs or outputs of ``forward`` for ``backward``; checked there for changes in place."""
        self._saved = arrays

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What ``save_for_backward`` kept: arrays, or under ``create_graph=True`` Tensors that are on the tape.

        Raises RuntimeError when one of them was changed in place since, and :class:`NotTwiceDifferentiableError` when
        one of them would have to be a Tensor but is neither input nor output.
        """
        saved = self._saved
        if saved is None:
            raise RuntimeError(f"{self._op.name()}: its saved arrays have already been freed")
        if self._clock != versions.clock:
            changed = versions.changed_since(self._clock, saved)
            if changed is not None:
                array = saved[changed]
                raise RuntimeError(
                    f"{self._op.name()}: saved array {changed} ({_describe(array)}) was changed in place between forward "
                    "and backward; change a copy instead, e.g. x = x + 1 in place of x += 1"
                )
        return tuple(map(self._recorded, saved)) if self.recording else saved

    def _recorded(self, array: Array | None) -> Any:
        """The Tensor that the saved ``array`` was: an input, an output, or a constant."""
        if not is_array(array):
            return array
        if id(array) in self._ids:
            parent = self._parents[self._ids.index(id(array))]
            return parent if isinstance(parent, Tensor) else Tensor._make(array, parent)
        if id(array) in self._output_ids:
            if self._index == -1:
                return Tensor._make(array, self.slot(self._output_ids.index(id(array)), array))
            return Tensor._make(array, self)
        if array.dtype.kind in "fc":
            raise NotTwiceDifferentiableError(
                f"{self._op.name()}: create_graph=True needs saved arrays to be inputs or outputs, but one "
                f"({_describe(array)}) is an intermediate; recompute it in backward from the inputs"
            )
        return array

    def slot(self, index: int, array: Array) -> Node:
        """The node of output ``index`` of an operation with several outputs; its only parent is the operation."""
        node = self._slots[index]() if self._slots[index] is not None else None
        if node is None:
            node = Node(_Select)
            node._parents, node._index = (self,), index
            node._shape, node._dtype = array.shape, array.dtype
            node._sequence = next(_sequence)
            self._slots[index] = weakref.ref(node)
        return node

    def free(self) -> None:
        """Drop everything that keeps arrays or other nodes alive."""
        self._saved, self._parents, self._hooks, self._freed = None, (), None, True
        self.__dict__.clear()

    def __repr__(self) -> str:
        return f"<{self._op.name()}Backward>"


class Function:
    """A differentiable operation: subclass it with static ``forward`` and ``backward``, call it by ``apply``.

    ``forward(ctx, *args)`` receives plain arrays where Tensors were given, and everything else as it is; it returns an
    array or a tuple of arrays, and calls ``ctx.save_for_backward`` with those inputs and outputs that ``backward``
    needs. ``backward(ctx, *grad_outputs)`` returns one gradient (or None) for each argument of ``forward``; trailing
    Nones may be left out. Written with operators and functions of :mod:`tinygrad_hw.functional`, which take arrays and
    Tensors alike, it serves ``create_graph=True`` too. ``ctx.needs_input_grad[i]`` tells whether a gradient is wanted.

    Gradients are reduced to their input's shape if it was broadcast, so a broadcasting operation need not do so itself.

    Example (after PyTorch's tutorial "Defining new autograd functions")::

        class LegendrePolynomial3(Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return 0.5 * (5 * x**3 - 3 * x)

            @staticmethod
            def backward(ctx, grad_output):
                (x,) = ctx.saved_tensors
                return grad_output * 1.5 * (5 * x**2 - 1)

        y = LegendrePolynomial3.apply(x)
    """

    broadcasts = False  # operands follow broadcasting and type promotion; gradients are summed back to their shapes
    floating = False  # integer operands are taken as the default floating dtype
    fresh = False  # each gradient that backward returns is a new array that nobody else holds

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Any:
        raise NotImplementedError("a Function needs a static method forward(ctx, *args)")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        raise NotImplementedError("a Function needs a static method backward(ctx, *grad_outputs)")

    @classmethod
    def name(cls) -> str:
        return cls.__name__

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run ``forward`` and record it if a Tensor argument requires a gradient.

        With no Tensor among the arguments nothing is recorded and plain arrays are returned.
        """
        state = _state
        arrays: list[Any] = []
        parents: list[Node | Tensor | None] = []
        dtype = None
        regular, any_tensor, wanted = True, False, False
        for arg in args:
            if isinstance(arg, Tensor):
                any_tensor = True
                parent = arg._node
                if parent is None and arg._leaf:
                    parent = arg
                if parent is not None:
                    wanted = True
                parents.append(parent)
                arg = arg._data
            else:
                parents.append(None)
                if not isinstance(arg, _ndarray):
                    if isinstance(arg, np.generic):
                        arg = arg.item()  # a NumPy scalar is as weak as a Python number
                    elif cls.broadcasts and type(arg) is list:
                        regular = False
                    arrays.append(arg)
                    continue
            arrays.append(arg)
            if dtype is None:
                dtype = arg.dtype
                if dtype is not _FLOAT32 and dtype is not _FLOAT64:
                    regular = False
            elif arg.dtype is not dtype:
                regular = False
        if not regular and (cls.broadcasts or cls.floating):
            arrays = harmonise(cls, arrays)
        node = Node(cls)
        wanted = wanted and state.enabled
        if wanted:
            node._parents = parents
            node.needs_input_grad = [parent is not None for parent in parents]
        else:
            node.needs_input_grad = [False] * len(parents)
        start = time.perf_counter() if state.hooks else 0.0
        try:
            out = cls.forward(node, *arrays)
        except (TypeError, ValueError, IndexError, np.linalg.LinAlgError) as error:
            raise explain(cls.name(), arrays, error) from error
        if state.hooks:
            outs = out if type(out) is tuple else (out,)
            event = OperationEvent("forward", cls.name(), tuple(arrays), outs, time.perf_counter() - start, node)
            for hook in state.hooks:
                hook(event)
        if not any_tensor:
            return out
        if type(out) is tuple:
            return _wrap_outputs(node, arrays, out, wanted)
        if not isinstance(out, _ndarray) and not is_array(out):
            out = np.asarray(out)  # NumPy reduces to scalars
        tensor = _new_tensor(Tensor)
        tensor._data = out
        tensor.grad = tensor._hooks = tensor._grad_slot = None
        tensor._leaf = False
        if wanted and out.dtype.kind in "fc":
            node._sequence = next(_sequence)
            node._clock = versions.clock
            node._shape, node._dtype = out.shape, out.dtype
            if node._saved:
                node._ids = [id(array) for array in arrays]
                node._output_ids = (id(out),)
            tensor._node = node
        else:
            tensor._node = None
        return tensor


_new_tensor = Tensor.__new__


def _wrap_outputs(node: Node, arrays: list[Any], outputs: tuple[Any, ...], wanted: bool) -> tuple[Tensor, ...]:
    """Tensors for the outputs of an operation that has several, each hanging on a slot of ``node``."""
    outputs = tuple(out if is_array(out) else np.asarray(out) for out in outputs)
    if wanted:
        node._sequence = next(_sequence)
        node._clock = versions.clock
        node._index = -1
        node._shape, node._dtype = tuple(out.shape for out in outputs), tuple(out.dtype for out in outputs)
        node._slots = [None] * len(outputs)
        node._ids, node._output_ids = [id(array) for array in arrays], tuple(map(id, outputs))
    return tuple(
        Tensor._make(out, node.slot(i, out) if wanted and out.dtype.kind in "fc" else None)
        for i, out in enumerate(outputs)
    )


class _Select(Function):
    """One output of an operation that has several; the backward pass hands its gradient to that operation."""


def _describe(array: Array) -> str:
    return f"{array.dtype} {tuple(array.shape)}"


# --------------------------------------------------------------------------------------------------- the backward pass


def run_backward(
    roots: Sequence[tuple[Tensor, Any]],
    *,
    retain_graph: bool,
    create_graph: bool,
    targets: Sequence[Tensor] | None = None,
) -> list[Any]:
    """Push gradients from ``roots`` (tensor, its gradient) down the tape.

    With ``targets`` returns their gradients (None where there is no path) and leaves every ``.grad`` alone; without, adds
    to the ``.grad`` of every leaf. ``create_graph=True`` runs on Tensors and records what it does.
    """
    pending: dict[Node | Tensor, Any] = {}
    owned: set[Node | Tensor] = set()
    heap: list[tuple[int, Node]] = []
    captured: dict[Node | Tensor, Any] = {}
    needed: set[Node | Tensor] | None = None
    if targets is not None:
        wanted = {target._node or target for target in targets}
        needed = _leading_to(wanted, [root._node or root for root, _ in roots])
    else:
        wanted = set()
    hooks = _state.hooks

    def give(parent: Node | Tensor, gradient: Any) -> None:
        previous = pending.get(parent)
        if previous is not None:
            gradient = previous + gradient
            owned.add(parent)
        elif type(parent) is Node:
            heappush(heap, (-parent._sequence, parent))
        pending[parent] = gradient

    for root, gradient in roots:
        give(root._node or root, gradient)
    with set_grad_enabled(create_graph):
        while heap:
            node = heappop(heap)[1]
            gradient = pending.pop(node)
            owned.discard(node)
            if node._freed:
                raise RuntimeError(
                    f"{node._op.name()}: backward through a graph that has already been freed (output "
                    f"{np.dtype(node._dtype) if node._index != -1 else ''} {node._shape}); pass retain_graph=True to the "
                    "first backward, or detach() what later work takes from it"
                )
            if node._hooks:
                gradient = _call_hooks(node._hooks, gradient, create_graph)
            if node in wanted:
                captured[node] = gradient
                if needed is not None and not any(parent in needed for parent in node._parents):
                    continue
            if node._index is None:
                gradients = (gradient,)
            elif node._index >= 0:  # an output among several: collect until the operation's turn comes
                operation = node._parents[0]
                collected = pending.get(operation)
                if collected is None:
                    collected = pending[operation] = [None] * len(operation._shape)  # type: ignore[union-attr, index]
                    heappush(heap, (-operation._sequence, operation))  # type: ignore[union-attr]
                before = collected[node._index]
                collected[node._index] = gradient if before is None else before + gradient
                continue
            else:
                gradients = _with_zeros(node, gradient, create_graph)
            node.recording = create_graph
            start = time.perf_counter() if hooks else 0.0
            results = node._op.backward(node, *gradients)
            node.recording = False
            if type(results) is not tuple:
                results = (results,)
            if hooks:
                event = OperationEvent(
                    "backward", node._op.name(), gradients, results, time.perf_counter() - start, node
                )
                for hook in hooks:
                    hook(event)
            parents, op = node._parents, node._op
            if not retain_graph:
                node.free()
            if len(results) > len(parents):
                raise RuntimeError(
                    f"{op.name()}: backward returned {len(results)} gradients for {len(parents)} arguments of forward"
                )
            for parent, result in zip(parents, results, strict=False):
                if parent is None or result is None or (needed is not None and parent not in needed):
                    continue
                if type(parent) is Node:
                    shape, dtype = parent._shape, parent._dtype
                else:
                    shape, dtype = parent._data.shape, parent._data.dtype
                if not hasattr(result, "dtype") or result.shape != shape or result.dtype is not dtype:
                    result = _fit(op, result, shape, dtype)
                previous = pending.get(parent)
                if previous is None:
                    if type(parent) is Node:
                        heappush(heap, (-parent._sequence, parent))
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
        for leaf, gradient in pending.items():  # only leaves are left
            if leaf._hooks:
                gradient = _call_hooks(leaf._hooks, gradient, create_graph)
                owned.discard(leaf)
            if targets is None:
                _accumulate(leaf, gradient, leaf in owned, create_graph)
            elif leaf in wanted:
                captured[leaf] = gradient
    return [captured.get(target._node or target) for target in targets or ()]


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
                f"{op.name()}: backward returned a gradient of shape {tuple(gradient.shape)} for an input of shape {shape}"
            )
        gradient = F.sum_to(gradient, shape)
    return gradient if gradient.dtype == dtype else F.cast(gradient, dtype)


def _call_hooks(hooks: Sequence[Callable[[Tensor], Any]], gradient: Any, create_graph: bool) -> Any:
    """Let tensor hooks see, and replace, a gradient."""
    tensor = gradient if isinstance(gradient, Tensor) else Tensor._make(np.asarray(gradient) if not is_array(gradient) else gradient, None)
    for hook in hooks:
        replacement = hook(tensor)
        if replacement is not None:
            tensor = replacement
    return tensor if create_graph else tensor._data


def _accumulate(leaf: Tensor, gradient: Any, owned: bool, create_graph: bool) -> None:
    """Add ``gradient`` to ``leaf.grad``, in place only where the memory is the leaf's own."""
    if create_graph:
        leaf.grad = gradient if leaf.grad is None else leaf.grad + gradient
    elif leaf.grad is not None:
        if leaf.grad.requires_grad:
            leaf.grad = Tensor._make(leaf.grad._data + gradient, None)
        else:
            leaf.grad._data += gradient
            versions.note_write(leaf.grad._data)
    elif leaf._grad_slot is not None:
        leaf._grad_slot[...] = gradient
        leaf.grad = Tensor._make(leaf._grad_slot, None)
    else:
        leaf.grad = Tensor._make(gradient if owned and is_array(gradient) else array_module(leaf._data).array(gradient), None)


# -------------------------------------------------------------------------------------------------- switches and hooks


@contextmanager
def set_grad_enabled(enabled: bool) -> Iterator[None]:
    """Record operations, or not, within the block; for this thread only."""
    before, _state.enabled = _state.enabled, enabled
    try:
        yield
    finally:
        _state.enabled = before


def no_grad() -> Any:
    """Record nothing within the block (also usable as a decorator)."""
    return set_grad_enabled(False)


def enable_grad() -> Any:
    """Record again within a block inside :func:`no_grad`."""
    return set_grad_enabled(True)


def is_grad_enabled() -> bool:
    """Whether this thread records operations now."""
    return _state.enabled


@contextmanager
def operation_hook(hook: Callable[[OperationEvent], None]) -> Iterator[None]:
    """Call ``hook`` after every forward and every backward of every operation within the block, in this thread.

    Example: seconds by operation::

        seconds = collections.Counter()
        with operation_hook(lambda event: seconds.update({event.name + " " + event.phase: event.seconds})):
            model(x).sum().backward()
    """
    before, _state.hooks = _state.hooks, (*_state.hooks, hook)
    try:
        yield
    finally:
        _state.hooks = before
