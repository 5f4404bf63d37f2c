"""What `run`, `resume` and `evaluate` do once their arguments are understood: one job for each run."""

import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path

from experiments.data import DataError

from . import experiment as registry
from .claims import printed
from .compare import claims_text, compare
from .config import Settings, as_dict, from_dict
from .errors import CLAIM_FAILED, DONE, INTERRUPTED, Interrupted, UserError
from .events import check_tensorboard
from .execute import check_device, evaluate, execute
from .experiment import Experiment
from .folder import RUNS, Order, RunFolder, default_path, read_json
from .index import write_index
from .progress import aligned, choose
from .seeds import over_seeds

Attempt = Callable[[Callable[[], int]], tuple[int, str]]


@dataclass(frozen=True)
class Job:
    """One run, with its folder made."""

    experiment: Experiment
    order: Order
    config: Settings
    folder: RunFolder


def prepare(
    experiments: list[tuple[Experiment, Settings]],
    *,
    profile: str,
    seeds: list[int],
    device: str,
    data_dir: Path | None,
    out: Path | None,
    assignments: list[str],
    check: bool,
    tensorboard: bool,
    quiet: bool,
) -> list[Job]:
    """Jobs for every experiment and seed. Raises UserError before any folder is made, or when one cannot be."""
    check_device(device)
    if tensorboard:
        check_tensorboard()
    jobs = []
    for experiment, config in experiments:
        for seed in seeds:
            usual = default_path(experiment.name, profile, seed, assignments)
            parts = ([experiment.name] if len(experiments) > 1 else []) + ([f"seed{seed}"] if len(seeds) > 1 else [])
            folder = RunFolder.create(out.joinpath(*parts) if out else usual, numbered=out is None)
            if folder.path != usual and out is None and not RunFolder(usual).summary.exists() and not quiet:
                print(f"{usual} holds an unfinished run: python -m experiments resume {usual}", file=sys.stderr)
            order = Order(
                experiment=experiment.name,
                profile=profile,
                seed=seed,
                device=device,
                data_dir=None if data_dir is None else str(data_dir.absolute()),
                check=check,
                config=as_dict(config),
                tensorboard=tensorboard,
            )
            folder.write_order(order)
            jobs.append(Job(experiment, order, config, folder))
    return jobs


def runs_in(path: Path) -> list[Path]:
    """The folders of the runs that `--seeds` made in a folder; the folder itself where there are none."""
    orders = [] if RunFolder(path).order.exists() else sorted(path.glob("seed*/run.json"))
    return [order.parent for order in orders] or [path]


def reopen(path: Path) -> Job:
    """The job of an earlier run. Raises UserError when the folder holds none, or one that cannot be read."""
    folder = RunFolder.existing(path)
    order = folder.read_order()
    experiment = registry.load(order.experiment)
    if order.profile not in experiment.profiles:
        raise UserError(f"{folder.order}: no profile {order.profile!r}")
    return Job(experiment, order, from_dict(type(experiment.profiles[order.profile]), order.config), folder)


def carry_out(job: Job, *, quiet: bool) -> int:
    """Runs a job from the top or from its checkpoint, prints its claims, and returns the exit status."""
    check_device(job.order.device)
    progress = choose(quiet)
    title = f"{job.experiment.name}: {job.experiment.title}"
    progress.note(f"{title} [{job.order.profile}, seed {job.order.seed}] in {job.folder.path}")
    try:
        outcome = execute(job.experiment, job.order, job.config, job.folder, progress)
    except (UserError, DataError):
        job.folder.discard_unused()
        raise
    finally:
        progress.close()
    if outcome.verdicts:
        print(printed(outcome.verdicts))
    elif job.order.check:
        print(f"claims: none made in profile {job.order.profile}, so there is nothing to check")
    print(f"report: {job.folder.report}")
    if job.folder.path.parent == RUNS:
        write_index(RUNS)
    return CLAIM_FAILED if job.order.check and not outcome.passed else DONE


def carry_out_all(jobs: list[Job], attempt: Attempt, *, quiet: bool) -> int:
    """Runs jobs one after the other and returns the greatest exit status.

    A job that fails does not keep the others from running; an interruption does. Two jobs or more are followed by a
    table of how each ended, several seeds of one experiment also by their mean, their spread and a page.

    Args:
        jobs: as `prepare` made them.
        attempt: does some work and returns its exit status, and the error in one line when there was one.
        quiet: as in `run`.
    """
    endings: list[tuple[Job, int, str]] = []
    for job in jobs:
        work = partial(carry_out, job, quiet=quiet)
        status, error = attempt(work) if len(jobs) == 1 else attempt(partial(_surviving, work))
        endings.append((job, status, error))
        if status == INTERRUPTED:
            left = " ".join(str(job.folder.path) for job in jobs[len(endings) - 1 :])
            print(f"interrupted; continue by: python -m experiments resume {left}", file=sys.stderr)
            break
    if len(jobs) > 1:
        print(aligned([("run", "result"), *((str(job.folder.path), _result(job, error)) for job, _, error in endings)]))
    for _, group in groupby(endings, key=lambda ending: ending[0].experiment.name):
        finished = [job.folder for job, _, error in group if not error]
        if len(finished) > 1:
            spreads = over_seeds([read_json(folder.summary)["metrics"] for folder in finished])
            print(aligned([("metric", "mean ± spread"), *((name, str(value)) for name, value in spreads.items())]))
            print(f"comparison: {compare([folder.path for folder in finished], None)}")
    return max(status for _, status, _ in endings)


def _result(job: Job, error: str) -> str:
    return error or f"claims: {claims_text(read_json(job.folder.summary))}"


def _surviving(work: Callable[[], int]) -> int:
    """Does some work; an error that nobody foresaw is shown in full, and ends this work alone."""
    try:
        return work()
    except (UserError, DataError, Interrupted, OSError):
        raise
    except Exception as error:
        traceback.print_exc()
        raise UserError(f"crashed, {type(error).__name__}: {error}") from error


def evaluate_models(path: Path, data_dir: Path | None, device: str | None) -> str:
    """The metrics of the models that a run saved, measured anew, as a table beside those of the run.

    Raises:
        UserError: the folder holds no run, its experiment saves no models, or one is missing or damaged.
    """
    job = reopen(path)
    where = job.order.data_dir if data_dir is None else str(data_dir.absolute())
    order = replace(job.order, device=device or job.order.device, data_dir=where)
    check_device(order.device)
    metrics, data = evaluate(job.experiment, order, job.config, job.folder)
    before = read_json(job.folder.summary)["metrics"] if job.folder.summary.exists() else {}
    rows = [(name, f"{value:.6g}", _shown(before.get(name))) for name, value in metrics.items()]
    sources = [f"data: {entry['source']}" for entry in data.values()]
    return "\n".join([aligned([("metric", "measured now", "in the run"), *rows]), *sources])


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"
