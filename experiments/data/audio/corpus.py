"""Folders of recordings with labels: who speaks in which file, what makes the noise in which; nothing is decoded.

Labels come from a `manifest.csv` with the columns `file` and `speaker` (or `type` for noises), else from the names of
the files (`84-121123-0000.flac` of LibriSpeech, `0a7c2a8d_nohash_0.wav` of Speech Commands), else from their folders.
"""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif")
SPEECH_FOLDERS = ("librispeech", "LibriSpeech", "speech")
NOISE_FOLDERS = ("noise", "noises", "_background_noise_")
LIBRISPEECH = re.compile(r"(\d+)-\d+-\d+")
COMMAND = re.compile(r"(?:^|_)([0-9a-f]{8})_nohash_\d+")


@dataclass(frozen=True, order=True)
class Recording:
    """A file and its label: the speaker, or the kind of noise."""

    label: str
    path: Path


def sound_files(folder: Path) -> list[Path]:
    """Every file below a folder with the name of a sound file, in order. Raises DataError when there is no folder."""
    if not folder.is_dir():
        raise DataError(folder, "no such folder, expected one of sound files")
    # rglob does not follow links to folders, so nothing outside is read and no ring of links is walked.
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file() and p.name[0] != ".")


def speech(folder: Path) -> list[Recording]:
    """The recordings of a folder of speakers, by speaker and name.

    Raises:
        DataError: no folder, a manifest that is not as described, or no file with a speaker.
    """
    listed = _manifest(folder, "speaker")
    if listed is None:
        listed = []
        for path in sound_files(folder):
            label = speaker_of(path.stem) or (path.relative_to(folder).parts[0] if path.parent != folder else "")
            if label and not label.startswith("_"):  # _silence_ and _background_noise_ of Speech Commands are nobody
                listed.append(Recording(label, path))
    if not listed:
        raise DataError(folder, "no sound file with a speaker, expected SPEAKER/*.flac or a manifest.csv")
    return sorted(listed)


def noise(folder: Path) -> list[Recording]:
    """The recordings of a folder of noises, by kind and name; a file that is in no other folder is a kind by itself.

    Raises:
        DataError: no folder, a manifest that is not as described, or no sound file.
    """
    listed = _manifest(folder, "type")
    if listed is None:
        files = sound_files(folder)
        listed = [Recording(p.stem if p.parent == folder else p.relative_to(folder).parts[0], p) for p in files]
    if not listed:
        raise DataError(folder, "no sound file, expected recordings of noise")
    return sorted(listed)


def speaker_of(stem: str) -> str:
    """The speaker that a file name of LibriSpeech or Speech Commands tells; else empty."""
    found = LIBRISPEECH.match(stem) or COMMAND.search(stem)
    return found[1] if found else ""


def find(data_dir: Path, names: tuple[str, ...]) -> Path | None:
    """The first of some folders that is there."""
    return next((data_dir / name for name in names if (data_dir / name).is_dir()), None)


def _manifest(folder: Path, label: str) -> list[Recording] | None:
    """What `manifest.csv` lists; None when there is none or it has no such column."""
    path = folder / "manifest.csv"
    if not path.is_file():
        return None
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            columns = reader.fieldnames or []
            if "file" not in columns:
                raise DataError(path, f"columns {', '.join(map(ascii, columns)) or 'none'}, expected `file`, `{label}`")
            if label not in columns:
                return None
            rows = [(reader.line_num, row["file"], row[label]) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(path, f"no CSV text ({error})") from None
    found = []
    for line, name, value in rows:
        if not name or not value:
            raise DataError(path, f"line {line}: expected a file and its {label}")
        place = (folder / name).resolve()
        if not place.is_relative_to(folder.resolve()):
            raise DataError(path, f"line {line}: {name[:60]!a} leads out of the folder")
        found.append(Recording(value, folder / name))
    return found
