"""The outcomes of all nets and seeds, and what they say about each technique."""

import numpy as np

from experiments.harness.seeds import Spread, spread

from .training import Outcome

Results = dict[str, list[Outcome]]  # by recipe or ensemble; one for each seed


def gained(results: Results, before: str, after: str, value: str) -> np.ndarray:
    """By how much one net beats another, seed by seed: more right answers, or less loss."""
    sign = 1 if value == "accuracy" else -1
    pairs = zip(results[before], results[after], strict=True)
    return np.array([sign * (getattr(b, value) - getattr(a, value)) for a, b in pairs])


def worth(results: Results, name: str, value: str) -> tuple[np.ndarray, np.ndarray]:
    """What a technique or ensemble brings, seed by seed: alone to the plain net, and to the better one; + is good."""
    if name == "ensemble":
        return gained(results, "plain", "ensemble_alone", value), gained(results, "better", "ensemble", value)
    return gained(results, "plain", f"{name}_alone", value), gained(results, f"without_{name}", "better", value)


def of(results: Results, name: str, value: str) -> Spread:
    """A value of a net over the seeds."""
    return spread([getattr(outcome, value) for outcome in results[name]])
