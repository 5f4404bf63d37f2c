"""How well songs are taken apart: BSS Eval's ratios of what masks recover, by `mir_eval`."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from mir_eval.separation import bss_eval_sources

from experiments.audio import masks, measures
from experiments.audio.transform import Transform
from experiments.data.audio.music import Track

from .excerpts import TINY
from .nets import Separator
from .training import MAIN, soft_mask

SOURCES = ("vocals", "accompaniment")


@dataclass(frozen=True)
class Ratios:
    """Of one recovered source, in dB (Vincent, Gribonval and Févotte 2006, IEEE Trans. ASLP 14, eq. 12 to 15).

    Attributes:
        sdr: of the source to all distortion.
        sir: of the source to what is left of the other source.
        sar: of both to what neither source explains, such as musical noise.
    """

    sdr: float
    sir: float
    sar: float


def bss_eval(references: np.ndarray, estimates: np.ndarray) -> list[Ratios]:
    """Ratios of each source, 2 x samples both; what a filter of 512 taps can make of a source counts as that source.

    Raises ValueError where a source or an estimate is silent: no ratio is defined then.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)  # the last version that has it is asked for
        sdr, sir, sar, _ = bss_eval_sources(
            references.astype(np.float64), estimates.astype(np.float64), compute_permutation=False
        )
    return [Ratios(*map(float, each)) for each in zip(sdr, sir, sar, strict=True)]


def both(track: Track) -> np.ndarray:
    """Vocals and accompaniment, 2 x samples."""
    return np.stack([track.vocals, track.accompaniment])


def taken_apart(mask: np.ndarray, mixture: np.ndarray, transform: Transform) -> np.ndarray:
    """Vocals by a mask on the mixture (samples), and accompaniment as what remains of it: 2 x samples."""
    vocals = transform.synthesise(masks.apply(mask, transform.analyse(mixture)), len(mixture))
    return np.stack([vocals, mixture - vocals])


def ideal_masks(track: Track, transform: Transform) -> dict[str, np.ndarray]:
    """The binary mask and the ratio mask of who knows the sources."""
    vocals, rest = transform.analyse(track.vocals), transform.analyse(track.accompaniment)
    return {"ideal_binary": masks.ideal_binary(vocals, rest), "ideal": masks.ideal_ratio(vocals, rest)}


def fixed_mask(tracks: Sequence[Track], transform: Transform) -> np.ndarray:
    """The best that an equaliser can do: of masks from 0 to 1 that are the same in every frame, the one with the least
    error in some songs, min(1, max(0, Σ Re(V X*) / Σ |X|²)), one number for each frequency.
    """
    shared, size = np.zeros((2, transform.bins))
    for track in tracks:
        mixture, vocals = transform.analyse(track.mixture), transform.analyse(track.vocals)
        shared += (vocals * mixture.conj()).real.sum(axis=1)
        size += (np.abs(mixture) ** 2).sum(axis=1)
    return np.asarray(np.clip(shared / (size + TINY), 0, 1), np.float32)


def can_be_judged(track: Track) -> bool:
    """Whether both sources can be heard."""
    return bool(track.vocals.any() and track.accompaniment.any())


@dataclass(frozen=True, eq=False)
class Scores:
    """What was measured on some songs.

    Attributes:
        tracks: in order.
        ratios: of vocals and accompaniment of each song, by what was done: `mixture` (nothing), `fixed` (an equaliser),
            `ideal_binary`, `ideal`, the name of each net, `NAME_restarted`: that net beginning anew with every piece.
        positions: signal-to-noise ratio of the vocals' spectrum in dB, over all songs, in the first, second ... frame
            of all pieces; by name likewise, nets alone.
        heard: how loud, clipped and shifted each source of each song is that the net to be heard recovers.
    """

    tracks: Sequence[Track]
    ratios: Mapping[str, Sequence[Sequence[Ratios]]]
    positions: Mapping[str, np.ndarray]
    heard: Sequence[measures.Heard]

    def of(self, name: str, ratio: str = "sdr", source: str = "vocals") -> np.ndarray:
        """One number for each song, dB."""
        place = SOURCES.index(source)
        return np.array([getattr(song[place], ratio) for song in self.ratios[name]])

    def gain(self, name: str, source: str = "vocals") -> np.ndarray:
        """By how much the ratio to all distortion exceeds the mixture's, one number for each song, dB."""
        return self.of(name, source=source) - self.of("mixture", source=source)


def assess(
    nets: Mapping[str, Separator],
    fixed: np.ndarray,
    tracks: Sequence[Track],
    piece: int,
    transform: Transform,
    device: str,
) -> Scores:
    """Takes songs apart with every net, state carried and beginning anew every `piece` frames, and with other masks.

    Args:
        nets: by name, that to be heard among them.
        fixed: a mask for all frames, see `fixed_mask`.
        tracks: songs with vocals and accompaniment.
        piece: frames.
        transform, device: see there.
    """
    found: dict[str, list[list[Ratios]]] = {}
    errors: dict[str, np.ndarray] = {}
    energy = np.full(piece, TINY)
    heard = []
    for track in tracks:
        spectrum, wanted = (transform.analyse(signal) for signal in (track.mixture, track.vocals))
        shown = {"fixed": np.broadcast_to(fixed[:, None], spectrum.shape), **ideal_masks(track, transform)}
        energy += by_position(wanted, piece)
        for name, net in nets.items():
            shown[name] = soft_mask(net, spectrum, device)
            shown[f"{name}_restarted"] = soft_mask(net, spectrum, device, piece)
            for key in (name, f"{name}_restarted"):
                error = by_position(masks.apply(shown[key], spectrum) - wanted, piece)
                errors[key] = errors.get(key, TINY) + error
        estimates = {"mixture": np.stack([track.mixture, track.mixture])}
        estimates |= {name: taken_apart(mask, track.mixture, transform) for name, mask in shown.items()}
        for name, signals in estimates.items():
            found.setdefault(name, []).append(bss_eval(both(track), signals))
        heard += [measures.hear(*pair) for pair in zip(both(track), estimates[MAIN], strict=True)]
    positions = {name: 10 * np.log10(energy / error) for name, error in errors.items()}
    return Scores(tracks, found, positions, heard)


def by_position(spectrum: np.ndarray, piece: int) -> np.ndarray:
    """Energy in the first, second ... frame of all pieces of a spectrum, bins x frames; piece numbers, float64."""
    energy = (np.abs(spectrum) ** 2).sum(axis=0, dtype=np.float64)
    return np.asarray(np.pad(energy, (0, -len(energy) % piece)).reshape(-1, piece).sum(axis=0))


def recovered(
    net: Separator, tracks: Sequence[Track], transform: Transform, device: str
) -> Iterator[tuple[str, np.ndarray]]:
    """Name and signal of each recovered source of each song, one after the other."""
    for track in tracks:
        mask = soft_mask(net, transform.analyse(track.mixture), device)
        for source, signal in zip(SOURCES, taken_apart(mask, track.mixture, transform), strict=True):
            yield f"{track.name} {source}", signal
