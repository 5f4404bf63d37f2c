"""Music with its sources for separation: DSD100, folders of stems, or synthetic songs.

DSD100: `Mixtures/Dev/SONG/mixture.wav` and `Sources/Dev/SONG/{bass,drums,other,vocals}.wav`, likewise `Test`.
Stems: `music_stems/SONG/mixture.flac` beside `vocals` and `accompaniment`, or beside `vocals` and others.

Source: A. Liutkus et al., "The 2016 signal separation evaluation campaign", LVA/ICA 2017.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from tinygrad_hw.random import Stream

from ..errors import DataError
from . import songs, sound
from .corpus import SUFFIXES
from .ledger import Ledger, digest
from .mixing import PARTS, SHARES
from .voice import RATE

FOLDER = "DSD100"
FOLDERS = (FOLDER, "dsd100", "DSD100subset", ".")
STEMS = ("music_stems", "stems", ".")
DEFAULTS = (8, 2, 2)  # synthetic songs for training, validation, test
HELD_OUT = 0.2  # of Dev, for validation
MOST_AWAY = -40.0  # dB: what the sum of the sources may miss of the mixture
LAYOUT = "DSD100/Mixtures/Dev or music_stems/SONG/mixture.flac"


@dataclass(frozen=True, eq=False)
class Track:
    """A song, or a stretch of one.

    Attributes:
        name: of the song.
        mixture: float32, N.
        sources: float32, N each, by name; `vocals` is always among them. Their sum is the mixture.
    """

    name: str
    mixture: np.ndarray
    sources: dict[str, np.ndarray]

    @property
    def vocals(self) -> np.ndarray:
        """What is sung."""
        return self.sources["vocals"]

    @property
    def accompaniment(self) -> np.ndarray:
        """Everything else: the sum of the other sources."""
        return added([samples for name, samples in self.sources.items() if name != "vocals"])


def added(sources: Sequence[np.ndarray]) -> np.ndarray:
    """The sum of some sources, float32."""
    return np.asarray(np.sum(np.stack(sources), axis=0, dtype=np.float32))


@dataclass(frozen=True, eq=False)
class Music:
    """Songs with their sources.

    Attributes:
        train, validation, test: see :class:`Track`.
        rate: samples a second.
        source: one line that says which data these are, what was done to them and what was left out.
        skipped: songs left out, `name: reason`.
    """

    train: tuple[Track, ...]
    validation: tuple[Track, ...]
    test: tuple[Track, ...]
    rate: int
    source: str
    skipped: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all samples and names."""
        items: list[object] = [self.rate]
        for part in (self.train, self.validation, self.test):
            for track in part:
                items += [track.name, track.mixture, *track.sources, *track.sources.values()]
        return digest(items)


def load(
    data_dir: Path | None,
    *,
    train: int = 0,
    validation: int = 0,
    test: int = 0,
    seconds: float = 20.0,
    seed: int = 0,
    rate: int = 16_000,
) -> Music:
    """Songs with their sources.

    DSD100: training and validation from Dev, test from Test. Stems: three songs or more are shared out; of fewer the
    first 60 % in time serve training, the next 20 % validation, the last 20 % test, and `source` says so.

    Args:
        data_dir: the data folder, DSD100 itself, or a folder of stems; None for synthetic songs.
        train, validation, test: how many songs at most; 0 for all, and for 8, 2 and 2 synthetic ones.
        seconds: how much of each song, from its middle; 0 for all of it (four minutes of a song of DSD100 with its
            sources are 77 MB at 16 kHz), and for 20 of synthetic ones. A song that is split in time is read whole.
        seed: of which songs go where; synthetic songs differ altogether.
        rate: samples a second.

    Raises:
        DataError: nothing to read, or not one song for each part; songs whose sources are missing, damaged, or do not
            add up to the mixture are left out and counted.
    """
    counts = (train, validation, test)
    if data_dir is None:
        return synthetic(counts, seconds, seed, rate)
    root = find(data_dir)
    if root is not None:
        return _dsd100(root, counts, seconds, seed, rate)
    folders = find_stems(data_dir)
    if not folders:
        raise DataError(data_dir, f"no music with its sources, expected {LAYOUT}")
    return _stems(folders, counts, seconds, seed, rate)


def synthetic(counts: Sequence[int] = DEFAULTS, seconds: float = 20.0, seed: int = 0, rate: int = 16_000) -> Music:
    """Songs of `songs`, none of them in two parts."""
    parts = []
    for part, count, default in zip(PARTS, counts, DEFAULTS, strict=True):
        tracks = []
        for number in range(count or default):
            name = f"{part}-{number:02d}"
            sources = songs.song(name, seed, seconds or 20.0)
            tracks.append(_track(name, {key: sound.resampled(s, RATE, rate) for key, s in sources.items()}))
        parts.append(tuple(tracks))
    return Music(
        parts[0], parts[1], parts[2], rate, f"synthetic songs with {', '.join(songs.SOURCES)}: {_sizes(parts)}"
    )


def find(data_dir: Path) -> Path | None:
    """The folder with DSD100's `Mixtures` and `Sources`; None when there is none."""
    places = (data_dir / name for name in FOLDERS)
    return next((p for p in places if (p / "Mixtures").is_dir() and (p / "Sources").is_dir()), None)


def find_stems(data_dir: Path) -> list[Path]:
    """Folders with a mixture and vocals."""
    for name in STEMS:
        place = data_dir / name
        if place.is_dir():
            found = [p for p in sorted(place.iterdir()) if p.is_dir() and {"mixture", "vocals"} <= _files(p).keys()]
            if found:
                return found
    return []


def _files(folder: Path) -> dict[str, Path]:
    """Sound files by their names without ending."""
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES}


def _dsd100(root: Path, counts: Sequence[int], seconds: float, seed: int, rate: int) -> Music:
    ledger = Ledger(root)
    dev, test = ([path.name for path in _folders(root / "Mixtures" / part)] for part in ("Dev", "Test"))
    order = [dev[i] for i in Stream(seed, "music/who").permutation(len(dev))]
    held_out = max(1, round(HELD_OUT * len(dev)))
    parts = []
    tracks: list[Track]
    for names, place, count in (
        (order[held_out:], "Dev", counts[0]),
        (order[:held_out], "Dev", counts[1]),
        (test, "Test", counts[2]),
    ):
        tracks = []
        for name in names:
            if count and len(tracks) == count:
                break
            mixture = _files(root / "Mixtures" / place / name).get("mixture")
            sources = _files(root / "Sources" / place / name) if (root / "Sources" / place / name).is_dir() else {}
            track = _read(root / "Mixtures" / place / name, mixture, sources, seconds, rate, ledger)
            tracks += [track] if track is not None else []
        parts.append(tuple(tracks))
    _check(root, parts, ledger)
    text = f"DSD100's layout in {root.name}: {_sizes(parts)}, training and validation from Dev{ledger.summary()}"
    return Music(parts[0], parts[1], parts[2], rate, text, ledger.skipped)


def _stems(folders: list[Path], counts: Sequence[int], seconds: float, seed: int, rate: int) -> Music:
    place = folders[0].parent
    ledger = Ledger(place)
    whole = len(folders) >= len(PARTS)
    tracks = []
    for number in Stream(seed, "music/who").permutation(len(folders)):
        files = _files(folders[number])
        mixture = files.pop("mixture")
        if "accompaniment" in files:  # else it would count twice beside the instruments in it
            files = {name: files[name] for name in ("vocals", "accompaniment")}
        track = _read(folders[number], mixture, files, seconds if whole else 0.0, rate, ledger)
        tracks += [track] if track is not None else []
    if whole:
        ends = np.round(np.cumsum((0.0, *SHARES)) * len(tracks)).astype(int)
        ends[1] = min(ends[1], len(tracks) - 2)
        parts = [tuple(tracks[a:b])[: count or None] for a, b, count in zip(ends[:-1], ends[1:], counts, strict=True)]
        how = "songs shared out"
    else:
        cut = [_in_time(track) for track in tracks]
        parts = [tuple(pieces[n] for pieces in cut)[: counts[n] or None] for n in range(len(PARTS))]
        how = "each song split in time: 60 % for train, 20 % for validation, 20 % for test"
    _check(place, parts, ledger)
    return Music(
        parts[0],
        parts[1],
        parts[2],
        rate,
        f"stems in {place.name}: {_sizes(parts)}, {how}{ledger.summary()}",
        ledger.skipped,
    )


def _in_time(track: Track) -> list[Track]:
    ends = np.round(np.cumsum((0.0, *SHARES)) * len(track.mixture)).astype(int)
    return [
        Track(f"{track.name}, {part}", track.mixture[a:b], {name: s[a:b] for name, s in track.sources.items()})
        for part, a, b in zip(PARTS, ends[:-1], ends[1:], strict=True)
    ]


def _read(
    folder: Path, mixture: Path | None, sources: dict[str, Path], seconds: float, rate: int, ledger: Ledger
) -> Track | None:
    """A song; None, with the reason in the ledger, when it cannot be used."""
    try:
        if mixture is None or "vocals" not in sources or len(sources) < 2:
            raise DataError(folder, f"{'no mixture' if mixture is None else 'no vocals beside others'}")
        start = max(0.0, (sound.duration(mixture) - seconds) / 2) if seconds else 0.0
        # An instrument may well pause in the part that is read.
        read = {
            name: sound.read(path, rate, start=start, seconds=seconds or None, silence=name != "mixture")
            for name, path in (("mixture", mixture), *sources.items())
        }
        _check_sum(mixture, {name: each.samples for name, each in read.items()})
    except DataError as error:
        ledger.skip(folder, str(error).removeprefix(f"{error.path}: "), "song")
        return None
    for each in read.values():
        ledger.note(each)
    whole = read.pop("mixture").samples
    return Track(folder.name, whole, {name: each.samples for name, each in read.items()})


def _check_sum(path: Path, tracks: dict[str, np.ndarray]) -> None:
    lengths = {name: len(samples) for name, samples in tracks.items()}
    if len(set(lengths.values())) > 1:
        sizes = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
        raise DataError(path, f"samples: {sizes}, expected as many of each")
    rest = tracks["mixture"] - sum(samples for name, samples in tracks.items() if name != "mixture")
    away = 10 * np.log10(np.mean(rest**2) / np.mean(tracks["mixture"] ** 2) + 1e-12)
    if away > MOST_AWAY:
        raise DataError(path, f"sources miss {away:.0f} dB of the mixture, expected below {MOST_AWAY:.0f} dB")


def _track(name: str, sources: dict[str, np.ndarray]) -> Track:
    return Track(name, added(list(sources.values())), sources)


def _folders(place: Path) -> list[Path]:
    if not place.is_dir():
        raise DataError(place, "no such folder, expected one folder for each song")
    return sorted(path for path in place.iterdir() if path.is_dir())


def _check(place: Path, parts: Sequence[tuple[Track, ...]], ledger: Ledger) -> None:
    for name, part in zip(PARTS, parts, strict=True):
        if not part:
            raise DataError(place, f"no song for {name}, expected at least one{ledger.summary()}")


def _sizes(parts: Sequence[tuple[Track, ...]]) -> str:
    return ", ".join(f"{len(part)} for {name}" for part, name in zip(parts, PARTS, strict=True))
