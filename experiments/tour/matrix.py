"""Convolution as a matrix: Toeplitz, sparse, few weights in many places; counted, and followed backwards."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

import tinygrad_hw as tg
from experiments.harness import Run, figures
from experiments.harness.report import short
from reference import convolution as by_hand
from tinygrad_hw import functional as F
from tinygrad_hw.backend import to_device, to_numpy

from .flipping import KERNEL, greatest

if TYPE_CHECKING:
    from experiments.convolution import Config

SIDE = 8  # of the picture whose matrix is drawn
LENGTH = 12  # of the sequence whose matrices are drawn
ONCE = (1, 1)  # stride and dilation


@dataclass(frozen=True)
class Layer:
    """A layer to be counted, with one channel in its output: its pictures, its kernel and its padding."""

    channels: int
    side: int
    kernel: int
    padding: int

    def matrix(self) -> np.ndarray:
        """Ones where a convolution of this kind has weights."""
        kernel = np.ones((1, self.channels, self.kernel, self.kernel), np.int8)
        return matrix_of(kernel, self.side, self.padding)

    def __str__(self) -> str:
        out = self.side + 2 * self.padding - self.kernel + 1
        return f"{self.channels} x {self.side} x {self.side} to {out} x {out}, kernel {self.kernel} x {self.kernel}"


LAYERS = (Layer(1, 28, 3, 1), Layer(3, 32, 5, 0))


def matrix_of(weight: np.ndarray, side: int, padding: int) -> np.ndarray:
    """The Toeplitz matrix of kernels (O x C x K x K) on square pictures."""
    return by_hand.toeplitz(weight, (side, side), ONCE, ((padding, padding),) * 2, ONCE)


def measure(run: "Run[Config]", pictures: np.ndarray) -> None:
    """The engine's convolution of pictures (N x 1 x H x W, float64) and its gradients against the matrix."""
    side = pictures.shape[-1]
    weight = run.stream("matrix weight").normal((3, 1, 3, 3), dtype=np.float64)
    toward = run.stream("matrix gradient").normal((len(pictures), 3, side, side), dtype=np.float64)
    matrix = matrix_of(weight, side, 1)

    x, w = (tg.Tensor(to_device(array, run.device), requires_grad=True) for array in (pictures, weight))
    y = F.conv2d(x, w, padding=1)
    y.backward(to_device(toward, run.device))
    assert x.grad is not None
    assert w.grad is not None

    columns, rows = pictures.reshape(len(pictures), -1), toward.reshape(len(pictures), -1)
    (shared,) = by_hand.hand_toeplitz(rows.T @ columns, weight, (side, side), ONCE, ((1, 1), (1, 1)), ONCE)
    run.metric(
        toeplitz_error=_relative(to_numpy(y.data).reshape(len(columns), -1), columns @ matrix.T),
        transpose_error=_relative(to_numpy(x.grad.data).reshape(columns.shape), rows @ matrix),
        sharing_error=_relative(to_numpy(w.grad.data), shared),
    )


def _relative(found: np.ndarray, expected: np.ndarray) -> float:
    return greatest(found - expected) / greatest(expected)


def show(run: "Run[Config]") -> None:
    """The matrices as pictures, what was measured, and how much there is of everything."""
    report, found = run.report, run.metrics
    report.section("Convolution as a matrix")
    report.text(
        r"""A convolution is linear, so it is a matrix. For a sequence $x$ and three weights, with zeros beyond the
        ends, each row of the matrix is the one above it moved by one place; the weights stand along its diagonals.
        Such a matrix is called Toeplitz:"""
    )
    report.formula(
        r"""\left( \begin{matrix} w_2 & w_3 & 0 & 0 & 0 \\ w_1 & w_2 & w_3 & 0 & 0 \\ 0 & w_1 & w_2 & w_3 & 0 \\
        0 & 0 & w_1 & w_2 & w_3 \\ 0 & 0 & 0 & w_1 & w_2 \end{matrix} \right)
        \left( \begin{matrix} x_0 \\ x_1 \\ x_2 \\ x_3 \\ x_4 \end{matrix} \right) =
        \left( \begin{matrix} s_0 \\ s_1 \\ s_2 \\ s_3 \\ s_4 \end{matrix} \right)"""
    )
    _draw_kinds(run)
    _draw_blocks(run)
    report.text(
        rf"""The engine's `conv2d` of digits and the product with that matrix, built by hand, differ by
        {short(found["toeplitz_error"])} of the greatest entry. Backwards the matrix tells everything as well. The
        gradient by the picture is the product with the transpose, $T^{{\top}} g$: a convolution with the turned kernel,
        and, as a layer of its own, the transposed convolution that enlarges pictures
        ({short(found["transpose_error"])}). A matrix whose entries were free would have the gradient $g x^{{\top}}$;
        entries that are the same weight have their gradients added ({short(found["sharing_error"])}):"""
    )
    report.formula(
        r"\frac{\partial C}{\partial x} = T^{\top} g, \quad \frac{\partial C}{\partial T} = g x^{\top}, \quad "
        r"\frac{\partial C}{\partial w_k} = \sum_{(i, j): T_{ij} = w_k} g_i x_j",
        note=r"With $y = T x$ and $g$ the gradient of the loss $C$ by $y$.",
    )
    _count(run)


def _draw_kinds(run: "Run[Config]") -> None:
    """A fully connected, a locally connected and a convolutional layer of the same sequence."""
    full = run.stream("kinds").uniform((LENGTH, LENGTH), -1.0, 1.0)
    band = np.abs(np.subtract.outer(np.arange(LENGTH), np.arange(LENGTH))) <= 1
    line = np.array([-0.9, 0.55, 0.9])[None, None, None]
    shared = by_hand.toeplitz(line, (1, LENGTH), ONCE, ((0, 0), (1, 1)), ONCE)
    kinds = {
        f"fully connected: {full.size} weights": full,
        f"locally connected: {band.sum()} weights": np.where(band, full, np.nan),
        f"convolution: {line.size} weights": np.where(band, shared, np.nan),
    }
    figure, axes = figures.new(1, 3, width=9.0, height=3.3)
    for axis, (title, matrix) in zip(axes, kinds.items(), strict=True):
        axis.imshow(matrix, cmap="PuOr", vmin=-1, vmax=1)
        axis.set(title=title, xlabel="input", xticks=[], yticks=[])
        axis.grid(False)
    axes[0].set_ylabel("output")
    run.report.figure(
        "kinds",
        figure,
        caption=f"""The matrices of three layers from {LENGTH} inputs to {LENGTH} outputs. White: no connection; equal
        colours: equal weights. Of sparse connections only a band remains; sharing makes its diagonals uniform.""",
        alt="Three square matrices: full, a band of three diagonals, and the same band with one colour a diagonal",
    )


def _draw_blocks(run: "Run[Config]") -> None:
    """The matrix of a kernel on a picture."""
    matrix = matrix_of(KERNEL[None, None], SIDE, 1)
    figure, axis = figures.new(width=5.6, height=5.4)
    drawn = axis.imshow(np.where(matrix == 0, np.nan, matrix), cmap="RdBu_r", vmin=-3.5, vmax=3.5)
    ticks = np.arange(0, SIDE**2 + 1, SIDE) - 0.5
    axis.set(xticks=ticks, yticks=ticks, xlabel="pixels of the picture, row by row", ylabel="pixels of the map")
    axis.set_xticklabels([])
    axis.set_yticklabels([])
    figure.colorbar(drawn, ax=axis, shrink=0.7, label="weight")
    run.report.figure(
        "blocks",
        figure,
        caption=f"""The matrix of the 3 x 3 kernel from above on a picture of {SIDE} x {SIDE}, zeros around it:
        {SIDE} x {SIDE} blocks, one for each pair of rows of map and picture. Along the diagonals of blocks the blocks
        are equal, and each of them is Toeplitz: doubly so. Of {matrix.size:,} entries
        {np.count_nonzero(matrix):,} are not zero, and they are {np.count_nonzero(KERNEL)} numbers (the kernel has three
        zeros itself).""",
        alt="A matrix of blocks with coloured diagonals in three diagonals of blocks",
    )


def _count(run: "Run[Config]") -> None:
    """Weights and multiplications of the three kinds of layer."""
    rows = []
    for layer in LAYERS:
        matrix = layer.matrix()
        links, weights = int(matrix.sum()), layer.channels * layer.kernel**2
        rows += [
            (f"{layer}: fully connected", matrix.size, matrix.size),
            ("locally connected", links, links),
            ("convolution", weights, links),
        ]
    run.report.text(
        """Two things are saved at once. Sparse connections: an output looks at a small neighbourhood only, which saves
        multiplications. Shared weights: it looks at every place in the same way, which saves weights."""
    )
    run.report.table(
        ("Layer", "Weights", "Multiply-adds"),
        rows,
        caption="""Counted in the matrices, without biases, for a net's layer on MNIST and for one on CIFAR-10. Where
        zeros surround the picture, what they would be multiplied by is not counted.""",
    )
