"""Training in three stages: one dimension, from several starts; all dimensions; all, beside untouched pictures.

1. *Starts.* One dimension alone learns the strongest thing there is to say about a picture, from pictures that are
   blurred first and less and less then: pictures that differ much in sharp strokes are close to their neighbours in
   blurred ones, and the code need not fold. It may still end as one that turns back on itself; that costs
   reconstruction, so a few starts on part of the pictures are compared by their loss, and the best goes on.
2. *Dimensions.* All K dimensions learn, with the plain variational bound.
3. *Contrast.* The plain bound has no reason to keep what was done to the pictures apart from how they differ by
   nature: a code may follow the sum of applied rotation and natural slant. So untouched pictures learn beside the
   others, with the dimension that is suspected of carrying the effect held at 0: what they differ in must be said by
   the other dimensions, and what they do not differ in moves into this one, so that even a wrong suspicion comes true
   (after A. Abid, J. Zou, "Contrastive variational autoencoder enhances salient features", 2019).
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from experiments.harness import Loop, Run
from tinygrad_hw import Tensor, no_grad, optim
from tinygrad_hw.backend import Array, to_device
from tinygrad_hw.random import Stream

from .model import VAE

BLUR = 4.0  # pixels, standard deviation, when a start begins
SHARP = 0.8  # of a start: from here on nothing is blurred


@dataclass(frozen=True)
class Plan:
    """How to train.

    Attributes:
        latent, hidden: of the VAE.
        batch, learning_rate: of every stage; the rate falls to zero along a cosine in stages 2 and 3.
        starts, start_epochs, start_examples: of stage 1.
        epochs, contrast_epochs: of stages 2 and 3.
        contrast_weight: of the untouched pictures' loss.
    """

    latent: int
    hidden: tuple[int, ...]
    batch: int
    learning_rate: float
    starts: int
    start_epochs: int
    start_examples: int
    epochs: int
    contrast_epochs: int
    contrast_weight: float


@dataclass(frozen=True)
class Beside:
    """Untouched pictures that learn beside the others in stage 3.

    Attributes:
        pictures: float32, M x pixels, on the device.
        used: K, float32, on the device: 0 for the dimension that carries the effect, else 1.
        weight: of their loss.
    """

    pictures: Array
    used: Array
    weight: float


class Trainer:
    """Trains VAEs.

    Args:
        run: whose loops, streams and device are used.
        plan: see Plan.
        train, test: float32, N x pixels, 0 to 1, on the device.
    """

    def __init__(self, run: Run, plan: Plan, train: Array, test: Array) -> None:
        self._run, self._plan, self._train, self._test = run, plan, train, test
        self.loops: dict[str, Loop] = {}

    def start(self) -> VAE:
        """Stage 1: the best of several one-dimensional beginnings."""
        run, plan = self._run, self._plan
        count = min(plan.start_examples, len(self._train))
        part = self._train[self._placed(np.linspace(0, len(self._train) - 1, count).round().astype(np.int64))]
        first = self._placed((np.arange(plan.latent) == 0).astype(np.float32))
        made = []
        for number in range(1, plan.starts + 1):
            vae = VAE(self._train.shape[1], plan.hidden, plan.latent, run.stream(f"init {number}"))
            vae.to(device=run.device)
            self._learn(f"start {number}", vae, part, plan.start_epochs, first, opening=True)
            made.append(vae)
        losses = [self.loops[f"start {number}"].history("loss")[-1] for number in range(1, plan.starts + 1)]
        return made[int(np.argmin(losses))]

    def grow(self, vae: VAE) -> None:
        """Stage 2: all dimensions."""
        every = self._placed(np.ones(vae.latent, np.float32))
        self._learn("dimensions", vae, self._train, self._plan.epochs, every)

    def contrast(self, vae: VAE, untouched: Array, dimension: int) -> None:
        """Stage 3: beside untouched pictures, for which a dimension is held at 0."""
        used = self._placed((np.arange(vae.latent) != dimension).astype(np.float32))
        beside = Beside(untouched, used, self._plan.contrast_weight)
        every = self._placed(np.ones(vae.latent, np.float32))
        self._learn("contrast", vae, self._train, self._plan.contrast_epochs, every, beside=beside)

    def _learn(
        self,
        name: str,
        vae: VAE,
        pictures: Array,
        epochs: int,
        used: Array,
        *,
        opening: bool = False,
        beside: Beside | None = None,
    ) -> None:
        """One loop. `opening`: pictures are blurred first, and those for testing left alone."""
        run, plan = self._run, self._plan
        optimizer = optim.Adam(vae.parameters(), lr=plan.learning_rate)
        noise, picks = run.stream(f"noise/{name}"), run.stream(f"untouched/{name}")
        track = {"vae": vae, "optimizer": optimizer, "noise": noise, "picks": picks}
        batch = min(plan.batch, len(pictures))
        loop = self.loops[name] = run.loop(name, track, epochs=epochs, examples=len(pictures), batch=batch)
        for step in loop:
            progress = step.index / loop.steps
            falling = 1.0 if opening else 0.5 + 0.5 * math.cos(math.pi * progress)
            optimizer.param_groups[0]["lr"] = plan.learning_rate * falling
            chosen = pictures[self._placed(step.indices)]
            if opening and progress < SHARP:
                chosen = self._blurred(chosen, BLUR * (1 - progress / SHARP))
            reconstruction, divergence = vae.bound(Tensor(chosen), self._noise(noise, len(chosen), vae), used)
            loss = reconstruction + divergence
            if beside is not None:
                some = beside.pictures[self._placed(picks.integers(0, len(beside.pictures), batch // 2 or 1))]
                terms = vae.bound(Tensor(some), self._noise(noise, len(some), vae), beside.used)
                loss = loss + beside.weight * (terms[0] + terms[1])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            values = float(reconstruction.item()), float(divergence.item())
            step.mean(loss=sum(values), reconstruction=values[0], divergence=values[1])
            if step.ends_epoch and not opening:
                step.log(test_loss=self.test_loss(vae))

    def test_loss(self, vae: VAE) -> float:
        """The bound on the test pictures, in nats a picture, with the same noise each time."""
        noise = Stream(self._run.seed, "test noise")
        used = self._placed(np.ones(vae.latent, np.float32))
        with no_grad():
            terms = vae.bound(Tensor(self._test), self._noise(noise, len(self._test), vae), used)
        return float(terms[0].item()) + float(terms[1].item())

    def _blurred(self, pictures: Array, width: float) -> Array:
        """N x pixels -> the same, blurred by a normal distribution of that standard deviation in pixels."""
        side = math.isqrt(pictures.shape[1])
        mix = self._placed(ndimage.gaussian_filter1d(np.eye(side), width, axis=0).astype(np.float32))
        return (mix @ pictures.reshape(-1, side, side) @ mix.T).reshape(pictures.shape)

    def _noise(self, stream: Stream, count: int, vae: VAE) -> Array:
        return stream.normal((count, vae.latent), device=self._run.device)

    def _placed(self, array: np.ndarray) -> Array:
        return to_device(array, self._run.device)
