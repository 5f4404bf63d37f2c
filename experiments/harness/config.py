"""Settings: a dataclass per experiment, checked by type and range, changed by `--set key=value`."""

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from .errors import UserError

T = TypeVar("T")


@typing.dataclass_transform(kw_only_default=True, frozen_default=True)
def settings(cls: type[T]) -> type[T]:
    """Makes a class a dataclass of settings: immutable, keyword-only, checked when made, no unknown keys, no NaN."""
    make: Any = pydantic_dataclass(config=ConfigDict(extra="forbid", allow_inf_nan=False), frozen=True, kw_only=True)
    made: type[T] = make(cls)
    return made


@settings
class Settings:
    """Settings that every experiment has; its own Config inherits from this one."""

    checkpoint_seconds: Annotated[float, Field(gt=0, description="write a checkpoint after so many seconds")] = 30.0
    checkpoint_steps: Annotated[
        int, Field(ge=0, description="and after so many steps of a loop; 0 leaves it to the seconds")
    ] = 0


def suggest(word: str, known: list[str]) -> str:
    """`; did you mean 'x'?` for the nearest known word, else the list of all of them."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def as_dict(config: Settings) -> dict[str, Any]:
    """The settings as plain JSON values."""
    return dict(TypeAdapter(type(config)).dump_python(config, mode="json"))


def from_dict(kind: type[T], values: dict[str, Any]) -> T:
    """Settings from plain values. Raises UserError for the first that is unknown, mistyped or out of range."""
    known = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise UserError(f"no setting {key!r}; {suggest(key, known)}")
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else "settings"
        message = first["msg"][:1].lower() + first["msg"][1:]
        expected = f"; expected {allowed(kind)[key]}" if key in known else ""
        raise UserError(
            f"setting {key}={_shown(values.get(key))}: {message}{expected}{_described(kind, key)}"
        ) from None


def changed(config: Settings, assignments: list[str]) -> Settings:
    """The settings with each `key=value` of the command line put in. Raises UserError as `from_dict` does."""
    kind = type(config)
    values = as_dict(config)
    hints = typing.get_type_hints(kind)  # without the annotations of ranges
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key = key.strip().replace("-", "_")
        if not equals:
            raise UserError(f"--set {assignment}: expected key=value")
        if key not in values:
            raise UserError(f"--set {assignment}: no setting {key!r}; {suggest(key, list(values))}")
        values[key] = _value(text.strip(), hints[key])
    return from_dict(kind, values)


def _value(text: str, hint: Any) -> Any:
    """Text as the validator wants it, which parses all but lists: these may be written 1,2,3 or as JSON."""
    if typing.get_origin(hint) in (list, tuple):
        try:
            return json.loads(text) if text.startswith("[") else [part.strip() for part in text.split(",")]
        except json.JSONDecodeError:
            return text
    return text


def _shown(value: Any) -> str:
    return plain(value) if isinstance(value, str | list | tuple) else json.dumps(value)


def plain(value: Any) -> str:
    """A setting as `--set` takes it."""
    return ",".join(map(plain, value)) if isinstance(value, list | tuple) else str(value)


def _described(kind: type, key: str) -> str:
    description = describe(kind).get(key)
    return f" ({description})" if description else ""


def allowed(kind: type) -> dict[str, str]:
    """What each setting may be, by name: `a whole number from 1 to 9`, ..."""
    fields = getattr(kind, "__pydantic_fields__", {})
    return {name: _allowed(field.annotation, field.metadata) for name, field in fields.items()}


_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_BOUNDS = {"ge": "from {}", "gt": "above {}", "le": "to {}", "lt": "and below {}"}


def _allowed(hint: Any, metadata: Sequence[Any]) -> str:
    """A type in words, followed by the bounds on it or, of a list, on its length."""
    found = {name: getattr(part, name) for part in metadata for name in _BOUNDS if hasattr(part, name)}
    bounds = [_BOUNDS[name].format(f"{found[name]:.10g}") for name in _BOUNDS if name in found]
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        nested = [part for field in inner[1:] for part in getattr(field, "metadata", [field])]
        return _allowed(inner[0], [*nested, *metadata])
    if origin is typing.Literal:
        return " or ".join(map(str, inner))
    if origin in (list, tuple):
        length = "".join(f" of at least {part.min_length}" for part in metadata if hasattr(part, "min_length"))
        if origin is tuple and inner[-1] is not ...:
            length = f" of {len(inner)}"
        return f"a list{length}, each {_allowed(inner[0], [])}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join("none" if part is types.NoneType else _allowed(part, metadata) for part in inner)
    return " ".join([_KINDS.get(hint, getattr(hint, "__name__", str(hint))), *bounds])


def describe(kind: type) -> dict[str, str]:
    """One line about each setting, by name."""
    fields = getattr(kind, "__pydantic_fields__", {})
    return {name: field.description or "" for name, field in fields.items()}
