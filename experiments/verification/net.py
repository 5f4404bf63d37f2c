"""The Siamese net: one net that turns either utterance of a pair into a vector of fixed length."""

import math
from typing import Any

import numpy as np

import tinygrad_hw as tg
from tinygrad_hw import Tensor, nn
from tinygrad_hw import functional as F
from tinygrad_hw.backend import Array, to_numpy
from tinygrad_hw.random import Stream

PIECE = 100  # utterances that are embedded at once
TINY = 1e-5


class Siamese(nn.Module):
    """Log-magnitudes of utterances, T x B x K, to vectors B x D of one length, the same for all utterances.

    Each frame is scaled by mean and deviation of each frequency, and goes through a layer of rectified units; a
    recurrent layer of GRU runs over the frames in both directions; the mean and the standard deviation of all these
    units over the frames, whatever their number, go through a linear layer. The vector is brought to the length
    exp(scale / 2), which is learned, so that the inner product of two vectors is exp(scale) times their cosine.

    Args:
        bins: frequencies K.
        width: rectified units.
        hidden: recurrent units of each direction; 0 for none at all.
        embedding: numbers of a vector, D.
        dropout: share of the frequencies and of the pooled units that is left out while learning.
        init: stream of the first weights.
        masks: stream of the dropout.
    """

    def __init__(
        self, bins: int, width: int, hidden: int, embedding: int, dropout: float, *, init: Stream, masks: Stream
    ) -> None:
        super().__init__()
        self.masks = masks
        self.register_buffer("mean", Tensor(np.zeros(bins, np.float32)))
        self.register_buffer("deviation", Tensor(np.ones(bins, np.float32)))
        self.enter = nn.Dropout(dropout, stream=masks)
        self.frames = nn.Linear(bins, width, stream=init)
        self.recurrent = nn.GRU(width, hidden, bidirectional=True, stream=init) if hidden else None
        self.leave = nn.Dropout(dropout, stream=masks)
        self.output = nn.Linear(2 * (width + 2 * hidden), embedding, stream=init)
        self.scale = nn.Parameter(np.array([math.log(8)], np.float32))
        self.offset = nn.Parameter(np.array([-4], np.float32))

    def learn_scale(self, frames: np.ndarray) -> None:
        """Takes mean and deviation of each frequency from frames, N x K."""
        measured = {"mean": frames.mean(axis=0), "deviation": frames.std(axis=0) + np.float32(0.1)}
        self.load_state_dict(measured, strict=False)

    def forward(self, x: Array) -> Any:
        """The vectors."""
        rows = F.relu(self.frames(self.enter((Tensor(x) - self.mean) / self.deviation)))
        if self.recurrent is not None:
            rows = F.concatenate([rows, self.recurrent(rows)[0]], 2)
        pooled = F.concatenate([F.mean(rows, 0), F.sqrt(F.var(rows, 0, 0) + TINY)], 1)
        vectors = self.output(self.leave(pooled))
        return vectors / (F.norm(vectors, axis=1, keepdims=True) + TINY) * F.exp(self.scale / 2)

    def logits(self, left: Any, right: Any) -> Any:
        """Logits of "one speaker" for pairs of vectors, P x D each: their inner product, and an offset."""
        return F.sum(left * right, axis=1) + self.offset


def embedded(net: Siamese, x: Array) -> np.ndarray:
    """The vectors of utterances (T x B x K) as the net gives them when it does not learn, B x D on the host."""
    was = net.training
    net.eval()
    with tg.no_grad():
        pieces = [to_numpy(net(x[:, cut : cut + PIECE]).data) for cut in range(0, x.shape[1], PIECE)]
    net.train(was)
    return np.concatenate(pieces)
