"""Band selection and radiometric tags of a raster: what the file states about its bands."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from orbitune.errors import DataError

_COLOURS = ("red", "green", "blue")
_SENTINEL = {"b04": "red", "b4": "red", "b03": "green", "b3": "green", "b02": "blue", "b2": "blue"}
_OFFSETS = ("BOA_ADD_OFFSET", "RADIO_ADD_OFFSET")  # of Sentinel-2's products from baseline 04.00 on


@dataclass(frozen=True)
class Tagged:
    """What a file says of a band's numbers: value = number * scale + offset.

    Attributes:
        scale, offset: as stated; 1 and 0 where nothing is.
        source: the tags they come from, in words; None where nothing is stated.
    """

    scale: float = 1.0
    offset: float = 0.0
    source: str | None = None


def choose_bands(file: Any, asked: Sequence[int] | None) -> tuple[tuple[int, ...], str]:
    """Return the numbers of the red, green and blue band, and in words how they were found.

    Args:
        file: rasterio's dataset.
        asked: what the user wants; None to go by the descriptions of the bands (red, green and blue, or B04,
            B03 and B02), else by their colour interpretation, else to take the first three.

    Raises:
        DataError: there are no such bands.
    """
    bands, source = (tuple(asked), "given") if asked else _stated(file)
    if len(bands) != 3:
        raise DataError("Give three bands, red, green and blue, such as --bands 3,2,1.")
    if file.count < 3 and not asked:
        raise DataError(
            f"{file.name} has no three bands for red, green and blue: put the files of a band each into one "
            "with gdalbuildvrt -separate OUT.vrt RED GREEN BLUE, or repeat one with --bands 1,1,1."
        )
    if missing := [band for band in bands if not 1 <= band <= file.count]:
        raise DataError(
            f"{file.name} has {file.count} bands and lacks band {missing[0]}: choose with --bands."
        )
    return bands, source


def tagged(file: Any, band: int) -> Tagged:
    """Return a band's scale and offset, from GDAL's metadata or Sentinel-2's own tags.

    Raises:
        DataError: the scale is 0, one of them is no number, or there are several offsets and no way to tell
            which is this band's.
    """
    scale, offset = file.scales[band - 1], file.offsets[band - 1]
    if not (np.isfinite([scale, offset]).all() and scale):
        raise DataError(
            f"{file.name} states a scale of {scale:g} and an offset of {offset:g} for band {band}, which is "
            "no scale: say what becomes black and white with --scale, such as 0:2750."
        )
    if offset:
        return Tagged(scale, offset, "scale and offset in the file's tags")
    for key in _OFFSETS:
        if number := _offset(file, band, key):
            return Tagged(scale, scale * number, f"{key} in the file's tags")
    return Tagged(scale, offset, None if scale == 1 else "scale in the file's tags")


def _offset(file: Any, band: int, key: str) -> float:
    """Return the number of a tag of the band, else of the file; 0 where there is none.

    Some programs write a tag for each band of the product, such as BOA_ADD_OFFSET_3, whose number is not that
    of the band in the file.
    """
    for tags in (file.tags(band), file.tags()):
        stated = {tag: value for tag, value in tags.items() if re.fullmatch(rf"{key}(_\d+)?", tag.upper())}
        numbers = [re.fullmatch(r"\s*([+-]?\d+(?:\.\d*)?)\s*", value) for value in stated.values()]
        found = {float(number[1]) for number in numbers if number}
        if len(found) > 1:
            raise DataError(
                f"{file.name} states different offsets, {', '.join(sorted(stated)[:3])} and so on, and not "
                "for which band: say what becomes black and white with --scale, such as 1000:3750."
            )
        if found:
            return found.pop()
    return 0.0


def has_palette(file: Any, asked: Sequence[int] | None) -> bool:
    """Return whether a raster has to be expanded from its palette to give the bands asked for."""
    if file.count > 2 or file.colorinterp[0].name != "palette":
        return False
    return not asked or any(band > file.count for band in asked)


def expand_palette(file: Any) -> str:
    """Return a VRT (XML) of a palette's colours as three bands, with the mask of the raster."""
    place = file.transform
    name = file.files[0] if "://" in file.name else file.name  # in GDAL's way to say it
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


def _stated(file: Any) -> tuple[tuple[int, ...], str]:
    # Descriptions come first: GDAL calls three bands of 8 bits red, green and blue where nobody said so.
    names = [(name or "").strip().lower() for name in file.descriptions]
    if found := _find(names):
        return found, "by their descriptions"
    words = [re.split(r"[^a-z0-9]+", name) for name in names]
    sentinel = [next((_SENTINEL[word] for word in each if word in _SENTINEL), "") for each in words]
    plain = [next((word for word in each if word in _COLOURS), "") for each in words]
    if found := _find(sentinel) or _find(plain):
        return found, "by their descriptions"
    if found := _find([colour.name for colour in file.colorinterp]):
        return found, "by their colour interpretation"
    return (1, 2, 3), "the first three"


def _find(names: Sequence[str]) -> tuple[int, ...] | None:
    """Numbers of the bands that are named red, green and blue, each once."""
    if any(names.count(colour) != 1 for colour in _COLOURS):
        return None
    return tuple(names.index(colour) + 1 for colour in _COLOURS)
