"""Handwritten digits as an adversarial net wants them: pixels from -1 (paper) to 1 (ink), every class present."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.data import mnist
from experiments.harness import Run
from experiments.harness.errors import UserError
from tinygrad_hw.backend import Array, to_device, to_numpy

PIXELS = mnist.SIDE * mnist.SIDE


@dataclass(frozen=True)
class Split:
    """Some digits on the device.

    Attributes:
        pixels: float32, N x 784, from -1 to 1.
        labels: int64, N.
    """

    pixels: Array
    labels: Array

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Digits:
    """Training and test digits."""

    train: Split
    test: Split


def load(run: Run[Any], train: int, test: int, batch: int) -> Digits:
    """The run's digits, see `mnist.load`; records that the run uses them.

    Raises:
        DataError: as `mnist.load`, or a class is missing, or has a single test digit, which has no diversity.
        UserError: the batch is larger than the training set.
    """
    loaded = mnist.load(run.data_dir, train, test)
    run.uses("mnist", loaded.source, loaded.digest)
    mnist.check_classes(loaded, test=2)
    if batch > len(loaded.train_labels):
        raise UserError(
            f"setting batch={batch}: larger than the training set, which has {len(loaded.train_labels):,} digits"
        )
    pairs = ((loaded.train_images, loaded.train_labels), (loaded.test_images, loaded.test_labels))
    return Digits(*(Split(scaled(images, run.device), to_device(labels, run.device)) for images, labels in pairs))


def scaled(images: np.ndarray, device: str) -> Array:
    """uint8, N x 28 x 28, 0 to 255 -> float32 on the device, N x 784, -1 to 1."""
    return to_device(images.reshape(len(images), -1).astype(np.float32) / 127.5 - 1, device)


def pictures(pixels: Array) -> np.ndarray:
    """N x 784 on any device -> N x 28 x 28, for figures."""
    return to_numpy(pixels).reshape(-1, mnist.SIDE, mnist.SIDE)
