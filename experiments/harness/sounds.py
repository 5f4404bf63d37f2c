"""Sounds as files: encoded for pages, saved for players, many in one zip; made equally loud for comparison."""

import io
import os
import re
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

LOUDNESS = 0.1  # root mean square of what is made equally loud, -20 dB of full scale
PEAK = 0.95  # of full scale, which no sample of it exceeds


@dataclass(frozen=True)
class Clip:
    """A sound with what to call it.

    Attributes:
        label: a few words, unique among those that are compared.
        samples: samples, or channels x samples; floating, full scale being 1.
        rate: samples a second.
    """

    label: str
    samples: np.ndarray
    rate: int

    def __post_init__(self) -> None:
        shape = self.samples.shape
        if len(shape) not in (1, 2) or 0 in shape or self.samples.dtype.kind != "f":
            got = f"{self.samples.dtype} {shape}"
            raise ValueError(f"sound {self.label!r}: expected floating samples, or channels x samples, got {got}")
        if not np.isfinite(self.samples).all():
            raise ValueError(f"sound {self.label!r}: a sample is NaN or infinite")

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return self.samples.shape[-1] / self.rate


def equally_loud(clips: Sequence[Clip]) -> list[Clip]:
    """The clips with one root mean square, `LOUDNESS` or as much as leaves every peak below `PEAK`; silence stays."""
    levels = [float(np.sqrt(np.mean(np.square(clip.samples, dtype=np.float64)))) for clip in clips]
    peaks = [float(np.abs(clip.samples).max()) for clip in clips]
    rooms = [PEAK * level / peak for level, peak in zip(levels, peaks, strict=True) if level > 0]
    loudness = min([LOUDNESS, *rooms])
    return [
        Clip(clip.label, clip.samples * (loudness / level if level > 0 else 1.0), clip.rate)
        for clip, level in zip(clips, levels, strict=True)
    ]


def encode(clip: Clip, kind: str = "WAV") -> bytes:
    """The clip as a file's content, with 16 bits a sample.

    Args:
        clip: a WAV of one that exceeds full scale is written with floating samples, so that nothing is clipped.
        kind: "WAV", or "FLAC", which is smaller, loses nothing of the 16 bits, and plays in every browser.
    """
    over = kind == "WAV" and np.abs(clip.samples).max() > 1
    buffer = io.BytesIO()
    soundfile.write(buffer, clip.samples.T, clip.rate, format=kind, subtype="FLOAT" if over else "PCM_16")
    return buffer.getvalue()


def file_name(label: str) -> str:
    """A label as part of a file's name."""
    return re.sub(r"[^\w.]+", "-", label).strip("-.") or "sound"


def write_zip(path: Path, clips: Iterable[Clip]) -> None:
    """Writes `LABEL.wav` of each clip into one zip, one after the other; equal clips give an equal file.

    The file is either the old one or the whole new one. Raises ValueError when two clips have one label.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    names: set[str] = set()
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for clip in clips:
                name = f"{file_name(clip.label)}.wav"
                if name in names:
                    raise ValueError(f"{path.name}: two sounds are called {name}")
                names.add(name)
                entry = zipfile.ZipInfo(name)  # dated 1980, whenever it is written
                entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                archive.writestr(entry, encode(clip))
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
