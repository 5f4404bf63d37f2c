"""Learning rates that change over training, each a formula in the number of steps taken.

PyTorch reaches the same numbers by recursion from step to step; a formula does not add up rounding errors, and a run
that is resumed needs nothing but the step. A schedule sets its groups' rate when it is made and at each ``step()``,
over whatever was written there in between.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from tinygrad_hw.optim.optimizer import Optimizer


class Schedule:
    """The base of those that are a formula: call ``step()`` once after each ``optimizer.step()`` (or epoch).

    The rate that a group had when its first schedule was made is its ``"initial_lr"``; formulas start from that.

    Attributes:
        last_epoch: how often ``step()`` was called.

    A subclass defines ``_lr(t, base)`` or overrides ``_apply(t)``.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__}: expected an Optimizer, got {type(optimizer).__name__}")
        self.optimizer, self.last_epoch = optimizer, 0
        self._apply(0)

    def _lr(self, t: int, base: float) -> float:
        """The rate after ``t`` steps of a group whose initial one is ``base``."""
        raise NotImplementedError

    def _apply(self, t: int) -> None:
        """Set every group as it should be after ``t`` steps."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr(t, group.setdefault("initial_lr", group["lr"]))

    def step(self) -> None:
        """Go on by one step."""
        self._apply(self.last_epoch + 1)
        self.last_epoch += 1

    def get_last_lr(self) -> list[float]:
        """The groups' present learning rates."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Plain data, good for JSON."""
        return {"schedule": type(self).__name__, "last_epoch": self.last_epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where ``state`` was taken; raises ValueError when it is another schedule's."""
        _check_state(self, state)
        self.last_epoch = state["last_epoch"]
        self._apply(self.last_epoch)


def _check_state(schedule: Any, state: Mapping[str, Any]) -> None:
    own = schedule.state_dict()
    if set(state) != set(own) or state["schedule"] != own["schedule"]:
        raise ValueError(
            f"{own['schedule']}.load_state_dict: expected {', '.join(own)} of a {own['schedule']}, got "
            f"{', '.join(map(str, state))} of {state.get('schedule', 'something else')}"
        )


def _per_group(owner: str, name: str, value: float | Sequence[float], optimizer: Optimizer) -> list[float]:
    """A number for each parameter group, from one for all or from a list."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{owner}: expected an Optimizer, got {type(optimizer).__name__}")
    count = len(optimizer.param_groups)
    values = list(value) if isinstance(value, Sequence) else [value] * count
    if len(values) != count:
        raise ValueError(f"{owner}: expected one {name} or {count}, one for each parameter group, got {len(values)}")
    return values


def _positive(owner: str, name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{owner}: {name} must be a positive integer, got {value!r}")
    return value


class StepLR(Schedule):
    """η = η₀ γ^⌊t / step_size⌋."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size, self.gamma = _positive("StepLR", "step_size", step_size), gamma
        super().__init__(optimizer)

    def _lr(self, t: int, base: float) -> float:
        return base * self.gamma ** (t // self.step_size)


class CosineAnnealingLR(Schedule):
    """η = η_min + (η₀ - η_min) (1 + cos(π t / T_max)) / 2.

    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017, eq. 5, without restarts:
    after T_max steps the rate rises again along the cosine.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self.T_max, self.eta_min = _positive("CosineAnnealingLR", "T_max", T_max), eta_min
        super().__init__(optimizer)

    def _lr(self, t: int, base: float) -> float:
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * t / self.T_max)) / 2


class LinearLR(Schedule):
    """Warm-up: η = η₀ (s + (e - s) min(t / total_iters, 1)) with start_factor s and end_factor e.

    Raises ValueError unless 0 < s <= 1 and 0 <= e <= 1.
    """

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: int = 5
    ) -> None:
        if not 0 < start_factor <= 1 or not 0 <= end_factor <= 1:
            raise ValueError(
                f"LinearLR: expected 0 < start_factor <= 1 and 0 <= end_factor <= 1, got {start_factor} and "
                f"{end_factor}"
            )
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = _positive("LinearLR", "total_iters", total_iters)
        super().__init__(optimizer)

    def _lr(self, t: int, base: float) -> float:
        return base * (self.start_factor + (self.end_factor - self.start_factor) * min(t / self.total_iters, 1.0))


class OneCycleLR(Schedule):
    """Up from max_lr / div_factor to max_lr, down to max_lr / (div_factor final_div_factor); momentum the other way.

    Smith and Topin, "Super-convergence: very fast training of neural networks using large learning rates", 2017, in
    PyTorch's form.

    Args:
        optimizer: with ``cycle_momentum`` one that has a momentum or betas.
        max_lr: the peak, one number or one for each group.
        total_steps: the length; a further ``step()`` but one raises ValueError.
        pct_start: the share of steps that rise, from 0 to 1 (to 0.5 with ``three_phase``, where as many then fall).
        anneal_strategy: ``"cos"`` or ``"linear"``.
        cycle_momentum: move the momentum (or β₁) from ``max_momentum`` down to ``base_momentum`` and back.
        three_phase: first down to the initial rate as fast as up, then to the final one.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
    ) -> None:
        self.total_steps = _positive("OneCycleLR", "total_steps", total_steps)
        if not 0 <= pct_start <= (0.5 if three_phase else 1):
            raise ValueError(f"OneCycleLR: pct_start must be from 0 to {0.5 if three_phase else 1}, got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"OneCycleLR: anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}")
        self.max_lr = max_lr
        peaks = _per_group("OneCycleLR", "max_lr", max_lr, optimizer)
        if cycle_momentum and not ("momentum" in optimizer.defaults or "betas" in optimizer.defaults):
            raise ValueError(
                f"OneCycleLR: {type(optimizer).__name__} has no momentum to cycle; pass cycle_momentum=False"
            )
        self.cosine, self.cycle_momentum = anneal_strategy == "cos", cycle_momentum
        low, high, last = base_momentum, max_momentum, float(total_steps - 1)
        # per phase: its last step, what divides the peak rate there, the momentum there; the first entry is the start
        final = div_factor * final_div_factor
        self._phases = [(0.0, div_factor, high), (pct_start * total_steps - 1, 1.0, low), (last, final, high)]
        if three_phase:
            self._phases[2:] = [(2 * pct_start * total_steps - 2, div_factor, high), (last, final, high)]
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["initial_lr"] = peak / div_factor
        super().__init__(optimizer)

    def _apply(self, t: int) -> None:
        if t > self.total_steps:
            raise ValueError(f"OneCycleLR: step {t} of a schedule of {self.total_steps} steps")
        number = next((i for i, phase in enumerate(self._phases[1:], 1) if t <= phase[0]), len(self._phases) - 1)
        (start, from_divisor, from_momentum), (end, to_divisor, to_momentum) = self._phases[number - 1 : number + 1]
        share = min((t - start) / (end - start), 1.0) if end > start else 1.0
        peaks = _per_group("OneCycleLR", "max_lr", self.max_lr, self.optimizer)
        for group, peak in zip(self.optimizer.param_groups, peaks, strict=True):
            group["lr"] = self._between(peak / from_divisor, peak / to_divisor, share)
            if self.cycle_momentum:
                momentum = self._between(from_momentum, to_momentum, share)
                if "betas" in group:
                    group["betas"] = (momentum, *group["betas"][1:])
                else:
                    group["momentum"] = momentum

    def _between(self, start: float, end: float, share: float) -> float:
        if self.cosine:
            return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
        return start + (end - start) * share


class SequentialLR(Schedule):
    """One schedule after another, e.g. warm-up, then cosine: schedule i + 1 starts from its own 0 at ``milestones[i]``.

    Raises ValueError unless the milestones increase and are one fewer than the schedules, all of which must be of
    ``optimizer``.
    """

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[Schedule], milestones: Sequence[int]) -> None:
        starts = [0, *milestones]
        if len(starts) != len(schedulers) or any(b <= a for a, b in pairwise(starts)):
            raise ValueError(
                f"SequentialLR: expected increasing milestones, one fewer than the {len(schedulers)} schedules, got "
                f"{list(milestones)}"
            )
        if any(scheduler.optimizer is not optimizer for scheduler in schedulers):
            raise ValueError("SequentialLR: the schedules belong to different optimizers")
        self.schedulers, self._starts = list(schedulers), starts
        super().__init__(optimizer)

    def _apply(self, t: int) -> None:
        number = bisect_right(self._starts, t) - 1
        self.schedulers[number]._apply(t - self._starts[number])


class ReduceLROnPlateau:
    """Multiply the rates by ``factor`` when a measured value has not improved for more than ``patience`` steps.

    Args:
        optimizer: whose groups' ``"lr"`` change.
        mode: ``"min"`` or ``"max"``: which direction is better.
        factor: below 1. patience: how many steps without improvement are borne.
        threshold, threshold_mode: better means better than the best by more than threshold |best| for ``"rel"``
            (PyTorch leaves out the bars, and never finds a plateau of negative values), by more than threshold for
            ``"abs"``.
        cooldown: steps after a reduction in which nothing is counted.
        min_lr: a lower limit, one number or one for each group.
        eps: a change of rate that is not above this is not made.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ValueError(
                f"ReduceLROnPlateau: expected mode 'min' or 'max' and threshold_mode 'rel' or 'abs', got {mode!r} and "
                f"{threshold_mode!r}"
            )
        if not 0 <= factor < 1:
            raise ValueError(f"ReduceLROnPlateau: factor must be at least 0 and below 1, got {factor}")
        _per_group("ReduceLROnPlateau", "min_lr", min_lr, optimizer)
        self.min_lr = min_lr
        self.optimizer, self.mode, self.factor, self.patience = optimizer, mode, factor, patience
        self.threshold, self.threshold_mode, self.cooldown, self.eps = threshold, threshold_mode, cooldown, eps
        self.best: float | None = None
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0

    def step(self, metrics: float) -> None:
        """Take note of a measured value (a number or a Tensor of one element); NaN counts as worse."""
        value = float(metrics)
        self.last_epoch += 1
        if self._better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            limits = _per_group("ReduceLROnPlateau", "min_lr", self.min_lr, self.optimizer)
            for group, least in zip(self.optimizer.param_groups, limits, strict=True):
                reduced = max(group["lr"] * self.factor, least)
                if group["lr"] - reduced > self.eps:
                    group["lr"] = reduced
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def _better(self, value: float) -> bool:
        sign = 1 if self.mode == "max" else -1
        if self.best is None:
            return sign * value > -math.inf
        margin = abs(self.best) * self.threshold if self.threshold_mode == "rel" else self.threshold
        return sign * value > sign * self.best + margin

    def get_last_lr(self) -> list[float]:
        """The groups' present learning rates."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Plain data, good for JSON; the rates themselves are in the optimiser's state."""
        return {
            "schedule": type(self).__name__,
            "best": self.best,
            "num_bad_epochs": self.num_bad_epochs,
            "cooldown_counter": self.cooldown_counter,
            "last_epoch": self.last_epoch,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where ``state`` was taken; raises ValueError when it is another schedule's."""
        _check_state(self, state)
        self.best, self.last_epoch = state["best"], state["last_epoch"]
        self.num_bad_epochs, self.cooldown_counter = state["num_bad_epochs"], state["cooldown_counter"]
