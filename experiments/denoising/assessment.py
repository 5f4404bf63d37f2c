"""How good a net's masks are: signal-to-noise ratios of what librosa's inverse transform makes of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

import tinygrad_hw as tg
from experiments.audio import masks, measures
from experiments.audio.transform import Transform
from experiments.data.audio.mixing import Example
from tinygrad_hw import functional as F
from tinygrad_hw.backend import to_device, to_numpy

from .nets import Denoiser


class Masker:
    """Soft masks of a net for the next frames of a mixture, whose state it keeps from call to call.

    What `experiments.audio.stream.MaskingStream` wants; called once with all frames it is the offline result.

    Args:
        net: in evaluation mode from here on.
        device: where it is.
        binary: give 1 where the mask is above one half, else 0.
    """

    def __init__(self, net: Denoiser, device: str, *, binary: bool = False) -> None:
        self._net, self._device, self._binary = net.eval(), device, binary
        self._state = None

    def __call__(self, mixture: np.ndarray) -> np.ndarray:
        """A mask for a spectrum, bins x frames both; float32."""
        magnitudes = np.ascontiguousarray(np.abs(mixture).T[:, None], np.float32)
        with tg.no_grad():
            logits, self._state = self._net(to_device(magnitudes, self._device), self._state)
            mask = logits.data > 0 if self._binary else F.sigmoid(logits).data
        return np.asarray(to_numpy(mask)[:, 0].T, np.float32)


def binarised(mask: np.ndarray) -> np.ndarray:
    """1 where a soft mask is above one half, else 0."""
    return (mask > 0.5).astype(mask.dtype)


@dataclass(frozen=True, eq=False)
class Recovered:
    """One mixture with what was made of it.

    Attributes:
        mixture: its spectrum, bins x frames.
        masks: soft, bins x frames, by net.
        signals: recovered ones by `NET` (binary mask) and `NET_soft`.
    """

    mixture: np.ndarray
    masks: Mapping[str, np.ndarray]
    signals: Mapping[str, np.ndarray]


def recover(nets: Mapping[str, Denoiser], mixture: np.ndarray, transform: Transform, device: str) -> Recovered:
    """Masks a whole mixture with each net."""
    spectrum = transform.analyse(mixture)
    soft = {name: Masker(net, device)(spectrum) for name, net in nets.items()}
    signals = {}
    for name, mask in soft.items():
        for key, shown in ((name, binarised(mask)), (f"{name}_soft", mask)):
            signals[key] = transform.synthesise(masks.apply(shown, spectrum), len(mixture))
    return Recovered(spectrum, soft, signals)


def ideal(example: Example, transform: Transform) -> tuple[np.ndarray, np.ndarray]:
    """The ideal binary mask of a mixture, and the signal that it recovers."""
    assert example.speech is not None and example.noise is not None
    mask = masks.ideal_binary(transform.analyse(example.speech), transform.analyse(example.noise))
    return mask, transform.synthesise(masks.apply(mask, transform.analyse(example.mixture)), len(example))


@dataclass(frozen=True, eq=False)
class Scores:
    """What was measured on some examples.

    Attributes:
        examples: in order.
        snr: dB, one number each, by what was done: `mixture` (nothing), `ideal`, and of each net as in `Recovered`.
        level: of the signal recovered by the last net's soft mask, dB of full scale.
        clipped: the greatest share of samples at full scale in such a signal.
        shift: the greatest lag behind the speech, samples.
    """

    examples: Sequence[Example]
    snr: Mapping[str, np.ndarray]
    level: np.ndarray
    clipped: float
    shift: int

    def means(self) -> dict[str, float]:
        """Of each ratio over the examples."""
        return {name: float(values.mean()) for name, values in self.snr.items()}

    def by(self, attribute: str) -> dict[str, dict[str, float]]:
        """Means for each value of an example's attribute, `kind` or `speaker`."""
        labels = np.array([getattr(example, attribute) for example in self.examples])
        return {
            str(label): {name: float(values[labels == label].mean()) for name, values in self.snr.items()}
            for label in np.unique(labels)
        }


def assess(nets: Mapping[str, Denoiser], examples: Sequence[Example], transform: Transform, device: str) -> Scores:
    """Recovers examples whose sources are known."""
    ratios: dict[str, list[float]] = {}
    heard = []
    for example in examples:
        assert example.speech is not None
        signals = {"mixture": example.mixture, "ideal": ideal(example, transform)[1]}
        signals |= recover(nets, example.mixture, transform, device).signals
        for name, signal in signals.items():
            ratios.setdefault(name, []).append(float(measures.snr(example.speech, signal)))
        heard.append(measures.hear(example.speech, list(signals.values())[-1]))
    return Scores(
        examples,
        {name: np.array(values) for name, values in ratios.items()},
        np.array([each.level for each in heard]),
        max(each.clipped for each in heard),
        max((each.shift for each in heard), key=abs),
    )


def recovered_signals(
    net: Denoiser, examples: Sequence[Example], transform: Transform, device: str
) -> Iterator[tuple[str, np.ndarray]]:
    """Name and signal of each mixture under the soft mask, one after the other."""
    for example in examples:
        yield example.name, recover({"net": net}, example.mixture, transform, device).signals["net_soft"]
