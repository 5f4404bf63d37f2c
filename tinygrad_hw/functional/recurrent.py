"""Recurrent layers on whole sequences, one direction of one layer at a time: RNN, LSTM, GRU as fused operations.

The input's part of all steps is one product, each step then a product with the state and one pass over the gates.
Backward through time is written by hand: the slopes of all steps first, then each weight's gradient as one product.

Sequences are (T, B, I), time first. ``lengths`` (B,) says how much of each is valid; what lies beyond is never read,
whatever it holds: the output is zero there, and so is the gradient, and the final state is that after the last valid
entry. ``reverse`` runs from the last valid entry to the first; its output stands at the entries that it follows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_hw.autograd import Function
from tinygrad_hw.backend import Array, array_module
from tinygrad_hw.backward_pass import run_backward
from tinygrad_hw.functional.arithmetic import clone
from tinygrad_hw.functional.cells import (
    check_nonlinearity,
    check_state,
    check_weights,
    gru_cell,
    lstm_cell,
    pair_of_states,
    rnn_cell,
)
from tinygrad_hw.functional.checks import check_floating
from tinygrad_hw.functional.indexing import getitem
from tinygrad_hw.functional.packing import Packing, packing
from tinygrad_hw.functional.shape import concatenate, reshape
from tinygrad_hw.kernels import column_sums, product, recurrence
from tinygrad_hw.tensor import Tensor, raw_of

__all__ = ["gru", "lstm", "rnn"]


class Rnn(Function):
    """h_t = φ(W x_t + b + U h_(t-1) + d), φ = tanh or max(·, 0).

    With a_t the slope before φ, W̄ = Σ a_t x_tᵀ, Ū = Σ a_t h_(t-1)ᵀ, b̄ = d̄ = Σ a_t, x̄_t = Wᵀ a_t (Werbos 1990,
    "Backpropagation through time").
    """

    floating = True
    fresh = True
    writes_in_place = True

    @staticmethod
    def forward(
        ctx: Any, x: Array, h: Any, ih: Array, hh: Array, bias_ih: Any, bias_hh: Any, pack: Packing, relu: bool
    ) -> Any:
        ctx.save_for_backward(x, h, ih, hh, bias_ih, bias_hh)
        ctx.pack, ctx.relu, ctx.rows = pack, relu, pack.pack(x)
        ctx.states = _initial(pack, h, x, len(hh[0]))
        product(ctx.rows, ih.T, ctx.states[pack.size[1] :], _sum_of(bias_ih, bias_hh))
        recurrence.rnn(ctx.states, hh, pack.counts, relu)
        return pack.unpack(ctx.states[pack.size[1] :]), pack.final(ctx.states)

    @staticmethod
    def backward(ctx: Any, grad: Any, grad_h: Any) -> Any:
        pack, relu = ctx.pack, ctx.relu
        if ctx.recording:
            name = "relu" if relu else "tanh"
            step = lambda x, states, w, u, b, d: (rnn_cell(x, states[0], w, u, b, d, name),)
            return _differentiable(ctx, step, 1, grad, grad_h)
        _, _, ih, hh, _, _ = ctx.saved_tensors
        dh = pack.sort(grad_h)
        slopes = recurrence.rnn_backward(ctx.states, hh, pack.pack(grad), dh, pack.counts, relu)
        by_x, *by_weights = _gradients(ctx, 2, slopes, slopes, ih)
        return by_x, pack.unsort(dh), *by_weights


class Lstm(Function):
    """(i, f, g, o)_t = (σ, σ, tanh, σ)(W x_t + b + U h_(t-1) + d), c_t = f c_(t-1) + i g, h_t = o tanh(c_t).

    Gradients of weights as of :class:`Rnn`; those of the gates in :func:`tinygrad_hw.kernels.recurrence.lstm_backward`.
    """

    floating = True
    fresh = True
    writes_in_place = True

    @staticmethod
    def forward(
        ctx: Any, x: Array, h: Any, c: Any, ih: Array, hh: Array, bias_ih: Any, bias_hh: Any, pack: Packing
    ) -> Any:
        ctx.save_for_backward(x, h, c, ih, hh, bias_ih, bias_hh)
        ctx.pack, ctx.rows = pack, pack.pack(x)
        ctx.states, ctx.cells = (_initial(pack, state, x, len(hh[0])) for state in (h, c))
        ctx.gates = product(ctx.rows, ih.T, bias=_sum_of(bias_ih, bias_hh))
        recurrence.lstm(ctx.gates, hh, ctx.states, ctx.cells, pack.counts)
        return pack.unpack(ctx.states[pack.size[1] :]), pack.final(ctx.states), pack.final(ctx.cells)

    @staticmethod
    def backward(ctx: Any, grad: Any, grad_h: Any, grad_c: Any) -> Any:
        if ctx.recording:
            return _differentiable(ctx, lstm_cell, 2, grad, grad_h, grad_c)
        pack = ctx.pack
        _, _, _, ih, hh, _, _ = ctx.saved_tensors
        dh, dc = pack.sort(grad_h), pack.sort(grad_c)
        slopes = recurrence.lstm_backward(ctx.gates, hh, ctx.cells, pack.pack(grad), dh, dc, pack.counts)
        by_x, *by_weights = _gradients(ctx, 3, slopes, slopes, ih)
        return by_x, pack.unsort(dh), pack.unsort(dc), *by_weights


class Gru(Function):
    """h_t = n + z (h_(t-1) - n), n = tanh(a_n + r u_n), (r, z) = σ((a + u)_(r, z)), a = W x_t + b, u = U h_(t-1) + d.

    Gradients of weights as of :class:`Rnn`, with a slope of a for W and b and one of u for U and d; those of the gates
    in :func:`tinygrad_hw.kernels.recurrence.gru_backward`.
    """

    floating = True
    fresh = True
    writes_in_place = True

    @staticmethod
    def forward(ctx: Any, x: Array, h: Any, ih: Array, hh: Array, bias_ih: Any, bias_hh: Any, pack: Packing) -> Any:
        size = len(hh[0])
        ctx.save_for_backward(x, h, ih, hh, bias_ih, bias_hh)
        ctx.pack, ctx.rows, ctx.states = pack, pack.pack(x), _initial(pack, h, x, size)
        bias, inner_bias = bias_ih, None
        if bias_hh is not None:
            inner_bias, switches = bias_hh[2 * size :], array_module(bias_hh).array(bias_hh)
            switches[2 * size :] = 0
            bias = _sum_of(bias_ih, switches)
        ctx.gates = product(ctx.rows, ih.T, bias=bias)
        ctx.inner = recurrence.gru(ctx.gates, hh, inner_bias, ctx.states, pack.counts)
        return pack.unpack(ctx.states[pack.size[1] :]), pack.final(ctx.states)

    @staticmethod
    def backward(ctx: Any, grad: Any, grad_h: Any) -> Any:
        if ctx.recording:
            step = lambda x, states, *weights: (gru_cell(x, states[0], *weights),)
            return _differentiable(ctx, step, 1, grad, grad_h)
        pack = ctx.pack
        _, _, ih, hh, _, _ = ctx.saved_tensors
        dh = pack.sort(grad_h)
        slopes, through = recurrence.gru_backward(
            ctx.gates, ctx.inner, hh, ctx.states, pack.pack(grad), dh, pack.counts
        )
        by_x, *by_weights = _gradients(ctx, 2, slopes, through, ih)
        return by_x, pack.unsort(dh), *by_weights


# ------------------------------------------------------------------------------------------------- what they have alike


def _initial(pack: Packing, state: Any, x: Array, size: int) -> Array:
    """States (B + N, H), of which the first B are the initial ones, zeros for None."""
    batch = pack.size[1]
    states = array_module(x).empty((batch + pack.rows, size), x.dtype)
    states[:batch] = 0 if state is None else pack.sort(state)
    return states


def _sum_of(one: Any, other: Any) -> Any:
    if one is None or other is None:
        return other if one is None else one
    return one + other


def _gradients(ctx: Any, first: int, slopes: Array, through: Array, ih: Array) -> tuple[Any, ...]:
    """Those of x, W, U, b, d from the slopes of W x + b and of U h + d; W is argument ``first``."""
    pack, wants = ctx.pack, ctx.needs_input_grad
    place = [ctx.place(first + i) for i in range(4)]
    by_x = pack.unpack(product(slopes, ih)) if wants[0] else None
    by_ih = product(slopes.T, ctx.rows, place[0]) if wants[first] else None
    by_hh = product(through.T, pack.previous(ctx.states), place[1]) if wants[first + 1] else None
    by_bias_ih = column_sums(slopes, place[2]) if wants[first + 2] else None
    by_bias_hh = column_sums(through, place[3]) if wants[first + 3] else None
    return by_x, by_ih, by_hh, by_bias_ih, by_bias_hh


def _differentiable(ctx: Any, step: Callable[..., Any], states: int, *grads: Any) -> tuple[Any, ...]:
    """The gradients on the tape, by unrolling the cell: slow, but differentiable again."""
    kept: tuple[Any, ...] = ctx.saved_tensors
    wanted = [i for i in range(len(kept)) if ctx.needs_input_grad[i]]
    own: list[Any] = [
        tensor if tensor is None else clone(tensor) for tensor in kept
    ]  # apart, if one depends on another
    outputs = unrolled(ctx.pack, step, own[0], own[1 : 1 + states], own[1 + states :])
    # an output that no step made is a constant
    roots = [(out, g) for out, g in zip(outputs, grads, strict=True) if isinstance(out, Tensor) and out.requires_grad]
    found = run_backward(roots, retain_graph=True, create_graph=True, targets=[own[i] for i in wanted])
    gradients = dict(zip(wanted, found, strict=True))
    return tuple(gradients.get(i) for i in range(len(ctx.needs_input_grad)))


def unrolled(pack: Packing, step: Callable[..., Any], x: Any, states: list[Any], weights: list[Any]) -> tuple[Any, ...]:
    """The whole sequence by a cell at a time: what the fused operations compute, composed of others.

    Args:
        pack: which entries are valid.
        step: ``step(x, states, *weights)`` gives the next states, the output first.
        x: (T, B, I). states: each (B, H) or None.

    Returns the output (T, B, H) and the final states (B, H).
    """
    (steps, batch), xp, size = pack.size, array_module(raw_of(x)), weights[1].shape[1]
    dtype = raw_of(x).dtype
    rows = getitem(reshape(x, (steps * batch, x.shape[2])), xp.asarray(pack.valid))
    zeros = xp.zeros((batch, size), dtype)
    now = tuple(getitem(zeros if each is None else each, xp.asarray(pack.order)) for each in states)
    made, start = [], 0
    for count in pack.counts:
        running = tuple(getitem(each, slice(0, count)) for each in now)
        inputs = getitem(rows, slice(start, start + count))
        new = step(inputs, running, *weights)
        made.append(new[0])
        ended = (getitem(each, slice(count, batch)) for each in now)
        now = tuple(concatenate(pair) for pair in zip(new, ended, strict=True)) if count < batch else new
        start += count
    output = getitem(concatenate([*made, xp.zeros((1, size), dtype)]), xp.asarray(pack.unpacked))
    back = xp.asarray(pack.order.argsort())
    return reshape(output, (steps, batch, size)), *(getitem(each, back) for each in now)


def _check_sequences(name: str, x: Any) -> None:
    check_floating(name, x)
    if x.ndim != 3:
        raise ValueError(f"{name}: expected an input (T, B, features), got {tuple(x.shape)}")


# ---------------------------------------------------------------------------------------------------------- operations


def rnn(
    input: Any, hx: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any = None, bias_hh: Any = None, lengths: Any = None,
    reverse: bool = False, nonlinearity: str = "tanh",
) -> tuple[Any, Any]:  # fmt: skip
    """h_t = φ(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh) for a whole batch of sequences, φ = tanh or relu.

    Elman 1990, "Finding structure in time"; one step of it is :func:`rnn_cell`.

    Shapes: ``input`` (T, B, I), ``hx`` the initial state (B, H) or None for zeros, ``weight_ih`` (H, I), ``weight_hh``
    (H, H), biases (H,) or None → the output (T, B, H), zero beyond the lengths, and the final state (B, H).

    Args:
        lengths: (B,) integers from 0 to T, how much of each sequence is valid; None: all. A sequence of length 0 keeps
            its initial state.
        reverse: run from the last valid entry to the first.
        nonlinearity: "tanh" or "relu".

    Raises:
        TypeError: for what is not floating, and lengths that are not integers.
        ValueError: for shapes that do not fit, lengths out of range, and another nonlinearity.
    """
    _check_sequences("rnn", input)
    relu = check_nonlinearity("rnn", nonlinearity)
    size = check_weights("rnn", input, 1, weight_ih, weight_hh, bias_ih, bias_hh)
    pack = packing("rnn", input.shape[0], input.shape[1], lengths, reverse)
    if hx is not None:
        check_state("rnn", "hx", hx, (input.shape[1], size))
    return Rnn.apply(input, hx, weight_ih, weight_hh, bias_ih, bias_hh, pack, relu)


def lstm(
    input: Any, hx: tuple[Any, Any] | None, weight_ih: Any, weight_hh: Any, bias_ih: Any = None, bias_hh: Any = None,
    lengths: Any = None, reverse: bool = False,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """c_t = σ(f) c_(t-1) + σ(i) tanh(g), h_t = σ(o) tanh(c_t), (i, f, g, o) = W_ih x_t + b_ih + W_hh h_(t-1) + b_hh.

    Hochreiter & Schmidhuber 1997, "Long short-term memory", with the forget gate of Gers et al. 2000; one step of it is
    :func:`lstm_cell`.

    Shapes: ``input`` (T, B, I), ``hx`` the initial states (h, c), each (B, H), or None for zeros, ``weight_ih``
    (4 H, I), ``weight_hh`` (4 H, H), biases (4 H,) or None; gates in the order i f g o → the output (T, B, H), zero
    beyond the lengths, and the final h and c, each (B, H). ``lengths``, ``reverse`` and errors as of :func:`rnn`.
    """
    _check_sequences("lstm", input)
    size = check_weights("lstm", input, 4, weight_ih, weight_hh, bias_ih, bias_hh)
    pack = packing("lstm", input.shape[0], input.shape[1], lengths, reverse)
    h, c = (None, None) if hx is None else pair_of_states("lstm", hx)
    for what, state in (("h", h), ("c", c)):
        if state is not None:
            check_state("lstm", what, state, (input.shape[1], size))
    return Lstm.apply(input, h, c, weight_ih, weight_hh, bias_ih, bias_hh, pack)


def gru(
    input: Any, hx: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any = None, bias_hh: Any = None, lengths: Any = None,
    reverse: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """h_t = n + z (h_(t-1) - n), n = tanh(a_n + r u_n), r = σ(a_r + u_r), z = σ(a_z + u_z).

    Here a = W_ih x_t + b_ih, u = W_hh h_(t-1) + b_hh (Cho et al. 2014, arXiv:1406.1078, with r after the product as in
    cuDNN and PyTorch); one step of it is :func:`gru_cell`.

    Shapes: ``input`` (T, B, I), ``hx`` the initial state (B, H) or None for zeros, ``weight_ih`` (3 H, I),
    ``weight_hh`` (3 H, H), biases (3 H,) or None; gates in the order r z n → the output (T, B, H), zero beyond the
    lengths, and the final state (B, H). ``lengths``, ``reverse`` and errors as of :func:`rnn`.
    """
    _check_sequences("gru", input)
    size = check_weights("gru", input, 3, weight_ih, weight_hh, bias_ih, bias_hh)
    pack = packing("gru", input.shape[0], input.shape[1], lengths, reverse)
    if hx is not None:
        check_state("gru", "hx", hx, (input.shape[1], size))
    return Gru.apply(input, hx, weight_ih, weight_hh, bias_ih, bias_hh, pack)
