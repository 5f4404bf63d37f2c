"""Convolution: a tour with everything measured.

What a convolution is, and how it differs from cross-correlation; that it is a product with a Toeplitz matrix; how few
connections and weights that matrix has, and what sharing them is worth when digits are learned; equivariance to
translation, what breaks it, and the invariance that pooling adds; how far a unit sees; filters made by hand; stride,
padding, dilation and groups. Every statement is measured on the engine's own operations, in float64.

Choices that the problem leaves open: measurements are taken on real pictures (digits of MNIST, and pictures of CIFAR-10
for the filters where there are any) with random kernels, which have no symmetry that could hide a swapped axis; errors
are relative to the greatest answer, and pictures go on at their other side where a statement holds without a rim alone.
"""

from typing import Annotated

import numpy as np
from pydantic import Field

from experiments.data import cifar10, mnist
from experiments.harness import Claim, Experiment, Run, Settings, settings
from experiments.harness.errors import UserError
from experiments.tour import fields, filters, flipping, geometry, invariance, matrix, sharing, translation

PICTURES = 6  # digits, one of each of the first classes, that errors are measured on
GREY = np.array([0.299, 0.587, 0.114])  # red, green, blue: ITU-R BT.601


@settings
class Config(Settings):
    """Settings of convolution."""

    flip_epochs: Annotated[int, Field(ge=1, le=10_000, description="passes of the layer that learns a kernel")] = 40
    flip_learning_rate: Annotated[float, Field(gt=0, description="of its gradient descent")] = 0.3
    seeds: Annotated[int, Field(ge=1, le=100, description="of the three nets that learn digits")] = 3
    digits: Annotated[int, Field(ge=10, description="that they learn from")] = 1000
    test_digits: Annotated[int, Field(ge=10, description="that they are tested on, at most")] = 1000
    epochs: Annotated[int, Field(ge=1, le=100_000, description="passes over the digits")] = 15
    batch: Annotated[int, Field(ge=1, description="digits per step")] = 50
    learning_rate: Annotated[float, Field(gt=0, description="of Adam")] = 0.002


def run(run: Run[Config]) -> None:
    """Goes round once to measure, and once more to show."""
    digits = load(run)
    first = [int(np.flatnonzero(digits.test_labels == label)[0]) for label in range(PICTURES)]
    some = digits.test_images[first][:, None] / 255.0
    pictures, what = pictures_of(run, digits)

    kernels = flipping.measure(run, some)
    matrix.measure(run, some)
    accuracies = sharing.measure(run, digits)
    translation.measure(run, some)
    changes = invariance.measure(run, some)
    seen = fields.measure(run)
    geometry.measure(run)

    explain(run)
    flipping.show(run, kernels)
    filters.show(run, pictures, what)
    matrix.show(run)
    sharing.show(run, digits, accuracies)
    translation.show(run, some[2, 0])
    invariance.show(run, changes)
    fields.show(run, seen)
    geometry.show(run)


def load(run: Run[Config]) -> mnist.Digits:
    """Digits of the data folder when it has MNIST, else the embedded ones.

    Raises:
        DataError: they are damaged, or a class is missing.
        UserError: they are fewer than those wanted.
    """
    there = run.data_dir is not None and bool(mnist.find(run.data_dir))
    digits = mnist.load(run.data_dir if there else None)
    mnist.check_classes(digits)
    if run.config.digits > len(digits.train_labels):
        raise UserError(f"{run.config.digits:,} digits wanted, but there are {len(digits.train_labels):,}")
    run.uses("mnist", digits.source, digits.digest)
    return digits


def pictures_of(run: Run[Config], digits: mnist.Digits) -> tuple[np.ndarray, str]:
    """Three pictures for the filters, float64, N x H x W, 0 black to 1 white, and what they are."""
    if run.data_dir is not None and cifar10.find(run.data_dir) is not None:
        found = cifar10.load(run.data_dir)
        run.uses("cifar10", found.source, found.digest)
        chosen = [int(np.flatnonzero(found.test_labels == label)[0]) for label in (0, 7, 8)]
        names = ", ".join(found.names[found.test_labels[i]] for i in chosen)
        return np.einsum("nchw,c->nhw", found.test_images[chosen] / 255.0, GREY), f"pictures of CIFAR-10 ({names})"
    chosen = [int(np.flatnonzero(digits.test_labels == label)[0]) for label in (2, 5, 8)]
    return 1 - digits.test_images[chosen] / 255.0, "three digits"


def explain(run: Run[Config]) -> None:
    """The question."""
    run.report.section("Question")
    run.report.text(
        """A picture of 28 x 28 pixels that is fully connected to as many units takes 614,656 weights, and one of twelve
        million pixels, a camera's, 144 million million: 576 terabytes. Nets that see get by with nine at a time: the
        same few weights everywhere. What exactly is this operation, what does it assume about pictures, and what
        follows from that? Each section states something, shows it, and measures it on the engine that the nets here are
        made of."""
    )


ZERO = {"smoke": 0.0, "demo": 0.0, "full": 0.0}
EXACT = {"smoke": 1e-12, "demo": 1e-12, "full": 1e-12}

EXPERIMENT = Experiment(
    name="convolution",
    title="Convolution: a tour with everything measured",
    profiles={
        "smoke": Config(flip_epochs=3, seeds=1, digits=100, test_digits=50, epochs=1),
        "demo": Config(),
        "full": Config(digits=2000, seeds=5),
    },
    claims=(
        Claim("equivariance_error", "<=", EXACT, "Moving a picture moves its feature maps by as much."),
        Claim("interior_error", "<=", EXACT, "With zeros around the picture it does so away from the rim."),
        Claim("stride_equivariance_error", "<=", EXACT, "With stride 2, moving by 2 pixels moves the map by one."),
        Claim("toeplitz_error", "<=", EXACT, "A convolution is the product with its Toeplitz matrix."),
        Claim("transpose_error", "<=", EXACT, "Its gradient by the picture is the product with the transpose."),
        Claim("sharing_error", "<=", EXACT, "The gradient of a shared weight is the sum of those of its copies."),
        Claim("flip_error", "<=", EXACT, "Convolution is cross-correlation with the kernel turned by 180°."),
        Claim("commute_error", "<=", EXACT, "Convolution commutes."),
        Claim(
            "learnt_kernel_error",
            "<=",
            {"demo": 1e-6, "full": 1e-6},
            "A layer of cross-correlation learns the turned kernel of a convolution.",
        ),
        Claim("global_pooling_error", "<=", EXACT, "The greatest answer of a whole map does not change at all."),
        Claim("pooling_change_ratio", "<=", {"demo": 0.8, "full": 0.8}, "Pooled features change less in a small move."),
        Claim("field_mismatches", "==", ZERO, "Receptive fields are as large as the formula says."),
        Claim("size_mismatches", "==", ZERO, "Maps are as large as the formula says."),
        Claim(
            "gain_over_dense",
            ">=",
            {"demo": 0.5, "full": 0.5},
            "At places where none was learned, convolution reads more digits than a fully connected net.",
        ),
        Claim(
            "gain_over_local",
            ">=",
            {"demo": 0.5, "full": 0.5},
            "And more than a locally connected one, whose weights are not shared.",
        ),
    ),
    run=run,
)
