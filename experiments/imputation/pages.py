"""The report of `gan_imputation`."""

from typing import Any

import numpy as np
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from experiments.data import mnist
from experiments.harness import Run, figures
from experiments.harness.report import short

from . import patch
from .results import NOISES, SEVERAL, Outcome, Results

DOCUMENT = (0.0, 0.1, 10.0)  # the λ that get a figure of pairs and a curve
PAIRS = 4  # in a row
GAP = 3  # pixels between two pictures
OUTLINE = figures.COLOURS[1]


def write(run: Run[Any], results: Results) -> None:
    """The whole report."""
    explain(run)
    show_patches(run, results)
    show_sweep(run, results)
    for outcome in of_document(results):
        show_pairs(run, outcome, results)
    show_convergence(run, results)
    show_noises(run, results)
    comment(run, results)


def of_document(results: Results) -> list[Outcome]:
    """The outcomes of λ = 0, 0.1, 10, or all when the run has none of these."""
    return [outcome for outcome in results.outcomes if outcome.weight in DOCUMENT] or results.outcomes


def explain(run: Run[Any]) -> None:
    """The question and the mathematics."""
    report, config = run.report, run.config
    report.section("Question")
    report.text(
        """Of a handwritten digit only the centre has survived, 10 x 10 of its 28 x 28 pixels. Around it, 684 pixels are
        missing. A generator is to paint a digit that has this centre: it gets the 100 known pixels and 100 random
        numbers, so that one centre may have several completions. It learns from a discriminator, which is shown real
        digits and painted ones and tries to tell them apart."""
    )
    report.text(
        """Such a generator may ignore the patch. To please the discriminator any digit will do, whatever its centre:
        the discriminator sees whole pictures and is not told which patch was given. The remedy is a second term in the
        generator's loss, which makes it an autoencoder of the centre. How heavy must it weigh, and does the rest of
        the picture follow?"""
    )
    report.section("Two nets and a penalty")
    report.text(
        r"""The generator $G$ has layers of 200, 200, 400 and 784 units (ReLU, tanh at the end), the discriminator $D$
        of 784, 400, 200, 100 and 1 (leaky ReLU and dropout). Pixels are from −1 (paper) to 1 (ink). With noise $z$ from
        a standard normal distribution, $P$ the map that cuts out the centre (rows and columns 9 to 18), a digit $x$
        from which the patch $c = P(x)$ is taken, and other digits $x'$ as real examples:"""
    )
    report.formula(
        *(
            (
                r"C_D = - \frac{1}{2} E \log \sigma ( D(x') ) - \frac{1}{2} E \log (1 - \sigma ( D(G(z, c)) ) )",
                r"C_G = - E \log \sigma ( D(G(z, c)) ) + \lambda \frac{1}{100} E \| P(G(z, c)) - c \|^2",
            )
            if config.loss == "non-saturating"
            else (
                r"C_D = E D(G(z, c)) - E D(x') + \mu E ( \| \nabla D(\hat{x}) \| - 1 )^2",
                r"C_G = - E D(G(z, c)) + \lambda \frac{1}{100} E \| P(G(z, c)) - c \|^2",
            )
        ),
        note=(
            r"Goodfellow and others 2014 (non-saturating), with the centre's error. $\sigma$ is the logistic function."
            if config.loss == "non-saturating"
            else rf"""Gulrajani and others 2017 (Wasserstein distance, gradient penalty with $\mu = {config.penalty:g}$
            at random points $\hat{{x}}$ between real and painted), with the centre's error."""
        ),
    )
    report.text(
        f"""Both nets learn with Adam (rate {config.learning_rate:g}, falling to zero in the second half), in steps of
        {config.batch} real digits and as many patches. The pictures are drawn with a running mean of the generator's
        weights. Each λ has its own pair of nets; all pairs begin with the same
        weights and see the same digits, patches and noise. Everything below is measured on patches of test digits,
        which no net has seen."""
    )


def canvas(rows: list[list[np.ndarray]], titles: list[str], *, labels: list[str], outlined: list[list[bool]]) -> Any:
    """Pictures in rows and columns on one sheet, some with the given patch outlined.

    Args:
        rows: of pictures, 28 x 28, -1 to 1, as many in each.
        titles: over the columns.
        labels: left of the rows.
        outlined: for each picture.
    """
    pitch = mnist.SIDE + GAP
    sheet = np.full((len(rows) * pitch - GAP, len(rows[0]) * pitch - GAP), np.nan)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            sheet[i * pitch : i * pitch + mnist.SIDE, j * pitch : j * pitch + mnist.SIDE] = picture
    width = min(9.0, 0.8 * len(rows[0]) + 1.0)
    figure, axes = figures.new(width=width, height=(width - 0.8) * sheet.shape[0] / sheet.shape[1] + 0.5)
    axes.imshow(sheet, cmap="gray_r", vmin=-1, vmax=1)
    for i, marks in enumerate(outlined):
        for j, marked in enumerate(marks):
            if marked:
                corner = (j * pitch + patch.FIRST - 0.5, i * pitch + patch.FIRST - 0.5)
                axes.add_patch(Rectangle(corner, patch.WIDTH, patch.WIDTH, fill=False, edgecolor=OUTLINE, linewidth=1))
    middle = (mnist.SIDE - 1) / 2
    axes.set_xticks([j * pitch + middle for j in range(len(titles))], titles, fontsize=9)
    axes.set_yticks([i * pitch + middle for i in range(len(labels))], labels, fontsize=9)
    axes.xaxis.tick_top()
    axes.grid(False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def show_patches(run: Run[Any], results: Results) -> None:
    """What is known, and how much it tells."""
    truth = results.truth[: mnist.CLASSES]
    known = np.full_like(truth, np.nan)
    inside = (slice(None), slice(patch.FIRST, patch.BEYOND), slice(patch.FIRST, patch.BEYOND))
    known[inside] = truth[inside]
    run.report.section("What the centre tells")
    run.report.figure(
        "patches",
        canvas(
            [list(truth), list(known)],
            [str(digit) for digit in range(mnist.CLASSES)],
            labels=["digit", "known"],
            outlined=[[True] * len(truth)] * 2,
        ),
        caption="A test digit of each class, and what the generator is given of it (outlined).",
        alt="Ten digits, and below each the ten by ten pixels of its centre alone",
        raster=True,
    )
    run.report.text(
        f"""Two classifiers of our own, trained on the same training digits, set the scale. The judge (784-256-128-10)
        reads whole digits: {results.judge_accuracy:.1%} of the real test digits rightly. It will say which digit a
        generator has painted. The other one (100-256-10) sees nothing but the patch, and still reads
        {results.reader_accuracy:.1%}: that much of the label is in the centre, and a generator that uses its patch
        fully cannot do much better."""
    )


def positions(results: Results) -> tuple[np.ndarray, list[str]]:
    """Where the λ stand on an axis, evenly, and what is written there."""
    return np.arange(len(results.outcomes)), [f"{outcome.weight:g}" for outcome in results.outcomes]


def values(results: Results, name: str) -> np.ndarray:
    """A measure by λ."""
    return np.array([getattr(outcome.measures, name) for outcome in results.outcomes])


def show_sweep(run: Run[Any], results: Results) -> None:
    """Error of the centre and label consistency against λ, the table, and one digit of each class for every λ."""
    places, labels = positions(results)
    figure, (left, right) = figures.new(1, 2, width=9.0, height=3.6)
    left.plot(places, values(results, "centre_mse"), marker="o")
    left.set(yscale="log", ylabel="mean squared error", title="Centre: painted against given (pixels −1 to 1)")
    right.plot(places, values(results, "label_consistency"), marker="o")
    for height, name in ((results.reader_accuracy, "read from the patch alone"), (0.1, "by chance")):
        right.axhline(height, color="#666666", linestyle="--", linewidth=1)
        right.text(places[-1], height - 0.02, name, ha="right", va="top", fontsize=9, color="#444444")
    right.set(ylim=(0, 1), ylabel="share of pictures", title="Painted digit is the digit of the patch")
    for axes in (left, right):
        axes.set_xticks(places, labels)
        axes.set_xlabel("λ")
    run.report.section("The weight λ")
    run.report.figure(
        "sweep",
        figure,
        caption=f"""For every λ one training of {run.config.epochs} epochs. Left: the centre of the picture against the
        patch that was given. Right: how often the judge reads the picture as the digit from which the patch was taken;
        dashed, how often the label can be read from the patch alone, and how often one would guess it.""",
        alt="Error of the centre falls and label consistency rises with λ",
    )
    rows: list[tuple[Any, ...]] = []
    for outcome in results.outcomes:
        m = outcome.measures
        numbers = (m.centre_mse, f"{m.label_consistency:.1%}", m.missing_mse, m.frechet, f"{m.noise_share:.1%}")
        rows.append((f"λ = {outcome.weight:g}", *numbers, f"{outcome.loop.seconds:.0f}"))
    rows.append(("other real digits", "-", f"{results.judge_accuracy:.1%}", "-", results.real_frechet, "-", "-"))
    run.report.table(
        ("", "Centre error", "Label kept", "Missing error", "Fréchet", "Noise share", "Seconds"),
        rows,
        caption=f"""On all test patches. Centre and missing error: mean squared difference to the true pixels, −1 to 1;
        the missing pixels' own variance is {results.missing_variance:.3f}. Label kept: the judge reads the picture as
        the digit of the patch. Fréchet: distance to the test digits in the judge's features, lower is better; in the
        last row that of the training digits. Noise share: how much of the variance of the missing pixels is due to the
        noise, not to the patch.""",
    )
    count = mnist.CLASSES
    made = [list(outcome.shown.examples[:count]) for outcome in results.outcomes]
    run.report.figure(
        "by_lambda",
        canvas(
            [list(results.truth[:count]), *made],
            [str(digit) for digit in range(count)],
            labels=["truth", *(f"λ = {label}" for label in labels)],
            outlined=[[True] * count] * (len(made) + 1),
        ),
        caption="""The first row are real digits; below, what each generator paints around the patch of the digit at the
        top of its column. Outlined: the pixels that were given, in the first row, and those that should equal them.""",
        alt="A row of ten real digits and a row of ten painted digits for every λ",
        raster=True,
    )


def show_pairs(run: Run[Any], outcome: Outcome, results: Results) -> None:
    """Generated beside truth."""
    count = mnist.CLASSES
    per_class = min(PAIRS, len(results.truth) // count)
    rows = [
        [
            picture
            for k in range(per_class)
            for picture in (outcome.shown.examples[k * count + d], results.truth[k * count + d])
        ]
        for d in range(count)
    ]
    run.report.section(f"Painted beside true, λ = {outcome.weight:g}")
    run.report.figure(
        f"pairs_{file_name(outcome)}",
        canvas(
            rows,
            ["painted", "true"] * per_class,
            labels=[str(digit) for digit in range(count)],
            outlined=[[True] * (2 * per_class)] * count,
        ),
        caption=f"""λ = {outcome.weight:g}: pairs of a painted digit and the true one whose centre (outlined) was given;
        a row a class, the first test digits of each. The judge reads {outcome.measures.label_consistency:.1%} of all
        painted ones as the true digit; the centre's error is {short(outcome.measures.centre_mse)}.""",
        alt="Pairs of painted and true digits with the given patch outlined",
        raster=True,
    )


def show_convergence(run: Run[Any], results: Results) -> None:
    """The discriminator's accuracies by epoch, and the centre's error."""
    shown = of_document(results)
    figure, axes = figures.new(1, len(shown) + 1, width=10.0, height=2.8, squeeze=False)
    for axis, outcome in zip(axes[0], shown, strict=False):
        for name, label, colour in (
            ("real_accuracy", "real", figures.COLOURS[1]),
            ("fake_accuracy", "painted", figures.COLOURS[0]),
        ):
            history = outcome.loop.history(name)
            axis.plot(np.arange(1, len(history) + 1), history, label=label, color=colour)
        axis.axhline(0.5, color="#666666", linestyle="--", linewidth=1)
        axis.set(ylim=(0, 1.02), title=f"λ = {outcome.weight:g}")
    axes[0, 0].set_ylabel("discriminator's accuracy")
    axes[0, 0].legend()
    last = axes[0, -1]
    for outcome in results.outcomes:
        history = outcome.loop.history("centre_mse")
        last.plot(np.arange(1, len(history) + 1), history, label=f"λ = {outcome.weight:g}")
    last.set(yscale="log", title="Centre's error")
    last.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figures.by_epoch(*axes[0])
    for axis in axes[0]:
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    run.report.section("How the two nets come to terms")
    run.report.figure(
        "convergence",
        figure,
        caption="""Share of the real digits (orange) and of the painted ones (blue) that the discriminator takes for
        what they are, mean over each epoch with its dropout on; at 0.5 (dashed) it guesses. Right: mean squared error
        of the centre on the test patches after each epoch.""",
        alt="Discriminator accuracy by epoch for three values of λ, and the error of the centre for all",
    )


def show_noises(run: Run[Any], results: Results) -> None:
    """Several noises for one patch: for the first λ and for the greatest of the document's."""
    truth = [results.truth[2 * i] for i in range(SEVERAL)]
    first, strong = results.outcomes[0], of_document(results)[-1]
    run.report.section("One patch, several noises")
    for chosen in [first, strong] if first is not strong else [strong]:
        rows = [[truth[i], *chosen.shown.several[i]] for i in range(SEVERAL)]
        run.report.figure(
            f"noises_{file_name(chosen)}",
            canvas(
                rows,
                ["true", *(str(j + 1) for j in range(NOISES))],
                labels=[""] * SEVERAL,
                outlined=[[True] * (NOISES + 1)] * SEVERAL,
            ),
            caption=f"""λ = {chosen.weight:g}: true digits (first column), and {NOISES} pictures painted for the patch
            of each, with different noise. The noise accounts for {chosen.measures.noise_share:.1%} of the variance of
            the missing pixels.""",
            alt="Five true digits, each beside ten painted ones that share its centre patch",
            raster=True,
        )


def file_name(outcome: Outcome) -> str:
    """A λ as part of a file's name."""
    return f"{outcome.weight:g}".replace(".", "_")


def comment(run: Run[Any], results: Results) -> None:
    """The finding in words, with the numbers of this run."""
    first, strong = results.outcomes[0], of_document(results)[-1]
    distances = values(results, "frechet")
    grey = 127.5 * strong.measures.centre_mse**0.5
    run.report.section("Comment")
    run.report.text(
        f"""At λ = {first.weight:g} the judge reads {first.measures.label_consistency:.1%} of the pictures as the digit
        of their patch, where guessing would reach 10%, and their centre differs from it by a mean square of
        {short(first.measures.centre_mse)}. {free_use(first)}""",
        f"""At λ = {strong.weight:g} it reads {strong.measures.label_consistency:.1%} so; the centre's error is
        {short(strong.measures.centre_mse)}, a root mean square of {grey:.0f} of 255 grey levels. The penalty speaks of
        the centre alone. That the rest follows is the discriminator's doing: it has seen no real digit whose strokes
        end where the patch does. The patch alone can be read in {results.reader_accuracy:.1%} of the cases; what
        remains mostly fits several digits, such as the upright stroke of a 1, 4, 7 or 9.""",
        f"""{plateau(results)} The pictures are most like real digits, by their Fréchet distance, at
        λ = {results.outcomes[int(distances.argmin())].weight:g}.""",
        f"""For a patch that fits several digits a generator ought to paint now one, now another, as its noise says. At
        λ = {strong.weight:g} the noise accounts for {strong.measures.noise_share:.1%} of the variance of the missing
        pixels. Nothing in the loss asks for more: the discriminator
        sees one picture at a time, and one completion of each patch satisfies it.""",
    )


def plateau(results: Results) -> str:
    """Which λ keep the label nearly as well as the best, in words, and whether the greatest is too great."""
    kept = values(results, "label_consistency")
    good = kept >= kept.max() - 0.05
    names = [f"{outcome.weight:g}" for outcome, is_good in zip(results.outcomes, good, strict=True) if is_good]
    text = (
        f"The exact weight matters little: at λ = {', '.join(names[:-1])} and {names[-1]} the shares of labels kept "
        f"are less than 5 points apart, {kept.max():.1%} the best."
        if len(names) > 1
        else f"The label is kept best, in {kept.max():.1%} of the pictures, at λ = {names[0]}."
    )
    if not good[-1]:
        last = results.outcomes[-1]
        text += (
            f" It can be too great: at λ = {last.weight:g} the generator listens to "
            f"the discriminator too little and keeps the label in {last.measures.label_consistency:.1%}."
        )
    return text


def free_use(outcome: Outcome) -> str:
    """What the generator of the smallest λ makes of the patch, in words; nothing when its noise decides."""
    share = outcome.measures.noise_share
    if share >= 0.5 or outcome.measures.label_consistency >= 0.3:
        return ""
    return (
        f"The patch is not unused: only {share:.1%} of the variance of the missing pixels is due to the noise. To the "
        "generator the patch is but more random numbers, out of which it makes a digit of its own choice."
    )
