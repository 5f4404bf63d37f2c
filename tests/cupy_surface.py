"""What the real CuPy offers, as text: the public names of ``cupy``, its ``linalg``, ``random``, ``fft`` and arrays.

``python -m tests.cupy_surface`` writes ``tests/cupy_names.txt`` from the installed CuPy (no GPU needed). One line a
name: its kind (array-attribute, array-method, class, constant, function, module, ufunc), and for what can be called the
names of its parameters, ``=`` after those that may be left out, ``?`` where CuPy does not tell them.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("cupy_names.txt")
SUBMODULES = ("linalg", "random", "fft")


@dataclass(frozen=True)
class Entry:
    """One public name of CuPy: its kind, and its signature or None where unknown or not callable."""

    kind: str
    signature: inspect.Signature | None


def _parameters(signature: inspect.Signature) -> str:
    """``a, axis=, *, out=``: the signature without defaults' values and annotations, which differ between releases."""
    plain = [
        parameter.replace(
            default=parameter.empty if parameter.default is parameter.empty else None, annotation=parameter.empty
        )
        for parameter in signature.parameters.values()
    ]
    return str(inspect.Signature(plain))[1:-1].replace("=None", "=")


def _documented_parameters(method: Any) -> str:
    """The signature that Cython leaves in the first line of a method's docstring; ``?`` where there is none."""
    match = re.match(r"[\w.]+\((?:self(?:, )?)?(.*?)\)(?: ->.*)?\n", (method.__doc__ or "") + "\n")
    if match is None:
        return "?"
    parameters = []
    for part in re.sub(r"=\([^)]*\)", "=", match.group(1)).split(","):
        name, equals, _ = part.strip().partition("=")
        parameters.append(name.split()[-1] + equals if name else "")  # Cython writes "int axis=-1"
    return ", ".join(filter(None, parameters))


def _describe(value: Any) -> str:
    """Kind and parameters of one of CuPy's module-level names."""
    if inspect.ismodule(value):
        return "module"
    if isinstance(value, type):
        return "class"
    if hasattr(value, "nin") and hasattr(value, "nout"):
        return f"ufunc {value.nin}"
    if not callable(value):
        return "constant"
    try:
        return f"function {_parameters(inspect.signature(value))}".strip()
    except (TypeError, ValueError):
        return f"function {_documented_parameters(value)}".strip()


def surface(cupy: Any) -> list[str]:
    """The lines of the list for an imported ``cupy``, sorted by name."""
    lines = {}
    for prefix, module in [("", cupy)] + [(name + ".", getattr(cupy, name)) for name in SUBMODULES]:
        for name in dir(module):
            if not name.startswith("_") and name != "annotations":
                lines[prefix + name] = _describe(getattr(module, name))
    for name in dir(cupy.ndarray):
        if (
            name not in dir(object)
            and name not in ("__pyx_vtable__", "__slots__", "__module__")
            and not re.match("_[^_]", name)
        ):
            value = getattr(cupy.ndarray, name)
            if name.startswith("__") or not callable(value):
                lines["ndarray." + name] = "array-attribute"
            else:
                lines["ndarray." + name] = f"array-method {_documented_parameters(value)}".strip()
    return [f"{name} {line}" for name, line in sorted(lines.items())]


def load(file: Path = FILE) -> dict[str, Entry]:
    """The committed list, by dotted name (``sum``, ``linalg.svd``, ``ndarray.sum``)."""
    entries = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        name, kind, *rest = line.split(" ", 2)
        text = rest[0] if rest else ""
        known = kind in ("function", "array-method") and text != "?"
        entries[name] = Entry(kind, _signature(text) if known else None)
    return entries


def _signature(text: str) -> inspect.Signature:
    """``a, axis=, *, out=`` read back."""
    parameters, kind = [], inspect.Parameter.POSITIONAL_OR_KEYWORD
    for part in filter(None, text.split(", ")):
        name, optional = part.lstrip("*").rstrip("="), part.endswith("=")
        if part == "*":
            kind = inspect.Parameter.KEYWORD_ONLY
        elif part == "/":
            parameters = [parameter.replace(kind=inspect.Parameter.POSITIONAL_ONLY) for parameter in parameters]
        elif part.startswith("**"):
            parameters.append(inspect.Parameter(name, inspect.Parameter.VAR_KEYWORD))
        elif part.startswith("*"):
            parameters.append(inspect.Parameter(name, inspect.Parameter.VAR_POSITIONAL))
            kind = inspect.Parameter.KEYWORD_ONLY
        else:
            parameters.append(inspect.Parameter(name, kind, default=None if optional else inspect.Parameter.empty))
    return inspect.Signature(parameters)


def version(file: Path = FILE) -> str:
    """The CuPy release that the committed list was made from."""
    return file.read_text(encoding="utf-8").split("\n", 1)[0].split()[-1]


if __name__ == "__main__":
    import cupy

    FILE.write_text("\n".join([f"# CuPy {cupy.__version__}", *surface(cupy)]) + "\n", encoding="utf-8")
    print(f"{FILE}: CuPy {cupy.__version__}, {len(surface(cupy))} names")
