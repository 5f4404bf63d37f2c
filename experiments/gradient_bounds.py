"""Exploding and vanishing gradients: the bound, derived and measured.

How does the gradient of a cost change on its way back through a hundred layers? The report derives the bound on its
norm step by step, then the engine's gradients of nets of many depths, activations and initialisations are held against
it, layer by layer and example by example, in double precision.

Choices that the problem leaves open: the bound is checked for any weights, with their largest singular value (NumPy's
SVD); orthogonal ones are the case that the problem asks for. The slopes in it are computed here from the
pre-activations by formulas of their own, so that an error in the engine's derivatives would show. The cost is half the
squared distance of the last layer from a random target. Depth alone is studied: nothing is trained.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any

import numpy as np
from pydantic import Field

import tinygrad_hw as tg
from experiments.harness import Claim, Experiment, Run, Settings, figures, settings
from experiments.harness.report import short
from tinygrad_hw import functional as F
from tinygrad_hw import nn
from tinygrad_hw.backend import to_numpy
from tinygrad_hw.random import Stream

LEAK = 0.01


@settings
class Config(Settings):
    """Settings of gradient_bounds."""

    width: Annotated[int, Field(ge=2, le=512, description="units of every layer")] = 64
    depths: Annotated[
        tuple[Annotated[int, Field(ge=2, le=100)], ...],
        Field(min_length=1, description="layers of the nets, from 2 to 100"),
    ] = (5, 10, 20, 50, 100)
    examples: Annotated[int, Field(ge=1, le=1000, description="inputs of every net")] = 10
    draws: Annotated[int, Field(ge=1, le=100, description="times that all weights are drawn anew")] = 1


@dataclass(frozen=True)
class Activation:
    """A nonlinearity of the engine, its derivative by hand, and the greatest value that the derivative can take."""

    function: Callable[[Any], Any]
    slope: Callable[[np.ndarray], np.ndarray]
    steepest: float


def sigmoid_slope(z: np.ndarray) -> np.ndarray:
    """e / (1 + e)² with e = exp(-|z|), which neither overflows nor cancels."""
    e = np.exp(-np.abs(z))
    return e / (1 + e) ** 2


ACTIVATIONS = {
    "sigmoid": Activation(F.sigmoid, sigmoid_slope, 0.25),
    "tanh": Activation(F.tanh, lambda z: 4 * sigmoid_slope(2 * z), 1.0),
    "ReLU": Activation(F.relu, lambda z: (z > 0).astype(np.float64), 1.0),
    "leaky ReLU": Activation(lambda z: F.leaky_relu(z, LEAK), lambda z: np.where(z > 0, 1.0, LEAK), 1.0),
    "linear": Activation(lambda z: z, np.ones_like, 1.0),
}
INITIALISATIONS = ("orthogonal", "He", "small Gaussian", "large Gaussian")


@dataclass(frozen=True)
class Net:
    """A net to measure: `depth` layers h ← scale · activation(W h + b)."""

    activation: str
    initialisation: str
    depth: int
    scale: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.scale:g} {self.activation}, {self.initialisation}, {self.depth}"

    def layers(self, width: int, stream: Stream, device: str) -> list[nn.Linear]:
        """Its layers, drawn from a stream: float64, biases uniform in ±1/√width."""
        made = []
        for _ in range(self.depth):
            layer = nn.Linear(width, width, stream=stream, dtype=np.float64)  # its biases stay as they are
            match self.initialisation:
                case "orthogonal":
                    nn.init.orthogonal_(layer.weight, stream=stream)
                case "He":
                    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", stream=stream)
                case "small Gaussian":
                    nn.init.normal_(layer.weight, std=0.5 / width**0.5, stream=stream)
                case "large Gaussian":
                    nn.init.normal_(layer.weight, std=2.0 / width**0.5, stream=stream)
            made.append(layer.to(device=device))
        return made


@dataclass(frozen=True)
class Measured:
    """What one net showed. E examples, n layers.

    Attributes:
        gradients: norm of ∂C/∂h_t for t = 0..n, E x (n + 1).
        slopes: largest |σ'| of each layer, E x n; entry k belongs to the step from h_k to h_(k+1).
        weights: operator norm of W_0 .. W_(n-1), n.
    """

    gradients: np.ndarray
    slopes: np.ndarray
    weights: np.ndarray

    def bounds(self) -> np.ndarray:
        """‖∂C/∂h_n‖ ∏ ‖D_(k+1)‖ ‖W_k‖ over k = t..n-1, for t = 0..n: E x (n + 1)."""
        factors = np.concatenate([self.slopes * self.weights, self.gradients[:, -1:]], axis=1)
        return np.cumprod(factors[:, ::-1], axis=1)[:, ::-1]

    def relative(self) -> np.ndarray:
        """Gradient over bound, without the last layer, where both are the same: E x n; 0 where both are 0."""
        gradients, bounds = self.gradients[:, :-1], self.bounds()[:, :-1]
        return np.divide(gradients, bounds, out=np.where(gradients > 0, np.inf, 0.0), where=bounds > 0)


def measure(net: Net, width: int, examples: int, stream: Stream, device: str) -> Measured:
    """Draws a net, an input and a target for each example, and lets the engine differentiate the cost."""
    activation = ACTIVATIONS[net.activation]
    layers = net.layers(width, stream, device)
    hidden = [tg.Tensor(stream.normal((examples, width), dtype=np.float64, device=device), requires_grad=True)]
    slopes = []
    for layer in layers:
        sums = layer(hidden[-1])
        slopes.append(net.scale * np.abs(activation.slope(to_numpy(sums.data))).max(axis=1))
        hidden.append(net.scale * activation.function(sums))
        hidden[-1].retain_grad()
    target = stream.normal((examples, width), dtype=np.float64, device=device)
    cost = 0.5 * ((hidden[-1] - target) ** 2).sum()
    cost.backward()
    gradients = [np.linalg.norm(h.grad.numpy(), axis=1) for h in hidden if h.grad is not None]
    weights = [np.linalg.norm(to_numpy(layer.weight.data), 2) for layer in layers]
    return Measured(np.stack(gradients, axis=1), np.stack(slopes, axis=1), np.array(weights))


def nets_of(config: Config) -> list[Net]:
    """Every activation with every initialisation at every depth, and orthogonal nets whose slopes are scaled."""
    crossed = [Net(*parts) for parts in product(ACTIVATIONS, INITIALISATIONS, sorted(set(config.depths)))]
    deepest = max(config.depths)
    scaled = [Net(a, "orthogonal", deepest, scale) for a in ("linear", "ReLU") for scale in (0.9, 1.1, 2**0.5)]
    return crossed + scaled


Results = dict[Net, list[Measured]]


def run(run: Run[Config]) -> None:
    """Measures every net once for each draw, and reports."""
    config, nets = run.config, nets_of(run.config)
    shape, deepest = (config.draws, len(nets), config.examples), max(config.depths)
    store = {
        "gradients": np.zeros((*shape, deepest + 1)),
        "slopes": np.zeros((*shape, deepest)),
        "weights": np.zeros((*shape[:2], deepest)),
    }
    for step in run.loop("nets", store, epochs=config.draws, examples=len(nets), batch=1):
        (place,) = step.indices
        net, n = nets[place], nets[place].depth
        stream = run.stream(f"draw {step.epoch}, {net.name}")
        found = measure(net, config.width, config.examples, stream, run.device)
        where = (step.epoch - 1, place)
        store["gradients"][where][:, : n + 1] = found.gradients
        store["slopes"][where][:, :n] = found.slopes
        store["weights"][where][:n] = found.weights
        step.maximum(largest_ratio=found.relative().max())
    results = {
        net: [
            Measured(g[:, : net.depth + 1], s[:, : net.depth], w[: net.depth])
            for g, s, w in zip(*(store[key][:, place] for key in ("gradients", "slopes", "weights")), strict=True)
        ]
        for place, net in enumerate(nets)
    }
    conclude(run, results, deepest)
    explain(run)
    show_layers(run, results, deepest)
    show_cases(run, results, deepest)
    show_depths(run, results)
    comment(run, results, deepest)


def conclude(run: Run[Config], results: Results, deepest: int) -> None:
    """The metrics."""
    ratios = np.concatenate([found.relative().ravel() for draws in results.values() for found in draws])
    kept = [
        np.abs(change(found) - 1).max()
        for net, draws in results.items()
        if (net.activation, net.initialisation, net.scale) == ("linear", "orthogonal", 1.0)
        for found in draws
    ]
    run.metric(
        checks=ratios.size,
        # Rounding in a product of n matrices w x w stays below n w 2⁻⁵³ of the norm (Higham 2002, section 3.5).
        violations=int((ratios > 1 + deepest * run.config.width * 2.0**-53).sum()),
        largest_ratio=ratios.max(),
        norm_error=max(kept),
        tau_below_one=end_to_end(results[Net("linear", "orthogonal", deepest, 0.9)]),
        tau_one=end_to_end(results[Net("linear", "orthogonal", deepest)]),
        tau_above_one=end_to_end(results[Net("linear", "orthogonal", deepest, 1.1)]),
        sigmoid_orthogonal=end_to_end(results[Net("sigmoid", "orthogonal", deepest)]),
        relu_orthogonal=end_to_end(results[Net("ReLU", "orthogonal", deepest)]),
        relu_he=end_to_end(results[Net("ReLU", "He", deepest)]),
    )


def change(found: Measured) -> np.ndarray:
    """Norm of the gradient at each layer in units of that at the last one, E x (n + 1)."""
    return found.gradients / found.gradients[:, -1:]


def end_to_end(draws: list[Measured]) -> float:
    """By how much the norm changes from the last layer to the first: geometric mean over examples and draws."""
    first = np.concatenate([change(found)[:, 0] for found in draws])
    return float(np.exp(np.log(first).mean())) if first.min() > 0 else 0.0


def explain(run: Run[Config]) -> None:
    """The question and the derivation."""
    report = run.report
    report.section("Question")
    report.text(
        r"""A net passes a vector through $n$ layers, $h_{i+1} = \sigma(W_i h_i + b_i)$, and a cost $C$ judges the last
        one. Learning needs the derivative of $C$ by every layer. When does it die out on its way back, when does it
        grow beyond all measure, and which weights and nonlinearities keep it alive?"""
    )
    report.section("The bound")
    report.text(
        r"""Norms of vectors are Euclidean; the norm of a matrix is the most by which it can stretch a vector, its
        largest singular value. Derivatives of a vector by a vector have a row for each component of the upper one.
        (With rows and columns exchanged, the weights below appear transposed; their norms are the same.)""",
        "First, the chain rule, applied to one layer after the other:",
    )
    report.formula(
        r"\frac{\partial C}{\partial h_t} = \frac{\partial C}{\partial h_n} \frac{\partial h_n}{\partial h_t}"
        r" = \frac{\partial C}{\partial h_n} \frac{\partial h_n}{\partial h_{n-1}}"
        r" \frac{\partial h_{n-1}}{\partial h_{n-2}} \cdots \frac{\partial h_{t+1}}{\partial h_t}",
    )
    report.text(
        r"""Second, the derivative of a single layer. Component $j$ of $h_{i+1}$ is $\sigma(z_j)$ with $z_j = \sum_k
        W_{i,jk} h_{i,k} + b_{i,j}$, so its derivative by $h_{i,k}$ is $\sigma'(z_j) W_{i,jk}$: row $j$ of the weights
        times the slope of unit $j$."""
    )
    report.formula(
        r"\frac{\partial h_{i+1}}{\partial h_i} = D_{i+1} W_i, \quad "
        r"D_{i+1} = \operatorname{diag}(\sigma'(W_i h_i + b_i))",
        r"\frac{\partial C}{\partial h_t} = \frac{\partial C}{\partial h_n} D_n W_{n-1} D_{n-1} W_{n-2} \cdots"
        r" D_{t+1} W_t",
    )
    report.text(
        r"""Third, norms. By definition $\| M x \| \le \| M \| \| x \|$; applied twice, $\| M N x \| \le \| M \| \| N
        \| \| x \|$ for every $x$, hence $\| M N \| \le \| M \| \| N \|$. The product falls apart into one factor for
        each matrix:"""
    )
    report.formula(
        r"\left\| \frac{\partial C}{\partial h_t} \right\| \le \left\| \frac{\partial C}{\partial h_n} \right\|"
        r" \prod_{k=t}^{n-1} \| D_{k+1} \| \| W_k \|",
        note="For any weights. This is what is checked below, with both norms measured.",
    )
    report.text(
        r"""Orthonormal weights have $W^{\dagger} W = I$, so $\| W x \|^2 = x^{\dagger} W^{\dagger} W x = \| x \|^2$
        for every $x$: their norm is 1 and they drop out."""
    )
    report.formula(
        r"\left\| \frac{\partial C}{\partial h_t} \right\| \le \left\| \frac{\partial C}{\partial h_n} \right\|"
        r" \prod_{k=t}^{n-1} \| D_{k+1} \|",
        note="For orthonormal weights.",
    )
    report.text(
        r"""Fourth, the norm of a diagonal matrix. $\| D x \|^2 = \sum_j d_j^2 x_j^2 \le (\max_j d_j^2) \| x \|^2$,
        with equality for the unit vector of the largest entry, so $\| D_i \| = \max_j | \sigma'(z_j) |$. Let $\tau$ be
        the largest of these over all layers:"""
    )
    report.formula(
        r"\left\| \frac{\partial C}{\partial h_t} \right\| \le \tau^{n-t}"
        r" \left\| \frac{\partial C}{\partial h_n} \right\|"
    )
    report.text(
        r"""What a large $n$ does depends on $\tau$ alone. For $0 \le \tau < 1$ the bound falls exponentially with the
        number of layers in between, and the gradient must vanish with it: the sigmoid's slope is at most $1/4$, so a
        hundred layers leave at most $4^{-100} \approx 6 \times 10^{-61}$ of it. For $\tau > 1$ the bound grows
        exponentially: the gradient may explode, though it need not, for a bound from above promises nothing. For $\tau
        = 1$ the bound does not depend on the depth: nothing explodes. The rectified linear unit, whose slope is 0 or
        1, is such a case for any depth, and so is the leaky one. The identity has slope 1 everywhere: then each factor
        keeps the norm, and the inequality is an equality.""",
    )


def show_layers(run: Run[Config], results: Results, deepest: int) -> None:
    """Log norm against layer with its bound, in a panel for each kind of net."""
    figure, axes = figures.new(len(INITIALISATIONS), len(ACTIVATIONS), width=9.0, height=7.4, sharex=True, sharey=True)
    layers = np.arange(deepest + 1)
    for row, initialisation in zip(axes, INITIALISATIONS, strict=True):
        for axis, activation in zip(row, ACTIVATIONS, strict=True):
            draws = results[Net(activation, initialisation, deepest)]
            measured = np.concatenate([change(found) for found in draws])
            bound = np.concatenate([found.bounds() / found.gradients[:, -1:] for found in draws])
            band(axis, layers, bound, figures.COLOURS[1], label="bound", linestyle="--")
            band(axis, layers, measured, figures.COLOURS[0], label="measured")
            axis.set_xlim(0, deepest)
    for axis, activation in zip(axes[0], ACTIVATIONS, strict=True):
        axis.set_title(activation)
    for axis, initialisation in zip(axes[:, 0], INITIALISATIONS, strict=True):
        axis.set_ylabel(f"{initialisation}\n$\\log_{{10}}$ of norm")
    for axis in axes[-1]:
        axis.set_xlabel("layer $t$")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    report = run.report
    report.section("Measured, layer by layer")
    report.figure(
        "layers",
        figure,
        caption=rf"""Norm of $\partial C / \partial h_t$ against the layer $t$ in nets of {deepest} layers, in units of
        its norm at the last layer, from where it comes (right) down to the input (left), with the bound. Lines are
        medians over {run.config.examples * run.config.draws} inputs, shades reach from the least to the largest.
        Columns: activations. Rows: weights.""",
        alt="Twenty small plots of the gradient's norm by layer on a logarithmic axis, each below its bound",
    )
    rows = []
    for initialisation, activation in product(INITIALISATIONS, ACTIVATIONS):
        draws = results[Net(activation, initialisation, deepest)]
        bound = np.concatenate([found.bounds()[:, 0] / found.gradients[:, -1] for found in draws])
        largest = max(found.relative().max() for found in draws)
        weights = np.mean([found.weights.mean() for found in draws])
        per_layer = [f"{value ** (1 / deepest):.3f}" for value in (end_to_end(draws), np.exp(np.log(bound).mean()))]
        rows.append((initialisation, activation, f"{weights:.3f}", *per_layer, f"{largest:.4f}"))
    report.table(
        ("Weights", "Units", r"$\| W \|$", "Measured", "Bound", "Closest"),
        rows,
        caption=f"""Mean norm of the weights; the factor by which a layer changes the norm of the gradient, measured,
        and at most (geometric means over {deepest} layers); the largest ratio of a norm to its bound anywhere in the
        net.""",
    )
    metrics = run.metrics
    report.text(
        f"""Over all depths, {metrics["checks"]:,.0f} norms were compared with their bounds;
        {metrics["violations"]:.0f} exceed them by more than rounding allows ($10^{{-12}}$ of the bound). The largest
        ratio is {metrics["largest_ratio"]:.13g}, where the bound is an equality. Elsewhere the bound is generous: it
        takes the worst direction in every layer, while a gradient meets average ones."""
    )


def band(axis: Any, layers: np.ndarray, values: np.ndarray, colour: str, **style: Any) -> None:
    """Logarithms: the median over the examples as a line, least to largest as a shade."""
    logarithms = log10(values)
    axis.fill_between(layers, logarithms.min(axis=0), logarithms.max(axis=0), color=colour, alpha=0.2, linewidth=0)
    axis.plot(layers, np.median(logarithms, axis=0), color=colour, **style)


def log10(values: Any) -> np.ndarray:
    """Decadic logarithm; NaN, which is not drawn, for zero."""
    return np.log10(np.where(np.asarray(values) > 0, values, np.nan))


def show_cases(run: Run[Config], results: Results, deepest: int) -> None:
    """τ below, at and above one, with orthogonal weights."""
    figure, axes = figures.new(1, 2, width=9.0, height=3.8, sharey=True)
    back = deepest - np.arange(deepest + 1)
    for axis, activation in zip(axes, ("linear", "ReLU"), strict=True):
        for number, scale in enumerate((0.9, 1.0, 1.1, 2**0.5)):
            draws = results[Net(activation, "orthogonal", deepest, scale)]
            measured = np.concatenate([change(found) for found in draws])
            axis.plot(back, log10(scale**back), "--", color=figures.COLOURS[number], linewidth=1.0)
            label = rf"$\tau$ = {scale:.3g}"
            axis.plot(back, log10(np.median(measured, axis=0)), color=figures.COLOURS[number], label=label)
        axis.set(title=f"{activation}, scaled", xlabel="layers passed, $n - t$")
    axes[0].set_ylabel(r"$\log_{10}$ of norm")
    axes[0].legend()
    run.report.section("Below, at and above one")
    run.report.figure(
        "cases",
        figure,
        caption=r"""Orthogonal weights, and activations multiplied so that their largest slope is $\tau$. Solid:
        measured (median, in units of the last layer). Dashed: the bound $\tau^{n-t}$. On the left they coincide.""",
        alt="Gradient norms against layers passed for four slopes: on the bound for linear units, below it for ReLU",
    )
    metrics = run.metrics
    run.report.text(
        rf"""Linear units attain the bound: over {deepest} layers the norm is multiplied by
        {short(metrics["tau_below_one"])} for $\tau = 0.9$, by {short(metrics["tau_above_one"])} for $\tau = 1.1$, and
        for $\tau = 1$ it is kept to {short(metrics["norm_error"])}. For rectified units $\tau = 1$ excludes explosion
        and nothing more: about half of them are off, each layer lets about half of the gradient's square through, and
        the median falls like $2^{{-(n-t)/2}}$. With $\tau = \sqrt{{2}}$ the bound explodes, and the gradient itself
        stays about where it was: this is what He's initialisation makes use of."""
    )


def show_depths(run: Run[Config], results: Results) -> None:
    """The gradient by the first layer against the depth of the net."""
    depths = sorted(set(run.config.depths))
    figure, axes = figures.new(1, len(INITIALISATIONS), width=9.0, height=3.4, sharey=True)
    for axis, initialisation in zip(axes, INITIALISATIONS, strict=True):
        for activation in ACTIVATIONS:
            values = [end_to_end(results[Net(activation, initialisation, depth)]) for depth in depths]
            dashed = "--" if activation == "leaky ReLU" else "-"  # or it would hide ReLU, which it follows closely
            axis.plot(depths, log10(values), dashed, marker=".", label=activation)
        axis.set(title=initialisation, xlabel="depth $n$")
    axes[0].set_ylabel(r"$\log_{10}$ of first / last")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=len(ACTIVATIONS))
    run.report.section("As the net grows")
    run.report.figure(
        "depths",
        figure,
        caption=r"""Norm of $\partial C / \partial h_0$ over that of $\partial C / \partial h_n$ (geometric mean) in
        nets of growing depth.""",
        alt="Four plots of the end-to-end change of the gradient against depth, one for each initialisation",
    )


def comment(run: Run[Config], results: Results, deepest: int) -> None:
    """What follows, with the numbers of this run."""
    metrics = run.metrics
    run.report.section("Comment")
    run.report.text(
        f"""Through {deepest} layers of sigmoids the gradient shrinks to {short(metrics["sigmoid_orthogonal"])} of
        itself even with orthogonal weights: no choice of weights of norm 1 can help, since every slope is at most a
        quarter. Rectified units with orthogonal weights leave {short(metrics["relu_orthogonal"])}, with He's weights
        {short(metrics["relu_he"])}. That their slope is never between 0 and 1 is what makes them attractive: along
        units that are on, the gradient passes unchanged through any number of layers, and the loss from those that are
        off is a fixed factor that the weights can make up for.""",
        """The bound explains why: it separates what the weights do from what the nonlinearity does. It holds for every
        net, and it is reached by one kind alone. A small bound is a proof that the gradient vanishes; a large one is a
        warning.""",
    )


EXPERIMENT = Experiment(
    name="gradient_bounds",
    title="Exploding and vanishing gradients: the bound, derived and measured",
    profiles={
        "smoke": Config(width=16, depths=(3, 20), examples=3),
        "demo": Config(),
        "full": Config(width=128, draws=3),
    },
    claims=(
        Claim("violations", "==", dict.fromkeys(("smoke", "demo", "full"), 0), "No gradient exceeds its bound."),
        Claim("checks", ">=", {"demo": 10_000, "full": 10_000}, "Layers and examples for which this was checked."),
        Claim(
            "norm_error",
            "<=",
            dict.fromkeys(("smoke", "demo", "full"), 1e-12),
            "Orthogonal weights and linear units keep the norm of the gradient through all layers.",
        ),
        Claim("tau_below_one", "<=", {"demo": 1e-4, "full": 1e-4}, "Slopes of 0.9 make the gradient vanish."),
        Claim("tau_above_one", ">=", {"demo": 1e4, "full": 1e4}, "Slopes of 1.1 make it explode."),
        Claim("sigmoid_orthogonal", "<=", {"demo": 1e-60, "full": 1e-60}, "A hundred sigmoids leave nothing of it."),
    ),
    run=run,
)
