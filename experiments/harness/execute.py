"""Carries out one run in its folder, from the top or from its checkpoint, and writes summary and report."""

import math
import shlex
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_hw.backend import DeviceError, parse_device
from tinygrad_hw.serialization import SerializationError

from . import environment
from .checkpoint import Checkpoint
from .claims import Verdict, judge
from .config import Settings, as_dict, describe, plain
from .errors import NonFiniteError, UserError
from .experiment import Experiment
from .folder import Order, RunFolder, write_json, write_text
from .origin import find_origin
from .progress import Silent, duration
from .report import Block, inline, render
from .run import Run
from .signals import StopRequest


@dataclass(frozen=True)
class Outcome:
    """What a finished run came to."""

    folder: RunFolder
    verdicts: list[Verdict]

    @property
    def passed(self) -> bool:
        """Whether every claim holds."""
        return all(verdict.passed for verdict in self.verdicts)


def check_device(device: str) -> None:
    """Raises UserError when the device does not exist or cannot be used."""
    try:
        parse_device(device)
    except DeviceError as error:
        raise UserError(f"--device {device}: {error}") from None


def execute(experiment: Experiment, order: Order, config: Settings, folder: RunFolder, progress: Silent) -> Outcome:
    """Runs an experiment to its end.

    Raises:
        Interrupted: stopped by a signal inside a loop, after a checkpoint.
        KeyboardInterrupt: stopped by a signal elsewhere; the last checkpoint stands.
        UserError: a value became NaN or infinite, a checkpoint is damaged or cannot be written, data changed, ...
        OSError: something could not be written; what was written before is whole.
    """
    # Overflow needs no warning: what is recorded or checkpointed must be finite, and the origin is found if it is not.
    with folder.locked(), StopRequest(progress.note) as stop, np.errstate(all="ignore"):
        run = Run(experiment, order, config, folder, progress, stop)
        try:
            experiment.run(run)
        except NonFiniteError as failure:
            stop.inside_loop = False
            progress.note(f"{failure}: looking for the operation where it began ...")
            found = find_origin(experiment, order, config, folder, failure)
            kept = (
                f"the last good checkpoint is in {folder.path}" if folder.checkpoint.exists() else "no checkpoint yet"
            )
            raise UserError(f"{failure}; {found}; {kept}") from None
        except SerializationError as error:
            raise UserError(f"{error}; the previous checkpoint is kept") from None
        finally:
            run.close()
        judged = tuple(claim for claim in experiment.claims if claim.metric not in run.not_judged)
        verdicts = judge(judged, order.profile, run.metrics)
        for claim, reason in run.not_judged.items():
            progress.note(f"claim {claim} is not judged: {reason}")
        write_json(folder.summary, summary(order, config, run, verdicts))
        write_text(folder.report, page(experiment, order, config, run, verdicts))
    return Outcome(folder, verdicts)


def evaluate(
    experiment: Experiment, order: Order, config: Settings, folder: RunFolder
) -> tuple[dict[str, float], dict[str, dict[str, str]]]:
    """Measures the models that a run saved; writes nothing.

    Returns:
        The metrics, and the data used with their sources.

    Raises:
        UserError: the experiment saves no models, or one is missing or damaged.
    """
    if experiment.evaluate is None:
        raise UserError(f"evaluate: {experiment.name} saves no models")
    with StopRequest(lambda text: None) as stop, np.errstate(all="ignore"):
        run = Run(experiment, order, config, folder, Silent(), stop, write=False, checkpoint=Checkpoint())
        experiment.evaluate(run)
    return run.metrics, run.data


def summary(order: Order, config: Settings, run: Run[Any], verdicts: list[Verdict]) -> dict[str, Any]:
    """The content of `summary.json`."""
    return {
        "experiment": order.experiment,
        "profile": order.profile,
        "data": run.data,
        "seed": order.seed,
        "device": order.device,
        "config": as_dict(config),
        "metrics": {name: finite(value) for name, value in run.metrics.items()},
        "claims": [{**verdict.as_dict(), "measured": finite(verdict.measured)} for verdict in verdicts],
        "seconds": round(run.seconds, 3),
        "versions": environment.versions(order.device),
        "machine": environment.machine(order.device),
        "not_judged": run.not_judged,
    }


def finite(value: float | None) -> float | None:
    """The value, or None for NaN and infinity, which JSON does not know."""
    return value if value is not None and math.isfinite(value) else None


def page(experiment: Experiment, order: Order, config: Settings, run: Run[Any], verdicts: list[Verdict]) -> str:
    """The report as HTML."""
    report = run.report
    if verdicts or run.not_judged:
        sections = [i for i, block in enumerate(report.blocks) if block.kind == "section"]
        place = sections[1] if len(sections) > 1 else len(report.blocks)
        heading = Block("section", {"title": "Claims", "anchor": "claims"})
        aside = [Block("text", {"body": inline(f"Not judged: `{c}`: {why}.")}) for c, why in run.not_judged.items()]
        table = [Block("claims", {"verdicts": verdicts})] if verdicts else []
        report.blocks[place:place] = [heading, *table, *aside]
    _appendix(experiment, order, config, run)
    where = "on the CPU" if order.device == "cpu" else f"on {order.device}"
    data = "; ".join(entry["source"] for entry in run.data.values())
    facts = (
        f"Experiment {experiment.name}, profile {order.profile}, seed {order.seed}, {where}, {duration(run.seconds)}."
    )
    return render(
        "page.html.j2",
        report=report,
        facts=f"{facts} Data: {data}." if data else facts,
        closing="This page holds everything it shows; nothing is loaded from elsewhere.",
    )


def _appendix(experiment: Experiment, order: Order, config: Settings, run: Run[Any]) -> None:
    report = run.report
    report.section("How this was made")
    report.text(f"The same run again: `{command(experiment, order)}`.")
    if run.data:
        rows = [(name, entry["source"], f"`{entry['sha256'][:16]}…`") for name, entry in run.data.items()]
        report.table(("Data", "Source", "SHA-256 of the arrays"), rows, caption="Data used.")
    meanings = describe(type(config))
    rows = [(f"`{key}`", plain(value), meanings[key]) for key, value in as_dict(config).items()]
    report.table(("Setting", "Value", "Meaning"), rows, caption="Settings, changed by `--set key=value`.")
    made = {**environment.machine(order.device), **environment.versions(order.device)}
    report.table(("Part", "Version"), list(made.items()), caption="Machine and versions.")


def command(experiment: Experiment, order: Order) -> str:
    """The command line that makes a run anew."""
    parts = [f"python -m experiments run {order.experiment} --profile {order.profile} --seed {order.seed}"]
    parts += [f"--device {order.device}"] if order.device != "cpu" else []
    parts += ["--data-dir DIR"] if order.data_dir is not None else []
    usual = as_dict(experiment.profiles[order.profile])
    changes = {key: plain(value) for key, value in order.config.items() if plain(value) != plain(usual[key])}
    return " ".join([*parts, *(f"--set {shlex.quote(f'{key}={value}')}" for key, value in changes.items())])
