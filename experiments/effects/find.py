"""Finds which code of a decoder carries an effect, and which effect it is, by measuring what the decoder draws.

Nothing here is told what was done to the pictures. Sevens differ by nature, too: in slant, in the width of the pen. So
each quantity is measured along each dimension, and its change is compared with how much that quantity varies among
sevens to which nothing was done.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .measure import QUANTITIES, Template

REACH = 3.0  # codes beyond are rarer than one in 300
STEP = 0.5
TAILS = (0.05, 0.95)
SAMPLE = 80  # untouched pictures measured
# Changes that hardly show in pictures of 28 x 28 pixels, in measure.UNITS (of the scale: the logarithm). What varies
# less than this among untouched sevens is taken to vary so much.
SLIGHT = {
    "rotation": 10.0,
    "shift": 1.0,
    "shift_y": 1.0,
    "scale": 0.1,
    "shear": 0.2,
    "thickness": 1.0,
    "brightness": 0.3,
}


@dataclass(frozen=True)
class Finding:
    """What was found.

    Attributes:
        dimension: of the code, from 0.
        effect: one of QUANTITIES.
        scores: K x Q: the change of each quantity between the codes that cut off the lowest and the highest twentieth
            of the pictures, as a multiple of its change between the same twentieths of the untouched pictures.
        values: T codes along a dimension, from -REACH to REACH.
        curves: K x Q x T: each quantity along each dimension, in measure.UNITS.
        natural: Q: what the scores are multiples of; of the scale, its logarithm.
        ends: K x 2: the codes between which the change was taken.
    """

    dimension: int
    effect: str
    scores: np.ndarray
    values: np.ndarray
    curves: np.ndarray
    natural: np.ndarray
    ends: np.ndarray

    @property
    def score(self) -> float:
        """The greatest of the scores."""
        return float(self.scores.max())

    @property
    def second(self) -> tuple[int, str, float]:
        """Dimension, quantity and score of the next other quantity."""
        others = self.scores.copy()
        others[:, QUANTITIES.index(self.effect)] = -np.inf
        dimension, quantity = np.unravel_index(others.argmax(), others.shape)
        return int(dimension), QUANTITIES[quantity], float(others.max())


def traversal(latent: int, values: np.ndarray) -> np.ndarray:
    """Codes, K x T x K: in row k, dimension k takes each of the T values; the others stay 0, the prior's middle."""
    codes = np.zeros((latent, len(values), latent))
    for dimension in range(latent):
        codes[dimension, :, dimension] = values
    return codes


def find(draw: Callable[[np.ndarray], np.ndarray], codes: np.ndarray, untouched: np.ndarray) -> Finding:
    """Measures traversals and untouched pictures, and picks the greatest score.

    Args:
        draw: codes N x K -> pictures N x H x W.
        codes: of the pictures with the effect, N x K; they say how far each dimension is used.
        untouched: codes of pictures without effect, M x K; at most SAMPLE of them are measured, as the decoder draws
            them, so that both sides of the comparison are drawn by the same hand.
    """
    latent = codes.shape[1]
    half = np.arange(STEP, REACH + STEP / 2, STEP)
    values = np.concatenate([-half[::-1], [0.0], half])
    middle = len(half)
    frames = draw(traversal(latent, values).reshape(-1, latent))
    frames = frames.reshape(latent, len(values), *frames.shape[1:])
    template = Template(frames[0, middle])
    curves = np.empty((latent, len(QUANTITIES), len(values)))
    for dimension in range(latent):
        up = template.measure(frames[dimension, middle:], chained=True)
        down = template.measure(frames[dimension, middle::-1], chained=True)
        for number, quantity in enumerate(QUANTITIES):
            curves[dimension, number, middle:] = up[quantity]
            curves[dimension, number, middle::-1] = down[quantity]
    chosen = np.linspace(0, len(untouched) - 1, min(SAMPLE, len(untouched))).round().astype(int)
    measured = template.measure(draw(untouched[chosen]))
    spans = [np.ptp(np.quantile(linear(quantity, measured[quantity]), TAILS)) for quantity in QUANTITIES]
    natural = np.maximum(spans, list(SLIGHT.values()))
    ends = np.clip(np.quantile(codes, TAILS, axis=0).T, -REACH, REACH)
    changes = np.empty((latent, len(QUANTITIES)))
    for dimension in range(latent):
        for number, quantity in enumerate(QUANTITIES):
            low, high = np.interp(ends[dimension], values, linear(quantity, curves[dimension, number]))
            changes[dimension, number] = abs(high - low)
    scores = changes / natural
    dimension, number = (int(at) for at in np.unravel_index(scores.argmax(), scores.shape))
    return Finding(dimension, QUANTITIES[number], scores, values, curves, natural, ends)


def linear(quantity: str, values: np.ndarray) -> np.ndarray:
    """The scale on which differences of a quantity are taken: logarithms of factors, the rest as it is."""
    return np.log(values) if quantity == "scale" else values
