"""Truncated backpropagation through time: a long sequence in pieces, the gradient stopped between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from tinygrad_hw.backend import is_array, to_numpy
from tinygrad_hw.functional.checks import integers
from tinygrad_hw.nn.recurrent import GRU, LSTM, RNN
from tinygrad_hw.tensor import Tensor, raw_of


class Piece(NamedTuple):
    """One stretch of a long sequence.

    Attributes:
        steps: which steps it has, a slice along the axis of time.
        output: of the layer at these steps. state: after them.
    """

    steps: slice
    output: Any
    state: Any


def truncated(
    layer: RNN | LSTM | GRU, input: Any, length: int, state: Any = None, lengths: Any = None, *, stateful: bool = True
) -> Iterator[Piece]:
    """Run ``layer`` over ``input``, ``length`` steps at a time, and yield each piece before the next one is run.

    No gradient goes from a piece to the one before, so memory is that of one piece if each is differentiated as it
    comes (Williams & Peng 1990, "An efficient gradient-based algorithm for on-line training of recurrent network
    trajectories"). Weights may be updated between pieces::

        for steps, output, state in truncated(lstm, x, 100):
            optimizer.zero_grad()
            loss(output, target[steps]).backward()
            optimizer.step()

    Args:
        layer: RNN, LSTM or GRU in one direction: backwards a piece would need those after it.
        input: as ``layer`` takes it.
        length: steps of a piece; the last one has those that are left.
        state: before the first step.
        lengths: (B,) valid steps of each sequence, as ``layer`` takes them.
        stateful: whether a piece starts from the state that the one before ended in; else each starts from ``state``.

    Raises ValueError for a bidirectional layer and lengths that are not from 0 to T for each sequence, TypeError and
    ValueError for another ``length`` than a positive integer; for the rest see the layer.
    """
    (size,) = integers("truncated", "length", length, 1, 1)
    if layer.bidirectional:
        raise ValueError("truncated: a bidirectional layer needs the whole sequence at once")
    layer._check_input(input)
    axis = 1 if layer.batch_first and input.ndim == 3 else 0
    total = input.shape[axis]
    each = None
    if lengths is not None:
        given = raw_of(lengths)
        each = to_numpy(given) if is_array(given) else np.asarray(given)
        if each.dtype.kind in "iu" and each.size and not 0 <= each.min() <= each.max() <= total:
            raise ValueError(f"truncated: lengths must be from 0 to {total}, got {each.min()} to {each.max()}")
    return _pieces(layer, input, size, axis, state, each, stateful)


def _pieces(
    layer: Any, input: Any, size: int, axis: int, state: Any, lengths: np.ndarray | None, stateful: bool
) -> Iterator[Piece]:
    for start in range(0, input.shape[axis], size):
        steps = slice(start, min(start + size, input.shape[axis]))
        here = None if lengths is None else (lengths - start).clip(0, steps.stop - start)
        output, after = layer(input[(slice(None), steps) if axis else steps], state, here)
        yield Piece(steps, output, after)
        if stateful:
            state = _detached(after)


def _detached(state: Any) -> Any:
    if isinstance(state, tuple):
        return tuple(map(_detached, state))
    return state.detach() if isinstance(state, Tensor) else state
