"""What every experiment stands on: settings, the run with its loops and checkpoints, claims, figures, the report."""

from .claims import Claim
from .config import Settings, settings
from .experiment import Experiment
from .loop import Loop, Step
from .run import Run

__all__ = ["Claim", "Experiment", "Loop", "Run", "Settings", "Step", "settings"]
