"""The made-up classes: pictures upright, upside down, and turned by 90 degrees counter-clockwise."""

from collections.abc import Callable

import numpy as np

from experiments.data import augmentation

WAYS: tuple[tuple[str, Callable[[np.ndarray], np.ndarray]], ...] = (
    ("upright", np.array),
    ("upside down", augmentation.upside_down),
    ("turned by 90°", augmentation.rotate90),
)


def turned(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every picture in all three ways.

    Args:
        images: N x 3 x S x S.

    Returns:
        3N x 3 x S x S of the same dtype, first all upright; and which way each is, int64 3N, 0 to 2.
    """
    return np.concatenate([turn(images) for _, turn in WAYS]), np.repeat(np.arange(len(WAYS)), len(images))
