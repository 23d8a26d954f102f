"""Band selection, and scale and offset tags of a raster."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from orbitune.errors import DataError

_COLOURS = ("red", "green", "blue")
_SENTINEL = {"b04": "red", "b4": "red", "b03": "green", "b3": "green", "b02": "blue", "b2": "blue"}
_OFFSET_TAGS = ("BOA_ADD_OFFSET", "RADIO_ADD_OFFSET")  # Sentinel-2 products since baseline 04.00


@dataclass(frozen=True)
class BandTags:
    """Scale and offset of a band: physical value = digital number * scale + offset.

    Attributes:
        scale, offset: 1 and 0 if the file has no tags.
        source: the tags they come from, for messages; None if the file has none.
    """

    scale: float = 1.0
    offset: float = 0.0
    source: str | None = None


def choose_bands(file: Any, asked: Sequence[int] | None) -> tuple[tuple[int, ...], str]:
    """Choose the red, green and blue bands of a raster.

    Args:
        file: an open rasterio dataset.
        asked: the user's choice. None to use the band descriptions (red, green and blue, or B04, B03 and
            B02), else the colour interpretation, else the first three bands.

    Raises:
        DataError: the file lacks one of the bands.
    """
    bands, source = (tuple(asked), "given") if asked else _bands_from_metadata(file)
    if len(bands) != 3:
        raise DataError("Give three bands, red, green and blue, such as --bands 3,2,1.")
    if file.count < 3 and not asked:
        raise DataError(
            f"{file.name} has fewer than three bands: combine files of single bands with "
            "gdalbuildvrt -separate OUT.vrt RED GREEN BLUE, or repeat one with --bands 1,1,1."
        )
    if missing := [band for band in bands if not 1 <= band <= file.count]:
        raise DataError(
            f"{file.name} has {file.count} bands and lacks band {missing[0]}: choose with --bands."
        )
    return bands, source


def read_band_tags(file: Any, band: int) -> BandTags:
    """Read scale and offset of a band from GDAL's metadata or Sentinel-2's tags.

    Args:
        file: open rasterio dataset.
        band: 1-based band number.

    Returns:
        Scale, offset and where they were found.

    Raises:
        DataError: the scale is 0, a value is not finite, or several offsets could belong to the band.
    """
    scale, offset = file.scales[band - 1], file.offsets[band - 1]
    if not (np.isfinite([scale, offset]).all() and scale):
        raise DataError(
            f"{file.name} states a scale of {scale:g} and an offset of {offset:g} for band {band}, which is "
            "not a scale: give the range of values with --scale, such as 0:2750."
        )
    if offset:
        return BandTags(scale, offset, "scale and offset in the file's tags")
    for key in _OFFSET_TAGS:
        if number := _offset(file, band, key):
            return BandTags(scale, scale * number, f"{key} in the file's tags")
    return BandTags(scale, offset, None if scale == 1 else "scale in the file's tags")


def _offset(file: Any, band: int, key: str) -> float:
    """Return the value of an offset tag of the band, else of the file.

    Without one, it is 0. Some programs write one tag per band of the product, such as BOA_ADD_OFFSET_3. Its
    number counts bands of the product, not of the file.
    """
    for tags in (file.tags(band), file.tags()):
        stated = {tag: value for tag, value in tags.items() if re.fullmatch(rf"{key}(_\d+)?", tag.upper())}
        numbers = [re.fullmatch(r"\s*([+-]?\d+(?:\.\d*)?)\s*", value) for value in stated.values()]
        found = {float(number[1]) for number in numbers if number}
        if len(found) > 1:
            raise DataError(
                f"{file.name} states different offsets, {', '.join(sorted(stated)[:3])} and so on, without "
                "their bands: give the range of values with --scale, such as 1000:3750."
            )
        if found:
            return found.pop()
    return 0.0


def needs_palette_expansion(file: Any, asked: Sequence[int] | None) -> bool:
    """Return whether the bands have to be expanded from a colour table."""
    if file.count > 2 or file.colorinterp[0].name != "palette":
        return False
    return not asked or any(band > file.count for band in asked)


def palette_vrt(file: Any) -> str:
    """Return a VRT (XML) with a palette's colours as three bands, and its mask."""
    place = file.transform
    name = file.files[0] if "://" in file.name else file.name  # the GDAL identifier of a URL
    source = f'<SourceFilename relativeToVRT="0">{escape(name)}</SourceFilename>'
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{number}"><ColorInterp>{colour.title()}</ColorInterp>'
        f"<ComplexSource>{source}<SourceBand>1</SourceBand><ColorTableComponent>{number}"
        "</ColorTableComponent></ComplexSource></VRTRasterBand>"
        for number, colour in enumerate(_COLOURS, 1)
    )
    mask = (
        f'<MaskBand><VRTRasterBand dataType="Byte"><SimpleSource>{source}<SourceBand>mask,1</SourceBand>'
        "</SimpleSource></VRTRasterBand></MaskBand>"
    )
    return (
        f'<VRTDataset rasterXSize="{file.width}" rasterYSize="{file.height}">'
        f"<SRS>{escape(file.crs.to_wkt())}</SRS><GeoTransform>{place.c!r},{place.a!r},{place.b!r},{place.f!r},"
        f"{place.d!r},{place.e!r}</GeoTransform>{bands}{mask}</VRTDataset>"
    )


def _bands_from_metadata(file: Any) -> tuple[tuple[int, ...], str]:
    """Return the red, green and blue band by what the file states about its bands."""
    # Descriptions first: GDAL reports three 8-bit bands as red, green and blue even if untagged.
    names = [(name or "").strip().lower() for name in file.descriptions]
    if found := _find_colours(names):
        return found, "by their descriptions"
    words = [re.split(r"[^a-z0-9]+", name) for name in names]
    sentinel = [next((_SENTINEL[word] for word in each if word in _SENTINEL), "") for each in words]
    plain = [next((word for word in each if word in _COLOURS), "") for each in words]
    if found := _find_colours(sentinel) or _find_colours(plain):
        return found, "by their descriptions"
    if found := _find_colours([colour.name for colour in file.colorinterp]):
        return found, "by their colour interpretation"
    return (1, 2, 3), "the first three"


def _find_colours(names: Sequence[str]) -> tuple[int, ...] | None:
    """Return the bands named red, green and blue; None unless each occurs once."""
    if any(names.count(colour) != 1 for colour in _COLOURS):
        return None
    return tuple(names.index(colour) + 1 for colour in _COLOURS)
