"""Sound files read and written block by block: recordings of any length in little memory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import soundfile
import soxr

from experiments.data import DataError
from experiments.data.audio.sound import check_whole

BLOCK = 1 << 16  # samples of a channel that are read at once
KINDS = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".aiff": "AIFF", ".aif": "AIFF"}


class Recording:
    """A sound file that is open for reading; use it in a `with` statement.

    Attributes:
        rate: samples a second, in the file.
        channels: how many.
        frames: samples of each.

    Raises:
        DataError: the file cannot be read, is no sound file, empty, or truncated.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with path.open("rb") as stream:
                check_whole(path, cast(BinaryIO, stream))
            self._file = soundfile.SoundFile(path)
        except OSError as error:
            raise DataError(path, f"cannot be read: {error.strerror or error}") from None
        except (soundfile.SoundFileError, RuntimeError, TypeError):
            raise DataError(path, "no sound file that can be read, expected WAV, FLAC, OGG or AIFF") from None
        self.rate, self.channels = int(self._file.samplerate), int(self._file.channels)
        self.frames = int(self._file.frames)

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def notes(self, rate: int) -> list[str]:
        """What `blocks` does to the samples."""
        found = [f"mixed down from {self.channels} channels"] if self.channels > 1 else []
        return found + ([f"resampled from {self.rate:,} Hz"] if self.rate != rate else [])

    def blocks(self, rate: int) -> Iterator[np.ndarray]:
        """The mean of the channels at another rate, float32, in blocks.

        Raises:
            DataError: the file ends before its header says, or has a sample that is NaN or infinite.
        """
        resampler = soxr.ResampleStream(self.rate, rate, 1, dtype="float32") if self.rate != rate else None
        done = 0
        while done < self.frames:
            samples = self._file.read(min(BLOCK, self.frames - done), dtype="float32", always_2d=True)
            if not len(samples):
                raise DataError(self._path, f"truncated: {done:,} of {self.frames:,} samples")
            finite = np.isfinite(samples).all(axis=1)
            if not finite.all():
                raise DataError(self._path, f"sample {done + int(finite.argmin())} is NaN or infinite")
            done += len(samples)
            mono = samples.mean(axis=1, dtype=np.float32)
            yield mono if resampler is None else resampler.resample_chunk(mono, last=done == self.frames)


class Writer:
    """A mono sound file that is being written, 16 bits a sample.

    Attributes:
        samples: how many were written.
        clipped: how many of them were beyond full scale and are at full scale now.
    """

    def __init__(self, file: soundfile.SoundFile) -> None:
        self._file = file
        self.samples = self.clipped = 0

    def write(self, block: np.ndarray) -> None:
        """Adds samples."""
        self.samples += len(block)
        self.clipped += int((np.abs(block) > 1).sum())
        self._file.write(np.clip(block, -1, 1))


@contextmanager
def writing(path: Path, rate: int) -> Iterator[Writer]:
    """Writes a sound file that gets its name once it is whole.

    Raises:
        DataError: the name's ending is that of no kind of file that can be written, or the folder cannot be written to.
    """
    if path.suffix.lower() not in KINDS:
        raise DataError(path, f"expected a name that ends in one of {', '.join(KINDS)}")
    if path.is_dir() or not path.parent.is_dir():
        raise DataError(path, "is a folder" if path.is_dir() else "there is no such folder")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    kind = KINDS[path.suffix.lower()]
    try:
        with soundfile.SoundFile(temporary, "w", rate, 1, format=kind) as file:
            yield Writer(file)
        temporary.replace(path)
    except soundfile.SoundFileError as error:
        raise DataError(path, f"cannot be written: {' '.join(str(error).split()).rpartition(': ')[2]}") from None
    finally:
        temporary.unlink(missing_ok=True)
