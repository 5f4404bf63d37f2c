"""What the net hears of a sound, and the net."""

import numpy as np

from experiments.audio.features import log_mel
from experiments.audio.transform import Transform
from tinygrad_hw import nn
from tinygrad_hw.random import Stream

BANDS = 40
WINDOW, HOP = 0.032, 0.020  # seconds
FLOOR = 1e-6  # of power, far below what a microphone takes up when nobody speaks


def heard(sounds: np.ndarray, rate: int) -> np.ndarray:
    """The log-mel spectrum, N x samples to float32 N x 1 x 40 bands x frames."""
    transform = Transform(round(WINDOW * rate), round(HOP * rate))
    return log_mel(sounds, rate, transform=transform, bands=BANDS, floor=FLOOR)[:, None].astype(np.float32)


def masked(spectra: np.ndarray, widest: tuple[int, int], stream: Stream) -> np.ndarray:
    """Log-mel spectra, each with a stripe of bands and a stripe of frames hidden behind its mean.

    (Park and others 2019, "SpecAugment", Interspeech, section 2, with one stripe of each kind.)

    Args:
        spectra: N x 1 x bands x frames.
        widest: bands and frames that are hidden, at most; 0 for none.
        stream: of widths and places.
    """
    drawn = stream.uniform((2, 2, len(spectra), 1, 1, 1), dtype=np.float64)
    hidden = np.zeros(spectra.shape, bool)
    for axis, most, (width, place) in zip((2, 3), widest, drawn, strict=True):
        size = spectra.shape[axis]
        wide = np.floor(width * (most + 1))
        first = np.floor(place * (size - wide + 1))
        at = np.arange(size).reshape((-1, 1) if axis == 2 else (1, -1))
        hidden |= (first <= at) & (at < first + wide)
    return np.where(hidden, spectra.mean(axis=(1, 2, 3), keepdims=True), spectra)


def frames(samples: int, rate: int) -> int:
    """Frames of a sound."""
    return Transform(round(WINDOW * rate), round(HOP * rate)).frames(samples)


def build(
    classes: int, width: int, channels: tuple[int, int], hidden: int, dropout: float, init: Stream, masks: Stream
) -> nn.Sequential:
    """Two convolutions, each pooled, a narrow linear layer, a wide one, and the classes.

    After Sainath and Parada (2015), "Convolutional neural networks for small-footprint keyword spotting", Interspeech,
    `cnn-trad-fpool3`: a first kernel that is long in time and spans a few bands, pooling by three along the bands, a
    second, smaller convolution, then a linear layer of low rank before the wide one. Smaller here, pooled in time as
    well, and with batch normalisation (also of the input) and dropout, since there are far fewer clips.

    Args:
        classes: how many.
        width: frames of a sound.
        channels: of both convolutions.
        hidden: units of the wide layer.
        dropout: share of feature maps and of wide units left out.
        init: of the first weights, after He and others (2015).
        masks: of dropout.
    """
    layers: list[nn.Module] = [nn.BatchNorm2d(1)]
    before, sides = 1, [BANDS, width]
    for count, kernel, pool in zip(channels, ((8, 9), (4, 5)), ((3, 2), (2, 2)), strict=True):
        layers += [
            nn.Conv2d(before, count, kernel, bias=False),
            nn.BatchNorm2d(count),
            nn.ReLU(),
            nn.MaxPool2d(pool),
            nn.Dropout2d(dropout / 2, stream=masks),
        ]
        sides = [(side - k + 1) // p for side, k, p in zip(sides, kernel, pool, strict=True)]
        before = count
    layers += [
        nn.Flatten(),
        nn.Linear(before * sides[0] * sides[1], 32),
        nn.Linear(32, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Dropout(dropout, stream=masks),
        nn.Linear(hidden, classes),
    ]
    for layer in layers:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", stream=init)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)
