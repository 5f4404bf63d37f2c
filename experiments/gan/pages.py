"""Parts of the adversarial experiments' reports: the mathematics, the curves, digits in rows."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.data import mnist
from experiments.harness import Loop, figures
from experiments.harness.report import Report

from .judge import FEATURES
from .losses import Loss

REAL, FAKE = "#d62728", "#1f77b4"  # red and blue, as the problem wants them


def explain_judge(report: Report) -> None:
    """What the judge is, and what is measured with it."""
    report.section("The judge")
    report.text(
        rf"""Neither net's loss says how good the digits are. So a classifier of 784-256-{FEATURES}-10 units learns the
        training digits, shifted by up to a pixel each way, with dropout; its accuracy on the test digits is among the
        claims. It sees no generated digit until training is over or, after every epoch, to draw the curves below. Its
        {FEATURES} penultimate units are the features $f$ in which digits are compared. The Fréchet distance takes the
        features of real and of generated digits as two normal distributions:"""
    )
    report.formula(
        r"F = \| \mu_1 - \mu_2 \|^2 + \mathrm{tr} ( \Sigma_1 + \Sigma_2 - 2 ( \Sigma_1 \Sigma_2 )^{1/2} )",
        r"\Delta_c = \frac{2}{n (n - 1)} \sum_{i < j} \| f_i - f_j \|",
        note="Fréchet distance of means and covariances (Heusel and others 2017, equation 6, there in the features of "
        "Inception), and mean distance $\\Delta_c$ between two of $n$ digits of class $c$.",
    )
    report.text(
        r"""$F$ between one half of the test digits and as many generated ones is compared with $F$ between the two
        halves, which is its floor: no generator can be expected to do better. Diversity is $\Delta_c$ of the generated
        digits over $\Delta_c$ of the test digits: 0 if all generated digits of a class are equal, 1 if they are as
        various as real ones. Generated digits that the judge reads as another class do not count, for mistakes are no
        variety."""
    )


def explain_critic(report: Report) -> None:
    """Wasserstein's distance, and the penalty."""
    report.text(
        r"""This run has `loss=wgan-gp` instead: the discriminator becomes a critic, whose output has no sigmoid. It
        gives real digits high values and generated ones low values, and the difference of the means estimates how far
        apart the two distributions are (Wasserstein's distance), provided that the critic is nowhere steeper than 1.
        The penalty sees to that, at random points between a real and a generated digit of the same class; so it has
        no dropout, and generated digits have the classes of the real ones of the batch. The penalty is a loss made of a
        gradient: training needs derivatives of derivatives (Arjovsky and others 2017, Gulrajani and others 2017)."""
    )
    report.formula(
        r"L_D = \mathrm{E} [ D(G(z, c), c) ] - \mathrm{E} [ D(x, c) ] + \lambda \mathrm{E} "
        r"[ ( \| \nabla_{\hat{x}} D(\hat{x}, c) \| - 1 )^2 ]",
        r"\hat{x} = \epsilon x + (1 - \epsilon) G(z, c)",
        r"L_G = - \mathrm{E} [ D(G(z, c), c) ]",
        note="$\\epsilon$ is uniform from 0 to 1, drawn for each pair.",
    )


def show_convergence(report: Report, loop: Loop, loss: Loss) -> None:
    """The discriminator's accuracy on real (red) and generated digits (blue), and the losses."""
    real, fake = loop.history("real_accuracy"), loop.history("fake_accuracy")
    epochs = np.arange(1, len(real) + 1)
    figure, axes = figures.new(width=8.0, height=3.8)
    axes.plot(epochs, real, color=REAL, label="real digits")
    axes.plot(epochs, fake, color=FAKE, label="generated digits")
    axes.axhline(0.5, color="#777777", linestyle="--", linewidth=1, label="by chance")
    axes.set(ylim=(0, 1.02), ylabel="share of right answers", title="Accuracy of the discriminator")
    figures.by_epoch(axes)
    axes.legend(ncols=3, loc="lower right" if min(*real, *fake) > 0.15 else "upper right")
    taken = (
        "A critic's output above the middle between the means of the batch counts as real."
        if loss == "wgan-gp"
        else "It works with dropout, and takes a digit for real when its output is above ½."
    )
    report.section("Convergence")
    report.figure(
        "convergence",
        figure,
        caption=f"""How often the discriminator is right, mean over the steps of each epoch, always before its update.
        {taken} At the equilibrium it could only guess.""",
        alt="Accuracy of the discriminator on real digits, red, and on generated digits, blue, by epoch",
    )
    names = {"discriminator_loss": "discriminator", "generator_loss": "generator"}
    if loss == "wgan-gp":
        names = {"distance": "estimated distance", "penalty": "penalty, without λ"}
    figure, axes = figures.new(width=8.0, height=3.2)
    for name, label in names.items():
        axes.plot(epochs, loop.history(name), label=label)
    axes.set(ylabel="mean over the epoch", title="Losses")
    figures.by_epoch(axes)
    axes.legend()
    report.figure(
        "losses",
        figure,
        caption="The critic's estimate of the distance, and the penalty on its gradient."
        if loss == "wgan-gp"
        else """Both cross-entropies in nats. A discriminator that only guesses has a loss of 0.69, and so has its
        generator.""",
        alt="Losses by epoch",
    )


def show_progress(report: Report, loop: Loop, floor: float) -> None:
    """What the judge says after every epoch."""
    accuracy, distance = loop.history("conditional_accuracy"), loop.history("frechet_distance")
    epochs = np.arange(1, len(accuracy) + 1)
    figure, (left, right) = figures.new(1, 2, width=9.0, height=3.4)
    left.plot(epochs, accuracy)
    left.set(ylim=(0, 1.02), ylabel="share", title="Digits of the class that was asked for")
    right.plot(epochs, distance, label="generated digits")
    right.axhline(floor, color="#777777", linestyle="--", linewidth=1, label="real digits: the floor")
    right.set(yscale="log", title="Fréchet distance to real digits")
    right.legend()
    figures.by_epoch(left, right)
    report.section("What the judge says, epoch by epoch")
    report.figure(
        "progress",
        figure,
        caption="The generator with the averaged weights, from the same noise after every epoch.",
        alt="Share of digits of the right class rises, Fréchet distance falls, by epoch",
    )


def rows(pictures: np.ndarray, labels: Sequence[str], heading: str, scale: float = 0.62) -> Figure:
    """Digits in rows, ink dark.

    Args:
        pictures: rows x columns x 28 x 28, from -1 (paper) to 1 (ink).
        labels: one for each row.
        heading: above all.
        scale: inches of a digit.
    """
    count, columns = pictures.shape[:2]
    side = mnist.SIDE + 2
    canvas = np.full((count * side, columns * side), -1.0)
    for row, column in np.ndindex(count, columns):
        top, left = row * side + 1, column * side + 1
        canvas[top : top + mnist.SIDE, left : left + mnist.SIDE] = pictures[row, column]
    figure, axes = figures.new(width=scale * columns + 1.0, height=scale * count + 0.4)
    axes.imshow(canvas, cmap="gray_r", vmin=-1, vmax=1)
    axes.set(yticks=(np.arange(count) + 0.5) * side, yticklabels=labels, xticks=[], title=heading)
    axes.tick_params(left=False)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure
