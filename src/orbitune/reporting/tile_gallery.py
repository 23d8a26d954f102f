"""Tiles as pictures in a page."""

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from orbitune.evaluation.misclassified import Misclassified
from orbitune.reporting import formatting as fmt
from orbitune.reporting.components import Gallery, GalleryTile, Table

if TYPE_CHECKING:
    from PIL.Image import Image

SHOWN = 24  # misclassified tiles in a gallery
_LARGEST = 128  # pixels; a page shows no more


def png_uri(image: "Image") -> str:
    """Return an image as a data URI."""
    png = io.BytesIO()
    image.save(png, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"


def misclassified_gallery(
    caption: str,
    found: Sequence[Misclassified],
    *,
    classes: Sequence[str],
    names: Sequence[str],
    pictures: Sequence[np.ndarray],
) -> Gallery:
    """Return a gallery of misclassified tiles.

    Args:
        caption: what they are.
        found: the tiles.
        classes: names of the classes.
        names: of the tiles, in the order of `found`.
        pictures: uint8 (H, W, 3) of each.
    """
    tiles = [
        GalleryTile(_thumbnail(picture), name, f"True: {classes[tile.label]}", _lines(tile, classes))
        for picture, name, tile in zip(pictures, names, found, strict=True)
    ]
    return Gallery(caption, None, tiles)


def _lines(tile: Misclassified, classes: Sequence[str]) -> list[str]:
    # A narrow column would break the line before the sign.
    said, true = (
        f"{100 * value:.1f}\N{NO-BREAK SPACE}%" for value in (tile.confidence, tile.label_probability)
    )
    return [f"Predicted: {classes[tile.predicted]}, {said}", f"The true class had {true}"]


def misclassified_table(
    caption: str, found: Sequence[Misclassified], *, classes: Sequence[str], names: Sequence[str]
) -> Table:
    """Return a table of misclassified tiles, for those without pictures; see `misclassified_gallery`."""
    header = ["Tile", "True class", "Predicted", "Confidence", "Probability of the true class"]
    rows = [
        [
            name,
            classes[tile.label],
            classes[tile.predicted],
            fmt.percent(tile.confidence, 1),
            fmt.percent(tile.label_probability, 1),
        ]
        for name, tile in zip(names, found, strict=True)
    ]
    return Table(caption, header, rows)


def _thumbnail(pixels: np.ndarray) -> str:
    """Return the PNG of a tile as a data URI, at most `_LARGEST` pixels wide and high."""
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((_LARGEST, _LARGEST))
    return png_uri(image)
