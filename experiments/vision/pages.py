"""Parts of reports that experiments on pictures share."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.harness import Run
from experiments.vision import pictures


def show_mistakes(
    run: Run[Any], images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str]
) -> None:
    """The most confident mistakes as pictures, where there is one.

    Args:
        run: whose report gets them.
        images: N x C x S x S, values from 0 to 1.
        labels: N.
        probabilities: N x classes.
        names: of the classes.
    """
    worst = pictures.mistakes(images, labels, probabilities, names)
    if worst is not None:
        run.report.figure(
            "mistakes",
            worst,
            caption="The most confident mistakes: class, answer, and the probability that the net gives to it.",
            alt="Sixteen pictures that the net is wrong about and sure of",
            raster=True,
        )
