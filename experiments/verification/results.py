"""What was measured on the test speakers."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .pairs import Pairs
from .scores import Trial


@dataclass(frozen=True, eq=False)
class Scored:
    """Verdicts of one verifier.

    Attributes:
        plain: on the test utterances as they are.
        recoloured: on the same, each as if another microphone had heard it.
    """

    plain: Trial
    recoloured: Trial


@dataclass(frozen=True, eq=False)
class Results:
    """Verdicts of all verifiers; by set of training speakers.

    Attributes:
        batches: pairs drawn as the problem says, a mini-batch of each test speaker.
        nets: of the Siamese nets.
        baseline: without a net.
        vectors: of the test utterances, U x D, by the nets.
    """

    batches: Pairs
    nets: Mapping[str, Scored]
    baseline: Mapping[str, Scored]
    vectors: Mapping[str, np.ndarray]
