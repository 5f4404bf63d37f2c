"""State of whatever a loop tracks, taken apart into arrays and plain values, and put back.

Tracked may be anything with `state_dict` and `load_state_dict` (modules, optimisers, streams), an array, or a dict of
arrays and plain values, such as the parameters of a hand-written net. Arrays are restored in place: views stay views.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_hw.backend import device_of, is_array, to_device, to_numpy

from .errors import UserError

MARK = "__array__"


def capture(tracked: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The state of each tracked object: a JSON value in which `{"__array__": key}` stands for an array, and the arrays.

    The arrays are copies: later steps do not change them.
    """
    arrays: dict[str, np.ndarray] = {}
    return {name: _split(_state(value), name, arrays) for name, value in tracked.items()}, arrays


def snapshot(tracked: Mapping[str, Any]) -> dict[str, Any]:
    """The state of each tracked object with copies of its arrays in their places; `capture` takes it apart again."""
    plain, arrays = capture(tracked)
    return {name: _join(value, arrays) for name, value in plain.items()}


def restore(tracked: Mapping[str, Any], plain: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Puts a captured state back. Raises UserError when the tracked objects are not those that were captured."""
    if set(tracked) != set(plain):
        raise UserError(f"checkpoint tracks {', '.join(sorted(plain))}, this run {', '.join(sorted(tracked))}")
    for name, target in tracked.items():
        saved = _join(plain[name], arrays)
        if hasattr(target, "load_state_dict"):
            target.load_state_dict(saved)
        elif is_array(target):
            _copy_into(name, target, saved)
        else:
            _fill(name, target, saved)


def first_non_finite(arrays: Mapping[str, np.ndarray]) -> tuple[str, float] | None:
    """Names the first captured array that holds NaN or infinity, where, and the value; None when all are finite."""
    for key, array in arrays.items():
        if np.issubdtype(array.dtype, np.inexact):
            bad = np.argwhere(~np.isfinite(array))
            if len(bad):
                index = tuple(int(i) for i in bad[0])
                text = f"{key}{list(index)} is {array[index]} (shape {array.shape}, {len(bad)} such values)"
                return text, float(abs(array[index]))
    return None


def _state(value: Any) -> Any:
    return value.state_dict() if hasattr(value, "state_dict") else value


def _split(value: Any, key: str, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _split(child, f"{key}/{name}", arrays) for name, child in value.items()}
    if isinstance(value, list | tuple):
        return [_split(child, f"{key}/{i}", arrays) for i, child in enumerate(value)]
    if is_array(value) or isinstance(value, np.generic):
        while key in arrays:  # "a/b" may come from {"a/b": ...} as well as from {"a": {"b": ...}}
            key += "+"
        arrays[key] = np.array(to_numpy(value), order="C", copy=True)
        return {MARK: key}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"{key}: cannot be checkpointed: {type(value).__name__}, expected arrays, numbers, text or containers"
    )


def _join(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, Mapping):
        if set(value) == {MARK}:
            return arrays[value[MARK]]
        return {name: _join(child, arrays) for name, child in value.items()}
    if isinstance(value, list):
        return [_join(child, arrays) for child in value]
    return value


def _fill(name: str, target: dict[str, Any], saved: Mapping[str, Any]) -> None:
    if set(target) != set(saved):
        raise UserError(f"{name}: checkpoint has {', '.join(sorted(saved))}, this run {', '.join(sorted(target))}")
    for key, value in saved.items():
        if is_array(target[key]):
            _copy_into(f"{name}/{key}", target[key], value)
        else:
            target[key] = value


def _copy_into(name: str, target: Any, saved: np.ndarray) -> None:
    if target.shape != saved.shape or target.dtype != saved.dtype:
        raise UserError(f"{name}: checkpoint has {saved.dtype}{saved.shape}, this run {target.dtype}{target.shape}")
    target[...] = to_device(saved, device_of(target))
