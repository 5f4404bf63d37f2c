"""The report of `keyword_spotting`."""

from typing import TYPE_CHECKING

import numpy as np

from experiments.data.audio.keywords import Keywords
from experiments.harness import Clip, Run, figures
from experiments.harness.report import counted
from experiments.vision import pictures

from . import diagram, explained
from .batches import RECIPES, TECHNIQUES, Maker
from .nets import heard
from .training import Outcomes, Questions, in_noise, probabilities, strengths_of

if TYPE_CHECKING:
    from experiments.keyword_spotting import Config

Tests = dict[str, Questions]


def write(run: "Run[Config]", data: Keywords, tests: Tests, outcomes: Outcomes) -> None:
    """The whole report."""
    explained.question(run, data.source, len(data.names))
    explained.techniques(run)
    show_batch(run, data)
    show_learning(run, outcomes)
    show_worth(run, data, outcomes)
    show_noise(run, tests, outcomes)
    show_confusion(run, data, tests, outcomes)
    show_sounds(run, data, outcomes)
    comment(run)


def show_batch(run: "Run[Config]", data: Keywords) -> None:
    """How a batch is made, and one that was."""
    report = run.report
    report.section("The making of a mini-batch")
    report.figure(
        "diagram",
        diagram.draw(run.config.batch),
        caption="""How a mini-batch is made, anew in every step: from recordings (blue) by random choices and changes
        (orange) to what the net learns from (green). Techniques are in bold.""",
        alt="Boxes with arrows: clips and noises on the left, changes in the middle, the mini-batch on the right",
    )
    maker = Maker(data.train, data.names, data.rate, RECIPES["all"], strengths_of(run.config))
    batch = maker.batch(8, run.stream("shown batch"), keep=True)
    named = {"recorded": "as recorded", **TECHNIQUES}
    names = [data.names[label] for label in batch.labels]
    shown = [place for place, name in enumerate(names) if not name.startswith("_")][:3] or [0, 1, 2]
    figure, axes = figures.new(len(shown), len(batch.stages), width=9.0, height=4.6, sharex=True, sharey="row")
    seconds = np.arange(batch.sounds.shape[1]) / data.rate
    for row, place in zip(axes, shown, strict=True):
        for axis, (stage, sounds) in zip(row, batch.stages.items(), strict=True):
            axis.plot(seconds[::4], sounds[place][::4], linewidth=0.4, color=figures.COLOURS[0])
            axis.grid(False)
            axis.set_yticks([])
            if place == shown[0]:
                axis.set_title(named[stage], fontsize=9)
            if place == shown[-1]:
                axis.set_xlabel("s", fontsize=8)
        row[0].set_ylabel(names[place])
    report.figure(
        "stages",
        figure,
        caption="""Three clips of a batch (rows) after each technique that changes the sound (columns, one added to the
        other): amplitude against time, one scale a row.""",
        alt="Waveforms of three words, changed from left to right in speed, place, loudness, and by noise",
        raster=True,
    )
    report.audio(
        "stages_heard",
        [Clip(named[stage], sounds[shown[0]], data.rate) for stage, sounds in batch.stages.items()],
        caption=f"""The first of them, `{names[shown[0]]}`, after each technique. Players are equally loud, so that
        scaling is not heard.""",
    )
    spectra = heard(batch.sounds, data.rate)[:, 0]
    figure, axes = figures.new(2, 4, width=9.0, height=3.9, sharex=True, sharey=True)
    for axis, spectrum, name in zip(axes.flat, spectra, names, strict=True):
        extent = (0, batch.sounds.shape[1] / data.rate, 0, len(spectrum))
        axis.imshow(spectrum, cmap="magma", origin="lower", aspect="auto", extent=extent)
        axis.set_title(name, fontsize=9)
        axis.grid(False)
    for axis in axes[-1]:
        axis.set_xlabel("seconds")
    for axis in axes[:, 0]:
        axis.set_ylabel("mel band")
    report.figure(
        "batch",
        figure,
        caption="Eight examples of a batch with their labels, as log-mel spectra, each in its own range of colours.",
        alt="Eight spectrograms of words, other words and silence in noise",
        raster=True,
    )


def show_learning(run: "Run[Config]", outcomes: Outcomes) -> None:
    """Learning curves of the net with all techniques and that with none."""
    figure, axes = figures.new(1, 2, width=9.0, height=3.4)
    for colour, (recipe, label) in zip(figures.COLOURS, (("all", "all"), ("none", "none")), strict=False):
        for number, outcome in enumerate(outcomes[recipe]):
            epochs = np.arange(1, run.config.epochs + 1)
            label_once = {"label": None if number else f"{label} of the techniques"}
            axes[0].plot(epochs, outcome.curves["loss"], color=colour, **label_once)
            axes[0].plot(epochs, outcome.curves["validation_loss"], ":", color=colour)
            axes[1].plot(epochs, 100 * outcome.curves["validation_accuracy"], ".-", color=colour)
    axes[0].set(ylabel="cross-entropy", ylim=(0, None))
    axes[1].set(ylabel="right answers, %")
    figures.by_epoch(*axes)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    run.report.section("Learning")
    run.report.figure(
        "learning",
        figure,
        caption="""Left: loss on the batches (solid) and on the validation clips as recorded (dotted). Right: right
        answers on the validation clips. With all techniques the batches are harder than the clips.""",
        alt="Loss and accuracy by epoch of two nets; with none of the techniques the training loss goes to zero",
    )


def show_worth(run: "Run[Config]", data: Keywords, outcomes: Outcomes) -> None:
    """The table with each technique left out."""
    metrics, report = run.metrics, run.report
    labels = {
        "all": "all techniques",
        **{f"without_{n}": f"without {t}" for n, t in TECHNIQUES.items()},
        "none": "none",
    }
    rows = []
    for recipe, label in labels.items():
        row = [label]
        for test in ("", "_5db"):
            for kind in ("accuracy", "keyword_accuracy"):
                row.append(f"{100 * metrics[f'{recipe}_{kind}{test}']:.1f}")
            lost = 100 * (metrics[f"all_accuracy{test}"] - metrics[f"{recipe}_accuracy{test}"])
            row.append("-" if recipe == "all" else f"{lost:+.1f}".replace("-", "\N{MINUS SIGN}"))
        rows.append(row)
    count = len(data.test.labels)
    error = 100 * (metrics["accuracy"] * (1 - metrics["accuracy"]) / count) ** 0.5
    report.section("What each technique is worth")
    report.table(
        ("Batches with", "Clean, %", "keywords", "lost", "5 dB, %", "keywords", "lost"),
        rows,
        caption=f"""Right answers on {count:,} clips of test speakers, as recorded and with test noises at 5 dB: of all
        twelve classes, and of the ten keywords alone (an answer that is other words or silence counts as wrong). Lost:
        points of the twelve classes that leaving the technique out costs. Mean of
        {counted(run.config.seeds, "seed")}; the standard error of such a share is about {error:.1f} points.""",
    )


def show_noise(run: "Run[Config]", tests: Tests, outcomes: Outcomes) -> None:
    """Right answers against the ratio of speech to noise."""
    ratios = sorted(int(name.removesuffix("db")) for name in tests if name != "clean")
    figure, axis = figures.new(width=7.0, height=3.8)
    shown = {
        "all": "all techniques",
        "without_noise": "without noise",
        "without_control": "without control",
        "none": "none",
    }
    for recipe, label in shown.items():
        values = [
            100 * np.mean([tests[test].right(outcome.answers(test))[1] for outcome in outcomes[recipe]])
            for test in [*(f"{ratio}db" for ratio in ratios), "clean"]
        ]
        axis.plot(range(len(values)), values, "o-", label=label)
    axis.set_xticks(range(len(ratios) + 1), [*map(str, ratios), "clean"])
    axis.set(xlabel="speech to noise, dB", ylabel="keywords recognised, %", ylim=(0, 100))
    axis.legend()
    run.report.section("In noise")
    run.report.figure(
        "noise",
        figure,
        caption="Keywords recognised, against the ratio of speech to noise. Noises are of times not used for training.",
        alt="Four rising curves of accuracy against the ratio of speech to noise; all techniques lie highest",
    )


def show_confusion(run: "Run[Config]", data: Keywords, tests: Tests, outcomes: Outcomes) -> None:
    """Which word is taken for which."""
    labels = np.concatenate([tests["clean"].held.labels for _ in outcomes["all"]])
    for test, where in (("clean", "as recorded"), ("5db", "with noise at 5 dB")):
        answers = np.concatenate([outcome.answers(test) for outcome in outcomes["all"]])
        counts = pictures.confusion(labels, answers, len(data.names))
        if test == "clean":
            run.report.section("Which word is taken for which")
        run.report.figure(
            f"confusion_{test}",
            pictures.confusion_matrix(counts, data.names),
            caption=f"""With all techniques, {where}: of the test clips of a class (row), how many percent are given
            which answer (column). Shares below half a percent are left empty.""",
            alt="Matrix of twelve classes against twelve answers",
        )


def show_sounds(run: "Run[Config]", data: Keywords, outcomes: Outcomes) -> None:
    """Some test clips to listen to, with what the net says."""
    noisy = in_noise(data.test, data, 5, run.stream("test noise 5"))
    firsts = [int(np.flatnonzero(data.test.labels == label)[0]) for label in range(4)]
    sounds = np.concatenate([data.test.clips[firsts], noisy[firsts]])
    given = probabilities(outcomes["all"][0].net, sounds, data.rate, run.device)
    clips = []
    for place, sound in enumerate(sounds):
        word = data.names[data.test.labels[firsts[place % len(firsts)]]]
        answer = data.names[given[place].argmax()]
        where = "clean" if place < len(firsts) else "5 dB"
        clips.append(Clip(f"{word}, {where}: {answer} ({given[place].max():.0%})", sound, data.rate))
    run.report.section("To listen to")
    run.report.audio(
        "tests",
        clips,
        caption="Test clips, as recorded and with noise at 5 dB: the word, and what the net takes it for.",
    )


def comment(run: "Run[Config]") -> None:
    """What came out, in words with the numbers of this run."""
    m = run.metrics
    cost = {name: 100 * m[f"{name}_left_out_cost_5db"] for name in TECHNIQUES}
    order = sorted(cost, key=lambda name: -cost[name])
    dearest = [f"{TECHNIQUES[name]} ({cost[name]:.1f} points)" for name in order[:3]]
    slight = [TECHNIQUES[name] for name in order if abs(cost[name]) < 1]
    slight_text = (
        f" Left out alone, {_listed(slight)} {'changes' if len(slight) == 1 else 'change'} less than a point."
        if slight
        else ""
    )
    run.report.section("Comment")
    run.report.text(
        f"""With all techniques the net is right about {100 * m["accuracy"]:.1f} % of the clips of speakers that it has
        never heard, and about {100 * m["accuracy_5db"]:.1f} % of them in noise at 5 dB; with none about
        {100 * m["none_accuracy"]:.1f} % and {100 * m["none_accuracy_5db"]:.1f} %. Of the keywords alone, which the
        latter has as many examples of, it recognises {100 * m["none_keyword_accuracy_5db"]:.1f} % in that noise,
        against {100 * m["all_keyword_accuracy_5db"]:.1f} % with all techniques.""",
        f"""In noise, {_listed(dearest)} are missed most when left out.{slight_text} What costs most of the twelve
        classes is to have no examples of one of them. A net that need not tell other words from keywords recognises
        keywords more often, at the price of hearing them where there are none.""",
    )


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
