"""Results that are kept in the repository: summary and figures of a run, and one page about all of them."""

import shutil
from pathlib import Path
from typing import Any

from . import experiment as registry
from .claims import PRINTED
from .errors import UserError
from .execute import command
from .folder import RunFolder, read_json, write_json, write_text
from .progress import duration

RESULTS = registry.folder() / "results"


def publish(folders: list[Path], results: Path = RESULTS) -> Path:
    """Puts what finished runs measured into `results/NAME/`, in place of what was there, and writes the page anew.

    Args:
        folders: of finished runs.
        results: where to.

    Returns:
        The path of the page, `README.md` in `results`.

    Raises:
        UserError: a folder holds no finished run.
    """
    runs = [_finished(RunFolder.existing(folder)) for folder in folders]
    for run in runs:
        order, summary = run.read_order(), read_json(run.summary)
        target = results / order.experiment
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        made_by = command(registry.load(order.experiment), order)
        write_json(target / "summary.json", {"command": made_by, **summary})
        for figure in sorted(run.figures.glob("*.png")):
            shutil.copyfile(figure, target / figure.name)
    page = results / "README.md"
    write_text(page, _page(results))
    return page


def _finished(run: RunFolder) -> RunFolder:
    if not run.summary.exists():
        raise UserError(f"{run.path}: not finished; python -m experiments resume {run.path}")
    return run


def _page(results: Path) -> str:
    lines = ["# Results", "", "What the experiments measured; `python -m experiments publish RUN_DIR ...` writes it."]
    titles = registry.titles()
    for path in sorted(results.glob("*/summary.json")):
        lines += _section(path.parent, read_json(path), titles)
    return "\n".join(lines) + "\n"


def _section(folder: Path, summary: dict[str, Any], titles: dict[str, str]) -> list[str]:
    name = summary["experiment"]
    data = "; ".join(entry["source"] for entry in summary["data"].values()) or "none"
    where = ", ".join(summary.get("machine", {}).values())
    lines = ["", f"## {titles.get(name, name)}", "", "```", summary["command"], "```", ""]
    lines += [f"{duration(summary['seconds'])} on {where}. Data: {data}.", ""]
    lines += ["| claim | measured | required | |", "|---|---|---|---|"]
    for claim in summary["claims"]:
        measured = "-" if claim["measured"] is None else f"{claim['measured']:.4g}"
        required = f"{PRINTED[claim['relation']]} {claim['target']:g}"
        lines.append(f"| `{claim['name']}` | {measured} | {required} | {'pass' if claim['passed'] else '**FAIL**'} |")
    for figure in sorted(folder.glob("*.png")):
        lines += ["", f"![{figure.stem.replace('_', ' ')}]({name}/{figure.name})"]
    return lines
