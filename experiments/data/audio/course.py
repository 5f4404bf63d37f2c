"""The course's denoising layout: `tr/trx0000.wav`, `trs`, `trn`; `v/vx0000.wav`, `vs`, `vn`; `te/tex0000.wav` alone.

x is the mixture, s the speech, n the noise; in `tr` ten files in a row are one sentence with ten noises, a hundred one
speaker. A `manifest.csv` with the columns `name`, `speaker`, `noise` says so for other numbers. The sources of `te`,
which the course keeps to itself, may stand in a folder `te_sources`.
"""

import csv
import io
import re
from pathlib import Path

import numpy as np

from ..errors import DataError
from .ledger import Ledger
from .mixing import Example
from .sound import Sound, read
from .stores import Folder, Store, store

ARCHIVE, FOLDER = "homework3.zip", "homework3"
PLACES = (ARCHIVE, FOLDER, "denoising", ".")
FOLDERS = {"tr": "train", "v": "validation", "te": "test"}
SOURCES = "te_sources"
FILE = re.compile(r"(?:.*/)?(tr|v|te|te_sources)/(tr|v|te)([xsn])(\d{4,6})\.wav")
NOISES, SENTENCES = 10, 10
# Three files, each rounded or cut off to 16 bits: mixture and sum may differ by three steps.
STEP = 3.01 / 32768
Index = dict[tuple[str, str], dict[int, str]]


def find(data_dir: Path) -> Path | None:
    """The archive or the folder that holds `tr`: `data_dir` itself or one of PLACES in it; None when there is none."""
    if data_dir.is_file():
        return data_dir if data_dir.suffix.lower() == ".zip" else None
    for name in PLACES:
        place = data_dir / name
        if place.is_file() or (place / "tr").is_dir():
            return place
        if (place / FOLDER / "tr").is_dir():  # unpacked into a folder of its own name
            return place / FOLDER
    return None


def load(
    path: Path, rate: int, ledger: Ledger, limits: dict[str, int], *, test_sources: bool = True
) -> dict[str, list[Example]]:
    """The examples of each part.

    Args:
        path: from `find`.
        rate: wanted samples a second.
        ledger: takes note of files that are left out.
        limits: how many examples of each of FOLDERS to read at most, evenly spaced; 0 for all.
        test_sources: whether to read `te_sources` where it is there.

    Returns:
        Lists for `tr`, `v` and `te`.

    Raises:
        DataError: no layout of the course, or nothing of a part that can be used.
    """
    place = store(path)
    index = _index(place)
    labels = _labels(place)
    parts = {}
    for part, limit in limits.items():
        numbers = sorted(index.get((part, "x"), {}))
        if not numbers:
            raise DataError(path, f"no {part}/{part}x0000.wav, expected the course's folders {', '.join(FOLDERS)}")
        if 0 < limit < len(numbers):
            numbers = [numbers[i] for i in np.linspace(0, len(numbers) - 1, limit).round().astype(int)]
        shared: dict[bytes, np.ndarray] = {}
        found = [_example(place, index, labels, part, number, rate, ledger, shared, test_sources) for number in numbers]
        parts[part] = [example for example in found if example is not None]
        if not parts[part]:
            raise DataError(path, f"no file of {part} can be used: {ledger.skipped[-1]}")
    return parts


def count(path: Path) -> dict[str, int]:
    """How many mixtures there are in each of FOLDERS. Raises DataError for an archive that is none."""
    index = _index(store(path))
    return {part: len(index.get((part, "x"), {})) for part in FOLDERS}


def files(folder: Path) -> list[str]:
    """The files of the layout below a folder, sources of `te` and manifest included."""
    names = Folder(folder).names()
    return [name for name in names if FILE.fullmatch(name) or name == "manifest.csv"]


def _index(place: Store) -> Index:
    """Names by folder, letter and number. Raises DataError for one that is there twice."""
    index: Index = {}
    for name in place.names():
        found = FILE.fullmatch(name)
        if not found or "__MACOSX" in name:
            continue
        folder, prefix, letter, number = found.groups()
        if prefix != folder.removesuffix("_sources"):
            continue
        numbers = index.setdefault((folder, letter), {})
        if int(number) in numbers:
            raise DataError(place.root, f"holds {numbers[int(number)]} and {name}, expected one of them")
        numbers[int(number)] = name
    return index


def _labels(place: Store) -> dict[str, tuple[str, str]]:
    """Speaker and noise by name, as `manifest.csv` has them."""
    for name in place.names():
        if name == "manifest.csv" or name == f"{FOLDER}/manifest.csv":
            text = place.read(name).decode("utf-8", "replace")
            rows = csv.DictReader(io.StringIO(text, newline=""))
            if not {"name", "speaker", "noise"} <= set(rows.fieldnames or []):
                raise DataError(place.root / name, "expected the columns name, speaker, noise")
            return {row["name"]: (row["speaker"] or "", row["noise"] or "") for row in rows}
    return {}


def _example(
    place: Store,
    index: Index,
    labels: dict[str, tuple[str, str]],
    part: str,
    number: int,
    rate: int,
    ledger: Ledger,
    shared: dict[bytes, np.ndarray],
    test_sources: bool,
) -> Example | None:
    """One example; None, with the reason in the ledger, when a file of it cannot be used."""
    mixture = index[part, "x"][number]
    home = part if part != "te" else SOURCES
    names = [mixture, *(index.get((home, letter), {}).get(number, "") for letter in "sn")]
    if part == "te" and not (test_sources and all(names)):
        names = [mixture]
    name = f"{part}{number:04d}"
    where = place.root / mixture
    if not all(names):
        ledger.skip(where, f"{part}{'s' if not names[1] else 'n'}{number:04d}.wav is missing beside it")
        return None
    try:
        raws = [place.read(each) for each in names]
        sounds = [read(place.root / each, None, raw=raw) for each, raw in zip(names, raws, strict=True)]
        _check_sum(where, sounds)
        same = [sound.rate == rate for sound in sounds]
        if not all(same):
            sounds = [read(place.root / each, rate, raw=raw) for each, raw in zip(names, raws, strict=True)]
    except DataError as error:
        ledger.skip(Path(str(error.path)), str(error).removeprefix(f"{error.path}: "))
        return None
    for sound in sounds:
        ledger.note(sound)
    unknown = (
        (f"speaker {number // (NOISES * SENTENCES):02d}", f"noise {number % NOISES}") if part == "tr" else ("", "")
    )
    speaker, kind = labels.get(name, unknown)
    if len(sounds) == 1:
        return Example(name, speaker, kind, None, None, recorded=sounds[0].samples)
    speech = shared.setdefault(raws[1], sounds[1].samples)  # ten mixtures of a sentence share its samples
    return Example(name, speaker, kind, speech, sounds[2].samples, recorded=sounds[0].samples)


def _check_sum(path: Path, sounds: list[Sound]) -> None:
    """Refuses lengths or rates that differ, and a mixture that is not the sum of speech and noise."""
    if len(sounds) == 1:
        return
    mixture, speech, noise = sounds
    if len({sound.rate for sound in sounds}) > 1:
        raise DataError(path, f"{mixture.rate} Hz, speech {speech.rate} Hz, noise {noise.rate} Hz, expected one rate")
    if len({len(sound.samples) for sound in sounds}) > 1:
        lengths = [f"{len(sound.samples):,}" for sound in sounds]
        raise DataError(
            path, f"{lengths[0]} samples, speech {lengths[1]}, noise {lengths[2]}, expected as many of each"
        )
    away = np.abs(mixture.samples - speech.samples - noise.samples)
    worst = int(away.argmax())
    if away[worst] > STEP:
        raise DataError(
            path, f"not the sum of speech and noise: sample {worst} differs by {away[worst]:.4f}, expected {STEP:.4f}"
        )
