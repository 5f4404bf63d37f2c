"""Self-supervised learning: what telling which way up a picture is teaches.

Only the last 500 of CIFAR-10's 50,000 training pictures count as labelled. A net learns from the other 49,500, without
their labels, to tell three made-up classes apart: upright, upside down, turned by 90 degrees counter-clockwise. All its
layers but the last then begin a net for the ten real classes, which learns from the 500; beside it, the same net learns
from the 500 from scratch. The test pictures serve as validation, as the problem says.

Choices that the problem leaves open: the net and its input are those of `data_augmentation` (padded by two, values from
-1 to 1). The made-up classes are learned in batches of 2,000 (128 in `demo`): in batches of 128, a hundred epochs are
16 times as many updates, after which the layers know which way up a picture is and little that helps with anything
else. Afterwards all 500 labelled pictures are taken at once, so an epoch is an update. The transferred layers learn at
0.00001, the new one at 0.001 (in `demo`, which makes a third of the updates, in batches of 50, at 0.0001). Nothing is
done to make the 500 exactly 50 a class: the last 500 are taken as they are, and the report says how many there are of
each.

`--set pretext=PATH` takes the net for the made-up classes from another run's folder, or from a safetensors file,
instead of training one.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from experiments.data import DataError, cifar10
from experiments.harness import Claim, Experiment, Run, Settings, settings
from experiments.harness.errors import UserError
from experiments.harness.loop import Loop
from experiments.self_supervision import pages
from experiments.self_supervision.pages import LABELS
from experiments.self_supervision.ways import WAYS, turned
from experiments.vision import cnn
from tinygrad_hw import nn, optim, serialization
from tinygrad_hw.backend import Array, to_device


@settings
class Config(Settings):
    """Settings of self_supervised."""

    train_examples: Annotated[int, Field(ge=20, description="training pictures, labelled and not")] = 6_000
    labelled_examples: Annotated[int, Field(ge=10, description="of these, the last: their labels are known")] = 500
    test_examples: Annotated[int, Field(ge=10, description="pictures for testing")] = 2_000
    pretext_epochs: Annotated[int, Field(ge=1, le=100_000, description="passes over the made-up classes")] = 12
    pretext_batch: Annotated[int, Field(ge=1, description="pictures per step of the made-up classes")] = 128
    epochs: Annotated[int, Field(ge=1, le=1_000_000, description="passes over the labelled pictures")] = 300
    every: Annotated[int, Field(ge=1, description="epochs from one test to the next")] = 10
    batch: Annotated[int, Field(ge=0, description="labelled pictures per step; 0 takes all at once")] = 50
    learning_rate: Annotated[float, Field(gt=0, description="of Adam, for weights that begin at random")] = 0.001
    transfer_rate: Annotated[float, Field(ge=0, description="of Adam, for weights that were transferred")] = 0.0001
    pretext: Annotated[str, Field(description="run folder or safetensors file of a net for the made-up classes")] = ""


@dataclass(frozen=True)
class Data:
    """What is learned from and tested on.

    Attributes:
        unlabelled: uint8, N x 3 x 32 x 32; their labels are not here.
        images, labels: the labelled pictures, float32 from -1 to 1, and their classes.
        raw_test: uint8, M x 3 x 32 x 32, the test pictures as loaded.
    """

    unlabelled: np.ndarray
    images: Array
    labels: np.ndarray
    test: cnn.Held
    raw_test: np.ndarray
    names: tuple[str, ...]


def load(run: Run[Config]) -> Data:
    """Sets the last pictures aside with their labels. Raises DataError when a class has none among them."""
    config = run.config
    loaded = cifar10.load(run.data_dir, train=config.train_examples, test=config.test_examples)
    count = config.labelled_examples
    if count >= len(loaded.train_labels):
        raise UserError(f"{count:,} labelled pictures wanted of {len(loaded.train_labels):,}, which leaves no others")
    images, labels = loaded.train_images[-count:], loaded.train_labels[-count:]
    missing = np.flatnonzero(cifar10.counts(labels) == 0)
    if missing.size:
        raise DataError(loaded.source, f"no picture of class {missing[0]} among the last {count:,} of the training set")
    run.uses("cifar10", loaded.source, loaded.digest)
    return Data(
        loaded.train_images[:-count],
        cnn.batch_innermost(to_device(cnn.signed(images), run.device)),
        labels,
        cnn.Held.of(loaded.test_images, loaded.test_labels, run.device),
        loaded.test_images,
        loaded.names,
    )


def learn_ways(run: Run[Config], data: Data) -> nn.Sequential:
    """The net for the made-up classes: trained and saved, or from elsewhere; either way read from its file."""
    config = run.config
    net = cnn.new_net(len(WAYS), run.stream("pretext init"), run.device)
    if config.pretext:
        read_pretext(run, net, Path(config.pretext))
        return net
    optimizer = optim.Adam(net.parameters(), lr=config.learning_rate)
    loop = run.loop(
        "pretext",
        {"net": net, "optimizer": optimizer},
        epochs=config.pretext_epochs,
        examples=len(WAYS) * len(data.unlabelled),
        batch=config.pretext_batch,
    )
    images = labels = None
    for step in loop:
        if images is None or labels is None:  # here, so that a resumed run that has done this need not do it again
            made, ways = turned(data.unlabelled)
            images, labels = to_device(cnn.signed(made), run.device), to_device(ways, run.device)
            del made
        chosen = to_device(step.indices, run.device)
        step.mean(train_loss=cnn.train_step(net, optimizer, images[chosen], labels[chosen]))
    run.metric(pretext_train_loss=loop.history("train_loss")[-1], pretext_seconds=loop.seconds)
    run.save_model("pretext", net)
    read = cnn.new_net(len(WAYS), run.stream("pretext init"), run.device)
    run.load_model("pretext", read)
    return read


def read_pretext(run: Run[Config], net: nn.Sequential, path: Path) -> None:
    """Puts a saved net for the made-up classes into one like it. Raises UserError when there is none, or another."""
    file = path / "models" / "pretext.safetensors" if path.is_dir() else path
    try:
        content = file.read_bytes()
        net.load_state_dict(serialization.load(file))
    except OSError as error:
        raise UserError(f"setting pretext={path}: {file}: {error.strerror}") from None
    except (serialization.SerializationError, RuntimeError) as error:
        raise UserError(f"setting pretext={path}: {' '.join(str(error).split())}") from None
    run.uses("pretext net", str(file), hashlib.sha256(content).hexdigest())


def new_optimizer(net: nn.Sequential, learning_rate: float, transfer_rate: float | None) -> optim.Adam:
    """Adam with one rate for all weights, or with another one for all layers but the last."""
    if transfer_rate is None:
        return optim.Adam(net.parameters(), lr=learning_rate)
    *transferred, last = net.children()
    groups = [
        {"params": [p for layer in transferred for p in layer.parameters()], "lr": transfer_rate},
        {"params": list(last.parameters()), "lr": learning_rate},
    ]
    return optim.Adam(groups)


def transfer(net: nn.Sequential, other: nn.Sequential) -> None:
    """Copies the weights of all layers but the last."""
    last = f"{len(net) - 1}."
    kept = {key: value for key, value in net.state_dict().items() if key.startswith(last)}
    net.load_state_dict({key: kept.get(key, value) for key, value in other.state_dict().items()})


def learn(run: Run[Config], variant: str, data: Data, pretext: nn.Sequential | None) -> tuple[nn.Sequential, Loop]:
    """Trains a net on the labelled pictures, from scratch or from what another one learned, and tests it on the way."""
    config, count = run.config, len(data.labels)
    net = cnn.new_net(cifar10.CLASSES, run.stream("init"), run.device)
    if pretext is not None:
        transfer(net, pretext)
    optimizer = new_optimizer(net, config.learning_rate, None if pretext is None else config.transfer_rate)
    labels = to_device(data.labels, run.device)
    tracked = {"net": net, "optimizer": optimizer}
    loop = run.loop(variant, tracked, epochs=config.epochs, examples=count, batch=config.batch or count)
    for step in loop:
        if len(step.indices) == count:
            loss = cnn.train_step(net, optimizer, data.images, labels)
        else:
            chosen = to_device(step.indices, run.device)
            loss = cnn.train_step(net, optimizer, data.images[chosen], labels[chosen])
        step.mean(train_loss=loss)
        if step.ends_epoch and step.epoch % config.every == 0:
            test_loss, accuracy = data.test.measure(net)
            step.log(test_loss=test_loss, test_accuracy=accuracy)
    run.save_model(variant, net)
    return net, loop


@dataclass(frozen=True)
class Curve:
    """What one net came to, at every tested epoch."""

    epochs: np.ndarray
    accuracy: np.ndarray
    test_loss: np.ndarray
    train_loss: np.ndarray

    @classmethod
    def of(cls, run: Run[Config], loop: Loop) -> "Curve":
        rows = [row for row in run.rows if row["loop"] == loop.name and "test_accuracy" in row]
        values = ("epoch", "test_accuracy", "test_loss", "train_loss")
        return cls(*(np.array([row[value] for row in rows]) for value in values))

    @property
    def best(self) -> int:
        """Place of the greatest accuracy."""
        return int(self.accuracy.argmax())


def run(run: Run[Config]) -> None:
    """Trains the three nets, and reports."""
    config = run.config
    if config.every > config.epochs:
        raise UserError(f"setting every={config.every}: more than the {config.epochs} epochs that there are")
    data = load(run)
    pretext = learn_ways(run, data)
    ways_test = cnn.Held.of(*turned(data.raw_test), run.device)
    run.metric(pretext_test_accuracy=ways_test.measure(pretext)[1])
    nets, curves = {}, {}
    for variant in LABELS:
        nets[variant], loop = learn(run, variant, data, pretext if variant == "finetuned" else None)
        curve = curves[variant] = Curve.of(run, loop)
        run.metric(
            **{
                f"{variant}_best": curve.accuracy[curve.best],
                f"{variant}_best_epoch": curve.epochs[curve.best],
                f"{variant}_final": curve.accuracy[-1],
                f"{variant}_seconds": loop.seconds,
            }
        )
    m = run.metrics
    run.metric(
        best_gain=m["finetuned_best"] - m["baseline_best"], final_gain=m["finetuned_final"] - m["baseline_final"]
    )
    counts = cifar10.counts(data.labels)
    run.metric(labelled_fewest=counts.min(), labelled_most=counts.max())
    pages.explain(run, data, counts)
    pages.show_ways(run, data, pretext, ways_test)
    pages.show_curves(run, curves)
    pages.show_table(run, curves)
    pages.show_first_layer(run, {"pretext": pretext, **nets}, data)
    pages.show_answers(run, nets["finetuned"], data)


def evaluate_saved(run: Run[Config]) -> None:
    """Measures the saved nets on the test pictures."""
    data = load(run)
    pretext = cnn.new_net(len(WAYS), run.stream("init"), run.device)
    if run.config.pretext:
        read_pretext(run, pretext, Path(run.config.pretext))
    else:
        run.load_model("pretext", pretext)
    run.metric(pretext_test_accuracy=cnn.Held.of(*turned(data.raw_test), run.device).measure(pretext)[1])
    for variant in LABELS:
        net = cnn.new_net(cifar10.CLASSES, run.stream("init"), run.device)
        run.load_model(variant, net)
        run.metric(**{f"{variant}_final": data.test.measure(net)[1]})


EXPERIMENT = Experiment(
    name="self_supervised",
    title="Self-supervised learning: what telling which way up a picture is teaches",
    profiles={
        "smoke": Config(
            train_examples=300,
            labelled_examples=100,
            test_examples=100,
            pretext_epochs=1,
            pretext_batch=50,
            epochs=4,
            every=2,
            batch=0,
        ),
        "demo": Config(),
        "full": Config(
            train_examples=50_000,
            test_examples=10_000,
            pretext_epochs=100,
            pretext_batch=2000,
            epochs=10_000,
            every=100,
            batch=0,
            transfer_rate=0.00001,
        ),
    },
    claims=tuple(
        Claim(
            f"{which}_gain", ">=", {"demo": 0.03, "full": 0.03}, f"{text} after the made-up classes than from scratch."
        )
        for which, text in (
            ("best", "By how much more test pictures are answered rightly at the best epoch"),
            ("final", "The same at the last epoch:"),
        )
    ),
    run=run,
    evaluate=evaluate_saved,
)
