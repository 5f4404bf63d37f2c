"""Type promotion among operands, and errors that name operation, operands and cure."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

from tinygrad_hw.backend import Array, DeviceError, backend_of, device_of

_default_dtype = np.dtype(np.float32)


def get_default_dtype() -> np.dtype:
    """The floating dtype of tensors made from Python numbers, and of integers in a floating operation."""
    return _default_dtype


def set_default_dtype(dtype: Any) -> None:
    """Set it to float32 (as delivered) or float64; raises TypeError for anything else."""
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise TypeError(f"set_default_dtype: expected float32 or float64, got {np.dtype(dtype)}")
    global _default_dtype
    _default_dtype = np.dtype(dtype)


def numbers_of(data: Any, dtype: Any = None) -> np.ndarray:
    """Numbers and nested lists of them as an array, floats in the default dtype; raises TypeError for anything else."""
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise TypeError(f"tensor: expected numbers in rows of equal length ({error})") from error
    if array.dtype.kind not in "biufc":
        raise TypeError(f"tensor: expected numbers, got {array.dtype} from {type(data).__name__}")
    if dtype is None and array.dtype.kind == "f" and not isinstance(data, np.generic):
        dtype = get_default_dtype()
    return array.astype(dtype or array.dtype, copy=False)


def promoted_dtype(arrays: list[Array], floating: bool) -> np.dtype:
    """The common dtype of operands by PyTorch's rule: an array of at least one dimension outranks one of none, and a
    floating dtype outranks integers of any width."""
    for rank in (lambda a: a.ndim > 0, lambda a: a.ndim == 0):
        kinds = [a.dtype for a in arrays if rank(a) and a.dtype.kind in "fc"]
        if kinds:
            return np.result_type(*kinds)
    if floating:
        return get_default_dtype()
    sized = [a.dtype for a in arrays if a.ndim > 0]
    return np.result_type(*(sized or [a.dtype for a in arrays]))


def harmonise(op: Any, operands: list[Any]) -> list[Any]:
    """Cast the arrays among ``operands`` to their common dtype; Python numbers adapt by themselves.

    A Python float beside integers makes the operation floating. Booleans stay as they are unless the operation is
    floating: they are masks more often than numbers.
    """
    if op.broadcasts:
        operands = [_checked(op.name(), operand) for operand in operands]
    arrays = [operand for operand in operands if backend_of(operand) is not None]
    if not arrays:
        return operands
    numbers = {array.dtype for array in arrays if array.dtype.kind != "b"}
    if len(numbers) == 1 and not op.floating and numbers.pop().kind in "fc":  # masks beside one floating dtype
        return operands
    floating = op.floating
    if any(type(operand) is float for operand in operands) and all(array.dtype.kind in "biu" for array in arrays):
        floating = True
    dtype = promoted_dtype(arrays, floating)
    return [
        operand.astype(dtype)
        if backend_of(operand) is not None and operand.dtype != dtype and (operand.dtype.kind != "b" or floating)
        else operand
        for operand in operands
    ]


def _checked(name: str, operand: Any) -> Any:
    """An operand without arithmetic of its own, which would leave the tape or the dtype; else TypeError.

    Lists, tuples of floats, exact fractions and masked arrays are refused; other subclasses of ndarray become plain.
    """
    if isinstance(operand, np.ndarray) and not isinstance(operand, np.ma.MaskedArray):
        return np.asarray(operand)
    exact = isinstance(operand, numbers.Number) and not isinstance(operand, (int, float, complex))
    floats = isinstance(operand, tuple) and any(isinstance(item, float) for item in operand)
    if exact or floats or isinstance(operand, (list, np.ma.MaskedArray)):
        kind = type(operand).__name__
        raise TypeError(f"{name}: expected a Tensor, an array or a number, got a {kind}; wrap it in tensor(...)")
    return operand


def describe_operands(operands: list[Any]) -> str:
    """``float32 (3, 4), float32 (5,), 2.0``: what an error message says of arguments."""
    return ", ".join(
        f"{operand.dtype} {tuple(operand.shape)}" if hasattr(operand, "dtype") else " ".join(repr(operand).split())[:40]
        for operand in operands
    )


def explain(name: str, operands: list[Any], error: Exception) -> Exception:
    """An exception of the same class whose message begins with the operation's name and ends with its operands.

    Operands on different devices make it a :class:`DeviceError`, whatever the array library said of them.
    """
    arrays = [operand for operand in operands if backend_of(operand) is not None]
    if len({device_of(array) for array in arrays}) > 1:
        places = ", ".join(f"{device_of(a)} {a.dtype} {tuple(a.shape)}" for a in arrays)
        return DeviceError(
            f"{name}: operands on different devices ({places}); move one with .to({device_of(arrays[0])!r})"
        )
    text = str(error)
    if text.startswith(name + ":"):
        return error
    message = f"{name}: {text} [operands: {describe_operands(operands)}]"
    if type(error).__module__.partition(".")[0] not in ("builtins", "numpy", "cupy"):
        error.add_note(message)  # a user's own class, which may not be made of one text
        return error
    return type(error)(message)
