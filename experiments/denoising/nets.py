"""The nets that predict a mask: a recurrent one that remembers the frames before, a dense one that sees one alone."""

from itertools import pairwise
from typing import Any, Literal

import numpy as np

from tinygrad_hw import Tensor, nn
from tinygrad_hw import functional as F
from tinygrad_hw.backend import Array
from tinygrad_hw.random import Stream

Kind = Literal["gru", "lstm", "dense"]
FLOOR = 0.01  # added to magnitudes before the logarithm; full scale is 256 at 1,024 samples


class Denoiser(nn.Module):
    """Magnitudes of a mixture's spectrum, T x B x K, to the logits of a mask.

    What the layers get is (log(FLOOR + |X|) - mean) / deviation, with mean and deviation of each frequency over the
    training data. A recurrent net knows the frames up to the present one and none after it, so it can work while the
    sound comes in.

    Args:
        kind: `gru`, `lstm` or `dense`.
        bins: frequencies K.
        hidden: units of each hidden layer.
        layers: hidden layers.
        dropout: share of the input, and of the units of each hidden layer, that is left out while learning.
        init: stream of the first weights.
        masks: stream of the dropout, kept as an attribute.
    """

    def __init__(
        self, kind: Kind, bins: int, hidden: int, layers: int, dropout: float, *, init: Stream, masks: Stream
    ) -> None:
        super().__init__()
        self.masks = masks
        self.register_buffer("mean", Tensor(np.zeros(bins, np.float32)))
        self.register_buffer("deviation", Tensor(np.ones(bins, np.float32)))
        self.enter = nn.Dropout(dropout, stream=masks)
        self.leave = nn.Dropout(dropout, stream=masks)
        if kind == "dense":
            dense: list[nn.Module] = []
            for inputs, outputs in pairwise((bins, *(hidden,) * layers)):
                dense += [nn.Linear(inputs, outputs, stream=init), nn.ReLU(), nn.Dropout(dropout, stream=masks)]
            self.hidden: nn.Module = nn.Sequential(*dense[:-1])
        else:
            make = nn.GRU if kind == "gru" else nn.LSTM
            self.hidden = make(bins, hidden, layers, dropout=dropout, stream=init, dropout_stream=masks)
        self.output = nn.Linear(hidden, bins, stream=init)

    def learn_scale(self, mean: np.ndarray, deviation: np.ndarray) -> None:
        """Sets what the logarithms are brought to a common scale by; both of K numbers."""
        self.load_state_dict({"mean": mean, "deviation": deviation}, strict=False)

    def features(self, magnitudes: Array) -> Tensor:
        """What the layers get for magnitudes T x B x K."""
        x: Tensor = self.enter((F.log(Tensor(magnitudes) + FLOOR) - self.mean) / self.deviation)
        return x

    def read(self, outputs: Tensor) -> Tensor:
        """Logits T x B x K of what the hidden layers give."""
        logits: Tensor = self.output(self.leave(outputs))
        return logits

    def forward(self, magnitudes: Array, state: Any = None, lengths: np.ndarray | None = None) -> tuple[Tensor, Any]:
        """Logits T x B x K and, of a recurrent net, the state after the last frame.

        Args:
            magnitudes: T x B x K.
            state: of the frames before; None at the beginning.
            lengths: frames of each sentence; what lies beyond is never read.
        """
        x: Any = self.features(magnitudes)
        if isinstance(self.hidden, nn.Sequential):
            x = self.hidden(x)
        else:
            x, state = self.hidden(x, state, lengths)
        return self.read(x), state
