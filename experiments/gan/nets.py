"""The two nets: a generator from noise and a condition to a picture, a discriminator from both to a number."""

from collections.abc import Sequence
from itertools import pairwise

from tinygrad_hw import Tensor, nn, no_grad
from tinygrad_hw import functional as F
from tinygrad_hw.backend import Array
from tinygrad_hw.random import Stream

SLOPE = 0.2  # of the discriminator's units below zero: what it rejects must still tell the generator where to go


class Generator(nn.Module):
    """Noise beside a condition, linear layers with ReLU between them, tanh at the end.

    Args:
        sizes: noise, then hidden layers, then pixels.
        condition: columns beside the noise.
        stream: where the first weights are drawn.
    """

    def __init__(self, sizes: Sequence[int], condition: int, stream: Stream) -> None:
        super().__init__()
        noise, *rest = sizes
        self.noise = noise
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([noise + condition, *rest]):
            layers += [nn.Linear(inputs, outputs, stream=stream), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1], nn.Tanh())

    def forward(self, noise: Array, condition: Array) -> Tensor:
        """N x noise, N x condition -> pictures from -1 to 1, N x pixels."""
        made: Tensor = self.layers(F.concatenate([Tensor(noise), Tensor(condition)], axis=1))
        return made


class Discriminator(nn.Module):
    """A picture beside a condition, or a picture alone; linear layers with leaky ReLU and dropout between them.

    Args:
        sizes: pixels, then hidden layers; one output follows.
        condition: columns beside the pixels; 0 for none.
        dropout: share of each hidden layer left out in training.
        init: where the first weights are drawn.
        masks: where the dropout masks are drawn.
    """

    def __init__(self, sizes: Sequence[int], condition: int, dropout: float, init: Stream, masks: Stream) -> None:
        super().__init__()
        pixels, *hidden = sizes
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([pixels + condition, *hidden, 1]):
            layers += [nn.Linear(inputs, outputs, stream=init), nn.LeakyReLU(SLOPE), nn.Dropout(dropout, stream=masks)]
        self.layers = nn.Sequential(*layers[:-2])

    def forward(self, pictures: Tensor, condition: Array | None) -> Tensor:
        """N x pixels, N x condition (None for none) -> N x 1: above 0 for real, before any sigmoid."""
        seen = pictures if condition is None else F.concatenate([pictures, Tensor(condition)], axis=1)
        judged: Tensor = self.layers(seen)
        return judged


def spread(generator: Generator, stream: Stream) -> None:
    """Draws the first weights anew as K. He and others ("Delving deep into rectifiers", ICCV 2015), biases at zero.

    Through the layers' usual first weights a sixth of the variance passes, layer by layer, so that a generator begins
    by drawing the same picture for all noise and takes long to leave it.
    """
    for layer in generator.layers.children():
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", stream=stream)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def amplify(net: Generator | Discriminator, condition: int, gain: float) -> None:
    """Multiplies the first weights of the condition's columns by a gain.

    A class is a single 1 beside 100 numbers of noise or 784 pixels. With equal weights it begins with so little say
    that the discriminator learns to do without it, and then nothing tells the generator to mind it.
    """
    first = net.layers[0]
    with no_grad():
        first.weight[:, -condition:] *= gain
