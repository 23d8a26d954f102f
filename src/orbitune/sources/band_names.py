"""Band names of Sentinel-2 and Landsat, with aliases and wavelengths.

Central wavelengths are those of Sentinel-2A (ESA, Sentinel-2 Spectral Response Functions,
COPE-GSEG-EOPG-TN-15-0007). Aliases are the common names of STAC's EO extension and of Earth Search. A band of
Landsat has the name of the band of Sentinel-2 at its wavelength.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from orbitune.errors import DataError, counted, printable

BandChoice = int | str  # a band's number, from 1 on, or its name


@dataclass(frozen=True)
class Band:
    """A band of a sensor.

    Attributes:
        name: such as B04.
        wavelength: central wavelength in nanometres.
        aliases: common names, in lower case.
    """

    name: str
    wavelength: float
    aliases: tuple[str, ...] = ()


SENTINEL2 = {
    band.name: band
    for band in (
        Band("B01", 442.7, ("coastal", "aerosol")),
        Band("B02", 492.4, ("blue",)),
        Band("B03", 559.8, ("green",)),
        Band("B04", 664.6, ("red",)),
        Band("B05", 704.1, ("rededge1", "rededge")),
        Band("B06", 740.5, ("rededge2",)),
        Band("B07", 782.8, ("rededge3",)),
        Band("B08", 832.8, ("nir", "nearinfrared", "infrared")),
        Band("B8A", 864.7, ("nir08", "narrownir")),
        Band("B09", 945.1, ("nir09", "watervapor")),
        Band("B10", 1373.5, ("cirrus",)),
        Band("B11", 1613.7, ("swir16", "swir1")),
        Band("B12", 2202.4, ("swir22", "swir2")),
    )
}
RGB = ("B04", "B03", "B02")
RGB_WAVELENGTHS = tuple(SENTINEL2[name].wavelength for name in RGB)
COLOURS = ("red", "green", "blue")  # the bands of an image
ALL = "all"  # in place of a list of bands

# Bands of Landsat by number (USGS, Landsat Collection 2 Data Dictionary); no thermal or panchromatic ones.
_OLI = {1: "B01", 2: "B02", 3: "B03", 4: "B04", 5: "B8A", 6: "B11", 7: "B12", 9: "B10"}
_TM = {1: "B02", 2: "B03", 3: "B04", 4: "B08", 5: "B11", 7: "B12"}  # and ETM+
_LANDSAT_BANDS = {"8": _OLI, "9": _OLI, "4": _TM, "5": _TM, "7": _TM}
_LANDSAT_FILE = re.compile(r"(?:L[COET]0([45789])_.*?|S[RT])(?:_B(\d{1,2}))?", re.IGNORECASE)

_ALIASES = {alias: band.name for band in SENTINEL2.values() for alias in band.aliases}
_WAVELENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*(nm|nanomet\w*|um|\u00b5m|\u03bcm|micromet\w*)\b", re.IGNORECASE)
_NUMBERED = re.compile(r"(?:band|layer)?[\s_-]*\d*", re.IGNORECASE)  # a description that is a number alone
_NEAREST = 15.0  # nanometres between the centres of two sensors' bands of one name


class MissingBandError(DataError):
    """Bands that a file or a data set lacks."""


def is_rgb(bands: tuple[str, ...], dtype: str) -> bool:
    """Return whether tiles of these bands and dtype are 8-bit red, green and blue."""
    return bands == COLOURS and dtype == "uint8"


def canonical_name(name: str) -> str | None:
    """Return the name of the Sentinel-2 band that a name or alias means.

    Args:
        name: such as B4, b04, B08A, red, or swir16, in any case; spaces, hyphens and underscores are ignored.

    Returns:
        Such as B04; None for another name.
    """
    plain = re.sub(r"[\s_-]", "", name.lower())
    if found := re.fullmatch(r"b(?:and)?0?(8a|\d{1,2})", plain):
        number = found[1].upper()
        full = "B8A" if number == "8A" else f"B{int(number):02d}"
        return full if full in SENTINEL2 else None
    return _ALIASES.get(plain)


def is_named(description: str | None) -> bool:
    """Return whether a band's description is a name: not empty, and no number alone, such as Band 1."""
    return _NUMBERED.fullmatch(description or "") is None


def band_in_text(text: str) -> str | None:
    """Return the band that a description or file name mentions (`T32_B04_10m`).

    Args:
        text: a band's description, or a file name without its ending.

    Returns:
        The canonical name, by a wavelength such as 665 nm too, or a plain word such as ndvi as it is; None
        for an empty text, and for one with several words of which none, or more than one, is a band. In the
        names of Landsat's files, such as LC08_L2SP_..._SR_B5, numbers are those of Landsat; None for SR_B5,
        which does not say of which one.
    """
    if whole := canonical_name(text):
        return whole
    if landsat := _LANDSAT_FILE.fullmatch(text):
        return _LANDSAT_BANDS.get(landsat[1], {}).get(int(landsat[2] or 0))
    words = re.split(r"[^A-Za-z0-9]+", text.strip())
    found = {name for word in words if (name := canonical_name(word))}
    if len(found) == 1:
        return found.pop()
    if not found and (stated := _WAVELENGTH.search(text)):
        return band_at(float(stated[1]) * (1 if stated[2].lower().startswith("n") else 1000))
    return words[0] if len(words) == 1 and words[0] and not found else None


def band_at(nanometres: float) -> str | None:
    """Return the band of the nearest central wavelength, within 15 nm; or None."""
    nearest = min(SENTINEL2.values(), key=lambda band: abs(band.wavelength - nanometres))
    return nearest.name if abs(nearest.wavelength - nanometres) <= _NEAREST else None


def wavelength(name: str) -> float | None:
    """Return a band's central wavelength in nanometres; None where it is not known."""
    found = canonical_name(name)
    return SENTINEL2[found].wavelength if found else None


def parse_bands(text: str) -> tuple[str, ...]:
    """Return the items of a comma-separated list of bands, such as `B04,B03,B02`.

    Raises:
        DataError: an item is empty.
    """
    items = tuple(item.strip() for item in text.split(","))
    if not all(items):
        raise DataError(
            f"--bands takes names or numbers of bands, such as B04,B03,B02 or 3,2,1, not {text!r}."
        )
    return items


def find_bands(asked: Sequence[BandChoice], names: Sequence[str], *, whose: str) -> tuple[int, ...]:
    """Return the numbers of the chosen bands.

    A name is looked up as it is written first, in any case, then by its meaning: `red` finds a band B04. What
    is neither is a number.

    Args:
        asked: names or numbers, from 1 on; `all` alone means every band.
        names: of all bands in their order; empty strings for those without one.
        whose: the file or data set, for messages.

    Returns:
        Numbers from 1 on, one for each of `asked`.

    Raises:
        MissingBandError: there are no such bands; the message lists those there are.
        DataError: a name means several bands.
    """
    if tuple(asked) == (ALL,):
        return tuple(range(1, len(names) + 1))
    found = [_find(str(each), names) for each in asked]
    if missing := [str(each) for each, numbers in zip(asked, found, strict=True) if not numbers]:
        many = "bands" if len(missing) > 1 else "band"
        listed = ", ".join(map(printable, missing))
        raise MissingBandError(f"{whose} has no {many} {listed}: it has {describe_bands(names)}.")
    for each, numbers in zip(asked, found, strict=True):
        if len(numbers) > 1:
            raise DataError(
                f"{whose} has {len(numbers)} bands {printable(str(each))}: it has {describe_bands(names)}."
            )
    return tuple(numbers[0] for numbers in found)


def check_count(count: int, own: Sequence[str]) -> None:
    """Check that as many bands are chosen as a model reads.

    Args:
        count: number of bands that were chosen.
        own: names of the model's bands.

    Raises:
        DataError: there are more or fewer.
    """
    if count != len(own):
        raise DataError(
            f"--bands names {counted(count, 'band')}, and the model reads {len(own)}: {', '.join(own)}."
        )


def _find(text: str, names: Sequence[str]) -> list[int]:
    """Return the numbers of the bands that a name or a number means."""
    found = [number for number, name in enumerate(names, 1) if name.lower() == text.lower()]
    if not found and (meant := canonical_name(text)):
        found = [number for number, name in enumerate(names, 1) if canonical_name(name) == meant]
    if not found and text.isdecimal() and 1 <= int(text) <= len(names):
        found = [int(text)]
    return found


def describe_bands(names: Sequence[str]) -> str:
    """Return the bands as a list for people, by name or, without names, by number."""
    if any(names):
        return ", ".join(name or str(number) for number, name in enumerate(names, 1))
    return f"1 to {len(names)}" if len(names) > 1 else "band 1 alone"
