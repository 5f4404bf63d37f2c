"""Claims: what an experiment asserts about its own numbers, checked at the end of each run."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .progress import aligned

RELATIONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
}
PRINTED = {">=": "≥", "<=": "≤", ">": ">", "<": "<", "==": "="}


@dataclass(frozen=True)
class Claim:
    """`metric relation target`, for example `test_accuracy >= 0.975`.

    Attributes:
        metric: key of the run's metrics; also the claim's name.
        relation: one of `>=`, `<=`, `>`, `<`, `==`.
        targets: by profile; a profile without one does not make the claim.
        text: the claim in words, for the report.
    """

    metric: str
    relation: str
    targets: Mapping[str, float]
    text: str

    def __post_init__(self) -> None:
        if self.relation not in RELATIONS:
            raise ValueError(f"claim {self.metric}: relation {self.relation!r}, expected one of {', '.join(RELATIONS)}")


@dataclass(frozen=True)
class Verdict:
    """A claim with what was measured; a metric that is missing or NaN fails."""

    name: str
    measured: float | None
    relation: str
    target: float
    passed: bool
    text: str

    def row(self) -> tuple[str, str, str, str]:
        """Claim, measured, required, result: as printed."""
        measured = "not measured" if self.measured is None else f"{self.measured:.6g}"
        return self.name, measured, f"{PRINTED[self.relation]} {self.target:g}", "pass" if self.passed else "FAIL"

    def as_dict(self) -> dict[str, Any]:
        """The fields that `summary.json` holds."""
        return {
            "name": self.name,
            "measured": self.measured,
            "relation": self.relation,
            "target": self.target,
            "passed": self.passed,
        }


def judge(claims: tuple[Claim, ...], profile: str, metrics: Mapping[str, float]) -> list[Verdict]:
    """Each claim that the profile makes, with its verdict."""
    verdicts = []
    for claim in claims:
        if profile in claim.targets:
            measured, target = metrics.get(claim.metric), claim.targets[profile]
            passed = measured is not None and RELATIONS[claim.relation](measured, target)
            verdicts.append(Verdict(claim.metric, measured, claim.relation, target, passed, claim.text))
    return verdicts


def printed(verdicts: list[Verdict]) -> str:
    """The verdicts as an aligned plain table."""
    return aligned([("claim", "measured", "required", "result"), *(verdict.row() for verdict in verdicts)])
