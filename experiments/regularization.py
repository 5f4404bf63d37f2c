"""Regularisation: five ways to keep a net from learning its training digits by heart.

A net with far more weights than digits to learn from is trained without any precaution, then with early stopping, noise
on the inputs, a penalty on the norm of the weights, augmented digits, dropout, and with all of them together. Training,
validation and test digits are apart from each other. Everything is done for several seeds, each with its own split and
its own first weights; all techniques share them, so that differences are taken seed by seed.

Choices that the problem leaves open: the digits are learned twice, once with the labels that they have, once after a
share of the training and validation labels was replaced by wrong ones, as happens where nobody checks them. With right
labels, a net that fits every training digit is overconfident, which its test loss shows and its accuracy hardly does;
with wrong labels it is wrong as well. So a technique beats none when its test loss is lower with right labels, and when
it reads more test digits with wrong ones; all test labels are right. Strengths were chosen from grids of three by the
validation digits of another seed (100) of the embedded sample: by their loss in the first half, by their accuracy in
the second. Dropout has inputs to leave out as well: hidden ones alone did not keep the net from becoming as sure of
itself after 150 epochs as without. `together` takes a share of each.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from scipy import ndimage

import tinygrad_hw as tg
from experiments.data import mnist
from experiments.harness import Best, Claim, Experiment, Run, Settings, figures, settings
from experiments.harness.errors import UserError
from experiments.harness.seeds import Spread, spread
from tinygrad_hw import functional as F
from tinygrad_hw import nn, optim
from tinygrad_hw.backend import Array, device_of, to_device, to_numpy
from tinygrad_hw.random import Stream

SIZES = (784, 128, 64, 10)
PARTS = {"right": "right labels", "wrong": "some labels wrong"}
LABELS = {
    "none": "none",
    "early_stopping": "early stopping",
    "noise": "noise",
    "penalty": "weight penalty",
    "augmentation": "augmentation",
    "dropout": "dropout",
    "together": "all together",
}
TRIED = list(LABELS)[1:]
Share = Annotated[float, Field(ge=0, lt=1)]
Strength = Annotated[float, Field(ge=0)]


@settings
class Config(Settings):
    """Settings of regularization. Pairs are for right labels, and for some wrong ones."""

    seeds: Annotated[int, Field(ge=2, le=100, description="splits and first weights, each for every technique")] = 5
    train_examples: Annotated[int, Field(ge=10, description="digits to learn from")] = 500
    validation_examples: Annotated[int, Field(ge=10, description="digits that early stopping looks at")] = 500
    epochs: Annotated[int, Field(ge=1, le=100_000, description="passes over the training digits, at most")] = 60
    batch: Annotated[int, Field(ge=1, description="digits per step")] = 50
    learning_rate: Annotated[float, Field(gt=0, description="of Adam")] = 0.001
    wrong_labels: Annotated[Share, Field(description="share of wrong labels in the second half")] = 0.2
    patience: Annotated[int, Field(ge=1, description="early stopping: epochs without a better validation loss")] = 15
    noise: Annotated[tuple[Strength, Strength], Field(description="its standard deviation; ink has value 1")] = (
        0.6,
        0.6,
    )
    penalty: Annotated[tuple[Strength, Strength], Field(description="λ of the penalty λ/2 ‖W‖²")] = (0.01, 0.04)
    shift: Annotated[float, Field(ge=0, le=14, description="augmentation: pixels, at most")] = 2.0
    turn: Annotated[float, Field(ge=0, le=180, description="augmentation: degrees, at most")] = 10.0
    zoom: Annotated[Share, Field(description="augmentation: change of size, at most")] = 0.1
    dropout: Annotated[tuple[Share, Share], Field(description="share of inputs and hidden units left out")] = (0.5, 0.5)
    together: Annotated[float, Field(gt=0, le=1, description="share of noise, penalty, dropout when together")] = 0.2


@dataclass(frozen=True)
class Technique:
    """What is done about overfitting: strengths, zero for nothing."""

    early: bool = False
    noise: float = 0.0
    penalty: float = 0.0
    augment: bool = False
    dropout: float = 0.0


def techniques(config: Config, part: str) -> dict[str, Technique]:
    """Nothing, each one alone, all together, with the strengths of one half."""
    half, share = list(PARTS).index(part), config.together
    noise, penalty, dropout = config.noise[half], config.penalty[half], config.dropout[half]
    return {
        "none": Technique(),
        "early_stopping": Technique(early=True),
        "noise": Technique(noise=noise),
        "penalty": Technique(penalty=penalty),
        "augmentation": Technique(augment=True),
        "dropout": Technique(dropout=dropout),
        "together": Technique(True, share * noise, share * penalty, True, share * dropout),
    }


@dataclass(frozen=True)
class Split:
    """Digits: pixels float32 N x 784 from 0 to 1, labels int64 N."""

    pixels: Array
    labels: Array


@dataclass(frozen=True)
class Digits:
    """What one seed works with."""

    train: Split
    validation: Split
    test: Split


def digits_of(run: Run[Config], seed: int, loaded: mnist.Digits, wrong: float) -> Digits:
    """Draws training and validation digits, and gives a share of them wrong labels."""
    n, count = run.config.train_examples, run.config.train_examples + run.config.validation_examples
    chosen = run.stream(f"split {seed}").permutation(len(loaded.train_labels))[:count]
    stream, images, labels = (
        run.stream(f"wrong labels {seed}"),
        loaded.train_images[chosen],
        loaded.train_labels[chosen],
    )
    spoilt, others = stream.bernoulli(count, wrong), stream.integers(1, mnist.CLASSES, count)
    labels = np.where(spoilt, (labels + others) % mnist.CLASSES, labels)

    def split(images: np.ndarray, labels: np.ndarray) -> Split:
        pixels = images.reshape(len(images), -1).astype(np.float32) / 255
        return Split(to_device(pixels, run.device), to_device(labels, run.device))

    test = split(loaded.test_images, loaded.test_labels)
    return Digits(split(images[:n], labels[:n]), split(images[n:], labels[n:]), test)


def new_net(dropout: float, masks: Stream | None, init: Stream, device: str) -> nn.Sequential:
    """784-128-64-10 with rectified units and dropout before each layer; weights after He and others (2015)."""
    layers: list[nn.Module] = [nn.Dropout(dropout, stream=masks)]
    for inputs, outputs in pairwise(SIZES):
        linear = nn.Linear(inputs, outputs, stream=init)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu", stream=init)
        layers += [linear, nn.ReLU(), nn.Dropout(dropout, stream=masks)]
    return nn.Sequential(*layers[:-2]).to(device=device)


class Learner:
    """A net under training with a technique; its first weights depend on the seed alone."""

    def __init__(self, run: Run[Config], seed: int, technique: Technique) -> None:
        self._config, self._technique = run.config, technique
        self._streams = {name: run.stream(f"{name} {seed}") for name in ("noise", "augmentation", "dropout")}
        self.net = new_net(technique.dropout, self._streams["dropout"], run.stream(f"init {seed}"), run.device)
        self._weights = [layer.weight for layer in self.net.children() if isinstance(layer, nn.Linear)]
        self._optimizer = optim.Adam(self.net.parameters(), lr=run.config.learning_rate)

    def tracked(self) -> dict[str, Any]:
        """What a step changes."""
        return {"net": self.net, "optimizer": self._optimizer, **self._streams}

    def step(self, pixels: Array, labels: Array) -> float:
        """Makes one update and returns the loss before it, without the penalty."""
        technique = self._technique
        if technique.augment:
            pixels = augmented(pixels, self._streams["augmentation"], self._config)
        if technique.noise:
            pixels = pixels + self._streams["noise"].normal(pixels.shape, std=technique.noise, device=device_of(pixels))
        loss = total = F.cross_entropy(self.net(tg.Tensor(pixels)), labels)
        if technique.penalty:
            for weight in self._weights:
                total = total + 0.5 * technique.penalty * (weight * weight).sum()
        self._optimizer.zero_grad()
        total.backward()
        self._optimizer.step()
        return float(loss.item())


def augmented(pixels: Array, stream: Stream, config: Config) -> Array:
    """Each digit turned, enlarged or made smaller, and shifted by random amounts, with linear interpolation."""
    images = to_numpy(pixels).reshape(-1, mnist.SIDE, mnist.SIDE)
    count, middle = len(images), (mnist.SIDE - 1) / 2
    drawn = stream.uniform((4, count, 1, 1), -1.0, 1.0)
    angle, size = np.deg2rad(config.turn) * drawn[0], 1 + config.zoom * drawn[1]
    rows, columns = np.mgrid[: mnist.SIDE, : mnist.SIDE] - middle
    places = np.empty((3, *images.shape), np.float32)  # where each new pixel comes from: digit, row, column
    places[0] = np.arange(count)[:, None, None]
    places[1] = (np.cos(angle) * rows - np.sin(angle) * columns) / size + config.shift * drawn[2] + middle
    places[2] = (np.sin(angle) * rows + np.cos(angle) * columns) / size + config.shift * drawn[3] + middle
    moved = ndimage.map_coordinates(images, places, order=1)
    return to_device(moved.reshape(pixels.shape), device_of(pixels))


def evaluate(net: nn.Sequential, split: Split) -> tuple[float, float]:
    """Mean cross-entropy and share of right answers, without dropout."""
    net.eval()
    with tg.no_grad():
        logits = net(tg.Tensor(split.pixels))
        loss = float(F.cross_entropy(logits, split.labels).item())
    net.train()
    return loss, float((logits.data.argmax(axis=1) == split.labels).mean())


@dataclass(frozen=True)
class Outcome:
    """A finished training.

    Attributes:
        loss, accuracy: on the test digits, of the net that is kept: the last, or the best with early stopping.
        curves: by value, per epoch, of the net that would be kept if training ended then.
        epochs: how many were made.
    """

    loss: float
    accuracy: float
    curves: Mapping[str, np.ndarray]
    epochs: int


def learn(run: Run[Config], part: str, name: str, seed: int, digits: Digits) -> Outcome:
    """Trains one net and tests it. The nets of the first seed are saved; with early stopping, the last one, too."""
    config, technique = run.config, techniques(run.config, part)[name]
    learner = Learner(run, seed, technique)
    best = Best("validation_loss", {"net": learner.net}, patience=config.patience) if technique.early else None
    examples, batch = config.train_examples, config.batch
    loop = run.loop(
        f"{part}-{name}-seed{seed}", learner.tracked(), epochs=config.epochs, examples=examples, batch=batch, best=best
    )
    for step in loop:
        chosen = to_device(step.indices, run.device)
        step.mean(batch_loss=learner.step(digits.train.pixels[chosen], digits.train.labels[chosen]))
        if step.ends_epoch:
            train_loss, _ = evaluate(learner.net, digits.train)
            validation_loss, accuracy = evaluate(learner.net, digits.validation)
            step.log(train_loss=train_loss, validation_loss=validation_loss, validation_accuracy=accuracy)
    histories = {value: loop.history(value) for value in ("train_loss", "validation_loss", "validation_accuracy")}
    epochs = len(histories["train_loss"])
    kept = np.arange(epochs)
    if best is not None:
        kept = np.array([histories["validation_loss"][: epoch + 1].argmin() for epoch in kept])
        if seed == 0:
            run.save_model(f"{part}-{name}-last", learner.net)
        best.restore()
    if seed == 0:
        run.save_model(f"{part}-{name}", learner.net)
    curves = {value: np.pad(h[kept], (0, config.epochs - epochs), "edge") for value, h in histories.items()}
    return Outcome(*evaluate(learner.net, digits.test), curves, epochs)


Results = dict[str, list[Outcome]]


def run(run: Run[Config]) -> None:
    """Trains every net of both halves, and reports."""
    config, loaded = run.config, load(run)
    results: dict[str, Results] = {part: {} for part in PARTS}
    for part, by_name in results.items():
        drawn = [digits_of(run, seed, loaded, config.wrong_labels * (part == "wrong")) for seed in range(config.seeds)]
        for name in LABELS:
            by_name[name] = [learn(run, part, name, seed, digits) for seed, digits in enumerate(drawn)]
        measure(run, part, by_name)
    explain(run)
    show_inputs(run, digits_of(run, 0, loaded, 0.0))
    for part, value in (("right", "validation_loss"), ("wrong", "validation_accuracy")):
        run.report.section(f"With {PARTS[part]}")
        show_curves(run, results[part], part, value)
        show_table(run, results[part], part)
    show_gains(run, results)
    comment(run, results)


def load(run: Run[Config]) -> mnist.Digits:
    """All digits that are there. Raises DataError when they cannot be read, UserError when they are too few."""
    loaded = mnist.load(run.data_dir)
    wanted, found = run.config.train_examples + run.config.validation_examples, len(loaded.train_labels)
    if wanted > found:
        raise UserError(f"{wanted:,} digits wanted for training and validation, but there are {found:,}")
    mnist.check_classes(loaded)
    run.uses("mnist", loaded.source, loaded.digest)
    return loaded


def evaluate_saved(run: Run[Config]) -> None:
    """Tests the saved nets."""
    test = digits_of(run, 0, load(run), 0.0).test
    for part in PARTS:
        for name, technique in techniques(run.config, part).items():
            for suffix in ("", "-last") if technique.early else ("",):
                net = new_net(technique.dropout, None, run.stream("init"), run.device)
                run.load_model(f"{part}-{name}{suffix}", net)
                run.metric(**{f"{part}_{name}_seed0_accuracy{suffix.replace('-', '_')}": evaluate(net, test)[1]})


def gains(by_name: Results, name: str) -> dict[str, np.ndarray]:
    """By how much a technique beats none, seed by seed: decrease of the test loss, increase of the accuracy."""
    pairs = list(zip(by_name["none"], by_name[name], strict=True))
    return {
        "loss": np.array([none.loss - other.loss for none, other in pairs]),
        "accuracy": np.array([other.accuracy - none.accuracy for none, other in pairs]),
    }


def measure(run: Run[Config], part: str, by_name: Results) -> None:
    """The metrics of one half."""
    for name, outcomes in by_name.items():
        run.metric(**{f"{part}_{name}_seed0_accuracy": outcomes[0].accuracy})
        for value, gained in gains(by_name, name).items():
            key, found, over = f"{part}_{name}_{value}", values_of(outcomes, value), spread(gained)
            run.metric(**{key: found.mean, f"{key}_spread": found.spread})
            if name != "none":
                wins = float((gained > 0).mean())
                run.metric(**{f"{key}_gain": over.mean, f"{key}_gain_spread": over.spread, f"{key}_wins": wins})


def values_of(outcomes: list[Outcome], value: str) -> Spread:
    """Test loss or accuracy over the seeds."""
    return spread([getattr(outcome, value) for outcome in outcomes])


def explain(run: Run[Config]) -> None:
    """The question and what each technique does."""
    config, report = run.config, run.report
    weights = sum(a * b for a, b in pairwise(SIZES))
    report.section("Question")
    report.text(
        f"""A net with {weights:,} weights and {config.train_examples:,} digits to learn from can learn them by heart,
        which is not what is wanted: it should read digits that it has not seen. Regularisation is whatever is changed
        about learning so that it does better on those, even if it does worse on the ones it learns from. Five such
        changes are tried, each alone and all together. Does each of them help, and by more than chance?"""
    )
    report.section("Five techniques")
    report.text(
        f"""The net is 784-{SIZES[1]}-{SIZES[2]}-10 with rectified units, the loss is the cross-entropy $C$, the
        optimiser Adam. Of the digits that may be learned from, each seed draws {config.train_examples:,} for training
        and {config.validation_examples:,} for validation; the test digits are never used before the end.""",
        rf"""Early stopping keeps the weights of the epoch with the least validation loss, and ends the training when
        {config.patience} epochs have brought no better one. Noise adds a normal number to every pixel, anew in every
        step. The penalty pulls all weights towards zero:""",
    )
    report.formula(
        r"\tilde{x} = x + \varepsilon, \quad \varepsilon_i \sim N(0, s^2)",
        r"\tilde{C} = C + \frac{\lambda}{2} \sum_l \| W_l \|^2",
        note=r"Noise with standard deviation $s$; penalty of strength $\lambda$ on weights, but not on biases.",
    )
    report.text(
        rf"""Augmentation shows each digit turned by up to {config.turn:g}°, changed in size by up to {config.zoom:.0%}
        and shifted by up to {config.shift:g} pixels in each direction, differently every time: knowledge about what
        does not change a digit. Dropout leaves out each pixel and hidden unit with probability $p$ in every step and
        makes up for it by enlarging the others, so that no unit can rely on another:"""
    )
    report.formula(
        r"\tilde{h}_i = \frac{m_i}{1 - p} h_i, \quad P(m_i = 0) = p, \; P(m_i = 1) = 1 - p",
        note="Dropout while training. When the net is used, all units work.",
    )
    signs = {"noise": "$s$", "penalty": r"$\lambda$", "dropout": "$p$"}
    report.table(
        ("Technique", "Strength", *(f"with {text}" for text in PARTS.values())),
        [(LABELS[name], sign, *getattr(config, name)) for name, sign in signs.items()],
        caption=f"""Strengths of each technique alone. Together, these three have {config.together:.0%} of it;
        augmentation and early stopping are as they are alone.""",
    )


def show_inputs(run: Run[Config], digits: Digits) -> None:
    """What the net sees of the same digits."""
    pixels = digits.train.pixels[:8]
    noisy = pixels + run.stream("shown noise").normal(pixels.shape, std=run.config.noise[0], device=run.device)
    rows = [pixels, noisy, *(augmented(pixels, run.stream(f"shown {n}"), run.config) for n in range(2))]
    images = np.concatenate([to_numpy(row) for row in rows]).reshape(-1, mnist.SIDE, mnist.SIDE)
    titles = [title for title in ("as it is", "noise", "augmented", "augmented") for _ in range(len(pixels))]
    run.report.figure(
        "inputs",
        figures.grid(images, titles, columns=len(pixels)),
        caption="Training digits as they are, with noise, and augmented in two of the ways that the net gets to see.",
        alt="Four rows of handwritten digits: clean, grainy, and twice slightly turned, shifted and changed in size",
        raster=True,
    )


def show_curves(run: Run[Config], by_name: Results, part: str, value: str) -> None:
    """Learning curves with their spread: a panel for each technique, with none beside it."""
    figure, axes = figures.new(2, 3, width=9.0, height=5.6, sharex=True, sharey=True)
    for axis, name in zip(axes.flat, TRIED, strict=True):
        for shown, colour in (("none", "#777777"), (name, figures.COLOURS[0])):
            curves = np.array([outcome.curves[value] for outcome in by_name[shown]])
            epochs, mean, deviation = np.arange(1, curves.shape[1] + 1), curves.mean(axis=0), curves.std(axis=0, ddof=1)
            axis.fill_between(epochs, mean - deviation, mean + deviation, color=colour, alpha=0.25, linewidth=0)
            axis.plot(epochs, mean, color=colour, label="none" if shown == "none" else "with the technique")
            if value == "validation_loss":
                train = np.mean([outcome.curves["train_loss"] for outcome in by_name[shown]], axis=0)
                axis.plot(epochs, train, ":", color=colour, linewidth=1.2)
        axis.set_title(LABELS[name])
    figure.supylabel(value.replace("_", " "))
    if value == "validation_loss":
        axes[0, 0].set_ylim(0, 1.2)
    figures.by_epoch(*axes[-1])
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    dotted = "; dotted, the mean loss on the training digits" if value == "validation_loss" else ""
    run.report.figure(
        f"curves_{part}",
        figure,
        caption=f"""Learning with {PARTS[part]}: mean over {run.config.seeds} seeds, shade one standard deviation each
        way{dotted}. Where training stops early, the curve is that of the best net so far.""",
        alt=f"Six plots of {value.replace('_', ' ')} by epoch, each technique beside none",
    )


def show_table(run: Run[Config], by_name: Results, part: str) -> None:
    """Test loss and accuracy with their spread, and the differences from none."""
    rows = []
    for name, label in LABELS.items():
        row = [label]
        for value, gained in gains(by_name, name).items():
            percent = value == "accuracy"
            row.append(plus_minus(values_of(by_name[name], value), percent))
            wins = f"{int((gained > 0).sum())} of {len(gained)}"
            row += ["-", "-"] if name == "none" else [plus_minus(spread(gained), percent, "+"), wins]
        rows.append(row)
    run.report.table(
        ("Technique", "Test loss", "Lower by", "Wins", "Right answers", "More by", "Wins"),
        rows,
        caption=f"""With {PARTS[part]}: mean ± sample standard deviation over {run.config.seeds} seeds. Differences
        from none are taken seed by seed; a win is a seed in which the technique did better.""",
    )


def plus_minus(found: Spread, percent: bool, sign: str = "") -> str:
    """A mean with its spread: `0.512 ± 0.02`, or in percent."""
    times, digits, unit = (100, 1, " %") if percent else (1, 3, "")
    return f"{times * found.mean:{sign}.{digits}f} ± {times * found.spread:.{digits}f}{unit}"


def show_gains(run: Run[Config], results: dict[str, Results]) -> None:
    """The difference from none of every technique in every seed."""
    figure, axes = figures.new(1, 2, width=9.0, height=3.6, sharey=True)
    shown = zip(axes, PARTS, ("loss", "accuracy"), ("test loss, lower by", "right answers, more by (%)"), strict=True)
    for axis, part, value, unit in shown:
        for place, name in enumerate(TRIED):
            gained = gains(results[part], name)[value] * (100 if value == "accuracy" else 1)
            axis.plot(gained, np.full(len(gained), place), "o", color=figures.COLOURS[0], alpha=0.5, markersize=5)
            axis.plot([gained.mean()] * 2, [place - 0.3, place + 0.3], color="black", linewidth=2)
        axis.axvline(0, color="#777777", linewidth=1)
        axis.set(title=PARTS[part], xlabel=unit, yticks=range(len(TRIED)), yticklabels=[LABELS[name] for name in TRIED])
    axes[0].invert_yaxis()
    run.report.section("Seed by seed")
    run.report.figure(
        "gains",
        figure,
        caption="""What each technique gains over none on the test digits: a dot for each seed, a bar for their mean.
        Both nets of a difference have the same digits, first weights and order of batches.""",
        alt="Dots of the gains of six techniques, nearly all to the right of zero",
    )


def comment(run: Run[Config], results: dict[str, Results]) -> None:
    """What came out, in words with the numbers of this run."""
    config = run.config
    right = {name: gains(results["right"], name) for name in TRIED}
    best = max(TRIED[:-1], key=lambda name: float(right[name]["loss"].mean()))
    worse = " and ".join(LABELS[name] for name in TRIED if right[name]["accuracy"].mean() <= 0)
    why = ": it alone adds knowledge about digits" if best == "augmentation" else ""
    unchanged = (
        f"In right answers {worse} gain nothing here: the net is less sure, not more often right." if worse else ""
    )
    stopped = spread([outcome.epochs for outcome in results["right"]["early_stopping"]])
    spoilt, mended = (100 * values_of(results["wrong"][name], "accuracy").mean for name in ("none", "together"))
    run.report.section("Comment")
    run.report.text(
        f"""With right labels the unregularised net soon gives every training digit its label with near certainty, and
        its loss on others rises again. The largest single gain comes from {LABELS[best]}
        ({right[best]["loss"].mean():.2f} off the test loss){why}. {unchanged} Early stopping costs nothing: it ends
        after {stopped.mean:.0f} ± {stopped.spread:.0f} of {config.epochs} epochs.""",
        f"""With {config.wrong_labels:.0%} of the labels wrong, learning by heart is learning mistakes: without
        regularisation {spoilt:.1f} % of the test digits are read rightly, with all techniques together {mended:.1f} %.
        A wrong label agrees with nothing else that the net sees, so whatever makes single examples harder to memorise,
        or stops before they are memorised, leaves the majority of right ones to decide.""",
    )


EXPERIMENT = Experiment(
    name="regularization",
    title="Regularisation: five ways to keep a net from learning its training digits by heart",
    profiles={
        "smoke": Config(seeds=2, epochs=2, train_examples=60, validation_examples=40, batch=20),
        "demo": Config(),
        "full": Config(epochs=150),
    },
    claims=tuple(
        Claim(f"{part}_{name}_{value}_wins", ">=", {"demo": 0.8, "full": 1.0}, text.format(LABELS[name].capitalize()))
        for part, value, text in (
            ("right", "loss", "{}: share of the seeds in which the test loss is lower than with none."),
            ("wrong", "accuracy", "{}, labels wrong: share of the seeds in which more test digits are read."),
        )
        for name in TRIED
    ),
    run=run,
    evaluate=evaluate_saved,
)
