"""The report of `backprop_through_time`, after the derivation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.harness import Run, figures
from experiments.harness.report import counted, short

from . import bound, mathematics, measuring
from .nets import STARTS
from .training import CLIPPINGS, EPOCH, LIMIT, NORM_LIMIT, UNITS, Trained, Way

if TYPE_CHECKING:
    from experiments.backprop_through_time import Config


@dataclass(frozen=True)
class Results:
    """What a run found.

    Attributes:
        bounds: by net, one for each draw.
        adders: by start; one training for each seed, as below.
        clipped: by units and clipping.
        echoers: by start and way.
        costs: by horizon, 0 for full: seconds and bytes of a gradient.
    """

    bounds: measuring.Bounds
    adders: Mapping[str, Sequence[Trained]]
    clipped: Mapping[tuple[str, str], Sequence[Trained]]
    echoers: Mapping[tuple[str, Way], Sequence[Trained]]
    costs: Mapping[int, tuple[float, float]]


def write(run: "Run[Config]", results: Results) -> None:
    """The whole report."""
    mathematics.explain(run.report)
    show_bounds(run, results.bounds)
    show_memory(run, results.adders)
    show_clipping(run, results.clipped)
    show_truncation(run, results)
    comment(run)


def show_bounds(run: "Run[Config]", found: measuring.Bounds) -> None:
    """Log norm against time with its bound."""
    config, report = run.config, run.report
    figure, axes = figures.new(
        len(bound.WEIGHTS), len(bound.UNITS), width=9.0, height=6.0, sharex=True, sharey=True, squeeze=False
    )
    back = config.steps - np.arange(config.steps + 1)
    for row, weights in zip(axes, bound.WEIGHTS, strict=True):
        for axis, units in zip(row, bound.UNITS, strict=True):
            for colour, radius in zip(figures.COLOURS, bound.RADII, strict=False):
                draws = found[bound.Net(units, weights, radius)]
                curves = np.concatenate([bound.change(each) for each in draws])
                limits = np.concatenate([each.bounds() / each.gradients[:, -1:] for each in draws])
                axis.plot(back, log10(np.median(limits, axis=0)), "--", color=colour, linewidth=1.0)
                logarithms = log10(curves)
                low, high = logarithms.min(axis=0), logarithms.max(axis=0)
                axis.fill_between(back, low, high, color=colour, alpha=0.2, linewidth=0)
                axis.plot(back, np.median(logarithms, axis=0), color=colour, label=rf"$\rho$ = {radius:g}")
    for axis, units in zip(axes[0], bound.UNITS, strict=True):
        axis.set_title(f"{units} units")
    for axis, weights in zip(axes[:, 0], bound.WEIGHTS, strict=True):
        axis.set_ylabel(f"{weights} weights\n$\\log_{{10}}$ of norm")
    for axis in axes[-1]:
        axis.set_xlabel("steps back, $T - t$")
    span = config.steps * np.log10(2.2)
    axes[0, 0].set_ylim(-0.35 * span, span)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=len(bound.RADII))
    report.section("Measured, step by step")
    report.figure(
        "bound",
        figure,
        caption=rf"""Norm of $\partial C / \partial h_t$ against the steps back from the last one, in units of its norm
        there. Solid: measured, the median over {config.examples * config.draws} sequences, with shades from the least
        to the largest. Dashed, in the same colour: its bound. Rows: recurrent weights of spectral radius $\rho$.
        Columns: units.""",
        alt="Six plots of gradient norms on a logarithmic axis, fanning out from a point, each below its dashed bound",
    )
    rows = []
    for net, draws in found.items():
        end = bound.end_to_end(draws)
        steepest = np.exp(np.mean([np.log(each.slopes * each.weight).mean() for each in draws]))
        measured = f"{end ** (1 / config.steps):.3f}" if end else "0"
        closest = max(each.relative().max() for each in draws)
        norm = np.mean([each.weight for each in draws])
        rows.append(
            (net.units, net.weights, f"{net.radius:g}", f"{norm:.3f}", measured, f"{steepest:.3f}", f"{closest:.4f}")
        )
    report.table(
        ("Units", "Weights", r"$\rho$", r"$\| W \|$", "Measured", "Bound", "Closest"),
        rows,
        caption=f"""Spectral radius and norm of the weights; the factor by which a step changes the norm of the
        gradient, measured, and at most (geometric means over {config.steps} steps); the largest ratio of a norm to its
        bound at any step.""",
    )
    metrics = run.metrics
    report.text(
        f"""{metrics["checks"]:,.0f} norms were compared with their bounds; {metrics["violations"]:.0f} exceed them by
        more than rounding allows. The sum over the steps of the contributions, multiplied out by hand, is the engine's
        gradient of the weights to {short(metrics["sum_error"])} of its norm; and the operation on whole sequences,
        which all nets below are trained by, gives the gradients of cells that are called one after the other, to
        {short(metrics["sequence_error"])}.""",
        rf"""Linear units show the three cases: over {config.steps} steps of orthogonal weights the norm is multiplied
        by {short(metrics["change_below_one"])} for $\rho = 0.9$, by {short(metrics["change_above_one"])} for $\rho =
        1.2$, and kept to {short(metrics["norm_error"])} for $\rho = 1$. Gaussian weights of $\rho = 0.9$ have a norm of
        {metrics["norm_gaussian"]:.2f}, so that their bound explodes; the gradient vanishes all the same, by
        {short(metrics["change_below_one_gaussian"])}: the spectral radius decides, not the norm.""",
        r"""Rectified units are off half of the time, which takes a factor of $1 / \sqrt{2}$ from the norm in every
        step: the gradient explodes only when $\rho$ is above $\sqrt{2}$, as the curve for $\rho = 2$ does. With tanh,
        weights that would make the state explode drive the units to where they are flat, and small slopes make up
        for large weights: the gradient stays within bounds longer than the weights alone suggest.""",
    )


def log10(values: Any) -> np.ndarray:
    """Decadic logarithm; NaN, which is not drawn, for zero."""
    return np.log10(np.where(np.asarray(values) > 0, values, np.nan))


def show_memory(run: "Run[Config]", adders: Mapping[str, Sequence[Trained]]) -> None:
    """How far back the gradient is carried, before and after training, and whether the nets learn to add."""
    config, report, metrics = run.config, run.report, run.metrics
    report.section("How far back the gradient reaches")
    report.text(
        r"""An LSTM's cell is $c_t = f_t c_{t-1} + i_t g_t$, a GRU's state $h_t = z_t h_{t-1} + (1 - z_t) n_t$ (products
        by component). Along the first term the gradient is multiplied by the gate alone, by no matrix: where the gate
        is near 1 it passes almost unchanged, however many steps there are. The gates decide, and they are learned; how
        they start is a choice:""",
        rf"""As usual, all weights and biases are uniform within $\pm 1 / \sqrt{{H}}$ for $H$ units, so that gates are
        half open. A forget bias of 1 opens them to 0.73. Slow gates have biases $\log u$ with $u$ uniform from 1 to
        {config.adding_steps - 1}, so that units forget within 2 to {config.adding_steps} steps, each at its own pace.
        Orthogonal recurrent weights have all singular values 1.""",
    )
    report.formula(
        r"h = \frac{-1}{s}, \quad s = \text{slope of } \log_2 \left\| \frac{\partial C}{\partial s_t} \right\|"
        r" \text{ against } T - t",
        note="""Half-life: in so many steps the norm falls to half. The gradient is that of the last answer by the whole
        state; the slope is that of the line of least squares. Above 10,000 steps it counts as 10,000.""",
    )
    figure, axes = figures.new(1, 2, width=9.0, height=4.0, sharey=True)
    steps = np.arange(config.adding_steps + 1)
    for number, (start, label) in enumerate(STARTS.items()):
        style = ("-", "--", ":")[("rnn", "gru", "lstm").index(start.partition("_")[0])]
        colour = figures.COLOURS[number]
        axes[0].plot(steps, measuring.fresh(run, start) * np.log10(2), style, color=colour, label=label)
        if start in adders:
            curve = measuring.profile(run, [each.net for each in adders[start]])
            axes[1].plot(steps, curve * np.log10(2), style, color=colour)
    axes[0].set(title="before training", ylabel=r"$\log_{10}$ of norm")
    axes[1].set(title="after learning to add")
    axes[0].set_ylim(-12, 2)
    for axis in axes:
        axis.set_xlabel("steps back, $T - t$")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
    report.figure(
        "memory",
        figure,
        caption=f"""Norm of the gradient of the last answer by the state, so many steps back, in units of that at the
        last step (geometric mean over {config.examples} sequences and {counted(config.seeds, "seed")}), in nets of
        {config.hidden} units on sequences of the adding problem.""",
        alt="Gradient norms against steps back: straight falling lines before training, flatter ones after it",
    )
    report.table(
        ("Net", "Half-life before, steps", "after", "Error of the sum"),
        [
            (
                label,
                f"{metrics[f'half_life_fresh_{start}']:.1f}",
                f"{metrics[f'half_life_trained_{start}']:.1f}" if start in adders else "-",
                f"{metrics[f'{start}_mse']:.4f}" if start in adders else "-",
            )
            for start, label in STARTS.items()
        ],
        caption=f"""Half-life before and after {config.adding_updates:,} updates on the adding problem with
        {config.adding_steps} steps, and the mean squared error of the sum on new sequences; who always answers 1 has
        0.167. Means over {counted(config.seeds, "seed")}.""",
    )
    figure, axis = figures.new(width=7.0, height=3.4)
    for number, (start, trained) in enumerate(adders.items()):
        curves(axis, trained, STARTS[start], figures.COLOURS[number])
    axis.axhline(1 / 6, color="#777777", linewidth=1, linestyle=":", label="always 1")
    axis.set(yscale="log", xlabel="updates", ylabel="mean squared error")
    axis.legend()
    report.figure(
        "adding",
        figure,
        caption="Learning to add: error on the training sequences, each seen once; mean over the seeds.",
        alt="Falling error curves of the gated nets, and a flat one of the plain recurrent net",
    )


def curves(
    axis: Any, trained: Sequence[Trained], label: str, colour: str, *, value: str = "loss", style: str = "-"
) -> None:
    """A line for each training, the first with the label."""
    for number, each in enumerate(trained):
        values = getattr(each, value)
        updates = EPOCH * np.arange(1, len(values) + 1)
        axis.plot(updates, values, style, color=colour, linewidth=1.3, label=None if number else label)


def show_clipping(run: "Run[Config]", clipped: Mapping[tuple[str, str], Sequence[Trained]]) -> None:
    """Training that explodes, and the same with clipping."""
    config, report, metrics = run.config, run.report, run.metrics
    report.section("Clipping")
    report.text(
        r"""Where gradients grow, a step of gradient descent that was right a moment ago is far too long: the error
        surface has walls, and the gradient at a wall throws the weights far away. Both remedies keep what the gradient
        says about the direction, or nearly so, and limit how far it goes:"""
    )
    report.formula(
        r"g \leftarrow g \, \min \left( 1, \frac{\theta}{\| g \|} \right)",
        r"g_i \leftarrow \min(\max(g_i, -\vartheta), \vartheta)",
        note=rf"""By norm (first line, Pascanu and others, algorithm 1), here with $\theta$ = {config.clip_norm:g}, the
        direction is kept; by value (second line), with $\vartheta$ = {config.clip_value:g}, it is not.""",
    )
    rates = dict(zip(UNITS, config.clip_rates, strict=True))
    report.text(
        rf"""A plain recurrent net learns to echo. Tanh units start with orthogonal weights of spectral radius
        {config.clip_radius:g}, rectified ones with the identity, so that nothing is forgotten and everything grows.
        Each of the inputs is one of four symbols, to be said again {config.delay} steps later. Plain gradient descent
        makes large steps, of rate {rates["tanh"]:g} with tanh and {rates["relu"]:g} with rectified units. All three
        ways start from the same weights and see the same sequences."""
    )
    figure, axes = figures.new(2, 2, width=9.0, height=5.6, sharex=True)
    for column, units in enumerate(UNITS):
        for number, (clipping, label) in enumerate(CLIPPINGS.items()):
            for row, value in enumerate(("loss", "norm")):
                curves(axes[row, column], clipped[units, clipping], label, figures.COLOURS[number], value=value)
        axes[0, column].set(title=UNITS[units], yscale="log")
        axes[1, column].set(yscale="log", xlabel="updates")
    axes[0, 0].set_ylabel("loss")
    axes[1, 0].set_ylabel("largest norm of the gradient")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    report.figure(
        "clipping",
        figure,
        caption=f"""Loss (mean cross-entropy) and the largest norm of the gradient before clipping, for every {EPOCH}
        updates; a line for each seed. Training ends when the loss is above {short(LIMIT)} or not finite (it is then
        drawn as that), or the norm not finite or above {short(NORM_LIMIT)} (the same).""",
        alt="Loss and gradient norms of three ways of clipping: without it they shoot up, with it the loss falls",
    )
    report.table(
        ("Units", "Gradient", "Exploded", "at update", "Last loss", "Symbols echoed"),
        [
            (
                UNITS[units],
                CLIPPINGS[clipping],
                f"{sum(each.exploded > 0 for each in trained)} of {len(trained)}",
                ", ".join(str(each.exploded) for each in trained if each.exploded) or "-",
                ", ".join(f"{each.loss[-1]:.2g}" for each in trained),
                f"{100 * metrics[f'{units}_{clipping}_accuracy']:.1f} %",
            )
            for (units, clipping), trained in clipped.items()
        ],
        caption="""Trainings whose loss or gradient exploded, the loss at their end for each seed, and the share of
        symbols of new sequences that are echoed rightly (mean; guessing gives 25 %). What exploded is tested with the
        last weights before it.""",
    )


def show_truncation(run: "Run[Config]", results: Results) -> None:
    """Accuracy, time and memory against the horizon."""
    config, report, metrics = run.config, run.report, run.metrics
    ways = {way.name: way for _, way in results.echoers}
    report.section("Truncation")
    report.text(
        r"""Full backpropagation keeps every step of a sequence until the gradient has come back, so memory grows with
        its length, and nothing is learned before it ends. Truncated backpropagation cuts a sequence into pieces of $K$
        steps, the horizon, and stops the gradient between them. It is stateful when a piece starts from the state that
        the one before ended in, and stateless when it starts from zeros.""",
        rf"""The echo shows what is lost. What is to be said at step $t$ was seen at step $t - d$, $d$ =
        {config.delay}. With a horizon of at most $d$ they are never in one piece: no gradient leads from the error to
        the weights that should have kept the symbol. With a longer one they are in one piece for a share $(K - d) / K$
        of the steps; and since the weights are the same at all times, learning it there is learning it
        everywhere. Sequences have {config.echo_steps} steps; all nets are tested with the state carried through the
        whole of each.""",
    )
    figure, axes = figures.new(
        1, len(config.echoers), width=9.0 if len(config.echoers) > 1 else 6.0, height=3.6, sharey=True, squeeze=False
    )
    for axis, start in zip(axes[0], config.echoers, strict=True):
        axis.axvspan(0, config.delay, color="#eeeeee", zorder=0)
        axis.axhline(25, color="#777777", linewidth=1, linestyle=":")
        for number, stateful in enumerate((True, False)):
            of_kind = [way for way in ways.values() if way.horizon and way.stateful == stateful]
            horizons = [way.horizon for way in of_kind] + [config.echo_steps]
            values = [100 * metrics[f"echo_{start}_{name}"] for name in [*(way.name for way in of_kind), "full"]]
            label = "stateful" if stateful else "stateless"
            axis.plot(horizons, values, "o-" if stateful else "s--", color=figures.COLOURS[number], label=label)
        ticks = sorted({*config.horizons, config.echo_steps})
        axis.set(
            title=STARTS[start],
            xscale="log",
            xlabel="horizon, steps",
            ylim=(0, 104),
            xlim=(0.9 * ticks[0], 1.1 * ticks[-1]),
        )
        axis.set_xticks(ticks, [f"{tick}" for tick in ticks], fontsize=8)
        axis.minorticks_off()
    axes[0, 0].set_ylabel("symbols echoed, %")
    axes[0, 0].legend(loc="center right")
    report.figure(
        "truncation",
        figure,
        caption=f"""Symbols of new sequences that are echoed rightly, against the horizon; rightmost, full
        backpropagation through {config.echo_steps} steps. Grey: horizons that do not reach back far enough. Dotted:
        guessing. Means over {counted(config.seeds, "seed")}, {config.echo_updates:,} updates each.""",
        alt="Accuracy against horizon: low up to the delay, then rising steeply to 100 percent",
    )
    rows = []
    for horizon in [*sorted(set(config.horizons)), 0]:
        seconds, memory = results.costs[horizon]
        names = ["full"] if not horizon else [Way(horizon).name, Way(horizon, False).name]
        shares = [[f"{100 * metrics[f'echo_{start}_{name}']:.1f}" for name in names] for start in config.echoers]
        cells = [" / ".join(each) for each in shares]
        rows.append(
            (
                f"{horizon or config.echo_steps}{'' if horizon else ' (full)'}",
                *cells,
                f"{1e3 * seconds:.1f}",
                f"{memory / 2**20:.2f}",
            )
        )
    report.table(
        ("Horizon", *(f"{STARTS[start]}, %" for start in config.echoers), "ms", "MiB"),
        rows,
        caption=f"""Symbols echoed rightly, stateful / stateless; time of a gradient for {config.batch} sequences, and
        memory that it takes at once, both with {STARTS[config.echoers[0]]} ({config.hidden} units, {run.device}).
        The times are those of this run and differ from one run to the next.""",
    )


def comment(run: "Run[Config]") -> None:
    """What follows, with the numbers of this run."""
    metrics = run.metrics
    gains = [
        f"the {name} {metrics[f'half_life_gain_{kind}']:.0f} times"
        for kind, name in (("gru", "GRU"), ("lstm", "LSTM"))
        if f"half_life_gain_{kind}" in metrics
    ]
    carried = f"After learning to add, {' and '.join(gains)} as far." if gains else ""
    run.report.section("Comment")
    run.report.text(
        f"""A plain recurrent net as it usually starts halves its gradient every
        {metrics["half_life_fresh_rnn"]:.1f} steps, and a gated one that starts as usual does not do much better: gates
        that are half open forget as fast. What sets gated nets apart is that they can learn to keep. {carried}
        Starting with slow gates gives them that from the beginning.""",
        f"""Clipping cures explosion and nothing else: it limits a gradient that is too long, and cannot bring back one
        that has vanished. With it the very training that ends in {100 * metrics["unclipped_accuracy"]:.0f} % of the
        symbols, which guessing gives, too, comes to {100 * metrics["norm_clipped_accuracy"]:.0f} % by norm and
        {100 * metrics["value_clipped_accuracy"]:.0f} % by value.""",
        f"""Truncation is cheap in memory and costs exactly what lies beyond the horizon: with the delay or less, at
        most {100 * metrics["stateful_short_accuracy"]:.0f} % of the symbols are echoed with the state carried on, and
        {100 * metrics["stateless_short_accuracy"]:.0f} % without. That the former is above guessing is what a state
        keeps without having learned to: the weights that read it learn to make use of what is there. From twice the
        delay on, at least {100 * metrics["stateful_long_accuracy"]:.0f} % are echoed.""",
    )
