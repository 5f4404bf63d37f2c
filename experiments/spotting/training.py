"""Training a net with a recipe for its batches, and asking it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import tinygrad_hw as tg
from experiments.data.audio.keywords import SILENCE, UNKNOWN, Clips, Keywords
from experiments.harness import Run
from experiments.vision import cnn
from tinygrad_hw import nn, optim
from tinygrad_hw.backend import to_device, to_numpy
from tinygrad_hw.random import Stream

from .batches import RECIPES, Batch, Maker, Strengths, ratio_gains, stretches
from .nets import build, frames, heard, masked

if TYPE_CHECKING:
    from experiments.keyword_spotting import Config

PIECE = 500  # sounds that are heard at once
WATCHED = ("all", "none")  # asked about the validation clips after every epoch, for curves


@dataclass(frozen=True)
class Questions:
    """Sounds to be asked about, ready for the net.

    Attributes:
        held: what is heard of them, and their labels.
        spoken: which of them are keywords: neither other words nor silence.
    """

    held: cnn.Held
    spoken: np.ndarray

    @classmethod
    def of(cls, sounds: np.ndarray, labels: np.ndarray, data: Keywords, device: str) -> "Questions":
        """From N x samples."""
        pieces = [
            cnn.batch_innermost(to_device(heard(sounds[cut : cut + PIECE], data.rate), device))
            for cut in range(0, len(sounds), PIECE)
        ]
        others = [data.names.index(name) for name in (UNKNOWN, SILENCE)]
        return cls(cnn.Held(pieces, labels), ~np.isin(labels, others))

    def right(self, answers: np.ndarray) -> tuple[float, float]:
        """Share of right answers, and that among the keywords."""
        found = answers == self.held.labels
        return float(found.mean()), float(found[self.spoken].mean())


def in_noise(clips: Clips, data: Keywords, ratio: float, stream: Stream) -> np.ndarray:
    """Every clip with a stretch of this part's noises, speech to noise in a ratio in decibels; silence as it is."""
    pieces = stretches(list(clips.backgrounds.values()), clips.clips, stream)
    gains = np.where(clips.labels == data.names.index(SILENCE), 0.0, ratio_gains(clips.clips, pieces, ratio))
    return np.asarray(clips.clips + pieces * gains[:, None].astype(np.float32))


@dataclass(frozen=True)
class Outcome:
    """A finished training.

    Attributes:
        net: as it was after the last epoch.
        logits: by kind of test, N x classes.
        curves: by value, per epoch; of watched recipes alone.
        seconds: that the training took.
    """

    net: nn.Sequential
    logits: Mapping[str, np.ndarray]
    curves: Mapping[str, np.ndarray]
    seconds: float

    def answers(self, test: str) -> np.ndarray:
        """The class with the greatest logit, N."""
        return np.asarray(self.logits[test].argmax(axis=1))


def strengths_of(config: "Config") -> Strengths:
    """What the settings ask for."""
    return Strengths(config.speed, config.shift, config.scaling, config.noise_share, config.ratios)


def new_net(run: "Run[Config]", classes: int, rate: int, seed: int, masks: Stream) -> nn.Sequential:
    """The net with its first weights, which depend on the seed alone, and the stream of its dropout."""
    config = run.config
    width = frames(round(config.seconds * rate), rate)
    init = run.stream(f"init {seed}")
    return build(classes, width, config.channels, config.hidden, config.dropout, init, masks).to(device=run.device)


class Learner:
    """A net under training."""

    def __init__(self, run: "Run[Config]", data: Keywords, recipe: str, seed: int) -> None:
        config = run.config
        self.maker = Maker(data.train, data.names, data.rate, RECIPES[recipe], strengths_of(config))
        self._rate, self._device, self._batches = data.rate, run.device, run.stream(f"batches {seed}")
        self._hidden, self._dropout = run.stream(f"hidden {seed}"), run.stream(f"masks {seed}")
        self._masks = config.masks if RECIPES[recipe].augmentation else (0, 0)
        self.net = new_net(run, len(data.names), data.rate, seed, self._dropout)
        self._optimizer = optim.Adam(self.net.parameters(), lr=config.learning_rate)
        steps = config.epochs * -(-len(self.maker) // config.batch)
        self._schedule = optim.OneCycleLR(self._optimizer, config.learning_rate, steps)

    def tracked(self) -> dict[str, Any]:
        """What a step changes."""
        streams = {"batches": self._batches, "hidden": self._hidden, "dropout": self._dropout}
        return {"net": self.net, "optimizer": self._optimizer, "schedule": self._schedule, **streams}

    def step(self, size: int) -> float:
        """Makes a batch and an update; returns the loss before it."""
        batch: Batch = self.maker.batch(size, self._batches)
        sounds = masked(heard(batch.sounds, self._rate), self._masks, self._hidden)
        inputs = cnn.batch_innermost(to_device(sounds, self._device))
        loss = cnn.train_step(self.net, self._optimizer, inputs, to_device(batch.labels, self._device))
        self._schedule.step()
        return loss


def learn(
    run: "Run[Config]", data: Keywords, recipe: str, seed: int, tests: Mapping[str, Questions], watched: Questions
) -> Outcome:
    """Trains the net of a recipe, and asks it everything.

    Args:
        run: with its settings.
        data: clips and backgrounds.
        recipe: a key of RECIPES.
        seed: of first weights, batches and masks; recipes share them as far as they use them.
        tests: what it is asked at the end.
        watched: what nets of WATCHED are asked after every epoch.
    """
    learner, config = Learner(run, data, recipe, seed), run.config
    examples = len(learner.maker)
    name = f"{recipe}-seed{seed}"
    loop = run.loop(name, learner.tracked(), epochs=config.epochs, examples=examples, batch=config.batch)
    for step in loop:
        step.mean(loss=learner.step(len(step.indices)))
        if step.ends_epoch and recipe in WATCHED:
            loss, accuracy = watched.held.measure(learner.net)
            step.log(validation_loss=loss, validation_accuracy=accuracy)
    logits = {name: questions.held.logits(learner.net) for name, questions in tests.items()}
    curves = ("loss", "validation_loss", "validation_accuracy") if recipe in WATCHED else ()
    return Outcome(learner.net, logits, {value: loop.history(value) for value in curves}, loop.seconds)


def probabilities(net: nn.Sequential, sounds: np.ndarray, rate: int, device: str) -> np.ndarray:
    """What the net gives to each class for N x samples: N x classes."""
    net.eval()
    with tg.no_grad():
        logits = to_numpy(net(tg.Tensor(to_device(heard(sounds, rate), device))).data)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


Outcomes = Mapping[str, Sequence[Outcome]]  # by recipe; one for each seed
