"""One sound file as samples: mono, float32, at the rate that is wanted; what was done to get there is said.

Reads whatever libsndfile reads (WAV, FLAC, OGG, AIFF, ...); resamples with soxr through librosa.
"""

import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from ..errors import DataError

MOST = 1 << 28  # samples of all channels, 1 GiB: more than four hours at 16 kHz
RATES = (1_000, 768_000)  # samples a second: beyond these a header is damaged, and resampling would fill the memory
SILENT = 1e-4  # a file whose greatest sample is less than this, three steps of 16 bits, is silent
OPEN_ENDED = (0, 0xFFFFFFFF, 0x7FFFFFFF)  # sizes that writers to a pipe leave in a WAV header


@dataclass(frozen=True, eq=False)
class Sound:
    """Samples of one channel.

    Attributes:
        samples: float32, N, full scale is 1.
        rate: samples a second.
        notes: what was done to them, such as `resampled from 44100 Hz`.
    """

    samples: np.ndarray
    rate: int
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / self.rate


def read(
    path: Path,
    rate: int | None = None,
    *,
    raw: bytes | None = None,
    start: float = 0.0,
    seconds: float | None = None,
    silence: bool = False,
) -> Sound:
    """Reads a sound file, or a part of it.

    Args:
        path: the file; names it in errors when `raw` is given.
        rate: wanted samples a second; None for the file's own.
        raw: the bytes of the file, such as a member of an archive.
        start, seconds: the part to read; None for all from `start`. A part that leaves the file ends where it does.
        silence: whether a silent file is welcome.

    Returns:
        The mean of the channels, at `rate`.

    Raises:
        DataError: cannot be read, no sound file, truncated, empty, silent, or with samples that are not finite.
    """
    try:
        with io.BytesIO(raw) if raw is not None else path.open("rb") as stream:
            check_whole(path, cast(BinaryIO, stream))
            samples, found = _decoded(path, cast(BinaryIO, stream), start, seconds)
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from None
    _check(path, samples, silence)
    notes = []
    if samples.shape[1] > 1:
        kind = "stereo" if samples.shape[1] == 2 else f"{samples.shape[1]} channels"
        notes.append(f"mixed down from {kind}")
    mono = samples.mean(axis=1, dtype=np.float32) if samples.shape[1] > 1 else samples[:, 0]
    if not silence and np.abs(mono).max() < SILENT:
        raise DataError(path, "the channels cancel each other, expected sound in their mean")
    if rate is not None and rate != found:
        mono = resampled(mono, found, rate)
        notes.append(f"resampled from {found} Hz")
    return Sound(np.ascontiguousarray(mono, np.float32), rate or found, tuple(notes))


def duration(path: Path) -> float:
    """Seconds of a sound file, by its header. Raises DataError when it cannot be read."""
    import soundfile

    try:
        return float(soundfile.info(path).duration)
    except (soundfile.SoundFileError, RuntimeError, TypeError) as error:
        raise DataError(path, f"no sound file that can be read ({_reason(error)}), expected WAV or FLAC") from None


def resampled(samples: np.ndarray, old: int, new: int) -> np.ndarray:
    """float32 samples at another rate, band-limited, by soxr in its quality HQ."""
    if old == new:
        return samples
    import librosa

    return cast(np.ndarray, librosa.resample(samples, orig_sr=old, target_sr=new, res_type="soxr_hq"))


def _decoded(path: Path, stream: BinaryIO, start: float, seconds: float | None) -> tuple[np.ndarray, int]:
    """Samples N x channels and the rate."""
    import soundfile

    try:
        with soundfile.SoundFile(stream) as file:
            rate, frames = int(file.samplerate), int(file.frames)
            if not RATES[0] <= rate <= RATES[1]:
                raise DataError(path, f"{rate:,} samples a second, expected {RATES[0]:,} to {RATES[1]:,}")
            first = min(round(start * rate), frames)
            count = frames - first if seconds is None else min(round(seconds * rate), frames - first)
            if count * file.channels > MOST:
                raise DataError(
                    path, f"{count:,} samples of {file.channels} channels, expected at most {MOST:,} in all"
                )
            if count < 1:
                raise DataError(path, "empty: no sample, expected at least 1")
            file.seek(first)
            samples = file.read(count, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError, TypeError) as error:
        raise DataError(path, f"no sound file that can be read ({_reason(error)}), expected WAV or FLAC") from None
    if len(samples) != count:
        raise DataError(path, f"truncated: {first + len(samples):,} of {frames:,} samples")
    return samples, rate


def _reason(error: Exception) -> str:
    """The last part of libsndfile's message, without the name of the file."""
    return (" ".join(str(error).split()).rpartition(": ")[2] or type(error).__name__)[:100]


def _check(path: Path, samples: np.ndarray, silence: bool) -> None:
    finite = np.isfinite(samples)
    if not finite.all():
        row, channel = (int(i) for i in np.argwhere(~finite)[0])
        raise DataError(path, f"sample {row} is {samples[row, channel]}, expected finite numbers")
    if not silence and np.abs(samples).max() < SILENT:
        raise DataError(path, f"silent: no sample of {len(samples):,} reaches {SILENT:g} of full scale")


def check_whole(path: Path, stream: BinaryIO) -> None:
    """Refuses an empty file, and a WAV file that ends before its header says: libsndfile would read the rest of it."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    if not size:
        raise DataError(path, "empty: 0 bytes, expected a sound file")
    head = stream.read(12)
    place = 12
    while head[:4] == b"RIFF" and head[8:] == b"WAVE" and len(chunk := stream.read(8)) == 8:
        name, length = struct.unpack("<4sI", chunk)
        place += 8
        if name == b"data":
            if place + length > size and length not in OPEN_ENDED:
                raise DataError(path, f"truncated: {size - place:,} of {length:,} bytes of samples")
            break
        place += length + length % 2
        stream.seek(place)
    stream.seek(0)
