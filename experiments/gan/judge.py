"""The judge of generated digits: a classifier trained by the engine on the same digits, and what its eyes measure.

Its net is 784-256-128-10 with ReLU and dropout, trained with Adam on digits shifted by a pixel. Its 128
penultimate units are the features in which real and generated digits are compared.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.spatial.distance import pdist

import tinygrad_hw as tg
from experiments.data import mnist
from experiments.harness import Run
from tinygrad_hw import functional as F
from tinygrad_hw import nn, optim
from tinygrad_hw.backend import Array, array_module, to_device, to_numpy
from tinygrad_hw.random import Stream

from .digits import PIXELS, Split

HIDDEN, FEATURES = 256, 128
DROPOUT = 0.1
BATCH = 128
LEARNING_RATE = 0.002
SHIFT = 1  # pixel, at most, each way


class Judge:
    """A classifier of digits; pixels in are float32, N x 784, -1 to 1, on its device; what comes out is NumPy's.

    Args:
        device: where it lives.
        init: where its first weights are drawn.
        masks: where its dropout masks are drawn.
    """

    def __init__(self, device: str, init: Stream, masks: Stream) -> None:
        self.device = device
        sizes = (PIXELS, HIDDEN, FEATURES)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs, stream=init), nn.ReLU(), nn.Dropout(DROPOUT, stream=masks)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(FEATURES, mnist.CLASSES, stream=init)
        self.net = nn.ModuleDict({"body": self.body, "head": self.head}).to(device=device)

    def features(self, pixels: Array) -> np.ndarray:
        """The penultimate units, float64, N x 128."""
        return self._in_pieces(pixels)[0].astype(np.float64)

    def logits(self, pixels: Array) -> np.ndarray:
        """float32, N x 10, before the softmax."""
        return self._in_pieces(pixels)[1]

    def predictions(self, pixels: Array) -> np.ndarray:
        """The likeliest class of each digit, int64, N."""
        return self.logits(pixels).argmax(axis=1)

    def accuracy(self, pixels: Array, labels: Array) -> float:
        """The share of digits whose likeliest class is their label."""
        return float((self.predictions(pixels) == to_numpy(labels)).mean())

    def _in_pieces(self, pixels: Array, size: int = 5000) -> tuple[np.ndarray, np.ndarray]:
        """Features and logits, without dropout and tape."""
        self.net.eval()
        features, logits = [], []
        with tg.no_grad():
            for start in range(0, len(pixels), size):
                seen = self.body(tg.Tensor(pixels[start : start + size]))
                features.append(seen.numpy())
                logits.append(self.head(seen).numpy())
        self.net.train()
        return np.concatenate(features), np.concatenate(logits)


def train_judge(run: Run[Any], train: Split, test: Split, epochs: int) -> Judge:
    """Trains the judge in a loop `judge` of the run and sets the metric `judge_accuracy`, on the test digits."""
    masks, shifts = run.stream("judge/dropout"), run.stream("judge/shifts")
    judge = Judge(run.device, run.stream("judge/init"), masks)
    optimizer = optim.Adam(judge.net.parameters(), lr=LEARNING_RATE)
    track = {"net": judge.net, "optimizer": optimizer, "dropout": masks, "shifts": shifts}
    loop = run.loop("judge", track, epochs=epochs, examples=len(train), batch=min(BATCH, len(train)))
    for step in loop:
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - step.index / loop.steps)
        chosen = to_device(step.indices, run.device)
        pixels = shifted(train.pixels[chosen], shifts, run.device)
        loss = F.cross_entropy(judge.head(judge.body(tg.Tensor(pixels))), train.labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step.mean(loss=loss.item())
        if step.ends_epoch:
            step.log(test_accuracy=judge.accuracy(test.pixels, test.labels))
    run.metric(judge_accuracy=judge.accuracy(test.pixels, test.labels))
    return judge


def saved_judge(run: Run[Any], test: Split) -> Judge:
    """The judge that a run saved; sets the metric `judge_accuracy` as `train_judge` does."""
    judge = Judge(run.device, run.stream("judge/init"), run.stream("judge/dropout"))
    run.load_model("judge", judge.net)
    run.metric(judge_accuracy=judge.accuracy(test.pixels, test.labels))
    return judge


def shifted(pixels: Array, stream: Stream, device: str) -> Array:
    """Each picture moved by up to SHIFT pixels, down or up and right or left, over paper."""
    count, side = len(pixels), mnist.SIDE
    xp = array_module(pixels)
    wide = xp.full((count, side + 2 * SHIFT, side + 2 * SHIFT), -1.0, pixels.dtype)
    wide[:, SHIFT:-SHIFT, SHIFT:-SHIFT] = pixels.reshape(count, side, side)
    starts = stream.integers(0, 2 * SHIFT + 1, (2, count, 1, 1), device=device)
    number, places = (to_device(np.arange(size), device) for size in (count, side))
    rows, columns = starts[0] + places[:, None], starts[1] + places
    return wide[number[:, None, None], rows, columns].reshape(count, -1)


def frechet_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """The Fréchet distance between two clouds of features, each taken as a normal distribution.

    d² = ‖μ₁ - μ₂‖² + tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½) is what is returned, as usual, under the name of d: D. Dowson, B. Landau
    (1982); M. Heusel and others, "GANs trained by a two time-scale update rule converge to a local Nash equilibrium",
    NeurIPS 2017, equation 6. The trace of the root is that of (Σ₁^½ Σ₂ Σ₁^½)^½, which is symmetric.

    Args:
        real, fake: N x features and M x features, at least two rows each.

    Raises:
        ValueError: other shapes.
    """
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1] or min(len(real), len(fake)) < 2:
        raise ValueError(f"frechet_distance: features of shapes {real.shape} and {fake.shape}, expected N x D, M x D")
    real, fake = real.astype(np.float64), fake.astype(np.float64)
    first, second = (np.atleast_2d(np.cov(features, rowvar=False)) for features in (real, fake))
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    crossed = np.linalg.eigvalsh(root @ second @ root)
    apart = real.mean(axis=0) - fake.mean(axis=0)
    trace = np.trace(first) + np.trace(second) - 2 * np.sqrt(np.maximum(crossed, 0)).sum()
    return float(apart @ apart + trace)


@dataclass(frozen=True)
class Labelled:
    """What is known of some pictures: `vectors` (features or pixels) N x D, `labels` N, int64."""

    vectors: np.ndarray
    labels: np.ndarray

    def by_class(self, most: int) -> Iterator[np.ndarray]:
        """The vectors of each class, the first `most` of them."""
        for digit in range(mnist.CLASSES):
            yield self.vectors[self.labels == digit][:most]


def diversity(real: Labelled, fake: Labelled, most: int = 1000) -> np.ndarray:
    """How far apart the generated pictures of a class are, over how far apart real ones are: float64, one per class.

    Σ_{i<j} ‖f_i - f_j‖ / pairs, of the generated pictures of the class, over the same of real pictures. 0: all are
    equal (the generator has collapsed onto one picture); 1: as various as real ones. The mean distance of pairs of
    outputs in a net's features is the measure of J.-Y. Zhu and others, "Toward multimodal image-to-image translation",
    NeurIPS 2017, section 4 (there LPIPS in features of AlexNet), here taken within classes and relative to real data.

    Args:
        real, fake: features, or pixels, with labels. Of the generated pictures give those alone that the judge reads
            as the class wanted: else its mistakes would count as variety.
        most: pictures of a class to compare, at most.

    Returns:
        The ratios; 0 for a class of which there are fewer than two generated pictures.

    Raises:
        ValueError: fewer than two real pictures of a class.
    """
    ratios = []
    for digit, (ours, theirs) in enumerate(zip(fake.by_class(most), real.by_class(most), strict=True)):
        if len(theirs) < 2:
            raise ValueError(f"diversity: {len(theirs)} real pictures of class {digit}, expected at least 2")
        spread = float(pdist(theirs).mean())
        ratios.append(float(pdist(ours).mean()) / spread if len(ours) > 1 else 0.0)
    return np.array(ratios)
