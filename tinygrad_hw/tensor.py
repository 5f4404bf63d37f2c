"""Tensor: an array, its gradient, and the operators.

Methods and operators only forward to :mod:`tinygrad_hw.functional`, where each operation stands with its formula; the
import at the foot of this file closes that circle (functional -> autograd -> tensor) once the class exists.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tinygrad_hw import versions
from tinygrad_hw.backend import Array, device_of, is_array, parse_device, to_numpy
from tinygrad_hw.operands import numbers_of


def raw_of(value: Any) -> Any:
    """The array of a Tensor; anything else as it is."""
    return value._data if isinstance(value, Tensor) else value


class Tensor:
    """An array that remembers how it came about.

    Make one with :func:`tensor`. A *leaf* with ``requires_grad=True`` receives its gradient in ``.grad`` when
    ``backward()`` is called on something computed from it; gradients add up over calls.

    Attributes:
        grad: the gradient, a Tensor of the same shape and dtype, or None.
    """

    # Two slots are set for every result; what few tensors have stands in the class and moves to an instance when set.
    __slots__ = ("__dict__", "__weakref__", "_data", "_node")
    __array_ufunc__ = None  # so that array + Tensor comes to Tensor.__radd__

    _data: Array
    _node: Any  # the autograd.Node that made it; None for leaves and constants
    _leaf: bool = False  # a leaf that wants a gradient
    _hooks: list[Callable[[Tensor], Tensor | None]] | None = None
    _grad_slot: Array | None = None  # where a flat optimiser wants the gradient written
    _grad: Tensor | None = None

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        if isinstance(data, Tensor):
            data = data._data[...]
        elif not is_array(data):
            data = numbers_of(data)
        self._data = data
        self._node = None
        if requires_grad:
            self.requires_grad = True

    @staticmethod
    def _make(array: Array, node: Any) -> Tensor:
        """A Tensor around ``array`` as it is, hanging on ``node`` (or None)."""
        self = Tensor.__new__(Tensor)
        self._data, self._node = array, node
        return self

    # ------------------------------------------------------------------------------------------------------ properties

    @property
    def data(self) -> Array:
        """The array itself. Writing to it after it was used in a forward pass makes that pass's backward raise."""
        versions.note_handed_out(self._data)
        return self._data

    @data.setter
    def data(self, array: Any) -> None:
        array = raw_of(array)
        if array is not self._data:
            if not is_array(array):
                raise TypeError(f"data: expected an array or a Tensor, got {type(array).__name__}")
            if tuple(array.shape) != self.shape:
                raise ValueError(f"data: expected shape {self.shape}, got {tuple(array.shape)}")
            if array.dtype != self.dtype:
                self._grad_slot = None
            self._data = array
        versions.note_write(self._data)

    @property
    def grad(self) -> Tensor | None:
        """The gradient, or None. May be set to a Tensor of this tensor's shape, dtype and device."""
        return self._grad

    @grad.setter
    def grad(self, gradient: Tensor | None) -> None:
        if gradient is not None:
            if not isinstance(gradient, Tensor):
                raise TypeError(f"grad: expected a Tensor or None, got {type(gradient).__name__}")
            self._must_match("grad", gradient._data)
        self._grad = gradient

    def _must_match(self, name: str, array: Any) -> None:
        if not is_array(array):
            raise TypeError(f"{name}: expected an array or a Tensor, got {type(array).__name__}")
        found = (array.dtype, tuple(array.shape), device_of(array))
        if found != (self.dtype, self.shape, self.device):
            raise ValueError(
                f"{name}: expected {self.dtype} {self.shape} on {self.device}, got {found[0]} {found[1]} on {found[2]}"
            )

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient is wanted: True for a leaf marked so, and for everything computed from one."""
        return self._leaf or self._node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if self._node is not None:
            if value:
                return
            raise RuntimeError("requires_grad: only a leaf can be switched off; use detach() for a computed tensor")
        if value and self.dtype.kind != "f":
            raise TypeError(f"requires_grad: expected a real floating dtype, got {self.dtype}")
        self._leaf = bool(value)

    @property
    def is_leaf(self) -> bool:
        """True when no recorded operation made it."""
        return self._node is None

    @property
    def grad_fn(self) -> Any:
        """The node that made it, or None."""
        return self._node

    @property
    def shape(self) -> tuple[int, ...]:
        return self._data.shape

    @property
    def ndim(self) -> int:
        return self._data.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self._data.size

    @property
    def dtype(self) -> np.dtype:
        return self._data.dtype

    @property
    def device(self) -> str:
        """``"cpu"`` or ``"cuda:N"``."""
        return device_of(self._data)

    @property
    def T(self) -> Tensor:
        """All axes reversed."""
        return F.transpose(self)

    @property
    def mT(self) -> Tensor:
        """The last two axes exchanged."""
        return F.transpose(self, -1, -2)

    # ---------------------------------------------------------------------------------------- values out of the engine

    def item(self) -> Any:
        """The only element, as a Python number."""
        return self._data.item()

    def numpy(self) -> np.ndarray:
        """The values as a read-only NumPy array (a view on the CPU, a copy from a GPU).

        Raises RuntimeError when a gradient is required: call ``detach()`` first.
        """
        if self.requires_grad:
            raise RuntimeError("numpy: this tensor requires a gradient; use t.detach().numpy()")
        view = to_numpy(self._data).view()
        view.flags.writeable = False
        return view

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        return self._data.tolist()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.device != "cpu":
            raise TypeError(
                f"a tensor on {self.device} does not turn into a NumPy array by itself; use t.to('cpu').numpy()"
            )
        array = self.numpy()
        return np.array(array, dtype=dtype) if copy or dtype is not None else array

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        name = function.__name__
        ours = f"tinygrad_hw.functional.{name}, or " if name in F.__all__ else ""
        raise TypeError(f"numpy.{name} does not take tensors: use {ours}t.detach().numpy()")

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self._node is not None:
            raise RuntimeError("only leaves can be copied or pickled: this tensor was computed; detach() it first")
        return _rebuilt, (type(self), self._data, self._leaf)

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and self.size == 1 else format(repr(self), spec)

    def __float__(self) -> float:
        return float(self._data)

    def __int__(self) -> int:
        return int(self._data)

    def __bool__(self) -> bool:
        return bool(self._data)

    def __index__(self) -> int:
        return operator.index(self._data.item() if self.ndim == 0 else self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[Tensor]:
        if self.ndim == 0:
            raise TypeError("iteration over a tensor without axes")
        return (self[i] for i in range(len(self)))

    __hash__ = object.__hash__  # by identity; == compares entries

    def __repr__(self) -> str:
        body = np.array2string(to_numpy(self._data), separator=", ", prefix="tensor(", precision=4)
        notes = "" if self.dtype in (np.float32, np.int64, np.bool_) else f", dtype={self.dtype}"
        notes += "" if self.device == "cpu" else f", device={self.device!r}"
        if self._node is not None:
            notes += f", grad_fn={self._node!r}"
        elif self._leaf:
            notes += ", requires_grad=True"
        return f"tensor({body}{notes})"

    # ------------------------------------------------------------------------------------------------------- gradients

    def backward(self, gradient: Any = None, *, retain_graph: bool | None = None, create_graph: bool = False) -> None:
        """Add to the ``.grad`` of every leaf the gradient of this tensor with respect to it.

        Args:
            gradient: the gradient of some scalar with respect to this tensor, of its shape; 1 for a tensor of one
                element.
            retain_graph: keep the tape for a further backward (default: as ``create_graph``).
            create_graph: record the backward pass itself, for higher derivatives.

        Raises:
            RuntimeError: nothing to differentiate, a gradient is missing, or the tape was freed.
        """
        derivatives.backward([self], [gradient], retain_graph=retain_graph, create_graph=create_graph)

    def detach(self) -> Tensor:
        """The same memory, cut off from the tape."""
        return Tensor._make(self._data[...], None)  # a view: operations tell their operands apart by the array object

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        self.requires_grad = requires_grad
        return self

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> Callable[[], None]:
        """Call ``hook(gradient)`` when this tensor's gradient is complete; what it returns (if not None) replaces it.

        Returns a function that removes the hook. Raises RuntimeError when no gradient is required.
        """
        if not self.requires_grad:
            raise RuntimeError("register_hook: this tensor does not require a gradient")
        holder = self if self._node is None else self._node
        if holder._hooks is None:
            holder._hooks = []
        hooks = holder._hooks
        hooks.append(hook)
        return lambda: hooks.remove(hook) if hook in hooks else None

    def retain_grad(self) -> None:
        """Keep the gradient of a computed tensor in ``.grad`` as well."""
        if self._node is not None:
            reference = weakref.ref(self)

            def keep(gradient: Tensor) -> None:
                tensor = reference()
                if tensor is not None:
                    tensor.grad = gradient if tensor.grad is None else tensor.grad + gradient

            self.register_hook(keep)

    # -------------------------------------------------------------------------------------------------- change in place

    def _on_tape(self, other: Any) -> bool:
        """Whether an operation on the two would be recorded."""
        return is_grad_enabled() and (self.requires_grad or (isinstance(other, Tensor) and other.requires_grad))

    def _write(self, name: str, value: Any) -> Tensor:
        if self._on_tape(value):
            raise RuntimeError(
                f"{name}: a tensor that requires a gradient cannot be changed in place, or written into another, while "
                "recording; write x = x + ... instead, or wrap a plain update in no_grad()"
            )
        self._data[...] = raw_of(value)
        versions.note_write(self._data)
        return self

    def _augmented(self, name: str, function: Callable[[Any, Any], Any], other: Any) -> Tensor:
        """``x += other``: a new tensor where it must be recorded (``total += loss``), else a change in place."""
        if not self._leaf and self._on_tape(other):
            return function(self, other)
        value = function(self._data, raw_of(other))
        if not np.can_cast(value.dtype, self.dtype, "same_kind"):
            raise TypeError(f"{name}: a result {value.dtype} cannot be stored in a tensor {self.dtype}")
        return self._write(name, value)

    def copy_(self, other: Any) -> Tensor:
        """Overwrite the values with those of ``other`` (broadcast, cast)."""
        return self._write("copy_", other)

    def zero_(self) -> Tensor:
        return self._write("zero_", 0)

    def fill_(self, value: float) -> Tensor:
        return self._write("fill_", value)

    def __iadd__(self, other: Any) -> Tensor:
        return self._augmented("+=", F.add, other)

    def __isub__(self, other: Any) -> Tensor:
        return self._augmented("-=", F.sub, other)

    def __imul__(self, other: Any) -> Tensor:
        return self._augmented("*=", F.mul, other)

    def __itruediv__(self, other: Any) -> Tensor:
        return self._augmented("/=", F.div, other)

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(value, Tensor) and not value.requires_grad and _same_memory(value._data, self._data, key):
            return  # x[key] += 1 on plain data, done already through the view x[key]
        raise TypeError(
            "tensors are not assigned into: use where(mask, value, x), x.index_add(axis, index, source) or "
            "concatenate([...]); for plain data without gradient write to x.data[...]"
        )

    # ------------------------------------------------------------------------------------------------ dtype and device

    def to(self, *args: Any, dtype: Any = None, device: str | None = None) -> Tensor:
        """This tensor on another device and/or in another dtype: ``t.to("cuda")``, ``t.to(np.float64)``.

        Differentiable: the gradient travels back to the original device and dtype. Returns itself if nothing changes.
        """
        for arg in args:
            if isinstance(arg, str) and arg.partition(":")[0] in ("cpu", "cuda"):
                device = arg
            elif isinstance(arg, str) and arg not in np.sctypeDict:
                parse_device(arg)  # raises: it names neither a device nor a dtype
            elif isinstance(arg, Tensor):
                dtype, device = arg.dtype, arg.device
            else:
                dtype = arg
        result = self
        if device is not None:
            result = F.to_device(result, device)
        return result if dtype is None or np.dtype(dtype) == result.dtype else F.cast(result, dtype)

    def cpu(self) -> Tensor:
        return self.to("cpu")

    def float(self) -> Tensor:
        return self.to(np.float32)

    def double(self) -> Tensor:
        return self.to(np.float64)

    def astype(self, dtype: Any) -> Tensor:
        return self.to(dtype)

    # ------------------------------------------------------------------------------------------------------- operators

    def __add__(self, other: Any) -> Tensor:
        return F.add(self, other)

    def __radd__(self, other: Any) -> Tensor:
        return F.add(other, self)

    def __sub__(self, other: Any) -> Tensor:
        return F.sub(self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return F.sub(other, self)

    def __mul__(self, other: Any) -> Tensor:
        return F.mul(self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return F.mul(other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return F.div(self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return F.div(other, self)

    def __pow__(self, other: Any) -> Tensor:
        return F.pow(self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return F.pow(other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return F.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return F.matmul(other, self)

    def __neg__(self) -> Tensor:
        return F.neg(self)

    def __pos__(self) -> Tensor:
        return self

    def __abs__(self) -> Tensor:
        return F.abs(self)

    def __getitem__(self, key: Any) -> Tensor:
        return F.getitem(self, key)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return F.eq(self, other)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return F.ne(self, other)

    def __lt__(self, other: Any) -> Tensor:
        return F.lt(self, other)

    def __le__(self, other: Any) -> Tensor:
        return F.le(self, other)

    def __gt__(self, other: Any) -> Tensor:
        return F.gt(self, other)

    def __ge__(self, other: Any) -> Tensor:
        return F.ge(self, other)

    def __invert__(self) -> Tensor:
        return F.logical_not(_boolean("~", self))

    def __and__(self, other: Any) -> Tensor:
        return F.logical_and(_boolean("&", self), _boolean("&", other))

    def __or__(self, other: Any) -> Tensor:
        return F.logical_or(_boolean("|", self), _boolean("|", other))

    def __getattr__(self, name: str) -> Any:
        """``x.exp()`` is ``F.exp(x)``: for every function of :mod:`tinygrad_hw.functional` but FUNCTIONS_ONLY."""
        if name in METHODS:
            return getattr(F, name).__get__(self)
        raise AttributeError(f"Tensor has no attribute {name!r}")

    def __dir__(self) -> Sequence[str]:
        return sorted({*super().__dir__(), *METHODS})


def _rebuilt(kind: type[Tensor], array: Array, leaf: bool) -> Tensor:
    """A leaf out of a copy or a pickle."""
    tensor = kind.__new__(kind)
    tensor._data, tensor._node = array, None
    if leaf:
        tensor._leaf = True
    return tensor


def _same_memory(view: Array, array: Array, key: Any) -> bool:
    """Whether ``view`` is ``array[key]``, not a copy of it."""
    if not isinstance(array, np.ndarray) or view.base is None:
        return False
    target = array[raw_of(key)]
    return isinstance(target, np.ndarray) and target.__array_interface__ == view.__array_interface__


def _boolean(operator_: str, value: Any) -> Any:
    """Refuse what would give another result than Python's or NumPy's operator does."""
    if np.result_type(raw_of(value)).kind != "b":
        raise TypeError(f"{operator_}: expected booleans, got {np.result_type(raw_of(value))}")
    return value


# Below this line: the circle described at the top.
from tinygrad_hw import derivatives  # noqa: E402
from tinygrad_hw import functional as F  # noqa: E402
from tinygrad_hw.autograd import is_grad_enabled  # noqa: E402

# Functions whose first argument is not the one tensor that they are about.
FUNCTIONS_ONLY = frozenset(
    """
    binary_cross_entropy binary_cross_entropy_with_logits cast concatenate cross_entropy dropout einsum embedding
    gaussian_kl getitem huber_loss l1_loss linear mse_loss nll_loss stack sum_to to_device where
    """.split()  # noqa: SIM905  (a list of names reads better as text)
)
METHODS = frozenset(F.__all__) - FUNCTIONS_ONLY
