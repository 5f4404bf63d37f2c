"""Keywords in clips of a second: Speech Commands, split by speaker, or synthetic words.

Read are the published layout (a folder for each word, `_background_noise_`) and that of its test sets, as WAV or FLAC
(`_unknown_` and `_silence_` beside the keywords). The speaker is the eight hexadecimal digits before `_nohash_`.

Source: P. Warden, "Speech Commands: a dataset for limited-vocabulary speech recognition", arXiv:1804.03209, 2018.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from tinygrad_hw.random import Stream

from ..errors import DataError
from . import corpus, sound, speech, words
from . import noises as makers
from .corpus import speaker_of
from .ledger import Ledger, digest
from .mixing import PARTS, piece, segments
from .speakers import CORPORA, loudest
from .voice import RATE

FOLDER = "speech_commands"
KEYWORDS = tuple(words.KEYWORDS)
UNKNOWN, SILENCE, BACKGROUND = "_unknown_", "_silence_", "_background_noise_"
SHARES = (0.7, 0.1, 0.2)  # of the clips, for training, validation and test
ENDS = np.cumsum(SHARES)[:-1]
SHORTEST = 0.1  # seconds
NOISE_SECONDS = 60.0


@dataclass(frozen=True, eq=False)
class Clips:
    """One part of the data.

    Attributes:
        clips: float32, N x samples; a clip that was shorter is at the beginning, zeros after it.
        lengths: int64, N, samples that were recorded.
        labels: int64, N, indices into `Keywords.names`.
        speakers: N names; empty for silence.
        backgrounds: recordings of noise by kind, float32, any length: this part's stretch of time of each.
    """

    clips: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    speakers: tuple[str, ...]
    backgrounds: Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Keywords:
    """Clips for training, validation and test; nobody speaks in two of them.

    Attributes:
        train, validation, test: see :class:`Clips`.
        names: of the classes: the keywords, then `_unknown_` for other words, then `_silence_`.
        rate: samples a second.
        source: one line that says which data these are, what was done to them and what was left out.
        skipped: files left out, `name: reason`.
    """

    train: Clips
    validation: Clips
    test: Clips
    names: tuple[str, ...]
    rate: int
    source: str
    skipped: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all samples and labels."""
        items: list[object] = [self.rate, self.names]
        for part in (self.train, self.validation, self.test):
            items += [
                part.clips,
                part.lengths,
                part.labels,
                part.speakers,
                *part.backgrounds,
                *part.backgrounds.values(),
            ]
        return digest(items)


def load(
    data_dir: Path | None,
    *,
    keywords: Sequence[str] = KEYWORDS,
    per_class: int = 0,
    speakers: int = 60,
    seconds: float = 1.0,
    seed: int = 0,
    rate: int = 16_000,
) -> Keywords:
    """Clips of keywords, of other words and of silence.

    Args:
        data_dir: holds `speech_commands/` (or is that folder), and `noise/` if that has no `_background_noise_`; None
            for synthetic words.
        keywords: the words to tell apart; folders of other words count as `_unknown_`, as many clips as a keyword has
            on the average.
        per_class: at most so many clips of a class in all parts together; 0 for all.
        speakers: how many synthetic ones; each says every keyword and two other words once.
        seconds: length of a clip; of longer ones the loudest stretch is kept.
        seed: of who is in which part (70 %, 10 % and 20 % of the clips); synthetic clips differ altogether.
        rate: samples a second.

    Returns:
        Three parts without a common speaker; backgrounds without a common moment. The 4,890 clips of the published test
        set take 310 MB, the 105,000 of the whole need `per_class` or 7 GB.

    Raises:
        DataError: no such layout, a keyword without a folder, or a part without clips of some class.
    """
    keywords = tuple(keywords)
    if data_dir is None:
        return synthetic(keywords, speakers, seconds, seed, rate)
    folder = find(data_dir)
    if folder is None:
        raise DataError(data_dir, f"no {FOLDER}/, expected one folder for each word, such as {FOLDER}/{keywords[0]}")
    ledger = Ledger(folder)
    chosen = _chosen(folder, keywords, per_class, seed)
    backgrounds, where = _backgrounds(folder, data_dir, rate, ledger)
    parts = []
    size = round(seconds * rate)
    for number, files in enumerate(_split(chosen, seed)):
        here = {kind: segments(samples)[number] for kind, samples in backgrounds.items()}
        parts.append(_part(files, here, keywords, size, rate, ledger, Stream(seed, f"keywords/silence/{number}")))
    names = (*keywords, UNKNOWN, SILENCE)
    _check(str(folder), parts, names)
    text = f"Speech Commands in {folder.name}/: {_sizes(parts)}; {where}{ledger.summary()}"
    return Keywords(parts[0], parts[1], parts[2], names, rate, text, ledger.skipped)


def synthetic(
    keywords: Sequence[str] = KEYWORDS, speakers: int = 60, seconds: float = 1.0, seed: int = 0, rate: int = 16_000
) -> Keywords:
    """Words of `words` by speakers of `speech`, with the ten `noises` as backgrounds.

    Raises:
        DataError: a keyword that cannot be spelled, or fewer than ten speakers.
    """
    unknown = [word for word in keywords if word not in words.KEYWORDS]
    if unknown or speakers < 10:
        expected = f"some of {', '.join(words.KEYWORDS)}" if unknown else "at least 10"
        raise DataError(
            "synthetic keywords", f"{unknown[0] if unknown else f'{speakers} speakers'}, expected {expected}"
        )
    others = sorted({**words.KEYWORDS, **words.OTHERS}.keys() - set(keywords))
    recordings = {kind: sound.resampled(makers.draw(kind, 20.0, seed), RATE, rate) for kind in makers.KINDS}
    ends = np.round(np.cumsum((0.0, *SHARES)) * speakers).astype(int)
    parts = []
    for number, part in enumerate(PARTS):
        clips, labels, who = [], [], []
        for speaker in range(ends[number], ends[number + 1]):
            name = f"{part}-{speaker:03d}"
            voice = speech.speaker(seed, f"keywords/{name}")
            stream = Stream(seed, f"keywords/{name}")
            extra = [others[i] for i in stream.integers(0, len(others), 2)]
            for label, word in [*enumerate(keywords), *((len(keywords), word) for word in extra)]:
                clips.append(sound.resampled(words.clip(voice, word, stream, seconds), RATE, rate))
                labels.append(label)
                who.append(name)
        here = {kind: segments(samples)[number] for kind, samples in recordings.items()}
        stream = Stream(seed, f"keywords/{part}/silence")
        size = len(clips[0])
        silent = [_silence(here, size, stream) for _ in range(ends[number + 1] - ends[number])]
        matrix = np.stack([*clips, *silent])
        labels += [len(keywords) + 1] * len(silent)
        lengths = np.full(len(matrix), size, np.int64)
        parts.append(Clips(matrix, lengths, np.array(labels, np.int64), (*who, *[""] * len(silent)), here))
    text = f"synthetic words by {speakers} speakers: {_sizes(parts)}; synthetic noises as backgrounds"
    return Keywords(parts[0], parts[1], parts[2], (*keywords, UNKNOWN, SILENCE), rate, text)


def find(data_dir: Path) -> Path | None:
    """The folder of words: one in `data_dir`, or that itself; None when there is none."""
    folder = corpus.find(data_dir, CORPORA["speech_commands"])
    return folder or (data_dir if any((data_dir / word).is_dir() for word in KEYWORDS) else None)


def _chosen(folder: Path, keywords: Sequence[str], per_class: int, seed: int) -> list[tuple[int, str, Path | None]]:
    """Label, speaker and file of every clip; no file for silence that is to be cut from backgrounds."""
    by_label: list[list[Path]] = []
    for word in keywords:
        if not (folder / word).is_dir():
            raise DataError(folder, f"no folder {word}/, expected one for each keyword")
        by_label.append(corpus.sound_files(folder / word))
    mean = round(sum(map(len, by_label)) / len(by_label))
    if (folder / UNKNOWN).is_dir():
        other = corpus.sound_files(folder / UNKNOWN)
    else:
        rest = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] not in "_.")
        other = [path for place in rest if place.name not in keywords for path in corpus.sound_files(place)]
        other = _some(other, mean, Stream(seed, "keywords/unknown"))
    by_label.append(other)
    chosen: list[tuple[int, str, Path | None]] = []
    for label, paths in enumerate(by_label):
        kept = _some(paths, per_class, Stream(seed, f"keywords/{label}"))
        chosen += [(label, speaker_of(path.name), path) for path in kept]
    label = len(by_label)
    if (folder / SILENCE).is_dir():
        kept = _some(corpus.sound_files(folder / SILENCE), per_class, Stream(seed, "keywords/silence"))
        chosen += [(label, "", path) for path in kept]
    else:
        chosen += [(label, "", None)] * min(mean, per_class or mean)
    return chosen


def _some(paths: list[Path], most: int, stream: Stream) -> list[Path]:
    """At most so many of them, in their order; 0 for all."""
    if not 0 < most < len(paths):
        return paths
    return [paths[i] for i in sorted(stream.permutation(len(paths))[:most])]


def _split(chosen: list[tuple[int, str, Path | None]], seed: int) -> list[list[tuple[int, str, Path | None]]]:
    """Clips for training, validation and test: by speaker, and those without one, as of silence, one by one."""
    clips: dict[str, int] = {}
    for number, (_, speaker, _) in enumerate(chosen):
        clips[speaker or f"#{number}"] = clips.get(speaker, 0) + 1
    part: dict[str, int] = {}
    for which in (False, True):
        names = sorted(name for name in clips if name.startswith("#") == which)
        order = [names[i] for i in Stream(seed, f"keywords/who/{which}").permutation(len(names))]
        place = np.cumsum([clips[name] for name in order]) / max(1, sum(clips[name] for name in order))
        part |= {name: int(np.searchsorted(ENDS, end - 1e-9)) for name, end in zip(order, place, strict=True)}
    parts: list[list[tuple[int, str, Path | None]]] = [[], [], []]
    for number, item in enumerate(chosen):
        parts[part[item[1] or f"#{number}"]].append(item)
    return parts


def _backgrounds(folder: Path, data_dir: Path, rate: int, ledger: Ledger) -> tuple[dict[str, np.ndarray], str]:
    """Recordings of noise by kind, and where they are from."""
    places = [folder / BACKGROUND, *(data_dir / name for name in corpus.NOISE_FOLDERS)]
    place = next((path for path in places if path.is_dir()), None)
    if place is None:
        return {}, "no background noises"
    found: dict[str, np.ndarray] = {}
    for recording in corpus.noise(place):
        samples = ledger.read(recording.path, rate, seconds=NOISE_SECONDS)
        if samples is not None and len(samples) > len(found.get(recording.label, ())):
            found[recording.label] = samples
    return found, f"{len(found)} background noises in {place.name}/"


def _part(
    files: list[tuple[int, str, Path | None]],
    backgrounds: dict[str, np.ndarray],
    keywords: Sequence[str],
    size: int,
    rate: int,
    ledger: Ledger,
    stream: Stream,
) -> Clips:
    clips, lengths = np.zeros((len(files), size), np.float32), np.zeros(len(files), np.int64)
    kept = []
    for row, (label, _, path) in enumerate(files):
        if path is None:
            if backgrounds:
                clips[row], lengths[row] = _silence(backgrounds, size, stream), size
                kept.append(row)
            continue
        samples = ledger.read(path, rate, silence=label == len(keywords) + 1)
        if samples is None:
            continue
        if len(samples) < SHORTEST * rate:
            ledger.skip(path, f"{len(samples) / rate:.3f} s, expected at least {SHORTEST} s")
            continue
        samples = loudest(samples, size) if len(samples) > size else samples
        clips[row, : len(samples)], lengths[row] = samples, len(samples)
        kept.append(row)
    labels = np.array([files[row][0] for row in kept], np.int64)
    whole = len(kept) == len(files)  # else rows are dropped, which copies them
    return Clips(
        clips if whole else clips[kept],
        lengths if whole else lengths[kept],
        labels,
        tuple(files[row][1] for row in kept),
        backgrounds,
    )


def _silence(backgrounds: Mapping[str, np.ndarray], size: int, stream: Stream) -> np.ndarray:
    """Nobody speaks: a stretch of a noise, from inaudible to as loud as it was recorded."""
    kinds = list(backgrounds)
    which, loud = stream.uniform(2, dtype=np.float64)
    return piece(backgrounds[kinds[int(which * len(kinds))]], size, stream)[0] * np.float32(loud)


def _check(where: str, parts: Sequence[Clips], names: Sequence[str]) -> None:
    for name, part in zip(PARTS, parts, strict=True):
        missing = np.flatnonzero(np.bincount(part.labels, minlength=len(names)) == 0)
        if missing.size:
            raise DataError(where, f"no clip of {names[missing[0]]} for {name}, expected some of each class")


def _sizes(parts: Sequence[Clips]) -> str:
    sizes = [
        f"{len(part.labels):,} clips of {len(set(part.speakers) - {''})} speakers for {name}"
        for name, part in zip(PARTS, parts, strict=True)
    ]
    return ", ".join(sizes)
