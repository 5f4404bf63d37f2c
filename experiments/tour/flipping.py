"""Convolution and cross-correlation: one is the other with the kernel turned round, and nets learn either."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

import tinygrad_hw as tg
from experiments.harness import Run, figures
from experiments.harness.report import short
from tinygrad_hw import functional as F
from tinygrad_hw import nn, optim
from tinygrad_hw.backend import Array, to_device, to_numpy

if TYPE_CHECKING:
    from experiments.convolution import Config

# Without any symmetry, so that nothing turned round can pass for itself.
KERNEL = np.array([[1.0, 2.0, 0.0], [0.0, 3.0, -1.0], [-2.0, 0.0, 0.5]])
PICTURES, SIDE = 64, 12


def turned(kernel: np.ndarray) -> np.ndarray:
    """Last two axes reversed: a turn by 180 degrees."""
    return np.ascontiguousarray(kernel[..., ::-1, ::-1])


def greatest(difference: Array) -> float:
    """Its greatest absolute value."""
    return float(np.abs(to_numpy(difference)).max())


def measure(run: "Run[Config]", pictures: np.ndarray) -> np.ndarray:
    """Compares both on pictures (N x 1 x H x W, float64), and learns; returns the kernels on the way, K x 3 x 3."""
    x, kernel = to_device(pictures, run.device), to_device(KERNEL[None, None], run.device)
    flipped = to_device(turned(KERNEL)[None, None], run.device)
    difference = F.convolve2d(x, kernel, padding=1) - F.conv2d(x, flipped, padding=1)
    sizes = {"signal": 20, "other": 7}
    left, right = (run.stream(name).normal((1, 1, n), dtype=np.float64, device=run.device) for name, n in sizes.items())
    by_numpy = np.convolve(to_numpy(left)[0, 0], to_numpy(right)[0, 0])
    run.metric(
        flip_error=greatest(difference),
        commute_error=greatest(_full(F.convolve1d, left, right) - _full(F.convolve1d, right, left)),
        correlation_commute_error=greatest(_full(F.conv1d, left, right) - _full(F.conv1d, right, left)),
        numpy_error=greatest(to_numpy(_full(F.convolve1d, left, right))[0, 0] - by_numpy),
    )
    kernels = learn(run)
    run.metric(learnt_kernel_error=greatest(kernels[-1] - turned(KERNEL)))
    return kernels


def _full(operation: Callable[..., Array], signal: Array, kernel: Array) -> Array:
    """Every place where the two overlap at all."""
    return operation(signal, kernel, padding=kernel.shape[-1] - 1)


def learn(run: "Run[Config]") -> np.ndarray:
    """A layer of cross-correlation learns to do what true convolution with KERNEL does to pictures of noise.

    Returns:
        Its kernel before training and after every epoch, float64, (epochs + 1) x 3 x 3.
    """
    config = run.config
    noise = to_device(run.stream("noise").normal((PICTURES, 1, SIDE, SIDE), dtype=np.float64), run.device)
    wanted = F.convolve2d(noise, to_device(KERNEL[None, None], run.device))
    layer = nn.Conv2d(1, 1, 3, bias=False).to(device=run.device, dtype=np.float64)
    nn.init.normal_(layer.weight, std=0.3, stream=run.stream("flipping init"))
    optimizer = optim.SGD(layer.parameters(), lr=config.flip_learning_rate)
    kernels = np.zeros((config.flip_epochs + 1, 3, 3))
    kernels[0] = to_numpy(layer.weight.data)[0, 0]
    track = {"layer": layer, "optimizer": optimizer, "kernels": kernels}
    for step in run.loop("flipping", track, epochs=config.flip_epochs, examples=PICTURES, batch=PICTURES // 4):
        chosen = to_device(step.indices, run.device)
        loss = ((layer(tg.Tensor(noise[chosen])) - wanted[chosen]) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step.mean(loss=float(loss.item()))
        if step.ends_epoch:
            kernels[step.epoch] = to_numpy(layer.weight.data)[0, 0]
    return kernels


def show(run: "Run[Config]", kernels: np.ndarray) -> None:
    """The two formulas, and what was learned."""
    report, found = run.report, run.metrics
    report.section("Convolution and cross-correlation")
    report.text(
        """A kernel $K$ is a small picture of weights. Cross-correlation lays it on the picture $I$, multiplies what
        lies on each other, adds up, and moves on by one. Convolution does the same with the kernel turned by 180
        degrees: the minus signs below."""
    )
    report.formula(
        r"S_{\text{corr}}(i, j) = \sum_m \sum_n I(i + m, j + n) \, K(m, n)",
        r"S_{\text{conv}}(i, j) = \sum_m \sum_n I(i - m, j - n) \, K(m, n)",
        r"s(t) = (x * w)(t) = \sum_a x(a) \, w(t - a)",
        note="Cross-correlation; convolution; convolution in one dimension.",
    )
    report.text(
        f"""Turning the kernel makes one into the other: here they differ by {short(found["flip_error"])} at most. The
        minus sign makes convolution commute, so that signal and kernel are on an equal footing
        ({short(found["commute_error"])} between $x * w$ and $w * x$, and {short(found["numpy_error"])} from NumPy's
        own); cross-correlation does not ({short(found["correlation_commute_error"])}). Nets are said to convolve, but
        all of them, this engine's `conv2d`, too, compute the cross-correlation. It does not matter: weights that are
        learned are learned the right way round. Below, a layer of cross-correlation is shown pictures of noise and what
        true convolution makes of them; it never sees the kernel. Does it find it, turned?"""
    )
    epochs = np.unique([0, 1, 3, min(8, len(kernels) - 1), len(kernels) - 1])
    epochs = epochs[epochs < len(kernels)]
    shown = [("true kernel", KERNEL), *((f"epoch {e}" if e else "at first", kernels[e]) for e in epochs)]
    shown.append(("turned kernel", turned(KERNEL)))
    figure, axes = figures.new(1, len(shown), width=1.45 * len(shown), height=1.9)
    for axis, (title, kernel) in zip(axes, shown, strict=True):
        draw_numbers(axis, kernel)
        axis.set_title(title, fontsize=9)
    report.figure(
        "flipping",
        figure,
        caption=f"""A layer of cross-correlation learns what convolution with the kernel on the left does. From that
        one turned by 180 degrees (right) its kernel differs by {short(found["learnt_kernel_error"])} at the end.""",
        alt="Kernels of three by three numbers: the true one, the learned one on its way, and the true one turned",
    )


def draw_numbers(axis: Any, kernel: np.ndarray) -> None:
    """A kernel as a coloured square with its numbers."""
    axis.imshow(kernel, cmap="RdBu_r", vmin=-3.5, vmax=3.5)
    axis.axis("off")
    for (row, column), value in np.ndenumerate(kernel):
        text = f"{round(value, 1) + 0.0:.1f}".replace("-", "\N{MINUS SIGN}")  # + 0.0: no minus zero
        colour = "white" if abs(value) > 2.2 else "black"
        axis.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
