"""A small experiment for tests of the harness: one weight vector learns a line, by hand, with noise on the data."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from experiments.harness import Claim, Experiment, Run, Settings, Step, figures, settings
from experiments.harness.config import as_dict
from experiments.harness.execute import Outcome, execute
from experiments.harness.folder import Order, RunFolder
from experiments.harness.progress import Silent

EXAMPLES, BATCH = 20, 6  # four steps an epoch, the last one smaller


@settings
class ToyConfig(Settings):
    """Settings of the toy."""

    epochs: Annotated[int, Field(ge=1, le=1000, description="passes over the examples")] = 5
    rate: Annotated[float, Field(gt=0, description="learning rate")] = 0.1
    widths: Annotated[tuple[int, ...], Field(description="a list of numbers")] = (3, 2)
    shout: Annotated[bool, Field(description="a switch")] = False


def toy(on_step: Callable[[Step, dict[str, np.ndarray]], None] = lambda step, params: None) -> Experiment:
    """The experiment; `on_step` is called in every step of its second loop before the update."""

    def run(run: Run[ToyConfig]) -> None:
        draw = run.stream("data")
        inputs = draw.normal((EXAMPLES, 3), dtype=np.float64)
        targets = inputs @ np.array([1.0, -2.0, 0.5])
        run.uses("line", "a line with noise", "0" * 64)
        params = {"weight": run.stream("init").normal(3, dtype=np.float64)}
        noise = run.stream("noise")
        for name in ("first", "second"):
            loop = run.loop(
                name, {"params": params, "noise": noise}, epochs=run.config.epochs, examples=20, batch=BATCH
            )
            for step in loop:
                if name == "second":
                    on_step(step, params)
                error = inputs[step.indices] @ params["weight"] - targets[step.indices]
                error = error + noise.normal(len(error), std=0.01, dtype=np.float64)
                params["weight"] -= run.config.rate * error @ inputs[step.indices] / len(error)
                step.mean(loss=float(error @ error) / len(error))
                step.maximum(worst=float(np.abs(error).max()))
                if step.ends_epoch:
                    step.log(norm=math.sqrt(float(params["weight"] @ params["weight"])))
        run.metric(loss=loop.history("loss")[-1])
        run.report.section("Question")
        run.report.text("What is the slope of $y = w x$ when `w` is unknown & <unsafe>?")
        run.report.section("Answer")
        run.report.formula(r"w \leftarrow w - \eta \frac{\partial C}{\partial w}", note="Descent.")
        figure, axes = figures.new()
        axes.plot(loop.history("loss"))
        run.report.figure("loss", figure, caption="Loss by epoch.", alt="A falling curve")
        run.report.table(("Epoch", "Loss"), [(1, float(loop.history("loss")[0]))], caption="The first loss.")

    claims = (Claim("loss", "<=", {"demo": 0.01, "full": -1.0}, "The line is found."),)
    profiles = {"smoke": ToyConfig(epochs=2), "demo": ToyConfig(), "full": ToyConfig(epochs=6)}
    return Experiment(name="toy", title="A toy", profiles=profiles, claims=claims, run=run)


def order_for(
    experiment: Experiment, profile: str = "demo", seed: int = 0, **changes: object
) -> tuple[Order, ToyConfig]:
    """An order for a run of the toy with some settings changed, and its settings."""
    config = ToyConfig(**{**as_dict(experiment.profiles[profile]), **changes})
    order = Order(
        experiment=experiment.name,
        profile=profile,
        seed=seed,
        device="cpu",
        data_dir=None,
        check=False,
        config=as_dict(config),
    )
    return order, config


def run_toy(
    experiment: Experiment,
    path: Path,
    profile: str = "demo",
    seed: int = 0,
    progress: Silent | None = None,
    **changes: object,
) -> Outcome:
    """Begins or continues a run of the toy in a folder."""
    path.mkdir(parents=True, exist_ok=True)
    folder = RunFolder(path)
    order, config = order_for(experiment, profile, seed, **changes)
    folder.write_order(order)
    return execute(experiment, order, config, folder, progress or Silent())
