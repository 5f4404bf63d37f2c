"""The report: blocks in the order in which they were given, rendered into one HTML file that loads nothing."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from latex2mathml.converter import convert
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from . import figures
from .sounds import Clip, encode, equally_loud, file_name

FIGURES = ("figure", "sliders")  # kinds of block that are numbered as figures
PLAYED = 20.0  # seconds of a clip that the page holds
SOUND = 16 * 2**20  # bytes of sound that it holds in all


@dataclass(frozen=True)
class Block:
    """One piece of a report: the name of its macro in `report.html.j2`, and what the macro gets."""

    kind: str
    content: dict[str, Any]


@dataclass(frozen=True)
class Slider:
    """A picture that a slider changes.

    Attributes:
        label: of the slider.
        alt: what the picture shows.
        strip: the frames side by side as a data URI, see `figures.strip`.
        texts: what is said about each frame.
        start: the frame shown first.
    """

    label: str
    alt: str
    strip: str
    texts: Sequence[str]
    start: int


class Report:
    """Collects blocks.

    Args:
        title: of the page.
        folder: where figures are saved as files of their own, or None to keep them in the page alone.
        sounds: the same for sounds.
    """

    def __init__(self, title: str, folder: Path | None, sounds: Path | None = None) -> None:
        self.title = title
        self.blocks: list[Block] = []
        self._folder, self._sounds = folder, sounds
        self._sound_bytes = 0
        self._names: set[str] = set()

    def section(self, title: str) -> None:
        """A heading; it also appears in the table of contents."""
        self._add("section", title=title, anchor=re.sub(r"\W+", "-", title.lower()).strip("-"))

    def text(self, *paragraphs: str) -> None:
        """Paragraphs of plain text, in which `$...$` is LaTeX and backquotes mark code; line breaks are spaces."""
        for paragraph in paragraphs:
            self._add("text", body=inline(paragraph))

    def formula(self, *lines: str, note: str = "") -> None:
        """Displayed mathematics, one LaTeX formula a line, with a note below as in `text`."""
        self._add("formula", lines=[mathml(line, display=True) for line in lines], note=inline(note))

    def figure(self, name: str, figure: Figure, *, caption: str, alt: str, raster: bool = False) -> None:
        """A figure.

        Args:
            name: of the saved files; unique in the report.
            figure: from `figures.new`.
            caption: below it, as in `text`.
            alt: what it shows, for those who cannot see it.
            raster: embed as PNG instead of SVG.
        """
        source = figures.save(figure, self._folder, self._unique(name), raster=raster)
        number = sum(block.kind in FIGURES for block in self.blocks) + 1
        self._add("figure", source=source, caption=inline(caption), alt=alt, number=number)

    def sliders(self, rows: Sequence["Slider"], *, caption: str) -> None:
        """Pictures that a reader pages through by sliders, one beside each; by keyboard, too. Counts as a figure."""
        number = sum(block.kind in FIGURES for block in self.blocks) + 1
        self._add("sliders", rows=rows, caption=inline(caption), number=number)

    def audio(self, name: str, clips: Sequence[Clip], *, caption: str) -> None:
        """Players side by side, to compare what is in them: all equally loud, each under its label.

        The page holds the first 20 seconds of each, and 16 MiB of sound in all; beyond that it names the files, which
        hold the whole clips, equally loud, too.

        Args:
            name: of the saved files, `NAME-LABEL.wav`; unique in the report.
            clips: one at least, each with a label of its own.
            caption: below them, as in `text`.
        """
        self._unique(name)
        files = [f"{name}-{file_name(clip.label)}.wav" for clip in clips]
        if not clips or len(set(files)) < len(files):
            raise ValueError(f"sounds {name!r}: expected clips with labels that differ, got {[c.label for c in clips]}")
        players = []
        for clip, file in zip(equally_loud(clips), files, strict=True):
            if self._sounds is not None:
                self._sounds.mkdir(parents=True, exist_ok=True)
                (self._sounds / file).write_bytes(encode(clip))
            players.append({"label": clip.label, **self._player(clip, file)})
        number = sum(block.kind == "audio" for block in self.blocks) + 1
        self._add("audio", players=players, caption=inline(caption), number=number)

    def _player(self, clip: Clip, file: str) -> dict[str, str | None]:
        """A clip as a data URI, or None where the page has no room left, and what to say about it."""
        kept = Clip(clip.label, clip.samples[..., : int(PLAYED * clip.rate)], clip.rate)
        notes = [f"first {PLAYED:.0f} of {clip.seconds:.0f} s"] if kept.seconds < clip.seconds else []
        if not clip.samples.any():
            notes.append("silent")
        source = f"data:audio/flac;base64,{base64.b64encode(encode(kept, 'FLAC')).decode('ascii')}"
        if self._sound_bytes + len(source) > SOUND:
            where = "not kept" if self._sounds is None else f"in {self._sounds.name}/{file}"
            return {"source": None, "note": f"{clip.seconds:.1f} s, {where}"}
        self._sound_bytes += len(source)
        return {"source": source, "note": ", ".join(notes)}

    def table(self, header: Sequence[str], rows: Sequence[Sequence[Any]], *, caption: str) -> None:
        """A table; the first column names the row, columns of numbers go to the right, text may hold `$...$`."""
        cells = [[cell(value) for value in row] for row in rows]
        numeric = [all(row[column][1] for row in cells) for column in range(len(header))]
        bodies = [[body for body, _ in row] for row in cells]
        heads = [inline(text) for text in header]
        self._add("table", header=heads, rows=bodies, numeric=numeric, caption=inline(caption))

    def _add(self, kind: str, **content: Any) -> None:
        self.blocks.append(Block(kind, content))

    def _unique(self, name: str) -> str:
        if name in self._names:
            raise ValueError(f"a figure or sound {name!r} exists already")
        self._names.add(name)
        return name


def cell(value: Any) -> tuple[Markup, bool]:
    """What a table prints for a value, and whether it is a number.

    Floats get four significant digits, integers separators; HTML stays as it is; anything else is text, which is a
    number if like "9.5%".
    """
    if isinstance(value, Markup):
        return value, False
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(f"{value:,}" if isinstance(value, int) else f"{value:.4g}"), True
    return inline(str(value)), re.fullmatch(r"-|[-\N{MINUS SIGN}]?[\d.,]+ ?%?", str(value)) is not None


def number(text: str) -> Markup:
    """A number as printed by Python (`-1.5e-09`) as it is printed in books (minus sign, power of ten)."""
    digits, _, exponent = text.replace("-", "\N{MINUS SIGN}").partition("e")
    power = exponent.replace("+", "").replace("\N{MINUS SIGN}0", "\N{MINUS SIGN}").lstrip("0")
    return Markup("{} × 10<sup>{}</sup>").format(digits, power) if exponent else escape(digits)


def counted(number: int, what: str) -> str:
    """`1 epoch`, `20 epochs`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def short(value: float) -> str:
    """A number with two digits, for a sentence: `0.12`, or LaTeX such as `$1.2 \\times 10^{-9}$`."""
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.2g}" if abs(value) < 100 else f"{value:.0f}"
    digits, exponent = f"{value:.1e}".split("e")
    return rf"${digits} \times 10^{{{int(exponent)}}}$"


def mathml(latex: str, *, display: bool = False) -> Markup:
    """LaTeX as MathML. Raises ValueError for what the converter passes over, such as `aligned` (it leaves a `&`)."""
    markup = convert(latex, display="block" if display else "inline")
    if "<mi>&</mi>" in markup:
        raise ValueError(f"LaTeX that cannot be converted to MathML: {latex}")
    return Markup(markup)


def inline(text: str) -> Markup:
    """Escaped text in which `$...$` became MathML and backquoted pieces became code."""
    pieces = re.split(r"(\$[^$]+\$|`[^`]+`)", text)
    body = Markup("")
    for piece in pieces:
        if piece.startswith("$") and piece.endswith("$") and len(piece) > 2:
            body += mathml(piece[1:-1])
        elif piece.startswith("`") and piece.endswith("`") and len(piece) > 2:
            body += Markup("<code>{}</code>").format(piece[1:-1])
        else:
            body += escape(piece)
    return body


def render(template: str, **context: Any) -> str:
    """A template of this folder with everything escaped that is not marked as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    return environment.get_template(template).render(**context)
