"""Two tasks that need memory, drawn anew for every batch."""

import numpy as np

from tinygrad_hw.random import Stream

SYMBOLS = 4


def echo(stream: Stream, steps: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """A row of symbols, each to be said again a fixed number of steps later (a copy task that never ends).

    Returns:
        inputs float32 steps x batch x SYMBOLS, one-hot; the symbols, int64 steps x batch.
    """
    symbols = stream.integers(0, SYMBOLS, (steps, batch))
    return np.eye(SYMBOLS, dtype=np.float32)[symbols], symbols


def adding(stream: Stream, steps: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers between 0 and 1, two of them marked, one in each half; their sum is wanted at the end.

    (Hochreiter and Schmidhuber 1997, "Long short-term memory", experiment 4, in the form of Le, Jaitly and Hinton 2015,
    arXiv:1504.00941.) The sum has the variance 1/6, the error of who always says 1.

    Returns:
        inputs float32 steps x batch x 2, number and mark; sums float32, batch.
    """
    numbers = stream.uniform((steps, batch))
    marks, sequences = np.zeros_like(numbers), np.arange(batch)
    for low, high in ((0, steps // 2), (steps // 2, steps)):
        marks[stream.integers(low, high, batch), sequences] = 1
    return np.stack([numbers, marks], axis=-1), (numbers * marks).sum(axis=0)
