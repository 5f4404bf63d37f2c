"""The report of source_separation."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.audio.pictures import Panel, spectrograms
from experiments.audio.transform import Transform
from experiments.data.audio.music import Music, Track
from experiments.harness import Clip, Loop, Run, figures
from experiments.harness.report import Report, counted

from . import mathematics
from .assessment import SOURCES, Scores, both, ideal_masks, taken_apart
from .cost import Costs
from .nets import Separator
from .training import MAIN, WAYS, soft_mask

ENDS = {
    "mixture": "mixture as it is",
    "fixed": "same mask in every frame",
    "ideal_binary": "ideal binary mask",
    "ideal": "ideal ratio mask",
}
NAMES = {**ENDS, **{name: way.text for name, way in WAYS.items()}}
DASHES = {"stateful": "-", "stateless": "-", "stateful_learned": "--", "stateless_learned": "--", "full": ":"}
COLOURS = {"stateful": 0, "stateless": 1, "stateful_learned": 0, "stateless_learned": 1, "full": 2}
PLAYED = 3  # test songs with players
SHOWN = 10.0  # seconds of a song in the spectrograms


def show(
    run: Run[Any],
    data: Music,
    nets: Mapping[str, Separator],
    loops: Mapping[str, Loop],
    scores: Scores,
    costs: Costs,
    transform: Transform,
) -> None:
    """Everything from the question to the comment."""
    report = run.report
    mathematics.explain(report, run.config, transform, data.rate)
    tell_data(report, data, scores)
    show_scale(report, scores)
    show_songs(report, scores)
    show_curves(report, loops)
    show_positions(report, scores, transform.hop / data.rate)
    show_costs(report, costs, run.config)
    for number, track in enumerate(chosen_tracks(scores)):
        mask = {
            name: soft_mask(nets[name], transform.analyse(track.mixture), run.device) for name in (MAIN, "stateless")
        }
        if number == 0:
            report.section("From song to voice")
            show_spectrograms(report, track, mask[MAIN], data.rate, transform)
            report.section("Listen")
        show_players(report, f"sounds-{number + 1}", track, mask, data.rate, transform)
    tell_files(report, data, scores)
    comment(report, scores, costs, loops)


def tell_files(report: Report, data: Music, scores: Scores) -> None:
    """Where the recovered sources are, and whether they can be listened to."""
    softest, clipped = min(each.level for each in scores.heard), max(each.clipped for each in scores.heard)
    report.text(
        f"""Vocals and accompaniment of {counted(len(data.test), "test song")}, by the net “{NAMES[MAIN]}”, are in
        `recovered.zip`, as loud as they are in the song. Listened to by measurement: the softest of
        {len(scores.heard)} recovered sources has {abs(softest):.0f} dB less than full scale, at most {clipped:.2%} of a
        source's samples are at full scale, and each correlates best with the true one at a shift of at most
        {counted(max(abs(each.shift) for each in scores.heard), "sample")}."""
    )


def same_songs(data: Music) -> bool:
    """Whether the test songs are later parts of the training songs."""
    heard = {track.name.removesuffix(", train") for track in data.train}
    return any(track.name.removesuffix(", test") in heard for track in data.test)


def tell_data(report: Report, data: Music, scores: Scores) -> None:
    """What the songs are, and what can be learned from them."""
    train, test = (_duration(sum(len(track.mixture) for track in part) / data.rate) for part in (data.train, data.test))
    report.section("The songs")
    report.text(
        f"""{data.source[0].upper()}{data.source[1:]}. That is {train} of music to learn from and {test} to be judged
        by, mono, at {data.rate:,} samples a second."""
    )
    if same_songs(data):
        report.text(
            """What is judged are other parts of the songs that it was trained on: the same singer, the same
            instruments, the same studio, often the same phrases. The numbers can show that the nets learn, how the ways
            of learning compare, and how well the rest of a song is taken apart by who has its beginning in tracks. They
            cannot show how well a song by others would be taken apart; for that, give a folder with DSD100."""
        )
    elif data.source.startswith("synthetic"):
        report.text(
            """The songs are synthetic: a voice made of a glottal source and formants sings syllables over bass, drums
            and chords. Test songs have singers, keys, chords and sounds of their own, but they all come out of one
            program, which recorded music does not."""
        )
    silent = len(data.test) - len(scores.tracks)
    if silent:
        left_out = f"{counted(silent, 'test song')} {'is' if silent == 1 else 'are'} left out of the judgement"
        report.text(f"{left_out}: in what was read of it nobody sings or nobody plays, and no ratio is defined then.")
    if data.skipped:
        report.text(f"Songs that could not be used ({len(data.skipped)}): {'; '.join(data.skipped)}.")


def _duration(seconds: float) -> str:
    return counted(round(seconds), "second") if seconds < 120 else f"{seconds / 60:.0f} minutes"


def show_scale(report: Report, scores: Scores) -> None:
    """One bar for each way between the ends of the scale, and a table."""
    report.section("How far the voice is taken out")
    names = ["mixture", "fixed", *WAYS, "ideal_binary", "ideal"]
    means = {name: scores.of(name).mean() for name in names}
    figure, axes = figures.new(width=8.0, height=3.6)
    colours = [figures.COLOURS[COLOURS.get(name, 6)] for name in names[::-1]]
    bars = axes.barh([NAMES[name] for name in names[::-1]], [means[name] for name in names[::-1]], color=colours)
    axes.bar_label(bars, fmt="%.1f", padding=3)
    low, high = min(0.0, *means.values()), max(means.values())
    axes.set(xlabel="SDR of the vocals, dB", xlim=(low - 0.1 * (high - low) * (low < 0), high + 0.1 * (high - low)))
    axes.grid(visible=False, axis="y")
    report.figure(
        "scale",
        figure,
        caption=f"""Mean over {counted(len(scores.tracks), "test song")}. Black: below, the mixture itself
        is taken for the vocals, or the best mask for the training songs that is the same in every frame, an equaliser;
        above, masks by who knows the sources.""",
        alt="; ".join(f"{NAMES[name]}: {means[name]:.1f} dB" for name in names),
    )
    rows = []
    for name in names[1:]:
        restarted = f"{name}_restarted"
        rows.append(
            (
                NAMES[name],
                *(decibels(scores.of(name, ratio).mean()) for ratio in ("sdr", "sir", "sar")),
                decibels(scores.gain(name).mean()),
                decibels(scores.gain(name, "accompaniment").mean()),
                decibels(scores.of(restarted).mean()) if restarted in scores.ratios else "-",
            )
        )
    report.table(
        ("Mask", "SDR", "SIR", "SAR", "gain", "gain of the accompaniment", "SDR, beginning anew"),
        rows,
        caption="""Of the vocals but for one column, in dB, mean over the songs. Gain: of SDR over that of the mixture.
        The last column: when the net, in use, too, begins anew with every piece, as stateless ones do while they
        learn.""",
    )


def show_songs(report: Report, scores: Scores) -> None:
    """A row for each song and source."""
    report.section("Song by song")
    rows = []
    for number in np.argsort(-scores.gain(MAIN), kind="stable"):
        for source in SOURCES:
            ratios = [scores.of(MAIN, ratio, source)[number] for ratio in ("sdr", "sir", "sar")]
            ends = [scores.of(name, "sdr", source)[number] for name in ("mixture", "ideal")]
            rows.append((scores.tracks[number].name, source, *map(decibels, (*ratios, *ends))))
    report.table(
        ("Song", "Source", "SDR", "SIR", "SAR", "SDR of the mixture", "SDR by the ideal mask"),
        rows,
        caption=f"""The net “{NAMES[MAIN]}”, in dB; the song that gains most is above. The mixture has no artefacts, and
        its SIR is its SDR.""",
    )


def show_curves(report: Report, loops: Mapping[str, Loop]) -> None:
    """Loss and ratio on the validation songs by epoch."""
    report.section("Learning")
    figure, (left, right) = figures.new(1, 2, width=9.6, height=3.8)
    for name, loop in loops.items():
        style: Any = {"color": figures.COLOURS[COLOURS[name]], "linestyle": DASHES[name], "label": NAMES[name]}
        epochs = np.arange(1, len(loop.history("train_loss")) + 1)
        left.plot(epochs, loop.history("train_loss"), linewidth=0.9, **(style | {"label": None}))
        left.plot(epochs, loop.history("validation_loss"), **style)
        right.plot(epochs, loop.history("validation_snr"), **style)
    left.set(ylabel="nats", title="Cross-entropy: training (thin), validation")
    right.set(ylabel="dB", title="Signal-to-noise ratio, validation songs")
    right.legend(fontsize=8)
    figures.by_epoch(left, right)
    report.figure(
        "learning",
        figure,
        caption="""Training excerpts are put together anew each time and learned from with dropout, and stateless nets
        learn without what came before a piece: the losses of training are those of harder tasks. On the validation
        songs all nets carry their state.""",
        alt="Loss and signal-to-noise ratio of the five nets by epoch",
    )


def show_positions(report: Report, scores: Scores, seconds: float) -> None:
    """How good masks are in the first frames after a start."""
    report.section("What a fresh start costs")
    carried = scores.positions[MAIN]
    frames = np.arange(1, len(carried) + 1)
    figure, axes = figures.new(width=7.5, height=3.8)
    for name in WAYS:
        if name != "full":
            style: Any = {"color": figures.COLOURS[COLOURS[name]], "linestyle": DASHES[name], "label": NAMES[name]}
            axes.plot(frames, scores.positions[f"{name}_restarted"] - carried, **style)
    axes.axhline(0, color="#777777", linewidth=1)
    axes.set(xlabel="frame of a piece", ylabel="signal-to-noise ratio, dB above the line")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(fontsize=8)
    report.figure(
        "positions",
        figure,
        caption=f"""Nets that begin anew with every piece of the test songs, as stateless ones do while they learn:
        signal-to-noise ratio of the vocals' spectrum in the first, second … frame of all pieces, above that of the net
        “{NAMES[MAIN]}” in the same frames when it forgets nothing (the grey line). A frame is {1e3 * seconds:.0f}
        ms.""",
        alt="Signal-to-noise ratio by the number of frames since the start, for four nets",
    )
    first = {name: scores.positions[f"{name}_restarted"][0] for name in ("stateless", "stateless_learned")}
    report.text(
        f"""In its first frame, with nothing heard before, the stateless net has ${first["stateless"]:.1f}$ dB from zero
        and ${first["stateless_learned"]:.1f}$ dB from a state that it has learned."""
    )


def show_costs(report: Report, costs: Costs, config: Any) -> None:
    """Time and memory of an update."""
    report.section("What an update costs")
    figure, (left, right) = figures.new(1, 2, width=9.6, height=3.7)
    for name in WAYS:
        style: Any = {"color": figures.COLOURS[COLOURS[name]], "linestyle": DASHES[name], "marker": "o"}
        left.plot(costs.frames, 1e3 * np.array(costs.seconds[name]), label=NAMES[name], **style)
        right.plot(costs.frames, np.array(costs.peak[name]) / 2**20, label=NAMES[name], **style)
    left.set(ylabel="ms", title="Time", ylim=(0, None))
    right.set(ylabel="MiB", title="Memory, at most", ylim=(0, None))
    for axis in (left, right):
        axis.set(xlabel="frames of an excerpt", xticks=costs.frames)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8)
    report.figure(
        "costs",
        figure,
        caption=f"""Of an update with {counted(config.batch, "excerpt")}: median time, and the most memory that it needs
        on the host beyond what it is given; truncated to {config.piece} frames, or not. What still grows in a truncated
        update are the inputs: their logarithms, brought to scale, and what dropout leaves of them.""",
        alt="Time and memory of an update by the length of the excerpts, for the five ways",
    )
    place = costs.frames.index(config.excerpt)
    report.table(
        ("Way", "ms an update", "MiB", f"MiB with {costs.frames[-1]:,} frames"),
        [
            (
                NAMES[name],
                f"{1e3 * costs.seconds[name][place]:.1f}",
                f"{costs.peak[name][place] / 2**20:.1f}",
                f"{costs.peak[name][-1] / 2**20:.1f}",
            )
            for name in WAYS
        ],
        caption=f"With excerpts of {config.excerpt:,} frames, as the nets learned from, but for the last column.",
    )


def chosen_tracks(scores: Scores) -> list[Track]:
    """The song with the middling gain, the one with the greatest and the one with the least."""
    order = np.argsort(scores.gain(MAIN), kind="stable")
    wanted = dict.fromkeys(int(order[place]) for place in (len(order) // 2, -1, 0))
    return [scores.tracks[number] for number in wanted][:PLAYED]


def show_spectrograms(report: Report, track: Track, mask: np.ndarray, rate: int, transform: Transform) -> None:
    """Mixture, masks, and what becomes of it."""
    frames = slice(0, int(SHOWN * rate / transform.hop))
    mixture, vocals = (transform.analyse(signal)[:, frames] for signal in (track.mixture, track.vocals))
    mask = mask[:, frames]
    panels = [
        Panel("mixture", mixture),
        Panel("vocals that are in it", vocals),
        Panel("ideal ratio mask", ideal_masks(track, transform)["ideal"][:, frames]),
        Panel("predicted mask", mask),
        Panel("recovered vocals", mixture * mask),
        Panel("recovered accompaniment", mixture * (1 - mask)),
    ]
    report.figure(
        "spectrograms",
        spectrograms(panels, rate, transform),
        caption=f"""“{track.name}”, its first {mixture.shape[1] * transform.hop / rate:.0f} seconds, by the net
        “{NAMES[MAIN]}”. Vocals are the mixture's spectrum times the mask, the accompaniment is what remains.""",
        alt="Spectrograms of mixture, vocals and both recovered sources, and two masks",
        raster=True,
    )


def show_players(
    report: Report, name: str, track: Track, mask: Mapping[str, np.ndarray], rate: int, transform: Transform
) -> None:
    """Mixture, recovered and true sources, side by side."""
    made = {key: taken_apart(each, track.mixture, transform) for key, each in mask.items()}
    ideal = taken_apart(ideal_masks(track, transform)["ideal"], track.mixture, transform)
    sounds = {
        "mixture": track.mixture,
        "vocals, recovered": made[MAIN][0],
        "vocals, stateless net": made["stateless"][0],
        "vocals, ideal mask": ideal[0],
        "vocals, true": both(track)[0],
        "accompaniment, recovered": made[MAIN][1],
        "accompaniment, true": both(track)[1],
    }
    report.audio(
        name,
        [Clip(label, samples, rate) for label, samples in sounds.items()],
        caption=f"“{track.name}”; recovered by the net “{NAMES[MAIN]}” but for one.",
    )


def comment(report: Report, scores: Scores, costs: Costs, loops: Mapping[str, Loop]) -> None:
    """What came out, in words with the numbers of this run."""
    sdr = {name: scores.of(name).mean() for name in scores.ratios}
    gain = sdr[MAIN] - sdr["mixture"]
    share = gain / (sdr["ideal"] - sdr["mixture"])
    order = sorted(WAYS, key=lambda name: -sdr[name])
    report.section("Comment")
    forgot = {name: f"{NAMES[name]} ${sdr[f'{name}_restarted'] - sdr[name]:+.2f}$ dB" for name in WAYS}
    report.text(
        f"""The net “{NAMES[MAIN]}” brings the vocals from ${sdr["mixture"]:.1f}$ to ${sdr[MAIN]:.1f}$ dB,
        {decibels(100 * share, 0)} % of what the ideal ratio mask gains. The ways end from
        ${sdr[order[-1]]:.1f}$ dB ({NAMES[order[-1]]}) to ${sdr[order[0]]:.1f}$ dB ({NAMES[order[0]]}), when all
        carry their state through the song.""",
        f"""Learning with the state carried over the cuts, not begun anew, changes the SDR by
        ${sdr["stateful"] - sdr["stateless"]:+.2f}$ dB from zero and by
        ${sdr["stateful_learned"] - sdr["stateless_learned"]:+.2f}$ dB from a learned start. Backpropagation through
        whole excerpts changes it by ${sdr["full"] - sdr["stateful"]:+.2f}$ dB from truncated, stateful, for
        {costs.peak["full"][-1] / costs.peak["stateful"][-1]:.1f} times the memory with the longest excerpts. Each is a
        single run: small differences may turn with another seed.""",
        f"""Beginning anew at every cut in use, too, changes it by: {"; ".join(forgot.values())}.""",
        f"""Training took {sum(loop.seconds for loop in loops.values()):.0f} seconds for all nets together, validation
        included.""",
    )


def decibels(value: float, digits: int = 2) -> str:
    """With so many digits after the point, and a minus sign."""
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")
