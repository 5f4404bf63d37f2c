"""The sets of sounds as `python -m experiments data` sees them: what is there, how to get it, how to import it."""

import filecmp
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .. import files
from ..errors import DataError
from . import corpus, course, denoising, keywords, music, speakers

Files = dict[str, Path]


@dataclass
class SoundSet:
    """One set.

    Attributes:
        TITLE: what it is.
        FOLDER: where below the data folder it is put, and where it is expected.
        get: how to get it: nothing is downloaded, since no checksums are published.
        look: what a data folder holds: whether all of it, one line, and the place; None for nothing.
        check: reads everything and says in one line what it is. Raises DataError.
        parts: the files that make up the set in a place, by their path below the data folder.
        ADDRESSES: none.
    """

    TITLE: str
    FOLDER: str
    get: str
    look: Callable[[Path], tuple[bool, str, Path] | None]
    check: Callable[[Path], str]
    parts: Callable[[Path], Files]
    ADDRESSES: tuple[str, ...] = ()

    def status(self, data_dir: Path) -> tuple[str, str]:
        """A state (`complete`, `other`, `absent` or `bad`) and one line; counts files, does not decode them."""
        try:
            found = self.look(data_dir)
        except DataError as error:
            return "bad", str(error)
        if found is None:
            return "absent", f"expected in {data_dir / self.FOLDER}"
        whole, text, place = found
        return "complete" if whole else "other", f"{text}, in {place}"

    def download(self, data_dir: Path, addresses: tuple[str, ...] = ()) -> None:
        """Downloads nothing: raises DataError that says how to get the data, unless they are there."""
        if self.look(data_dir) is None:
            raise DataError(data_dir / self.FOLDER, f"not downloaded here; {self.get}")

    def import_folder(self, source: Path, data_dir: Path) -> str:
        """Reads everything in `source`, then copies it below `data_dir`; what is there already and the same stays.

        Raises:
            DataError: whatever loading `source` would raise, or another file of that name is there; nothing is copied
                then.
        """
        text, wanted = self.check(source), self.parts(source)
        missing = {data_dir / name: path for name, path in wanted.items() if not (data_dir / name).exists()}
        for name, path in wanted.items():
            if data_dir / name not in missing and not filecmp.cmp(path, data_dir / name, shallow=False):
                raise DataError(data_dir / name, f"is there already and differs from {path}; move it away to import")
        needed = sum(path.stat().st_size for path in missing.values())
        data_dir.mkdir(parents=True, exist_ok=True)
        if needed > shutil.disk_usage(data_dir).free:
            raise DataError(data_dir, f"too little space for {needed:,} bytes")
        for target, path in missing.items():
            files.copy(path, target)
        return text


def _look_denoising(data_dir: Path) -> tuple[bool, str, Path] | None:
    place = course.find(data_dir)
    if place is not None:
        counts = course.count(place)
        if any(counts.values()):
            text = ", ".join(f"{count:,} mixtures of {part}" for part, count in counts.items())
            return counts["tr"] == 1200 and all(counts.values()), text, place
    folders = [corpus.find(data_dir, names) for names in (corpus.SPEECH_FOLDERS, corpus.NOISE_FOLDERS)]
    speech, noise = folders
    if speech is None or noise is None:
        return None
    amounts = f"{len(corpus.speech(speech)):,} sentences and {len(corpus.noise(noise)):,} noises"
    return False, f"{amounts} to be mixed from {speech.name}/ and {noise.name}/", data_dir


def _denoising_parts(source: Path) -> Files:
    place = course.find(source)
    assert place is not None  # it was just read
    if place.is_file():
        return {course.ARCHIVE: place}
    return {f"{course.FOLDER}/{name}": place / name for name in course.files(place)}


def _look_speakers(data_dir: Path) -> tuple[bool, str, Path] | None:
    found = speakers.find_course(data_dir)
    if found:
        return len(found) == 2, " and ".join(path.name for path in found.values()), next(iter(found.values())).parent
    for names in speakers.CORPORA.values():
        folder = corpus.find(data_dir, names)
        if folder is not None:
            recordings = corpus.speech(folder)
            count = len({recording.label for recording in recordings})
            return False, f"{len(recordings):,} recordings of {count:,} speakers to be cut", folder
    return None


def _look_keywords(data_dir: Path) -> tuple[bool, str, Path] | None:
    folder = keywords.find(data_dir)
    if folder is None:
        return None
    words = [path for path in sorted(folder.iterdir()) if path.is_dir() and path.name[0] not in "_."]
    count = sum(len(corpus.sound_files(word)) for word in words)
    whole = len(words) == 35 and count == 105_829  # version 0.02 as published
    return whole, f"{count:,} clips of {len(words)} words", folder


def _keyword_parts(source: Path) -> Files:
    folder = keywords.find(source)
    assert folder is not None
    return {f"{keywords.FOLDER}/{p.relative_to(folder).as_posix()}": p for p in corpus.sound_files(folder)}


def _look_music(data_dir: Path) -> tuple[bool, str, Path] | None:
    root = music.find(data_dir)
    if root is not None:
        counts = [len(list((root / "Mixtures" / part).glob("*/mixture.*"))) for part in ("Dev", "Test")]
        return counts == [50, 50], f"{counts[0]} songs of Dev and {counts[1]} of Test", root
    found = music.find_stems(data_dir)
    return (False, f"stems of {len(found)} song{'s' * (len(found) > 1)}", found[0].parent) if found else None


def _music_parts(source: Path) -> Files:
    root = music.find(source)
    if root is not None:
        found = [p for part in ("Mixtures", "Sources") for p in corpus.sound_files(root / part)]
        return {f"{music.FOLDER}/{p.relative_to(root).as_posix()}": p for p in found}
    return {
        f"{music.STEMS[0]}/{folder.name}/{p.name}": p
        for folder in music.find_stems(source)
        for p in corpus.sound_files(folder)
    }


DENOISING = SoundSet(
    "speech in noise: the course's homework3.zip, or speech and noise to be mixed",
    course.FOLDER,
    "with the course's homework3.zip, `python -m experiments data import denoising FILE`; with any speech and noises, "
    "`python -m experiments data build denoising`",
    _look_denoising,
    lambda source: denoising.load(source, source="course").source,
    _denoising_parts,
)
SPEAKERS = SoundSet(
    "utterances by speaker: the course's pickles, or recordings by speaker to be cut",
    speakers.FOLDER,
    "with the course's trs.pkl and tes.pkl, `python -m experiments data import speakers FOLDER`; LibriSpeech is at "
    "openslr.org/12, put it into librispeech/SPEAKER/",
    _look_speakers,
    lambda source: speakers.load(source, train=0, test=0, corpus="course").source,
    lambda source: {f"{speakers.FOLDER}/{path.name}": path for path in speakers.find_course(source).values()},
)
KEYWORDS = SoundSet(
    "Speech Commands: keywords in clips of one second",
    keywords.FOLDER,
    "get speech_commands_v0.02.tar.gz as its paper says (arXiv:1804.03209), unpack it, then "
    "`python -m experiments data import keywords FOLDER`",
    _look_keywords,
    lambda source: keywords.load(source).source,
    _keyword_parts,
)
MUSIC = SoundSet(
    "music with its sources: DSD100, or folders of stems",
    music.FOLDER,
    "get DSD100.zip of the SiSEC 2016 campaign, unpack it, then `python -m experiments data import music FOLDER`",
    _look_music,
    lambda source: music.load(source, seconds=1.0).source,
    _music_parts,
)
