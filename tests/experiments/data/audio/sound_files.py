"""Sound files and folders of them for tests: small, each sample known."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000


def noise(seconds: float = 0.5, seed: int = 0, level: float = 0.1) -> np.ndarray:
    """float32 samples at RATE, whole steps of 16 bits, so that files keep them exactly."""
    samples = np.random.default_rng(seed).normal(0, level, round(seconds * RATE))
    return (np.rint(np.clip(samples, -0.9, 0.9) * 32768) / 32768).astype(np.float32)


def tone(hertz: float, seconds: float = 0.5, rate: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write(path: Path, samples: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def course(folder: Path, sentences: int = 2, noises: int = 10, seconds: float = 0.4) -> Path:
    """A homework3 folder: each of tr and v with some sentences times some noises, te with mixtures alone."""
    for part in ("tr", "v", "te"):
        for sentence in range(sentences):
            speech = noise(seconds + 0.1 * sentence, seed=sentence)
            for kind in range(noises):
                grain = noise(seconds + 0.1 * sentence, seed=1000 + 10 * sentence + kind, level=0.05)
                number = sentence * noises + kind
                write(folder / part / f"{part}x{number:04d}.wav", speech + grain)
                if part != "te":
                    write(folder / part / f"{part}s{number:04d}.wav", speech)
                    write(folder / part / f"{part}n{number:04d}.wav", grain)
    return folder


def zipped(folder: Path, target: Path) -> Path:
    """A zip archive of a folder under the folder's own name."""
    return Path(shutil.make_archive(str(target.with_suffix("")), "zip", folder.parent, folder.name))


def speakers(folder: Path, names: Sequence[str], each: int = 2, seconds: float = 1.0) -> Path:
    """A folder of speakers: SPEAKER/NUMBER.flac, no two files alike."""
    for row, name in enumerate(names):
        for number in range(each):
            write(folder / name / f"{number:02d}.flac", noise(seconds, seed=100 * row + number))
    return folder


def noises(folder: Path, kinds: int = 3, seconds: float = 5.0) -> Path:
    for kind in range(kinds):
        write(folder / f"noise{kind}.flac", noise(seconds, seed=5000 + kind))
    return folder


def commands(folder: Path, words: Sequence[str], people: int = 12, *, published: bool) -> Path:
    """Speech Commands: every speaker says every word once; the published layout or that of the test set."""
    for row, word in enumerate((*words, "tree") if published else (*words, "_unknown_")):
        for person in range(people):
            name = f"{person * 7919 + 4096:08x}_nohash_0"
            name = f"tree_{name}.wav.flac" if word == "_unknown_" else f"{name}.{'wav' if published else 'flac'}"
            write(folder / word / name, noise(0.1 + 0.01 * person, seed=50 * row + person))
    if published:
        write(folder / "_background_noise_" / "hum.wav", noise(4.0, seed=900))
        (folder / "_background_noise_" / "README.md").write_text("noise")
    else:
        for number in range(people):
            write(folder / "_silence_" / f"{number}.flac", noise(0.2, seed=700 + number, level=0.001))
    return folder
