"""The report of `vae_sevens`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from experiments.data.sevens import Sevens
from experiments.effects.apply import EFFECTS
from experiments.effects.find import Finding, traversal
from experiments.effects.measure import QUANTITIES, UNITS
from experiments.harness import Loop, Run, figures
from experiments.harness.report import Slider
from tinygrad_hw.random import Stream

from .mathematics import explain
from .model import Renderer

CODES = np.arange(-5.0, 5.25, 0.5)
SHOWN = 10


@dataclass(frozen=True)
class Result:
    """What a run came to.

    Attributes:
        data: the sevens.
        effect: that was put on them, a key of EFFECTS; None for the course's, where it is not known.
        renderer: the trained VAE.
        finding: what was found with it.
        codes: means of the test pictures' codes, N x K.
        errors: see vae_sevens.reconstruction_errors.
    """

    data: Sevens
    effect: str | None
    renderer: Renderer
    finding: Finding
    codes: np.ndarray
    errors: tuple[float, float]

    @property
    def found_codes(self) -> np.ndarray:
        """The test pictures' codes in the dimension that was found, N."""
        return self.codes[:, self.finding.dimension]


def name(quantity: str) -> str:
    """A quantity or effect in running text."""
    return {"shift": "shift to the side", "shift_y": "shift up or down", "scale": "size", "shear": "slant"}.get(
        quantity, quantity
    )


def signed(value: float, digits: int = 1) -> str:
    """A number with so many decimals and a proper minus sign."""
    return f"{value:z.{digits}f}".replace("-", "\N{MINUS SIGN}")


def show_finding(run: Run, result: Result) -> None:
    """What was found, in words and as a table of all scores."""
    finding, report = result.finding, run.report
    dimension, quantity, score = finding.second
    own = finding.scores[finding.dimension].copy()
    own[QUANTITIES.index(finding.effect)] = 0
    report.section("What was found")
    report.text(
        f"""Dimension {finding.dimension + 1} carries the effect, and the effect is {name(finding.effect)}: between the
        codes that cut off the lowest and the highest twentieth of the pictures, what the decoder draws changes in it
        {finding.score:.1f} times as much as untouched sevens differ from each other. The next candidate is
        {name(quantity)} in dimension {dimension + 1}, {score:.1f} times. {verdict(result)}"""
    )
    rows = [(f"dimension {k + 1}", *(f"{value:.2f}" for value in scores)) for k, scores in enumerate(finding.scores)]
    natural = [np.exp(value) if q == "scale" else value for q, value in zip(QUANTITIES, finding.natural, strict=True)]
    report.table(
        ("", *(name(quantity) for quantity in QUANTITIES)),
        [*rows, ("untouched sevens", *(f"{value:.2f}" for value in natural))],
        caption=f"""Change of each quantity along each dimension, as a multiple of how much untouched sevens differ in
        it: the greatest of them names effect and dimension. Last row: how much untouched sevens differ, or a change
        that hardly shows if that is more, in {", ".join(f"{UNITS[q]} ({name(q)})" for q in QUANTITIES)}.""",
    )


def verdict(result: Result) -> str:
    """Whether that is right, in a sentence."""
    if result.effect is None or result.data.train_amounts is None:
        return (
            "What was done to these pictures is not recorded anywhere, so nothing can say here whether that is right."
        )
    effect, amounts = EFFECTS[result.effect], result.data.train_amounts
    low, high = (signed(amount, 0 if effect.most > 10 else 1) for amount in (amounts.min(), amounts.max()))
    right = result.effect == result.finding.effect
    was = f"What was really done: the sevens were {effect.title}, by {low} to {high} {effect.unit}."
    return f"{was} {'That is the same.' if right else 'So the name is wrong.'}"


def canvas(frames: np.ndarray, rows: Sequence[str], columns: Sequence[str], marked: int | None, label: str) -> Figure:
    """Pictures (R x C x H x W) as one sheet.

    Args:
        frames: the pictures, 0 paper to 1 ink.
        rows, columns: what stands beside and above them; columns may be empty.
        marked: a row to frame, or None.
        label: what the columns are.
    """
    count, across, height, width = frames.shape
    sheet = frames.transpose(0, 2, 1, 3).reshape(count * height, across * width)
    figure, axes = figures.new(width=9.0, height=9.0 * count / across + 0.7)
    axes.imshow(sheet, cmap="gray_r", vmin=0, vmax=1, aspect="equal")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.set_yticks(np.arange(count) * height + height / 2 - 0.5, rows)
    axes.set_xticks(np.arange(across) * width + width / 2 - 0.5, columns or [""] * across, fontsize=8)
    axes.xaxis.set_label_position("top")
    axes.set_xlabel(label)
    for row in range(1, count):
        axes.axhline(row * height - 0.5, color="#dddddd", linewidth=0.8)
    if marked is not None:
        box = (np.array([0, 1, 1, 0, 0]) * across * width - 0.5, (marked + np.array([0, 0, 1, 1, 0])) * height - 0.5)
        axes.plot(*box, color=figures.COLOURS[1], linewidth=2.0, clip_on=False)
    return figure


def show_traversals(run: Run, result: Result) -> None:
    """The grid of decoded traversals, and the same to page through."""
    finding, latent = result.finding, result.codes.shape[1]
    frames = result.renderer.draw(traversal(latent, CODES).reshape(-1, latent))
    frames = frames.reshape(latent, len(CODES), *frames.shape[1:])
    run.report.section("Traversals")
    run.report.text(
        r"""One dimension of the code goes from $-5$ to $5$ in steps of 0.5, the others stay at 0. Codes are normally
        distributed: beyond $\pm 3$ the decoder has seen next to nothing and draws what it has never learned."""
    )
    run.report.figure(
        "traversals",
        canvas(
            frames,
            [f"{k + 1}" for k in range(latent)],
            [signed(code) if code == int(code) else "" for code in CODES],
            finding.dimension,
            "code",
        ),
        caption=f"""What the decoder draws along each dimension. Framed: dimension {finding.dimension + 1}, which
        carries the effect ({name(finding.effect)}).""",
        alt=f"{latent} rows of 21 sevens each, changing gradually from left to right",
        raster=True,
    )
    run.report.sliders(
        [
            Slider(
                f"Dimension {k + 1}" + (" (the effect)" if k == finding.dimension else ""),
                f"The seven that the decoder draws for the code chosen in dimension {k + 1}",
                figures.strip(frames[k]),
                [spoken(finding, k, code) for code in CODES],
                len(CODES) // 2,
            )
            for k in range(latent)
        ],
        caption="""The same pictures: move a slider with the mouse, or with the arrow keys once it has the focus. Below
        each, the quantity that changes most along the dimension, as measured.""",
    )
    others = Stream(run.seed, "other codes").normal((5, 1, latent), dtype=np.float64)
    codes = np.repeat(others, len(CODES), axis=1)
    codes[:, :, finding.dimension] = CODES
    drawn = result.renderer.draw(codes.reshape(-1, latent)).reshape(len(others), *frames.shape[1:])
    beside = f"""Sevens with a gradually changing effect: dimension {finding.dimension + 1} takes the codes above, the
        others are drawn at random once for each row."""
    if latent > 1:
        run.report.figure(
            "variations",
            canvas(drawn, [""] * len(others), [signed(c) if c == int(c) else "" for c in CODES], None, "code"),
            caption=beside,
            alt="Five rows of sevens in different hands, each changing by the same effect from left to right",
            raster=True,
        )


def spoken(finding: Finding, dimension: int, code: float) -> str:
    """A code, and what was measured there."""
    number = int(finding.scores[dimension].argmax())
    quantity, at = QUANTITIES[number], np.flatnonzero(np.isclose(finding.values, code))
    if not at.size:
        return f"code {signed(code)}"
    value = finding.curves[dimension, number, at[0]]
    digits = {"rotation": 0, "scale": 2, "shear": 2, "brightness": 2}.get(quantity, 1)
    return f"code {signed(code)}: {signed(value, digits)} {UNITS[quantity]}"


def show_codes(run: Run, result: Result) -> None:
    """Codes of the test pictures against each other and against the amounts, and pictures in the order of the codes."""
    finding, data = result.finding, result.data
    report = run.report
    report.section("Codes of unseen pictures")
    found = finding.dimension
    other = next((k for k in np.argsort(-result.codes.std(axis=0)) if k != found), found)
    amounts = data.test_amounts
    if amounts is not None and result.effect is not None:
        unit = EFFECTS[result.effect].unit
        figure, (left, right) = figures.new(1, 2, width=9.0)
        left.scatter(amounts, result.found_codes, s=8, c=amounts, cmap="viridis")
        left.set(xlabel=f"applied: {unit}", ylabel=f"code in dimension {found + 1}", title="Code against amount")
        drawn = right.scatter(result.found_codes, result.codes[:, other], s=8, c=amounts, cmap="viridis")
        right.set(xlabel=f"dimension {found + 1}", ylabel=f"dimension {other + 1}", title="Two dimensions of the code")
        left.set_axisbelow(True)
        right.set_axisbelow(True)
        figure.colorbar(drawn, ax=right, label=f"applied: {unit}")
        report.figure(
            "codes",
            figure,
            caption=f"""The {len(amounts):,} test pictures. Left: their code in the dimension that was found, against
            the amount that was applied (Spearman's rank correlation {run.metrics["effect_correlation"]:.3f}). Right:
            that code and the widest of the others, coloured by the amount.""",
            alt="Scatter plots: the code follows the applied amount, and colours change along the found dimension",
            raster=True,
        )
    order = np.argsort(result.found_codes, kind="stable")
    chosen = order[np.linspace(0, len(order) - 1, 2 * SHOWN).round().astype(int)]
    titles = [signed(code) for code in result.found_codes[chosen]]
    report.figure(
        "sorted",
        figures.grid(data.test[chosen], titles, columns=SHOWN),
        caption=f"Test pictures from the lowest to the highest code in dimension {found + 1}, which stands above each.",
        alt="Twenty sevens in the order of their code: the effect changes from one end to the other",
        raster=True,
    )


def show_reconstructions(run: Run, result: Result) -> None:
    """Unseen pictures, as decoded, and decoded without the effect."""
    finding, data = result.finding, result.data
    order = np.argsort(result.found_codes, kind="stable")
    chosen = order[np.linspace(0, len(order) - 1, 2 * SHOWN + 1).round().astype(int)[1::2]]
    without = result.codes[chosen].copy()
    without[:, finding.dimension] = 0
    rows = [data.test[chosen], result.renderer.draw(result.codes[chosen]), result.renderer.draw(without)]
    run.report.section("Reconstructions")
    run.report.figure(
        "reconstructions",
        canvas(np.stack(rows), ["picture", "decoded", "without"], [], None, ""),
        caption=f"""Unseen pictures from the lowest to the highest code in dimension {finding.dimension + 1}; what the
        decoder makes of their {result.codes.shape[1]} numbers; and the same with that dimension set to 0: what was done
        to them, undone. The mean squared error of a pixel is {result.errors[0]:.4f}; drawing the mean of the training
        pictures every time would have {result.errors[1]:.4f}.""",
        alt="Three rows of ten sevens: as given, as decoded, and decoded without the effect",
        raster=True,
    )


def show_losses(run: Run, loops: Mapping[str, Loop]) -> None:
    """Both terms of the loss, by epoch, of every loop."""
    figure, (left, right) = figures.new(1, 2, width=9.0)
    starts = [loop for label, loop in loops.items() if label.startswith("start")]
    after = [loop for loop in loops.values() if loop not in starts]
    for loop in starts:
        best = loop.history("loss")[-1] == min(other.history("loss")[-1] for other in starts)
        style = {"color": figures.COLOURS[0], "alpha": 1.0 if best else 0.35, "label": "start" if best else None}
        epochs = np.arange(1, loop.epochs + 1)
        left.plot(epochs, loop.history("reconstruction"), **style)
        right.plot(epochs, loop.history("divergence"), **style)
    done = starts[0].epochs
    for number, loop in enumerate(after, 1):
        epochs = done + np.arange(1, loop.epochs + 1)
        style = {"color": figures.COLOURS[number % len(figures.COLOURS)], "label": loop.name}
        left.plot(epochs, loop.history("reconstruction"), **style)
        right.plot(epochs, loop.history("divergence"), **style)
        done += loop.epochs
    left.set(ylabel="nats a picture", title="Reconstruction: cross-entropy of the pixels")
    right.set(ylabel="nats a picture", title="Divergence of the codes")
    figures.by_epoch(left, right)
    left.legend()
    run.report.section("Losses")
    run.report.figure(
        "losses",
        figure,
        caption="""The two terms of the bound over the training pictures, epoch by epoch; the divergence is that of the
        codes' distribution from the normal one. Pale: starts that were given up.""",
        alt="Reconstruction loss falls and divergence rises over the epochs of all stages",
    )


def comment(run: Run, result: Result) -> None:
    """What the numbers mean, and where they end."""
    metrics, finding = run.metrics, result.finding
    run.report.section("Comment")
    if "suspected_score" in metrics:
        before, now = int(metrics["suspected_dimension"]), finding.dimension + 1
        run.report.text(
            f"""Before the untouched sevens came in, the finder suspected dimension {before} with a score of
            {metrics["suspected_score"]:.1f}; in the end it is dimension {now}
            {"after all" if before != now else "again"}, with {finding.score:.1f}. The untouched sevens do two things:
            what they differ in leaves the dimension, and what sets all others apart from them enters it. Where the
            effect is not what pictures differ in most, as with the width of the pen, the plain bound alone need not
            give it a dimension of its own."""
        )
    if result.effect is not None:
        run.report.text(
            """A correlation of 1 is out of reach: how a seven was written is not known. Turned writing looks like a
            seven that was turned, a slanted hand like one that was slanted, a broad pen like a widened stroke, and what
            handwriting adds to the amount cannot be taken off again. Near no effect the code comes closest to it, for
            that is where the untouched sevens hold it; far from it some of the writer's hand is left in the code."""
        )


def show(run: Run, result: Result, loops: Mapping[str, Loop]) -> None:
    """The whole report."""
    explain(run)
    show_finding(run, result)
    show_traversals(run, result)
    show_codes(run, result)
    show_reconstructions(run, result)
    show_losses(run, loops)
    comment(run, result)
