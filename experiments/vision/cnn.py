"""The small convolutional net of the CIFAR-10 problems, its training step, and pictures held ready for measuring it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import tinygrad_hw as tg
from tinygrad_hw import functional as F
from tinygrad_hw import nn, optim
from tinygrad_hw.backend import Array, array_module, to_device, to_numpy
from tinygrad_hw.random import Stream

PIECE = 1000  # pictures that are measured at once


def new_net(classes: int, init: Stream, device: str) -> nn.Sequential:
    """Two convolutions of 10 kernels of 5 x 5, each pooled 2 x 2 and rectified, then 640-20-classes.

    Pictures and maps are padded by two, so 32 x 32 pictures become maps of 32 x 32, 16 x 16, 16 x 16 and 8 x 8. Pooling
    before the rectifier gives what pooling after it gives, and leaves the rectifier a quarter of the work. All weights
    are normal with the variance of He and others (2015), 2 / inputs; biases are zero.
    """
    layers = nn.Sequential(
        nn.Conv2d(3, 10, 5, padding="same"),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(10, 10, 5, padding="same"),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(640, 20),
        nn.ReLU(),
        nn.Linear(20, classes),
    )
    for name, parameter in layers.named_parameters():
        if name.endswith("weight"):
            nn.init.kaiming_normal_(parameter, nonlinearity="relu", stream=init)
        else:
            nn.init.zeros_(parameter)
    return layers.to(device=device)


def signed(images: np.ndarray) -> np.ndarray:
    """uint8 from 0 to 255, or real numbers from 0 to 1, as float32 from -1 to 1; ValueError for negative ones."""
    if images.size and images.min() < 0:
        raise ValueError(f"signed: values from {images.min():g}, expected 0 to 1")
    scaled = images.astype(np.float32)
    scaled *= 2 / 255 if images.dtype == np.uint8 else 2
    scaled -= 1
    return scaled


def batch_innermost(images: Array) -> Array:
    """The same N x C x H x W pictures with neighbouring pictures side by side in memory, as convolutions like them."""
    return array_module(images).ascontiguousarray(images.transpose(1, 2, 3, 0)).transpose(3, 0, 1, 2)


def train_step(net: nn.Module, optimizer: optim.Optimizer, images: Array, labels: Array) -> float:
    """Makes one update and returns the mean cross-entropy before it."""
    loss = F.cross_entropy(net(tg.Tensor(images)), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.item())


@dataclass(frozen=True)
class Held:
    """Pictures held ready in pieces, laid out and scaled for the net.

    Attributes:
        pieces: each n x 3 x 32 x 32, float32 from -1 to 1, on the device.
        labels: of all pictures in the same order, int64 N.
    """

    pieces: Sequence[Array]
    labels: np.ndarray

    @classmethod
    def of(cls, images: np.ndarray, labels: np.ndarray, device: str) -> "Held":
        """From pictures as `signed` takes them."""
        cuts = range(0, len(images), PIECE)
        pieces = [batch_innermost(to_device(signed(images[cut : cut + PIECE]), device)) for cut in cuts]
        return cls(pieces, labels)

    def logits(self, net: nn.Module) -> np.ndarray:
        """What the net makes of all of them, N x classes."""
        net.eval()
        with tg.no_grad():
            made = [to_numpy(net(tg.Tensor(piece)).data) for piece in self.pieces]
        net.train()
        return np.concatenate(made)

    def probabilities(self, net: nn.Module) -> np.ndarray:
        """The softmax of the logits, N x classes."""
        logits = self.logits(net)
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    def measure(self, net: nn.Module) -> tuple[float, float]:
        """Mean cross-entropy and share of right answers."""
        logits = self.logits(net).astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(logits)), self.labels]
        return float(losses.mean()), float((logits.argmax(axis=1) == self.labels).mean())


def first_maps(net: nn.Sequential, images: np.ndarray, device: str) -> np.ndarray:
    """The rectified maps of the first layer, N x 10 x 32 x 32, for pictures as `signed` takes them."""
    with tg.no_grad():
        maps = F.relu(net[0](tg.Tensor(to_device(signed(images), device))))
    return to_numpy(maps.data)
