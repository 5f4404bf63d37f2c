"""One step of a recurrent layer, composed of other operations: RNN, LSTM and GRU cells.

Whole sequences are in :mod:`tinygrad_hw.functional.recurrent`, as fused operations.
"""

from __future__ import annotations

from typing import Any

from tinygrad_hw.functional.activation import relu, sigmoid
from tinygrad_hw.functional.checks import check_floating
from tinygrad_hw.functional.matmul import linear
from tinygrad_hw.functional.shape import split
from tinygrad_hw.functional.trigonometric import tanh

__all__ = ["gru_cell", "lstm_cell", "rnn_cell"]


def check_nonlinearity(name: str, nonlinearity: str) -> bool:
    """Whether it is the rectifier; raises ValueError unless it is "tanh" or "relu"."""
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"{name}: expected nonlinearity 'tanh' or 'relu', got {nonlinearity!r}")
    return nonlinearity == "relu"


def check_weights(name: str, x: Any, gates: int, ih: Any, hh: Any, bias_ih: Any, bias_hh: Any) -> int:
    """The hidden size; raises TypeError for what is not floating, and ValueError where weights do not fit ``x``."""
    for each in (x, ih, hh, bias_ih, bias_hh):
        if each is not None:
            check_floating(name, each)
    times = "" if gates == 1 else f"{gates} "
    size = hh.shape[-1] if hh.ndim == 2 else 0
    if hh.ndim != 2 or size < 1 or hh.shape[0] != gates * size:
        raise ValueError(f"{name}: expected weight_hh ({times}hidden, hidden), got {tuple(hh.shape)}")
    if ih.ndim != 2 or ih.shape[0] != gates * size or ih.shape[1] < 1:
        raise ValueError(f"{name}: expected weight_ih ({gates * size}, features), got {tuple(ih.shape)}")
    if x.ndim == 0 or x.shape[-1] != ih.shape[1]:
        raise ValueError(
            f"{name}: expected {ih.shape[1]} features on the last axis, got an input of shape {tuple(x.shape)}"
        )
    for what, bias in (("bias_ih", bias_ih), ("bias_hh", bias_hh)):
        if bias is not None and tuple(bias.shape) != (gates * size,):
            raise ValueError(f"{name}: expected {what} ({gates * size},), got {tuple(bias.shape)}")
    return size


def check_state(name: str, what: str, state: Any, shape: tuple[int, ...]) -> None:
    """Raise TypeError unless the state is floating, ValueError unless it has this shape."""
    check_floating(name, state)
    if tuple(state.shape) != shape:
        raise ValueError(f"{name}: expected {what} of shape {shape}, got {tuple(state.shape)}")


def rnn_cell(
    input: Any, hx: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any = None, bias_hh: Any = None,
    nonlinearity: str = "tanh",
) -> Any:  # fmt: skip
    """h' = φ(W_ih x + b_ih + W_hh h + b_hh), φ = tanh or relu (Elman 1990, "Finding structure in time").

    Shapes: ``input`` (..., I), ``hx`` h (..., H), ``weight_ih`` (H, I), ``weight_hh`` (H, H), biases (H,) or None →
    h' (..., H). Raises TypeError for what is not floating, ValueError for shapes that do not fit and for another
    ``nonlinearity`` than "tanh" and "relu".
    """
    rectified = check_nonlinearity("rnn_cell", nonlinearity)
    size = check_weights("rnn_cell", input, 1, weight_ih, weight_hh, bias_ih, bias_hh)
    check_state("rnn_cell", "hx", hx, (*input.shape[:-1], size))
    a = linear(input, weight_ih, bias_ih) + linear(hx, weight_hh, bias_hh)
    return relu(a) if rectified else tanh(a)


def lstm_cell(
    input: Any, hx: tuple[Any, Any], weight_ih: Any, weight_hh: Any, bias_ih: Any = None, bias_hh: Any = None
) -> tuple[Any, Any]:
    """c' = σ(f) c + σ(i) tanh(g), h' = σ(o) tanh(c'), (i, f, g, o) = W_ih x + b_ih + W_hh h + b_hh.

    Hochreiter & Schmidhuber 1997, "Long short-term memory", with the forget gate of Gers et al. 2000.

    Shapes: ``input`` (..., I), ``hx`` = (h, c) each (..., H), ``weight_ih`` (4 H, I), ``weight_hh`` (4 H, H), biases
    (4 H,) or None; gates in the order i f g o → (h', c') each (..., H). Raises TypeError for what is not floating and a
    state that is no pair, ValueError for shapes that do not fit.
    """
    size = check_weights("lstm_cell", input, 4, weight_ih, weight_hh, bias_ih, bias_hh)
    h, c = pair_of_states("lstm_cell", hx)
    check_state("lstm_cell", "h", h, (*input.shape[:-1], size))
    check_state("lstm_cell", "c", c, (*input.shape[:-1], size))
    i, f, g, o = split(linear(input, weight_ih, bias_ih) + linear(h, weight_hh, bias_hh), size, -1)
    new = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(new), new


def gru_cell(
    input: Any, hx: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any = None, bias_hh: Any = None
) -> Any:  # fmt: skip
    """h' = n + z (h - n), n = tanh(a_n + r u_n), r = σ(a_r + u_r), z = σ(a_z + u_z).

    Here a = W_ih x + b_ih, u = W_hh h + b_hh (Cho et al. 2014, arXiv:1406.1078, with r after the product as in cuDNN
    and PyTorch).

    Shapes: ``input`` (..., I), ``hx`` h (..., H), ``weight_ih`` (3 H, I), ``weight_hh`` (3 H, H), biases (3 H,) or
    None; gates in the order r z n → h' (..., H). Raises TypeError for what is not floating, ValueError for shapes that
    do not fit.
    """
    size = check_weights("gru_cell", input, 3, weight_ih, weight_hh, bias_ih, bias_hh)
    check_state("gru_cell", "hx", hx, (*input.shape[:-1], size))
    a_r, a_z, a_n = split(linear(input, weight_ih, bias_ih), size, -1)
    u_r, u_z, u_n = split(linear(hx, weight_hh, bias_hh), size, -1)
    z = sigmoid(a_z + u_z)
    n = tanh(a_n + sigmoid(a_r + u_r) * u_n)
    return n + z * (hx - n)


def pair_of_states(name: str, hx: Any) -> tuple[Any, Any]:
    """The two states of an LSTM; raises TypeError unless it is a pair."""
    if not isinstance(hx, (tuple, list)) or len(hx) != 2:
        raise TypeError(f"{name}: expected a pair of states (h, c), got {type(hx).__name__}")
    return hx[0], hx[1]
