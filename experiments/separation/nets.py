"""The net that hears a song and says what of it is sung, with a state to begin from that it may learn."""

from typing import Any

import numpy as np

from experiments.denoising.nets import Denoiser
from tinygrad_hw import Tensor, nn
from tinygrad_hw import functional as F
from tinygrad_hw.backend import Array
from tinygrad_hw.random import Stream

State = tuple[Tensor, Tensor]


class Separator(Denoiser):
    """An LSTM that gives the logits of a mask for each frame: a `Denoiser` with a state of its own to begin from.

    Args:
        bins: frequencies K.
        hidden: units of each layer.
        layers: how many.
        dropout: share of the input, and of the units of each layer, that is left out while learning.
        learned: whether the first state is learned, like a weight, from zero; else it stays zero.
        init: stream of the first weights.
        masks: stream of the dropout.
    """

    def __init__(
        self, bins: int, hidden: int, layers: int, dropout: float, *, learned: bool, init: Stream, masks: Stream
    ) -> None:
        super().__init__("lstm", bins, hidden, layers, dropout, init=init, masks=masks)
        self.learned = learned
        if learned:
            zeros = np.zeros((layers, 1, hidden), np.float32)
            self.first_h, self.first_c = nn.Parameter(zeros), nn.Parameter(zeros.copy())

    @property
    def layer(self) -> nn.LSTM:
        """The recurrent layers."""
        assert isinstance(self.hidden, nn.LSTM)
        return self.hidden

    def start(self, batch: int) -> State | None:
        """The state before the first frame of B songs, each layers x B x hidden; None for zeros."""
        if not self.learned:
            return None
        h, c = (F.expand(each, (each.shape[0], batch, each.shape[2])) for each in (self.first_h, self.first_c))
        return h, c

    def forward(self, magnitudes: Array, state: Any = None, lengths: Any = None) -> tuple[Tensor, Any]:
        """Logits T x B x K and the state after the last frame; without a state, from the first one."""
        state = self.start(magnitudes.shape[1]) if state is None else state
        return super().forward(magnitudes, state, lengths)
