"""The training steps that every engine is timed on, each defined once: numbers in, network, loss, counts.

A workload says what is computed in terms of a few operations (:class:`~benchmarks.workload.Ops`) that each engine
brings in its own form, so the engines cannot drift apart. A step is whole: gradients zeroed, forward, loss, backward,
update.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.convolutional import Convolutional
from benchmarks.recurrent import Masking, Siamese
from benchmarks.workload import WORD, Arrays, Counts, Named, Ops, Workload, chain, update


@dataclass(frozen=True)
class Dense(Workload):
    """A classifier of dense layers under cross-entropy.

    With a ``rank``, every weight but the last is replaced in the forward pass by its projection on that rank (its
    truncated singular value decomposition), whose derivative is taken to be the identity (straight-through). Its
    weights then start with singular values that fall by a tenth each, as in a trained net, rather than level as in a
    random one.
    """

    sizes: tuple[int, ...] = (784, 100, 50, 10)
    activations: tuple[str, ...] = ("sigmoid", "relu")
    rank: int = 0

    def layers(self) -> dict[str, tuple[int, int]]:
        return {f"layer{i}": pair for i, pair in enumerate(pairwise(self.sizes))}

    def initial(self) -> Arrays:
        found = super().initial()
        if self.rank:
            for layer in list(self.layers())[:-1]:
                u, s, vt = np.linalg.svd(found[f"{layer}.weight"], full_matrices=False)
                falling = np.maximum(0.9 ** np.arange(len(s)), 0.01)
                s *= falling * (np.linalg.norm(s) / np.linalg.norm(s * falling))
                found[f"{layer}.weight"] = ((u * s) @ vt).astype(np.float32)
        return found

    def inputs(self) -> Arrays:
        draw = self.generator("batch")
        return {
            "x": draw.random((self.batch, self.sizes[0]), np.float32),
            "labels": draw.integers(0, self.sizes[-1], self.batch),
        }

    def loss(self, ops: Ops, params: Named, inputs: Named) -> Any:
        return ops.cross_entropy(self.logits(ops, params, inputs["x"]), inputs["labels"])

    def logits(self, ops: Ops, params: Named, x: Any) -> Any:
        """The scores (batch, classes) of images (batch, pixels)."""
        for i, layer in enumerate(self.layers()):
            weight = params[f"{layer}.weight"]
            if self.rank and i < len(self.activations):
                weight = ops.project(layer, weight, self.rank)
            x = ops.linear(x, weight, params[f"{layer}.bias"])
            if i < len(self.activations):
                x = getattr(ops, self.activations[i])(x)
        return x

    def counts(self) -> Counts:
        parameters = sum(n * m + m for n, m in pairwise(self.sizes))
        total = chain(self.batch, self.sizes) + update(self.optimizer, parameters)
        for n, m in list(pairwise(self.sizes))[:-1] if self.rank else ():
            # U, s and V of n x m: Golub & Van Loan, "Matrix computations", 4th edition, figure 8.6.1 (R-SVD)
            high, wide = max(n, m), min(n, m)
            svd = 6 * high * wide**2 + 20 * wide**3
            total += Counts(svd + 2 * n * m * self.rank, 4 * n * m * WORD, 0)
        return total


@dataclass(frozen=True)
class Vae(Workload):
    """A variational auto-encoder: pixels-...-latent and back; the noise is an input.

    Loss: binary cross-entropy, summed over pixels, plus the Gaussian divergence, both a mean over the batch.
    """

    sizes: tuple[int, ...] = (784, 512, 256)
    latent: int = 3

    def layers(self) -> dict[str, tuple[int, int]]:
        found = {f"encoder{i}": pair for i, pair in enumerate(pairwise(self.sizes))}
        found["mu"] = found["logvar"] = (self.sizes[-1], self.latent)
        back = (self.latent, *reversed(self.sizes))
        return found | {f"decoder{i}": pair for i, pair in enumerate(pairwise(back))}

    def inputs(self) -> Arrays:
        draw = self.generator("batch")
        return {
            "x": draw.random((self.batch, self.sizes[0]), np.float32),
            "noise": draw.standard_normal((self.batch, self.latent)).astype(np.float32),
        }

    def loss(self, ops: Ops, params: Named, inputs: Named) -> Any:
        h, depth = inputs["x"], len(self.sizes)
        for i in range(depth - 1):
            h = ops.relu(_layer(ops, params, f"encoder{i}", h))
        mu, logvar = (_layer(ops, params, head, h) for head in ("mu", "logvar"))
        h = mu + ops.exp(ops.scale(logvar, 0.5)) * inputs["noise"]
        for i in range(depth):
            h = _layer(ops, params, f"decoder{i}", h)
            if i < depth - 1:
                h = ops.relu(h)
        each = ops.binary_cross_entropy_with_logits(h, inputs["x"])
        return ops.scale(each, self.sizes[0]) + ops.gaussian_kl(mu, logvar)

    def counts(self) -> Counts:
        parameters = sum(n * m + m for n, m in self.layers().values())
        return (
            chain(self.batch, (*self.sizes, 2 * self.latent))
            + chain(self.batch, (self.latent, *reversed(self.sizes)), first_input=True)
            + update(self.optimizer, parameters)
        )


@dataclass(frozen=True)
class Gan(Workload):
    """One step of a conditional GAN: the discriminator's update, then the generator's, on one batch of fakes.

    The generator takes noise and class side by side; the discriminator pixels and class. Targets are 0.9 for real and
    0.1 for fake, so that the discriminator does not saturate over many steps. No dropout: every engine then computes
    the same numbers. An engine runs the two halves itself: :meth:`generate`, :meth:`judged_apart` with the fakes as
    constants and the discriminator's parameters updated, :meth:`judged_real` with the generator's.
    """

    generator_sizes: tuple[int, ...] = (110, 200, 400, 784)
    discriminator_sizes: tuple[int, ...] = (794, 400, 200, 100, 1)
    classes: int = 10

    def layers(self) -> dict[str, tuple[int, int]]:
        found = {f"generator{i}": pair for i, pair in enumerate(pairwise(self.generator_sizes))}
        return found | {f"discriminator{i}": pair for i, pair in enumerate(pairwise(self.discriminator_sizes))}

    def groups(self) -> dict[str, list[str]]:
        (names,) = super().groups().values()
        return {who: [name for name in names if name.startswith(who)] for who in ("discriminator", "generator")}

    def inputs(self) -> Arrays:
        draw = self.generator("batch")
        classes = np.eye(self.classes, dtype=np.float32)[np.arange(self.batch) % self.classes]
        pixels = self.generator_sizes[-1]
        noise = draw.standard_normal((self.batch, self.generator_sizes[0] - self.classes)).astype(np.float32)
        real = draw.uniform(-1, 1, (self.batch, pixels)).astype(np.float32)
        side = np.full((self.batch, 1), 0.9, np.float32)
        return {
            "noise": np.concatenate([noise, classes], axis=1),
            "real": np.concatenate([real, classes], axis=1),
            "classes": classes,
            "apart": np.concatenate([side, 1 - side]),
            "as_real": side,
        }

    def generate(self, ops: Ops, params: Named, inputs: Named) -> Any:
        """Fake images (batch, pixels) in [-1, 1]."""
        h, depth = inputs["noise"], len(self.generator_sizes) - 1
        for i in range(depth):
            h = _layer(ops, params, f"generator{i}", h)
            h = ops.relu(h) if i < depth - 1 else ops.tanh(h)
        return h

    def _judge(self, ops: Ops, params: Named, images: Any) -> Any:
        depth = len(self.discriminator_sizes) - 1
        for i in range(depth):
            images = _layer(ops, params, f"discriminator{i}", images)
            if i < depth - 1:
                images = ops.relu(images)
        return images

    def judged_apart(self, ops: Ops, params: Named, fakes: Any, inputs: Named) -> Any:
        """The discriminator's loss."""
        labelled = ops.concatenate([fakes, inputs["classes"]], 1)
        logits = self._judge(ops, params, ops.concatenate([inputs["real"], labelled], 0))
        return ops.binary_cross_entropy_with_logits(logits, inputs["apart"])

    def judged_real(self, ops: Ops, params: Named, fakes: Any, inputs: Named) -> Any:
        """The generator's loss."""
        logits = self._judge(ops, params, ops.concatenate([fakes, inputs["classes"]], 1))
        return ops.binary_cross_entropy_with_logits(logits, inputs["as_real"])

    def counts(self) -> Counts:
        parameters = sum(n * m + m for n, m in self.layers().values())
        return (
            chain(self.batch, self.generator_sizes)
            + chain(2 * self.batch, self.discriminator_sizes)
            + chain(self.batch, self.discriminator_sizes, learned=False, first_input=True)
            + update(self.optimizer, parameters)
        )


def _layer(ops: Ops, params: Named, name: str, x: Any) -> Any:
    return ops.linear(x, params[f"{name}.weight"], params[f"{name}.bias"])


def dense(name: str, width: int, depth: int, batch: int, rank: int = 0) -> Dense:
    """784 to ``depth`` hidden layers of ``width`` ReLU units to 10 classes, Adam."""
    title = f"784-{width}x{depth}-10 ReLU, batch {batch}, Adam"
    title += f", {depth} weights projected on rank {rank}" if rank else ""
    return Dense(name, title, batch, "adam", 1e-4, 0, (784, *(width,) * depth, 10), ("relu",) * depth, rank)


CIFAR = ("conv10@5", "relu", "pool2", "conv10@5", "relu", "pool2", "flatten", "dense20", "relu", "dense10")
NOTMNIST = (
    *("conv32@3 same", "norm", "relu", "conv32@3 same", "norm", "relu", "pool2"),
    *("conv64@3 same", "norm", "relu", "conv64@3 same", "norm", "relu", "pool2"),
    *("flatten", "dropout", "dense256", "relu", "dropout", "dense10"),
)
WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        Dense("w1", "784-100-50-10, batch 128, SGD", 128, "sgd", 0.1),
        dense("w2", 1024, 5, 128),
        dense("w5", 1024, 5, 128, rank=20),
        Vae("w6", "VAE 784-512-256-3 and back, batch 128, Adam", 128, "adam", 1e-4),
        Gan("w7", "conditional GAN, both updates, batch 100, Adam", 100, "adam", 1e-4),
        Convolutional(
            "w3", "CIFAR CNN 10@5-pool-10@5-pool-20-10, batch 128, Adam", 128, "adam", 1e-3, 0, CIFAR, (3, 32, 32)
        ),
        Convolutional(
            "w9", "notMNIST CNN 32-32-pool-64-64-pool-256-10, batch norm, dropout, batch 128, Adam",
            128, "adam", 1e-4, 0, NOTMNIST, (1, 28, 28), 0.5,
        ),
        Masking("w4-gru", "GRU 513-256-513, 10 sequences of 100 frames, Adam", 10, "adam", 1e-3, 0, "gru"),
        Masking("w4-lstm", "LSTM 513-256-513, 10 sequences of 100 frames, Adam", 10, "adam", 1e-3, 0, "lstm"),
        Siamese("w8", "Siamese GRU 513-128-64, 32 pairs of sequences of 32 frames, Adam", 32, "adam", 1e-3),
    )
}  # fmt: skip
TOGETHER = {"w4": ["w4-gru", "w4-lstm"]}  # what a name on the command line stands for, if not for itself alone
_KINDS: dict[str, Any] = {kind.__name__: kind for kind in (Dense, Vae, Gan, Convolutional, Masking, Siamese)}


def from_description(settings: Mapping[str, Any]) -> Workload:
    """The workload that ``describe`` described, here or in another process (JSON makes lists of tuples)."""
    given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    made: Workload = _KINDS[given.pop("kind")](**given)
    return made


def nearest(what: str, name: str, known: Sequence[str]) -> str:
    """The words for a name that is not among ``known``: ``unknown workload 'w11'; did you mean 'w1'?``."""
    close = difflib.get_close_matches(name, known, 1, 0.4)
    return f"unknown {what} {name!r}; " + (f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}")
