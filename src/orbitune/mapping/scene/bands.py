"""Band selection, and scale and offset tags of a raster."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from xml.sax.saxutils import escape

import numpy as np

from orbitune.errors import DataError
from orbitune.sources.band_names import (
    ALL,
    COLOURS,
    RGB,
    BandChoice,
    band_at,
    band_in_text,
    canonical_name,
    find_bands,
    is_named,
)

UNSTATED = "the first three"  # source of a selection that the raster says nothing about
Level = Literal["L1C", "L2A"]  # of processing: top of the atmosphere, or surface

_SENTINEL = {"b04": "red", "b4": "red", "b03": "green", "b3": "green", "b02": "blue", "b2": "blue"}
_QUANTIFICATION_TAGS = {"QUANTIFICATION_VALUE", "BOA_QUANTIFICATION_VALUE"}
# Since baseline 04.00.
_OFFSET_TAG = re.compile(r"(BOA|RADIO)_ADD_OFFSET(_\d+)?", re.IGNORECASE)
_NUMBER = re.compile(r"\s*([+-]?\d+(?:\.\d*)?)\s*")


@dataclass(frozen=True)
class BandTags:
    """Scale and offset of a band: physical value = digital number * scale + offset.

    Attributes:
        scale: 1 if none is stated.
        offset: None if none is stated.
        source: the metadata they come from, for messages; None if there is none.
    """

    scale: float = 1.0
    offset: float | None = None
    source: str | None = None


@dataclass(frozen=True)
class BandSelection:
    """The bands of a scene that are read.

    Attributes:
        numbers: 1-based band numbers.
        names: such as B04, or the band's description; empty strings for bands without one.
        source: how they were chosen, for messages.
    """

    numbers: tuple[int, ...]
    names: tuple[str, ...]
    source: str

    def roles(self, read_as: Sequence[str] = RGB) -> tuple[str | None, ...]:
        """Return the canonical name of what each band is read as; None where unknown.

        Args:
            read_as: bands that a model reads, in their order. Bands without names are these if the user gave
                one for each.
        """
        known = tuple(canonical_name(name) for name in self.names)
        given = self.source == "given" and len(set(self.numbers)) == len(known) == len(read_as)
        return tuple(map(canonical_name, read_as)) if given and not any(known) else known


def select_bands(file: Any, asked: Sequence[BandChoice] | None, *, whose: str) -> BandSelection:
    """Choose the bands of a raster.

    Args:
        file: an open rasterio dataset.
        asked: numbers, from 1 on, or names. None for red, green and blue by the band descriptions (red,
            green and blue, or B04, B03 and B02), else by the colour interpretation, else the first three
            bands.
        whose: name of the file, for messages.

    Raises:
        MissingBandError: the file lacks bands.
        DataError: it has fewer than three bands, or several of a name.
    """
    names = _band_names(file)
    if asked:
        numbers = _find_bands(asked, file, names=names, whose=whose)
        return BandSelection(numbers, tuple(names[number - 1] for number in numbers), "given")
    if file.count < len(RGB):
        raise DataError(
            f"{whose} has fewer than three bands: give the folder of the files of its bands, combine them "
            "with gdalbuildvrt -separate OUT.vrt RED GREEN BLUE, or repeat one with --bands 1,1,1."
        )
    numbers, source = _bands_from_metadata(file)
    return BandSelection(numbers, tuple(names[number - 1] for number in numbers), source)


def _band_names(file: Any) -> list[str]:
    """Return the name of each band: canonical, else its description or colour."""
    stated = [name.strip() if is_named(name) else "" for name in file.descriptions]
    names = [band_in_text(name) or name or _name_by_wavelength(file, n) for n, name in enumerate(stated, 1)]
    colours = [colour.name if colour.name in COLOURS else "" for colour in file.colorinterp]
    if any(canonical_name(name) in RGB for name in names):
        return names
    return [name or colour for name, colour in zip(names, colours, strict=True)]


def _name_by_wavelength(file: Any, band: int) -> str:
    """Return the name of a band by its stated central wavelength; empty for none."""
    try:
        found = band_at(1000 * float(file.tags(band, ns="IMAGERY")["CENTRAL_WAVELENGTH_UM"]))
    except (KeyError, ValueError):
        return ""
    return found or ""


def _find_bands(
    asked: Sequence[BandChoice], file: Any, *, names: Sequence[str], whose: str
) -> tuple[int, ...]:
    """Return the numbers of bands, by their exact descriptions or their meaning."""
    if ALL in asked and len(asked) > 1:
        raise DataError(f"--bands {ALL} takes every band: give it alone.")
    if ALL in asked:
        return tuple(range(1, file.count + 1))
    descriptions = [(name or "").strip().lower() for name in file.descriptions]
    written: dict[BandChoice, int] = {
        band: descriptions.index(band.lower()) + 1
        for band in asked
        if isinstance(band, str) and descriptions.count(band.lower()) == 1
    }
    others = [band for band in asked if band not in written]
    found = {**written, **dict(zip(others, find_bands(others, names, whose=whose), strict=True))}
    return tuple(found[band] for band in asked)


def check_band_tags(tags: Sequence[BandTags], selection: BandSelection, *, whose: str) -> None:
    """Check that bands state scales above 0 and finite offsets, and that all or none of them do.

    Args:
        tags: of the bands of the selection.
        selection: the bands.
        whose: name of the scene, for messages.

    Raises:
        DataError: a band does not; the message names it.
    """
    advice = "give the range of values with --scale, such as 0:2750."
    titles = [name or number for name, number in zip(selection.names, selection.numbers, strict=True)]
    for tag, title in zip(tags, titles, strict=True):
        offset = tag.offset or 0.0
        if not (np.isfinite([tag.scale, offset]).all() and tag.scale > 0):
            raise DataError(
                f"{whose} states a scale of {tag.scale:g} and an offset of {offset:g} for band {title}, "
                f"which is not a scale: {advice}"
            )
    silent = [title for tag, title in zip(tags, titles, strict=True) if tag.source is None]
    if silent and len(silent) < len(tags):
        raise DataError(
            f"{whose} states a scale or an offset for some of its bands, and none for band {silent[0]}, so "
            f"they have no common unit: {advice}"
        )


def read_band_tags(file: Any, band: int, *, whose: str) -> BandTags:
    """Read scale and offset of a band from GDAL's metadata or Sentinel-2's tags.

    Args:
        file: open rasterio dataset.
        band: 1-based band number.
        whose: name of the file, for messages.

    Returns:
        Scale, offset and where they were found.

    Raises:
        DataError: several offsets could belong to the band.
    """
    scale, offset = file.scales[band - 1], file.offsets[band - 1]
    if offset:
        return BandTags(scale, offset, "scale and offset in the file's tags")
    source = None if scale == 1 else "scale in the file's tags"
    stated = sentinel_tags(file, band)
    if source is None and np.dtype(file.dtypes[band - 1]).itemsize > 1:  # 8 bits were scaled anew
        for tag in stated.keys() & _QUANTIFICATION_TAGS:
            if (unit := _NUMBER.fullmatch(stated[tag])) and float(unit[1]) > 0:
                scale, source = 1 / float(unit[1]), f"{tag} in the file's tags"
    offsets = {tag: value for tag, value in stated.items() if tag not in _QUANTIFICATION_TAGS}
    if number := _offset(offsets, whose):
        return BandTags(scale, scale * number, f"{min(offsets)} in the file's tags")
    return BandTags(scale, None, source)


def _offset(stated: Mapping[str, str], whose: str) -> float:
    """Return the offset that tags state; 0 for no number.

    Some programs write one tag per band of the product, such as BOA_ADD_OFFSET_3. Its number counts bands of
    the product, not of the file.
    """
    numbers = [_NUMBER.fullmatch(value) for value in stated.values()]
    found = {float(number[1]) for number in numbers if number}
    if len(found) > 1:
        raise DataError(
            f"{whose} states different offsets, {', '.join(sorted(stated)[:3])} and so on, without "
            "their bands: give the range of values with --scale, such as 1000:3750."
        )
    return found.pop() if found else 0.0


def needs_palette_expansion(file: Any, asked: Sequence[BandChoice] | None) -> bool:
    """Return whether the bands have to be expanded from a colour table."""
    if file.count > 2 or file.colorinterp[0].name != "palette":
        return False
    numbers = [int(band) if str(band).isdecimal() else None for band in asked or ()]
    return not asked or any(number is None or number > file.count for number in numbers)


def palette_vrt(file: Any) -> str:
    """Return a VRT (XML) with a palette's colours as three bands, and its mask."""
    place = file.transform
    source = f'<SourceFilename relativeToVRT="0">{escape(gdal_name(file))}</SourceFilename>'
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{number}"><ColorInterp>{colour.title()}</ColorInterp>'
        f"<ComplexSource>{source}<SourceBand>1</SourceBand><ColorTableComponent>{number}"
        "</ColorTableComponent></ComplexSource></VRTRasterBand>"
        for number, colour in enumerate(COLOURS, 1)
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


def gdal_name(file: Any) -> str:
    """Return the name by which GDAL opens a file that rasterio has opened."""
    return str(file.files[0] if "://" in file.name else file.name)


def sentinel_tags(file: Any, band: int) -> dict[str, str]:
    """Return the tags of a band and its file that state Sentinel-2 radiometry.

    Args:
        file: open rasterio dataset.
        band: 1-based band number.
    """
    of_file, of_band = file.tags(), file.tags(band)
    offsets = [
        {tag.upper(): value for tag, value in tags.items() if _OFFSET_TAG.fullmatch(tag)}
        for tags in (of_band, of_file)
    ]
    units = {tag: of_file[tag] for tag in sorted(of_file.keys() & _QUANTIFICATION_TAGS)}
    return {**units, **(offsets[0] or offsets[1])}


def _bands_from_metadata(file: Any) -> tuple[tuple[int, ...], str]:
    """Return the red, green and blue band by what the file states about its bands."""
    # Descriptions first: GDAL reports three 8-bit bands as red, green and blue even if untagged.
    names = [(name or "").strip().lower() for name in file.descriptions]
    if found := _find_colours(names):
        return found, "by their descriptions"
    words = [re.split(r"[^a-z0-9]+", name) for name in names]
    sentinel = [next((_SENTINEL[word] for word in each if word in _SENTINEL), "") for each in words]
    plain = [next((word for word in each if word in COLOURS), "") for each in words]
    if found := _find_colours(sentinel) or _find_colours(plain):
        return found, "by their descriptions"
    known = [canonical_name(_name_by_wavelength(file, number)) for number in range(1, file.count + 1)]
    if all(known.count(name) == 1 for name in RGB):
        return tuple(known.index(name) + 1 for name in RGB), "by their wavelengths"
    if found := _find_colours([colour.name for colour in file.colorinterp]):
        return found, "by their colour interpretation"
    return (1, 2, 3), UNSTATED


def _find_colours(names: Sequence[str]) -> tuple[int, ...] | None:
    """Return the bands named red, green and blue; None unless each occurs once."""
    if any(names.count(colour) != 1 for colour in COLOURS):
        return None
    return tuple(names.index(colour) + 1 for colour in COLOURS)
