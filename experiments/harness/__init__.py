"""What every experiment stands on: settings, the run with its loops and checkpoints, claims, figures, the report."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .best import Best
    from .claims import Claim
    from .config import Settings, settings
    from .experiment import Experiment
    from .loop import Loop, Step
    from .run import Run
    from .sounds import Clip

_HOMES = {
    "Best": "best",
    "Claim": "claims",
    "Clip": "sounds",
    "Experiment": "experiment",
    "Loop": "loop",
    "Run": "run",
    "Settings": "config",
    "Step": "loop",
    "settings": "config",
}
__all__ = ["Best", "Claim", "Clip", "Experiment", "Loop", "Run", "Settings", "Step", "settings"]


def __getattr__(name: str) -> Any:
    """Loads what is asked for, and no more: the command line answers before matplotlib and the engine are imported."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
