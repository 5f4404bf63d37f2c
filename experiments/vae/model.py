"""A variational auto-encoder of fully connected layers.

Source: D. P. Kingma, M. Welling, "Auto-encoding variational Bayes", ICLR 2014.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from tinygrad_hw import Tensor, nn, no_grad
from tinygrad_hw import functional as F
from tinygrad_hw.backend import Array, to_device
from tinygrad_hw.random import Stream


def layers(sizes: Sequence[int], stream: Stream) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    parts: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        parts += [nn.Linear(inputs, outputs, stream=stream), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


class VAE(nn.Module):
    """Pictures to codes and back.

    The encoder is the sum of a linear map and a net that begins at zero: the first codes are projections of the
    picture, from which the net departs. With the net alone, more often than not, a code begins as a tangle that lays
    pictures side by side that have little to do with each other, and stays one.

    Args:
        pixels: of a picture.
        hidden: sizes of the hidden layers of the encoder; the decoder has them in reverse.
        latent: size K of the code.
        stream: where the weights are drawn.
    """

    def __init__(self, pixels: int, hidden: Sequence[int], latent: int, stream: Stream) -> None:
        super().__init__()
        self.latent = latent
        self.projection = nn.Linear(pixels, 2 * latent, stream=stream)
        self.encoder = layers([pixels, *hidden, 2 * latent], stream)
        self.decoder = layers([latent, *reversed(hidden), pixels], stream)
        last = self.encoder[-1]
        for parameter in last.parameters():
            nn.init.zeros_(parameter)

    def encode(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """N x pixels, 0 to 1 -> mean and logarithm of the variance of the code, each N x K."""
        code = self.projection(pictures) + self.encoder(pictures)
        return code[:, : self.latent], code[:, self.latent :]

    def decode(self, codes: Tensor) -> Tensor:
        """N x K -> the logits of the pixels, N x pixels."""
        return self.decoder(codes)

    def bound(self, pictures: Tensor, noise: Array, used: Array) -> tuple[Tensor, Tensor]:
        """The two terms of the variational bound on -log p(x), in nats, means over the pictures.

        Args:
            pictures: N x pixels, 0 to 1.
            noise: standard normal, N x K.
            used: K, 1 for dimensions in use; the others are 0 for every picture, and cost nothing.

        Returns:
            The cross-entropy of the pixels given one code drawn for each picture, and the divergence of the codes'
            distribution from the standard normal one.
        """
        chosen = Tensor(used)
        mean, log_variance = (part * chosen for part in self.encode(pictures))
        # Reparametrisation: the draw is a function of the mean and the variance, so that both have a gradient.
        codes = mean + Tensor(noise * used) * F.exp(0.5 * log_variance)
        total = F.binary_cross_entropy_with_logits(self.decode(codes), pictures, reduction="sum")
        return total / len(pictures.data), F.gaussian_kl(mean, log_variance)


class Renderer:
    """A VAE as functions from NumPy arrays to NumPy arrays, without a tape.

    Args:
        vae: as trained.
        device: where it lives.
        side: of a picture, in pixels.
    """

    def __init__(self, vae: VAE, device: str, side: int) -> None:
        self._vae, self._device, self._side = vae, device, side

    def means(self, pictures: np.ndarray) -> np.ndarray:
        """N x side x side -> the means of the codes, N x K."""
        with no_grad():
            mean, _ = self._vae.encode(self._tensor(pictures.reshape(len(pictures), -1)))
        return mean.numpy()

    def draw(self, codes: np.ndarray) -> np.ndarray:
        """N x K -> pictures, N x side x side, 0 to 1."""
        with no_grad():
            pixels = F.sigmoid(self._vae.decode(self._tensor(codes)))
        return pixels.numpy().astype(np.float64).reshape(-1, self._side, self._side)

    def _tensor(self, values: np.ndarray) -> Tensor:
        return Tensor(to_device(values.astype(np.float32), self._device))
