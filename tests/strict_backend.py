"""A test backend that is NumPy underneath but behaves like CuPy, so that the GPU path is exercised without a GPU.

Its arrays are of a class of their own that wraps a NumPy array. Like CuPy's they refuse to mix with NumPy arrays, to
turn into one implicitly and to be used as a Python index; reductions and single elements come as arrays without axes,
never as scalars; and only names, methods and parameters that the real CuPy has exist (tests/cupy_names.txt, made by
cupy_surface.py). It is stricter than CuPy in three points, each a hidden copy or synchronisation there: a NumPy array
as an index, NumPy's functions given one of its arrays, and lists where an array is meant. It does not imitate undefined
values: an index out of range and a singular matrix raise here as in NumPy, where a GPU gives some number.

``install()`` makes it device ``"strict:0"``.
"""

from __future__ import annotations

import copy
import operator
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tests.cupy_surface import SUBMODULES, Entry, load
from tinygrad_hw.backend import Backend, register_backend

NAMES = load()
_SCALARS = (bool, int, float, complex, np.generic)
_FROM_HOST = frozenset({"array", "asarray", "asanyarray", "ascontiguousarray", "asfortranarray"})
_ARRAY_FIRST = frozenset({"a", "x", "m", "arr", "array", "ary", "condition"})  # first parameters that must be arrays
_TAKES_ANYTHING = frozenset({"isscalar", "shape", "ndim", "size", "iscomplexobj", "isrealobj", "isfortran"})
_SCATTERED = ("int32", "uint32", "uint64", "float16", "float32", "float64")  # the dtypes of CuPy's atomic additions


class StrictArray:
    """What ``cupy.ndarray`` is to CuPy."""

    __slots__ = ("__weakref__", "_base", "_host")
    __hash__ = None  # type: ignore[assignment]
    __array_priority__ = 100

    def __init__(self, shape: Any, dtype: Any = float) -> None:
        self._host = np.empty(shape, dtype)
        self._base: StrictArray | None = None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "__call__" and not kwargs and isinstance(inputs[0], np.generic):  # np.float64(2) * array
            return _unary_or_binary(ufunc, *inputs)
        raise TypeError(
            f"numpy.{ufunc.__name__} was given a {type(self).__name__}: use the functions of its own array module"
        )

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        raise TypeError(f"numpy.{function.__name__} was given a StrictArray: use the functions of its own array module")

    def __getattr__(self, name: str) -> Any:
        entry = NAMES.get(f"ndarray.{name}")
        if entry is None or name.startswith("__"):
            raise AttributeError(f"'cupy.ndarray' object has no attribute {name!r}")
        if not hasattr(np.ndarray, name):
            raise NotImplementedError(f"the strict backend does not model cupy.ndarray.{name}")
        value = getattr(self._host, name)
        if entry.kind == "array-attribute":
            return _wrap(value, (self,))

        def method(*args: Any, **kwargs: Any) -> Any:
            _bind(f"ndarray.{name}", entry, args, kwargs)
            return _wrap(value(*_unwrap(args, name), **_unwrap(kwargs, name)), (self,))

        return method

    @property
    def data(self) -> Any:
        raise NotImplementedError("the strict backend has no device pointers")

    @property
    def flat(self) -> Any:
        raise NotImplementedError("the strict backend does not model cupy.ndarray.flat")

    @property
    def device(self) -> Any:
        return types.SimpleNamespace(id=0)

    @property
    def base(self) -> StrictArray | None:
        return self._base

    @property
    def flags(self) -> Any:
        flags = self._host.flags
        return types.SimpleNamespace(
            c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous, owndata=self._base is None
        )

    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> np.ndarray:
        """A NumPy copy."""
        return np.array(self._host, order=order)  # type: ignore[call-overload, no-any-return, unused-ignore]

    def set(self, arr: np.ndarray, stream: Any = None) -> None:
        """Copy from a NumPy array of the same shape and dtype."""
        if arr.shape != self._host.shape or arr.dtype != self._host.dtype:
            raise ValueError(f"set: expected {self._host.dtype} {self._host.shape}, got {arr.dtype} {arr.shape}")
        self._host[...] = arr

    def scatter_add(self, slices: Any, value: Any) -> None:
        _StrictUfunc("add").at(self, slices, value)

    def __getitem__(self, key: Any) -> Any:
        return _wrap(self._host[_index(key)], (self,))

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(value, list):
            raise TypeError("Unsupported type <class 'list'>")
        self._host[_index(key)] = _unwrap(value, "__setitem__")

    def __iter__(self) -> Iterator[Any]:
        if self._host.ndim == 0:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self._host)))

    def __len__(self) -> int:
        return len(self._host)

    def __bool__(self) -> bool:
        return bool(self._host)

    def __int__(self) -> int:
        return int(self._host.item())

    def __float__(self) -> float:
        return float(self._host.item())

    def __complex__(self) -> complex:
        return complex(self._host.item())

    def __copy__(self) -> StrictArray:
        return _wrap(self._host.copy())

    def __deepcopy__(self, memo: Any) -> StrictArray:
        return _wrap(copy.deepcopy(self._host, memo))

    def __repr__(self) -> str:
        return f"strict_{self._host!r}"


def _wrap(result: Any, sources: tuple[Any, ...] = ()) -> Any:
    """NumPy's result as CuPy would return it: arrays, also where NumPy gives scalars; plain tuples and lists of them.

    A view is given the array of ``sources`` that owns its memory as ``base``, and an array returned as it came in is
    that same object.
    """
    if isinstance(result, (tuple, list)):
        kind = list if isinstance(result, list) else tuple
        return kind(_wrap(part, sources) for part in result)
    if not isinstance(result, (np.ndarray, np.generic)):
        return result
    for source in sources:
        if result is source._host:
            return source
    array = StrictArray.__new__(StrictArray)
    array._host = np.asarray(result)
    owner = None if array._host.base is None else _memory_owner(array._host)
    array._base = next((s if s._base is None else s._base for s in sources if _memory_owner(s._host) is owner), None)
    return array


def _memory_owner(array: np.ndarray) -> Any:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _unwrap(value: Any, name: str) -> Any:
    """Arguments for NumPy; raises CuPy's TypeError where a NumPy array is among them."""
    if isinstance(value, StrictArray):
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {np.ndarray}" + ("" if name.startswith("__") else f" (in cupy.{name})"))
    if type(value) in (tuple, list):
        return type(value)(_unwrap(part, name) for part in value)
    if isinstance(value, dict):
        return {key: _unwrap(part, name) for key, part in value.items()}
    return value


def _arrays(value: Any) -> tuple[StrictArray, ...]:
    """Every strict array among arguments."""
    if isinstance(value, StrictArray):
        return (value,)
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return tuple(array for part in parts for array in _arrays(part))


def _index(key: Any) -> Any:
    """An index for NumPy: integers, slices, None, Ellipsis, strict arrays of integers or booleans, lists."""
    if isinstance(key, np.ndarray) or (isinstance(key, tuple) and any(isinstance(part, np.ndarray) for part in key)):
        raise TypeError("an index array on the CPU for an array on the device: move it there first")
    return _unwrap(key, "__getitem__")


def _bind(name: str, entry: Entry, args: Any, kwargs: Any) -> None:
    """Raise TypeError for arguments that the real function does not take."""
    if entry.signature is not None:
        try:
            entry.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"cupy.{name}() {error}") from None


def _unary_or_binary(function: Callable[..., Any], *operands: Any) -> Any:
    """An operator of StrictArray: NotImplemented for classes that answer themselves, TypeError for NumPy arrays."""
    for operand in operands:
        if not isinstance(operand, (StrictArray, np.ndarray, *_SCALARS)):
            if getattr(operand, "__array_ufunc__", 0) is None or operand is None:
                return NotImplemented
            raise TypeError(f"Unsupported type {type(operand)}")
    return _wrap(function(*_unwrap(operands, "__operator__")), _arrays(operands))


def _add_operators() -> None:
    """Every operator that both the real class and NumPy have."""
    names = [name.removeprefix("ndarray.").strip("_") for name in NAMES if name.startswith("ndarray.__")]
    for name in [*(set(names) - {"delitem"}), "eq", "ne", "lt", "le", "gt", "ge"]:
        dunder, reflected = f"__{name}__", name[:1] == "r" and f"ndarray.__{name[1:]}__" in NAMES
        plain = name[1:] if reflected else name
        function = divmod if plain == "divmod" else getattr(operator, f"__{plain}__", None)
        if function is None or dunder in vars(StrictArray):  # vars, since every class has type's own __or__
            continue
        setattr(
            StrictArray,
            dunder,
            _operator(function, reflected, in_place=f"ndarray.__{name[1:]}__" in NAMES and name[0] == "i"),
        )


def _operator(function: Callable[..., Any], reflected: bool, in_place: bool) -> Callable[..., Any]:
    def method(self: StrictArray, *others: Any) -> Any:
        return _unary_or_binary(function, *((*others, self) if reflected else (self, *others)))

    def change(self: StrictArray, other: Any) -> StrictArray:
        self._host = function(self._host, _unwrap(other, "__operator__"))
        return self

    return change if in_place else method


_add_operators()


class _StrictUfunc:
    """One of CuPy's universal functions: takes arrays and numbers, and ``out``, ``dtype`` and ``casting`` alone."""

    def __init__(self, name: str) -> None:
        self.name, self._ufunc = name, getattr(np, name)
        self.nin, self.nout = self._ufunc.nin, self._ufunc.nout

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        unknown = set(kwargs) - {"out", "dtype", "casting"}
        if unknown:
            raise TypeError(f"cupy.{self.name}() got an unexpected keyword argument {sorted(unknown)[0]!r}")
        for arg in args:
            if not isinstance(arg, (StrictArray, *_SCALARS)):
                raise TypeError(f"Unsupported type {type(arg)}")
        return _wrap(self._ufunc(*_unwrap(args, self.name), **_unwrap(kwargs, self.name)), _arrays((args, kwargs)))

    def at(self, a: StrictArray, indices: Any, b: Any = None) -> None:
        if self.name in ("add", "subtract") and a.dtype.name not in _SCATTERED:
            raise TypeError(f"scatter_add only supports {', '.join(_SCATTERED)}, as data type")
        operands = () if b is None else (_unwrap(b, self.name),)
        self._ufunc.at(_unwrap(a, self.name), _index(indices), *operands)

    def reduce(
        self, array: StrictArray, axis: Any = 0, dtype: Any = None, out: Any = None, keepdims: bool = False
    ) -> Any:
        return _wrap(self._ufunc.reduce(_unwrap(array, self.name), axis, dtype, _unwrap(out, self.name), keepdims))

    def accumulate(self, array: StrictArray, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
        return _wrap(self._ufunc.accumulate(_unwrap(array, self.name), axis, dtype, _unwrap(out, self.name)))

    def outer(self, A: StrictArray, B: StrictArray, **kwargs: Any) -> Any:
        return _wrap(self._ufunc.outer(_unwrap(A, self.name), _unwrap(B, self.name), **kwargs))


def _function(name: str, entry: Entry, function: Callable[..., Any]) -> Callable[..., Any]:
    """NumPy's ``function`` under CuPy's parameters."""
    short = name.rpartition(".")[2]
    first = next(iter(entry.signature.parameters), "") if entry.signature is not None else ""

    def call(*args: Any, **kwargs: Any) -> Any:
        _bind(name, entry, args, kwargs)
        given = args[0] if args else kwargs.get(first)
        if short in _FROM_HOST and isinstance(given, np.ndarray):  # the device has memory of its own: always a copy
            return _wrap(function(given.copy(), *args[1:], **kwargs))
        if first in _ARRAY_FIRST and short not in _TAKES_ANYTHING | _FROM_HOST and not isinstance(given, StrictArray):
            raise TypeError(f"cupy.{name}(): expected a cupy.ndarray, got {type(given)}")
        if name == "linalg.solve" and len(args) == 2 and args[1].ndim > 1 and args[0].shape[:-1] != args[1].shape[:-1]:
            raise ValueError("a must have (..., M, M) shape and b must have (..., M, K) for multidimensional b")
        return _wrap(function(*_unwrap(args, name), **_unwrap(kwargs, name)), _arrays((args, kwargs)))

    call.__name__ = short
    return call


class _StrictModule:
    """``cupy`` or one of its submodules."""

    def __init__(self, prefix: str, host: Any) -> None:
        self._prefix, self._source = prefix, host
        self.__name__ = f"strict cupy{prefix and '.'}{prefix.rstrip('.')}"

    def __getattr__(self, name: str) -> Any:
        entry = NAMES.get(self._prefix + name)
        if entry is None:
            raise AttributeError(
                f"module 'cupy{self._prefix and '.'}{self._prefix.rstrip('.')}' has no attribute {name!r}"
            )
        value = self._make(name, entry)
        setattr(self, name, value)
        return value

    def _make(self, name: str, entry: Entry) -> Any:
        if name in SUBMODULES and not self._prefix:
            return _StrictModule(f"{name}.", getattr(np, name))
        if not hasattr(self._source, name) or entry.kind == "module":
            raise NotImplementedError(f"the strict backend does not model cupy.{self._prefix}{name}")
        value = getattr(self._source, name)
        if entry.kind == "ufunc":
            return _StrictUfunc(name)
        return _function(self._prefix + name, entry, value) if entry.kind == "function" else value


def asnumpy(array: Any) -> np.ndarray:
    """The explicit way back to NumPy: a copy."""
    return array.get() if isinstance(array, StrictArray) else np.array(array)


strict = _StrictModule("", np)
strict.ndarray, strict.asnumpy = StrictArray, asnumpy  # type: ignore[attr-defined]


def install() -> None:
    """Register the backend with the engine as device kind "strict"."""
    register_backend(
        Backend(
            name="strict",
            module=strict,
            array_type=StrictArray,
            device_of=lambda array: "strict:0",
            from_host=lambda array, index: strict.array(array),
            to_host=lambda array: array.get(),
            synchronize=lambda: None,
            move=lambda array, index: array,
        )
    )
