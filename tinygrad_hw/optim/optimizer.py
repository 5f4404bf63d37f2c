"""The base of every optimiser: parameter groups, the step over flat buffers, and the state for a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn

import numpy as np

from tinygrad_hw.backend import Array, array_module, to_device, to_numpy
from tinygrad_hw.optim.flat import Entry, FlatBuffer
from tinygrad_hw.tensor import Tensor


class Optimizer:
    """Changes parameters by a rule, given their gradients.

    Making one moves the parameters into flat arrays, one for each dtype and device: each ``p.data`` becomes a view of
    the flat one, and ``backward`` writes each ``p.grad`` into another. Two things follow: ``module.to(...)`` comes
    before the optimiser (a later move makes ``step`` raise); and a gradient kept over ``zero_grad`` and ``backward``
    must be a copy, since the next one is written to the same memory.

    A parameter without gradient is skipped and its state stays as it is. A parameter given twice is updated once. Two
    optimisers over the same parameter work in turns, at the cost of a copy each turn.

    Args:
        params: Tensors that are leaves; or dicts, each a group with ``"params"`` and its own hyper-parameters.
        defaults: the hyper-parameters of groups that do not set them.

    Attributes:
        param_groups: the groups, each a dict with ``"params"`` and hyper-parameters that may be changed at any time.

    Raises:
        TypeError, ValueError: no parameters, something that is no floating leaf, one parameter in two groups, a
            hyper-parameter that is unknown or out of range.

    A subclass defines ``_check``, ``_states`` and ``_update``.
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        self._name, self.defaults = type(self).__name__, defaults
        self.param_groups: list[dict[str, Any]] = []
        self._buffers: list[FlatBuffer] = []
        if isinstance(params, (Tensor, str, Mapping, set, frozenset)) or not isinstance(params, Iterable):
            hint = "; write module.parameters()" if hasattr(params, "parameters") else ""
            raise TypeError(f"{self._name}: expected a list of Tensors or of groups, got {type(params).__name__}{hint}")
        listed = list(params)
        if not listed:
            raise ValueError(f"{self._name}: got an empty list of parameters")
        self._add(listed if isinstance(listed[0], Mapping) else [{"params": listed}])

    # --------------------------------------------------------------------------------------- what a subclass must say

    def _check(self, group: dict[str, Any]) -> None:
        """Raise ValueError when a hyper-parameter of ``group`` is out of range."""
        raise NotImplementedError

    def _states(self, group: dict[str, Any]) -> dict[str, float]:
        """The names of the state arrays that the rule needs with these hyper-parameters, and what they start with."""
        raise NotImplementedError

    def _update(
        self, group: dict[str, Any], step: int, p: Array, g: Array, states: list[Array], work: list[Array]
    ) -> None:
        """Change ``p`` and ``states`` (in the order of ``_states``) in place, elementwise, given gradients ``g``.

        ``step`` counts from 1. ``g`` stays as it is; the two arrays ``work`` are free for use.
        """
        raise NotImplementedError

    def _fuses(self, group: dict[str, Any]) -> bool:
        """Whether ``_update`` takes a long run whole, with no ``work``, and does it by a fused kernel."""
        return False

    # ----------------------------------------------------------------------------------------------- parameter groups

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add a group, e.g. layers frozen so far; it gets flat buffers of its own. Raises as the constructor."""
        self._add([group])

    def _add(self, groups: Iterable[Mapping[str, Any]]) -> None:
        known = {id(entry.parameter) for entry in self._entries()}
        added: list[dict[str, Any]] = []
        by_place: dict[tuple[Any, str], list[tuple[Tensor, dict[str, Any], str]]] = {}
        for number, given in enumerate(groups, start=len(self.param_groups)):
            group = self._checked_group(number, given)
            seen: dict[int, Tensor] = {}
            for position, parameter in enumerate(group["params"]):
                label = f"{self._name}: parameter {position} of group {number}"
                _check_parameter(label, parameter)
                if id(parameter) in known:
                    raise ValueError(f"{label} ({parameter.dtype} {parameter.shape}) is already in another group")
                if id(parameter) not in seen:
                    seen[id(parameter)] = parameter
                    by_place.setdefault((parameter.dtype, parameter.device), []).append((parameter, group, label))
            known.update(seen)
            group["params"] = list(seen.values())
            added.append(group)
        self.param_groups.extend(added)
        for members in by_place.values():
            buffer = FlatBuffer(members)
            self._buffers.append(buffer)
            for entry in buffer.entries:
                for name, fill in self._states(entry.group).items():
                    buffer.make_state(name)
                    if fill:
                        buffer.state(name, entry)[...] = fill

    def _checked_group(self, number: int, given: Any) -> dict[str, Any]:
        if not isinstance(given, Mapping) or "params" not in given:
            raise TypeError(f"{self._name}: group {number} must be a dict with 'params'; do not mix groups and Tensors")
        group = {**self.defaults, **given}
        unknown = [key for key in given if key not in self.defaults and key not in ("params", "name", "initial_lr")]
        if unknown:
            raise ValueError(
                f"{self._name}: unknown setting {unknown[0]!r} in group {number}; it has {', '.join(self.defaults)}"
            )
        params = group["params"]
        if isinstance(params, (set, frozenset)):
            raise TypeError(f"{self._name}: the parameters of group {number} are a set, which has no fixed order")
        group["params"] = [params] if isinstance(params, Tensor) else list(params)
        self._check(group)
        return group

    def _entries(self) -> Iterator[Entry]:
        return (entry for buffer in self._buffers for entry in buffer.entries)

    # ------------------------------------------------------------------------------------------------------- the step

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or with ``set_to_none=False`` fill them with zeros."""
        for entry in self._entries():
            gradient = entry.parameter.grad
            if gradient is not None:
                entry.parameter.grad = None if set_to_none else gradient.detach().zero_()

    def step(self) -> None:
        """Update every parameter that has a gradient.

        Raises RuntimeError when a parameter or its gradient has changed shape, dtype or device since the optimiser was
        made; nothing has been updated then.
        """
        work = [(buffer, buffer.runs()) for buffer in self._buffers]
        for buffer, runs in work:
            for run in runs:
                group = run[0].group
                names = list(self._states(group))
                for name in names:
                    buffer.make_state(name)  # new here if, for example, the momentum has been 0 so far
                for entry in run:
                    entry.steps += 1
                for p, g, states, scratch in buffer.blocks(run, names, self._fuses(group)):
                    self._update(group, run[0].steps, p, g, states, scratch)
                buffer.note_update(run)

    def gradient_arrays(self) -> list[Array]:
        """The gradients that exist, as few flat arrays as possible; gaps between parameters are zeros."""
        arrays = []
        for buffer in self._buffers:
            live = [has for _, has in buffer.gather()]
            if all(live):
                arrays.append(buffer.gradients)
            else:
                arrays += [entry.gradient for entry, has in zip(buffer.entries, live, strict=True) if has]
        return arrays

    # ----------------------------------------------------------------------------------------------------- checkpoint

    def state_dict(self) -> dict[str, Any]:
        """The state, from which ``load_state_dict`` goes on bit for bit: ``{"arrays": ..., "scalars": ...}``.

        ``arrays`` maps ``"<parameter's number>.<name>"`` to a NumPy array (a copy) of the parameter's shape;
        ``scalars`` is plain data, good for JSON: the optimiser's name, each parameter's count of steps, each group's
        settings.
        """
        arrays, steps = {}, []
        for number, (buffer, entry) in enumerate(self._numbered()):
            steps.append(entry.steps)
            for name in self._states(entry.group):
                buffer.make_state(name)
                arrays[f"{number}.{name}"] = np.array(to_numpy(buffer.state(name, entry)))
        groups = [
            {key: _plain(value) for key, value in group.items() if key != "params"} | {"params": len(group["params"])}
            for group in self.param_groups
        ]
        return {"arrays": arrays, "scalars": {"optimizer": self._name, "steps": steps, "groups": groups}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` of an optimiser of the same kind over parameters of the same shapes returned.

        Raises ValueError that says what does not fit; nothing has changed then.
        """
        try:
            arrays, scalars = state["arrays"], state["scalars"]
            name, steps, groups = scalars["optimizer"], scalars["steps"], scalars["groups"]
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{self._name}.load_state_dict: expected arrays and scalars as state_dict gives them"
            ) from error
        if name != self._name:
            raise ValueError(f"{self._name}.load_state_dict: the state is that of {name}")
        counts, expected = [group["params"] for group in groups], [len(group["params"]) for group in self.param_groups]
        if counts != expected or len(steps) != sum(expected):
            raise ValueError(f"{self._name}.load_state_dict: expected groups of {expected} parameters, got {counts}")
        settings = [self._loaded_settings(own, given) for own, given in zip(self.param_groups, groups, strict=True)]
        positions = [position for position, count in enumerate(expected) for _ in range(count)]
        numbered = list(self._numbered())
        shapes = {
            f"{number}.{key}": entry.parameter.shape
            for number, (_, entry) in enumerate(numbered)
            for key in self._states(settings[positions[number]])
        }
        wrong = [f"missing {key!r}" for key in shapes if key not in arrays]
        wrong += [f"unexpected {key!r}" for key in arrays if key not in shapes]
        wrong += [
            f"{key!r} has shape {tuple(arrays[key].shape)} instead of {shape}"
            for key, shape in shapes.items()
            if key in arrays and tuple(arrays[key].shape) != shape
        ]
        if wrong:
            raise ValueError(f"{self._name}.load_state_dict: {'; '.join(wrong)}")
        for group, loaded in zip(self.param_groups, settings, strict=True):
            group.update(loaded)
        for number, (buffer, entry) in enumerate(numbered):
            for key in self._states(entry.group):
                buffer.make_state(key)
                buffer.state(key, entry)[...] = to_device(to_numpy(arrays[f"{number}.{key}"]), buffer.device)
            entry.steps = int(steps[number])

    def _loaded_settings(self, own: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        missing = [key for key in self.defaults if key not in given]
        if missing:
            raise ValueError(f"{self._name}.load_state_dict: a group lacks {', '.join(map(repr, missing))}")
        loaded = {
            key: tuple(value) if isinstance(value, list) and isinstance(self.defaults.get(key), tuple) else value
            for key, value in given.items()
            if key != "params"
        }
        self._check(loaded)
        return loaded

    def _numbered(self) -> Iterator[tuple[FlatBuffer, Entry]]:
        """Buffers and entries in the order in which the parameters were given, group after group."""
        places = {id(entry.parameter): (buffer, entry) for buffer in self._buffers for entry in buffer.entries}
        return (places[id(parameter)] for group in self.param_groups for parameter in group["params"])

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(
            f"{self._name} cannot be copied or pickled: its arrays are its parameters' memory; make one over the "
            "copied parameters and call load_state_dict"
        )

    def __repr__(self) -> str:
        groups = (
            ", ".join(f"{key}={value}" for key, value in group.items() if key != "params")
            + f", {len(group['params'])} parameters"
            for group in self.param_groups
        )
        return f"{self._name}({'; '.join(groups)})"


def _check_parameter(label: str, parameter: Any) -> None:
    if not isinstance(parameter, Tensor):
        raise TypeError(f"{label}: expected a Tensor, got {type(parameter).__name__}")
    if not parameter.is_leaf:
        raise ValueError(f"{label}: expected a leaf, got the result of an operation {parameter.grad_fn!r}")
    if parameter.dtype.kind != "f":
        raise TypeError(f"{label}: expected a real floating dtype, got {parameter.dtype}")


def check_number(
    owner: str, group: Mapping[str, Any], name: str, low: float = 0.0, high: float = math.inf, *, positive: bool = False
) -> None:
    """Raise ValueError unless ``group[name]`` is finite and low <= it < high (low < it if ``positive``)."""
    value = group[name]
    ok = (
        isinstance(value, (int, float, np.integer, np.floating))
        and not isinstance(value, bool)
        and math.isfinite(value)
    )
    if not ok or not low <= value < high or (positive and value == low):
        limits = f"{'>' if positive else '>='} {low:g}" + (f" and < {high:g}" if math.isfinite(high) else "")
        raise ValueError(f"{owner}: {name} must be a finite number {limits}, got {value!r}")


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def decayed(weight_decay: float, p: Array, g: Array, out: Array) -> Array:
    """``g + weight_decay p`` written to ``out``; ``g`` itself where there is no decay."""
    if weight_decay == 0:
        return g
    array_module(p).multiply(p, weight_decay, out=out)
    out += g
    return out
