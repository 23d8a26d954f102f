"""Contact sheet of misclassified tiles: numbered pictures with what was predicted and what is true."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from orbitune.evaluation.details.misclassified import Misclassified

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

COLUMNS = 6
_SIDE, _GAP, _LINE = 160, 16, 17  # pixels: picture, gap, line of text
_INK, _QUIET, _PAPER = "#1f2933", "#9a3412", "#ffffff"


def draw_sheet(
    found: Sequence[Misclassified], pictures: Sequence[np.ndarray], *, classes: Sequence[str]
) -> "Image":
    """Draw the tiles in rows, each above its true class, predicted class and confidence.

    They are numbered from 1 in their order.

    Args:
        found: one tile or more.
        pictures: uint8 (H, W, 3) of each.
        classes: names of the classes.
    """
    from PIL import Image, ImageDraw, ImageFont

    columns = min(COLUMNS, len(found))
    rows = -(-len(found) // columns)
    width, height = _SIDE + _GAP, _SIDE + 2 * _LINE + _GAP + 6
    sheet = Image.new("RGB", (columns * width + _GAP, rows * height + _GAP), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    number_font = ImageFont.load_default(15)
    for place, (tile, pixels) in enumerate(zip(found, pictures, strict=True)):
        row, column = divmod(place, columns)
        left, top = _GAP + column * width, _GAP + row * height
        sheet.paste(_fit(Image.fromarray(pixels)), (left, top))
        _write_number(pen, place + 1, (left, top), font=number_font)
        lines = (
            (f"true: {', '.join(classes[label] for label in tile.truth) or 'no label'}", _INK),
            (f"{'missing, ' * tile.missed}{100 * tile.probability:.0f} % {classes[tile.decided]}", _QUIET),
        )
        for line, (text, colour) in enumerate(lines):
            position = left, top + _SIDE + 4 + line * _LINE
            pen.text(position, _shorten(pen, text, font), fill=colour, font=font)
    return sheet


def _write_number(
    pen: "ImageDraw", number: int, corner: tuple[int, int], *, font: "FreeTypeFont | ImageFont"
) -> None:
    """Write a number into the upper left corner of a picture, on paper so that it is legible on any tile."""
    left, top = corner
    width = pen.textlength(f"{number}", font=font)
    pen.rectangle((left, top, left + width + 9, top + 20), fill=_PAPER)
    pen.text((left + 4, top + 1), f"{number}", fill=_INK, font=font)


def _fit(picture: "Image") -> "Image":
    """Return a picture scaled to the cell; small tiles keep their pixels visible."""
    from PIL import Image

    scale = _SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)


def _shorten(pen: "ImageDraw", text: str, font: "FreeTypeFont | ImageFont") -> str:
    """Return the longest beginning of a text that fits a cell."""
    if pen.textlength(text, font=font) <= _SIDE:
        return text
    while text and pen.textlength(f"{text}...", font=font) > _SIDE:
        text = text[:-1]
    return f"{text}..."
