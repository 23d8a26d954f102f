"""Tiles as pictures in a page."""

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from orbitune.evaluation.details.misclassified import Misclassified
from orbitune.reporting.components import Gallery, GalleryTile, Table
from orbitune.reporting.views.score_view import ScoreView

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
    view: ScoreView,
    names: Sequence[str],
    pictures: Sequence[np.ndarray],
) -> Gallery:
    """Return a gallery of misclassified tiles.

    Args:
        caption: what they are.
        found: the tiles.
        view: of the scores.
        names: of the tiles, in the order of `found`.
        pictures: uint8 (H, W, 3) of each.
    """
    tiles = [
        GalleryTile(_thumbnail(picture), name, *view.describe(tile))
        for picture, name, tile in zip(pictures, names, found, strict=True)
    ]
    return Gallery(caption, None, tiles)


def misclassified_table(
    caption: str, found: Sequence[Misclassified], *, view: ScoreView, names: Sequence[str]
) -> Table:
    """Return a table of misclassified tiles, for those without pictures; see `misclassified_gallery`."""
    rows = []
    for number, (name, tile) in enumerate(zip(names, found, strict=True), 1):
        truth, lines = view.describe(tile)
        rows.append([f"{number}", name, truth, "; ".join(lines)])
    return Table(caption, ["Number", "Tile", "Truth", "Prediction"], rows)


def _thumbnail(pixels: np.ndarray) -> str:
    """Return the PNG of a tile as a data URI, at most `_LARGEST` pixels wide and high."""
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((_LARGEST, _LARGEST))
    return png_uri(image)
