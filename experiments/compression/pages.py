"""The report of `svd_compression`."""

from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from experiments.harness import Run, figures
from experiments.harness.report import counted, short
from tinygrad_hw.backend import to_numpy

from . import training
from .results import Results

WAYS = {
    "identity": "identity", "exact": "exact derivative", "none": "no derivative", "fading": "identity, fading",
}  # fmt: skip
WHICH = {"exact": "LAPACK's projection", "subspace": "the followed projection"}


def write(run: Run[Any], results: Results) -> None:
    """Every section."""
    question(run)
    mathematics(run)
    ranks(run, results)
    three_ways(run, results)
    derivatives(run, results)
    following(run, results)
    losing(run, results)
    bits(run, results)


def question(run: Run[Any]) -> None:
    """What is asked."""
    run.report.section("Question")
    run.report.text(
        f"""A net of five hidden layers with {run.config.hidden:,} rectified linear units each reads handwritten digits.
        Nearly all of its weights sit in five large matrices. How many of their singular values does it need? A matrix
        cut to its D leading ones is a product of two thin matrices: for small D that is little to store and little to
        compute. Few are too few: at D = {run.config.rank} the net has got noticeably worse. How much of that comes back
        when the net is trained on in its compressed form, and which form is the best to train?"""
    )


def mathematics(run: Run[Any]) -> None:
    """Formulas."""
    report = run.report
    report.section("The mathematics")
    report.text("Every weight matrix $W$ with $m$ rows and $n$ columns is a sum of singular triples,")
    report.formula(
        r"W = U S V^{\top} = \sum_{i} s_i u_i v_i^{\top}, \quad s_1 \geq s_2 \geq \dots \geq 0",
        r"P_D(W) = \sum_{i \leq D} s_i u_i v_i^{\top}, \quad "
        r"\Vert W - P_D(W) \Vert_F^2 = \sum_{i > D} s_i^2",
        note="No matrix of rank $D$ is nearer to $W$ than $P_D(W)$ (Eckart and Young 1936).",
    )
    report.text(
        r"""Kept as $U_D$ and $S_D V_D^{\top}$, it takes $D (m + n)$ numbers and as many multiplications for an input
        instead of $m n$: less while $D < m n / (m + n)$, half the side of a square matrix. To improve the net at a
        given $D$ there are two forms to train. One is the pair of factors: two layers without a nonlinearity between
        them. The other is $W$ itself, with $P_D(W)$ in its place in the forward pass. What is then the derivative? The
        exact one exists: first-order perturbation of the singular vectors gives it. But it has rank $2 D$ at most, so
        that $W$ learns nothing among the directions that are dropped, and it divides by differences of squared singular
        values. The straight-through estimator takes the identity instead, so that $W$ keeps learning in every
        direction:"""
    )
    report.formula(
        r"\frac{\partial C}{\partial W} \approx \left. \frac{\partial C}{\partial \hat{W}} "
        r"\right|_{\hat{W} = P_D(W)}",
        note="The gradient by the projected weight is applied to the full one (Bengio, Léonard and Courville 2013).",
    )
    report.text(
        r"""That has no rest of its own. Moving $W$ in a direction that the projection drops changes nothing, so the
        gradient in that direction does not cease: the dropped part grows until its singular values are no smaller than
        the last that is kept, and then the two change places again and again. A small step towards the projection
        beside every step of the optimiser holds the dropped part down, as weight decay does all weights:"""
    )
    report.formula(
        rf"W \leftarrow W - c \, (W - P_D(W)), \quad c = {run.config.fading:g} \, \eta",
        note=r"$\eta$ is the learning rate. It is a step down the gradient of $\Vert W - P_D(W) \Vert_F^2 / 2$.",
    )
    report.text(
        r"""That asks for a singular value decomposition of each matrix at every step, about $20 m n \min(m, n)$
        operations, though a step changes $W$ little. So the leading subspace of the step before is a good beginning for
        this one. With $D$ and a few columns more in $V$, one step of block power iteration is"""
    )
    report.formula(
        r"Q R = W V, \quad B = Q^{\top} W, \quad P = Q \, P_D(B), \quad V \leftarrow B^{\top}",
        note=r"""$Q$ has orthonormal columns, so $P_D(B)$ needs the eigenvectors of the small matrix $B B^{\top}$ alone.
        With $p$ columns the tangents of the angles between the leading $D$ directions and the span of $V$ shrink by
        $(s_{p+1} / s_D)^2$ a step (Halko, Martinsson and Tropp 2011).""",
    )


# ---------------------------------------------------------------------------------------------------- by rank


def ranks(run: Run[Any], results: Results) -> None:
    """Accuracy, size and speed by D."""
    d, dense = run.config.rank, results.seconds["dense"][1]
    full = results.cuts[-1]
    numbers = [*(int(c.label) for c in results.cuts[:-1]), run.config.hidden]
    names = [*(c.label for c in results.cuts[:-1]), "all"]
    figure, (left, right) = figures.new(1, 2, width=9.0)
    left.plot(numbers, [c.accuracy for c in results.cuts], marker="o", label="cut by LAPACK")
    left.axhline(results.baseline.accuracy, color="black", linestyle="--", linewidth=1.2, label="in full")
    left.plot([d], [results.factored.accuracy], marker="s", linestyle="none", label="factors fine-tuned")
    left.plot([d], [results.exactly["ste"]], marker="^", linestyle="none", label="projected by LAPACK")
    left.plot([d], [results.exactly["subspace"]], marker="v", linestyle="none", label="subspace followed")
    left.set(ylabel="share of right answers", title="Accuracy on the test digits", ylim=(None, 1.0))
    left.legend(loc="lower right")
    right.plot(numbers, [1e6 * results.seconds[c.label][1] for c in results.cuts], marker="o", label="two factors")
    right.axhline(1e6 * dense, color="black", linestyle="--", linewidth=1.2, label="in full")
    right.set(ylabel="microseconds", title="Time for a digit, a thousand at once", ylim=(0, None))
    right.legend()
    for axes in (left, right):
        axes.set(xscale="log", xlabel="D", xticks=numbers, xticklabels=names)
        axes.minorticks_off()
    run.report.section("Accuracy by D")
    run.report.figure(
        "ranks",
        figure,
        caption=f"""Left: the trained net with each of its five large matrices cut to D singular values, not trained any
        further; and what training makes of it at D = {d}. Right: the same nets' time to read a digit.""",
        alt="Test accuracy and inference time against D, with the full net as a dashed line",
    )
    parameters = training.size(results.net)
    rows: list[tuple[Any, ...]] = [
        ("in full", parameters, "100 %", f"{results.baseline.accuracy:.2%}", *times(results, "dense"))
    ]
    for cut in results.cuts:
        size = training.size(cut.net)
        label = "D = all" if cut.label == "full" else f"D = {cut.label}"
        rows.append((label, size, f"{size / parameters:.1%}", f"{cut.accuracy:.2%}", *times(results, cut.label)))
    run.report.table(
        ("Weights", "Numbers kept", "Share", "Test accuracy", "µs alone", "µs each of many"),
        rows,
        caption="""Biases and the last, small matrix are kept as they are and counted. Times are medians for one digit
        alone and for each of up to a thousand at once.""",
    )
    worst = min(results.cuts, key=lambda c: c.accuracy)
    run.report.text(
        f"""With all singular values the net is the same as before, up to rounding ({full.accuracy:.2%}), in a form
        that is larger than the dense one. At D = {worst.label} it is at its worst, {worst.accuracy:.1%}."""
    )
    spectra(run, results)


def times(results: Results, label: str) -> tuple[str, str]:
    """Microseconds alone and among many."""
    one, many = results.seconds[label]
    return f"{1e6 * one:.0f}", f"{1e6 * many:.1f}"


def spectra(run: Run[Any], results: Results) -> None:
    """Singular values before and after training through the projection."""
    figure, both = figures.new(1, 2, width=9.0, sharey=True)
    nets = {
        "In full": results.net,
        f"(c), trained through the projection on D = {run.config.rank}": results.subspace.net,
    }
    for axes, (title, net) in zip(both, nets.items(), strict=True):
        for number, (_, s, _) in enumerate(training.decomposed(net), 1):
            values = to_numpy(s)
            axes.plot(np.arange(1, len(values) + 1), values / values[0], label=f"$W_{number}$", linewidth=1.4)
        axes.axvline(run.config.rank + 0.5, color="black", linestyle=":", linewidth=1.0)
        axes.set(xscale="log", yscale="log", xlabel="number", title=title, ylim=(3e-3, 1.5))
    both[0].set(ylabel="singular value over the largest")
    both[0].legend()
    run.report.figure(
        "spectra",
        figure,
        caption=f"""Singular values of the five matrices; the dotted line is at D = {run.config.rank}. The long flat
        part is what is left of the random weights that the training began with; in (c) it fades.""",
        alt="Singular values of five weight matrices by number, on logarithmic scales",
    )


# ------------------------------------------------------------------------------------------------------ D = 20


def three_ways(run: Run[Any], results: Results) -> None:
    """The compressed net improved."""
    d = run.config.rank
    figure, axes = figures.new(height=3.6)
    for label, done in (
        ("in full", results.baseline),
        ("(a) factors", results.factored),
        ("(b) projected by LAPACK", results.ste),
        ("(c) subspace followed", results.subspace),
    ):
        history = done.loop.history("test_accuracy")
        axes.plot(np.arange(1, len(history) + 1), 1 - history, marker=".", label=label)
    axes.set(yscale="log", ylabel="share of wrong answers")
    figures.by_epoch(axes)
    axes.legend()
    run.report.section(f"D = {d}, improved")
    run.report.figure(
        "improved",
        figure,
        caption=f"""Wrong answers on the test digits by epoch: the full net from random weights, then three compressed
        forms at D = {d}, all from the trained full net.""",
        alt="Share of wrong answers by epoch of the full net and of three compressed forms",
    )
    before = next((c.accuracy for c in results.cuts if c.label == str(d)), None)
    rows = [
        ("full net", "-", results.baseline.loop.steps, f"{results.baseline.accuracy:.2%}", each(results.baseline)),
        ("cut, not trained", "-", 0, "-" if before is None else f"{before:.2%}", "-"),
        ("(a) factors", "-", results.factored.loop.steps, f"{results.factored.accuracy:.2%}", each(results.factored)),
        ("(b) projection", schedule(run.config.svd_every), results.ste.loop.steps, f"{results.exactly['ste']:.2%}",
         each(results.ste)),
        ("(c) projection", "power iteration, each step", results.subspace.loop.steps,
         f"{results.exactly['subspace']:.2%}", each(results.subspace)),
    ]  # fmt: skip
    run.report.table(
        ("Net", "Singular vectors from", "Steps", "Test accuracy", "ms a step"),
        rows,
        caption=f"""At D = {d}, cut by LAPACK after the training; with the projection that it was trained with (c) gets
        {results.subspace.accuracy:.2%}. Milliseconds are means of whole training steps.""",
    )
    trial = results.trials["exact", "identity"]
    gap = results.baseline.accuracy - max(results.factored.accuracy, *results.exactly.values())
    held = (
        f"""So (b) finds the singular vectors every {run.config.svd_every} steps, and in between projects on the
        column space that it has. Just before a decomposition that left at most {short(results.excess)} of a
        weight's norm more than necessary."""
        if run.config.svd_every > 1
        else "Even so (b) makes it at every step here."
    )
    run.report.text(
        f"""A decomposition of all matrices at every step, as the problem asks for in its second way, takes
        {1e3 * np.median(trial.seconds):.0f} ms a step with the training itself: {epoch(trial, results)} for a pass over
        the training digits. {held} (c) projects anew at every step, for {each(results.subspace)} ms a step in all. With
        {training.size(results.factored.net) / training.size(results.net):.1%} of the numbers the best of the three is
        {100 * gap:.2f} percentage points behind the full net."""
    )


def schedule(every: int) -> str:
    """How often LAPACK is called."""
    return "LAPACK, each step" if every == 1 else f"LAPACK, every {every} steps"


def each(done: training.Training) -> str:
    """Mean milliseconds of a step: some steps of a training may take longer than others by design."""
    return f"{1e3 * done.seconds.mean():.1f}"


def epoch(trial: training.Training, results: Results) -> str:
    """How long a pass over the training digits would take at a trial's pace."""
    minutes = float(np.median(trial.seconds)) * results.baseline.loop.steps_per_epoch / 60
    return f"{minutes:.0f} minutes" if minutes >= 1.5 else f"{60 * minutes:.0f} s"


def derivatives(run: Run[Any], results: Results) -> None:
    """Two projections and three derivatives from the same start on the same batches."""
    trials = results.trials
    short_steps = len(trials["exact", "identity"].losses)
    figure, (left, right) = figures.new(1, 2, width=9.0)
    for number, (derivative, label) in enumerate(WAYS.items()):
        colour, losses = figures.COLOURS[number], trials["subspace", derivative].losses
        width = max(1, len(losses) // 15)
        means = np.convolve(losses, np.full(width, 1 / width), mode="valid")
        right.plot(np.arange(len(means)) + (width + 1) / 2, means, color=colour, label=label)
        if ("exact", derivative) in trials:
            steps = np.arange(1, short_steps + 1)
            left.plot(steps, trials["exact", derivative].losses, color=colour, linewidth=4.0, alpha=0.4)
            left.plot(steps, losses[:short_steps], color=colour, linestyle="--", linewidth=1.2)
    left.set(ylabel="cross-entropy", title="LAPACK (wide) and followed (dashed)")
    right.set(title=f"Followed, mean of {width} steps")
    for axes in (left, right):
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(*right.get_legend_handles_labels(), loc="outside upper center", ncols=len(WAYS))
    run.report.section("Which derivative")
    run.report.figure(
        "derivatives",
        figure,
        caption=f"""The loss of each batch for each projection with each derivative, from the same weights on the same
        batches at the same rate, which falls to zero over {run.config.trial_steps} steps. Left: the first
        {short_steps} steps, also made with LAPACK's projection at every one. Without derivative only biases and the
        last matrix learn. Without fading the dropped part of the weights is left to itself.""",
        alt="Training loss by step for two projections and three derivatives, and for the identity with fading",
    )
    rows = [
        (WHICH[which], WAYS[derivative], len(trial.losses), late(trial), f"{trial.accuracy:.2%}",
         f"{1e3 * np.median(trial.seconds):.1f}")
        for (which, derivative), trial in trials.items()
    ]  # fmt: skip
    run.report.table(
        ("Projection", "Derivative", "Steps", "Loss, last third", "Test accuracy", "ms a step"),
        rows,
        caption="""The same trainings in numbers, to be compared among those of as many steps. Test accuracy with the
        projection that was trained with. Milliseconds are medians.""",
    )
    apart = {
        derivative: float(
            np.abs(trials["exact", derivative].losses - trials["subspace", derivative].losses[:short_steps]).max()
        )
        for derivative in ("identity", "exact", "none")
    }
    highest = max(trials["subspace", derivative].accuracy for derivative in WAYS)
    best = [label for derivative, label in WAYS.items() if trials["subspace", derivative].accuracy == highest]
    run.report.text(
        f"""In the {short_steps} steps that both make, the losses under the two projections differ by at most
        {short(apart["identity"])} with the identity, {short(apart["exact"])} with the exact derivative and
        {short(apart["none"])} without. The exact derivatives of the two are not the same: that of the followed
        projection is the derivative of the step as it is computed, with the old basis held fixed. Of the trainings with
        the followed projection the test accuracy is highest, {highest:.2%}, with: {"; ".join(best)}."""
    )


def late(trial: training.Training) -> float:
    """The mean loss of the last third of the steps."""
    return float(trial.losses[-max(1, len(trial.losses) // 3) :].mean())


# ---------------------------------------------------------------------------------------------------- following


def following(run: Run[Any], results: Results) -> None:
    """The followed subspaces beside LAPACK's over the training."""
    watch, config = results.watch, run.config
    values, steps = watch.values, watch.steps
    figure, (left, middle, right) = figures.new(1, 3, width=10.0, height=3.6)
    for layer in range(values["angle"].shape[1]):
        colour = figures.COLOURS[layer % len(figures.COLOURS)]
        left.plot(steps, np.maximum(values["angle"][:, layer], 1e-4), color=colour, label=f"$W_{layer + 1}$")
        middle.plot(steps, values["gap"][:, layer], color=colour)
        right.plot(steps, values["exact_error"][:, layer], color=colour, linewidth=4.0, alpha=0.4)
        right.plot(steps, values["error"][:, layer], color="black", linestyle="--", linewidth=0.9)
    left.set(yscale="log", ylabel="degrees", title="Largest principal angle", ylim=(None, 100))
    middle.set(title=rf"$s_{{{config.rank + 1}}}$ over $s_{{{config.rank}}}$", ylim=(None, 1.0))
    right.set(title="What is left of the weight", ylabel="share of its norm", ylim=(0, 1))
    for axes in (left, middle, right):
        axes.set_xlabel("step")
    left.legend(fontsize="small")
    run.report.section("The followed subspace and LAPACK's")
    run.report.figure(
        "following",
        figure,
        caption=f"""During the training (c), every {config.watch_every} steps. Left: the largest of the {config.rank}
        angles between the two column spaces. Middle: how near the first singular value that is dropped comes to the
        last that is kept; where they meet, the leading subspace is not determined. Right: the relative error of
        LAPACK's projection (wide) and of the followed one (dashed).""",
        alt="Angles, ratios of singular values and errors of five matrices over the training",
    )
    angle, excess = values["angle"], (values["error"] - values["exact_error"]).max()
    row, column = np.unravel_index(angle.argmax(), angle.shape)
    at = values["gap"][row, column]
    exact, quick = (np.median(values[name].sum(axis=1)) for name in ("exact_seconds", "seconds"))
    rows = [
        ("LAPACK", f"{1e3 * exact:.1f}", "0", f"{values['exact_error'].max():.4f}"),
        ("followed", f"{1e3 * quick:.2f}", f"{np.median(angle):.2g}", f"{values['error'].max():.4f}"),
    ]
    run.report.table(
        ("Projection", "ms for all five", "Median angle, degrees", "Largest error"),
        rows,
        caption="Medians over the training; angles against LAPACK's column spaces.",
    )
    run.report.text(
        f"""The followed projection of all five matrices takes {1e3 * quick:.1f} ms, LAPACK's {1e3 * exact:.0f} ms:
        {exact / quick:.0f} times as long. Half of all angles are below {np.median(angle):.2g} degrees. The largest,
        {angle.max():.2g} degrees, occurred in $W_{{{column + 1}}}$ at step {steps[row]:,}, where
        $s_{{{config.rank + 1}}} = {at:.4f} \\, s_{{{config.rank}}}$: of two directions that carry nearly the same,
        either may be the last to be kept, and it matters little which. What counts is what is left of the weight: of
        its norm the followed projection leaves nowhere more than {short(max(excess, 0.0))} above the least possible
        share."""
    )


def losing(run: Run[Any], results: Results) -> None:
    """How a lost subspace is found and re-seeded."""
    figure, (left, right) = figures.new(1, 2, width=9.0, height=3.2)
    for checked, label in ((False, "without check"), (True, "checked every 20 steps")):
        loss = results.lost[checked]
        left.plot(np.maximum(loss.angles, 1e-4), label=label)
        right.plot(np.maximum(loss.excess, 1e-7), label=label)
    left.set(yscale="log", xlabel="step", ylabel="degrees", title="Largest angle", ylim=(None, 150))
    right.set(yscale="log", xlabel="step", ylabel="share of its norm", title="Left of the weight beyond the least")
    right.legend()
    run.report.section("When the subspace is lost")
    run.report.text(
        f"""Power iteration follows directions that turn. A direction that the span of $V$ is orthogonal to stays
        invisible to it, for instance after other weights were loaded. So every {run.config.check_every} steps a few
        random vectors are sent through what the subspace leaves of the weight, and a few steps of power iteration on it
        give a lower bound for its largest singular value:"""
    )
    report, columns = run.report, run.config.rank + run.config.oversampling
    report.formula(
        r"\sigma = \Vert Z^{\top} (I - Q Q^{\top}) W \Vert_2 \leq \Vert (I - Q Q^{\top}) W \Vert_2",
        note="""$Z$: an orthonormal basis of what the random vectors have become. The subspace is lost when $\\sigma$ is
        more than 1 % above the smallest singular value that is kept: a direction outside carries more than one
        inside.""",
    )
    report.text(
        f"""Then it is re-seeded much as it was seeded at first. Four times as many random directions as are kept, and
        the old ones beside them, take eight steps of power iteration together; the best {columns} are kept."""
    )
    report.figure(
        "lost",
        figure,
        caption="""The second matrix of the full net, as it was trained, now fixed. At step 10 the basis is exchanged
        for directions orthogonal to all the leading ones. The check finds the loss at its next turn. Without it only
        rounding errors bring directions back, the later the less they stand out from the others.""",
        alt="Angle and error by step after a subspace was turned away, without and with the check",
    )
    often = {0: "never had to re-seed a subspace", 1: "re-seeded a subspace once"}.get(
        results.reseeded, f"re-seeded a subspace {results.reseeded} times"
    )
    report.text(
        f"""In the training itself, five matrices over {results.subspace.loop.steps:,} steps, the check
        {often}."""
    )


# ------------------------------------------------------------------------------------------------------ few bits


def bits(run: Run[Any], results: Results) -> None:
    """Weights of few values."""
    ordered = sorted(results.rounded, key=lambda r: r.bits)
    places = np.arange(len(ordered))
    figure, axes = figures.new(height=3.4)
    axes.plot(places, [1 - r.before for r in ordered], marker="o", linestyle="none", label="rounded")
    axes.plot(places, [1 - r.after for r in ordered], marker="^", linestyle="none", label="trained with the rounding")
    axes.axhline(1 - results.baseline.accuracy, color="black", linestyle="--", linewidth=1.2, label="32 bits")
    axes.set(
        yscale="log", ylabel="share of wrong answers", xticks=places, xticklabels=[spelt(r.label) for r in ordered]
    )
    axes.legend()
    run.report.section("Few bits a weight")
    run.report.text(
        """The same machinery trains weights of few values: the layer computes with the rounded weight, the gradient by
        it is applied to the full one. Weights of $b$ bits take the nearest of $2^b$ equidistant values between limits
        that round the trained net with the least squared error. Ternary and binary weights have one scale for each
        unit (Li, Zhang and Liu 2016; Rastegari and others 2016):"""
    )
    run.report.formula(
        r"\hat{w} = \alpha \, \mathrm{sign}(w), \quad \alpha = \mathrm{mean} \, |w|",
        r"\hat{w} = \alpha \, \mathrm{sign}(w) \, [ \, |w| > 0.7 \, \mathrm{mean} \, |w| \, ]",
        note="Binary and ternary; the ternary scale is the mean of the sizes that are kept.",
    )
    run.report.figure(
        "bits",
        figure,
        caption=f"""Wrong answers on the test digits, the trained net rounded as it is and after
        {counted(run.config.quantized_epochs, "epoch")} of training with the rounding.""",
        alt="Share of wrong answers by kind of rounding, before and after training",
    )
    rows = [
        (spelt(r.label), f"{r.bits:.3g}", f"{32 / r.bits:.1f}", f"{r.before:.2%}", f"{r.after:.2%}") for r in ordered
    ]
    run.report.table(
        ("Weights", "Bits a weight", "Smaller by", "Rounded", "Trained"),
        rows,
        caption="Test accuracy. Biases and the last matrix stay in float32; scales are not counted.",
    )


def spelt(label: str) -> str:
    """`8bit` as `8 bits`; other names as they are."""
    return "1 bit" if label == "1bit" else label.replace("bit", " bits")
