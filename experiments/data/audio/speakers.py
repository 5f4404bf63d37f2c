"""Utterances by speaker for verification: the course's pickles, cut from any corpus with speakers, or synthetic.

Course: `trs.pkl`, 500 x 16,180 (50 speakers with 10 utterances each, in order) and `tes.pkl`, 200 x 22,631 (20 x 10),
also named `hw4_trs.pkl` and `hw4_tes.pkl`; read through the allow-list of `pickles`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from tinygrad_hw.random import Stream

from .. import pickles
from ..errors import DataError
from . import corpus as corpora
from . import sound, speech
from .corpus import Recording
from .ledger import Ledger, digest
from .sound import SILENT
from .voice import RATE

FOLDER = "hw4"
FOLDERS = (FOLDER, "speakers", ".")
NAMES = {"train": ("trs.pkl", "hw4_trs.pkl"), "test": ("tes.pkl", "hw4_tes.pkl")}
EACH = 10  # utterances of a speaker in the pickles
LONGEST = 20.0  # seconds that are read of a recording
QUIET = 0.1  # a piece so much below its recording, 20 dB, is no utterance
CORPORA = {
    "librispeech": corpora.SPEECH_FOLDERS,
    "speech_commands": ("speech_commands", "speech_commands_v0.02", "SpeechCommands/speech_commands_v0.02"),
}
LAYOUT = "hw4/trs.pkl and tes.pkl, librispeech/ or speech_commands/"


@dataclass(frozen=True, eq=False)
class Speakers:
    """Utterances by speaker; nobody is in both parts.

    Attributes:
        train: float32, speakers x utterances x samples.
        test: float32, speakers x utterances x samples; the course's has more samples than its `train`.
        train_names, test_names: of the speakers.
        rate: samples a second.
        source: one line that says which data these are, what was done to them and what was left out.
        skipped: files and speakers left out, `name: reason`.
    """

    train: np.ndarray
    test: np.ndarray
    train_names: tuple[str, ...]
    test_names: tuple[str, ...]
    rate: int
    source: str
    skipped: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all samples and names."""
        return digest([self.rate, self.train, self.test, self.train_names, self.test_names])


def load(
    data_dir: Path | None,
    *,
    train: int = 50,
    test: int = 20,
    utterances: int = 10,
    seconds: float = 1.0,
    seed: int = 0,
    rate: int = 16_000,
    corpus: str = "any",
) -> Speakers:
    """Matrices speakers x utterances x samples for training and for testing.

    Args:
        data_dir: the data folder; None for synthetic speakers.
        train, test: how many speakers; `train` 0 for every one that is not a test speaker (50 of synthetic ones).
            Of the course's pickles the first `train` and `test` are taken, all when there are fewer.
        utterances: how many of each speaker; the course's have ten.
        seconds: length of each; the course's are as long as they are.
        seed: of who is a test speaker and what is taken of each; synthetic speakers differ altogether.
        rate: samples a second; the course's are taken to have this rate, which their pickles do not tell.
        corpus: `course`, `librispeech`, `speech_commands`, the name of another folder in `data_dir` with one folder for
            each speaker, or `any` for the first of these three that is there.

    Raises:
        DataError: nothing to read, a pickle that is not as described, or too few speakers with enough utterances.
    """
    if data_dir is None:
        return synthetic(train or 50, test, utterances, seconds, seed, rate)
    if corpus in ("any", "course"):
        paths = find_course(data_dir)
        if paths:
            return _course(data_dir, paths, train, test, rate)
        if corpus == "course":
            raise DataError(data_dir, f"no {NAMES['train'][0]} and {NAMES['test'][0]}, expected in {FOLDER}/")
    for name, folders in CORPORA.items() if corpus == "any" else ((corpus, CORPORA.get(corpus, (corpus,))),):
        folder = corpora.find(data_dir, folders)
        if folder is not None:
            return build(folder, train, test, utterances, seconds, seed, rate)
        if corpus != "any":
            raise DataError(data_dir, f"no folder {name}/, expected one with recordings by speaker")
    raise DataError(data_dir, f"no utterances by speaker, expected {LAYOUT}")


def build(
    folder: Path,
    train: int = 50,
    test: int = 20,
    utterances: int = 10,
    seconds: float = 1.0,
    seed: int = 0,
    rate: int = 16_000,
) -> Speakers:
    """Utterances of a fixed length from any folder of speakers: see `corpus` for its layouts.

    A speaker with enough recordings gives the loudest stretch of each; the recordings of another are cut into pieces
    one after the other, without pauses, and so share microphone and day: speakers with enough recordings become test
    speakers first. A recording shorter than `seconds` is padded with zeros at both ends, when it has at least half.

    Args:
        folder, train, test, utterances, seconds, seed, rate: as in `load`.

    Raises:
        DataError: too few speakers with enough utterances; says how many there are.
    """
    size, ledger = round(seconds * rate), Ledger(folder)
    by_speaker: dict[str, list[Recording]] = {}
    for recording in corpora.speech(folder):
        by_speaker.setdefault(recording.label, []).append(recording)
    names = sorted(by_speaker)
    names = [names[i] for i in Stream(seed, "speakers/who").permutation(len(names))]
    names.sort(key=lambda name: len(by_speaker[name]) < utterances)
    waiting = iter(names)

    def take(name: str) -> np.ndarray | None:
        return _utterances(name, by_speaker[name], utterances, size, rate, Stream(seed, f"speakers/{name}"), ledger)

    test_names, tests = _fill(waiting, take, test)
    train_names, trains = _fill(waiting, take, train or len(names))
    for what, found, wanted in (("test", tests, test), ("training", trains, train or 1)):
        if len(found) < wanted:
            text = f"{len(found)} {what} speakers with {utterances} utterances of {seconds:g} s, expected {wanted}"
            raise DataError(folder, text + ledger.summary())
    everyone = (*train_names, *test_names)
    separate = sum(len(by_speaker[name]) >= utterances for name in everyone)
    text = (
        f"{folder.name}: {len(trains)} training and {len(tests)} test speakers with {utterances} utterances of "
        f"{seconds:g} s each, from recordings of their own for {separate} speakers, cut from fewer for "
        f"{len(everyone) - separate}"
    )
    return Speakers(
        np.stack(trains), np.stack(tests), train_names, test_names, rate, text + ledger.summary(), ledger.skipped
    )


def synthetic(
    train: int = 50,
    test: int = 20,
    utterances: int = 10,
    seconds: float = 1.0,
    seed: int = 0,
    rate: int = 16_000,
) -> Speakers:
    """Speakers of `speech`, each saying something else every time."""
    size = round(seconds * rate)
    parts, names = [], []
    for part, count in (("train", train), ("test", test)):
        names.append(tuple(f"{part}-{number:03d}" for number in range(count)))
        matrix = np.empty((count, utterances, size), np.float32)
        for row, name in enumerate(names[-1]):
            voice = speech.speaker(seed, f"verification/{name}")
            for column in range(utterances):
                stream = Stream(seed, f"verification/{name}/{column}")
                spoken = speech.sentence(voice, stream, (seconds * 1.2 + 0.1, seconds * 1.2 + 0.1))
                matrix[row, column] = loudest(sound.resampled(spoken, RATE, rate), size)
        parts.append(matrix)
    what = f"{utterances} utterances of {seconds:g} s each"
    text = f"synthetic speech: {train} training and {test} test speakers with {what}"
    return Speakers(parts[0], parts[1], names[0], names[1], rate, text)


def loudest(samples: np.ndarray, size: int) -> np.ndarray:
    """The `size` samples with the most energy, to a hundredth of their number; shorter ones with zeros at both ends."""
    spare = len(samples) - size
    if spare <= 0:
        before = -spare // 2
        return np.pad(samples, (before, -spare - before))
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    starts = np.arange(0, spare + 1, max(1, size // 100))
    best = starts[np.argmax(energy[starts + size] - energy[starts])]
    return samples[best : best + size]


def _fill(
    names: Iterable[str], take: Callable[[str], np.ndarray | None], wanted: int
) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """The first `wanted` speakers who have enough, by name."""
    found: dict[str, np.ndarray] = {}
    if wanted:
        for name in names:
            matrix = take(name)
            if matrix is not None:
                found[name] = matrix
            if len(found) == wanted:
                break
    ordered = tuple(sorted(found))
    return ordered, [found[name] for name in ordered]


def _utterances(
    name: str, files: Sequence[Recording], wanted: int, size: int, rate: int, stream: Stream, ledger: Ledger
) -> np.ndarray | None:
    """wanted x size; None, with the reason in the ledger, for a speaker who has not enough."""
    chosen = [files[i].path for i in stream.permutation(len(files))]
    pieces: list[np.ndarray] = []
    separate = len(files) >= wanted
    for path in chosen:
        samples = ledger.read(path, rate, seconds=LONGEST)
        if samples is None:
            continue
        if separate:
            pieces += [loudest(samples, size)] if 2 * len(samples) >= size else []
        else:
            pieces += _cut(samples, size)
        if separate and len(pieces) == wanted:
            break
    if len(pieces) < wanted:
        text = f"{len(pieces)} utterances of {size / rate:g} s, expected {wanted}"
        ledger.skip(ledger.root / name, text, "speaker")
        return None
    kept = np.linspace(0, len(pieces) - 1, wanted).round().astype(int)
    return np.stack([pieces[i] for i in kept])


def _cut(samples: np.ndarray, size: int) -> list[np.ndarray]:
    """Pieces one after the other, without those that are pauses."""
    whole = len(samples) // size
    pieces = samples[: whole * size].reshape(whole, size)
    levels = np.sqrt(np.mean(np.square(pieces, dtype=np.float64), axis=1))
    return [piece for piece, level in zip(pieces, levels, strict=True) if level > QUIET * np.sqrt(np.mean(samples**2))]


def find_course(data_dir: Path) -> dict[str, Path]:
    """The course's pickles, gzipped or not: `train` and `test` to their paths, as far as they are there."""
    for folder in FOLDERS:
        found = {
            part: path
            for part, names in NAMES.items()
            for name in reversed(names)
            for path in (data_dir / folder / f"{name}.gz", data_dir / folder / name)
            if path.is_file()
        }
        if found:
            return found
    return {}


def _course(data_dir: Path, paths: dict[str, Path], train: int, test: int, rate: int) -> Speakers:
    missing = [names[0] for part, names in NAMES.items() if part not in paths]
    if missing:
        raise DataError(next(iter(paths.values())).parent, f"{missing[0]} is missing, expected both pickles")
    ledger = Ledger(data_dir)
    matrices, names = {}, {}
    for part, limit in (("train", train), ("test", test)):
        path = paths[part]
        rows = pickles.read_array(path, (None, None), "if")
        scaled = rows.astype(np.float32) / (np.iinfo(rows.dtype).max + 1.0 if rows.dtype.kind == "i" else 1.0)
        if len(rows) % EACH:
            raise DataError(path, f"{len(rows)} rows, expected {EACH} utterances of each speaker, one after the other")
        by_speaker = scaled.astype(np.float32).reshape(-1, EACH, rows.shape[1])
        silent = np.argwhere(np.abs(by_speaker).max(axis=2) < SILENT)
        for speaker, utterance in silent:
            ledger.skip(path, f"row {EACH * speaker + utterance} is silent, so all of speaker {speaker}", "utterance")
        kept = np.setdiff1d(np.arange(len(by_speaker)), silent[:, 0])[: limit or None]
        if not len(kept):
            raise DataError(path, "no speaker without a silent row")
        matrices[part], names[part] = by_speaker[kept], tuple(f"{part}-{number:02d}" for number in kept)
    sizes = " and ".join(f"{len(m)} x {EACH} x {m.shape[2]:,} for {part}" for part, m in matrices.items())
    text = f"the course's {paths['train'].name} and {paths['test'].name}: {sizes}{ledger.summary()}"
    return Speakers(matrices["train"], matrices["test"], names["train"], names["test"], rate, text, ledger.skipped)
