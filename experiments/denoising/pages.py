"""The report of speech_denoising."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.audio.pictures import Panel, spectrograms
from experiments.audio.transform import Transform
from experiments.data.audio.denoising import Denoising
from experiments.data.audio.mixing import Example
from experiments.harness import Clip, Loop, Run, figures
from experiments.harness.report import Report, counted

from . import mathematics
from .assessment import Recovered, Scores, binarised, ideal, recover
from .nets import Denoiser

WAYS = {
    "mixture": "nothing done",
    "fc": "fully connected net, binary mask",
    "fc_soft": "fully connected net, soft mask",
    "recurrent": "recurrent net, binary mask",
    "recurrent_soft": "recurrent net, soft mask",
    "ideal": "ideal binary mask",
}
SHORT = {"fc": "Fully connected", "recurrent": "Recurrent", "recurrent_soft": "Recurrent, soft", "ideal": "Ideal"}
PLAYED = 3  # test mixtures with players


def show(
    run: Run[Any],
    data: Denoising,
    nets: Mapping[str, Denoiser],
    loops: Mapping[str, Loop],
    scores: Scores,
    transform: Transform,
) -> None:
    """Everything from the question to the comment."""
    report, config = run.report, run.config
    mathematics.explain(report, config, transform, synthetic=run.data_dir is None)
    judged = "test" if scores.examples[0] in data.test else "validation"
    show_scale(report, scores, judged)
    show_curves(report, loops, config)
    by_kind = scores.by("kind")
    chosen = chosen_examples(scores)
    for number, example in enumerate(chosen):
        made = recover(nets, example.mixture, transform, run.device)
        if number == 0:
            report.section("From mixture to speech")
            show_spectrograms(report, example, made, data.rate, transform)
            report.section("Listen")
        show_players(report, f"sounds-{number + 1}", example, made, data.rate, transform)
    tell_files(report, data, scores)
    if any(by_kind):
        show_kinds(report, by_kind)
    by_speaker = scores.by("speaker")
    if any(by_speaker):
        show_speakers(report, by_speaker)
    comment(report, scores, by_kind, loops)


def chosen_examples(scores: Scores) -> list[Example]:
    """Of different kinds of noise: where the recurrent net gains least, a middling amount, and most."""
    gains = scores.snr["recurrent_soft"] - scores.snr["mixture"]
    order = np.argsort(gains, kind="stable")
    wanted = order[[len(order) // 2, -1, 0]]
    found: dict[str, Example] = {}
    for index in (*wanted, *order):
        example = scores.examples[int(index)]
        found.setdefault(f"{example.kind}" if example.kind else example.name, example)
    return list(found.values())[:PLAYED]


def show_scale(report: Report, scores: Scores, judged: str) -> None:
    """One bar for each way."""
    means = scores.means()
    report.section("How far the noise is taken out")
    figure, axes = figures.new(width=8.0, height=3.2)
    names = list(WAYS)[::-1]
    colours = {"mixture": 6, "fc": 1, "fc_soft": 1, "recurrent": 0, "recurrent_soft": 0, "ideal": 2}
    bars = axes.barh(
        [WAYS[name] for name in names],
        [round(means[name], 2) + 0.0 for name in names],  # no negative zero
        color=[figures.COLOURS[colours[name]] for name in names],
    )
    axes.bar_label(bars, fmt="%.1f", padding=3)
    axes.set(
        xlabel="signal-to-noise ratio, dB", xlim=(min(0, round(min(means.values()), 2)), 1.08 * max(means.values()))
    )
    axes.grid(visible=False, axis="y")
    voices = len({example.speaker for example in scores.examples})
    report.figure(
        "scale",
        figure,
        caption=f"""Mean over {counted(len(scores.examples), f"{judged} mixture")} of {counted(voices, "speaker")} whom
        no net has heard before, with parts of the noises that no net has heard either.""",
        alt="; ".join(f"{WAYS[name]}: {means[name]:.1f} dB" for name in WAYS),
    )
    report.table(
        ("Mask", "SNR, dB", "standard deviation", "gained over the mixture, dB"),
        [
            (
                WAYS[name],
                f"{means[name]:.2f}",
                f"{scores.snr[name].std():.2f}",
                f"{means[name] - means['mixture']:.2f}",
            )
            for name in list(WAYS)[1:]
        ],
        caption="The same numbers; the deviation is that from mixture to mixture.",
    )


def show_curves(report: Report, loops: Mapping[str, Loop], config: Any) -> None:
    """Loss and ratio on the validation mixtures by epoch."""
    figure, (left, right) = figures.new(1, 2, width=9.6, height=3.6)
    labels = {"fc": "fully connected", "recurrent": "recurrent"}
    turn = None
    for number, (name, loop) in enumerate(loops.items()):
        colour = figures.COLOURS[1 - number]
        epochs = np.arange(1, len(loop.history("train_loss")) + 1)
        turn = len(epochs) - round(config.by_ratio * config.epochs)
        left.plot(epochs, loop.history("train_loss"), color=colour, linestyle=":", label=f"{labels[name]}, training")
        left.plot(epochs, loop.history("validation_loss"), color=colour, label=f"{labels[name]}, validation")
        right.plot(epochs, loop.history("validation_snr"), color=colour, label=f"{labels[name]}, binary mask")
        right.plot(
            epochs, loop.history("validation_snr_soft"), color=colour, linestyle="--", label=f"{labels[name]}, soft"
        )
    for axis in (left, right):
        if turn:
            axis.axvline(turn + 0.5, color="#777777", linewidth=1)
        axis.legend(fontsize=8)
    left.set(ylabel="nats", title="Weighted cross-entropy")
    right.set(ylabel="dB", title="Signal-to-noise ratio, validation mixtures")
    figures.by_epoch(left, right)
    report.section("Learning")
    report.figure(
        "learning",
        figure,
        caption="""Left of the grey line the cross-entropy with the ideal binary mask is made smaller; right of it the
        ratio itself is made greater, and the cross-entropy is measured alone: it may rise, as it asks for another mask.
        Training sentences are mixed anew each time, and nets learn with dropout, so their loss is the harder one.""",
        alt="Loss and signal-to-noise ratio of both nets by epoch",
    )


def show_spectrograms(report: Report, example: Example, made: Recovered, rate: int, transform: Transform) -> None:
    """Mixture, masks, and what becomes of it."""
    assert example.speech is not None
    mask = made.masks["recurrent"]
    panels = [
        Panel("mixture", made.mixture),
        Panel("speech that is in it", transform.analyse(example.speech)),
        Panel("ideal binary mask", ideal(example, transform)[0]),
        Panel("recurrent net: soft mask", mask),
        Panel("recurrent net: binary mask", binarised(mask)),
        Panel("recovered with the soft mask", made.mixture * mask),
    ]
    report.figure(
        "spectrograms",
        spectrograms(panels, rate, transform),
        caption=f"""`{example.name}`{_told(example)}. The recovered spectrum is the mixture's times the mask, whose
        phases are kept.""",
        alt="Spectrograms of mixture, speech and recovered signal, and three masks",
        raster=True,
    )


def show_players(report: Report, name: str, example: Example, made: Recovered, rate: int, transform: Transform) -> None:
    """Mixture, recovered and clean, side by side."""
    assert example.speech is not None
    sounds = {
        "mixture": example.mixture,
        "fully connected, soft mask": made.signals["fc_soft"],
        "recurrent, binary mask": made.signals["recurrent"],
        "recurrent, soft mask": made.signals["recurrent_soft"],
        "ideal binary mask": ideal(example, transform)[1],
        "clean speech": example.speech,
    }
    report.audio(
        name,
        [Clip(label, samples, rate) for label, samples in sounds.items()],
        caption=f"`{example.name}`{_told(example)}.",
    )


def _told(example: Example) -> str:
    parts = [f"speaker {example.speaker}"] * bool(example.speaker) + [f"noise “{example.kind}”"] * bool(example.kind)
    return f": {', '.join(parts)}" if parts else ""


def tell_files(report: Report, data: Denoising, scores: Scores) -> None:
    """Where the recovered signals are, and whether they can be listened to."""
    report.text(
        f"""All {counted(len(data.test), "recovered test signal")} are in `recovered.zip`, with the soft mask, as loud
        as the net left them. Listened to by measurement: the softest of {len(scores.examples):,} recovered signals has
        {abs(scores.level.min()):.0f} dB less than full scale, at most {scores.clipped:.2%} of a signal's samples are at
        full scale, and each correlates best with its speech at a shift of at most
        {counted(abs(scores.shift), "sample")}."""
    )


def show_kinds(report: Report, found: Mapping[str, Mapping[str, float]]) -> None:
    """A row for each kind of noise, hardest first."""
    order = sorted(found, key=lambda kind: found[kind]["recurrent"])
    figure, axes = figures.new(width=8.0, height=0.32 * len(order) + 1.2)
    places = np.arange(len(order))[::-1]
    for name, colour, marker in (("fc", 1, "s"), ("recurrent", 0, "o"), ("ideal", 2, "|")):
        axes.plot(
            [found[kind][name] for kind in order],
            places,
            marker,
            color=figures.COLOURS[colour],
            label=WAYS[name],
            markersize=11 if marker == "|" else 6,
            markeredgewidth=2 if marker == "|" else 1,
        )
    axes.set(yticks=places, yticklabels=order, xlabel="signal-to-noise ratio, dB")
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.45, -0.18 - 0.3 / len(order)), ncols=3)
    report.section("By kind of noise")
    report.figure(
        "kinds",
        figure,
        caption="Mean over the mixtures with that noise, binary masks; the hardest noise is above.",
        alt="Signal-to-noise ratio of both nets and of the ideal mask by kind of noise",
    )
    _table(report, "Noise", order, found, "The same in numbers, and with the soft mask, dB.")


def show_speakers(report: Report, found: Mapping[str, Mapping[str, float]]) -> None:
    """A row for each speaker."""
    order = sorted(found, key=lambda speaker: found[speaker]["recurrent"])
    report.section("By speaker")
    gains = [found[speaker]["recurrent"] - found[speaker]["fc"] for speaker in order]
    better = sum(gain > 0 for gain in gains)
    report.text(
        f"""The recurrent net is better than the fully connected one for {better} of {counted(len(order), "speaker")};
        the difference is
        ${min(gains):.2f}$ to ${max(gains):.2f}$ dB."""
    )
    _table(
        report, "Speaker", order, found, "Mean over all noises, hardest speaker first, dB; binary masks but for one."
    )


def _table(report: Report, what: str, order: list[str], found: Mapping[str, Mapping[str, float]], caption: str) -> None:
    rows = [(label, *(f"{found[label][name]:.1f}".replace("-", "\N{MINUS SIGN}") for name in SHORT)) for label in order]
    report.table((what, *SHORT.values()), rows, caption=caption)


def comment(
    report: Report, scores: Scores, by_kind: Mapping[str, Mapping[str, float]], loops: Mapping[str, Loop]
) -> None:
    """What came out, in words with the numbers of this run."""
    means = scores.means()
    gain = means["recurrent"] - means["fc"]
    wins = float((scores.snr["recurrent"] > scores.snr["fc"]).mean())
    share = (means["recurrent"] - means["mixture"]) / (means["ideal"] - means["mixture"])
    soft = means["recurrent_soft"] - means["recurrent"]
    report.section("Comment")
    paragraphs = [
        f"""With binary masks the recurrent net reaches {means["recurrent"]:.1f} dB and the fully connected one
        {means["fc"]:.1f} dB: {abs(gain):.2f} dB {"more" if gain > 0 else "less"} with a memory, which is better in
        {wins:.0%} of the mixtures. That is {share:.0%} of what the ideal binary mask gains. A soft mask
        {"adds" if soft > 0 else "loses"} {abs(soft):.2f} dB: where a net is not sure, letting half of a bin pass is a
        smaller mistake, in energy, than taking all of it or nothing."""
    ]
    if len(by_kind) > 1:
        gains = {kind: values["recurrent"] - values["fc"] for kind, values in by_kind.items()}
        most, least = max(gains, key=lambda kind: gains[kind]), min(gains, key=lambda kind: gains[kind])
        paragraphs.append(
            f"""Memory helps most against “{most}” (${gains[most]:+.1f}$ dB) and least against “{least}”
            (${gains[least]:+.1f}$ dB): one frame alone does not tell what is steady from what comes and goes."""
        )
    seconds = {name: loop.seconds / len(loop.history("train_loss")) for name, loop in loops.items()}
    paragraphs.append(
        f"""An epoch took {seconds["recurrent"]:.1f} s with the recurrent net and {seconds["fc"]:.1f} s with the fully
        connected one, validation included."""
    )
    report.text(*paragraphs)
