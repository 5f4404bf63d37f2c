"""How the nets learn: one for each fold of the training speakers, and one threshold from what they left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.audio.transform import Transform
from experiments.harness import Best, Loop, Run
from tinygrad_hw import Tensor, nn, optim
from tinygrad_hw import functional as F
from tinygrad_hw.backend import Array, device_of, to_device, to_numpy
from tinygrad_hw.random import Stream

from .net import Siamese, embedded
from .pairs import Pairs, minibatch
from .scores import Calibration, Trial

if TYPE_CHECKING:
    from experiments.speaker_verification import Config

TRANSFORM = Transform()


def new_net(run: "Run[Config]", name: str) -> Siamese:
    """A net with its first weights."""
    config, streams = run.config, {"init": run.stream(f"init {name}"), "masks": run.stream(f"dropout {name}")}
    net = Siamese(TRANSFORM.bins, config.width, config.hidden, config.embedding, config.dropout, **streams)
    return net.to(device=run.device)


def loop_of(name: str, fold: int) -> str:
    """What the training of a net is called, and its file."""
    return f"{name}-fold{fold + 1}"


def calibration_of(name: str) -> str:
    """The file of the calibration of a set of nets."""
    return f"{name}-calibration"


def folds_of(speakers: int, folds: int, stream: Stream) -> list[np.ndarray]:
    """The speakers, in random order, in so many parts that are as equal as can be; each part sorted."""
    return [np.sort(part) for part in np.array_split(stream.permutation(speakers), folds)]


class Learner:
    """A net, its optimiser, and the steps that they make.

    Args:
        net: on its device.
        x: spectra of the utterances to learn from, T x U x K.
        speakers: whose they are, in order and with equally many each.
        config: of the run.
        drawing: stream of the pairs.
        steps: how many there will be.
    """

    def __init__(self, net: Siamese, x: Array, speakers: int, config: "Config", drawing: Stream, steps: int) -> None:
        self.net, self._x, self._speakers, self._config, self._drawing = net, x, speakers, config, drawing
        self._optimizer = optim.Adam(net.parameters(), lr=config.learning_rate)
        self._schedule = optim.CosineAnnealingLR(self._optimizer, steps)

    def tracked(self) -> dict[str, Any]:
        """What a step changes."""
        streams = {"dropout": self.net.masks, "drawing": self._drawing}
        return {"net": self.net, "optimizer": self._optimizer, "schedule": self._schedule, **streams}

    def step(self, speakers: np.ndarray) -> float:
        """Makes one update with the mini-batches of some speakers, and returns the loss before it."""
        each = self._x.shape[1] // self._speakers
        drawn = (minibatch(int(s), self._speakers, each, self._config.pairs, self._drawing) for s in speakers)
        loss = loss_of(self.net, self._x, Pairs.together(drawn))
        self._optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm_(self._optimizer, self._config.clip)
        self._optimizer.step()
        self._schedule.step()
        return float(loss.item())


def loss_of(net: Siamese, x: Array, pairs: Pairs) -> Any:
    """Binary cross-entropy of pairs of the utterances T x U x K; each utterance is embedded once."""
    used, places = np.unique(np.concatenate([pairs.left, pairs.right]), return_inverse=True)
    vectors = net(x[:, to_device(used, device_of(x))])
    left, right = (F.index_select(vectors, 0, half) for half in np.split(places, 2))
    return F.binary_cross_entropy_with_logits(net.logits(left, right), to_device(pairs.same, device_of(x)))


@dataclass(frozen=True, eq=False)
class Verifier:
    """Nets that answer together, with their threshold.

    Their vectors, one after the other, are one vector; its inner product with another, and an offset, is the logit: the
    mean of the nets' logits, calibrated.
    """

    nets: Sequence[Siamese]
    calibration: Calibration

    @property
    def offset(self) -> float:
        """Of the logits."""
        offsets = [float(net.offset.item()) for net in self.nets]
        return self.calibration.slope * float(np.mean(offsets)) + self.calibration.offset

    def vectors(self, x: Array) -> np.ndarray:
        """T x U x K to U x (nets D), float64."""
        factor = np.sqrt(self.calibration.slope / len(self.nets))
        return factor * np.concatenate([embedded(net, x) for net in self.nets], axis=1).astype(np.float64)

    def gram(self, x: Array) -> np.ndarray:
        """Logits of "one speaker" for every two of some utterances, U x U."""
        vectors = self.vectors(x)
        return np.asarray(vectors @ vectors.T) + self.offset


def gram_of(net: Siamese, x: Array) -> np.ndarray:
    """Logits of a single net, not calibrated, for every two of some utterances, U x U."""
    vectors = embedded(net, x).astype(np.float64)
    return np.asarray(vectors @ vectors.T) + float(net.offset.item())


@dataclass(frozen=True, eq=False)
class Learned:
    """What came of one set of training speakers.

    Attributes:
        verifier: the nets and their threshold.
        loops: one for each net.
        left_out: verdicts on the speakers that each net did not learn from, before the calibration.
        best: the epoch that each net was kept from.
    """

    verifier: Verifier
    loops: Sequence[Loop]
    left_out: Sequence[Trial]
    best: Sequence[int]


def learn(run: "Run[Config]", name: str, x: Array, speakers: int) -> Learned:
    """Trains a net for each fold of some speakers, then calibrates them by the speakers that each has left out.

    Args:
        run: of the experiment.
        name: of this set of speakers.
        x: spectra of their utterances, T x U x K.
        speakers: how many they are.
    """
    config, each = run.config, x.shape[1] // speakers
    nets, loops, trials, best = [], [], [], []
    for fold, kept_out in enumerate(folds_of(speakers, config.folds, run.stream(f"folds {name}"))):
        called = loop_of(name, fold)
        seen = np.setdiff1d(np.arange(speakers), kept_out)
        own, held = (x[:, to_device(utterances_of(group, each), run.device)] for group in (seen, kept_out))
        net = new_net(run, called)
        net.learn_scale(to_numpy(own).reshape(-1, TRANSFORM.bins))
        steps = config.epochs * -(-len(seen) // config.batch)
        learner = Learner(net, own, len(seen), config, run.stream(f"pairs {called}"), steps)
        kept = Best("validation_loss", {"net": net})
        loop = run.loop(
            called, learner.tracked(), epochs=config.epochs, examples=len(seen), batch=config.batch, best=kept
        )
        for step in loop:
            step.mean(train_loss=learner.step(step.indices))
            if step.ends_epoch:
                trial = Trial.of(gram_of(net, held), len(kept_out))
                step.log(validation_loss=trial.loss, validation_accuracy=trial.balanced_accuracy)
        kept.restore()
        nets.append(net)
        loops.append(loop)
        best.append(kept.epoch)
        trials.append(Trial.of(gram_of(net, held), len(kept_out)))
    same, logits = (np.concatenate(found) for found in zip(*((t.pairs.same, t.logits) for t in trials), strict=True))
    return Learned(Verifier(nets, Calibration.of(logits, same)), loops, trials, best)


def utterances_of(speakers: np.ndarray, each: int) -> np.ndarray:
    """Numbers of all utterances of some speakers."""
    return (each * speakers[:, None] + np.arange(each)).reshape(-1)


class Numbers(nn.Module):
    """A calibration in a file."""

    def __init__(self, slope: float = 1.0, offset: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("slope", Tensor(np.array([slope], np.float64)))
        self.register_buffer("offset", Tensor(np.array([offset], np.float64)))


def save(run: "Run[Config]", name: str, verifier: Verifier) -> None:
    """Writes the nets and the calibration."""
    for fold, net in enumerate(verifier.nets):
        run.save_model(loop_of(name, fold), net)
    run.save_model(calibration_of(name), Numbers(verifier.calibration.slope, verifier.calibration.offset))


def saved(run: "Run[Config]", name: str) -> Verifier:
    """What `save` wrote. Raises UserError when a file is missing or damaged."""
    nets = []
    for fold in range(run.config.folds):
        nets.append(new_net(run, loop_of(name, fold)))
        run.load_model(loop_of(name, fold), nets[-1])
    kept = Numbers()
    run.load_model(calibration_of(name), kept)
    return Verifier(nets, Calibration(float(kept.slope.item()), float(kept.offset.item())))
