"""What a run of `svd_compression` found."""

from dataclasses import dataclass

from tinygrad_hw import nn

from .tracking import Loss, Watch
from .training import Training


@dataclass(frozen=True)
class Cut:
    """The net with every compressed weight cut to its leading singular triples.

    Attributes:
        label: D, or `full`.
        net: with two thin layers in place of each.
        accuracy: on the test digits.
    """

    label: str
    net: nn.Module
    accuracy: float


@dataclass(frozen=True)
class Rounded:
    """The net with weights of few values.

    Attributes:
        label: of the rounding.
        bits: that a weight takes.
        before: accuracy of the trained net, rounded.
        after: accuracy after training with the rounding.
    """

    label: str
    bits: float
    before: float
    after: float


@dataclass(frozen=True)
class Results:
    """Everything that the report shows.

    Attributes:
        net: in full, as trained.
        baseline: its training.
        cuts: for every D.
        factored: the training of the two factors.
        ste: the training through LAPACK's projection.
        subspace: the training through the projection that follows the subspace.
        exactly: by those two names, accuracy of the trained net cut by LAPACK.
        watch: the followed projection beside LAPACK's.
        excess: by how much the held projection of `ste` was worse than the best, at its worst, as a share of the norm.
        reseeded: how often a followed subspace was lost.
        trials: the short trainings by projection and derivative; `fading` is the identity with the dropped part fading.
        rounded: the nets with few bits.
        seconds: that a digit takes alone and among many, for the full net (`dense`) and every cut.
        lost: what became of a subspace that was turned away, without and with the check.
    """

    net: nn.Module
    baseline: Training
    cuts: list[Cut]
    factored: Training
    ste: Training
    subspace: Training
    exactly: dict[str, float]
    watch: Watch
    excess: float
    reseeded: int
    trials: dict[tuple[str, str], Training]
    rounded: list[Rounded]
    seconds: dict[str, tuple[float, float]]
    lost: dict[bool, Loss]
