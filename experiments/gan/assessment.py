"""What the judge finds in a generator's digits: right class, Fréchet distance, diversity, and whether it copies."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from experiments.data import mnist
from tinygrad_hw.backend import Array, array_module, to_device, to_numpy

from .digits import Digits
from .judge import Judge, Labelled, diversity, frechet_distance

# From the wanted classes, int64 N on the CPU, to as many pictures, N x 784 on the device.
Draw = Callable[[np.ndarray], Array]
NEIGHBOURS = 500  # generated digits whose nearest training digit is looked for


@dataclass(frozen=True)
class Assessment:
    """What was measured.

    Attributes:
        accuracy: share of each class's generated digits that the judge reads as the class, 10.
        diversity: see `judge.diversity`, in the judge's features, 10.
        pixel_diversity: the same in pixels.
        frechet: between generated digits and one half of the test digits, drawn for the labels of the other half.
        floor: the same between the two halves: what digits as good as real ones would get.
        copying: mean distance of generated digits to the nearest training digit, in pixels, over that of test digits.
        pixels: the generated digits, class after class, equally many.
        read: as what the judge reads them.
    """

    accuracy: np.ndarray
    diversity: np.ndarray
    pixel_diversity: np.ndarray
    frechet: float
    floor: float
    copying: float
    pixels: Array
    read: np.ndarray

    def metrics(self) -> dict[str, float]:
        """The numbers for the run's summary; means over the classes, and the worst class."""
        return {
            "conditional_accuracy": float(self.accuracy.mean()),
            "conditional_accuracy_worst": float(self.accuracy.min()),
            "diversity": float(self.diversity.mean()),
            "diversity_worst": float(self.diversity.min()),
            "diversity_pixels": float(self.pixel_diversity.mean()),
            "frechet_distance": self.frechet,
            "frechet_distance_floor": self.floor,
            "nearest_neighbour_ratio": self.copying,
        }


class Examiner:
    """Looks at generators.

    Args:
        judge: as trained.
        digits: real ones. Every other test digit is what the Fréchet distance compares with.
    """

    def __init__(self, judge: Judge, digits: Digits) -> None:
        self.judge, self.digits = judge, digits
        features, self._labels = judge.features(digits.test.pixels), to_numpy(digits.test.labels)
        self._features, self._reference = features, features[::2]
        self.floor = frechet_distance(self._reference, features[1::2])

    def look(self, draw: Draw) -> tuple[float, float]:
        """A quick look: share of right classes, and Fréchet distance, over half as many digits as the test set has."""
        wanted = self._labels[1::2]
        made = draw(wanted)
        right = float((self.judge.predictions(made) == wanted).mean())
        return right, frechet_distance(self._reference, self.judge.features(made))

    def assess(self, draw: Draw, per_class: int) -> Assessment:
        """The whole examination, with so many generated digits of each class."""
        wanted = np.repeat(np.arange(mnist.CLASSES), per_class)
        made = draw(wanted)
        read = self.judge.predictions(made)
        right = read == wanted
        seen = self.judge.features(made)
        flat, test = to_numpy(made), to_numpy(self.digits.test.pixels)
        return Assessment(
            accuracy=right.reshape(mnist.CLASSES, per_class).mean(axis=1),
            diversity=diversity(Labelled(self._features, self._labels), Labelled(seen[right], wanted[right])),
            pixel_diversity=diversity(Labelled(test, self._labels), Labelled(flat[right], wanted[right])),
            frechet=self.look(draw)[1],
            floor=self.floor,
            copying=self._copying(made),
            pixels=made,
            read=read,
        )

    def nearest(self, pixels: Array) -> tuple[np.ndarray, np.ndarray]:
        """Distance to the nearest training digit, and its number, for each picture."""
        train = self.digits.train.pixels
        xp = array_module(train)
        lengths = (train * train).sum(axis=1)
        squares = (pixels * pixels).sum(axis=1)[:, None] - 2 * pixels @ train.T + lengths
        numbers = squares.argmin(axis=1)
        found = xp.sqrt(((pixels - train[numbers]) ** 2).sum(axis=1))
        return to_numpy(found), to_numpy(numbers)

    def _copying(self, made: Array) -> float:
        mean = []
        for pixels in (made, self.digits.test.pixels):
            places = np.linspace(0, len(pixels) - 1, min(NEIGHBOURS, len(pixels))).round().astype(np.int64)
            chosen = pixels[to_device(places, self.judge.device)]
            mean.append(self.nearest(chosen)[0].mean())
        return float(mean[0] / mean[1])
