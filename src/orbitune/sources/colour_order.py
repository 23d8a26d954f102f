"""Places of red, green and blue among the named bands of a file."""

import html
import re
from collections.abc import Sequence
from typing import Any

from orbitune.sources.band_names import RGB, SENTINEL2, band_in_text, is_named

_GDAL_METADATA = 42112  # TIFF tag, see https://gdal.org/en/stable/drivers/raster/gtiff.html#metadata
_DESCRIPTION = re.compile(r'<Item name="DESCRIPTION" sample="(\d+)" role="description">([^<]*)<')
_COUNTED = ["B01", "B02", "B03"]  # also names for the first three bands of any file


def described_bands(image: Any) -> list[str]:
    """Return the band descriptions of a GeoTIFF that Pillow opened, empty for none.

    Args:
        image: a Pillow image of any format.
    """
    text = str(image.tag_v2.get(_GDAL_METADATA, "")) if getattr(image, "format", None) == "TIFF" else ""
    found = {int(number): html.unescape(name) for number, name in _DESCRIPTION.findall(text)}
    return [found.get(number, "") for number in range(max(found, default=-1) + 1)]


def colour_numbers(descriptions: Sequence[str | None]) -> tuple[int, ...] | None:
    """Return the numbers of red, green and blue, from 1 on: by their names, else the first three bands.

    Args:
        descriptions: of the bands in their order; empty or None for those without.

    Returns:
        Three numbers; None if the first three bands are named, and are other bands.
    """
    names = [band_in_text(text) if text and is_named(text) else None for text in descriptions]
    if all(names.count(colour) == 1 for colour in RGB):
        return tuple(names.index(colour) + 1 for colour in RGB)
    first = [name for name in names[:3] if name in SENTINEL2]
    return None if len(first) == len(RGB) and first != _COUNTED else (1, 2, 3)
