"""Figures about nets that see: pictures in rows, filters, feature maps, confusion matrix, most confident mistakes.

Pictures are N x C x H x W with values from 0 (black) to 1 (white), of one channel (grey) or three (red, green, blue).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.harness import figures


def grid(images: np.ndarray, titles: Sequence[str], columns: int, *, inch: float = 0.95) -> Figure:
    """Pictures in rows, each under its title.

    Args:
        images: N x C x H x W from 0 to 1.
        titles: N; lines are broken at newlines.
        columns: pictures in a row.
        inch: width of a picture with its margin.
    """
    rows = max(1, -(-len(images) // columns))
    lines = max((title.count("\n") + 1 for title in titles if title), default=0)
    figure, axes = figures.new(rows, columns, width=inch * columns, height=(inch + 0.17 * lines) * rows, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, title in zip(axes.flat, images, titles, strict=False):
        show(axis, image)
        axis.set_title(title, fontsize=8)
    return figure


def filters(weights: np.ndarray, columns: int = 10) -> Figure:
    """The kernels of a first layer, one scale for all.

    Args:
        weights: O x C x K x K. With three channels each kernel is a colour picture in which zero is grey; with one, red
            stands for positive and blue for negative.
        columns: kernels in a row.
    """
    count, channels = weights.shape[:2]
    columns = min(columns, count)
    rows, limit = -(-count // columns), np.abs(weights).max() or 1.0
    figure, axes = figures.new(rows, columns, width=0.95 * columns, height=1.12 * rows, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for number, (axis, kernel) in enumerate(zip(axes.flat, weights, strict=False), 1):
        if channels == 3:
            show(axis, kernel / (2 * limit) + 0.5)
        else:
            axis.imshow(kernel[0], cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        axis.set_title(str(number), fontsize=8)
    return figure


def feature_maps(images: np.ndarray, maps: np.ndarray) -> Figure:
    """What each filter answers to each picture: a row a picture, the picture itself first.

    Args:
        images: N x C x H x W from 0 to 1.
        maps: N x O x H' x W', not negative (after the rectifier); every filter is scaled to its own greatest answer.
    """
    count, filters = maps.shape[:2]
    figure, axes = figures.new(count, filters + 1, width=0.85 * (filters + 1), height=0.88 * count + 0.2, squeeze=False)
    limits = np.maximum(maps.max(axis=(0, 2, 3)), np.finfo(np.float32).tiny)
    for row, image, answers in zip(axes, images, maps, strict=True):
        show(row[0], image)
        for axis, answer, limit in zip(row[1:], answers, limits, strict=True):
            axis.imshow(answer, cmap="magma", vmin=0, vmax=limit, interpolation="nearest")
    for axis in axes.flat:
        axis.axis("off")
    for number, axis in enumerate(axes[0]):
        axis.set_title(str(number) if number else "picture", fontsize=8)
    return figure


def confusion(labels: np.ndarray, answers: np.ndarray, classes: int) -> np.ndarray:
    """How often each class (row) was given each answer (column): int64, classes x classes."""
    return np.bincount(labels * classes + answers, minlength=classes * classes).reshape(classes, classes)


def confusion_matrix(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """A matrix of `confusion` as percent of each row.

    Args:
        counts: C x C, rows the true classes; a row of zeros stays empty.
        names: of the C classes.
    """
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 0.52 * len(names)
    figure, axes = figures.new(width=size + 2.2, height=size + 1.4)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    axes.grid(False)
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.5:
            colour = "white" if share > 55 else "black"
            axes.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=8, color=colour)
    axes.set(xticks=range(len(names)), yticks=range(len(names)), xlabel="answer", ylabel="class")
    axes.set_xticklabels(names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticklabels(names)
    return figure


def confident_mistakes(labels: np.ndarray, probabilities: np.ndarray, count: int) -> np.ndarray:
    """Indices of the wrong answers that are given with the greatest probability, the most confident first.

    Args:
        labels: N, the true classes.
        probabilities: N x C; an answer is the class with the greatest one.
        count: how many at most.
    """
    answers = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(answers != labels)
    return wrong[np.argsort(-probabilities[wrong, answers[wrong]], kind="stable")][:count]


def mistakes(
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    names: Sequence[str],
    *,
    count: int = 16,
    columns: int = 8,
) -> Figure | None:
    """The most confident mistakes as pictures, each under `class as answer` and the probability; None without mistakes.

    Args:
        images: N x C x H x W from 0 to 1.
        labels, probabilities: as in `confident_mistakes`.
        names: of the classes.
        count, columns: pictures in all and in a row.
    """
    worst = confident_mistakes(labels, probabilities, count)
    if not worst.size:
        return None
    answers = probabilities.argmax(axis=1)
    titles = [f"{names[labels[i]]}\nas {names[answers[i]]}\n{probabilities[i, answers[i]]:.0%}" for i in worst]
    return grid(images[worst], titles, columns, inch=1.1)


def show(axis: Any, image: np.ndarray) -> None:
    """Draws one picture, C x H x W from 0 to 1, without interpolation and without axes."""
    axis.axis("off")
    shown = image.transpose(1, 2, 0) if len(image) == 3 else image[0]
    axis.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
