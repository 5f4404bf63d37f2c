"""Keyword spotting: ten words out of a second of sound, and what the making of a mini-batch does for it.

A small convolutional net (T. N. Sainath and C. Parada, "Convolutional neural networks for small-footprint keyword
spotting", Interspeech 2015) hears one second as a log-mel spectrum and says which of ten words it holds, if any of
them. It learns from mini-batches that are not just recordings: nine techniques, each a switch, change them or add what
was not recorded. The net is trained with all of them, with none, and with each left out; it is tested on speakers that
it has not heard, as recorded and with noises at 5 dB that it has not heard either.

Choices that the problem leaves open. Nobody speaks in two of the parts for training, validation and test, and noises
are split in time. What a technique is, and what is done without it, is said in the report; all else stays the same, and
every net makes the same number of passes over as many examples as there are clips that it may use. A net that is given
no examples of other words, or of silence, has these classes all the same, and is never right about them: so accuracies
are also given for the ten keywords alone. The clip that all tests are made of is never changed in length: it is padded
with zeros. Settings were chosen by the validation speakers.
"""

from typing import Annotated

import numpy as np
from pydantic import Field

from experiments.data.audio import keywords
from experiments.harness import Claim, Experiment, Run, Settings, settings
from experiments.harness.seeds import spread
from experiments.spotting import pages
from experiments.spotting.batches import RECIPES, TECHNIQUES
from experiments.spotting.training import Outcome, Outcomes, Questions, in_noise, learn, new_net

Share = Annotated[float, Field(ge=0, lt=1)]
Width = Annotated[int, Field(ge=1)]
RATE = 16_000
RATIOS = (20, 15, 10, 5, 0, -5)  # dB, of the curve against noise


@settings
class Config(Settings):
    """Settings of keyword_spotting."""

    seeds: Annotated[int, Field(ge=1, le=100, description="first weights and batches, each for every net")] = 1
    epochs: Annotated[int, Field(ge=1, le=10_000, description="passes over as many examples as there are clips")] = 15
    batch: Annotated[int, Field(ge=2, description="sounds per step")] = 50
    learning_rate: Annotated[float, Field(gt=0, description="of Adam, at the peak of one cycle")] = 0.003
    channels: Annotated[tuple[Width, Width], Field(description="of both convolutions")] = (16, 32)
    hidden: Annotated[Width, Field(description="units of the wide layer")] = 128
    dropout: Annotated[Share, Field(description="share of wide units left out, and twice that of feature maps")] = 0.3
    seconds: Annotated[float, Field(ge=0.5, le=10, description="length of a clip")] = 1.0
    speed: Annotated[Share, Field(description="augmentation: faster or slower by this share, at most")] = 0.1
    masks: Annotated[
        tuple[Annotated[int, Field(ge=0, le=40)], Annotated[int, Field(ge=0, le=20)]],
        Field(description="augmentation: bands and frames that are hidden, at most"),
    ] = (6, 8)
    shift: Annotated[float, Field(ge=0, le=0.5, description="time shift: seconds, at most")] = 0.1
    scaling: Annotated[float, Field(ge=0, le=40, description="amplitude scaling: decibels up or down, at most")] = 10.0
    noise_share: Annotated[float, Field(ge=0, le=1, description="share of the examples that get noise")] = 0.8
    ratios: Annotated[tuple[float, float], Field(description="controlled ratio of speech to noise, decibels")] = (0, 20)
    speakers: Annotated[int, Field(ge=10, le=1000, description="synthetic ones, where there is no data folder")] = 60
    per_class: Annotated[int, Field(ge=0, description="clips of a class at most, 0 for all")] = 0


def run(run: Run[Config]) -> None:
    """Trains every net with every seed, and reports."""
    data = load(run)
    tests, watched = questions(run, data), Questions.of(data.validation.clips, data.validation.labels, data, run.device)
    outcomes: dict[str, list[Outcome]] = {name: [] for name in RECIPES}
    for seed in range(run.config.seeds):
        for name in RECIPES:
            outcomes[name].append(learn(run, data, name, seed, tests, watched))
        for name in ("all", "none"):
            run.save_model(f"{name}-seed{seed}", outcomes[name][seed].net)
    measure(run, tests, outcomes)
    pages.write(run, data, tests, outcomes)


def load(run: Run[Config]) -> keywords.Keywords:
    """All clips there are. Raises DataError when they cannot be read."""
    config = run.config
    data = keywords.load(
        run.data_dir,
        per_class=config.per_class,
        speakers=config.speakers,
        seconds=config.seconds,
        seed=run.seed,
        rate=RATE,
    )
    run.uses("keywords", data.source, data.digest)
    return data


def questions(run: Run[Config], data: keywords.Keywords) -> dict[str, Questions]:
    """The test clips as recorded, and in the noises of the test at several ratios; the same for every net."""
    sounds = {"clean": data.test.clips}
    for ratio in RATIOS:
        sounds[f"{ratio}db"] = in_noise(data.test, data, ratio, run.stream(f"test noise {ratio}"))
    return {name: Questions.of(each, data.test.labels, data, run.device) for name, each in sounds.items()}


def measure(run: Run[Config], tests: dict[str, Questions], outcomes: Outcomes) -> None:
    """The metrics."""
    for name, of_recipe in outcomes.items():
        for test in ("clean", "5db"):
            found = np.array([tests[test].right(outcome.answers(test)) for outcome in of_recipe])
            for kind, values in zip(("accuracy", "keyword_accuracy"), found.T, strict=True):
                key = f"{name}_{kind}" + ("" if test == "clean" else "_5db")
                run.metric(**{key: spread(values).mean, f"{key}_spread": spread(values).spread})
        run.metric(**{f"{name}_seconds": spread([outcome.seconds for outcome in of_recipe]).mean})
    m = run.metrics
    run.metric(
        accuracy=m["all_accuracy"],
        accuracy_5db=m["all_accuracy_5db"],
        gain_5db=m["all_accuracy_5db"] - m["none_accuracy_5db"],
        keyword_gain_5db=m["all_keyword_accuracy_5db"] - m["none_keyword_accuracy_5db"],
    )
    for name in TECHNIQUES:
        for test in ("", "_5db"):
            cost = m[f"all_accuracy{test}"] - m[f"without_{name}_accuracy{test}"]
            run.metric(**{f"{name}_left_out_cost{test}": cost})


def evaluate_saved(run: Run[Config]) -> None:
    """Asks the saved nets."""
    data = load(run)
    tests = questions(run, data)
    for name in ("all", "none"):
        found = {"": [], "_5db": []}  # type: dict[str, list[float]]
        for seed in range(run.config.seeds):
            net = new_net(run, len(data.names), data.rate, seed, run.stream("masks"))
            run.load_model(f"{name}-seed{seed}", net)
            for suffix, test in (("", "clean"), ("_5db", "5db")):
                answers = tests[test].held.logits(net).argmax(axis=1)
                found[suffix].append(tests[test].right(answers)[0])
        run.metric(**{f"{name}_accuracy{suffix}": spread(values).mean for suffix, values in found.items()})


EXPERIMENT = Experiment(
    name="keyword_spotting",
    title="Keyword spotting: ten words out of a second of sound, and what the making of a mini-batch does for it",
    profiles={
        "smoke": Config(epochs=1, speakers=10, channels=(2, 3), hidden=8),
        "demo": Config(epochs=20, batch=25, learning_rate=0.01, dropout=0.1, masks=(2, 2)),
        "full": Config(
            epochs=40,
            learning_rate=0.01,
            channels=(32, 64),
            dropout=0.2,
            masks=(3, 4),
            checkpoint_seconds=120.0,
        ),
    },
    claims=(
        Claim("accuracy", ">=", {"demo": 0.8, "full": 0.85}, "All techniques: share of right answers, as recorded."),
        Claim(
            "gain_5db",
            ">=",
            {"demo": 0.05, "full": 0.05},
            "At 5 dB of noise, by this share it is right more often with all techniques than with none.",
        ),
        Claim(
            "keyword_gain_5db",
            ">=",
            {"demo": 0.05, "full": 0.05},
            "The same for the ten keywords alone, which nets of both kinds have examples of.",
        ),
    ),
    run=run,
    evaluate=evaluate_saved,
)
