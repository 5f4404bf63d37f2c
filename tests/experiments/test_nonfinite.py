"""A NaN or an infinity stops the run, and its origin is named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_hw as tg
from experiments.harness import Experiment, Run, Step
from experiments.harness.errors import UserError

from .runs import loops_of, rows_of
from .toy import ToyConfig, run_toy, toy

Params = dict[str, np.ndarray]


def with_body(body: Callable[[Step, Params], float], every: int = 1) -> Experiment:
    """A run of one loop with five steps, whose body gives the loss; with a checkpoint after so many steps."""

    def run(run: Run[Any]) -> None:
        params = {"weight": np.ones(3)}
        for step in run.loop("train", {"params": params}, epochs=1, examples=5, batch=1):
            step.mean(loss=body(step, params))

    profiles = {name: ToyConfig(checkpoint_steps=every) for name in ("smoke", "demo", "full")}
    return Experiment(name="toy", title="", profiles=profiles, run=run)


def message_of(experiment: Experiment, path: Path) -> str:
    with pytest.raises(UserError) as caught:
        run_toy(experiment, path)
    text = str(caught.value)
    assert "\n" not in text
    kept = (path / "checkpoint.safetensors").exists()
    assert text.endswith(f"the last good checkpoint is in {path}" if kept else "no checkpoint yet")
    return text


def test_recorded_operation_is_named(tmp_path: Path) -> None:
    def body(step: Step, params: Params) -> float:
        weight = tg.tensor(params["weight"], requires_grad=True)
        inputs = tg.tensor(np.array([1.0, 2.0, 3.0 if step.index < 3 else -1.0]))
        return float((weight * inputs).log().sum().item())

    text = message_of(with_body(body), tmp_path)
    assert "loop train, epoch 1, step 4 of 5: loss is nan" in text
    assert "it began in a recorded operation: Log forward" in text
    assert "test_nonfinite.py" in text
    assert "(3,)" in text
    assert "index (2,)" in text
    assert loops_of(tmp_path)["train"].position == 3


def test_gradient_of_the_step_before_is_named(tmp_path: Path) -> None:
    def body(step: Step, params: Params) -> float:
        weight = tg.tensor(params["weight"], requires_grad=True)
        loss = (weight * float(step.index != 2)).sqrt().sum()
        loss.backward()
        assert weight.grad is not None
        params["weight"] -= 0.1 * weight.grad.numpy()
        return float(loss.item())

    text = message_of(with_body(body, every=0), tmp_path)
    assert "step 4 of 5: loss is nan" in text
    assert "it began in a recorded operation: " in text
    assert "Sqrt backward: the gradient of operand 0" in text or "Mul backward: the gradient of operand 0" in text


def test_tracked_array_is_named(tmp_path: Path) -> None:
    def body(step: Step, params: Params) -> float:
        loss = float(params["weight"].sum())
        if step.index == 2:
            params["weight"][1] = np.inf
        return loss

    text = message_of(with_body(body, every=0), tmp_path)
    assert "step 4 of 5: loss is inf" in text
    assert "it began after step 3, params/weight[1] is inf (shape (3,), 1 such values)" in text


def test_checkpoint_is_never_made_of_infinity(tmp_path: Path) -> None:
    def body(step: Step, params: Params) -> float:
        params["weight"][1] = np.inf if step.index == 2 else 1.0
        return 1.0

    text = message_of(with_body(body), tmp_path)
    assert "loop train, after step 3 of 5: params/weight[1] is inf (shape (3,), 1 such values)" in text
    assert "it began in this step, outside the tape and outside NumPy" in text
    assert loops_of(tmp_path)["train"].position == 2


def test_value_from_outside_is_named(tmp_path: Path) -> None:
    text = message_of(with_body(lambda step, params: np.nan if step.index == 0 else 1.0), tmp_path)
    assert "step 1 of 5: loss is nan" in text
    assert "it began in this step, outside the tape and outside NumPy" in text


def test_operation_on_plain_arrays_is_named(tmp_path: Path) -> None:
    def body(step: Step, params: Params) -> float:
        large = params["weight"] * 10.0 ** (100 * step.index)
        return float((large * large - large * large).sum())

    text = message_of(with_body(body), tmp_path)
    assert "step 3 of 5: loss is nan" in text
    assert "it began outside the tape: overflow encountered in multiply, " in text
    assert "in body: return float((large * large - large * large).sum())" in text


def test_experiment_that_does_not_repeat_itself_is_told(tmp_path: Path) -> None:
    values = iter([1.0, np.nan, *[1.0] * 20])
    with pytest.raises(UserError, match="finite when repeated: the experiment does not repeat itself"):
        run_toy(with_body(lambda step, params: next(values)), tmp_path)


def test_replay_begins_at_the_checkpoint_and_changes_nothing(tmp_path: Path) -> None:
    seen: list[int] = []

    def spoil(step: Step, params: Params) -> None:
        seen.append(step.index)
        if step.index == 10:
            params["weight"][:] = np.nan

    with pytest.raises(UserError, match="loop second, epoch 3, step 11 of 20: loss is nan"):
        run_toy(toy(spoil), tmp_path, checkpoint_steps=4)
    assert seen == [*range(11), 8, 9, 10, 8, 9, 10], "once for the tape, once for NumPy"
    assert loops_of(tmp_path)["second"].position == 8
    rows = rows_of(tmp_path)
    assert [row["epoch"] for row in rows if row["loop"] == "second"] == [1, 2]
