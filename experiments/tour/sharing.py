"""Does sharing weights help to learn? Digits learned at one place are to be read at another one."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import tinygrad_hw as tg
from experiments.data import mnist
from experiments.harness import Run
from experiments.harness.seeds import spread
from experiments.vision import pictures
from tinygrad_hw import functional as F
from tinygrad_hw import nn, optim
from tinygrad_hw.backend import to_device, to_numpy
from tinygrad_hw.random import Stream

if TYPE_CHECKING:
    from experiments.convolution import Config

NAMES = {"dense": "fully connected", "local": "locally connected", "shared": "convolution"}
SIDE = 64  # of the pictures that digits are put into
HERE, STEPS, AWAY = 4, 6, 12  # digits begin at pixel 4 to 9 both ways, or 12 further
CHANNELS, KERNELS, STRIDES = (16, 32), (7, 5), (3, 2)
DENSE = (256, 64)  # units of the fully connected net


class LocallyConnected(nn.Module):
    """A convolution that does not share: every place has kernels of its own.

    Args:
        channels: of the pictures that come in.
        outputs: channels of those that go out.
        side: of the pictures that come in.
        kernel, stride: as in a convolution.
        stream: of the first weights.

    Attributes:
        weight: places x pixels of a patch x outputs.
    """

    def __init__(self, channels: int, outputs: int, side: int, kernel: int, stride: int, stream: Stream) -> None:
        super().__init__()
        self._kernel, self._stride, self.places = kernel, stride, (side - kernel) // stride + 1
        inputs = channels * kernel**2
        self.weight = nn.Parameter(np.zeros((self.places**2, inputs, outputs), np.float32))
        nn.init.normal_(self.weight, std=(2 / inputs) ** 0.5, stream=stream)
        self.bias = nn.Parameter(np.zeros((outputs, self.places, self.places), np.float32))

    def forward(self, x: Any) -> Any:
        """N x channels x side x side -> N x outputs x places x places."""
        patches = F.unfold(x, self._kernel, stride=self._stride)  # N x pixels of a patch x all places
        answers = F.matmul(F.permute(patches, (2, 0, 1)), self.weight)  # all places x N x outputs
        return F.permute(answers, (1, 2, 0)).reshape(len(x), -1, self.places, self.places) + self.bias


class GreatestOfAll(nn.Module):
    """The greatest entry of each map: N x C x H x W -> N x C."""

    def forward(self, x: Any) -> Any:
        return x.max(axis=(2, 3))


def build(kind: str, stream: Stream) -> nn.Sequential:
    """From N x 1 x 64 x 64 to N x 10."""
    layers: list[nn.Module] = []
    if kind == "dense":
        layers.append(nn.Flatten())
        for inputs, outputs in zip((SIDE**2, *DENSE), DENSE, strict=False):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        layers.append(nn.Linear(DENSE[-1], mnist.CLASSES))
    else:
        side = SIDE
        for inputs, outputs, kernel, stride in zip((1, *CHANNELS), CHANNELS, KERNELS, STRIDES, strict=False):
            if kind == "shared":
                layers += [nn.Conv2d(inputs, outputs, kernel, stride=stride), nn.ReLU()]
            else:
                layers += [LocallyConnected(inputs, outputs, side, kernel, stride, stream), nn.ReLU()]
            side = (side - kernel) // stride + 1
        layers += [GreatestOfAll(), nn.Linear(CHANNELS[-1], mnist.CLASSES)]
    for layer in layers:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", stream=stream)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


def weights_of(kind: str) -> int:
    """Of a whole net, without biases."""
    net = build(kind, Stream(0, "counting"))
    return sum(p.size for name, p in net.named_parameters() if name.endswith("weight"))


@dataclass(frozen=True)
class Digits:
    """Pictures float32 N x 1 x 64 x 64, 0 to 1, and labels; test digits twice: here, as in training, and away."""

    images: np.ndarray
    labels: np.ndarray
    here: np.ndarray
    away: np.ndarray
    test_labels: np.ndarray


def put(digits: np.ndarray, stream: Stream, away: int = 0) -> np.ndarray:
    """Digits (uint8, N x 28 x 28) put into larger pictures at random places, `away` pixels further both ways."""
    pictures = np.zeros((len(digits), 1, SIDE, SIDE), np.float32)
    places = stream.integers(HERE + away, HERE + away + STEPS, (len(digits), 2))
    for picture, digit, (top, left) in zip(pictures, digits, places, strict=True):
        picture[0, top : top + mnist.SIDE, left : left + mnist.SIDE] = digit / 255
    return pictures


def digits_of(run: "Run[Config]", loaded: mnist.Digits, seed: int) -> Digits:
    """Training digits drawn by the seed, and test digits, evenly taken."""
    chosen = run.stream(f"digits {seed}").permutation(len(loaded.train_labels))[: run.config.digits]
    count = min(len(loaded.test_labels), run.config.test_digits)
    test = np.linspace(0, len(loaded.test_labels) - 1, count).round().astype(np.int64)
    here, away = (put(loaded.test_images[test], run.stream("test places"), moved) for moved in (0, AWAY))
    images = put(loaded.train_images[chosen], run.stream(f"places {seed}"))
    return Digits(images, loaded.train_labels[chosen], here, away, loaded.test_labels[test])


def accuracy(net: nn.Sequential, images: np.ndarray, labels: np.ndarray, device: str) -> float:
    """Share of right answers."""
    with tg.no_grad():
        pieces = [net(tg.Tensor(to_device(images[i : i + 500], device))) for i in range(0, len(images), 500)]
    return float((np.concatenate([to_numpy(piece.data).argmax(axis=1) for piece in pieces]) == labels).mean())


Accuracies = dict[str, dict[str, np.ndarray]]


def learn(run: "Run[Config]", kind: str, seed: int, digits: Digits) -> tuple[float, float]:
    """Trains one net; its accuracy on the test digits here, and away."""
    config = run.config
    net = build(kind, run.stream(f"sharing init {seed}")).to(device=run.device)
    optimizer = optim.Adam(net.parameters(), lr=config.learning_rate)
    examples, track = len(digits.labels), {"net": net, "optimizer": optimizer}
    for step in run.loop(f"{kind}-seed{seed}", track, epochs=config.epochs, examples=examples, batch=config.batch):
        images, labels = (to_device(part[step.indices], run.device) for part in (digits.images, digits.labels))
        loss = F.cross_entropy(net(tg.Tensor(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step.mean(loss=float(loss.item()))
    here, away = (accuracy(net, images, digits.test_labels, run.device) for images in (digits.here, digits.away))
    return here, away


def measure(run: "Run[Config]", loaded: mnist.Digits) -> Accuracies:
    """Trains every net with every seed; accuracies by net and by where the test digits are, one for each seed."""
    drawn = [digits_of(run, loaded, seed) for seed in range(run.config.seeds)]
    found = {}
    for kind in NAMES:
        rows = np.array([learn(run, kind, seed, digits) for seed, digits in enumerate(drawn)])
        found[kind] = {"here": rows[:, 0], "away": rows[:, 1]}
        run.metric(**{f"{kind}_{place}_accuracy": values.mean() for place, values in found[kind].items()})
    for other in ("dense", "local"):
        run.metric(**{f"gain_over_{other}": (found["shared"]["away"] - found[other]["away"]).mean()})
    return found


def show(run: "Run[Config]", loaded: mnist.Digits, found: Accuracies) -> None:
    """What is to be learned, a table, and what came out."""
    config, report, metrics = run.config, run.report, run.metrics
    report.section("What sharing is worth")
    report.text(
        rf"""Sharing is a statement about pictures: what is worth looking for at one place is worth looking for at all
        of them. To see what it is worth, digits are put into larger pictures: for training near the upper left corner,
        for testing there, too, and once more {AWAY} pixels further down and to the right, where no net has ever seen
        one. Three nets learn from the same {config.digits:,} digits. One is fully connected
        ({SIDE**2}-{DENSE[0]}-{DENSE[1]}-10). The other two have kernels of {KERNELS[0]} x {KERNELS[0]}, then
        {KERNELS[1]} x {KERNELS[1]}, with strides {STRIDES[0]} and {STRIDES[1]} and {CHANNELS[0]} and {CHANNELS[1]}
        channels, take the greatest entry of each map, and read the digit from these {CHANNELS[1]} numbers. One of them
        has weights of its own for each place, the other one shares."""
    )
    digits = digits_of(run, loaded, 0)
    some = [int(np.flatnonzero(digits.test_labels == label)[0]) for label in range(1, 7)]
    shown = np.concatenate([digits.here[some], digits.away[some]])
    titles = [*("here",) * 6, *("away",) * 6]
    report.figure(
        "places",
        pictures.grid(1 - shown, titles, columns=12),
        caption="Test digits where digits were learned from, and the same ones where none was.",
        alt="Six digits in the upper left of their pictures, and the same six digits further down and to the right",
        raster=True,
    )
    rows = []
    for kind, label in NAMES.items():
        over_seeds = [spread(values) for values in found[kind].values()]
        rows.append((label, weights_of(kind), *(f"{100 * s.mean:.1f} ± {100 * s.spread:.1f} %" for s in over_seeds)))
    report.table(
        ("Net", "Weights", "Right, here", "Right, away"),
        rows,
        caption=f"""Right answers on {len(digits.test_labels):,} test digits: mean ± sample standard deviation over
        {config.seeds} seeds, each with training digits and first weights of its own; guessing gets 10 %.""",
    )
    lost = 100 * (metrics["shared_here_accuracy"] - metrics["shared_away_accuracy"])
    report.text(
        f"""The weights of full and of local connections at the other place have never learned anything; those of
        convolution are the same everywhere. There convolution reads {100 * metrics["gain_over_dense"]:.0f} points more
        than full and {100 * metrics["gain_over_local"]:.0f} points more than local connections, and loses {lost:.1f}
        points against the place that it learned from: its kernels are the same everywhere, and the greatest entry of a
        map does not say where it was."""
    )
