"""What pooling adds to equivariance: answers that change little when the picture moves, or not at all."""

from typing import TYPE_CHECKING

import numpy as np

from experiments.harness import Run, figures
from experiments.harness.report import short
from tinygrad_hw import functional as F
from tinygrad_hw.backend import Array, to_device, to_numpy

from .filters import EDGES
from .translation import moved, on_a_torus

if TYPE_CHECKING:
    from experiments.convolution import Config

MOST = 8  # pixels that pictures are moved by
Changes = dict[int, np.ndarray]


def measure(run: "Run[Config]", pictures: np.ndarray) -> Changes:
    """How much features of pictures (N x 1 x H x W, float64) change when they move.

    Returns:
        By window of max pooling (1 is none, H all): the change for 0 to MOST pixels, relative to the features, mean
        over the pictures and over moving down and to the right.
    """
    x, kernels, side = to_device(pictures, run.device), to_device(EDGES, run.device), pictures.shape[-1]
    features = [
        [F.relu(on_a_torus(moved(x, *way), kernels)) for way in ((shift, 0), (0, shift))] for shift in range(MOST + 1)
    ]
    changes = {}
    for window in (*(size for size in (1, 2, 4, 8) if size < side), side):
        still = F.max_pool2d(features[0][0], window)
        moving = [[_norms(F.max_pool2d(way, window) - still) for way in ways] for ways in features]
        changes[window] = np.mean(np.array(moving) / _norms(still), axis=(1, 2))
    run.metric(pooling_change_ratio=changes[4][1] / changes[1][1], global_pooling_error=changes[side].max())
    return changes


def _norms(features: Array) -> np.ndarray:
    return np.sqrt(to_numpy((features * features).sum(axis=(1, 2, 3))))


def show(run: "Run[Config]", changes: Changes) -> None:
    """Change against distance, a curve for each window."""
    report, found = run.report, run.metrics
    report.section("What pooling adds")
    report.text(
        r"""Equivariance keeps track of where things are; to say what is there, a net must forget it again. Max pooling
        keeps the greatest answer of each window. As long as that stays within its window, a picture may move and
        nothing changes: invariance, a little more with every pooling. Over the whole map it is complete, since
        the greatest entry of a map that moves stays the greatest:"""
    )
    report.formula(r"\max_i f(g(x))_i = \max_i g(f(x))_i = \max_i f(x)_i")
    figure, axis = figures.new(width=9.0, height=3.6)
    labels = {1: "no pooling", max(changes): "the whole map"}
    for window, change in changes.items():
        axis.plot(np.arange(len(change)), change, marker=".", label=labels.get(window, f"{window} x {window}"))
    axis.set(xlabel="pixels that the picture moves by", ylabel="relative change of the features", ylim=(-0.03, None))
    axis.legend(title="max pooling over", loc="center left", bbox_to_anchor=(1.0, 0.5))
    report.figure(
        "invariance",
        figure,
        caption="""How much rectified edge maps change when their picture moves, after max pooling with windows of
        several sizes: distance between the features before and after, over their length; mean over pictures.""",
        alt="Curves of the change of features by distance moved, one for each size of window",
    )
    report.text(
        f"""A shift by one pixel changes features pooled over 4 x 4 by {found["pooling_change_ratio"]:.0%} of what it
        changes them without pooling. Pooled over the whole map they do not change
        ({short(found["global_pooling_error"])}). Pooling pays with the place: nets pool in small steps, and keep by
        more channels what they lose by fewer places."""
    )
