"""The tape: operations (:class:`Function`), the nodes that they leave behind, and the backward pass.

A node stands apart from the values: it holds its parents, what the operation asked to keep, and the shape and dtype of
its output, but never the output itself. So there is no reference cycle, and an intermediate value dies with its last
user. The backward pass over the nodes is in :mod:`tinygrad_hw.backward_pass`.

A ``backward`` is written once and serves twice: on arrays by default, on recorded Tensors under ``create_graph=True``.
"""

from __future__ import annotations

import inspect
import itertools
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ContextDecorator, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_hw import versions
from tinygrad_hw.backend import Array, is_array
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
    """What an operation hook is told.

    ``phase`` is "forward" or "backward", ``inputs`` and ``outputs`` are the arguments and results of that phase,
    ``seconds`` is its duration on the host, ``node`` the tape's node.
    """

    phase: str
    name: str
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    seconds: float
    node: Node


class NotTwiceDifferentiableError(RuntimeError):
    """``create_graph=True`` met an operation whose backward cannot be recorded."""


class _Rare:
    __slots__ = ()
    recording = False  # backward runs on Tensors, under create_graph=True
    _hooks: list[Callable[[Tensor], Tensor | None]] | None = None
    _index: int | None = None  # None: one output; -1: several; otherwise the slot of one output among several
    _trace: str | None = None  # the line that ran it forward, in anomaly mode
    _fingerprint: list[int | None] | None = None  # of what it kept, in anomaly mode
    _places: Sequence[Any] = ()  # where backward may write the gradients of its arguments


class Node(_Rare):
    """One recorded operation; the ``ctx`` that its ``forward`` and ``backward`` receive.

    Besides the attributes below, an operation may set its own (``ctx.axis = axis``): numbers, shapes, masks, i.e. what
    carries no gradient.
    """

    # What every node has is a slot; what few nodes have stands in _Rare and moves to the instance when set.
    __slots__ = (
        "__dict__", "__weakref__", "_clock", "_dtype", "_ids", "_op", "_output_ids", "_parents", "_saved", "_sequence",
        "_shape", "_slots", "needs_input_grad",
    )  # fmt: skip

    _op: type[Function]
    _parents: Sequence[Node | Tensor | None]
    _saved: tuple[Any, ...] | None  # None once freed
    _sequence: int  # its age: greater than that of every parent
    _clock: int  # versions.clock when it saved its arrays
    _shape: Any  # of the output; a tuple of shapes where there are several
    _dtype: Any
    _ids: list[int]  # of the arguments' arrays, to find among them what was saved
    _output_ids: tuple[int, ...]
    _slots: list[weakref.ref[Node] | None]
    needs_input_grad: list[bool]

    def save_for_backward(self, *arrays: Array | None) -> None:
        """Keep inputs or outputs of ``forward`` for ``backward``; checked there for changes in place."""
        self._saved = arrays

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What ``save_for_backward`` kept: arrays, or under ``create_graph=True`` Tensors that are on the tape.

        Raises :class:`NotTwiceDifferentiableError` when one of them would have to be a Tensor but is neither input nor
        output.
        """
        if self._saved is None:
            raise RuntimeError(f"{self._op.name()}: its saved arrays have already been freed")
        return tuple(map(self._recorded, self._saved)) if self.recording else self._saved

    def place(self, index: int) -> Array | None:
        """The array to which ``backward`` may write the gradient of argument ``index``, and return it; or None.

        Given to operations with ``writes_in_place = True`` alone, for arguments whose gradient is awaited in a certain
        place (that of a flat optimiser): they save its being copied there.
        """
        return self._places[index] if self._places else None

    def _kept(self) -> list[Any]:
        """Every value that the operation keeps for backward: the saved arrays, then its own attributes."""
        return [*(self._saved or ()), *(value for value in vars(self).values() if is_array(value))]

    def _check_unchanged(self) -> None:
        """Raise RuntimeError if something that the operation keeps was changed in place since forward."""
        kept = self._kept()
        changed = versions.changed_since(self._clock, kept)
        if changed is not None:
            raise RuntimeError(
                f"{self._op.name()}: saved array {changed} ({_describe(kept[changed])}) was changed in place between "
                "forward and backward; change a copy instead, e.g. x = x + 1 in place of x += 1"
            )

    def _check_attributes(self) -> None:
        """Raise if an operand was kept as an attribute, which ``create_graph=True`` would take for a constant."""
        for name, value in vars(self).items():
            if is_array(value) and value.dtype.kind == "f" and id(value) in (*self._ids, *self._output_ids):
                raise NotTwiceDifferentiableError(
                    f"{self._op.name()}: ctx.{name} is an input or output of forward; keep it by "
                    "ctx.save_for_backward instead, so that create_graph=True can differentiate through it"
                )

    def _recorded(self, array: Any) -> Any:
        """The Tensor that the saved ``array`` was: an input, an output, or a constant."""
        if not is_array(array):
            return array
        if id(array) in self._ids:
            parent, *others = {p for i, p in zip(self._ids, self._parents, strict=True) if i == id(array)}
            if others:
                raise RuntimeError(
                    f"{self._op.name()}: two operands are one array ({_describe(array)}) but not one tensor, so "
                    "create_graph=True cannot tell them apart; pass a copy, or detach(), for the constant one"
                )
            return parent if isinstance(parent, Tensor) else Tensor._make(array, parent)
        if id(array) in self._output_ids:
            if self._index == -1:
                return Tensor._make(array, self._make_slot(self._output_ids.index(id(array)), array))
            return Tensor._make(array, self)
        if array.dtype.kind in "fc":
            raise NotTwiceDifferentiableError(
                f"{self._op.name()}: create_graph=True needs saved arrays to be inputs or outputs, but one "
                f"({_describe(array)}) is an intermediate; recompute it in backward from the inputs"
            )
        return array

    def _make_slot(self, index: int, array: Array) -> Node:
        """The node of output ``index`` of an operation with several outputs; its only parent is the operation."""
        reference = self._slots[index]
        node = None if reference is None else reference()
        if node is None:
            node = Node()
            node._op, node._parents, node._saved, node._index = _Select, (self,), (), index
            node._shape, node._dtype = array.shape, array.dtype
            node._sequence, node._clock = next(_sequence), versions.clock
            self._slots[index] = weakref.ref(node)
        return node

    def _free(self) -> None:
        """Drop everything that keeps arrays or other nodes alive."""
        index = self._index
        self._saved, self._parents = None, ()
        self.__dict__.clear()
        if index is not None:
            self._index = index

    def __repr__(self) -> str:
        return f"<{self._op.name()}Backward>"


class Function:
    """A differentiable operation: subclass it with static ``forward`` and ``backward``, call it by ``apply``.

    ``forward(ctx, *args)`` receives plain arrays where Tensors were given, and everything else as it is; it returns an
    array or a tuple of arrays, and calls ``ctx.save_for_backward`` with those inputs and outputs that ``backward``
    needs. ``backward(ctx, *grad_outputs)`` returns one gradient (or None) for each argument of ``forward``; trailing
    Nones may be left out. Written with operators and functions of :mod:`tinygrad_hw.functional`, which take arrays and
    Tensors alike, it serves ``create_graph=True`` too. ``ctx.needs_input_grad[i]`` tells whether a gradient is wanted.

    With ``broadcasts = True`` in the class, operands follow type promotion, and each gradient is summed to its input's
    shape if that was broadcast. ``ctx.name = value`` keeps numbers, shapes and masks, i.e. constants.

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
    _users = True  # defined outside the engine
    fresh = False  # each gradient that backward returns is a new array that nobody else holds
    writes_in_place = False  # backward asks ctx.place(i) where to write

    def __init_subclass__(cls) -> None:
        cls._users = not cls.__module__.startswith("tinygrad_hw.")

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
        hooks = _state.hooks
        arrays: list[Any] = []
        parents: list[Node | Tensor | None] = []
        wants: list[bool] = []
        dtype = None
        regular, any_tensor, wanted = True, False, False
        for arg in args:
            if isinstance(arg, Tensor):
                any_tensor = True
                parent = arg._node
                if parent is None and arg._leaf:
                    parent = arg
                parents.append(parent)
                if parent is None:
                    wants.append(False)
                else:
                    wants.append(True)
                    wanted = True
                arg = arg._data
            else:
                parents.append(None)
                wants.append(False)
                if type(arg) is not _ndarray:
                    if isinstance(arg, np.generic):
                        arg = arg.item()  # a NumPy scalar is as weak as a Python number
                    elif type(arg) is not float and type(arg) is not int and (cls.broadcasts or hasattr(arg, "dtype")):
                        regular = False  # an array of another library, or what is no operand
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
        node = Node()
        node._op = cls
        node._saved = ()
        node.needs_input_grad = wants
        if wanted:
            if _state.enabled:
                node._parents = parents
            else:
                wanted = False
                node.needs_input_grad = [False] * len(parents)
        start = time.perf_counter() if hooks else 0.0
        try:
            out = cls.forward(node, *arrays)
        except (TypeError, ValueError, IndexError, np.linalg.LinAlgError) as error:
            explained = explain(cls.name(), arrays, error)
            if explained is error:
                raise
            raise explained from error
        if type(out) is list:
            out = tuple(out)
        if hooks:
            outs = out if type(out) is tuple else (out,)
            event = OperationEvent("forward", cls.name(), tuple(arrays), outs, time.perf_counter() - start, node)
            for hook in hooks:
                hook(event)
        if not any_tensor:
            return np.asarray(out) if isinstance(out, np.generic) else out
        if type(out) is tuple:
            return _wrap_outputs(node, arrays, out, wanted)
        if type(out) is not _ndarray:
            if not isinstance(out, np.generic) and not is_array(out):
                raise TypeError(
                    f"{cls.name()}: forward must return an array or a tuple of arrays, got {type(out).__name__}"
                )
            if isinstance(out, np.generic):  # NumPy gives scalars where there are no axes
                node._saved = _replaced(node._saved, (out,), (array := np.asarray(out),))
                out = array
        tensor = _new_tensor(Tensor)
        tensor._data = out
        if wanted and out.dtype.kind == "f":
            node._sequence = next(_sequence)
            node._clock = versions.clock
            node._shape, node._dtype = out.shape, out.dtype
            if node._saved or cls._users:
                node._ids = list(map(id, arrays))
                node._output_ids = (id(out),)
            tensor._node = node
        else:
            tensor._node = None
            if wanted and out.dtype.kind == "c":
                raise TypeError(
                    f"{cls.name()}: gradients of complex results are not defined here; detach() the operands"
                )
        return tensor


_new_tensor = Tensor.__new__


def _wrap_outputs(node: Node, arrays: list[Any], outputs: tuple[Any, ...], wanted: bool) -> tuple[Tensor, ...]:
    """Tensors for the outputs of an operation that has several, each hanging on a slot of ``node``."""
    given, outputs = outputs, tuple(out if is_array(out) else np.asarray(out) for out in outputs)
    node._saved = _replaced(node._saved, given, outputs)
    if wanted:
        node._sequence = next(_sequence)
        node._clock = versions.clock
        node._index = -1
        node._shape, node._dtype = tuple(out.shape for out in outputs), tuple(out.dtype for out in outputs)
        node._slots = [None] * len(outputs)
        node._ids, node._output_ids = [id(array) for array in arrays], tuple(map(id, outputs))
    return tuple(
        Tensor._make(out, node._make_slot(i, out) if wanted and out.dtype.kind == "f" else None)
        for i, out in enumerate(outputs)
    )


def _replaced(saved: Any, given: tuple[Any, ...], made: tuple[Any, ...]) -> tuple[Any, ...]:
    """``saved``, each output that was ``given`` as a scalar replaced by the array ``made`` of it."""
    return tuple(next((new for old, new in zip(given, made, strict=True) if old is kept), kept) for kept in saved)


class _Select(Function):
    """One output of an operation that has several; the backward pass hands its gradient to that operation."""


def _describe(array: Array) -> str:
    return f"{array.dtype} {tuple(array.shape)}"


# -------------------------------------------------------------------------------------------------- switches and hooks


class set_grad_enabled(ContextDecorator):
    """Record operations, or not, in this thread: as a statement from now on, as a block or decorator within it."""

    def __init__(self, enabled: bool) -> None:
        self._enabled, self._before = enabled, _state.enabled
        _state.enabled = enabled

    def __enter__(self) -> None:
        _state.enabled = self._enabled

    def __exit__(self, *exception: object) -> None:
        _state.enabled = self._before


class _GradMode(ContextDecorator):
    """A switch that is set when the block, or the decorated function, is entered."""

    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled
        self._before: list[bool] = []  # a stack: a decorated function may call itself

    def __enter__(self) -> None:
        self._before.append(_state.enabled)
        _state.enabled = self._enabled

    def __exit__(self, *exception: object) -> None:
        _state.enabled = self._before.pop()

    def __call__(self, function: Any) -> Any:
        if inspect.isgeneratorfunction(function):
            raise TypeError(f"no_grad cannot decorate the generator {function.__name__}: use a with block inside it")
        return super().__call__(function)

    def _recreate_cm(self) -> _GradMode:
        return _GradMode(self._enabled)  # threads may run a decorated function side by side


def no_grad() -> _GradMode:
    """Record nothing within the block (also usable as a decorator)."""
    return _GradMode(False)


def enable_grad() -> _GradMode:
    """Record again within a block inside :func:`no_grad`."""
    return _GradMode(True)


def is_grad_enabled() -> bool:
    """Whether this thread records operations now."""
    return _state.enabled


def current_hooks() -> tuple[Callable[[OperationEvent], None], ...]:
    """The operation hooks of this thread."""
    return _state.hooks


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
