"""The recurrent nets of the tasks, and how they start."""

from collections.abc import Iterator

import numpy as np

import tinygrad_hw as tg
from tinygrad_hw import nn
from tinygrad_hw.random import Stream

KINDS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
NAMES = {"rnn": "RNN", "gru": "GRU", "lstm": "LSTM"}
STARTS = {
    "rnn": "RNN, as usual",
    "rnn_orthogonal": "RNN, orthogonal",
    "gru": "GRU, as usual",
    "gru_slow": "GRU, slow gates",
    "lstm": "LSTM, as usual",
    "lstm_forget1": "LSTM, forget bias 1",
    "lstm_slow": "LSTM, slow gates",
}
Layer = nn.RNN | nn.GRU | nn.LSTM


class Net(nn.Module):
    """A recurrent layer and a linear one that reads its states.

    Args:
        start: a key of STARTS, or `rnn_identity`.
        features, hidden, outputs: sizes.
        span: steps that slow gates remember, at most.
        stream: of the first weights.
        relu: whether a plain recurrent layer has rectified units instead of tanh.
        gain: an orthogonal start, or one of identity, is multiplied by it.
    """

    def __init__(
        self,
        start: str,
        features: int,
        hidden: int,
        outputs: int,
        *,
        span: int,
        stream: Stream,
        relu: bool = False,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        kind, _, way = start.partition("_")
        extra = {"nonlinearity": "relu"} if relu else {}
        self.layer: Layer = KINDS[kind](features, hidden, stream=stream, **extra)
        match way:
            case "orthogonal":
                nn.init.orthogonal_(self.layer.weight_hh_l0, gain=gain, stream=stream)
            case "identity":  # Le, Jaitly and Hinton 2015, arXiv:1504.00941, for rectified units
                eye = gain * np.eye(hidden, dtype=np.float32)
                self.layer.load_state_dict({**self.layer.state_dict(), "weight_hh_l0": eye})
            case "forget1":
                self._keep(kind, np.ones(hidden), 0.0)
            case "slow":
                slow = np.log(stream.uniform(hidden, 1.0, span - 1.0, dtype=np.float64))
                self._keep(kind, slow, -1.0)
        self.read = nn.Linear(hidden, outputs, stream=stream)

    def _keep(self, kind: str, bias: np.ndarray, write: float) -> None:
        """Sets the bias of the gate that keeps the state, second in LSTM and GRU, and `write` times it for the input's.

        With log u, u uniform from 1 to T - 1, gates start out to forget within 2 to T steps (Tallec and Ollivier 2018,
        "Can recurrent neural networks warp time?", ICLR, section 2).
        """
        size = len(bias)
        state = self.layer.state_dict()
        ours, zeros = np.array(state["bias_ih_l0"]), np.array(state["bias_hh_l0"])
        ours[size : 2 * size], zeros[size : 2 * size] = bias, 0
        if kind == "lstm" and write:
            ours[:size], zeros[:size] = write * bias, 0
        self.layer.load_state_dict({**state, "bias_ih_l0": ours, "bias_hh_l0": zeros})

    def forward(self, inputs: tg.Tensor) -> tg.Tensor:
        """T x B x features to T x B x outputs."""
        outputs, _ = self.layer(inputs)
        read: tg.Tensor = self.read(outputs)
        return read


def step_by_step(layer: Layer, inputs: tg.Tensor) -> Iterator[tuple[tg.Tensor, ...]]:
    """The states of a layer, of one step after the other, from zeros: h, or h and c, each 1 x B x H, with gradients."""
    zeros = tg.zeros((1, inputs.shape[1], layer.hidden_size), dtype=inputs.dtype, device=inputs.device)
    state = tuple(zeros.detach().requires_grad_() for _ in range(2 if isinstance(layer, nn.LSTM) else 1))
    yield state
    for t in range(len(inputs)):
        _, after = layer(inputs[t : t + 1], state if len(state) == 2 else state[0])
        state = after if isinstance(after, tuple) else (after,)
        for part in state:
            part.retain_grad()
        yield state
