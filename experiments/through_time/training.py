"""Training on the tasks: clipped or not, through the whole sequence or through pieces of it."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import tinygrad_hw as tg
from experiments.harness import Loop, Run
from tinygrad_hw import functional as F
from tinygrad_hw import optim
from tinygrad_hw.backend import to_device, to_numpy
from tinygrad_hw.nn.truncated import truncated

from .nets import Net
from .tasks import SYMBOLS, adding, echo

if TYPE_CHECKING:
    from experiments.backprop_through_time import Config

EPOCH = 20  # updates after which the means are logged
HELD = 200  # sequences that a net is tested on
LIMIT, NORM_LIMIT = 1e6, 1e12  # a loss or a norm beyond them has exploded, and is logged as that


@dataclass(frozen=True)
class Way:
    """How the gradient is found: through pieces of `horizon` steps, or through all at once where that is 0.

    Attributes:
        horizon: steps of a piece.
        stateful: whether a piece starts from the state that the one before ended in, or from zeros.
    """

    horizon: int = 0
    stateful: bool = True

    @property
    def name(self) -> str:
        return f"{'stateful' if self.stateful else 'stateless'}_{self.horizon}" if self.horizon else "full"


def ways(horizons: tuple[int, ...]) -> list[Way]:
    """Both kinds of truncation at every horizon, then none."""
    return [*(Way(horizon, stateful) for stateful in (True, False) for horizon in sorted(set(horizons))), Way()]


def echo_gradient(net: Net, way: Way, inputs: Any, symbols: Any, delay: int) -> float:
    """Adds the gradient of the mean cross-entropy over all steps from `delay` on, and returns that mean."""
    steps, total = len(inputs), 0.0
    for piece, outputs, _ in truncated(net.layer, inputs, way.horizon or steps, stateful=way.stateful):
        first = max(piece.start, delay)
        if first < piece.stop:
            answers = net.read(outputs[first - piece.start :]).reshape(-1, SYMBOLS)
            wanted = symbols[first - delay : piece.stop - delay].reshape(-1)
            loss = F.cross_entropy(answers, wanted) * ((piece.stop - first) / (steps - delay))
            loss.backward()
            total += float(loss.item())
    return total


def echo_accuracy(net: Net, delay: int, inputs: np.ndarray, symbols: np.ndarray, device: str) -> float:
    """Share of the symbols that are said again rightly, in whole sequences with the state carried on."""
    with tg.no_grad():
        answers = to_numpy(net(tg.Tensor(to_device(inputs, device))).data).argmax(axis=2)
    return float((answers[delay:] == symbols[:-delay]).mean())


def adding_error(net: Net, inputs: Any, sums: Any) -> tg.Tensor:
    """Mean squared error of the last answer."""
    error: tg.Tensor = ((net(inputs)[-1].reshape(-1) - sums) ** 2).mean()
    return error


def new_echo_net(run: "Run[Config]", start: str, seed: int, *, relu: bool = False, gain: float = 1.0) -> Net:
    """A net for the echo; its first weights depend on the seed and the start alone."""
    config, stream = run.config, run.stream(f"echo {start} {seed}")
    net = Net(start, SYMBOLS, config.hidden, SYMBOLS, span=config.echo_steps, stream=stream, relu=relu, gain=gain)
    return net.to(device=run.device)


def new_adding_net(run: "Run[Config]", start: str, seed: int) -> Net:
    """A net for the sum of two numbers."""
    config, stream = run.config, run.stream(f"adding {start} {seed}")
    return Net(start, 2, config.hidden, 1, span=config.adding_steps, stream=stream).to(device=run.device)


@dataclass(frozen=True)
class Trained:
    """A net that was trained.

    Attributes:
        net: as it was at the end.
        loss: mean by epoch of 20 updates.
        norm: of the gradient before clipping, the greatest of each epoch.
        exploded: the update before which the loss or the gradient was not finite or beyond its limit; 0 for none.
    """

    net: Net
    loss: np.ndarray
    norm: np.ndarray
    exploded: int = 0


def learn_echo(run: "Run[Config]", start: str, way: Way, seed: int) -> Trained:
    """Trains a net to echo, by Adam, its gradients clipped to norm 1."""
    config, net, data = run.config, new_echo_net(run, start, seed), run.stream(f"symbols {seed}")
    optimizer = optim.Adam(net.parameters(), lr=config.learning_rate)
    tracked = {"net": net, "optimizer": optimizer, "data": data}
    loop = _loop(run, f"echo-{start}-{way.name}-seed{seed}", tracked, config.echo_updates)
    for step in loop:
        inputs, symbols = on_device(run.device, *echo(data, config.echo_steps, config.batch))
        optimizer.zero_grad()
        loss = echo_gradient(net, way, inputs, symbols, config.delay)
        step.mean(loss=loss)
        step.maximum(norm=optim.clip_grad_norm_(optimizer, 1.0).item())
        optimizer.step()
    return Trained(net, loop.history("loss"), loop.history("norm"))


def learn_adding(run: "Run[Config]", start: str, seed: int) -> Trained:
    """Trains a net to add, by Adam, its gradients clipped to norm 1."""
    config, net, data = run.config, new_adding_net(run, start, seed), run.stream(f"numbers {seed}")
    optimizer = optim.Adam(net.parameters(), lr=config.learning_rate)
    tracked = {"net": net, "optimizer": optimizer, "data": data}
    loop = _loop(run, f"adding-{start}-seed{seed}", tracked, config.adding_updates)
    for step in loop:
        inputs, sums = adding(data, config.adding_steps, config.batch)
        optimizer.zero_grad()
        loss = adding_error(net, *on_device(run.device, inputs, sums))
        loss.backward()
        step.mean(loss=loss.item())
        step.maximum(norm=optim.clip_grad_norm_(optimizer, 1.0).item())
        optimizer.step()
    return Trained(net, loop.history("loss"), loop.history("norm"))


CLIPPINGS = {"none": "not clipped", "norm": "norm clipped", "value": "values clipped"}
UNITS = {"tanh": "tanh units", "relu": "rectified units"}


def learn_clipped(run: "Run[Config]", units: str, clipping: str, seed: int) -> Trained:
    """Trains a plain recurrent net to echo, by large steps of gradient descent.

    Tanh units start with orthogonal weights of a spectral radius above 1, rectified ones with the identity.

    When the loss or the norm of the gradient has exploded, training ends with the weights that it had before.
    """
    config, data = run.config, run.stream(f"symbols {seed}")
    if units == "relu":
        net = new_echo_net(run, "rnn_identity", seed, relu=True)
    else:
        net = new_echo_net(run, "rnn_orthogonal", seed, gain=config.clip_radius)
    rate = config.clip_rates[list(UNITS).index(units)]
    optimizer, state = optim.SGD(net.parameters(), lr=rate), {"exploded": 0}
    tracked = {"net": net, "optimizer": optimizer, "data": data, "state": state}
    loop = _loop(run, f"clip-{units}-{clipping}-seed{seed}", tracked, config.clip_updates)
    for step in loop:
        loss, norm = LIMIT, NORM_LIMIT
        if not state["exploded"]:
            inputs, symbols = on_device(run.device, *echo(data, config.echo_steps, config.batch))
            optimizer.zero_grad()
            with np.errstate(all="ignore"):  # what overflows is noticed below
                loss = echo_gradient(net, Way(), inputs, symbols, config.delay)
                norm = float(_clip(optimizer, clipping, config))
            if loss < LIMIT and norm < NORM_LIMIT:  # false for what is not a number
                optimizer.step()
            else:
                state["exploded"], loss, norm = step.index + 1, LIMIT, NORM_LIMIT
        step.mean(loss=loss)
        step.maximum(norm=norm)
        if step.ends_epoch and state["exploded"]:
            step.stop()
    return Trained(net, loop.history("loss"), loop.history("norm"), state["exploded"])


def _clip(optimizer: optim.Optimizer, clipping: str, config: "Config") -> float:
    """The norm of the gradient before it is clipped."""
    limit = config.clip_norm if clipping == "norm" else math.inf
    norm = float(optim.clip_grad_norm_(optimizer, limit).item())
    if clipping == "value":
        optim.clip_grad_value_(optimizer, config.clip_value)
    return norm


def _loop(run: "Run[Config]", name: str, tracked: dict[str, Any], updates: int) -> Loop:
    batch = run.config.batch
    return run.loop(name, tracked, epochs=-(-updates // EPOCH), examples=EPOCH * batch, batch=batch)


def on_device(device: str, inputs: np.ndarray, wanted: np.ndarray) -> tuple[tg.Tensor, Any]:
    """Both on a device, the inputs as a Tensor."""
    return tg.Tensor(to_device(inputs, device)), to_device(wanted, device)
