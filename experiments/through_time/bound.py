"""The gradient of a recurrent net on its way back through time, and the bound on it."""

from dataclasses import dataclass
from itertools import product

import numpy as np

import tinygrad_hw as tg
from experiments.gradient_bounds import ACTIVATIONS
from tinygrad_hw import functional as F
from tinygrad_hw import nn
from tinygrad_hw.backend import to_numpy
from tinygrad_hw.random import Stream

UNITS = ("linear", "tanh", "ReLU")
WEIGHTS = ("orthogonal", "Gaussian")
RADII = (0.9, 1.0, 1.2, 2.0)


@dataclass(frozen=True)
class Net:
    """A recurrent net to measure, h_t = φ(W h_(t-1) + U x_t + b).

    Attributes:
        units: φ, a key of `ACTIVATIONS`.
        weights: how W is drawn: a multiple of an orthogonal matrix, or Gaussian.
        radius: its spectral radius, the largest magnitude of its eigenvalues.
    """

    units: str
    weights: str
    radius: float

    @property
    def name(self) -> str:
        return f"{self.units}, {self.weights}, {self.radius:g}"


NETS = [Net(*parts) for parts in product(UNITS, WEIGHTS, RADII)]


@dataclass(frozen=True)
class Measured:
    """What one net showed. E examples, T steps.

    Attributes:
        gradients: norm of ∂C/∂h_t for t = 0..T, E x (T + 1).
        slopes: largest |φ'| of each step, E x T; entry k belongs to the step from h_k to h_(k+1).
        weight: operator norm of W, its largest singular value.
        differences: of the gradient of W and of h_0, relative to its norm: the sum of what the steps contribute against
            the engine's cells, and the engine's whole-sequence operation against its cells.
    """

    gradients: np.ndarray
    slopes: np.ndarray
    weight: float
    differences: tuple[float, float]

    def bounds(self) -> np.ndarray:
        """‖∂C/∂h_T‖ ∏ ‖D_k‖ ‖W‖ over k = t+1..T, for t = 0..T: E x (T + 1)."""
        factors = np.concatenate([self.slopes * self.weight, self.gradients[:, -1:]], axis=1)
        return np.cumprod(factors[:, ::-1], axis=1)[:, ::-1]

    def relative(self) -> np.ndarray:
        """Gradient over bound, without the last step, where both are the same: E x T; 0 where both are 0."""
        gradients, bounds = self.gradients[:, :-1], self.bounds()[:, :-1]
        return np.divide(gradients, bounds, out=np.where(gradients > 0, np.inf, 0.0), where=bounds > 0)


def measure(net: Net, width: int, steps: int, examples: int, drive: float, stream: Stream, device: str) -> Measured:
    """Draws a net, inputs, and a target for the last state, and lets the engine differentiate ½ ‖h_T - y‖².

    Args:
        net: which one.
        width: units, and features of the input.
        steps: T.
        examples: sequences, E.
        drive: standard deviation of the inputs and of the first state.
        stream: where everything is drawn.
        device: where the engine computes; all in float64.
    """
    cell = _cell(net, width, stream, device)
    inputs = tg.Tensor(stream.normal((steps, examples, width), std=drive, dtype=np.float64, device=device))
    target = stream.normal((examples, width), dtype=np.float64, device=device)
    start = tg.Tensor(stream.normal((examples, width), std=drive, dtype=np.float64, device=device), requires_grad=True)
    states = [start]
    for x in F.unbind(inputs):
        states.append(_step(net, cell, x, states[-1]))
        states[-1].retain_grad()
    (0.5 * ((states[-1] - target) ** 2).sum()).backward()

    h = np.stack([to_numpy(state.data) for state in states])
    g = np.stack([_gradient(state) for state in states])
    x, w, u, b, d = (
        to_numpy(each.data) for each in (inputs, cell.weight_hh, cell.weight_ih, cell.bias_ih, cell.bias_hh)
    )
    slopes = np.abs(ACTIVATIONS[net.units].slope(h[:-1] @ w.T + x @ u.T + b + d))
    whole = np.einsum("teh,tek->hk", slopes * g[1:], h[:-1])
    from_cells = (_gradient(cell.weight_hh), g[0])
    fused = from_cells if net.units == "linear" else _fused(net, cell, inputs, target, start)
    return Measured(
        np.linalg.norm(g, axis=2).T,
        slopes.max(axis=2).T,
        float(np.linalg.norm(w, 2)),
        (_difference(whole, from_cells[0]), max(map(_difference, fused, from_cells))),
    )


def _cell(net: Net, width: int, stream: Stream, device: str) -> nn.RNNCell:
    """The cell with W of the wanted spectral radius, U orthogonal, no biases."""
    kind = "relu" if net.units == "ReLU" else "tanh"
    cell = nn.RNNCell(width, width, nonlinearity=kind, stream=stream, dtype=np.float64)
    nn.init.orthogonal_(cell.weight_ih, stream=stream)
    nn.init.zeros_(cell.bias_ih)
    nn.init.zeros_(cell.bias_hh)
    if net.weights == "orthogonal":
        nn.init.orthogonal_(cell.weight_hh, gain=net.radius, stream=stream)
    else:
        drawn = stream.normal((width, width), dtype=np.float64)
        drawn *= net.radius / np.abs(np.linalg.eigvals(drawn)).max()
        cell.load_state_dict({**cell.state_dict(), "weight_hh": drawn})
    return cell.to(device=device)


def _step(net: Net, cell: nn.RNNCell, x: tg.Tensor, h: tg.Tensor) -> tg.Tensor:
    if net.units == "linear":  # a cell has tanh or ReLU alone
        return F.linear(x, cell.weight_ih, cell.bias_ih) + F.linear(h, cell.weight_hh, cell.bias_hh)
    stepped: tg.Tensor = cell(x, h)
    return stepped


def _fused(
    net: Net, cell: nn.RNNCell, inputs: tg.Tensor, target: object, start: tg.Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """The gradients of W and h_0 by the operation on the whole sequence."""
    w, h = (tg.Tensor(each.data, requires_grad=True) for each in (cell.weight_hh, start))
    u, b, d = (each.detach() for each in (cell.weight_ih, cell.bias_ih, cell.bias_hh))
    kind = "relu" if net.units == "ReLU" else "tanh"
    _, last = F.rnn(inputs, h, u, w, b, d, nonlinearity=kind)
    (0.5 * ((last - target) ** 2).sum()).backward()
    return _gradient(w), _gradient(h)


def _gradient(tensor: tg.Tensor) -> np.ndarray:
    assert tensor.grad is not None
    return to_numpy(tensor.grad.data)


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    size = float(np.linalg.norm(expected))
    return float(np.linalg.norm(found - expected)) / size if size else float(np.linalg.norm(found))


def change(found: Measured) -> np.ndarray:
    """Norm of the gradient at each step in units of that at the last one, E x (T + 1)."""
    return found.gradients / found.gradients[:, -1:]


def end_to_end(draws: list[Measured]) -> float:
    """By how much the norm changes from the last step to the first: geometric mean over examples and draws."""
    first = np.concatenate([change(found)[:, 0] for found in draws])
    return float(np.exp(np.log(first).mean())) if first.min() > 0 else 0.0
