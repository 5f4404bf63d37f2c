"""The report of `self_supervised`: the made-up classes, the curves, the first layer, the answers."""

from typing import TYPE_CHECKING

import numpy as np

from experiments.data import augmentation, cifar10
from experiments.harness import Run, figures
from experiments.harness.report import short
from experiments.self_supervision.ways import WAYS
from experiments.vision import cnn, pictures
from experiments.vision.pages import show_mistakes
from tinygrad_hw import nn
from tinygrad_hw.backend import to_numpy

if TYPE_CHECKING:
    from experiments.self_supervised import Config, Curve, Data

LABELS = {"baseline": "from scratch", "finetuned": "after the made-up classes"}


def explain(run: "Run[Config]", data: "Data", counts: np.ndarray) -> None:
    """The question, the data and the mathematics."""
    config, report = run.config, run.report
    labelled, others = len(data.labels), len(data.unlabelled)
    each = config.labelled_examples / cifar10.CLASSES
    even = counts.min() == counts.max()
    report.section("Question")
    report.text(
        f"""Pictures are plentiful, labels are not. Suppose that of {labelled + others:,} pictures only {labelled:,}
        have one. Can a net learn from the others, without any label, something that helps it with the real classes?
        They can at least be turned, and which way up they are is known to whoever turned them. To see that a picture is
        upside down, a net has to know a little about what it shows."""
    )
    report.section("Made-up classes, then real ones")
    net = """The net is that of `data_augmentation`: two convolutions of ten 5 x 5 kernels with rectifiers and pooling,
        20 rectified units, then a softmax $p$ over the classes."""
    learned = (
        f"""It learned in another run (`{config.pretext}`) to tell three made-up classes apart: upright, upside down,
        turned by 90 degrees counter-clockwise."""
        if config.pretext
        else f"""First it learns from {len(WAYS) * others:,} pictures, each of the {others:,} upright, upside down and
        turned by 90 degrees counter-clockwise, to tell these three apart ({config.pretext_epochs} epochs of batches of
        {config.pretext_batch}, Adam with rate {config.learning_rate:g})."""
    )
    report.text(
        f"""{net} {learned} Its layers but the last, with weights $\\theta$, are then copied into a net for the ten
        real classes, whose last layer, with weights $\\phi$, begins at random. It learns from the {labelled:,}
        labelled pictures for {config.epochs:,} epochs:"""
    )
    report.formula(
        r"C_0(\theta, \psi) = \sum_{x} \sum_{k=1}^{3} -\log p_{\theta, \psi}(k \mid T_k x)",
        r"C(\theta, \phi) = \sum_{n} -\log p_{\theta, \phi}(y_n \mid x_n)",
        r"\theta \leftarrow \theta - \eta_\theta \, \text{Adam}\left(\frac{\partial C}{\partial \theta}\right), \quad "
        r"\phi \leftarrow \phi - \eta_\phi \, \text{Adam}\left(\frac{\partial C}{\partial \phi}\right)",
        note=rf"""First $C_0$, the made-up classes, is made small; $T_k$ turns a picture the $k$-th way, and $\psi$ is
        the last layer. Then, from the $\theta$ found, $C$, the real ones: what was learned before changes slowly,
        $\eta_\theta$ = {short(config.transfer_rate)}, the new layer quickly, $\eta_\phi$ =
        {short(config.learning_rate)}. From scratch, both rates are the greater one.""",
    )
    report.table(
        ("Class", *data.names),
        [("labelled", *map(int, counts))],
        caption=(
            f"The last {labelled:,} training pictures: {each:g} of each class."
            if even
            else f"""The last {labelled:,} training pictures, taken as they are: not {each:g} of each class, but
            {counts.min()} to {counts.max()}."""
        ),
    )


def show_ways(run: "Run[Config]", data: "Data", net: nn.Sequential, ways_test: cnn.Held) -> None:
    """Examples of the made-up classes, and how well they are told apart."""
    chosen = data.unlabelled[np.linspace(0, len(data.unlabelled) - 1, 10).astype(np.int64)]
    rows = [(name, turn(chosen) / 255) for name, turn in WAYS]
    run.report.section("The made-up classes")
    run.report.figure(
        "ways",
        augmentation.preview(rows),
        caption="""Pictures without label, in the three ways that the net learns to tell apart.""",
        alt="Three rows of the same ten small pictures: upright, upside down, turned to the left",
        raster=True,
    )
    answers = ways_test.logits(net).argmax(axis=1)
    counts = pictures.confusion(ways_test.labels, answers, len(WAYS))
    rights = [f"{name} {counts[way, way] / counts[way].sum():.0%}" for way, (name, _) in enumerate(WAYS)]
    run.report.text(
        f"""Of the test pictures, which it has not seen in any of the three ways,
        {run.metrics["pretext_test_accuracy"]:.1%} are recognised ({", ".join(rights)}); guessing gives a third."""
    )


def show_curves(run: "Run[Config]", curves: "dict[str, Curve]") -> None:
    """Test accuracy and losses of both nets."""
    figure, (left, right) = figures.new(1, 2, width=9.5, height=4.2)
    for (variant, curve), colour in zip(curves.items(), figures.COLOURS, strict=False):
        left.plot(curve.epochs, curve.accuracy, color=colour, label=LABELS[variant])
        left.plot(curve.epochs[curve.best], curve.accuracy[curve.best], "o", color=colour)
        right.plot(curve.epochs, curve.test_loss, color=colour, label=f"{LABELS[variant]}, test")
        right.plot(curve.epochs, curve.train_loss, ":", color=colour, label=f"{LABELS[variant]}, learned from")
    left.set(ylabel="share of right answers", title="Test accuracy")
    right.set(ylabel="cross-entropy", title="Loss", yscale="log")
    figures.by_epoch(left, right)
    left.legend()
    right.legend(fontsize=8)
    run.report.section("The real classes")
    run.report.figure(
        "curves",
        figure,
        caption=f"""Right answers among the test pictures every {run.config.every} epochs, the best marked by a dot;
        losses on the test pictures and on the {run.config.labelled_examples:,} labelled ones.""",
        alt="Test accuracy and losses by epoch, from scratch and after the made-up classes",
    )


def show_table(run: "Run[Config]", curves: "dict[str, Curve]") -> None:
    """What came out, in numbers and in words."""
    m = run.metrics
    rows = [
        (
            LABELS[variant],
            f"{m[f'{variant}_best']:.1%}",
            int(m[f"{variant}_best_epoch"]),
            f"{m[f'{variant}_final']:.1%}",
            float(curve.train_loss[-1]),
            f"{m[f'{variant}_seconds'] / 60:.1f}",
        )
        for variant, curve in curves.items()
    ]
    run.report.table(
        ("Learned", "Best", "at epoch", "Last", "Last training loss", "Minutes"),
        rows,
        caption="Right answers among the test pictures. The best epoch is chosen on them, as the problem says.",
    )
    scratch, tuned = curves["baseline"], curves["finetuned"]
    run.report.text(
        f"""At the best epochs the net that learned the made-up classes first answers {100 * m["best_gain"]:+.1f}
        percentage points more test pictures rightly, at the last epoch {100 * m["final_gain"]:+.1f}. From scratch the
        training loss ends at {short(scratch.train_loss[-1])}, the test loss at {short(scratch.test_loss[-1])} after a
        least of {short(scratch.test_loss.min())}; after the made-up classes they end at
        {short(tuned.train_loss[-1])} and {short(tuned.test_loss[-1])} (least {short(tuned.test_loss.min())}). Where
        the training loss falls while the test loss rises, the labelled pictures are learned by heart; the layers
        transferred may change but slowly, which leaves less freedom to do so. The size of the batches for the made-up
        classes was chosen by what it did for these test pictures, too, so a little of the difference is chance."""
    )


def show_first_layer(run: "Run[Config]", nets: dict[str, nn.Sequential], data: "Data") -> None:
    """Kernels of all three nets, and what those of the pretext net see."""
    run.report.section("The first layer")
    run.report.figure(
        "filters",
        pictures.filters(np.concatenate([to_numpy(net[0].weight.data) for net in nets.values()])),
        caption="""Kernels of the first layer, a row a net: after the made-up classes, from scratch on the labelled
        pictures, and fine-tuned on them from the first row. Grey is zero.""",
        alt="Three rows of ten small colour pictures of kernels",
        raster=True,
    )
    some = data.raw_test[np.linspace(0, len(data.raw_test) - 1, 5).astype(np.int64)]
    run.report.figure(
        "feature_maps",
        pictures.feature_maps(some / 255, cnn.first_maps(nets["finetuned"], some, run.device)),
        caption="What the ten fine-tuned kernels answer to five test pictures, each on its own scale.",
        alt="Five pictures, each followed by ten maps of the first layer's answers",
        raster=True,
    )


def show_answers(run: "Run[Config]", net: nn.Sequential, data: "Data") -> None:
    """Confusion matrix and the most confident mistakes of the fine-tuned net."""
    labels, probabilities = data.test.labels, data.test.probabilities(net)
    counts = pictures.confusion(labels, probabilities.argmax(axis=1), cifar10.CLASSES)
    run.report.section("What is taken for what")
    run.report.figure(
        "confusion",
        pictures.confusion_matrix(counts, data.names),
        caption="Answers of the fine-tuned net to the test pictures, in percent of each class, with the last weights.",
        alt="Matrix of classes against answers",
    )
    show_mistakes(run, data.raw_test / 255, labels, probabilities, data.names)
