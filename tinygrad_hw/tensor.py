"""Tensor: an array, its gradient, and the operators.

Methods and operators only forward to :mod:`tinygrad_hw.functional`, where each operation stands with its formula; the
import at the foot of this file closes that circle (functional -> autograd -> tensor) once the class exists.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tinygrad_hw import versions
from tinygrad_hw.backend import Array, array_module, device_of, is_array, to_device, to_numpy
from tinygrad_hw.operands import get_default_dtype


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
    grad: Tensor | None = None

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        self._data = (
            data if is_array(data) else np.asarray(data, dtype=None if hasattr(data, "dtype") else _dtype_for(data))
        )
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
        array = array._data if isinstance(array, Tensor) else array
        if array is not self._data:
            if tuple(array.shape) != self.shape:
                raise ValueError(f"data: expected shape {self.shape}, got {tuple(array.shape)}")
            if array.dtype != self.dtype:
                self._grad_slot = None
            self._data = array
        versions.note_write(self._data)

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
        if value and self.dtype.kind not in "fc":
            raise TypeError(f"requires_grad: expected a floating dtype, got {self.dtype}")
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

    def __hash__(self) -> int:
        return id(self)

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
        from tinygrad_hw.derivatives import backward

        backward([self], [gradient], retain_graph=retain_graph, create_graph=create_graph)

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
        import weakref

        if self._node is not None:
            reference = weakref.ref(self)

            def keep(gradient: Tensor) -> None:
                tensor = reference()
                if tensor is not None:
                    tensor.grad = gradient if tensor.grad is None else tensor.grad + gradient

            self.register_hook(keep)

    # -------------------------------------------------------------------------------------------------- change in place

    def _write(self, name: str, value: Array) -> Tensor:
        if self.requires_grad and is_grad_enabled():
            raise RuntimeError(
                f"{name}: a tensor that requires a gradient cannot be changed in place while recording; write "
                "x = x + ... instead, or wrap a plain update in no_grad()"
            )
        self._data[...] = value
        versions.note_write(self._data)
        return self

    def copy_(self, other: Any) -> Tensor:
        """Overwrite the values with those of ``other`` (broadcast, cast)."""
        return self._write("copy_", _raw(other))

    def zero_(self) -> Tensor:
        return self._write("zero_", 0)

    def fill_(self, value: float) -> Tensor:
        return self._write("fill_", value)

    def __iadd__(self, other: Any) -> Tensor:
        return self._write("+=", self._data + _raw(other))

    def __isub__(self, other: Any) -> Tensor:
        return self._write("-=", self._data - _raw(other))

    def __imul__(self, other: Any) -> Tensor:
        return self._write("*=", self._data * _raw(other))

    def __itruediv__(self, other: Any) -> Tensor:
        return self._write("/=", self._data / _raw(other))

    def __setitem__(self, key: Any, value: Any) -> None:
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

    def cuda(self) -> Tensor:
        return self.to("cuda")

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
        return F.logical_not(self)

    def __and__(self, other: Any) -> Tensor:
        return F.logical_and(self, other)

    def __or__(self, other: Any) -> Tensor:
        return F.logical_or(self, other)

    def __getattr__(self, name: str) -> Any:
        """``x.exp()`` is ``F.exp(x)``: for every function of :mod:`tinygrad_hw.functional` but FUNCTIONS_ONLY."""
        if name in METHODS:
            return getattr(F, name).__get__(self)
        raise AttributeError(f"Tensor has no attribute {name!r}")

    def __dir__(self) -> Sequence[str]:
        return sorted({*super().__dir__(), *METHODS})


def _dtype_for(data: Any) -> np.dtype | None:
    """The default floating dtype for Python floats, int64 for ints, bool for bools."""
    kind = np.asarray(data).dtype.kind
    return get_default_dtype() if kind == "f" else None


def _raw(value: Any) -> Any:
    return value._data if isinstance(value, Tensor) else value


def tensor(data: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A new leaf with a copy of ``data``.

    Args:
        data: numbers, nested lists, an array or a Tensor. Python floats become the default dtype (float32), integers
            int64; arrays keep their dtype.
        dtype: NumPy dtype or its name.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``; default: where ``data`` is, else the CPU.
        requires_grad: whether ``.grad`` is wanted.

    Raises:
        TypeError: ``data`` is no rectangular collection of numbers, or ``requires_grad`` with an integer dtype.
        DeviceError: the device is unknown or missing.
    """
    raw = _raw(data)
    if not is_array(raw):
        if dtype is None and not isinstance(raw, np.generic):
            dtype = _dtype_for(raw)
        raw = np.asarray(raw)
        if raw.dtype.kind not in "biufc":
            raise TypeError(f"tensor: expected numbers, got {raw.dtype} from {type(data).__name__}")
    array = array_module(raw).array(raw, dtype=dtype)
    return Tensor(array if device is None else to_device(array, device), requires_grad)


def _creation(fill: str) -> Callable[..., Tensor]:
    def make(*shape: Any, dtype: Any = None, device: str = "cpu", requires_grad: bool = False) -> Tensor:
        sizes = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], (int, np.integer)) else shape
        array = getattr(np, fill)(sizes, dtype=dtype or get_default_dtype())
        return Tensor(to_device(array, device), requires_grad)

    make.__name__ = make.__qualname__ = fill
    make.__doc__ = (
        f"A tensor of {fill}, of the given shape: ``{fill}(2, 3)`` or ``{fill}((2, 3))``; dtype as ``tensor``."
    )
    return make


zeros = _creation("zeros")
ones = _creation("ones")

# Below this line: the circle described at the top.
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
