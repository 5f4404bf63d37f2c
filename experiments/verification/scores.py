"""How right verdicts are: accuracy on the problem's mini-batches and on all pairs, ROC, calibration."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score, roc_curve

from .pairs import Pairs, all_pairs

LEAST = 1e-3  # slope of a calibration
WEAK = 1e6  # inverse of the penalty on the slope: next to none


@dataclass(frozen=True)
class Calibration:
    """p(one speaker) = σ(slope · score + offset), when half of the pairs are of one speaker.

    Attributes:
        slope: above 0, so that a higher score always means a higher probability.
        offset: the threshold on the score is - offset / slope.
    """

    slope: float
    offset: float

    @classmethod
    def of(cls, scores: np.ndarray, same: np.ndarray) -> "Calibration":
        """Logistic regression on pairs, positive and negative ones weighing the same (Platt 1999)."""
        fitted = LogisticRegression(C=WEAK, class_weight="balanced").fit(scores[:, None].astype(np.float64), same > 0)
        slope, offset = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
        return cls(slope, offset) if slope > LEAST else cls(LEAST, -LEAST * float(np.median(scores)))


@dataclass(frozen=True, eq=False)
class Trial:
    """Verdicts on every pair of some speakers' utterances.

    Attributes:
        speakers, each: how many, and utterances of each.
        logits: one for each pair of `all_pairs`; above 0 the verdict is "one speaker".
    """

    speakers: int
    each: int
    logits: np.ndarray

    @classmethod
    def of(cls, gram: np.ndarray, speakers: int) -> "Trial":
        """From a logit for every two utterances, U x U."""
        each = len(gram) // speakers
        pairs = all_pairs(speakers, each)
        return cls(speakers, each, gram[pairs.left, pairs.right])

    @cached_property
    def pairs(self) -> Pairs:
        """The pairs that the logits are of."""
        return all_pairs(self.speakers, self.each)

    @cached_property
    def square(self) -> np.ndarray:
        """The logits as a symmetric matrix, U x U; nothing on its diagonal means anything."""
        found = np.zeros((self.speakers * self.each,) * 2)
        found[self.pairs.left, self.pairs.right] = self.logits
        return found + found.T

    @cached_property
    def roc(self) -> tuple[np.ndarray, np.ndarray]:
        """Shares of wrongly and of rightly accepted pairs, by falling threshold."""
        false, true, _ = roc_curve(self.pairs.same, self.logits)
        return false, true

    @property
    def eer(self) -> float:
        """Equal error rate: where as many positive pairs are refused as negative ones are accepted, in shares."""
        false, true = self.roc
        gap = false - (1 - true)
        place = int(np.searchsorted(gap, 0))
        if gap[place] == 0 or not place:
            return float(false[place])
        part = gap[place - 1] / (gap[place - 1] - gap[place])
        return float(false[place - 1] + part * (false[place] - false[place - 1]))

    @property
    def auc(self) -> float:
        """Area under the curve: the probability that a positive pair scores higher than a negative one."""
        return float(roc_auc_score(self.pairs.same, self.logits))

    @property
    def refused(self) -> float:
        """Share of the positive pairs that are judged to be of two speakers."""
        return float((self.logits[self.pairs.same > 0] <= 0).mean())

    @property
    def accepted(self) -> float:
        """Share of the negative pairs that are judged to be of one speaker."""
        return float((self.logits[self.pairs.same == 0] > 0).mean())

    @property
    def balanced_accuracy(self) -> float:
        """Mean of the shares of right verdicts on positive and on negative pairs, over all pairs."""
        return 1 - (self.refused + self.accepted) / 2

    @property
    def loss(self) -> float:
        """Binary cross-entropy over all pairs, positive and negative ones weighing the same."""
        same = self.pairs.same > 0
        signed = np.where(same, self.logits, -self.logits)
        losses = np.logaddexp(0, -signed)
        return float((losses[same].mean() + losses[~same].mean()) / 2)

    def right(self, pairs: Pairs) -> np.ndarray:
        """Whether the verdict on each of some pairs is right."""
        return (self.square[pairs.left, pairs.right] > 0) == (pairs.same > 0)
