"""Backpropagation by hand, against the engine.

A net of 784 inputs, 100 sigmoid units, 50 ReLU units and 10 softmax outputs learns handwritten digits. Loss, gradients,
update and random initialisation are written out on plain arrays in `reference/dense.py`, without a tape. The engine
trains the same net from the same weights on the same batches, in float64, and so do its own optimisers, momentum and
Adam. The hand-written net also descends with batches of one digit and of the whole training set.

Choices that the problem leaves open: all curves show the loss over the whole training set at the end of each epoch
(not the mean over the epoch's batches, whose weights have changed meanwhile), all nets make the same number of epochs,
and each kind of descent has a learning rate of its own, the best of a small grid on the embedded digits; over the whole
of MNIST, descent with one digit, momentum and Adam make 15 times as many updates and have smaller ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field

import tinygrad_hw as tg
from experiments.data import mnist
from experiments.harness import Claim, Experiment, Loop, Run, Settings, figures, settings
from experiments.harness.report import counted, short
from reference import dense
from tinygrad_hw import functional as F
from tinygrad_hw import nn, optim
from tinygrad_hw.backend import Array, to_device, to_numpy

SIZES = (784, 100, 50, 10)


@settings
class Config(Settings):
    """Settings of hand_backprop."""

    epochs: Annotated[int, Field(ge=1, le=100_000, description="passes over the training digits, of every net")] = 20
    batch: Annotated[
        int, Field(ge=1, description="digits per step of mini-batch descent and of the engine's optimisers")
    ] = 32
    learning_rate: Annotated[float, Field(gt=0, description="of mini-batch descent, by hand and by the engine")] = 0.3
    stochastic_learning_rate: Annotated[float, Field(gt=0, description="of descent with batches of one digit")] = 0.03
    full_batch_learning_rate: Annotated[
        float, Field(gt=0, description="of descent with the whole training set as batch")
    ] = 0.3
    momentum_learning_rate: Annotated[float, Field(gt=0, description="of the engine's SGD with momentum")] = 0.1
    momentum: Annotated[
        float, Field(ge=0, lt=1, description="share of the velocity that momentum keeps from step to step")
    ] = 0.9
    adam_learning_rate: Annotated[float, Field(gt=0, description="of the engine's Adam")] = 0.004
    train_examples: Annotated[
        int, Field(ge=0, description="training digits, evenly taken from the set; 0 takes all")
    ] = 4000
    test_examples: Annotated[int, Field(ge=0, description="test digits, likewise")] = 1000


@dataclass(frozen=True)
class Split:
    """Digits on the device: pixels float64 N x 784 from 0 to 1, labels int64 N."""

    pixels: Array
    labels: Array


class HandNet:
    """The net of `reference/dense.py`: forward, loss, backward and update by hand.

    Args:
        params: its weights; copied.
        learning_rate: of plain gradient descent.
    """

    def __init__(self, params: dict[str, Array], learning_rate: float) -> None:
        self.params = {key: array.copy() for key, array in params.items()}
        self._learning_rate = learning_rate

    def step(self, pixels: Array, labels: Array) -> float:
        """Makes one update and returns the batch's mean cross-entropy before it."""
        logits, cache = dense.forward(self.params, pixels)
        loss = dense.loss(logits, labels)
        dense.step(self.params, dense.backward(cache, labels), self._learning_rate)
        return loss

    def logits(self, pixels: Array) -> Array:
        """N x 10, before the softmax."""
        return dense.forward(self.params, pixels)[0]

    def tracked(self) -> dict[str, Any]:
        """What an update changes."""
        return {"params": self.params}


class EngineNet:
    """The same net out of the engine's layers, differentiated by its tape.

    Args:
        params: weights to begin with, under the same names.
        device: where they live.
    """

    def __init__(self, params: dict[str, Array], device: str) -> None:
        inputs, hidden, narrow, outputs = SIZES
        self.net = nn.Sequential(
            nn.Linear(inputs, hidden), nn.Sigmoid(), nn.Linear(hidden, narrow), nn.ReLU(), nn.Linear(narrow, outputs)
        ).to(device=device, dtype=np.float64)
        self.net.load_state_dict({key: to_numpy(array) for key, array in params.items()})
        self.optimizer: Any = None

    def with_sgd(self, learning_rate: float, momentum: float = 0.0) -> "EngineNet":
        """Chooses stochastic gradient descent, with momentum if not zero."""
        self.optimizer = optim.SGD(self.net.parameters(), lr=learning_rate, momentum=momentum)
        return self

    def with_adam(self, learning_rate: float) -> "EngineNet":
        """Chooses Adam."""
        self.optimizer = optim.Adam(self.net.parameters(), lr=learning_rate)
        return self

    def step(self, pixels: Array, labels: Array) -> float:
        """As HandNet.step."""
        loss = F.cross_entropy(self.net(tg.Tensor(pixels)), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.item())

    def logits(self, pixels: Array) -> Array:
        """As HandNet.logits."""
        with tg.no_grad():
            return self.net(tg.Tensor(pixels)).data

    def tracked(self) -> dict[str, Any]:
        """As HandNet.tracked."""
        return {"net": self.net, "optimizer": self.optimizer}


Net = HandNet | EngineNet


@dataclass(frozen=True)
class Descent:
    """A finished training.

    Attributes:
        label: for figures and tables.
        net: as trained.
        loop: with its history: `train_loss`, `test_loss`, `test_accuracy` per epoch.
        batch_losses: of every step, before its update; float64.
        batch: digits per step.
    """

    label: str
    net: Net
    loop: Loop
    batch_losses: np.ndarray
    batch: int

    def last(self, value: str) -> float:
        """The last epoch's value."""
        return float(self.loop.history(value)[-1])


def descend(run: Run[Config], name: str, label: str, net: Net, batch: int, train: Split, test: Split) -> Descent:
    """Trains a net and evaluates it after every epoch."""
    epochs, examples = run.config.epochs, len(train.labels)
    losses = np.zeros(epochs * -(-examples // batch))
    track = {**net.tracked(), "batch_losses": losses}
    loop = run.loop(name, track, epochs=epochs, examples=examples, batch=batch)
    for step in loop:
        chosen = to_device(step.indices, run.device)
        losses[step.index] = net.step(train.pixels[chosen], train.labels[chosen])
        step.mean(batch_loss=losses[step.index])
        if step.ends_epoch:
            train_loss, _ = evaluate(net, train)
            test_loss, accuracy = evaluate(net, test)
            step.log(train_loss=train_loss, test_loss=test_loss, test_accuracy=accuracy)
    return Descent(label, net, loop, losses, batch)


def pieces(split: Split, size: int = 5000) -> Iterator[Split]:
    """The digits in pieces, so that the activations of all need not exist at once."""
    for start in range(0, len(split.labels), size):
        yield Split(split.pixels[start : start + size], split.labels[start : start + size])


def evaluate(net: Net, split: Split) -> tuple[float, float]:
    """Mean cross-entropy and share of right answers."""
    loss, right = 0.0, 0
    for piece in pieces(split):
        logits = net.logits(piece.pixels)
        loss += dense.loss(logits, piece.labels) * len(piece.labels)
        right += int((logits.argmax(axis=1) == piece.labels).sum())
    return loss / len(split.labels), right / len(split.labels)


def run(run: Run[Config]) -> None:
    """Trains every net from the same weights on the same digits, and reports."""
    config = run.config
    digits = mnist.load(run.data_dir, config.train_examples, config.test_examples)
    mnist.check_classes(digits)
    run.uses("mnist", digits.source, digits.digest)
    train = on_device(digits.train_images, digits.train_labels, run.device)
    test = on_device(digits.test_images, digits.test_labels, run.device)
    drawn = dense.init(run.stream("init"), SIZES, dtype=np.float64)
    start = {key: to_device(array, run.device) for key, array in drawn.items()}
    loss_before = evaluate(HandNet(start, config.learning_rate), train)[0]

    def engine() -> EngineNet:
        return EngineNet(start, run.device)

    everything = len(train.labels)
    batch = config.batch
    plans: dict[str, tuple[str, Net, int]] = {
        "hand": ("by hand, mini-batch", HandNet(start, config.learning_rate), batch),
        "engine": ("engine, SGD", engine().with_sgd(config.learning_rate), batch),
        "momentum": ("engine, momentum", engine().with_sgd(config.momentum_learning_rate, config.momentum), batch),
        "adam": ("engine, Adam", engine().with_adam(config.adam_learning_rate), batch),
        "stochastic": ("by hand, one digit", HandNet(start, config.stochastic_learning_rate), 1),
        "full_batch": ("by hand, full batch", HandNet(start, config.full_batch_learning_rate), everything),
    }
    done = {name: descend(run, name, *plan, train, test) for name, plan in plans.items()}

    difference = np.abs(done["hand"].batch_losses - done["engine"].batch_losses)
    run.metric(test_accuracy=done["hand"].last("test_accuracy"), max_loss_difference=difference.max())
    for name, descent in done.items():
        values = {f"{name}_{value}": descent.last(value) for value in ("train_loss", "test_loss", "test_accuracy")}
        run.metric(**values, **{f"{name}_seconds": descent.loop.seconds})

    explain(run)
    show_optimisers(run, done, loss_before)
    show_agreement(run, difference, done["hand"])
    show_batches(run, done, loss_before)
    contrast(run, done)
    show_mistakes(run, done["hand"].net, digits, test)
    show_first_layer(run, done["hand"].net)


def on_device(images: np.ndarray, labels: np.ndarray, device: str) -> Split:
    """Pixels scaled to 0..1 in float64, one row a digit."""
    pixels = images.reshape(len(images), -1) / 255.0
    return Split(to_device(pixels, device), to_device(labels, device))


def explain(run: Run[Config]) -> None:
    """The question and the mathematics."""
    report = run.report
    report.section("Question")
    report.text(
        """A small net is to read handwritten digits: 784 grey values go into 100 sigmoid units, these into 50
        rectified linear units, these into 10 outputs that a softmax turns into probabilities. What does it take to
        train it without any library that differentiates? Here the loss, its gradients, the update and the random
        weights to begin with are written by hand on plain arrays. Does an automatic differentiation engine, given
        the same weights and the same batches, do exactly the same? And how do its own optimisers, and other sizes
        of batch, compare?"""
    )
    report.section("The net and its derivatives")
    report.text(
        "A batch of $N$ digits is a matrix $A_0$ with $N$ rows. For the layers $l = 1, 2, 3$ and targets $y_n$:"
    )
    report.formula(
        r"Z_l = A_{l-1} W_l^{\top} + b_l",
        r"A_1 = \frac{1}{1 + e^{-Z_1}}, \quad A_2 = \max(Z_2, 0)",
        r"P_{nc} = \frac{\exp Z_{3,nc}}{\sum_d \exp Z_{3,nd}}",
        r"C = -\frac{1}{N} \sum_{n=1}^{N} \log P_{n y_n}",
        note="Forward: activations, the softmax, and the mean cross-entropy $C$ between it and the targets.",
    )
    report.text(
        r"""The chain rule leads from the loss back to the first layer. Let $D_l$ be the derivative of $C$ by $Z_l$,
        and $Y$ the targets as rows with a single 1. Softmax and logarithm together leave a plain difference; each
        layer then multiplies by its weights and, entry by entry ($\odot$), by the slope of its activation:"""
    )
    report.formula(
        r"D_3 = \frac{1}{N} (P - Y)",
        r"D_2 = (D_3 W_3) \odot [Z_2 > 0], \quad D_1 = (D_2 W_2) \odot A_1 \odot (1 - A_1)",
        r"\frac{\partial C}{\partial W_l} = D_l^{\top} A_{l-1}, \quad "
        r"\frac{\partial C}{\partial b_l} = \sum_{n=1}^{N} D_{l,n}",
        note="Backward: all gradients together cost about twice as much as the forward pass.",
    )
    report.text("Plain gradient descent, and what the engine's momentum and Adam do with a gradient $g$ instead:")
    report.formula(
        r"\theta \leftarrow \theta - \eta g",
        r"v \leftarrow \mu v + g, \quad \theta \leftarrow \theta - \eta v",
        r"m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad s \leftarrow \beta_2 s + (1 - \beta_2) g^2",
        r"\theta \leftarrow \theta - \eta \frac{m / (1 - \beta_1^t)}{\sqrt{s / (1 - \beta_2^t)} + \epsilon}",
        note="By hand (first line), momentum (second), Adam at step $t$ (the rest; Kingma and Ba 2015).",
    )
    report.text(
        r"""Weights into the sigmoid and the softmax begin uniform in $\pm\sqrt{6 / (n_i + n_o)}$ for $n_i$ inputs
        and $n_o$ outputs (Glorot and Bengio 2010), weights into the rectified units normal with standard deviation
        $\sqrt{2 / n_i}$ (He and others 2015), biases at zero. Every net below begins with the same draw."""
    )


def curve(descent: Descent, value: str, before: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and values; from epoch 0 when the value before training is given."""
    values = descent.loop.history(value)
    start = [] if before is None else [before]
    return np.arange(1 - len(start), len(values) + 1), np.concatenate([start, values])


def show_optimisers(run: Run[Config], done: dict[str, Descent], loss_before: float) -> None:
    """Loss per epoch of the hand-written net, the engine on the same path, and the engine's optimisers."""
    styles: dict[str, dict[str, Any]] = {
        "hand": {"linewidth": 4.0, "alpha": 0.5},
        "engine": {"linestyle": "--", "color": "black", "linewidth": 1.2},
    }
    figure, (left, right) = figures.new(1, 2, width=9.0)
    for name in ("hand", "engine", "momentum", "adam"):
        style = {"label": done[name].label, **styles.get(name, {})}
        left.plot(*curve(done[name], "train_loss", loss_before), **style)
        right.plot(*curve(done[name], "test_accuracy"), **style)
    left.set(yscale="log", ylabel="cross-entropy", title="Loss over the training digits")
    right.set(ylabel="share of right answers", title="Accuracy on the test digits")
    figures.by_epoch(left, right)
    left.legend()
    run.report.section("Loss per epoch")
    run.report.figure(
        "optimisers",
        figure,
        caption="""Every net from the same weights on the same batches. The engine's plain descent (dashed) lies on the
        hand-written one. Epoch 0 is before training.""",
        alt="Training loss and test accuracy by epoch for the hand-written net, the engine, momentum and Adam",
    )
    rows = [
        (
            d.label,
            d.batch,
            d.loop.steps,
            d.last("train_loss"),
            f"{d.last('test_accuracy'):.1%}",
            f"{d.loop.seconds:.1f}",
        )
        for d in done.values()
    ]
    run.report.table(
        ("Net", "Batch", "Updates", "Training loss", "Test accuracy", "Seconds"),
        rows,
        caption=f"After {counted(run.config.epochs, 'epoch')}. The seconds include the evaluation after every epoch.",
    )


def show_agreement(run: Run[Config], difference: np.ndarray, hand: Descent) -> None:
    """How far the hand-written and the engine's loss are apart, step by step."""
    floor = 1e-17  # where equality is drawn: a logarithm has no zero
    figure, axes = figures.new(height=3.2)
    epochs = np.arange(1, len(difference) + 1) / hand.loop.steps_per_epoch
    axes.plot(epochs, np.maximum(difference, floor), marker=".", markersize=2, linestyle="none")
    axes.axhline(1e-9, color=figures.COLOURS[1], linestyle="--", label="claimed bound")
    axes.set(yscale="log", ylabel="absolute difference", ylim=(floor / 2, 1e-8))
    figures.by_epoch(axes)
    axes.legend()
    run.report.section("By hand and by the engine")
    run.report.figure(
        "agreement",
        figure,
        caption=rf"""Difference between the hand-written net's loss and the engine's, at every step of the training.
        Equal to the last bit in {(difference == 0).mean():.0%} of the steps (drawn at $10^{{-17}}$).""",
        alt="Absolute difference of the two losses at every step, far below the bound of 1e-9",
        raster=True,
    )
    run.report.text(
        rf"""Over {len(difference):,} updates the two losses never differ by more than
        {short(difference.max())}, in double precision, whose numbers near 1 are $2.2 \times 10^{{-16}}$ apart.
        The tape finds the same gradients as the formulas above; a wrong factor or a missing term in either would
        drive the two apart within a few steps."""
    )


def show_batches(run: Run[Config], done: dict[str, Descent], loss_before: float) -> None:
    """Stochastic, mini-batch and full-batch descent side by side."""
    figure, (left, right) = figures.new(1, 2, width=9.0, sharey=True)
    for name in ("stochastic", "hand", "full_batch"):
        epochs, losses = curve(done[name], "train_loss", loss_before)
        left.plot(epochs, losses, label=done[name].label)
        right.plot(epochs[1:] * done[name].loop.steps_per_epoch, losses[1:], marker=".", label=done[name].label)
    left.set(yscale="log", ylabel="cross-entropy", title="By epoch")
    figures.by_epoch(left)
    right.set(xscale="log", xlabel="updates", title="By updates made")
    left.legend()
    run.report.section("One digit, some, or all at once")
    run.report.figure(
        "batches",
        figure,
        caption="""The same hand-written net with three sizes of batch. An epoch costs each of them one gradient per
        digit; they differ in how often they move and, each at its own learning rate, how far.""",
        alt="Training loss by epoch and by number of updates for batches of one digit, a mini-batch and the whole set",
    )


def contrast(run: Run[Config], done: dict[str, Descent]) -> None:
    """The comparison in words, with the numbers of this run."""
    config, (hand, _, momentum, adam, stochastic, whole) = run.config, done.values()
    right = [descent.last("test_accuracy") for descent in (hand, momentum, adam)]
    close = "differ little" if max(right) - min(right) < 0.02 else "differ"
    error = (right[0] * (1 - right[0]) / (config.test_examples or 10_000)) ** 0.5
    step, memory = config.momentum_learning_rate, 1 / (1 - config.momentum)
    run.report.section("Comment")
    run.report.text(
        f"""In {counted(config.epochs, "epoch")} plain descent by hand brings the training loss to {down_to(hand)},
        momentum to {down_to(momentum)}, Adam to {down_to(adam)}; after the first epoch they stand at
        {down_to(hand, 0)}, {down_to(momentum, 0)} and {down_to(adam, 0)}. Momentum adds up the gradients of about
        {memory:.0f} steps: a rate of {step:g} acts like one of {step * memory:.2g} along directions that persist, and
        what alternates cancels. Adam divides each weight's step by its gradient's usual size, so pixels seldom inked
        learn as fast as the others, which one rate for all cannot do. On unseen digits the three {close}:
        {right[0]:.1%} right by hand, {right[1]:.1%} with momentum, {right[2]:.1%} with Adam (standard error
        {error:.1%}). An optimiser changes the way down; what {whole.batch:,} digits can teach is the same for all.""",
        f"""The size of the batch changes the way down, too. For the same number of gradients, batches of one make
        {stochastic.loop.steps:,} updates, batches of {hand.batch} make {hand.loop.steps:,}, the full batch
        {whole.loop.steps:,}. The full batch follows the exact gradient, but at its end the training loss is still
        {down_to(whole)}; mini-batches {reached(hand, whole)}. Batches of one end at {down_to(stochastic)}. The
        gradient of a single digit is so noisy that their rate is
        {config.learning_rate / config.stochastic_learning_rate:.0f} times smaller, and a matrix product of one row
        leaves the processor idle: they take {stochastic.loop.seconds:.1f} s against {hand.loop.seconds:.1f} s.
        Mini-batches are the compromise: little enough noise for large steps, updates enough to use them, products
        large enough to be quick.""",
    )


def down_to(descent: Descent, epoch: int = -1) -> str:
    """Training loss after an epoch, for a sentence."""
    return short(descent.loop.history("train_loss")[epoch])


def reached(fast: Descent, slow: Descent) -> str:
    """When one descent had got as far as another at its end, in words."""
    below = np.flatnonzero(fast.loop.history("train_loss") <= slow.last("train_loss"))
    if not below.size:
        return "end above that"
    return (
        "were below that after their first epoch" if below[0] == 0 else f"were below that after {below[0] + 1} epochs"
    )


def show_mistakes(run: Run[Config], net: Net, digits: mnist.Digits, test: Split, shown: int = 20) -> None:
    """The test digits that the hand-written net reads wrongly with the most confidence."""
    logits = np.concatenate([to_numpy(net.logits(piece.pixels)) for piece in pieces(test)])
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    sure = exponentials / exponentials.sum(axis=1, keepdims=True)
    read = sure.argmax(axis=1)
    wrong = np.flatnonzero(read != digits.test_labels)
    worst = wrong[np.argsort(-sure[wrong, read[wrong]], kind="stable")][:shown]
    run.report.section("What it misreads")
    run.report.text(f"The hand-written net misreads {len(wrong):,} of {len(read):,} test digits.")
    if not worst.size:
        return
    titles = [f"{digits.test_labels[i]} as {read[i]}\n{sure[i, read[i]]:.0%}" for i in worst]
    run.report.figure(
        "mistakes",
        figures.grid(digits.test_images[worst], titles, columns=10),
        caption="The most confident mistakes: label, answer, and the probability that the net gives to it.",
        alt="Handwritten digits that the net misreads, with label, answer and its probability",
        raster=True,
    )


def show_first_layer(run: Run[Config], net: Net) -> None:
    """The weights of the 100 sigmoid units as pictures."""
    weights = to_numpy(net.tracked()["params"]["0.weight"]).reshape(-1, 28, 28)
    run.report.section("What the first layer looks at")
    run.report.figure(
        "first_layer",
        figures.sheet(weights, columns=15, label="weight"),
        caption="""The weights into each of the 100 sigmoid units, laid out as the 28 x 28 pixels that they belong
        to: ink on red excites the unit, ink on blue inhibits it. Pixels at the rim are never inked: their weights
        stay as drawn.""",
        alt="One hundred small pictures of weights: smooth strokes in the middle, noise at the rim",
        raster=True,
    )


EXPERIMENT = Experiment(
    name="hand_backprop",
    title="Backpropagation by hand, against the engine",
    profiles={
        "smoke": Config(epochs=2, train_examples=300, test_examples=100),
        "demo": Config(),
        "full": Config(
            train_examples=60_000,
            test_examples=10_000,
            stochastic_learning_rate=0.01,
            momentum_learning_rate=0.05,
            adam_learning_rate=0.001,
        ),
    },
    claims=(
        Claim(
            "test_accuracy",
            ">=",
            {"demo": 0.93, "full": 0.975},
            "Share of unseen digits that the hand-written net, trained with mini-batches, reads rightly.",
        ),
        Claim(
            "max_loss_difference",
            "<=",
            {"smoke": 1e-9, "demo": 1e-9, "full": 1e-9},
            "Hand-written and automatic differentiation give the same loss at every step.",
        ),
    ),
    run=run,
)
