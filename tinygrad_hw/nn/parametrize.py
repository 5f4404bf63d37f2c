"""A parameter seen through a function: a projection or a quantiser on any parameter of any module.

After ``register_parametrization(layer, "weight", f)`` the layer computes with f(W) where it computed with W, and W
itself is what is learned, through whatever gradient f passes back::

    for layer in net:
        if isinstance(layer, nn.Linear):
            parametrize.register_parametrization(layer, "weight", partial(F.quantize, bits=4, limits=None))

Names and state-dict keys are those of ``torch.nn.utils.parametrize``: W becomes ``parametrizations.weight.original``,
and what f itself remembers comes under ``parametrizations.weight.0``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tinygrad_hw import versions
from tinygrad_hw.autograd import no_grad
from tinygrad_hw.nn.container import ModuleDict, ModuleList
from tinygrad_hw.nn.module import Module, Parameter
from tinygrad_hw.tensor import Tensor

__all__ = ["ParametrizationList", "is_parametrized", "register_parametrization", "remove_parametrizations"]


class ParametrizationList(ModuleList):
    """The original parameter and the functions that it is seen through, applied in order.

    Attributes:
        original: what is learned.
    """

    def __init__(self, original: Parameter) -> None:
        super().__init__()
        self.original = original

    def forward(self) -> Tensor:
        value: Tensor = self.original
        for function in self:
            value = function(value)
        return value


class Lambda(Module):
    """A function without parameters or memory of its own as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, value: Tensor) -> Tensor:
        return self.function(value)

    def extra_repr(self) -> str:
        function = self.function
        if not isinstance(function, partial):
            return getattr(function, "__name__", repr(function))
        settings = [*map(repr, function.args), *(f"{key}={value!r}" for key, value in function.keywords.items())]
        return f"{getattr(function.func, '__name__', repr(function.func))}, {', '.join(settings)}"


def register_parametrization(module: Module, name: str, parametrization: Callable[[Tensor], Tensor]) -> Module:
    """See parameter ``name`` of ``module`` through ``parametrization`` from now on; returns the module.

    Args:
        parametrization: a function of the parameter (the last of several is applied last); a Module's own parameters
            are learned, and its buffers saved, with the module's. It is called here once, without recording.

    The Parameter stays the same object, so an optimiser made before or after learns it. Reading ``module.<name>``
    computes the value each time; assigning to it raises AttributeError.

    Raises:
        ValueError: the module has no such parameter; the function changes shape, dtype or device.
        TypeError: ``module`` is none, or ``parametrization`` cannot be called.
    """
    if not isinstance(module, Module):
        raise TypeError(f"register_parametrization: expected a Module, got {type(module).__name__}")
    if not callable(parametrization):
        raise TypeError(f"register_parametrization: expected a function, got {type(parametrization).__name__}")
    listed = module.parametrizations[name] if is_parametrized(module, name) else None
    before = vars(module).get(name) if listed is None else listed()
    if not isinstance(before, Tensor) or (listed is None and not isinstance(before, Parameter)):
        raise ValueError(f"register_parametrization: {type(module).__name__} has no parameter {name!r}")
    function = parametrization if isinstance(parametrization, Module) else Lambda(parametrization)
    with no_grad():
        after = function(before)
    expected, found = _kind(before), _kind(after)
    if found != expected:
        raise ValueError(f"register_parametrization: expected {name} to stay {expected}, the function gave {found}")
    if listed is None:
        assert isinstance(before, Parameter)
        listed = ParametrizationList(before)
        delattr(module, name)
        if not is_parametrized(module):
            module.parametrizations = ModuleDict()
        module.parametrizations[name] = listed
        _see_through(module)
    listed.append(function)
    return module


def remove_parametrizations(module: Module, name: str, leave_parametrized: bool = True) -> Module:
    """Make ``name`` an ordinary parameter again, and return the module.

    Args:
        leave_parametrized: with the value that it was seen with (for inference: nothing is computed any more), else
            with its original one. The Parameter is the same object either way.

    Raises ValueError unless it is parametrized.
    """
    if not is_parametrized(module, name):
        raise ValueError(f"remove_parametrizations: {name!r} of {type(module).__name__} is not parametrized")
    listed = module.parametrizations[name]
    if leave_parametrized:
        with no_grad():
            value = listed()
        if value is not listed.original:
            listed.original._data[...] = value._data
            versions.note_write(listed.original._data)
    delattr(module.parametrizations, name)
    _see_through(module)
    if not len(module.parametrizations):
        del module.parametrizations
    setattr(module, name, listed.original)
    return module


def is_parametrized(module: Module, name: str | None = None) -> bool:
    """Whether any parameter of ``module`` itself is parametrized, or the one called ``name``."""
    listed = vars(module).get("parametrizations")
    return isinstance(listed, ModuleDict) and (name is None or name in listed)


def _kind(value: Any) -> str:
    return f"{value.dtype} {value.shape} on {value.device}" if isinstance(value, Tensor) else type(value).__name__


def _see_through(module: Module) -> None:
    """Give ``module`` the class in which exactly its parametrized names are computed."""
    base = getattr(type(module), "_plain_class", type(module))
    names = tuple(module.parametrizations.keys())
    object.__setattr__(module, "__class__", _parametrized_class(base, names) if names else base)


_classes: dict[tuple[type[Module], tuple[str, ...]], type[Module]] = {}


def _parametrized_class(base: type[Module], names: tuple[str, ...]) -> type[Module]:
    """The subclass of ``base`` whose attributes ``names`` are computed; one for all modules, copies included."""
    if (base, names) not in _classes:
        space: dict[str, Any] = {name: _computed(name) for name in names}
        space["_plain_class"] = base
        space["__doc__"] = base.__doc__
        space["__reduce_ex__"] = lambda self, protocol: (_remade, (base, names), dict(vars(self)))
        _classes[base, names] = type(f"Parametrized{base.__name__}", (base,), space)
    return _classes[base, names]


def _remade(base: type[Module], names: tuple[str, ...]) -> Module:
    """An empty module of the parametrized class, to be filled by ``copy`` and ``pickle``."""
    kind = _parametrized_class(base, names)
    return kind.__new__(kind)


def _computed(name: str) -> property:
    def read(module: Any) -> Tensor:
        try:
            value: Tensor = module.parametrizations[name]()
        except AttributeError as error:  # would read as if the module had no such attribute
            raise RuntimeError(f"{type(module).__name__}.{name}: its parametrization raised {error!r}") from error
        return value

    def write(module: Any, value: Any) -> None:
        raise AttributeError(
            f"{type(module).__name__}.{name} is computed; change parametrizations[{name!r}].original, or call "
            "remove_parametrizations first"
        )

    return property(read, write, doc=f"{name}, seen through its parametrizations.")
