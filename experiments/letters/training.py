"""Training one net on one split of the letters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.data.warp import thickened, warped
from experiments.harness import Run
from experiments.vision import cnn
from tinygrad_hw import nn, optim
from tinygrad_hw.backend import to_device
from tinygrad_hw.random import Stream

from .nets import RECIPES, WATCHED, Recipe, Sizes, build

if TYPE_CHECKING:
    from experiments.notmnist import Config


@dataclass(frozen=True)
class Letters:
    """What a seed works with, on the host.

    Attributes:
        train_images, images: float32, N x 1 x 28 x 28, 0 paper to 1 ink; for training and for validation.
        train_labels, labels: int64, N.
        repeated: which validation letters are training letters, too: the very same picture.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    repeated: np.ndarray


@dataclass(frozen=True)
class Outcome:
    """A finished training.

    Attributes:
        net: as it was after the last epoch; of an ensemble, the first.
        probabilities: that it gives to the validation letters, float32, N x 10.
        loss, accuracy: on them.
        unseen_accuracy: on those whose picture is not among the training letters.
        curves: by value, per epoch; of single nets that are watched.
        seconds: that the training took.
    """

    net: nn.Sequential
    probabilities: np.ndarray
    loss: float
    accuracy: float
    unseen_accuracy: float
    curves: Mapping[str, np.ndarray]
    seconds: float


def sizes_of(config: "Config") -> Sizes:
    """The widths that the settings ask for."""
    return Sizes(config.dense, config.channels, config.hidden, config.dropout)


def augmented(images: np.ndarray, stream: Stream, config: "Config") -> np.ndarray:
    """Each letter with strokes of another thickness, moved, turned, enlarged and slanted, at random."""
    images = thickened(images, stream, config.thickness)
    return warped(images, stream, shift=config.shift, turn=config.turn, zoom=config.zoom, slant=config.slant)


class Learner:
    """A net under training; its first weights depend on the seed and its place in an ensemble, and on the shapes."""

    def __init__(self, run: "Run[Config]", seed: int, recipe: Recipe, steps: int, member: int = 0) -> None:
        self._config, self._recipe, self._device = run.config, recipe, run.device
        draws = f"{seed}.{member}" if member else f"{seed}"
        self._masks, self._changes = run.stream(f"dropout {draws}"), run.stream(f"augmentation {draws}")
        self.net = build(recipe, sizes_of(run.config), run.stream(f"init {draws}"), self._masks).to(device=run.device)
        self._optimizer: optim.Optimizer
        self._schedule: optim.OneCycleLR | None = None
        if recipe.starter:
            self._optimizer = optim.SGD(self.net.parameters(), lr=run.config.starter_learning_rate)
        else:
            self._optimizer = optim.Adam(self.net.parameters(), lr=run.config.learning_rate)
        if recipe.schedule:
            self._schedule = optim.OneCycleLR(self._optimizer, run.config.peak_learning_rate, steps)

    def tracked(self) -> dict[str, Any]:
        """What a step changes."""
        schedule = {"schedule": self._schedule} if self._schedule is not None else {}
        streams = {"masks": self._masks, "changes": self._changes}
        return {"net": self.net, "optimizer": self._optimizer, **schedule, **streams}

    def step(self, images: np.ndarray, labels: np.ndarray) -> float:
        """Makes one update and returns the loss before it."""
        if self._recipe.augmentation:
            images = augmented(images, self._changes, self._config)
        batch = cnn.batch_innermost(to_device(cnn.signed(images), self._device))
        loss = cnn.train_step(self.net, self._optimizer, batch, to_device(labels, self._device))
        if self._schedule is not None:
            self._schedule.step()
        return loss


def right(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Share of right answers."""
    return float((probabilities.argmax(axis=1) == labels).mean())


def cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean of - log p of the labels."""
    given = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(given, np.finfo(np.float32).tiny)).mean())


def loop_of(name: str, seed: int, member: int = 0) -> str:
    """What the training of a net is called, and its file."""
    return f"{name}-seed{seed}" + (f"-{member + 1}" if member else "")


def learn(run: "Run[Config]", name: str, seed: int, letters: Letters, member: int = 0) -> Outcome:
    """Trains the net of a recipe, or a further one like it for an ensemble, and reads the validation letters."""
    config, examples = run.config, len(letters.train_labels)
    epochs = config.starter_epochs if RECIPES[name].starter else config.epochs
    learner = Learner(run, seed, RECIPES[name], epochs * -(-examples // config.batch), member)
    called = loop_of(name, seed, member)
    loop = run.loop(called, learner.tracked(), epochs=epochs, examples=examples, batch=config.batch)
    held = cnn.Held.of(letters.images, letters.labels, run.device)
    for step in loop:
        images, labels = letters.train_images[step.indices], letters.train_labels[step.indices]
        step.mean(train_loss=learner.step(images, labels))
        if step.ends_epoch and name in WATCHED:
            loss, accuracy = held.measure(learner.net)
            step.log(loss=loss, accuracy=accuracy)
    curves = {value: loop.history(value) for value in ("train_loss", "loss", "accuracy") if name in WATCHED}
    return judged(learner.net, held.probabilities(learner.net), letters, curves, loop.seconds)


def together(outcomes: Sequence[Outcome], letters: Letters) -> Outcome:
    """An ensemble: the mean of the probabilities that its nets give (Hansen and Salamon 1990)."""
    given = np.mean([outcome.probabilities for outcome in outcomes], axis=0)
    return judged(outcomes[0].net, given, letters, {}, sum(outcome.seconds for outcome in outcomes))


def judged(
    net: nn.Sequential, given: np.ndarray, letters: Letters, curves: Mapping[str, np.ndarray], seconds: float
) -> Outcome:
    """An outcome, measured on the validation letters by the probabilities given to them."""
    new = ~letters.repeated
    loss, accuracy = cross_entropy(given, letters.labels), right(given, letters.labels)
    return Outcome(net, given, loss, accuracy, right(given[new], letters.labels[new]), curves, seconds)
