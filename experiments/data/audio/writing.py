"""Sets of sounds written as files in the course's layouts."""

import csv
import pickle
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..errors import DataError
from . import course, denoising, speakers
from .mixing import Example
from .speakers import NAMES

FULL_SCALE = 32768


def write_denoising(data: denoising.Denoising, folder: Path) -> None:
    """Writes `tr/`, `v/`, `te/`, `te_sources/` and `manifest.csv`, which says what each mixture was made of.

    16-bit WAV; the mixture is the sum of the rounded sources to the bit. The folder gets its name once it is complete.

    Raises:
        DataError: the folder is there already.
    """
    temporary = _begin(folder)
    rows: list[tuple[object, ...]] = []
    for part, examples in zip(course.FOLDERS, (data.train, data.validation, data.test), strict=True):
        home = temporary / part
        sources = home if part != "te" else temporary / course.SOURCES
        for place in {home, sources}:
            place.mkdir()
        for example in examples:
            _write_example(example, part, home, sources, data.rate)
            rows.append((example.name, part, example.speaker, example.kind, *example.origin, f"{example.gain:.6f}"))
    _write_manifest(temporary, ("name", "part", "speaker", "noise", "speech_file", "noise_file", "gain"), rows)
    temporary.rename(folder)


def write_speakers(data: speakers.Speakers, folder: Path) -> None:
    """Writes `trs.pkl` and `tes.pkl`, float32, a row an utterance, and `manifest.csv`, which says whose rows they are.

    Raises:
        DataError: the folder is there already.
    """
    temporary = _begin(folder)
    rows: list[tuple[object, ...]] = []
    for part, matrix, names in (("train", data.train, data.train_names), ("test", data.test, data.test_names)):
        file = NAMES[part][0]
        with (temporary / file).open("wb") as stream:
            pickle.dump(np.ascontiguousarray(matrix.reshape(-1, matrix.shape[-1])), stream, protocol=4)
        rows += [(file, row, name) for row, name in enumerate(np.repeat(names, matrix.shape[1]))]
    _write_manifest(temporary, ("matrix", "row", "who"), rows)
    temporary.rename(folder)


def _begin(folder: Path) -> Path:
    if folder.exists():
        raise DataError(folder, "is there already; move it away or name a new folder")
    temporary = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    return temporary


def _write_example(example: Example, part: str, home: Path, sources: Path, rate: int) -> None:
    import soundfile

    number = example.name.removeprefix(part)
    assert example.speech is not None and example.noise is not None
    # Both stay 1 % below full scale, so that their sum, rounded twice, does too.
    speech, noise = (np.rint(FULL_SCALE * x).astype(np.int16) for x in (example.speech, example.noise))
    for folder, letter, samples in ((home, "x", speech + noise), (sources, "s", speech), (sources, "n", noise)):
        soundfile.write(folder / f"{part}{letter}{number}.wav", samples, rate, subtype="PCM_16")


def _write_manifest(folder: Path, columns: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(rows)
