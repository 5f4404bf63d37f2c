"""The report of speaker_verification."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from experiments.data.audio.speakers import Speakers
from experiments.harness import Clip, Run, figures
from experiments.harness.report import Report, counted

from . import mathematics
from .results import Results, Scored
from .training import TRANSFORM, Learned

MARKERS = "osD^v<>P"


def show(run: Run[Any], data: Speakers, learned: Mapping[str, Learned], results: Results) -> None:
    """Everything from the question to the comment."""
    report = run.report
    mathematics.ask(report, TRANSFORM)
    mathematics.explain(report, run.config, TRANSFORM)
    names = names_of(learned)
    show_results(report, run.config, results, names, len(data.test))
    show_roc(report, results, names)
    show_scores(report, results, names)
    show_learning(report, learned, names)
    best = list(learned)[-1]
    show_embedding(report, data, results, best, names)
    show_speakers(report, data, results, best, names)
    show_players(report, data, results, best, names)
    comment(run, data, results, learned)


def names_of(learned: Mapping[str, Learned]) -> dict[str, str]:
    """What the sets of training speakers are called."""
    return {name: f"{people_of(each)} speakers" for name, each in learned.items()}


@dataclass(frozen=True)
class Way:
    """A verifier as the pictures show it."""

    label: str
    scored: Scored
    colour: str
    line: str


def ways_of(results: Results, names: Mapping[str, str]) -> list[Way]:
    """All verifiers: without a net and with nets, for each set of training speakers."""
    found = []
    for number, name in enumerate(names):
        colour = figures.COLOURS[1 - number]
        found.append(Way(f"mean spectrum, {names[name]}", results.baseline[name], colour, ":"))
        found.append(Way(f"Siamese nets, {names[name]}", results.nets[name], colour, "-"))
    return found


def people_of(learned: Learned) -> int:
    """How many training speakers there were."""
    return sum(trial.speakers for trial in learned.left_out)


def percent(share: float) -> str:
    """`12.3%`."""
    return f"{share:.1%}"


def show_results(report: Report, config: Any, results: Results, names: Mapping[str, str], people: int) -> None:
    """One row for each way."""
    any_trial = next(iter(results.nets.values())).plain
    report.section("How often the verdict is right")
    positive = int(any_trial.pairs.same.sum())
    report.table(
        ("Verdict by", "mini-batches", "all pairs", "refused", "accepted", "EER", "AUC", "other microphone"),
        [
            (
                way.label,
                percent(float(way.scored.plain.right(results.batches).mean())),
                percent(way.scored.plain.balanced_accuracy),
                percent(way.scored.plain.refused),
                percent(way.scored.plain.accepted),
                percent(way.scored.plain.eer),
                f"{way.scored.plain.auc:.3f}",
                percent(float(way.scored.recoloured.right(results.batches).mean())),
            )
            for way in ways_of(results, names)
        ],
        caption=f"""{people} test speakers, never heard in training. “Mean spectrum”: no net, but the mean over time of
        the log-mel spectrum, whitened; a pair scores the cosine of its two. “Mini-batches”: share of right verdicts on
        {len(results.batches):,} pairs, drawn as in training, half of them of one speaker; this is what is claimed.
        “All pairs”: mean of the shares right among all {positive:,} pairs of one speaker and all
        {len(any_trial.pairs) - positive:,} of two. “Refused”: one speaker, judged two; “accepted”: two, judged one;
        where the threshold makes both equal is the equal error rate, EER. AUC: probability that a pair of one speaker
        scores higher than one of two. “Other microphone”: as “mini-batches”, with each test recording sent through a
        random smooth filter of its own, {config.colour:g} dB at a frequency (standard deviation).""",
    )
    report.text(
        """Thresholds come from training speakers alone: those of nets from speakers whom the net in question had not
        heard, those of mean spectra from their training pairs. The equal error rate supposes the best threshold, which
        is known afterwards only."""
    )


def show_roc(report: Report, results: Results, names: Mapping[str, str]) -> None:
    """The receiver operating characteristics, and where the thresholds are on them."""
    figure, axes = figures.new(width=7.5, height=4.6)
    ways = ways_of(results, names)
    for way in ways:
        trial = way.scored.plain
        axes.plot(*trial.roc, color=way.colour, linestyle=way.line, label=f"{way.label}: EER {trial.eer:.1%}")
        axes.plot(trial.accepted, 1 - trial.refused, "o", color=way.colour, markersize=7 if way.line == "-" else 4)
    axes.plot([0, 1], [1, 0], color="#bbbbbb", linewidth=1)
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1)
    axes.set(
        xlabel="two speakers, judged to be one",
        ylabel="one speaker, judged to be one",
        xlim=(-0.01, 1.01),
        ylim=(-0.01, 1.01),
        aspect="equal",
    )
    axes.legend(loc="lower right", fontsize=8)
    report.figure(
        "roc",
        figure,
        caption="""Receiver operating characteristic over all test pairs, from the strictest threshold (lower left) to
        the loosest. Dots: the thresholds that were chosen without any test speaker. Rising grey line: guessing; falling
        one: both shares of wrong verdicts are equal.""",
        alt="; ".join(f"{way.label}: equal error rate {way.scored.plain.eer:.1%}" for way in ways),
    )


def show_scores(report: Report, results: Results, names: Mapping[str, str]) -> None:
    """How the logits of pairs of one and of two speakers lie."""
    ways = ways_of(results, names)
    figure, axes = figures.new(len(names), 2, width=8.0, height=2.3 * len(names) + 0.3, squeeze=False)
    for axis, way in zip(axes.flat, ways, strict=True):
        trial = way.scored.plain
        same = trial.pairs.same > 0
        low, high = np.quantile(trial.logits, (0.001, 0.999))
        edges = np.linspace(min(low, -1), max(high, 1), 50)
        for chosen, label, colour in ((same, "one speaker", 0), (~same, "two speakers", 1)):
            shown = np.clip(trial.logits[chosen], edges[0], edges[-1])
            axis.hist(shown, edges, density=True, alpha=0.6, color=figures.COLOURS[colour], label=label)
        axis.axvline(0, color="#333333", linewidth=1)
        axis.set(title=way.label, xlabel="logit", yticks=[])
    axes[0, 0].legend(fontsize=8)
    report.figure(
        "scores",
        figure,
        caption="Calibrated logits of all test pairs, each kind of pair with the same area. Above zero, right of "
        "the line, the verdict is “one speaker”.",
        alt="Histograms of the logits of pairs of one and of two speakers",
    )


def show_learning(report: Report, learned: Mapping[str, Learned], names: Mapping[str, str]) -> None:
    """Loss by epoch: mean and range over the nets."""
    figure, axes = figures.new(1, len(learned), width=4.8 * len(learned), height=3.4, squeeze=False, sharey=True)
    for axis, (name, each) in zip(axes[0], learned.items(), strict=True):
        for value, label, colour in (
            ("train_loss", "training pairs", 1),
            ("validation_loss", "pairs of speakers left out", 0),
        ):
            curves = np.array([loop.history(value) for loop in each.loops])
            epochs = np.arange(1, curves.shape[1] + 1)
            axis.plot(epochs, curves.mean(axis=0), color=figures.COLOURS[colour], label=label)
            axis.fill_between(epochs, curves.min(axis=0), curves.max(axis=0), color=figures.COLOURS[colour], alpha=0.2)
        axis.axhline(np.log(2), color="#777777", linewidth=1, linestyle=":")
        axis.set(title=f"Siamese nets, {names[name]}")
    axes[0, 0].set_ylim(bottom=0)
    axes[0, 0].set_ylabel("cross-entropy, nats")
    axes[0, 0].legend(fontsize=8)
    figures.by_epoch(*axes[0])
    kept = "; ".join(f"{names[name]}: {', '.join(map(str, each.best))}" for name, each in learned.items())
    report.section("Learning")
    report.figure(
        "learning",
        figure,
        caption=f"""Lines: mean of the nets; bands: from the least to the greatest. Dotted: a coin's. Each net is kept
        as it was after its best epoch on the speakers that it left out ({kept}).""",
        alt="Cross-entropy on training pairs and on pairs of speakers left out, by epoch",
    )


def show_embedding(report: Report, data: Speakers, results: Results, name: str, names: Mapping[str, str]) -> None:
    """The test utterances in the plane, by principal components and by t-SNE."""
    vectors, each = results.vectors[name], data.test.shape[1]
    near = min(30.0, (len(vectors) - 1) / 3)
    planes = {
        "principal components": PCA(2, svd_solver="full").fit_transform(vectors),
        "t-SNE": TSNE(2, perplexity=near, init="pca", random_state=0, metric="cosine").fit_transform(vectors),
    }
    figure, axes = figures.new(1, 2, width=10.4, height=4.9)
    for axis, (title, places) in zip(axes, planes.items(), strict=True):
        for speaker in range(len(data.test)):
            own = places[speaker * each : (speaker + 1) * each]
            colour = figures.COLOURS[speaker % len(figures.COLOURS)]
            marker = MARKERS[speaker // len(figures.COLOURS) % len(MARKERS)]
            axis.scatter(*own.T, s=18, color=colour, marker=marker, alpha=0.8, linewidths=0)
            axis.annotate(f"{speaker + 1}", np.median(own, axis=0), fontsize=9, fontweight="bold")
        axis.set(title=title, xticks=[], yticks=[])
    report.section("Where the voices are")
    report.figure(
        "embedding",
        figure,
        caption=f"""The vectors of all test utterances (nets of {names[name]}), one colour and shape for each speaker,
        whose number (as in the table below) is at the middle of the utterances. Nobody here was heard in training, and
        neither picture knows who is who.""",
        alt="Test utterances in the plane; those of one speaker lie near each other where the nets do well",
    )


def by_speaker(results: Results, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares of wrong verdicts by test speaker: on own pairs, on pairs with others, and the speaker most confused with.

    Returns:
        refused, accepted (float64) and confused (int64), one each for every speaker.
    """
    trial = results.nets[name].plain
    shares = means_between(trial.square > 0, trial.speakers)
    refused = 1 - shares.diagonal()
    np.fill_diagonal(shares, 0)
    return refused, shares.sum(axis=1) / (trial.speakers - 1), shares.argmax(axis=1)


def means_between(square: np.ndarray, speakers: int) -> np.ndarray:
    """Means of a symmetric U x U matrix over the pairs of utterances of two speakers, or of one; its diagonal is left
    out."""
    each = len(square) // speakers
    values = np.array(square, np.float64)
    np.fill_diagonal(values, 0)
    sums = values.reshape(speakers, each, speakers, each).sum(axis=(1, 3))
    counts = np.full((speakers, speakers), float(each**2))
    np.fill_diagonal(counts, each * (each - 1))
    return np.asarray(sums / counts)


def show_speakers(report: Report, data: Speakers, results: Results, name: str, names: Mapping[str, str]) -> None:
    """Who is recognised, and who is taken for whom."""
    refused, accepted, confused = by_speaker(results, name)
    trial = results.nets[name].plain
    report.section("By speaker")
    report.figure(
        "speakers",
        confusion(means_between(trial.square > 0, trial.speakers)),
        caption=f"""Share of the pairs that are judged to be of one speaker (nets of {names[name]}): dark on the
        diagonal and light everywhere else would be perfect.""",
        alt="Share of pairs judged to be of one speaker, for every two test speakers",
        raster=True,
    )
    order = np.argsort(-(refused + accepted), kind="stable")
    report.table(
        ("Speaker", "Name", "own pairs refused", "pairs with others accepted", "most often taken for"),
        [
            (
                str(i + 1),
                f"`{data.test_names[i]}`",
                percent(refused[i]),
                percent(accepted[i]),
                str(confused[i] + 1) if accepted[i] else "nobody",
            )
            for i in order
        ],
        caption="Test speakers, hardest first.",
    )


def confusion(shares: np.ndarray) -> Figure:
    """A square of grey levels."""
    figure, axes = figures.new(width=7.5, height=4.6)
    drawn = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = np.arange(0, len(shares), 1 if len(shares) <= 25 else len(shares) // 20)
    axes.set(xticks=ticks, yticks=ticks, xlabel="speaker", ylabel="speaker")
    axes.set_xticklabels(ticks + 1, fontsize=7)
    axes.set_yticklabels(ticks + 1, fontsize=7)
    axes.grid(False)
    figure.colorbar(drawn, ax=axes, label="judged to be one speaker", shrink=0.9)
    return figure


def chosen_pairs(results: Results, name: str) -> list[tuple[str, int]]:
    """A heading and the number of a pair for each kind: one speaker or two, judged rightly or wrongly.

    Of the right ones a middling one, of the wrong ones the worst; kinds that there are none of are left out.
    """
    trial = results.nets[name].plain
    same, says = trial.pairs.same > 0, trial.logits > 0
    kinds = (
        ("One speaker, rightly recognised", same & says, True),
        ("Two speakers, rightly told apart", ~same & ~says, True),
        ("One speaker, wrongly taken for two", same & ~says, False),
        ("Two speakers, wrongly taken for one", ~same & says, False),
    )
    found = []
    for heading, those, middling in kinds:
        numbers = np.flatnonzero(those)
        if len(numbers):
            order = numbers[np.argsort(np.abs(trial.logits[numbers]), kind="stable")]
            found.append((heading, int(order[len(order) // 2 if middling else -1])))
    return found


def show_players(report: Report, data: Speakers, results: Results, name: str, names: Mapping[str, str]) -> None:
    """A pair of each kind to listen to."""
    trial = results.nets[name].plain
    each, samples = data.test.shape[1:]
    signals = data.test.reshape(-1, samples)
    report.section("Listen")
    report.text(
        f"Judge for yourself: pairs of test utterances and what was made of them (nets of {names[name]}). Of right "
        "verdicts a middling one was taken, of wrong ones that which was surest."
    )
    for number, (heading, pair) in enumerate(chosen_pairs(results, name)):
        sides = [int(side[pair]) for side in (trial.pairs.left, trial.pairs.right)]
        told = [f"speaker {side // each + 1}, utterance {side % each + 1}" for side in sides]
        probability = 1 / (1 + np.exp(-trial.logits[pair]))
        clips = [Clip(label, signals[side], data.rate) for label, side in zip(told, sides, strict=True)]
        report.audio(f"pair-{number + 1}", clips, caption=f"{heading}: probability of one speaker {probability:.2f}.")


def comment(run: Run[Any], data: Speakers, results: Results, learned: Mapping[str, Learned]) -> None:
    """What came out, in words with the numbers of this run."""
    report = run.report
    kinds = {"nets": results.nets, "mean": results.baseline}
    right, other = (
        {
            (kind, name): float(getattr(each, colour).right(results.batches).mean())
            for kind, scored in kinds.items()
            for name, each in scored.items()
        }
        for colour in ("plain", "recoloured")
    )
    first, *more = learned
    best = (more or [first])[-1]
    paragraphs = [
        f"""With {people_of(learned[first])} training speakers {right["nets", first]:.1%} of the nets' verdicts on
        unseen speakers are right, and {right["mean", first]:.1%} of those by the mean spectrum: learning is worth
        {_points(right["nets", first] - right["mean", first])}.""",
    ]
    if more:
        paragraphs.append(
            f"""With {people_of(learned[best])} training speakers it is {right["nets", best]:.1%} and
            {right["mean", best]:.1%}: more voices are worth {_points(right["nets", best] - right["nets", first])} to
            the nets, and {_points(right["mean", best] - right["mean", first])} to the mean spectrum."""
        )
    microphone = (
        "One microphone in one room gives all recordings of a speaker a colour that tells them from others without any "
        "voice; and a voice has a colour of its own."
        if run.data_dir is not None
        else "These voices are synthetic and never went through a microphone: the colour of the sound is all theirs."
    )
    lost = {kind: right[kind, best] - other[kind, best] for kind in kinds}
    seconds = sum(loop.seconds for each in learned.values() for loop in each.loops)
    paragraphs += [
        f"""Is it the voice? {microphone} With each recording through a filter of its own, as if the microphone
        changed every time, {other["nets", best]:.1%} of the nets' verdicts are right instead of
        {right["nets", best]:.1%}, and {other["mean", best]:.1%} instead of {right["mean", best]:.1%} by the mean
        spectrum: {_points(lost["nets"])} and {_points(lost["mean"])} hang on the colour of the sound, which such a
        filter changes.""",
        f"""{counted(sum(len(each.loops) for each in learned.values()), "net")} took {seconds:.0f} s to learn.""",
    ]
    report.section("Comment")
    report.text(*paragraphs)


def _points(share: float) -> str:
    return f"{'minus ' if share < 0 else ''}{abs(100 * share):.1f} percentage points"
