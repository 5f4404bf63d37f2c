"""The best epoch of a loop: what some objects were then, and when to stop waiting for a better one."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .state import capture, restore, snapshot

if TYPE_CHECKING:
    from .loop import Step


class Best:
    """Keeps some objects as they were after the epoch with the best value, beside what they are now.

    Given to `Run.loop`, which offers it every epoch and puts it into the checkpoint: an interrupted loop goes on with
    the same best and the same patience. After the loop, `restore()` brings the best back.

    Args:
        metric: a value that the loop's epochs have, such as `validation_loss`.
        of: the objects by name; whatever a loop can track.
        higher: whether a greater value is better.
        patience: the loop stops after so many epochs without a better value (early stopping: L. Prechelt, "Early
            stopping, but when?", in Neural Networks: Tricks of the Trade, 1998); None lets it go on.

    Attributes:
        value: the best so far, None before the first epoch.
        epoch: when it was reached, from 1; 0 before the first.
    """

    def __init__(
        self, metric: str, of: Mapping[str, Any], *, higher: bool = False, patience: int | None = None
    ) -> None:
        if patience is not None and patience < 1:
            raise ValueError(f"best {metric}: patience {patience}, expected at least 1")
        self.metric, self.higher, self.patience = metric, higher, patience
        self.value: float | None = None
        self.epoch = 0
        self._of, self._kept = of, dict[str, Any]()

    def offer(self, step: "Step", values: Mapping[str, float]) -> None:
        """Takes an epoch's values at its last step. Raises ValueError when the metric is not among them."""
        if self.metric not in values:
            raise ValueError(f"best {self.metric}: the epoch logged {', '.join(values) or 'nothing'}")
        value = values[self.metric]
        if self.value is None or (value > self.value if self.higher else value < self.value):
            self.value, self.epoch, self._kept = value, step.epoch, snapshot(self._of)
        elif self.patience is not None and step.epoch - self.epoch >= self.patience:
            step.stop()

    def restore(self) -> None:
        """Makes the objects what they were after the best epoch. Raises RuntimeError before the first."""
        if not self.epoch:
            raise RuntimeError(f"best {self.metric}: no epoch has ended yet")
        restore(self._of, *capture(self._kept))

    def state_dict(self) -> dict[str, Any]:
        """Value, epoch, and the kept states."""
        return {"value": self.value, "epoch": self.epoch, "kept": self._kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state."""
        self.value, self.epoch, self._kept = state["value"], state["epoch"], dict(state["kept"])
