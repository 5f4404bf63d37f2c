"""How a net learns from long excerpts: in pieces, the state carried from one to the next or not, or all at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import tinygrad_hw as tg
from experiments.audio import masks, measures
from experiments.audio.transform import Transform
from experiments.data.audio.music import Track
from experiments.denoising.assessment import Masker
from experiments.denoising.nets import FLOOR
from tinygrad_hw import functional as F
from tinygrad_hw import nn, optim
from tinygrad_hw.backend import to_numpy

from .excerpts import Excerpts
from .nets import Separator


@dataclass(frozen=True)
class Way:
    """How gradients are found and where a net begins.

    Attributes:
        text: in words.
        stateful: whether a piece begins with the state that the one before ended in; None for no pieces at all.
        learned: whether the first state is learned.
    """

    text: str
    stateful: bool | None
    learned: bool


WAYS = {
    "stateful": Way("stateful", stateful=True, learned=False),
    "stateless": Way("stateless", stateful=False, learned=False),
    "stateful_learned": Way("stateful, learned start", stateful=True, learned=True),
    "stateless_learned": Way("stateless, learned start", stateful=False, learned=True),
    "full": Way("not truncated", stateful=None, learned=False),
}
MAIN = "stateful_learned"  # the net that is claimed for, heard, and saved in recovered.zip


@dataclass(frozen=True)
class Rules:
    """How every net learns.

    Attributes:
        learning_rate: of Adam at the start; it falls to zero along half a cosine.
        clip: the norm that an update's gradient is kept below.
        piece: frames of a piece.
    """

    learning_rate: float
    clip: float
    piece: int


def cross_entropy(logits: Any, excerpts: Excerpts, frames: slice = slice(None)) -> Any:
    """Σ w (-m log σ(y) - (1 - m) log(1 - σ(y))) over some frames, with target m and weight w."""
    target, weight = excerpts.target[frames], excerpts.weight[frames]
    return F.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum")


class Learner:
    """A net, its optimiser, and the updates that they make.

    Args:
        net: on its device.
        way: see Way.
        rules: see Rules.
        updates: how many there will be.
    """

    def __init__(self, net: Separator, way: Way, rules: Rules, updates: int) -> None:
        self.net, self._way, self._rules = net, way, rules
        self._optimizer = optim.Adam(net.parameters(), lr=rules.learning_rate)
        self._schedule = optim.CosineAnnealingLR(self._optimizer, updates)

    def tracked(self) -> dict[str, Any]:
        """What an update changes."""
        parts = {"net": self.net, "optimizer": self._optimizer, "schedule": self._schedule}
        return {**parts, "dropout": self.net.masks}

    def step(self, excerpts: Excerpts) -> float:
        """Makes one update and returns the loss before it.

        The gradients of all pieces are added up, so that every way makes as many updates, of the same loss.
        """
        self._optimizer.zero_grad()
        loss = self.gradient(excerpts)
        optim.clip_grad_norm_(self._optimizer, self._rules.clip)
        self._optimizer.step()
        self._schedule.step()
        return loss

    def gradient(self, excerpts: Excerpts) -> float:
        """Adds the gradient of the loss, truncated as the way says, and returns the loss."""
        x = self.net.features(excerpts.magnitudes)
        first = self.net.start(x.shape[1])
        # Every stateless piece has a part in the gradient of the first state: it is added up in leaves.
        leaves = None if first is None else tuple(part.detach().requires_grad_() for part in first)
        length = len(x) if self._way.stateful is None else self._rules.piece
        total = 0.0
        for frames, outputs, _ in nn.truncated(self.net.layer, x, length, leaves, stateful=bool(self._way.stateful)):
            loss = cross_entropy(self.net.read(outputs), excerpts, frames)
            loss.backward()
            total += float(loss.item())
        for part, leaf in zip(first or (), leaves or (), strict=True):
            part.backward(leaf.grad)
        return total


def soft_mask(net: Separator, spectrum: np.ndarray, device: str, piece: int = 0) -> np.ndarray:
    """The mask of a whole song's spectrum, bins x frames both.

    Args:
        piece: begin anew after so many frames, as a stateless net does while it learns; 0: never.
    """
    frames = spectrum.shape[1]
    ends = range(0, frames, piece or frames)
    return np.concatenate([Masker(net, device)(spectrum[:, a : a + (piece or frames)]) for a in ends], axis=1)


def validate(
    net: Separator, tracks: Sequence[Track], batch: int, power: float, transform: Transform, device: str
) -> dict[str, float]:
    """Loss, and signal-to-noise ratio of the vocals where there are any, mean over whole songs, state carried.

    Songs go through the net so many at a time, the shorter ones followed by silence, which counts nothing.
    """
    net.eval()
    losses, ratios = 0.0, []
    for some in (tracks[start : start + batch] for start in range(0, len(tracks), batch)):
        longest = max(len(track.mixture) for track in some)
        mixture, vocals = np.zeros((2, len(some), longest), np.float32)
        for number, track in enumerate(some):
            mixture[number, : len(track.mixture)], vocals[number, : len(track.vocals)] = track.mixture, track.vocals
        excerpts = Excerpts.of(mixture, vocals, power, transform, device)
        with tg.no_grad():
            logits, _ = net(excerpts.magnitudes)
            losses += float(cross_entropy(logits, excerpts).item()) * len(some)
        soft = to_numpy(F.sigmoid(logits).data)
        for number, track in enumerate(some):
            if track.vocals.any():
                spectrum = transform.analyse(track.mixture)
                found = masks.apply(soft[: spectrum.shape[1], number].T, spectrum)
                ratios.append(float(measures.snr(track.vocals, transform.synthesise(found, len(track.mixture)))))
    net.train()
    return {"validation_loss": losses / len(tracks), "validation_snr": float(np.mean(ratios)) if ratios else 0.0}


def scale_of(tracks: Iterable[Track], transform: Transform) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of log(FLOOR + |X|) for each frequency, over the frames of some songs."""
    spectra = [np.abs(transform.analyse(track.mixture)) for track in tracks]
    logarithms = np.log(np.concatenate(spectra, axis=1) + np.float32(FLOOR))
    return logarithms.mean(axis=1), logarithms.std(axis=1) + np.float32(0.1)
