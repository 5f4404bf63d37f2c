"""The part of a picture that is known: its 10 x 10 centre, rows and columns 9 to 18."""

from typing import Any

import numpy as np

from experiments.data import mnist

FIRST, BEYOND = 9, 19  # of the rows and of the columns
WIDTH = BEYOND - FIRST
PIXELS = WIDTH * WIDTH


def centre(pictures: Any) -> Any:
    """The known pixels, `X[:, 9:19, 9:19]`: N x 784 -> N x 100, of Tensors (recorded) and arrays."""
    sides = pictures.reshape(-1, mnist.SIDE, mnist.SIDE)
    return sides[:, FIRST:BEYOND, FIRST:BEYOND].reshape(-1, PIXELS)


def _outside() -> np.ndarray:
    known = np.zeros((mnist.SIDE, mnist.SIDE), bool)
    known[FIRST:BEYOND, FIRST:BEYOND] = True
    return np.flatnonzero(~known)


OUTSIDE = _outside()  # the missing pixels' columns among the 784, int64, 684
