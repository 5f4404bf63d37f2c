"""Speech in noise for denoising: the course's files, or built from any clean speech and any noises, or synthetic."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tinygrad_hw.random import Stream

from ..errors import DataError
from . import corpus, course, noises, sound, speech
from .corpus import Recording
from .ledger import Ledger, digest
from .mixing import PARTS, Example, Noise, Sentence, allot, mix
from .voice import RATE

DEFAULTS = (120, 20, 20)  # sentences for training, validation, test
EACH = 5  # sentences of a synthetic speaker
NOISE_SECONDS = 30.0  # of a noise recording, synthetic or read
SHORTEST = 0.5  # seconds
LAYOUT = "homework3.zip, homework3/tr, or the folders librispeech/ and noise/"


@dataclass(frozen=True, eq=False)
class Denoising:
    """Mixtures with their sources.

    Attributes:
        train, validation, test: see :class:`Example`: `mixture`, `speech`, `noise`, `speaker`, `kind`, `name`.
            Built and synthetic ones have no speaker in two of them, and no moment of a noise. `speech` and `noise` of
            `test` are None for the course's own `te`.
        rate: samples a second.
        source: one line that says which data these are, what was done to them and what was left out.
        skipped: files left out, `name: reason`.
    """

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    rate: int
    source: str
    skipped: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all samples and labels."""
        items: list[object] = [self.rate]
        for part in (self.train, self.validation, self.test):
            for example in part:
                items += [example.name, example.speaker, example.kind, example.speech, example.mixture]
        return digest(items)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of noise in the three parts, in order."""
        return tuple(sorted({e.kind for part in (self.train, self.validation, self.test) for e in part}))


def load(
    data_dir: Path | None,
    *,
    train: int = 0,
    validation: int = 0,
    test: int = 0,
    noises: int = 10,
    snr: float = 0.0,
    seconds: float = 4.0,
    seed: int = 0,
    rate: int = 16_000,
    source: str = "any",
) -> Denoising:
    """Mixtures of speech and noise.

    With a data folder: the course's layout when it is there (see `course`), else every sentence of some speakers of
    `librispeech/` mixed with every one of some recordings of `noise/` (see `build`). Without: `speech` and `noises`.

    Args:
        data_dir: the data folder, or `homework3.zip`; None for synthetic data.
        train, validation, test: sentences in each part, each of which gives as many mixtures as there are noises;
            0 for all of the course's, and for 120, 20 and 20 of others.
        noises: how many kinds of noise; the course's has ten.
        snr: of speech to noise over each mixture, dB; as it is in the course's.
        seconds: sentences are cut off there; 0 for whole ones. The course's are left whole.
        seed: of who and which part of a noise goes where; synthetic data differ altogether.
        rate: samples a second.
        source: `any` as above, `course` or `built` for one of them alone.

    Returns:
        1,200 mixtures for training and 200 each for validation and test by default.

    Raises:
        DataError: nothing to read, not enough of it, or files that are not what they should be in so great a part
            that nothing is left; single files that cannot be used are left out and counted.
    """
    counts = (train, validation, test)
    if data_dir is None:
        return synthetic(counts, noises, snr, seconds, seed, rate)
    found = course.find(data_dir) if source != "built" else None
    if found is not None:
        return _course(found, counts, rate)
    speech_dir, noise_dir = (corpus.find(data_dir, names) for names in (corpus.SPEECH_FOLDERS, corpus.NOISE_FOLDERS))
    if source == "course" or speech_dir is None or noise_dir is None:
        raise DataError(data_dir, f"no speech in noise, expected {'homework3.zip' if source == 'course' else LAYOUT}")
    return build(speech_dir, noise_dir, counts, noises, snr, seconds, seed, rate)


def build(
    speech_dir: Path,
    noise_dir: Path,
    counts: Sequence[int] = DEFAULTS,
    kinds: int = 10,
    snr: float = 0.0,
    seconds: float = 4.0,
    seed: int = 0,
    rate: int = 16_000,
) -> Denoising:
    """Any folder of clean speech with speakers, mixed with any folder of noises: see `corpus` for their layouts.

    No speaker is in two parts; of each noise the first 60 % in time serve training, the next 20 % validation, the last
    20 % test, so that no moment of it is heard twice. Taken are the longest noises, by name where they are equal.

    Args:
        speech_dir, noise_dir: the folders.
        counts: sentences for training, validation and test; 0 for 120, 20, 20.
        kinds: how many noises.
        snr, seconds, seed, rate: as in `load`.

    Raises:
        DataError: fewer speakers, sentences or noises than asked for.
    """
    counts = _counts(counts)
    ledger = Ledger(speech_dir.parent)
    found = _noises(noise_dir, kinds, rate, ledger)
    by_speaker: dict[str, list[Recording]] = {}
    for recording in corpus.speech(speech_dir):
        by_speaker.setdefault(recording.label, []).append(recording)
    try:
        candidates = allot(
            {name: len(files) for name, files in by_speaker.items()}, counts, Stream(seed, "denoising/who")
        )
    except ValueError as error:
        raise DataError(speech_dir, str(error)) from None
    sentences = []
    for part, count, choice in zip(PARTS, counts, candidates, strict=True):
        read: list[Sentence] = []
        for name, number in choice:
            if len(read) == count:
                break
            path = by_speaker[name][number].path
            samples = ledger.read(path, rate, seconds=seconds or None)
            if samples is not None and len(samples) < SHORTEST * rate:
                ledger.skip(path, f"{len(samples) / rate:.2f} s, expected at least {SHORTEST} s")
            elif samples is not None:
                read.append(Sentence(name, samples, path.relative_to(speech_dir).as_posix()))
        if len(read) < count:
            raise DataError(speech_dir, f"{len(read):,} sentences for {part}, expected {count:,}{ledger.summary()}")
        sentences.append(sorted(read, key=lambda sentence: sentence.speaker))
    what = f"{speech_dir.name} and {len(found)} kinds of {noise_dir.name} mixed at {snr:g} dB"
    return _mixed(sentences, found, snr, seed, rate, what, ledger)


def synthetic(
    counts: Sequence[int] = DEFAULTS,
    kinds: int = 10,
    snr: float = 0.0,
    seconds: float = 4.0,
    seed: int = 0,
    rate: int = 16_000,
) -> Denoising:
    """Sentences of `speech`, five a speaker and 2 s to `seconds` long, with kinds of `noises`; split as in `build`.

    Raises:
        DataError: more kinds than there are.
    """
    counts = _counts(counts)
    if not 1 <= kinds <= len(noises.KINDS):
        raise DataError("synthetic noise", f"{kinds} kinds, expected 1 to {len(noises.KINDS)}")
    longest = seconds or 4.0
    sentences = []
    for part, count in zip(PARTS, counts, strict=True):
        spoken = []
        for number in range(count):
            name = f"{part}-{number // EACH:02d}"
            stream = Stream(seed, f"speech/{name}/{number % EACH}")
            samples = speech.sentence(speech.speaker(seed, name), stream, (min(2.0, longest), longest))
            spoken.append(Sentence(name, sound.resampled(samples, RATE, rate), f"{name}/{number % EACH}"))
        sentences.append(spoken)
    drawn = {
        kind: Noise(sound.resampled(noises.draw(kind, NOISE_SECONDS, seed), RATE, rate), kind)
        for kind in list(noises.KINDS)[:kinds]
    }
    what = f"synthetic speech and {kinds} kinds of synthetic noise mixed at {snr:g} dB"
    return _mixed(sentences, drawn, snr, seed, rate, what, Ledger(Path()))


def _counts(counts: Sequence[int]) -> tuple[int, ...]:
    return tuple(count or default for count, default in zip(counts, DEFAULTS, strict=True))


def _noises(folder: Path, kinds: int, rate: int, ledger: Ledger) -> dict[str, Noise]:
    """The longest recordings, one of each kind."""
    found: dict[str, Noise] = {}
    for recording in corpus.noise(folder):
        samples = ledger.read(recording.path, rate, seconds=NOISE_SECONDS)
        before = found.get(recording.label)
        if samples is not None and (before is None or len(samples) > len(before.samples)):
            found[recording.label] = Noise(samples, recording.path.relative_to(folder).as_posix())
    if len(found) < kinds:
        raise DataError(folder, f"{len(found)} kinds of noise, expected {kinds}{ledger.summary()}")
    longest = sorted(found, key=lambda kind: (-len(found[kind].samples), kind))[:kinds]
    return {kind: found[kind] for kind in sorted(longest)}


def _mixed(
    sentences: Sequence[Sequence[Sentence]],
    found: Mapping[str, Noise],
    snr: float,
    seed: int,
    rate: int,
    what: str,
    ledger: Ledger,
) -> Denoising:
    pieces = {kind: noise.parts() for kind, noise in found.items()}
    parts = []
    for number, (prefix, spoken) in enumerate(zip(course.FOLDERS, sentences, strict=True)):
        here = {kind: part[number] for kind, part in pieces.items()}
        try:
            parts.append(tuple(mix(prefix, spoken, here, snr, Stream(seed, f"denoising/{prefix}"), rate)))
        except ValueError as error:
            raise DataError(what, str(error)) from None
    sizes = " and ".join(f"{len(part):,} for {name}" for part, name in zip(parts, PARTS, strict=True))
    speakers = [len({sentence.speaker for sentence in spoken}) for spoken in sentences]
    text = f"{what}: {sizes}, {' + '.join(map(str, speakers))} speakers{ledger.summary()}"
    return Denoising(parts[0], parts[1], parts[2], rate, text, ledger.skipped)


def _course(path: Path, counts: Sequence[int], rate: int) -> Denoising:
    ledger = Ledger(path)
    limits = {part: count * course.NOISES for part, count in zip(course.FOLDERS, counts, strict=True)}
    parts = course.load(path, rate, ledger, limits)
    sizes = " and ".join(f"{len(found):,} of {part}" for part, found in parts.items())
    text = f"the course's layout in {path.name}: {sizes}{ledger.summary()}"
    train, validation, test = (tuple(found) for found in parts.values())
    return Denoising(train, validation, test, rate, text, ledger.skipped)
