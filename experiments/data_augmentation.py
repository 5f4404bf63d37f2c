"""Data augmentation: brighter, darker and mirrored pictures beside those that there are.

A small convolutional net learns CIFAR-10's ten classes from 45,000 pictures; 5,000 others measure it after every epoch.
Then the same net, from the same first weights, learns from four versions of each picture: a tenth brighter, a tenth
darker, mirrored, and as it is. Do the versions, which show nothing that was not there, help with pictures never seen?

Choices that the problem leaves open: pictures and maps are padded by two, so that the borders count as much as the rest
and 640 numbers go into the first full layer, not 250; without padding the net is so small that versions help it less.
Batches of 128. Which 5,000 pictures are held out is drawn from the seed. The rate stays at Adam's 0.001 all along. The
augmented net makes four updates for each one of the other; so the report also compares the two after equally many
updates, and measures both on the test pictures, which the problem does not ask for.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from experiments.data import augmentation, cifar10
from experiments.harness import Claim, Experiment, Run, Settings, figures, settings
from experiments.harness.errors import UserError
from experiments.harness.loop import Loop
from experiments.vision import cnn, pictures
from experiments.vision.pages import show_mistakes
from tinygrad_hw import nn, optim
from tinygrad_hw.backend import Array, to_device, to_numpy

VERSIONS = (
    ("brighter", augmentation.brighten),
    ("darker", augmentation.darken),
    ("mirrored", augmentation.mirror),
)
LABELS = {"baseline": "originals", "augmented": "with versions"}
SLICE = 5000  # pictures that are augmented at once


@settings
class Config(Settings):
    """Settings of data_augmentation."""

    train_examples: Annotated[int, Field(ge=20, description="pictures for training and validation")] = 6_000
    validation_examples: Annotated[int, Field(ge=10, description="of these, held out for validation")] = 2_000
    test_examples: Annotated[int, Field(ge=10, description="pictures for testing")] = 2_000
    epochs: Annotated[int, Field(ge=1, le=100_000, description="passes over the training pictures")] = 60
    last: Annotated[int, Field(ge=1, description="epochs at the end whose mean accuracy counts")] = 10
    batch: Annotated[int, Field(ge=1, description="pictures per step")] = 128
    learning_rate: Annotated[float, Field(gt=0, description="of Adam")] = 0.001


@dataclass(frozen=True)
class Data:
    """What the nets learn from and are measured on.

    Attributes:
        images: float32 from -1 to 1, 4N x 3 x 32 x 32: N brighter, N darker, N mirrored, N as they are.
        labels: int64, 4N.
        originals: N.
        raw: uint8, M x 3 x 32 x 32: the validation pictures as loaded.
    """

    images: Array
    labels: Array
    originals: int
    raw: np.ndarray
    validation: cnn.Held
    test: cnn.Held
    names: tuple[str, ...]

    def part(self, variant: str) -> tuple[Array, Array]:
        """The pictures and labels of a variant: all, or the originals at the end."""
        start = 0 if variant == "augmented" else len(self.labels) - self.originals
        return self.images[start:], self.labels[start:]


def load(run: Run[Config]) -> tuple[cifar10.Pictures, np.ndarray, np.ndarray]:
    """The pictures, and the indices of those for training and for validation."""
    config = run.config
    loaded = cifar10.load(run.data_dir, train=config.train_examples, test=config.test_examples)
    order = run.stream("validation split").permutation(len(loaded.train_labels))
    train, validation = cifar10.split(loaded.train_labels, config.validation_examples, order)
    run.uses("cifar10", loaded.source, loaded.digest)
    return loaded, train, validation


def prepare(run: Run[Config]) -> Data:
    """Every version of every training picture, computed once."""
    loaded, train, validation = load(run)
    count, kinds = len(train), len(VERSIONS) + 1
    images = np.empty((kinds * count, 3, cifar10.SIDE, cifar10.SIDE), np.float32)
    for start in range(0, count, SLICE):
        stop = min(start + SLICE, count)
        originals = loaded.train_images[train[start:stop]] / np.float32(255)
        for kind, change in enumerate([*(change for _, change in VERSIONS), lambda same: same]):
            images[kind * count + start : kind * count + stop] = cnn.signed(change(originals))
    labels = np.tile(loaded.train_labels[train], kinds)
    raw = loaded.train_images[validation]
    return Data(
        to_device(images, run.device),
        to_device(labels, run.device),
        count,
        raw,
        cnn.Held.of(raw, loaded.train_labels[validation], run.device),
        cnn.Held.of(loaded.test_images, loaded.test_labels, run.device),
        loaded.names,
    )


def learn(run: Run[Config], variant: str, data: Data) -> tuple[nn.Sequential, Loop]:
    """Trains one net; both begin with the same weights."""
    images, labels = data.part(variant)
    net = cnn.new_net(cifar10.CLASSES, run.stream("init"), run.device)
    optimizer = optim.Adam(net.parameters(), lr=run.config.learning_rate)
    tracked = {"net": net, "optimizer": optimizer}
    loop = run.loop(variant, tracked, epochs=run.config.epochs, examples=len(labels), batch=run.config.batch)
    for step in loop:
        chosen = to_device(step.indices, run.device)
        step.mean(train_loss=cnn.train_step(net, optimizer, images[chosen], labels[chosen]))
        if step.ends_epoch:
            loss, accuracy = data.validation.measure(net)
            step.log(validation_loss=loss, validation_accuracy=accuracy)
    run.save_model(variant, net)
    return net, loop


def run(run: Run[Config]) -> None:
    """Trains both nets, and reports."""
    config = run.config
    if config.last > config.epochs:
        raise UserError(f"setting last={config.last}: more than the {config.epochs} epochs that there are")
    data = prepare(run)
    learned = {variant: learn(run, variant, data) for variant in LABELS}
    loops = {variant: loop for variant, (_, loop) in learned.items()}
    for variant, (net, loop) in learned.items():
        accuracy = loop.history("validation_accuracy")
        run.metric(
            **{
                f"{variant}_accuracy": accuracy[-config.last :].mean(),
                f"{variant}_best": accuracy.max(),
                f"{variant}_final": accuracy[-1],
                f"{variant}_train_loss": loop.history("train_loss")[-1],
                f"{variant}_test_accuracy": data.test.measure(net)[1],
                f"{variant}_seconds": loop.seconds,
            }
        )
    metrics = run.metrics
    run.metric(
        gain=metrics["augmented_accuracy"] - metrics["baseline_accuracy"],
        test_gain=metrics["augmented_test_accuracy"] - metrics["baseline_test_accuracy"],
        equal_updates_gain=at_equal_updates(loops, config.last) - metrics["baseline_accuracy"],
    )
    net = learned["augmented"][0]
    explain(run, data)
    show_versions(run, data)
    show_curves(run, loops)
    show_table(run, loops, data)
    show_first_layer(run, {variant: net for variant, (net, _) in learned.items()}, data)
    show_answers(run, net, data)


def at_equal_updates(loops: dict[str, Loop], last: int) -> float:
    """Mean validation accuracy of the augmented net over the updates in which the other made its last epochs."""
    baseline, augmented = loops["baseline"], loops["augmented"]
    share = baseline.steps_per_epoch / augmented.steps_per_epoch
    stop = max(1, round(baseline.epochs * share))
    start = min(stop - 1, round((baseline.epochs - last) * share))
    return float(augmented.history("validation_accuracy")[start:stop].mean())


def evaluate_saved(run: Run[Config]) -> None:
    """Measures the saved nets on the test pictures."""
    loaded, _, _ = load(run)
    test = cnn.Held.of(loaded.test_images, loaded.test_labels, run.device)
    for variant in LABELS:
        net = cnn.new_net(cifar10.CLASSES, run.stream("init"), run.device)
        run.load_model(variant, net)
        run.metric(**{f"{variant}_test_accuracy": test.measure(net)[1]})


def explain(run: Run[Config], data: Data) -> None:
    """The question and the mathematics."""
    config, report = run.config, run.report
    counts = cifar10.counts(data.validation.labels)
    report.section("Question")
    report.text(
        f"""A picture of a frog stays one when it is a little brighter, a little darker, or mirrored. A net does not
        know that; it can be told by showing it such versions. A small convolutional net learns ten classes from
        {data.originals:,} pictures of 32 x 32 pixels, then once more from these and three changed versions of each,
        {len(data.labels):,} in all. Does it answer more often rightly for pictures that it has not seen?"""
    )
    report.section("The net and the versions")
    report.text(
        """Ten kernels of 5 x 5 pixels and three colours slide over the picture, one pixel at a time; what they give is
        rectified, and the greatest of each 2 x 2 values is kept. Ten kernels over these ten maps and the same again
        leave ten maps of 8 x 8: 640 numbers, which go through 20 rectified units to one unit for each class and a
        softmax. Pictures and maps are padded by two zeros all around: without them, 250 numbers were left, and in a
        first run on CIFAR-10 the versions helped such a net less. With $w$ the kernels of a layer, $x$ its input of $C$
        maps:"""
    )
    report.formula(
        r"z_{o,r,q} = b_o + \sum_{c=1}^{C} \sum_{i=0}^{4} \sum_{j=0}^{4} w_{o,c,i,j} \, x_{c,\, r+i-2,\, q+j-2}",
        r"y_{o,r,q} = \max_{i,j \in \{0, 1\}} \max(z_{o,\, 2r+i,\, 2q+j}, 0)",
        r"w \sim N\left(0, \frac{2}{n}\right), \quad b = 0",
        note="""A convolution, $x$ being zero outside the picture, with pooling; and the weights to begin with for $n$
        inputs of a unit (He and others 2015).""",
    )
    report.text(
        f"""The loss is the cross-entropy, the optimiser Adam with rate {config.learning_rate:g}, a batch
        {config.batch} pictures, and training lasts {config.epochs} epochs. With $x$ a pixel's value from 0 to 1:"""
    )
    report.formula(
        r"\text{brighter}(x) = \min(1.1 \, x, 1), \quad \text{darker}(x) = 0.9 \, x, \quad "
        r"\text{mirrored}(x)_{r,q} = x_{r,\, 31-q}",
        note="Afterwards all are scaled to lie between -1 and 1. A version has the label of its picture.",
    )
    report.text(
        f"""{len(data.validation.labels):,} of the pictures were drawn at random before and set aside for validation:
        between {counts.min():,} and {counts.max():,} of each class. No version of them is learned from."""
    )


def show_versions(run: Run[Config], data: Data) -> None:
    """Some pictures and what becomes of them, read back from what the net is given."""
    chosen = np.linspace(0, data.originals - 1, 10).astype(np.int64)
    taken = [data.images[to_device(kind * data.originals + chosen, run.device)] for kind in range(len(VERSIONS) + 1)]
    shown = [np.clip((to_numpy(images) + 1) / 2, 0, 1) for images in taken]
    labels = to_numpy(data.labels[to_device(chosen, run.device)])
    names = [name for name, _ in VERSIONS]
    run.report.figure(
        "versions",
        augmentation.preview(
            list(zip(["original", *names], [shown[-1], *shown[:-1]], strict=True)), [data.names[n] for n in labels]
        ),
        caption="""Training pictures as they are with their class, then brighter, darker, mirrored: taken from the array
        that the net learns from, scaled back.""",
        alt="Four rows of the same ten small pictures: original, brighter, darker, mirrored",
        raster=True,
    )


def show_curves(run: Run[Config], loops: dict[str, Loop]) -> None:
    """Both validation curves, by epoch and by updates, and the losses."""
    figure, (left, right) = figures.new(1, 2, width=9.5, height=4.2, sharey=True)
    losses, (train, validation) = figures.new(1, 2, width=9.5, height=3.6, sharey=True)
    for (variant, loop), colour in zip(loops.items(), figures.COLOURS, strict=False):
        accuracy, label = loop.history("validation_accuracy"), LABELS[variant]
        epochs = np.arange(1, len(accuracy) + 1)
        left.plot(epochs, accuracy, color=colour, label=label)
        left.axhline(run.metrics[f"{variant}_accuracy"], color=colour, linestyle=":", linewidth=1.2)
        right.plot(epochs * loop.steps_per_epoch, accuracy, color=colour)
        train.plot(epochs, loop.history("train_loss"), color=colour, label=label)
        validation.plot(epochs, loop.history("validation_loss"), color=colour)
    left.set(ylabel="share of right answers", title="By epoch")
    right.set(xlabel="updates", title="By updates made", xscale="log")
    train.set(ylabel="cross-entropy", title="On the pictures learned from")
    validation.set(title="On the validation pictures")
    figures.by_epoch(left, train, validation)
    left.legend(loc="lower right")
    train.legend()
    run.report.section("Validation accuracy")
    run.report.figure(
        "curves",
        figure,
        caption=f"""Right answers among the validation pictures after every epoch; dotted, the mean of the last
        {run.config.last} epochs. To the right the same curves by the number of updates: an epoch of the augmented
        pictures has four times as many.""",
        alt="Validation accuracy of both nets by epoch and by updates",
    )
    run.report.figure(
        "losses",
        losses,
        caption="""Cross-entropy, mean over each epoch while learning, and on the validation pictures after it. Where
        the left one falls while the right one rises, the net learns its pictures by heart.""",
        alt="Training and validation loss of both nets by epoch",
    )


def show_table(run: Run[Config], loops: dict[str, Loop], data: Data) -> None:
    """What came out, in numbers and in words."""
    m, config = run.metrics, run.config
    values = ("accuracy", "best", "test_accuracy")
    rows = [
        (
            LABELS[variant],
            len(data.part(variant)[1]),
            loop.steps,
            *(f"{m[f'{variant}_{value}']:.1%}" for value in values),
            m[f"{variant}_train_loss"],
            f"{loop.seconds / 60:.1f}",
        )
        for variant, loop in loops.items()
    ]
    last = f"Mean of the last {config.last}"
    run.report.table(
        ("Learned from", "Pictures", "Updates", last, "Best epoch", "Test", "Training loss", "Minutes"),
        rows,
        caption=f"""After {config.epochs} epochs: share of right answers on the validation pictures and, with the last
        weights, on the test pictures.""",
    )
    error = (m["baseline_accuracy"] * (1 - m["baseline_accuracy"]) / len(data.validation.labels)) ** 0.5
    equal, more = m["equal_updates_gain"], "more" if m["gain"] >= 0 else "less"
    if m["gain"] < 2 * error:
        reading = "That is no more than chance may do."
    elif equal > 2 * error:
        reading = "So the versions help by what they show, not only by the number of updates that they bring."
    else:
        reading = "So within that time they bring little or nothing: they help where the net learns for longer."
    run.report.text(
        f"""With the versions {abs(m["gain"]):.1%} of the validation pictures {more} are answered rightly (standard
        error of each share {error:.1%}), and on the test pictures the difference is {m["test_gain"]:+.1%}. An
        epoch with versions has four times as many updates; after as many as the net on originals makes in all, the
        difference on the validation pictures is {equal:+.1%}. {reading}"""
    )


def show_first_layer(run: Run[Config], nets: dict[str, nn.Sequential], data: Data) -> None:
    """Kernels of both nets, and what the augmented one's see in some pictures."""
    run.report.section("The first layer")
    weights = np.concatenate([to_numpy(net[0].weight.data) for net in nets.values()])
    run.report.figure(
        "filters",
        pictures.filters(weights),
        caption="""The kernels of the first layer: 1 to 10 of the net on originals, 11 to 20 of the one with versions.
        Grey is zero; a kernel answers most where the picture looks as it does.""",
        alt="Twenty small colour pictures of kernels: edges and blobs of colour",
        raster=True,
    )
    some = data.raw[np.linspace(0, len(data.raw) - 1, 5).astype(np.int64)]
    run.report.figure(
        "feature_maps",
        pictures.feature_maps(some / 255, cnn.first_maps(nets["augmented"], some, run.device)),
        caption="""What the ten kernels of the net with versions (11 to 20 above) answer to five validation pictures:
        bright where they answer strongly, each on its own scale.""",
        alt="Five pictures, each followed by ten maps of the first layer's answers",
        raster=True,
    )


def show_answers(run: Run[Config], net: nn.Sequential, data: Data) -> None:
    """Confusion matrix and the most confident mistakes of the augmented net on the validation pictures."""
    labels, probabilities = data.validation.labels, data.validation.probabilities(net)
    counts = pictures.confusion(labels, probabilities.argmax(axis=1), cifar10.CLASSES)
    apart = counts - np.diag(np.diag(counts))
    true, answer = np.unravel_index(apart.argmax(), apart.shape)
    run.report.section("What is taken for what")
    run.report.figure(
        "confusion",
        pictures.confusion_matrix(counts, data.names),
        caption=f"""Answers of the net with versions to the validation pictures, in percent of each class; less than
        half a percent is left out. Most often {data.names[true]} is taken for {data.names[answer]}.""",
        alt="Matrix of classes against answers, dark along the diagonal",
    )
    show_mistakes(run, data.raw / 255, labels, probabilities, data.names)


EXPERIMENT = Experiment(
    name="data_augmentation",
    title="Data augmentation: brighter, darker and mirrored pictures beside those that there are",
    profiles={
        "smoke": Config(
            train_examples=300,
            validation_examples=100,
            test_examples=100,
            epochs=2,
            last=1,
            batch=50,
            learning_rate=0.003,
        ),
        "demo": Config(),
        "full": Config(train_examples=50_000, validation_examples=5_000, test_examples=10_000, epochs=200),
    },
    claims=(
        Claim(
            "gain",
            ">=",
            {"demo": 0.02, "full": 0.02},
            "By how much more validation pictures are answered rightly with augmentation, mean of the last epochs.",
        ),
    ),
    run=run,
    evaluate=evaluate_saved,
)
