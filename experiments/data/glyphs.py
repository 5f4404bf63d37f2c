"""Letters A to J drawn at random: what stands in for notMNIST where there is no data folder.

Each is a letter of one of the fonts that matplotlib brings along, in its own weight, heavy, or as an outline, then
turned, slanted, squeezed, moved and made wavy by random amounts, with paper and ink that differ and with grain. The
same seed gives the same pictures, as long as the fonts and the library that draws them are the same.
"""

from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from tinygrad_hw.random import Stream

LETTERS = "ABCDEFGHIJ"
SIDE = 28
FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-Italic",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralItalic",
    "STIXGeneralBolIta",
    "cmb10",
    "cmr10",
    "cmss10",
    "cmti10",
    "cmtt10",
)
STYLES = ("plain", "heavy", "outline")
SCALE = 2  # letters are drawn at so many times the size they are shown at
FILL = 0.82  # share of the picture's side that the longer side of a letter takes
TURN, SLANT, SHIFT, WAVE = 25.0, 0.35, 6.0, 1.2  # at most: degrees, tangent, pixels of the larger picture, pixels
SHRINK = (0.85, 1.35)  # of height and of width, each by itself; below 1 enlarges
FAINTEST, PAPER, GRAIN = 0.35, 0.25, 0.16  # ink at least, paper at most, standard deviation of the grain at most


def draw(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws letters, equally many of each class, in random order.

    Args:
        count: how many.
        seed: of every choice.

    Returns:
        Pictures, uint8, N x 28 x 28, 0 paper to 255 ink; labels, int64, N, 0 for A to 9 for J.
    """
    stream = Stream(seed, "glyphs")
    labels = stream.permutation(count) % len(LETTERS)
    letters = _letters()
    which = stream.integers(0, letters.shape[1], count)
    pictures = _warped(letters[labels, which], stream)
    ink = stream.uniform((count, 1, 1), FAINTEST, 1.0)
    paper = stream.uniform((count, 1, 1), 0.0, PAPER)
    grain = stream.uniform((count, 1, 1), 0.0, GRAIN) * stream.normal(pictures.shape)
    return (255 * np.clip(paper + (1 - paper) * ink * pictures + grain, 0, 1)).round().astype(np.uint8), labels


@cache
def _letters() -> np.ndarray:
    """Every letter in every font and style: 10 x kinds x 56 x 56, float32, 0 to 1."""
    kinds = [(font, style) for font in FONTS for style in STYLES]
    return np.stack([[_letter(letter, *kind) for kind in kinds] for letter in LETTERS])


def _letter(letter: str, font: str, style: str) -> np.ndarray:
    """One letter in the middle of a picture, as large as fits."""
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"
    side = SCALE * SIDE
    picture = Image.new("L", (4 * side, 4 * side))
    outlines = ImageFont.truetype(str(path), 3 * side, layout_engine=ImageFont.Layout.BASIC)
    middle = (2 * side, 2 * side)
    stroke = 0 if style == "plain" else side // 10
    pen = ImageDraw.Draw(picture)
    pen.text(middle, letter, 255, outlines, anchor="mm", stroke_width=stroke)
    if style == "outline":
        pen.text(middle, letter, 0, outlines, anchor="mm")
    picture = picture.crop(picture.getbbox())
    picture.thumbnail((round(FILL * side), round(FILL * side)), Image.Resampling.BOX)
    framed = Image.new("L", (side, side))
    framed.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return np.asarray(framed, np.float32) / 255


def _warped(letters: np.ndarray, stream: Stream) -> np.ndarray:
    """N x 56 x 56 -> N x 28 x 28, each changed by amounts of its own."""
    count, middle = len(letters), (SIDE - 1) / 2

    def amount(extent: float) -> np.ndarray:
        return stream.uniform((count, 1, 1), -extent, extent)

    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32) - np.float32(middle)
    angle, slant = np.deg2rad(amount(TURN)), amount(SLANT)
    phase, wave = amount(np.pi), amount(WAVE)
    columns = columns + slant * rows + wave * np.sin(rows * (2 * np.pi / SIDE) + phase)
    turned = (np.cos(angle) * rows - np.sin(angle) * columns, np.sin(angle) * rows + np.cos(angle) * columns)
    places = np.empty((3, count, SIDE, SIDE), np.float32)  # where each pixel comes from: letter, row, column
    places[0] = np.arange(count)[:, None, None]
    for axis, offset in enumerate(turned, 1):
        places[axis] = SCALE * stream.uniform((count, 1, 1), *SHRINK) * offset + amount(SHIFT)
    places[1:] += (SCALE * SIDE - 1) / 2
    smoothed = ndimage.uniform_filter(letters, (0, SCALE, SCALE))  # as a pixel of the smaller picture averages
    return ndimage.map_coordinates(smoothed, places, order=1)
