"""Figures of spectrograms and masks, side by side on the same axes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from experiments.audio.transform import Transform
from experiments.harness import figures

RANGE = 70.0  # dB below the loudest bin that are told apart


@dataclass(frozen=True)
class Panel:
    """One picture.

    Attributes:
        title: above it.
        values: bins x frames: a spectrum (complex), or a mask from 0 to 1 (real).
    """

    title: str
    values: np.ndarray


def spectrograms(panels: Sequence[Panel], rate: int, transform: Transform, columns: int = 2) -> Figure:
    """Spectra in dB below the loudest bin of all of them, and masks from 0 to 1, in rows.

    Args:
        panels: mixture, masks, recovered signal, for instance; of one shape.
        rate: samples a second.
        transform: sizes of the spectra.
        columns: panels in a row.

    Raises:
        ValueError: the panels' shapes differ.
    """
    shapes = {panel.values.shape for panel in panels}
    if len(shapes) != 1:
        raise ValueError(f"expected panels of one shape, got {sorted(shapes)}")
    ((bins, frames),) = shapes
    spectra = [np.abs(panel.values) for panel in panels if np.iscomplexobj(panel.values)]
    loudest = max((float(spectrum.max()) for spectrum in spectra), default=0.0) or 1.0
    rows = -(-len(panels) // columns)
    figure, axes = figures.new(
        rows, columns, width=3.9 * columns, height=2.3 * rows + 0.5, squeeze=False, sharex=True, sharey=True
    )
    hop = transform.hop / rate
    # the middle of frame t is at t hops, that of bin k at k / n_fft of the rate
    extent = (
        -hop / 2,
        (frames - 0.5) * hop,
        -0.5 * rate / transform.n_fft / 1e3,
        (bins - 0.5) * rate / transform.n_fft / 1e3,
    )
    drawn = {}
    for axis, panel in zip(axes.flat, panels, strict=False):
        sounds = np.iscomplexobj(panel.values)
        shown, (low, high), colours = panel.values, (0.0, 1.0), "viridis"
        if sounds:
            shown = 20 * np.log10(np.maximum(np.abs(panel.values) / loudest, 10 ** (-RANGE / 20)))
            (low, high), colours = (-RANGE, 0.0), "magma"
        drawn[sounds] = axis.imshow(
            shown,
            cmap=colours,
            vmin=low,
            vmax=high,
            extent=extent,
            origin="lower",
            aspect="auto",
            interpolation="nearest",
        )
        axis.set_title(panel.title)
        axis.grid(False)
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    for axis in axes[-1]:
        axis.set_xlabel("seconds")
    for axis in axes[:, 0]:
        axis.set_ylabel("kHz")
    for sounds, label in ((True, "dB of the loudest bin"), (False, "mask")):
        if sounds in drawn:
            figure.colorbar(drawn[sounds], ax=axes, label=label, shrink=0.9, aspect=30, pad=0.02)
    return figure
