"""What a run of `gan_imputation` found, and how it is measured."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.data import mnist
from experiments.gan.digits import Digits, pictures
from experiments.gan.judge import Judge, frechet_distance
from experiments.gan.nets import Generator
from experiments.harness import Loop, Run
from tinygrad_hw.backend import to_device, to_numpy

from . import patch, training

NOISES = 10  # pictures of one patch in the figure
SEVERAL = 5  # patches in that figure


@dataclass(frozen=True)
class Measures:
    """How well the pictures of a generator complete the test patches.

    Attributes:
        centre_mse: mean squared difference between the given patch and the centre of the picture; pixels -1 to 1.
        label_consistency: share of pictures that the judge reads as the digit from which the patch was taken.
        missing_mse: mean squared difference between the missing pixels and the true ones; pixels -1 to 1.
        frechet: distance to the test digits in the judge's features.
        noise_share: variance of the missing pixels that is due to the noise alone (E (a - b)² / 2 for two pictures a, b
            of a patch), over their whole variance; 0: the patch decides everything.
    """

    centre_mse: float
    label_consistency: float
    missing_mse: float
    frechet: float
    noise_share: float


@dataclass(frozen=True)
class Shown:
    """What figures show of a generator.

    Attributes:
        examples: pictures for the patches of the shown digits, N x 28 x 28, -1 to 1.
        several: with other noises for the first patches of them, SEVERAL x NOISES x 28 x 28.
    """

    examples: np.ndarray
    several: np.ndarray


@dataclass(frozen=True)
class Outcome:
    """One λ: `weight`, its training, what was measured, what is shown."""

    weight: float
    loop: Loop
    measures: Measures
    shown: Shown


@dataclass(frozen=True)
class Results:
    """Everything that the report shows.

    Attributes:
        outcomes: by ascending λ.
        truth: the digits whose patches the shown pictures were made for, N x 28 x 28, -1 to 1; a row of ten each.
        judge_accuracy: share of the test digits that the judge reads rightly.
        reader_accuracy: the same for the classifier that sees the patch alone.
        real_frechet: distance between training and test digits: what a perfect generator would reach.
        missing_variance: of the test digits' missing pixels about their mean picture.
    """

    outcomes: list[Outcome]
    truth: np.ndarray
    judge_accuracy: float
    reader_accuracy: float
    real_frechet: float
    missing_variance: float

    def at(self, weight: float) -> Outcome | None:
        """The outcome of a λ, None when the run has none."""
        return next((outcome for outcome in self.outcomes if outcome.weight == weight), None)


def measure(run: Run[Any], generator: Generator, digits: Digits, judge: Judge, real_features: np.ndarray) -> Measures:
    """Draws two pictures for every test patch and measures the first, and the two against each other.

    Args:
        run: for its streams.
        generator: to be measured.
        digits: whose test digits give the patches.
        judge: reads the pictures.
        real_features: the judge's features of the test digits.
    """
    truth = digits.test.pixels
    given = patch.centre(truth)
    made, other = (training.draw(run, generator, given, name) for name in ("test noise", "other test noise"))
    first, second, true = (to_numpy(pixels)[:, patch.OUTSIDE].astype(np.float64) for pixels in (made, other, truth))
    known = to_numpy(patch.centre(made) - given).astype(np.float64)
    return Measures(
        centre_mse=float((known**2).mean()),
        label_consistency=judge.accuracy(made, digits.test.labels),
        missing_mse=float(((first - true) ** 2).mean()),
        frechet=frechet_distance(real_features, judge.features(made)),
        noise_share=float(((first - second) ** 2).mean() / 2 / max(float(first.var(axis=0).mean()), 1e-12)),
    )


def examples(digits: Digits, most: int = 4) -> np.ndarray:
    """Indices of the first test digits of each class, class by class within a row of ten, int64."""
    labels = to_numpy(digits.test.labels)
    places = [np.flatnonzero(labels == digit)[:most] for digit in range(mnist.CLASSES)]
    rows = min(len(found) for found in places)
    return np.stack([found[:rows] for found in places], axis=1).reshape(-1)


def show(run: Run[Any], generator: Generator, digits: Digits, chosen: np.ndarray) -> Shown:
    """Draws the pictures of the figures; `chosen` as `examples` gives it."""
    given = patch.centre(digits.test.pixels[to_device(chosen, run.device)])
    repeated = given[to_device(np.repeat(2 * np.arange(SEVERAL), NOISES), run.device)]
    several = pictures(training.draw(run, generator, repeated, "several noises"))
    return Shown(
        pictures(training.draw(run, generator, given, "shown noise")),
        several.reshape(SEVERAL, NOISES, mnist.SIDE, mnist.SIDE),
    )
