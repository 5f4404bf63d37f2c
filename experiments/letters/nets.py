"""The nets that read letters: the starter pack's, and one built of techniques that can each be left out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from experiments.data.notmnist import CLASSES, SIDE
from tinygrad_hw import nn
from tinygrad_hw.random import Stream

TECHNIQUES = {  # of one net
    "convolution": "convolution",
    "batch_norm": "batch normalisation",
    "dropout": "dropout",
    "augmentation": "augmentation",
    "schedule": "learning-rate schedule",
}
ENSEMBLES = {"plain": "ensemble_alone", "better": "ensemble"}  # made of several nets of a recipe, and called so


@dataclass(frozen=True)
class Recipe:
    """What a net is made of and how it is trained.

    Attributes:
        starter: sigmoid units and plain gradient descent instead of rectified units and Adam.
        convolution, batch_norm, dropout, augmentation, schedule: the techniques; all False is the plain net.
    """

    starter: bool = False
    convolution: bool = False
    batch_norm: bool = False
    dropout: bool = False
    augmentation: bool = False
    schedule: bool = False


WATCHED = ("starter", "plain", "better")  # read the validation letters after every epoch, for curves
BETTER = Recipe(**dict.fromkeys(TECHNIQUES, True))
RECIPES: dict[str, Recipe] = {
    "starter": Recipe(starter=True),
    "plain": Recipe(),
    **{f"{name}_alone": replace(Recipe(), **{name: True}) for name in TECHNIQUES},
    **{f"without_{name}": replace(BETTER, **{name: False}) for name in TECHNIQUES},
    "better": BETTER,
}


@dataclass(frozen=True)
class Sizes:
    """Widths of the nets.

    Attributes:
        dense: units of both hidden layers of nets without convolution.
        channels: of the first and of the second pair of convolutions.
        hidden: units between the convolutions and the output.
        dropout: shares left out: of feature maps after each pooling, of units before the output.
    """

    dense: int
    channels: Sequence[int]
    hidden: int
    dropout: Sequence[float]


def build(recipe: Recipe, sizes: Sizes, init: Stream, masks: Stream) -> nn.Sequential:
    """A net with its first weights.

    Args:
        recipe: what it is made of.
        sizes: how wide it is.
        init: of the first weights: normal after He and others (2015), uniform after Glorot and Bengio (2010) in the
            starter, biases zero.
        masks: of dropout.

    Returns:
        A net from N x 1 x 28 x 28 to N x 10, before the softmax.
    """
    layers = _convolutional(recipe, sizes, masks) if recipe.convolution else _dense(recipe, sizes, masks)
    for layer in layers:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            if recipe.starter:
                nn.init.xavier_uniform_(layer.weight, stream=init)
            else:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", stream=init)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


def _dense(recipe: Recipe, sizes: Sizes, masks: Stream) -> list[nn.Module]:
    """784-128-128-10."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs in (SIDE * SIDE, sizes.dense):
        layers += [
            *_units(recipe, nn.Linear(inputs, sizes.dense, bias=not recipe.batch_norm)),
            *_dropout(recipe, sizes.dropout[1], masks),
        ]
    return [*layers, nn.Linear(sizes.dense, CLASSES)]


def _convolutional(recipe: Recipe, sizes: Sizes, masks: Stream) -> list[nn.Module]:
    """Twice two convolutions of 3 x 3 and a pooling of 2 x 2, then 256 units, then the output."""
    layers: list[nn.Module] = []
    before, side = 1, SIDE
    for channels in sizes.channels:
        for inputs in (before, channels):
            layers += _units(recipe, nn.Conv2d(inputs, channels, 3, padding=1, bias=not recipe.batch_norm))
        layers.append(nn.MaxPool2d(2))
        if recipe.dropout:
            layers.append(nn.Dropout2d(sizes.dropout[0], stream=masks))
        before, side = channels, side // 2
    layers += [nn.Flatten(), *_units(recipe, nn.Linear(before * side * side, sizes.hidden, bias=not recipe.batch_norm))]
    return [*layers, *_dropout(recipe, sizes.dropout[1], masks), nn.Linear(sizes.hidden, CLASSES)]


def _units(recipe: Recipe, layer: nn.Linear | nn.Conv2d) -> list[nn.Module]:
    """A layer with what follows it; batch normalisation brings the bias."""
    units: list[nn.Module] = [layer, nn.Sigmoid() if recipe.starter else nn.ReLU()]
    if recipe.batch_norm:
        features = len(layer.weight)
        units.insert(1, nn.BatchNorm2d(features) if isinstance(layer, nn.Conv2d) else nn.BatchNorm1d(features))
    return units


def _dropout(recipe: Recipe, share: float, masks: Stream) -> list[nn.Module]:
    return [nn.Dropout(share, stream=masks)] if recipe.dropout else []
