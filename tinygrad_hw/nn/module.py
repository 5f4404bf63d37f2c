"""Module and Parameter: a tree of layers that knows its parameters by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from tinygrad_hw import versions
from tinygrad_hw.backend import Array, is_array, parse_device, to_device, to_numpy
from tinygrad_hw.creation import tensor
from tinygrad_hw.tensor import Tensor

ForwardHook = Callable[["Module", tuple[Any, ...], Any], Any]


class Parameter(Tensor):
    """A leaf Tensor that a Module counts among its parameters when it is assigned to an attribute.

    Args:
        data: numbers, an array or a Tensor; copied. Python floats become the default dtype.
        requires_grad: whether it is to be learned.

    Raises TypeError when a gradient is wanted of a dtype that is not floating.
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(tensor(data)._data, requires_grad)

    def __repr__(self) -> str:
        return f"Parameter {super().__repr__()}"


class IncompatibleKeys(NamedTuple):
    """What ``load_state_dict(..., strict=False)`` passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """The base of every layer and network: assign Parameters and Modules to attributes, define ``forward``, call it.

    Example::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.hidden, self.out = nn.Linear(784, 100), nn.Linear(100, 10)

            def forward(self, x):
                return self.out(F.relu(self.hidden(x)))

    Parameters, buffers and children are the attributes themselves, in the order of their assignment: there is no second
    register, and ``super().__init__()`` may come first, last or not at all.

    Attributes:
        training: set by ``train()`` and ``eval()``; Dropout and the like heed it.
    """

    training: bool
    _buffers: dict[str, bool]  # names of attributes that are buffers, and whether the state dict holds them
    _forward_hooks: list[ForwardHook]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        vars(self).update(training=True, _buffers={}, _forward_hooks=[])
        return self

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What calling the module computes."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        output = self.forward(*args, **kwargs)
        for hook in tuple(self._forward_hooks):
            replacement = hook(self, args, output)
            if replacement is not None:
                output = replacement
        return output

    def register_forward_hook(self, hook: ForwardHook) -> Callable[[], None]:
        """Call ``hook(module, args, output)`` after each ``forward``; what it returns, if not None, is the output.

        Returns a function that removes the hook.
        """
        self._forward_hooks.append(hook)
        return lambda: self._forward_hooks.remove(hook) if hook in self._forward_hooks else None

    # ----------------------------------------------------------------------------------------------------- attributes

    def __setattr__(self, name: str, value: Any) -> None:
        before = vars(self).get(name)
        for kind in (Parameter, Module):
            if isinstance(before, kind) and value is not None and not isinstance(value, kind):
                advice = "wrap it in nn.Parameter(...)" if kind is Parameter else "delete the attribute first"
                raise TypeError(
                    f"{type(self).__name__}.{name} is a {kind.__name__} and cannot become a {type(value).__name__}: "
                    f"{advice}"
                )
        if name in self._buffers and value is not None and not isinstance(value, Tensor):
            raise TypeError(f"{type(self).__name__}.{name} is a buffer and takes a Tensor, got {type(value).__name__}")
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        self._buffers.pop(name, None)

    def __getattr__(self, name: str) -> Any:  # only for names that do not exist
        near = [] if name.startswith("_") else difflib.get_close_matches(name, dir(self), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{hint}")

    def register_buffer(self, name: str, value: Tensor | None, persistent: bool = True) -> None:
        """Attach a Tensor that is no parameter but moves and is saved with the module, such as a running mean.

        ``persistent=False`` keeps it out of the state dict. Raises KeyError for a name already in use or with a dot in
        it, TypeError for something other than a Tensor or None.
        """
        if not name or "." in name or (name not in self._buffers and hasattr(self, name)):
            raise KeyError(f"register_buffer: {name!r} is already in use, empty, or has a dot in it")
        if value is not None and (not isinstance(value, Tensor) or isinstance(value, Parameter)):
            raise TypeError(f"register_buffer: {name} takes a Tensor that is no Parameter, got {type(value).__name__}")
        self._buffers[name] = persistent
        setattr(self, name, value)

    # ------------------------------------------------------------------------------------------------- what is in here

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Names and Modules among the attributes, each Module once."""
        seen: set[int] = set()
        for name, value in list(vars(self).items()):
            if isinstance(value, Module) and id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def children(self) -> Iterator[Module]:
        return (child for _, child in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module (named ``prefix``) and every one below it with its dotted name, each once."""
        seen: set[int] = set()
        for name, module in self._paths(prefix):
            if id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def modules(self) -> Iterator[Module]:
        return (module for _, module in self.named_modules())

    def _paths(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """As ``named_modules``, but a module used twice comes under both names, as in a state dict."""
        yield prefix, self
        for name, value in list(vars(self).items()):
            if isinstance(value, Module):
                yield from value._paths(f"{prefix}.{name}" if prefix else name)

    def _members(self, wanted: Callable[[Module, str, Any], bool]) -> Iterator[tuple[str, Tensor]]:
        for path, module in self._paths():
            for name, value in list(vars(module).items()):
                if wanted(module, name, value):
                    yield (f"{path}.{name}" if path else name), value

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Dotted names and Parameters, each Parameter once, under its first name."""
        seen: set[int] = set()
        for name, value in self._members(lambda module, name, value: isinstance(value, Parameter)):
            if id(value) not in seen and isinstance(value, Parameter):
                seen.add(id(value))
                yield name, value

    def parameters(self) -> Iterator[Parameter]:
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Dotted names and buffers, each once, under its first name."""
        seen: set[int] = set()
        for name, value in self._members(lambda module, name, value: name in module._buffers and value is not None):
            if id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def buffers(self) -> Iterator[Tensor]:
        return (buffer for _, buffer in self.named_buffers())

    # ------------------------------------------------------------------------------------------------- the whole tree

    def apply(self, function: Callable[[Module], None]) -> Self:
        """Call ``function`` with every module, children first; returns the module itself."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    def train(self, mode: bool = True) -> Self:
        """Say that this is training (or not); returns the module itself."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Say that this is not training; returns the module itself."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Want gradients of all parameters, or of none; returns the module itself."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or with ``set_to_none=False`` fill them with zeros."""
        for parameter in self.parameters():
            if set_to_none or parameter.grad is None:
                parameter.grad = None
            else:
                parameter.grad = parameter.grad.detach().zero_()

    def to(self, *args: Any, dtype: Any = None, device: str | None = None) -> Self:
        """Move parameters, gradients and buffers in place: ``net.to("cuda")``, ``net.to(np.float64)``; returns itself.

        Only floating arrays change dtype. To be done before an optimiser is made.

        Raises TypeError for a dtype that is not floating, DeviceError for a device that is unknown or missing.
        """
        for arg in args:
            if isinstance(arg, str) and arg.partition(":")[0] in ("cpu", "cuda"):
                device = arg
            else:
                dtype = arg
        if dtype is not None and np.dtype(dtype).kind != "f":
            raise TypeError(f"{type(self).__name__}.to: expected a floating dtype, got {np.dtype(dtype)}")
        if device is not None:
            parse_device(device)
        for held in [*self.parameters(), *self.buffers()]:
            moved = _moved(held._data, dtype, device)
            if moved is held._data:
                continue
            held.data, held._grad_slot = moved, None
            if held.grad is not None:
                held.grad = Tensor(_moved(held.grad._data, dtype, device))
        return self

    # ----------------------------------------------------------------------------------------------------- state dict

    def _state(self) -> Iterator[tuple[str, Tensor]]:
        """Names and Tensors of the state dict in PyTorch's order: of each module parameters, buffers, children."""
        for path, module in self._paths():
            own = vars(module).items()
            parameters = [(name, value) for name, value in own if isinstance(value, Parameter)]
            buffers = [(name, value) for name, value in own if module._buffers.get(name) and value is not None]
            for name, value in parameters + buffers:
                yield (f"{path}.{name}" if path else name), value

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and persistent buffers under PyTorch's keys, on the CPU."""
        return {name: np.array(to_numpy(value._data)) for name, value in self._state()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Copy values in from what ``state_dict`` of this kind of module returned, here or in PyTorch.

        Args:
            state: names to arrays, Tensors or whatever NumPy can read; cast to the dtype in use.
            strict: every key must be there and no other.

        Returns:
            The keys passed over (both lists empty if strict).

        Raises:
            RuntimeError: one message that lists all missing and unexpected keys (if strict), and all whose shape or
                kind of number differs; nothing has changed then.
        """
        own = dict(self._state())
        given = {name: _as_array(value) for name, value in state.items()}
        skipped = IncompatibleKeys(
            [name for name in own if name not in given], [name for name in given if name not in own]
        )
        complaints = []
        if strict and skipped.missing_keys:
            complaints.append(f"missing {', '.join(map(repr, skipped.missing_keys))}")
        if strict and skipped.unexpected_keys:
            complaints.append(f"unexpected {', '.join(map(repr, skipped.unexpected_keys))}")
        misfits = [_misfit(name, own[name], given[name]) for name in own if name in given]
        if any(misfits):
            complaints.append(f"misshapen {', '.join(filter(None, misfits))}")
        if complaints:
            raise RuntimeError(f"{type(self).__name__}.load_state_dict: {'; '.join(complaints)}")
        for name, held in own.items():
            if name in given:
                held._data[...] = to_device(given[name], held.device)
                versions.note_write(held._data)
        return skipped

    # ------------------------------------------------------------------------------------------------------- in words

    def extra_repr(self) -> str:
        """What stands in the brackets of the module's ``repr``."""
        return ""

    def __repr__(self) -> str:
        lines = []
        for name, child in vars(self).items():
            if isinstance(child, Module):
                lines.append(f"({name}): " + repr(child).replace("\n", "\n  "))
        extra = self.extra_repr()
        if not lines:
            return f"{type(self).__name__}({extra})"
        body = "\n  ".join(([extra] if extra else []) + lines)
        return f"{type(self).__name__}(\n  {body}\n)"


def _moved(array: Array, dtype: Any, device: str | None) -> Array:
    if device is not None:
        array = to_device(array, device)
    if dtype is not None and array.dtype.kind == "f" and array.dtype != np.dtype(dtype):
        array = array.astype(dtype)
    return array


def _as_array(value: Any) -> np.ndarray:
    if isinstance(value, Tensor):
        value = value._data
    return to_numpy(value) if is_array(value) else np.asarray(value)


def _misfit(name: str, held: Tensor, given: np.ndarray) -> str | None:
    if given.shape != held.shape:
        return f"{name!r} (expected {held.shape}, got {given.shape})"
    if not np.can_cast(given.dtype, held.dtype, "same_kind"):
        return f"{name!r} (expected {held.dtype}, got {given.dtype})"
    return None
