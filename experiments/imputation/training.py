"""The training for one λ, and the classifier that sees the patch alone."""

from dataclasses import dataclass
from typing import Any

import tinygrad_hw as tg
from experiments.data import mnist
from experiments.gan.digits import PIXELS, Digits, Split
from experiments.gan.nets import Discriminator, Generator, spread
from experiments.gan.training import Adversaries, Rules
from experiments.harness import Loop, Run
from tinygrad_hw import Tensor, nn, optim
from tinygrad_hw import functional as F
from tinygrad_hw.backend import Array, to_device

from . import patch

NOISE = 100
GENERATOR = (NOISE, 200, 400, PIXELS)
DISCRIMINATOR = (PIXELS, 400, 200, 100)
READER_HIDDEN = 256
READER_DROPOUT = 0.2
READER_LEARNING_RATE = 0.002


@dataclass(frozen=True)
class Plan:
    """How long and in what batches.

    Attributes:
        epochs: passes over the training digits, for each λ.
        batch: real pictures a step, and as many patches.
        dropout: share of the discriminator's hidden units left out.
        rules: of both nets.
    """

    epochs: int
    batch: int
    dropout: float
    rules: Rules


def new_generator(run: Run[Any]) -> Generator:
    """200-200-400-784: noise beside the patch; its first weights depend on the run's seed alone."""
    init = run.stream("generator")
    generator = Generator(GENERATOR, patch.PIXELS, init)
    spread(generator, init)  # else it begins with one picture for all noise, and the patch alone gets it out of there
    return generator.to(device=run.device)


def draw(run: Run[Any], generator: Generator, given: Array, noises: str = "test noise") -> Array:
    """Pictures for some patches, M x 784, each with noise of its own; the same name gives the same noise."""
    noise = run.stream(noises).normal((len(given), NOISE), device=run.device)
    with tg.no_grad():
        return generator(noise, given).data


def train(run: Run[Any], name: str, weight: float, digits: Digits, plan: Plan) -> tuple[Generator, Loop]:
    """Trains a generator against a discriminator that sees whole pictures and nothing else.

    The generator's loss is the adversarial one plus λ times the mean squared difference between the centre of its
    picture and the patch that it was given. Every λ begins with the same weights and sees the same digits, patches and
    noise: what differs at the end is due to λ.

    Args:
        run: the run.
        name: of the loop; its epochs log the discriminator's accuracies and the `centre_mse` on the test patches.
        weight: λ.
        digits: to learn from.
        plan: see Plan.

    Returns:
        The generator with averaged weights, and the loop.
    """
    masks, picks = run.stream("discriminator dropout"), run.stream("patches")
    discriminator = Discriminator(DISCRIMINATOR, 0, plan.dropout, run.stream("discriminator"), masks)
    pair = Adversaries(
        run, "gan", new_generator(run), new_generator(run), discriminator.to(device=run.device), plan.rules
    )
    real, test_patches = digits.train.pixels, patch.centre(digits.test.pixels)
    track = {**pair.tracked(), "dropout": masks, "patches": picks}
    loop = run.loop(name, track, epochs=plan.epochs, examples=len(real), batch=plan.batch)
    for step in loop:
        # The patches come from other digits than the real pictures of the step: no fake has its truth beside it.
        chosen = picks.integers(0, len(real), len(step.indices), device=run.device)
        given = patch.centre(real[chosen])

        def amiss(pictures: Tensor, given: Array = given) -> Tensor:
            apart: Tensor = weight * F.mse_loss(patch.centre(pictures), given)
            return apart

        pictures = real[to_device(step.indices, run.device)]
        progress = step.index / loop.steps
        step.mean(**pair.step(progress, step.index, (pictures, None), given, None, amiss if weight else None))
        if step.ends_epoch:
            made = patch.centre(draw(run, pair.average, test_patches))
            step.log(centre_mse=float(F.mse_loss(made, test_patches)))
    return pair.average, loop


def train_reader(run: Run[Any], digits: Digits, epochs: int) -> float:
    """Trains a classifier, 100-256-10, on the patches alone; its accuracy on the test patches.

    It says how much of a digit's label the centre gives away: a label that the patch does not determine cannot be kept
    by whatever is painted around it.
    """
    masks = run.stream("reader/dropout")
    init = run.stream("reader/init")
    net = nn.Sequential(
        nn.Linear(patch.PIXELS, READER_HIDDEN, stream=init),
        nn.ReLU(),
        nn.Dropout(READER_DROPOUT, stream=masks),
        nn.Linear(READER_HIDDEN, mnist.CLASSES, stream=init),
    ).to(device=run.device)
    optimizer = optim.Adam(net.parameters(), lr=READER_LEARNING_RATE)
    train, test = (Split(patch.centre(split.pixels), split.labels) for split in (digits.train, digits.test))
    track = {"net": net, "optimizer": optimizer, "dropout": masks}
    loop = run.loop("patch reader", track, epochs=epochs, examples=len(train), batch=min(100, len(train)))
    for step in loop:
        optimizer.param_groups[0]["lr"] = READER_LEARNING_RATE * (1 - step.index / loop.steps)
        chosen = to_device(step.indices, run.device)
        loss = F.cross_entropy(net(Tensor(train.pixels[chosen])), train.labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step.mean(loss=loss.item())
    net.eval()
    with tg.no_grad():
        right = net(Tensor(test.pixels)).data.argmax(axis=1) == test.labels
    return float(right.mean())
