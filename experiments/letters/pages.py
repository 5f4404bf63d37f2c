"""The report on notMNIST: the data, what each technique is and is worth, what the net sees and what it misreads."""

from typing import TYPE_CHECKING

import numpy as np

import tinygrad_hw as tg
from experiments.data import augmentation
from experiments.data.notmnist import LETTERS, Glyphs
from experiments.harness import Run, figures
from experiments.harness.seeds import Spread, spread
from experiments.vision import cnn, pictures
from tinygrad_hw.backend import to_device, to_numpy

from .nets import TECHNIQUES, WATCHED
from .results import Results, of, worth
from .training import Letters, augmented

if TYPE_CHECKING:
    from experiments.notmnist import Config

MINUS = "\N{MINUS SIGN}"
JUDGED = {**TECHNIQUES, "ensemble": "ensemble"}


def write(run: "Run[Config]", data: Glyphs, shared: list[Letters], results: Results) -> None:
    """The whole report."""
    explain(run, data, shared)
    explain_techniques(run, results)
    show_augmentation(run, shared[0])
    show_curves(run, results)
    show_worth(run, results)
    show_first_layer(run, shared[0], results)
    show_confusion(run, shared, results)
    comment(run, shared, results)


def explain(run: "Run[Config]", data: Glyphs, shared: list[Letters]) -> None:
    """The question and the data."""
    report, first = run.report, shared[0]
    report.section("Question")
    report.text(
        f"""A letter of unknown design, 28 x 28 grey values, is to be read: A, B, ... or J. A first net with two layers
        of {run.config.dense} sigmoid units, trained by plain gradient descent, is given. What makes it better, by how
        much does each remedy do so, and do all of them together read 95 % of letters that they have not learned
        from?"""
    )
    report.section("Letters")
    repeated = 100 * float(np.mean([letters.repeated.mean() for letters in shared]))
    twice = (
        f""" {repeated:.1f} % of the validation letters are training letters as well, to the very pixel: the collection
        holds some pictures more than once. They are kept, and the accuracy without them is given beside."""
        if repeated
        else ""
    )
    names = ", ".join(f"`{name}`" for name in data.skipped[:5]) + (", ..." if len(data.skipped) > 5 else "")
    skipped = f" Skipped, since they could not be read as pictures ({len(data.skipped)}): {names}." if names else ""
    report.text(
        f"""{data.source}. Each seed puts them into an order of its own and takes the first
        {len(first.train_labels):,} for training, the other {len(first.labels):,} for validation, which is the ratio
        13,000 : 5,724.{twice}{skipped}"""
    )
    per_class = 4
    chosen = [np.flatnonzero(first.train_labels == label)[:per_class] for label in range(len(LETTERS))]
    order = [column[row] for row in range(per_class) for column in chosen if row < len(column)]
    report.figure(
        "letters",
        pictures.grid(shown(first.train_images[order]), [LETTERS[first.train_labels[i]] for i in order], len(LETTERS)),
        caption="Training letters, taken as they come.",
        alt="Four rows of the letters A to J in many designs",
        raster=True,
    )


def shown(images: np.ndarray) -> np.ndarray:
    """Dark ink on light paper."""
    return 1 - images


def explain_techniques(run: "Run[Config]", results: Results) -> None:
    """The nets and what each technique does."""
    config, report = run.config, run.report
    narrow, wide = config.channels
    report.section("Nets")
    weights = {name: sum(p.size for p in results[name][0].net.parameters()) for name in ("starter", "plain", "better")}
    report.text(
        rf"""The starter is 784-{config.dense}-{config.dense}-10 with sigmoid units ({weights["starter"]:,} weights),
        trained for {config.starter_epochs} epochs by gradient descent $\theta \leftarrow \theta - \eta g$ with batches
        of {config.batch} and $\eta = {config.starter_learning_rate:g}$, the best of a grid. The plain net has the same
        sizes, but rectified units and Adam ($\eta = {config.learning_rate:g}$, {config.epochs} epochs). The better net
        has {weights["better"]:,} weights: 3 x 3 convolutions with {narrow} and {narrow} channels, pooling, with {wide}
        and {wide}, pooling, then {config.hidden} units and the ten outputs, with the four techniques that follow.""",
        """Convolution looks at every place of the picture with the same small filters, since a stroke is a stroke
        wherever it is; pooling keeps the strongest answer of each 2 x 2, so that small shifts matter less. Batch
        normalisation gives every feature mean 0 and variance 1 within the batch, then a scale and an offset that are
        learned; when the net is used, running means stand in for those of the batch:""",
    )
    report.formula(
        r"y = \gamma \frac{x - \mu_B}{\sqrt{\sigma_B^2 + \epsilon}} + \beta",
        note=r"""Batch normalisation (Ioffe and Szegedy 2015), before each rectifier; $\mu_B$, $\sigma_B^2$ over the
        batch and, for a feature map, its places. The layers need no biases then: $\beta$ is one.""",
    )
    maps, units = config.dropout
    report.text(
        f"""Dropout leaves out {maps:.0%} of the feature maps after each pooling, whole ones, since neighbouring pixels
        of a map say nearly the same, and {units:.0%} of the units before the output (Srivastava and others 2014).
        Augmentation shows each letter moved by up to {config.shift:g} pixels, turned by up to {config.turn:g}°, with
        height and width changed by up to {config.zoom:.0%} and slanted by up to {config.slant:g} columns a row, its
        strokes thicker or thinner (by up to {config.thickness:.0%} of what the greatest or the least of each 3 x 3
        pixels would make of them), differently in every epoch. The schedule raises Adam's rate to
        {config.peak_learning_rate:g} over the first third of the steps and lowers it along a cosine to nearly zero
        (Smith and Topin 2017): large steps while there is far to go, small ones to settle.""",
        f"""An ensemble is {config.members} nets of the same kind that see the same letters in the same order, but begin
        at other weights and draw other masks and augmentations. They err in different places; the mean of the
        probabilities that they give errs less often (Hansen and Salamon 1990).""",
    )


def show_augmentation(run: "Run[Config]", letters: Letters) -> None:
    """The same letters as the net gets to see them."""
    images = letters.train_images[:10]
    rows = [("as it is", shown(images))]
    for name in ("one epoch", "another", "a third"):
        rows.append((name, shown(augmented(images, run.stream(f"shown {name}"), run.config))))
    run.report.figure(
        "augmentation",
        augmentation.preview(rows, [LETTERS[label] for label in letters.train_labels[:10]]),
        caption="Augmentation: letters as they are, and as three epochs might show them.",
        alt="Ten letters, and three rows of the same letters slightly moved, turned, slanted, thicker or thinner",
        raster=True,
    )


def show_curves(run: "Run[Config]", results: Results) -> None:
    """How the starter, the plain and the better net learn."""
    figure, (left, right) = figures.new(1, 2, width=9.0, height=3.8)
    for name, colour in zip(WATCHED, figures.COLOURS, strict=False):
        for axis, value, times in ((left, "accuracy", 100), (right, "loss", 1)):
            curves = times * np.array([outcome.curves[value] for outcome in results[name]])
            epochs, mean = np.arange(1, curves.shape[1] + 1), curves.mean(axis=0)
            axis.fill_between(epochs, curves.min(axis=0), curves.max(axis=0), color=colour, alpha=0.2, linewidth=0)
            axis.plot(epochs, mean, color=colour, label=name)
        train = np.mean([outcome.curves["train_loss"] for outcome in results[name]], axis=0)
        right.plot(epochs, train, ":", color=colour, linewidth=1.2)
    left.set(title="Right answers on the validation letters (%)")
    last = [outcome for name in WATCHED for outcome in results[name]]
    accuracies, losses = [100 * outcome.accuracy for outcome in last], [outcome.loss for outcome in last]
    left.set_ylim(max(0.0, min(accuracies) - 15), min(100.0, max(accuracies) + 2))
    right.set(title="Cross-entropy", ylim=(0, 1.5 * max(losses)))
    figures.by_epoch(left, right)
    left.legend(loc="lower right")
    run.report.section("Learning")
    run.report.figure(
        "curves",
        figure,
        caption=f"""Mean over {run.config.seeds} seeds, shade from the least to the greatest. Right: solid on validation
        letters, dotted on training letters as the net sees them while it learns: for the better net, changed by
        augmentation and with parts left out by dropout.""",
        alt="Validation accuracy and loss by epoch of the starter, the plain and the better net",
    )


def show_worth(run: "Run[Config]", results: Results) -> None:
    """What each technique is worth: table and figure."""
    report = run.report
    report.section("What each technique is worth")
    report.text(
        """Each technique is judged twice. Alone: it is put into the plain net and nothing else is changed. Left out:
        it is taken out of the better net and all others stay (without convolution, that is the plain net's two layers
        with the other four). Differences are taken seed by seed between nets that have the same split, the same order
        of letters and, where the shapes agree, the same first weights. An ensemble comes on top: alone it is one of
        plain nets, and left out of one of better nets it leaves the first of them, the better net."""
    )
    report.table(
        ("Net", "Right answers (%)", "Loss", "Seconds"),
        [
            (
                name,
                percent(of(results, name, "accuracy")),
                plain(of(results, name, "loss")),
                f"{of(results, name, 'seconds').mean:.0f}",
            )
            for name in (*WATCHED, "ensemble")
        ],
        caption=f"""The three nets, and the ensemble of better ones, on the validation letters: mean ± sample standard
        deviation over {run.config.seeds} seeds.""",
    )
    rows = []
    for name, label in JUDGED.items():
        row = [label]
        left_out = "better" if name == "ensemble" else f"without_{name}"
        for place, net in enumerate((f"{name}_alone", left_out)):
            row.append(percent(of(results, net, "accuracy")))
            row.append(percent(spread(worth(results, name, "accuracy")[place]), "+"))
            row.append(plain(spread(worth(results, name, "loss")[place]), "+"))
        rows.append(row)
    report.table(
        ("Technique", "Alone (%)", "Gain", "Loss lower by", "Left out (%)", "Cost", "Loss higher by"),
        rows,
        caption=f"""Right answers on the validation letters with each technique alone on the plain net, and with each
        left out of the better one. Gain and cost, in right answers and in cross-entropy, are differences seed by seed:
        mean ± sample standard deviation over {run.config.seeds} seeds; positive means that the technique is good.""",
    )
    draw_worth(run, results)


def draw_worth(run: "Run[Config]", results: Results) -> None:
    """Gains and costs seed by seed."""
    figure, axes = figures.new(2, 2, width=9.0, height=5.2, sharey=True, sharex="row")
    units = {"accuracy": "right answers, more by (%)", "loss": "cross-entropy, lower by"}
    for row, (value, unit) in zip(axes, units.items(), strict=True):
        for line, name in enumerate(JUDGED):
            for axis, gains in zip(row, worth(results, name, value), strict=True):
                found = gains * (100 if value == "accuracy" else 1)
                axis.plot(found, np.full(len(found), line), "o", color=figures.COLOURS[0], alpha=0.5, markersize=5)
                axis.plot([found.mean()] * 2, [line - 0.3, line + 0.3], color="black", linewidth=2)
        for axis in row:
            axis.axvline(0, color="#777777", linewidth=1)
            axis.set(xlabel=unit, yticks=range(len(JUDGED)), yticklabels=list(JUDGED.values()))
    axes[0, 0].set_title("alone on the plain net")
    axes[0, 1].set_title("in the better net")
    axes[0, 0].invert_yaxis()
    run.report.figure(
        "worth",
        figure,
        caption="""What each technique is worth: a dot for each seed, a bar for their mean; to the right of zero is
        good.""",
        alt="Dots of what five techniques and an ensemble gain alone and cost when left out",
    )


def percent(found: Spread, sign: str = "") -> str:
    """In percent: `95.1 ± 0.2`."""
    return f"{100 * found.mean:{sign}.1f} ± {100 * found.spread:.1f}".replace("-", MINUS)


def plain(found: Spread, sign: str = "") -> str:
    """`0.194 ± 0.006`."""
    return f"{found.mean:{sign}.3f} ± {found.spread:.3f}".replace("-", MINUS)


def show_first_layer(run: "Run[Config]", letters: Letters, results: Results) -> None:
    """Filters of the first convolution and what they answer."""
    net = results["better"][0].net
    weights = to_numpy(net[0].weight.data)
    run.report.section("What the first layer sees")
    run.report.figure(
        "filters",
        pictures.filters(weights, columns=16),
        caption=f"""The {len(weights)} filters of 3 x 3 that the first layer has learned (first seed), red above zero,
        blue below.""",
        alt="Small red and blue pictures of three by three pixels",
        raster=True,
    )
    count, first = min(8, len(weights)), [int(np.flatnonzero(letters.labels == label)[0]) for label in (0, 2, 4, 6, 9)]
    net.eval()
    with tg.no_grad():
        answers = net[:3](tg.Tensor(to_device(cnn.signed(letters.images[first]), run.device)))
    run.report.figure(
        "feature_maps",
        pictures.feature_maps(shown(letters.images[first]), to_numpy(answers.data)[:, :count]),
        caption=f"""Five validation letters and what the first {count} filters answer to them, after batch normalisation
        and the rectifier: bright where a filter has found what it looks for.""",
        alt="Letters, each followed by eight pictures in which some of its edges light up",
        raster=True,
    )


def show_confusion(run: "Run[Config]", shared: list[Letters], results: Results) -> None:
    """Which letters are taken for which, and the worst mistakes."""
    labels = np.concatenate([letters.labels for letters in shared])
    given = np.concatenate([outcome.probabilities for outcome in results["ensemble"]])
    counts = pictures.confusion(labels, given.argmax(axis=1), len(LETTERS))
    run.report.section("What it misreads")
    run.report.figure(
        "confusion",
        pictures.confusion_matrix(counts, LETTERS),
        caption=f"""Of the validation letters of a class (row), how many percent are given which answer (column); all
        {run.config.seeds} seeds of the ensemble together. Shares below half a percent are left empty.""",
        alt="Matrix of ten letters against ten answers",
    )
    images = np.concatenate([letters.images for letters in shared])
    _, once = np.unique(images.reshape(len(images), -1), axis=0, return_index=True)
    once.sort()
    figure = pictures.mistakes(shown(images[once]), labels[once], given[once], LETTERS, count=24)
    if figure is not None:
        run.report.figure(
            "mistakes",
            figure,
            caption="""The most confident mistakes of the ensemble: label, answer, and the probability that it gives to
            the answer. Each picture is shown once.""",
            alt="Letters that the ensemble misreads, with label, answer and probability",
            raster=True,
        )


def comment(run: "Run[Config]", shared: list[Letters], results: Results) -> None:
    """What came out, in words with the numbers of this run."""
    starter, flat, better, ensemble = (of(results, name, "accuracy") for name in (*WATCHED, "ensemble"))
    alone = {name: spread(worth(results, name, "accuracy")[0]) for name in TECHNIQUES}
    left_out = {name: spread(worth(results, name, "accuracy")[1]) for name in TECHNIQUES}
    dearest = max(left_out, key=lambda name: left_out[name].mean)
    unclear = [TECHNIQUES[name] for name, found in left_out.items() if abs(found.mean) <= found.spread]
    harmful = [TECHNIQUES[name] for name, found in left_out.items() if found.mean < -found.spread]
    aside = f" What {_listed(unclear)} adds to the others is within the spread of the seeds." if unclear else ""
    aside += f" With {_listed(harmful)} left out the net does better." if harmful else ""
    unseen = of(results, "ensemble", "unseen_accuracy")
    error = (ensemble.mean * (1 - ensemble.mean) / len(shared[0].labels)) ** 0.5
    run.report.section("Comment")
    run.report.text(
        f"""The starter reads {100 * starter.mean:.1f} % of the validation letters, the plain net {100 * flat.mean:.1f}
        %, the better one {100 * better.mean:.1f} %, {run.config.members} better ones together
        {100 * ensemble.mean:.1f} % ({100 * unseen.mean:.1f} % of those whose picture is not among the training
        letters). One split settles an accuracy to about {100 * error:.1f} points (standard error), so that
        techniques are compared on the same splits.""",
        f"""Taken out of the better net, {TECHNIQUES[dearest]} is missed most:
        {100 * left_out[dearest].mean:.1f} points. Alone on the plain net it brings
        {100 * alone[dearest].mean:.1f}.{aside}""",
        f"""No letters are kept apart for a last test: the settings were chosen on other splits of such letters, and
        {len(shared[0].labels):,} letters judge each net.""",
    )


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
