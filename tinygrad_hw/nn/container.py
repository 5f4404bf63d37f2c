"""Modules that hold other modules: Sequential, ModuleList, ModuleDict."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from tinygrad_hw.nn.activation import ReLU
from tinygrad_hw.nn.module import Module
from tinygrad_hw.nn.normalization import BatchNorm


def _checked(owner: str, module: Any) -> Module:
    if not isinstance(module, Module):
        raise TypeError(f"{owner}: expected a Module, got {type(module).__name__}")
    return module


class _Chain(Module):
    """Modules in an order, named "0", "1", ... as attributes."""

    def _named(self) -> list[tuple[str, Module]]:
        return [(name, value) for name, value in vars(self).items() if isinstance(value, Module)]

    def _name_at(self, index: int) -> str:
        names = [name for name, _ in self._named()]
        try:
            return names[operator.index(index)]
        except IndexError:
            raise IndexError(f"{type(self).__name__}: index {index} is out of range for {len(names)} modules") from None

    def __len__(self) -> int:
        return len(self._named())

    def __iter__(self) -> Iterator[Module]:
        return iter([module for _, module in self._named()])

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, self._name_at(index), _checked(type(self).__name__, module))

    def append(self, module: Module) -> Self:
        """Add a module at the end; returns the container."""
        setattr(self, str(len(self)), _checked(type(self).__name__, module))
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end; returns the container."""
        for module in modules:
            self.append(module)
        return self


class Sequential(_Chain):
    """Modules called one after another: ``Sequential(Linear(784, 100), ReLU(), Linear(100, 10))``.

    One mapping instead of modules names them (``Sequential({"hidden": ..., "out": ...})``). Indexing gives a module,
    slicing a Sequential of the same modules under the same names. Raises TypeError for something that is no Module.
    """

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                setattr(self, name, _checked("Sequential", module))
        else:
            self.extend(modules)  # type: ignore[arg-type]  # checked one by one

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Sequential(dict(self._named()[index]))
        return getattr(self, self._name_at(index))

    def forward(self, x: Any) -> Any:
        modules = [module for _, module in self._named()]
        place = 0
        while place < len(modules):
            module = modules[place]
            place += 1
            if isinstance(module, BatchNorm) and place < len(modules) and _rectifies(module, modules[place]):
                x = module.rectified(x)
                place += 1
            else:
                x = module(x)
        return x


def _rectifies(module: BatchNorm, after: Module) -> bool:
    """Whether ``module`` can do the work of ``after``, a rectifier, too, and no hook or method misses its call."""
    if type(after) is not ReLU:
        return False
    own = type(module).forward is BatchNorm.forward and type(module).__call__ is Module.__call__
    replaced = "forward" in vars(module) or "forward" in vars(after)
    return own and not (replaced or module._forward_hooks or after._forward_hooks)


class ModuleList(_Chain):
    """A list whose modules count among those of the module that it is an attribute of (in a plain list they do not).

    Raises TypeError for something that is no Module.
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return ModuleList(list(self)[index])
        return getattr(self, self._name_at(index))


class ModuleDict(Module):
    """Modules by name, which count among those of the module that it is an attribute of.

    Raises TypeError for something that is no Module, KeyError for a name that is taken by a method.
    """

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        for name, module in (modules or {}).items():
            self[name] = module

    def __setitem__(self, name: str, module: Module) -> None:
        if name not in self and hasattr(self, name):
            raise KeyError(f"ModuleDict: {name!r} is the name of a method or attribute")
        setattr(self, name, _checked("ModuleDict", module))

    def __getitem__(self, name: str) -> Module:
        if name not in self:
            raise KeyError(name)
        return vars(self)[name]

    def __contains__(self, name: str) -> bool:
        return isinstance(vars(self).get(name), Module)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def keys(self) -> list[str]:
        return [name for name, value in vars(self).items() if isinstance(value, Module)]

    def values(self) -> list[Module]:
        return [self[name] for name in self.keys()]

    def items(self) -> list[tuple[str, Module]]:
        return [(name, self[name]) for name in self.keys()]
