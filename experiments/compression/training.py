"""Digits in batches, nets in training, and nets with other weights made of them."""

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

import tinygrad_hw as tg
from experiments.harness import Loop, Run, Step
from tinygrad_hw import functional as F
from tinygrad_hw import nn, optim, versions
from tinygrad_hw.backend import Array, array_module, device_of, synchronize, to_device
from tinygrad_hw.nn import parametrize
from tinygrad_hw.random import Stream

SIDE = 28
Factors = tuple[Array, Array, Array]


@dataclass(frozen=True)
class Digits:
    """Digits on the device.

    Attributes:
        images: uint8, N x 28 x 28, or larger by a white rim.
        labels: int64, N.
    """

    images: Array
    labels: Array

    @classmethod
    def on(cls, device: str, images: np.ndarray, labels: np.ndarray, rim: int = 0) -> "Digits":
        """Digits moved to a device, with a rim of so many white pixels."""
        padded = np.pad(images, ((0, 0), (rim, rim), (rim, rim)))
        return cls(to_device(padded, device), to_device(labels, device))

    def batch(self, indices: np.ndarray, stream: Stream | None = None) -> tuple[tg.Tensor, Array]:
        """Some digits as float32 N x 784 from 0 to 1, each shifted within its rim as `stream` draws, and labels."""
        images, xp, device = self.images, array_module(self.images), device_of(self.images)
        chosen, play = to_device(indices, device), images.shape[1] - SIDE
        if play:
            assert stream is not None, "digits with a rim are shifted"
            corners = stream.integers(0, play + 1, (2, len(indices), 1), device=device)
            window = corners + xp.arange(SIDE)
            images = images[chosen[:, None, None], window[0][:, :, None], window[1][:, None, :]]
        else:
            images = images[chosen]
        return tg.Tensor(images.reshape(len(indices), -1).astype(np.float32) / 255), self.labels[chosen]

    def pieces(self, size: int = 2500) -> Iterator[tuple[tg.Tensor, Array]]:
        """All digits in order, in pieces."""
        for start in range(0, len(self.labels), size):
            yield self.batch(np.arange(start, min(start + size, len(self.labels))))


class Fading:
    """Lets the part of each weight fade that its projection drops: W <- W - c (W - P), before a step of the optimiser.

    It is a step down the gradient of |W - P|² / 2, beside the optimiser as AdamW's decay is.

    Args:
        net: its compressed layers seen through a projection.
    """

    def __init__(self, net: nn.Module) -> None:
        self._weights = {id(layer.parametrizations["weight"][0]): original(layer) for layer in compressed(net)}
        self._last: dict[int, Array] = {}
        for layer in compressed(net):
            layer.parametrizations["weight"][0].register_forward_hook(self._remember)

    def _remember(self, projection: nn.Module, arguments: tuple[Any, ...], output: tg.Tensor) -> None:
        if id(projection) in self._weights:  # not that of a copy of the net
            self._last[id(projection)] = output._data

    def __call__(self, share: float) -> None:
        """Once, after backward: uses up the projections that the forward pass has made."""
        for key, p in self._last.items():
            w = self._weights[key]._data
            array_module(w).subtract(p, w, out=p)
            p *= share
            w += p
            versions.note_write(w)
        self._last.clear()


class Learner:
    """A net, Adam, and a rate that falls to zero along half a cosine.

    Args:
        net: changed by `step`.
        learning_rate: to begin with.
        steps: that will be made.
        schedule: steps after which the rate is zero; the same, unless more are given.
        keep: whether the net is needed after its training; if not, a checkpoint forgets it then.
        fading: share of what the projections drop that fades in a step, over the learning rate.
    """

    def __init__(
        self,
        net: nn.Module,
        learning_rate: float,
        steps: int,
        *,
        schedule: int = 0,
        keep: bool = True,
        fading: float = 0.0,
    ) -> None:
        self.net = net
        self._keep, self._left = keep, steps
        self._fading, self._fade = fading, Fading(net) if fading else None
        self._optimizer = optim.Adam(net.parameters(), lr=learning_rate)
        self._schedule = optim.CosineAnnealingLR(self._optimizer, schedule or steps)

    def step(self, pixels: tg.Tensor, labels: Array) -> float:
        """Makes one update and returns the batch's mean cross-entropy before it."""
        self.net.train()
        loss = F.cross_entropy(self.net(pixels), labels)
        self._optimizer.zero_grad()
        loss.backward()
        if self._fade is not None:
            self._fade(min(1.0, self._fading * self._optimizer.param_groups[0]["lr"]))
        self._optimizer.step()
        self._schedule.step()
        self._left -= 1
        return float(loss.item())

    def state_dict(self) -> dict[str, Any]:
        """The state while training; after it the net alone, or nothing."""
        state: dict[str, Any] = {"left": self._left}
        if self._left or self._keep:
            state["net"] = self.net.state_dict()
        if self._left:
            state |= {"optimizer": self._optimizer.state_dict(), "schedule": self._schedule.state_dict()}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from such a state."""
        self._left = state["left"]
        for name, target in (("net", self.net), ("optimizer", self._optimizer), ("schedule", self._schedule)):
            if name in state:
                target.load_state_dict(state[name])


@dataclass(frozen=True)
class Training:
    """A finished training.

    Attributes:
        net: as trained (unspecified where it was not kept).
        loop: with its history: `train_loss` and `test_accuracy` per epoch.
        losses, seconds: of every step.
    """

    net: nn.Module
    loop: Loop
    losses: np.ndarray
    seconds: np.ndarray

    @property
    def accuracy(self) -> float:
        """On the test digits, after the last epoch."""
        return float(self.loop.history("test_accuracy")[-1])


def train(
    run: Run[Any],
    name: str,
    net: nn.Module,
    data: tuple[Digits, Digits],
    *,
    learning_rate: float,
    epochs: int = 1,
    steps: int = 0,
    schedule: int = 0,
    keep: bool = True,
    fading: float = 0.0,
    watch: Callable[[Step], None] | None = None,
    track: dict[str, Any] | None = None,
) -> Training:
    """Trains a net on shifted digits; trainings of as many epochs, and all of some steps, see the same batches.

    Args:
        run: `config.batch` is the size of its batches.
        name: of the loop.
        net: changed.
        data: training and test digits.
        learning_rate: of Adam at the beginning.
        epochs: passes over the training digits.
        steps: so many steps through the training digits in their order, instead.
        schedule, keep, fading: as of `Learner`.
        watch: called before every step.
        track: what `watch` changes.
    """
    digits, test = data
    examples, batch = (steps, 1) if steps else (len(digits.labels), run.config.batch)
    count = steps or epochs * -(-examples // batch)
    learner = Learner(net, learning_rate, count, schedule=schedule, keep=keep, fading=fading)
    shifts = run.stream("shifts")
    losses, seconds = np.zeros(count), np.zeros(count)
    tracked = {"learner": learner, "shifts": shifts, "losses": losses, "seconds": seconds, **(track or {})}
    loop = run.loop(name, tracked, epochs=epochs, examples=examples, batch=batch)
    for step in loop:
        if watch is not None:
            watch(step)
        indices = step.index * run.config.batch + np.arange(run.config.batch) if steps else step.indices
        pixels, labels = digits.batch(indices, shifts)
        began = time.perf_counter()
        losses[step.index] = learner.step(pixels, labels)
        synchronize(run.device)
        seconds[step.index] = time.perf_counter() - began
        step.mean(train_loss=losses[step.index])
        if step.ends_epoch:
            step.log(test_accuracy=accuracy(plain(net), test))
    return Training(net, loop, losses, seconds)


def accuracy(net: nn.Module, digits: Digits) -> float:
    """Share of right answers."""
    right = 0
    net.eval()
    with tg.no_grad():
        for pixels, labels in digits.pieces():
            right += int((net(pixels)._data.argmax(axis=1) == labels).sum())
    return right / len(digits.labels)


# ------------------------------------------------------------------------------------------------------- nets


def dense(inputs: int, hidden: int, layers: int, outputs: int) -> nn.Sequential:
    """Fully connected, `layers` of `hidden` rectified linear units between inputs and outputs."""
    pairs = pairwise([inputs, *[hidden] * layers])
    modules: list[nn.Module] = [module for a, b in pairs for module in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*modules, nn.Linear(hidden, outputs))


def thin(inputs: int, hidden: int, layers: int, outputs: int, rank: int) -> nn.Sequential:
    """The same with two factors of a rank in place of every weight but the last, as `factored` makes it."""
    modules: list[nn.Module] = []
    for a, b in pairwise([inputs, *[hidden] * layers]):
        modules += [nn.LowRankLinear(a, b, rank), nn.ReLU()]
    return nn.Sequential(*modules, nn.Linear(hidden, outputs))


def compressed(net: nn.Module) -> list[nn.Linear]:
    """The layers whose weights are compressed: all but the last, which is small already."""
    return [module for module in net.children() if isinstance(module, nn.Linear)][:-1]


def original(layer: nn.Linear) -> tg.Tensor:
    """The weight that is learned, whatever the layer computes with."""
    found: tg.Tensor = (
        layer.parametrizations["weight"].original if parametrize.is_parametrized(layer, "weight") else layer.weight
    )
    return found


def decomposed(net: nn.Module) -> list[Factors]:
    """U, s and V' of every compressed layer's weight, by LAPACK."""
    return [F.svd(original(layer)._data) for layer in compressed(net)]


def factored(net: nn.Module, factors: list[Factors], rank: int) -> nn.Sequential:
    """The net with two thin layers, U and S V', in place of each compressed one; the others copied."""
    remaining = dict(zip(map(id, compressed(net)), factors, strict=True))
    modules: list[nn.Module] = []
    for module in net.children():
        if id(module) in remaining:
            assert isinstance(module, nn.Linear)
            u, s, vt = remaining[id(module)]
            modules.append(nn.LowRankLinear.from_factors(u[:, :rank], s[:rank, None] * vt[:rank], module.bias))
        else:
            modules.append(copy.deepcopy(module))
    return nn.Sequential(*modules)


def seen_through(net: nn.Module, make: Callable[[nn.Linear], Callable[[tg.Tensor], tg.Tensor]]) -> nn.Module:
    """A copy whose compressed layers compute with their weights seen through what `make` gives for each."""
    twin = copy.deepcopy(net)
    for layer in compressed(twin):
        parametrize.register_parametrization(layer, "weight", make(layer))
    return twin


def plain(net: nn.Module) -> nn.Module:
    """A copy with ordinary weights, those that the net computes with now."""
    twin = copy.deepcopy(net).eval()
    for layer in compressed(twin):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight")
    return twin


def size(net: nn.Module) -> int:
    """Number of weights and biases."""
    return sum(parameter.size for parameter in net.parameters())
