"""Backpropagation through time: how far back gradients reach, and what clipping and truncation do about it.

A recurrent net is a deep net whose layers share their weights, one layer for each step of time. The report derives the
bound on the gradient's norm step by step (R. Pascanu, T. Mikolov and Y. Bengio, "On the difficulty of training
recurrent neural networks", ICML 2013), and holds the engine's gradients against it, step by step and sequence by
sequence, in double precision: with the spectral radius of the recurrent weights below, at and above 1. Then: how far
back LSTM and GRU carry gradient against a plain recurrent net, fresh and trained; training that explodes, and the same
with the norm or the values of the gradient clipped; and truncated backpropagation, stateful and stateless, against
full.

Choices that the problem leaves open. The half-life of a gradient is the number of steps back in which its norm by the
whole state (of an LSTM, both h and c) falls to half, from a line of least squares through the logarithms. Two tasks
need memory: in the adding problem two marked numbers are to be added at the end of a sequence, and memory must last as
long as that; in the echo, a copy task that never ends, each symbol is to be said again a fixed number of steps later,
so that a horizon up to that delay cannot reach what is needed, and one beyond it can. With truncation the gradients of
all pieces of a sequence are added up before an update, so that every way makes the same number of updates. All nets
are tested with the state carried through the whole sequence, as they would be used.
"""

from typing import Annotated, Literal

from pydantic import Field

from experiments.harness import Claim, Experiment, Run, Settings, settings
from experiments.harness.errors import UserError
from experiments.through_time import measuring, pages
from experiments.through_time.nets import Net
from experiments.through_time.training import (
    CLIPPINGS,
    UNITS,
    Way,
    learn_adding,
    learn_clipped,
    learn_echo,
    new_adding_net,
    new_echo_net,
    ways,
)

Start = Literal["rnn", "rnn_orthogonal", "gru", "gru_slow", "lstm", "lstm_forget1", "lstm_slow"]
Positive = Annotated[float, Field(gt=0)]


@settings
class Config(Settings):
    """Settings of backprop_through_time."""

    width: Annotated[int, Field(ge=2, le=512, description="units of the nets that the bound is checked on")] = 64
    steps: Annotated[int, Field(ge=2, le=300, description="steps of time there")] = 100
    examples: Annotated[int, Field(ge=1, le=1000, description="sequences of every net there")] = 10
    draws: Annotated[int, Field(ge=1, le=100, description="times that all weights are drawn anew")] = 1
    drive: Annotated[float, Field(gt=0, description="standard deviation of inputs and first states there")] = 0.05
    seeds: Annotated[int, Field(ge=1, le=100, description="first weights and data of every net that is trained")] = 2
    hidden: Annotated[int, Field(ge=1, le=1024, description="units of the nets that are trained")] = 64
    batch: Annotated[int, Field(ge=1, description="sequences per update")] = 32
    learning_rate: Annotated[float, Field(gt=0, description="of Adam")] = 0.005
    adders: Annotated[tuple[Start, ...], Field(min_length=1, description="nets that learn to add")] = (
        "rnn_orthogonal",
        "gru",
        "lstm_slow",
    )
    adding_steps: Annotated[int, Field(ge=4, description="steps of the adding problem")] = 50
    adding_updates: Annotated[int, Field(ge=1, description="updates on it")] = 800
    echoers: Annotated[tuple[Start, ...], Field(min_length=1, description="nets that learn to echo")] = (
        "rnn_orthogonal",
    )
    echo_steps: Annotated[int, Field(ge=4, description="steps of a sequence of the echo")] = 100
    delay: Annotated[int, Field(ge=1, description="steps after which a symbol is to be said again")] = 10
    horizons: Annotated[
        tuple[Annotated[int, Field(ge=1)], ...], Field(description="steps of a piece, with truncation")
    ] = (5, 10, 15, 20, 50)
    echo_updates: Annotated[int, Field(ge=1, description="updates on the echo")] = 300
    clip_updates: Annotated[int, Field(ge=1, description="updates by plain gradient descent")] = 500
    clip_radius: Annotated[float, Field(gt=0, description="spectral radius that those of tanh units start with")] = 1.2
    clip_rates: Annotated[tuple[Positive, Positive], Field(description="their learning rates: tanh, rectified")] = (
        1.0,
        0.01,
    )
    clip_norm: Annotated[float, Field(gt=0, description="greatest norm of a clipped gradient")] = 1.0
    clip_value: Annotated[float, Field(gt=0, description="greatest entry of a clipped gradient")] = 0.01


def run(run: Run[Config]) -> None:
    """Measures, trains, and reports."""
    config = run.config
    check(config)
    seeds = range(config.seeds)
    bounds = measuring.bounds(run)
    adders = {str(start): [learn_adding(run, start, seed) for seed in seeds] for start in config.adders}
    clipped = {
        (units, clipping): [learn_clipped(run, units, clipping, seed) for seed in seeds]
        for units in UNITS
        for clipping in CLIPPINGS
    }
    echoers = {
        (str(start), way): [learn_echo(run, start, way, seed) for seed in seeds]
        for start in config.echoers
        for way in ways(config.horizons)
    }
    for start, of_start in adders.items():
        for seed, trained in enumerate(of_start):
            run.save_model(f"adding-{start}-seed{seed}", trained.net)
    for (start, way), of_way in echoers.items():
        for seed, trained in enumerate(of_way):
            run.save_model(f"echo-{start}-{way.name}-seed{seed}", trained.net)
    measuring.measure_bounds(run, bounds)
    measuring.measure_fresh(run)
    measuring.measure_adders(run, {start: [each.net for each in nets] for start, nets in adders.items()})
    measuring.measure_clipped(run, clipped)
    measuring.measure_echoers(run, {key: [each.net for each in nets] for key, nets in echoers.items()})
    pages.write(run, pages.Results(bounds, adders, clipped, echoers, measuring.costs(run)))


def check(config: Config) -> None:
    """Raises UserError for horizons that do not show what truncation can and cannot reach."""
    longest, delay = config.echo_steps, config.delay
    if not all(horizon < longest for horizon in (2 * delay, *config.horizons)):
        raise UserError(f"echo_steps={longest}: expected more than twice the delay and than every horizon")
    if not any(h <= delay for h in config.horizons) or not any(h >= 2 * delay for h in config.horizons):
        raise UserError(f"horizons: expected one up to the delay, {delay}, and one from twice the delay on")


def evaluate_saved(run: Run[Config]) -> None:
    """Tests the saved nets."""
    seeds = range(run.config.seeds)
    adders: dict[str, list[Net]] = {}
    echoers: dict[tuple[str, Way], list[Net]] = {}
    for start in run.config.adders:
        adders[start] = [new_adding_net(run, start, seed) for seed in seeds]
        for seed, net in enumerate(adders[start]):
            run.load_model(f"adding-{start}-seed{seed}", net)
    for start in run.config.echoers:
        for way in ways(run.config.horizons):
            echoers[start, way] = [new_echo_net(run, start, seed) for seed in seeds]
            for seed, net in enumerate(echoers[start, way]):
                run.load_model(f"echo-{start}-{way.name}-seed{seed}", net)
    measuring.measure_adders(run, adders)
    measuring.measure_echoers(run, echoers)


def _claims() -> tuple[Claim, ...]:
    def every(target: float) -> dict[str, float]:
        return dict.fromkeys(("smoke", "demo", "full"), target)

    def learned(target: float) -> dict[str, float]:
        return dict.fromkeys(("demo", "full"), target)

    return (
        Claim("violations", "==", every(0), "No gradient exceeds its bound."),
        Claim("checks", ">=", learned(10_000), "Steps and sequences for which this was checked."),
        Claim("norm_error", "<=", every(1e-12), "With radius 1, orthogonal weights and linear units keep the norm."),
        Claim("sum_error", "<=", every(1e-12), "What the steps contribute adds up to the gradient of the weights."),
        Claim("sequence_error", "<=", every(1e-12), "The whole-sequence operation has the gradients of the cells."),
        Claim("change_below_one", "<=", learned(1e-4), "A spectral radius of 0.9 makes the gradient vanish."),
        Claim("change_above_one", ">=", learned(1e4), "One of 1.2 makes it explode."),
        Claim("change_below_one_gaussian", "<=", learned(1e-3), "0.9 does so even where the norm is far above 1."),
        Claim("half_life_gain_gru", ">=", learned(5.0), "Trained GRU: half-life over that of an RNN as it starts."),
        Claim("half_life_gain_lstm", ">=", learned(5.0), "Trained LSTM: half-life over that of an RNN as it starts."),
        Claim("adding_mse_gru", "<=", learned(0.02), "The GRU adds numbers from far back; guessing gives 0.167."),
        Claim("adding_mse_lstm", "<=", learned(0.02), "So does the LSTM."),
        Claim("unclipped_accuracy", "<=", learned(0.5), "Large steps without clipping do not learn to echo."),
        Claim("norm_clipped_accuracy", ">=", learned(0.9), "With the gradient's norm clipped they do."),
        Claim("value_clipped_accuracy", ">=", learned(0.9), "With its values clipped they do."),
        Claim("unclipped_exploded", "==", learned(1.0), "Rectified units: share of trainings that explode unclipped."),
        Claim("clipped_exploded", "==", learned(0.0), "And clipped, by norm or value."),
        Claim("full_accuracy", ">=", learned(0.95), "Full backpropagation learns to echo."),
        Claim("stateful_long_accuracy", ">=", learned(0.9), "So does the stateful kind, with twice the delay or more."),
        Claim("stateful_short_accuracy", "<=", learned(0.6), "With the delay or less it does not."),
        Claim("stateless_short_accuracy", "<=", learned(0.35), "Nor does the stateless kind; guessing gives 0.25."),
    )


EXPERIMENT = Experiment(
    name="backprop_through_time",
    title="Backpropagation through time: how far back gradients reach, and what clipping and truncation do about it",
    profiles={
        "smoke": Config(
            width=12,
            steps=12,
            examples=3,
            hidden=8,
            batch=4,
            adding_steps=8,
            adding_updates=20,
            echo_steps=16,
            delay=3,
            horizons=(2, 6),
            echo_updates=20,
            clip_updates=20,
            adders=("rnn_orthogonal", "gru", "lstm"),
        ),
        "demo": Config(),
        "full": Config(
            width=128,
            steps=200,
            draws=3,
            seeds=3,
            adding_steps=100,
            adding_updates=1500,
            echoers=("rnn_orthogonal", "gru", "lstm"),
            horizons=(5, 10, 12, 15, 20, 50),
            echo_updates=600,
            checkpoint_seconds=120.0,
        ),
    },
    claims=_claims(),
    run=run,
    evaluate=evaluate_saved,
)
