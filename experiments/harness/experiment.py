"""An experiment as its file declares it, and the folder that they are found in."""

import ast
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .claims import Claim
from .config import Settings, suggest
from .errors import UserError

if TYPE_CHECKING:
    from .run import Run

PROFILES = ("smoke", "demo", "full")
PACKAGE = "experiments"


@dataclass(frozen=True)
class Experiment:
    """What `EXPERIMENT` in an experiment's file must be.

    Attributes:
        name: the file's name without `.py`.
        title: one line; by custom the first line of the file's docstring.
        profiles: settings for each of `smoke`, `demo` and `full`.
        claims: checked against the run's metrics at its end.
        run: does the work; see `Run`.
        evaluate: measures the models that `run` saved, and sets metrics: `python -m experiments evaluate`. None: it
            saves none.
    """

    name: str
    title: str
    profiles: dict[str, Settings]
    run: Callable[["Run[Any]"], None]
    claims: tuple[Claim, ...] = field(default=())
    evaluate: Callable[["Run[Any]"], None] | None = None

    def __post_init__(self) -> None:
        if tuple(self.profiles) != PROFILES:
            raise ValueError(f"{self.name}: profiles {tuple(self.profiles)}, expected {PROFILES}")


def folder() -> Path:
    """The folder of the experiments."""
    return Path(__file__).resolve().parent.parent


def titles() -> dict[str, str]:
    """Name to title of every experiment, read from the files' docstrings without importing them."""
    found = {}
    for module in pkgutil.iter_modules([str(folder())]):
        if not module.ispkg and not module.name.startswith("_"):
            source = (folder() / f"{module.name}.py").read_text(encoding="utf-8")
            docstring = ast.get_docstring(ast.parse(source)) or ""
            found[module.name] = first_line(docstring)
    return found


def first_line(docstring: str | None) -> str:
    """The title that a docstring begins with."""
    return (docstring or "").strip().split("\n", 1)[0].rstrip(".")


def load(name: str) -> Experiment:
    """Imports an experiment. Raises UserError with the nearest name when there is none of that name."""
    known = sorted(titles())
    if name not in known:
        raise UserError(f"no experiment {name!r}; {suggest(name, known)}")
    module = importlib.import_module(f"{PACKAGE}.{name}")
    experiment = module.EXPERIMENT
    if not isinstance(experiment, Experiment) or experiment.name != name:
        raise TypeError(f"experiments/{name}.py: EXPERIMENT must be an Experiment named {name!r}")
    return experiment
