"""How a net learns: cross-entropy with the ideal binary mask, then the signal-to-noise ratio itself."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

import tinygrad_hw as tg
from experiments.audio.transform import Transform
from tinygrad_hw import Tensor, optim
from tinygrad_hw import functional as F
from tinygrad_hw.backend import array_module, to_numpy

from .batches import Batch, synthesise
from .nets import FLOOR, Denoiser

TINY = 1e-8


@dataclass(frozen=True)
class Rules:
    """How a net learns.

    Attributes:
        learning_rate: of Adam at the start; it falls to zero along half a cosine.
        clip: the norm that a step's gradient is kept below.
        weighting: exponent of each bin's cost in the cross-entropy, see `Batch`.
        truncate: frames of the pieces that sentences are cut into, 0 for whole sentences.
    """

    learning_rate: float
    clip: float
    weighting: float
    truncate: int


def cross_entropy(logits: Any, batch: Batch, weighting: float) -> Any:
    """Binary cross-entropy with the ideal mask, weighted: each sentence counts alike, its bins by their cost."""
    xp = array_module(batch.cost)
    weight = batch.cost**weighting if weighting else (batch.cost > 0).astype(batch.cost.dtype)
    weight /= weight.sum(axis=(0, 2), keepdims=True) + TINY
    return F.binary_cross_entropy_with_logits(logits, batch.target, weight, reduction="sum") / xp.float32(
        len(batch.lengths)
    )


def ratios(mask: Any, batch: Batch, transform: Transform) -> Any:
    """Signal-to-noise ratio of each sentence in dB once its spectrum is masked and transformed back, B numbers.

    Args:
        mask: T x B x K; what lies beyond a sentence is ignored.
    """
    signal = synthesise(F.unsqueeze(F.permute(mask, (1, 2, 0)), -1) * batch.spectra, transform, batch.speech.shape[-1])
    error = F.sum(((signal - batch.speech) * batch.inside) ** 2, axis=-1) + TINY
    energy = (batch.speech**2).sum(axis=-1) + TINY
    return (F.log(energy) - F.log(error)) * (10 / math.log(10))


class Learner:
    """A net, its optimiser, and the steps that they make.

    Args:
        net: on its device.
        rules: see Rules.
        transform: sizes of the spectra.
        steps: how many there will be.
    """

    def __init__(self, net: Denoiser, rules: Rules, transform: Transform, steps: int) -> None:
        self.net, self._rules, self._transform = net, rules, transform
        self._optimizer = optim.Adam(net.parameters(), lr=rules.learning_rate)
        self._schedule = optim.CosineAnnealingLR(self._optimizer, steps)

    def tracked(self) -> dict[str, Any]:
        """What a step changes, but for the streams."""
        return {"net": self.net, "optimizer": self._optimizer, "schedule": self._schedule}

    def step(self, batch: Batch, *, by_ratio: bool) -> float:
        """Makes one update and returns the cross-entropy before it; with `by_ratio` the ratio is what is improved."""
        logits = self._logits(batch)
        if by_ratio:
            with tg.no_grad():
                measured = cross_entropy(logits.detach(), batch, self._rules.weighting)
            loss = -F.mean(ratios(F.sigmoid(logits), batch, self._transform))
        else:
            measured = loss = cross_entropy(logits, batch, self._rules.weighting)
        self._optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm_(self._optimizer, self._rules.clip)
        self._optimizer.step()
        self._schedule.step()
        return float(measured.item())

    def validate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Loss, and ratio with the binary and with the soft mask, mean over the sentences."""
        self.net.eval()
        losses, binary, soft = [], [], []
        with tg.no_grad():
            for batch in batches:
                logits, _ = self.net(batch.magnitudes, lengths=batch.lengths)
                losses += [float(cross_entropy(logits, batch, self._rules.weighting).item())] * len(batch.lengths)
                hard = (logits.data > 0).astype(batch.cost.dtype)
                binary += list(to_numpy(ratios(hard, batch, self._transform)))
                soft += list(to_numpy(ratios(F.sigmoid(logits).data, batch, self._transform)))
        self.net.train()
        names = ("validation_loss", "validation_snr", "validation_snr_soft")
        return {name: float(np.mean(found)) for name, found in zip(names, (losses, binary, soft), strict=True)}

    def _logits(self, batch: Batch) -> Tensor:
        size = self._rules.truncate
        if not size:
            return self.net(batch.magnitudes, lengths=batch.lengths)[0]
        frames, sentences, bins = batch.magnitudes.shape
        pieces = -(-frames // size)
        padded = F.pad(batch.magnitudes, (0, 0, 0, 0, 0, pieces * size - frames))
        folded = padded.reshape(pieces, size, sentences, bins).swapaxes(0, 1).reshape(size, -1, bins)
        starts = size * np.arange(pieces)[:, None]
        logits, _ = self.net(folded, lengths=(batch.lengths - starts).clip(0, size).reshape(-1))
        unfolded = F.transpose(logits.reshape(size, pieces, sentences, bins), 0, 1)
        return unfolded.reshape(pieces * size, sentences, bins)[:frames]


def scale_of(batches: Iterable[Batch]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of log(FLOOR + |X|) for each frequency, over the frames of some batches."""
    rows = [
        to_numpy(batch.magnitudes)[:length, number] for batch in batches for number, length in enumerate(batch.lengths)
    ]
    logarithms = np.log(np.concatenate(rows) + np.float32(FLOOR))
    return logarithms.mean(axis=0), logarithms.std(axis=0) + np.float32(0.1)
