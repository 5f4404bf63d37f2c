"""How far back a recurrent net carries its gradient, and what backpropagation through time costs."""

import copy
import time
import tracemalloc
from collections.abc import Callable

import numpy as np

import tinygrad_hw as tg
from tinygrad_hw.backend import synchronize, to_numpy

from .nets import Net, step_by_step

LONGEST = 10_000.0  # steps; a half-life beyond it counts as that


def norms(net: Net, inputs: np.ndarray, device: str) -> np.ndarray:
    """Norm of the derivative of the last answer by the whole state (of an LSTM h and c) after each step.

    Args:
        net: any; a copy of it in float64 is used.
        inputs: T x E x features.
        device: where the net is.

    Returns:
        E x (T + 1), for t = 0..T.
    """
    x = tg.tensor(inputs, dtype=np.float64, device=device)
    net = copy.deepcopy(net).to(dtype=np.float64)
    states = list(step_by_step(net.layer, x))
    net.read(states[-1][0]).sum().backward()
    return np.array([_size(state) for state in states]).T


def _size(state: tuple[tg.Tensor, ...]) -> np.ndarray:
    # the last c of an LSTM has no part in the answer
    squares = [to_numpy((part.grad.data**2).sum(axis=2)[0]) for part in state if part.grad is not None]
    return np.asarray(np.sqrt(np.sum(squares, axis=0)))


def profile(found: np.ndarray) -> np.ndarray:
    """Of `norms`: the logarithm to base 2 by steps back, 0 for none, in units of the last step; mean over examples."""
    logarithms = np.log2(np.maximum(found, np.finfo(np.float64).tiny))[:, ::-1]
    return np.asarray((logarithms - logarithms[:, :1]).mean(axis=0))


def half_life(logarithms: np.ndarray) -> float:
    """Steps in which a profile falls by 1, by a line of least squares; at most `LONGEST`, as for one that rises."""
    fall = -float(np.polyfit(np.arange(len(logarithms)), logarithms, 1)[0])
    return min(1 / fall, LONGEST) if fall > 0 else LONGEST


def seconds_of(work: Callable[[], object], device: str, repeats: int) -> float:
    """Median time of some work, after one run to warm up."""
    taken = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        work()
        synchronize(device)
        taken.append(time.perf_counter() - begun)
    return float(np.median(taken[1:]))


def peak_bytes(work: Callable[[], object]) -> float:
    """The most memory that some work holds at once, beyond what was held before: of arrays on the host."""
    tracemalloc.start()
    work()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    work()
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return float(max(peak, 0))
