"""The metrics of `backprop_through_time`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.harness import Run
from experiments.harness.seeds import spread

from . import bound, memory
from .nets import STARTS, Net
from .tasks import adding, echo
from .training import (
    CLIPPINGS,
    HELD,
    Trained,
    Way,
    adding_error,
    echo_accuracy,
    echo_gradient,
    new_adding_net,
    new_echo_net,
    on_device,
    ways,
)

if TYPE_CHECKING:
    from experiments.backprop_through_time import Config

Bounds = dict[bound.Net, list[bound.Measured]]


def bounds(run: "Run[Config]") -> Bounds:
    """Every net of `bound.NETS` once for each draw."""
    config, nets = run.config, bound.NETS
    shape = (config.draws, len(nets))
    store: dict[str, Any] = {
        "gradients": np.zeros((*shape, config.examples, config.steps + 1)),
        "slopes": np.zeros((*shape, config.examples, config.steps)),
        "weight": np.zeros(shape),
        "differences": np.zeros((*shape, 2)),
    }
    for step in run.loop("bound", store, epochs=config.draws, examples=len(nets), batch=1):
        (place,) = step.indices
        stream = run.stream(f"draw {step.epoch}, {nets[place].name}")
        sizes = config.width, config.steps, config.examples, config.drive
        found = bound.measure(nets[place], *sizes, stream, run.device)
        for name, kept in store.items():
            kept[step.epoch - 1, place] = getattr(found, name)
        step.maximum(largest_ratio=found.relative().max())
    return {
        net: [bound.Measured(*(kept[draw, place] for kept in store.values())) for draw in range(config.draws)]
        for place, net in enumerate(nets)
    }


def measure_bounds(run: "Run[Config]", found: Bounds) -> None:
    """Gradients against their bounds, and what becomes of them."""
    ratios = np.concatenate([each.relative().ravel() for draws in found.values() for each in draws])
    differences = np.array([each.differences for draws in found.values() for each in draws]).max(axis=0)
    linear = {radius: found[bound.Net("linear", "orthogonal", radius)] for radius in bound.RADII}
    gaussian = found[bound.Net("linear", "Gaussian", 0.9)]
    run.metric(
        checks=ratios.size,
        # Rounding in a product of T matrices w x w stays below T w 2⁻⁵³ of the norm (Higham 2002, section 3.5).
        violations=int((ratios > 1 + run.config.steps * run.config.width * 2.0**-53).sum()),
        largest_ratio=ratios.max(),
        norm_error=max(np.abs(bound.change(each) - 1).max() for each in linear[1.0]),
        sum_error=differences[0],
        sequence_error=differences[1],
        change_below_one=bound.end_to_end(linear[0.9]),
        change_above_one=bound.end_to_end(linear[1.2]),
        change_below_one_gaussian=bound.end_to_end(gaussian),
        norm_gaussian=spread([each.weight for each in gaussian]).mean,
    )


def profile(run: "Run[Config]", nets: Sequence[Net]) -> np.ndarray:
    """How the gradient of nets for the adding problem falls with the steps back; see `memory.profile`. Mean of them."""
    inputs, _ = adding(run.stream("numbers looked at"), run.config.adding_steps, run.config.examples)
    return np.mean([memory.profile(memory.norms(net, inputs, run.device)) for net in nets], axis=0)


def fresh(run: "Run[Config]", start: str) -> np.ndarray:
    """The profile of nets for the adding problem that have not learned anything."""
    return profile(run, [new_adding_net(run, start, seed) for seed in range(run.config.seeds)])


def measure_fresh(run: "Run[Config]") -> None:
    """Half-lives before anything is learned."""
    run.metric(**{f"half_life_fresh_{start}": memory.half_life(fresh(run, start)) for start in STARTS})


def measure_adders(run: "Run[Config]", nets: Mapping[str, Sequence[Net]]) -> None:
    """Test errors and half-lives of the nets that learned to add; of each kind of net also those of the best."""
    inputs, sums = on_device(run.device, *adding(run.stream("numbers asked"), run.config.adding_steps, HELD))
    usual = memory.half_life(fresh(run, "rnn"))
    by_kind: dict[str, list[tuple[float, float]]] = {}
    for start, of_start in nets.items():
        error = spread([float(adding_error(net, inputs, sums).item()) for net in of_start]).mean
        half = memory.half_life(profile(run, of_start))
        run.metric(**{f"{start}_mse": error, f"half_life_trained_{start}": half})
        by_kind.setdefault(start.partition("_")[0], []).append((error, half))
    for kind, found in by_kind.items():
        error, half = min(found)
        run.metric(**{f"adding_mse_{kind}": error, f"half_life_gain_{kind}": half / usual})


def measure_clipped(run: "Run[Config]", trained: Mapping[tuple[str, str], Sequence[Trained]]) -> None:
    """Test accuracies with tanh units, and how many trainings with rectified ones exploded."""
    for units, clipping in trained:
        nets = trained[units, clipping]
        run.metric(**{f"{units}_{clipping}_accuracy": accuracy(run, [each.net for each in nets])})
        run.metric(**{f"{units}_{clipping}_exploded": spread([each.exploded > 0 for each in nets]).mean})
    found = run.metrics
    run.metric(
        unclipped_accuracy=found["tanh_none_accuracy"],
        norm_clipped_accuracy=found["tanh_norm_accuracy"],
        value_clipped_accuracy=found["tanh_value_accuracy"],
        unclipped_exploded=found["relu_none_exploded"],
        clipped_exploded=max(found[f"relu_{clipping}_exploded"] for clipping in CLIPPINGS if clipping != "none"),
    )


def measure_echoers(run: "Run[Config]", nets: Mapping[tuple[str, Way], Sequence[Net]]) -> None:
    """Test accuracies of the nets that learned to echo, and the least or the greatest of those that are alike."""
    found = {key: accuracy(run, of_key) for key, of_key in nets.items()}
    run.metric(**{f"echo_{start}_{way.name}": value for (start, way), value in found.items()})
    delay = run.config.delay

    def of(stateful: bool, low: int, high: int) -> list[float]:
        return [v for (_, way), v in found.items() if way.stateful == stateful and low <= way.horizon <= high]

    run.metric(
        full_accuracy=min(of(True, 0, 0)),
        stateful_long_accuracy=min(of(True, 2 * delay, run.config.echo_steps)),
        stateful_short_accuracy=max(of(True, 1, delay)),
        stateless_short_accuracy=max(of(False, 1, delay)),
    )


def accuracy(run: "Run[Config]", nets: Sequence[Net]) -> float:
    """Mean share of symbols echoed rightly, in sequences that nobody has learned from."""
    inputs, symbols = echo(run.stream("symbols asked"), run.config.echo_steps, HELD)
    return spread([echo_accuracy(net, run.config.delay, inputs, symbols, run.device) for net in nets]).mean


def costs(run: "Run[Config]") -> dict[int, tuple[float, float]]:
    """By horizon (0 for full): seconds of a gradient on the echo, and bytes that it holds at once."""
    config, net = run.config, new_echo_net(run, run.config.echoers[0], 0)
    inputs, symbols = on_device(run.device, *echo(run.stream("cost"), config.echo_steps, config.batch))
    found = {}
    for way in ways(config.horizons):
        if way.stateful:
            work = lambda way=way: echo_gradient(net, way, inputs, symbols, config.delay)
            found[way.horizon] = memory.seconds_of(work, run.device, 5), memory.peak_bytes(work)
    return found
