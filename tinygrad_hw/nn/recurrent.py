"""Recurrent layers: RNN, LSTM, GRU on whole sequences; RNNCell, LSTMCell, GRUCell one step at a time."""

from __future__ import annotations

import math
from typing import Any

from tinygrad_hw import functional as F
from tinygrad_hw.functional.cells import check_nonlinearity, check_state, pair_of_states
from tinygrad_hw.functional.checks import check_floating, integers
from tinygrad_hw.nn import init
from tinygrad_hw.nn.linear import make_parameter
from tinygrad_hw.nn.module import Module
from tinygrad_hw.random import Stream
from tinygrad_hw.tensor import Tensor


class _Weights(Module):
    """What the layers have in common: sizes, and weights that start from U(-1/√hidden_size, 1/√hidden_size)."""

    _gates = 1

    def _set_sizes(self, input_size: int, hidden_size: int, bias: bool) -> None:
        name = type(self).__name__
        (self.input_size,) = integers(name, "input_size", input_size, 1, 1)
        (self.hidden_size,) = integers(name, "hidden_size", hidden_size, 1, 1)
        self.bias = bias

    def _add_weights(self, features: int, suffix: str, dtype: Any, device: str | None) -> None:
        rows = self._gates * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, features), "weight_hh": (rows, self.hidden_size)}
        if self.bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        for what, shape in shapes.items():
            setattr(self, what + suffix, make_parameter(shape, dtype, device))

    def _weights(self, suffix: str) -> list[Any]:
        """W_ih, W_hh, b_ih, b_hh; None for biases that there are not."""
        names = [f"{what}{suffix}" for what in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        return [getattr(self, name) if self.bias or name.startswith("weight") else None for name in names]

    def reset_parameters(self, stream: Stream | None = None) -> None:
        """Draw the starting values anew."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound, stream=stream)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class _Layers(_Weights):
    """One layer over another, each in one direction or both."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        stream: Stream | None = None,
        dropout_stream: Stream | None = None,
        dtype: Any = None,
        device: str | None = None,
    ) -> None:
        super().__init__()
        self._set_sizes(input_size, hidden_size, bias)
        (self.num_layers,) = integers(type(self).__name__, "num_layers", num_layers, 1, 1)
        if not 0 <= dropout <= 1:
            raise ValueError(f"{type(self).__name__}: dropout must be from 0 to 1, got {dropout!r}")
        self.batch_first, self.dropout, self.bidirectional = batch_first, dropout, bidirectional
        self.dropout_stream = dropout_stream
        for layer in range(self.num_layers):
            features = self.input_size if layer == 0 else self.hidden_size * len(self._directions)
            for direction in self._directions:
                self._add_weights(features, f"_l{layer}{direction}", dtype, device)
        self.reset_parameters(stream)

    @property
    def _directions(self) -> tuple[str, ...]:
        return ("", "_reverse") if self.bidirectional else ("",)

    def _check_input(self, input: Any) -> None:
        name = f"{type(self).__name__}({self.extra_repr()})"
        check_floating(name, input)
        if input.ndim not in (2, 3) or input.shape[-1] != self.input_size:
            axes = "batch, time" if self.batch_first else "time, batch"
            raise ValueError(
                f"{name}: expected an input ({axes}, {self.input_size}) or (time, {self.input_size}), got "
                f"{tuple(input.shape)}"
            )

    def _run(self, run: Any, input: Any, states: list[Any], lengths: Any) -> tuple[Any, list[Any]]:
        """The output, and of each kind of state the final ones; ``run`` is the operation of one layer and direction.

        ``states`` are all (layers x directions, batch, hidden), or (layers x directions, hidden) of one sequence.
        """
        self._check_input(input)
        single = input.ndim == 2
        places = self.num_layers * len(self._directions)
        batch = input.shape[0 if self.batch_first else 1] if not single else 1
        for state in states:
            shape = (places, self.hidden_size) if single else (places, batch, self.hidden_size)
            check_state(type(self).__name__, "a state", state, shape)
        if single:
            input, states = F.unsqueeze(input, 1), [F.unsqueeze(state, 1) for state in states]
        elif self.batch_first:
            input = F.transpose(input, 0, 1)
        started = [F.unbind(state) for state in states]
        x, finals = input, list[list[Any]]()
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = F.dropout(x, self.dropout, self.training, self.dropout_stream)
            outputs = []
            for direction in self._directions:
                given = [each[len(finals)] for each in started] or None
                weights = self._weights(f"_l{layer}{direction}")
                output, *final = run(x, given, *weights, lengths=lengths, reverse=bool(direction))
                outputs.append(output)
                finals.append(final)
            x = outputs[0] if len(outputs) == 1 else F.concatenate(outputs, 2)
        ends = [F.stack(kind) for kind in zip(*finals, strict=True)]
        if single:
            return F.squeeze(x, 1), [F.squeeze(end, 1) for end in ends]
        return F.transpose(x, 0, 1) if self.batch_first else x, ends

    def extra_repr(self) -> str:
        shown = f"{self.input_size}, {self.hidden_size}"
        for what, usual in (
            ("num_layers", 1), ("bias", True), ("batch_first", False), ("dropout", 0.0), ("bidirectional", False),
        ):  # fmt: skip
            if getattr(self, what) != usual:
                shown += f", {what}={getattr(self, what)}"
        return shown


class RNN(_Layers):
    """A recurrent layer, or several one over another: :func:`tinygrad_hw.functional.rnn` says what one computes.

    Shapes, with D = 2 if bidirectional, else 1: the input (T, B, input_size), or (B, T, input_size) if ``batch_first``
    → the output (T, B, D hidden_size), or (B, T, ...), and the final state (D num_layers, B, hidden_size): layer by
    layer, of each the forward direction first. One sequence (T, input_size) has no axis B anywhere.

    Weights weight_ih_l0 (G hidden_size, input_size), weight_hh_l0 (G hidden_size, hidden_size), bias_ih_l0, bias_hh_l0
    (G hidden_size,), ..._l0_reverse, ..._l1 and so on, where G is 1, 4 (LSTM: i f g o) or 3 (GRU: r z n); all start
    from U(-1/√hidden_size, 1/√hidden_size).

    Args:
        input_size, hidden_size: features of the input and of the state.
        num_layers: each takes the output of the one before.
        nonlinearity: "tanh" or "relu".
        bias: whether there are biases.
        batch_first: whether the batch is the first axis of input and output; never of states.
        dropout: probability with which each output of a layer but the last is left out in training.
        bidirectional: whether each layer runs in both directions; outputs lie side by side.
        stream: where the starting values are drawn; default ``default_stream("init")``.
        dropout_stream: where masks are drawn; default ``default_stream("dropout")``.
        dtype, device: of the parameters.

    Raises TypeError or ValueError for such sizes, ``dropout`` and ``nonlinearity`` as there cannot be.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        stream: Stream | None = None,
        dropout_stream: Stream | None = None,
        dtype: Any = None,
        device: str | None = None,
    ) -> None:
        check_nonlinearity("RNN", nonlinearity)
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            stream=stream, dropout_stream=dropout_stream, dtype=dtype, device=device,
        )  # fmt: skip
        self.nonlinearity = nonlinearity

    def forward(self, input: Any, state: Any = None, lengths: Any = None) -> tuple[Any, Any]:
        """The output and the final state, from the initial ``state`` (zeros if None), of sequences of ``lengths``.

        ``lengths`` (B,) are integers from 0 to T; what lies beyond them is never read, and the output is 0 there.
        """

        def run(x: Any, given: Any, *weights: Any, **settings: Any) -> Any:
            return F.rnn(x, given and given[0], *weights, **(settings | {"nonlinearity": self.nonlinearity}))

        output, ends = self._run(run, input, [] if state is None else [state], lengths)
        return output, ends[0]

    def extra_repr(self) -> str:
        shown = super().extra_repr()
        return shown if self.nonlinearity == "tanh" else f"{shown}, nonlinearity={self.nonlinearity}"


class LSTM(_Layers):
    """Layers of long short-term memory: :func:`tinygrad_hw.functional.lstm` says what one computes.

    The state is a pair (h, c). Arguments, shapes, weights and errors as of :class:`RNN`.
    """

    _gates = 4

    def forward(self, input: Any, state: Any = None, lengths: Any = None) -> tuple[Any, tuple[Any, Any]]:
        """The output and the final (h, c), from the initial ``state`` (h, c); see :meth:`RNN.forward`."""
        given = [] if state is None else list(pair_of_states("LSTM", state))
        output, (h, c) = self._run(F.lstm, input, given, lengths)
        return output, (h, c)


class GRU(_Layers):
    """Layers of gated recurrent units: :func:`tinygrad_hw.functional.gru` says what one computes.

    Arguments, shapes, weights and errors as of :class:`RNN`.
    """

    _gates = 3

    def forward(self, input: Any, state: Any = None, lengths: Any = None) -> tuple[Any, Any]:
        """The output and the final state, from the initial ``state``; see :meth:`RNN.forward`."""

        def run(x: Any, given: Any, *weights: Any, **settings: Any) -> Any:
            return F.gru(x, given and given[0], *weights, **settings)

        output, ends = self._run(run, input, [] if state is None else [state], lengths)
        return output, ends[0]


class _Cell(_Weights):
    """One step: input (B, input_size) or (input_size,), states (B, hidden_size) or (hidden_size,)."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        stream: Stream | None = None,
        dtype: Any = None,
        device: str | None = None,
    ) -> None:
        super().__init__()
        self._set_sizes(input_size, hidden_size, bias)
        self._add_weights(self.input_size, "", dtype, device)
        self.reset_parameters(stream)

    def _zeros(self, input: Any) -> Tensor:
        """The state that is meant where none is given."""
        name = f"{type(self).__name__}({self.extra_repr()})"
        check_floating(name, input)
        if input.ndim not in (1, 2) or input.shape[-1] != self.input_size:
            raise ValueError(
                f"{name}: expected an input (batch, {self.input_size}) or ({self.input_size},), got "
                f"{tuple(input.shape)}"
            )
        like = self._weights("")[1]
        return make_parameter((*input.shape[:-1], self.hidden_size), like.dtype, like.device).detach()


class RNNCell(_Cell):
    """One step of :class:`RNN`: :func:`tinygrad_hw.functional.rnn_cell`.

    Weights weight_ih, weight_hh, bias_ih, bias_hh; arguments and errors as there.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        *,
        stream: Stream | None = None,
        dtype: Any = None,
        device: str | None = None,
    ) -> None:
        check_nonlinearity("RNNCell", nonlinearity)
        super().__init__(input_size, hidden_size, bias, stream=stream, dtype=dtype, device=device)
        self.nonlinearity = nonlinearity

    def forward(self, input: Any, state: Any = None) -> Any:
        """The next state (B, hidden_size), from ``state`` (zeros if None)."""
        zeros = self._zeros(input)
        w, u, b, d = self._weights("")
        return F.rnn_cell(input, zeros if state is None else state, w, u, b, d, self.nonlinearity)


class LSTMCell(_Cell):
    """One step of :class:`LSTM`: :func:`tinygrad_hw.functional.lstm_cell`. Arguments, weights as :class:`RNNCell`."""

    _gates = 4

    def forward(self, input: Any, state: Any = None) -> tuple[Any, Any]:
        """The next (h, c), each (B, hidden_size), from ``state`` (zeros if None)."""
        zeros = self._zeros(input)
        return F.lstm_cell(input, (zeros, zeros) if state is None else state, *self._weights(""))


class GRUCell(_Cell):
    """One step of :class:`GRU`: :func:`tinygrad_hw.functional.gru_cell`. Arguments and weights as :class:`RNNCell`."""

    _gates = 3

    def forward(self, input: Any, state: Any = None) -> Any:
        """The next state (B, hidden_size), from ``state`` (zeros if None)."""
        zeros = self._zeros(input)
        return F.gru_cell(input, zeros if state is None else state, *self._weights(""))
