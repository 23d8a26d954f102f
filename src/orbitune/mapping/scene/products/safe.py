"""Sentinel-2 products in ESA's SAFE format, as a folder, zip or metadata file.

Names and elements are those of the product specification (ESA, S2-PDGS-TAS-DI-PSD).
"""

import re
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from orbitune.errors import DataError, first_line
from orbitune.mapping.scene.bands import BandTags
from orbitune.mapping.scene.containers import list_files, path_exists, read_metadata
from orbitune.mapping.scene.products.band_files import BandFile, Product, finest_files, sort_bands
from orbitune.sources.band_names import SENTINEL2

_METADATA = re.compile(r"MTD_MSIL(1C|2A)\.xml")
_QUANTIFICATION = ("BOA_QUANTIFICATION_VALUE", "QUANTIFICATION_VALUE")
_OFFSETS = ("BOA_ADD_OFFSET", "RADIO_ADD_OFFSET")


def find_safe_metadata(name: str) -> str | None:
    """Return the metadata file of a product: the name, or a file in a folder or zip.

    Returns None if there is no such file in the folder, in a folder of it that ends in .SAFE, or in the zip.

    Raises:
        DataError: there are several products, or one without its metadata.
    """
    if _METADATA.fullmatch(PurePosixPath(name).name):
        return name
    files = list_files(name)
    if path_exists(Path(name)):
        files += map(str, sorted(Path(name).glob("*.SAFE/MTD_MSIL*.xml")))
    found = [file for file in files if _METADATA.fullmatch(PurePosixPath(file).name)]
    if len(found) > 1:
        products = ", ".join(str(PurePosixPath(file).parent) for file in found)
        raise DataError(f"{name} holds {len(found)} products: name one of them: {products}.")
    if not found and path_exists(Path(name)) and any(Path(name).glob("GRANULE/*/IMG_DATA")):
        raise DataError(
            f"{name} has the bands of a product and lacks its metadata, MTD_MSIL1C.xml or MTD_MSIL2A.xml: "
            "get the whole product."
        )
    return found[0] if found else None


def read_safe(metadata: str) -> Product:
    """Read the bands of a product, with scale and offset.

    Args:
        metadata: its file MTD_MSIL1C.xml or MTD_MSIL2A.xml, which may lie in an archive (`/vsizip/`).

    Raises:
        DataError: the metadata cannot be read, or there are no bands.
    """
    try:
        root = ElementTree.fromstring(read_metadata(metadata))
        scale, offsets = _scale(root), _offsets(root)
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(f"Cannot read {metadata}: {first_line(error)}. Get the product again.") from None
    bands = finest_files(_images(metadata), whose=metadata)
    if not bands:
        raise DataError(f"There is no band in the product of {metadata}: get the whole product.")
    if offsets and (lacking := [band.name for band in bands if band.name not in offsets]):
        raise DataError(
            f"{metadata} states an offset for some bands, but none for {lacking[0]}: get the product again."
        )
    source = PurePosixPath(metadata).name
    tagged = [
        BandFile(
            band.name,
            band.path,
            tags=BandTags(scale, scale * offsets.get(band.name, 0.0), source),
            nodata=0.0,
        )
        for band in bands
    ]
    return Product(sort_bands(tagged), "of the SAFE product", "L1C" if "L1C" in source else "L2A")


def _scale(root: ElementTree.Element) -> float:
    """Return the reflectance of the digital number 1."""
    for tag in _QUANTIFICATION:
        if (value := next(root.iter(tag), None)) is not None:
            number = _number(value)
            if not number > 0:
                raise ValueError(f"its {tag} is {number:g}, not above 0")
            return 1 / number
    raise ValueError("it states no QUANTIFICATION_VALUE")


def _offsets(root: ElementTree.Element) -> dict[str, float]:
    """Return the offset of each band in digital numbers; empty before baseline 04.00."""
    names = list(SENTINEL2)
    found = {}
    for tag in _OFFSETS:
        for value in root.iter(tag):
            number = value.get("band_id", str(len(names)))
            if not number.isdecimal():
                raise ValueError(f"the band_id of a {tag} is {number!r}, not a number")
            if int(number) < len(names):
                found[names[int(number)]] = _number(value)
    return found


def _number(element: ElementTree.Element) -> float:
    """Return the number in an element; a ValueError that names it for other text."""
    try:
        return float(element.text or "")
    except ValueError:
        raise ValueError(f"its {element.tag} is {element.text or ''!r}, not a number") from None


def _images(metadata: str) -> list[str]:
    """Return the band images of a product."""
    folder = metadata.rpartition("/")[0]  # a Path would collapse the slashes of /vsizip//
    files = list_files(folder, below=True)
    return [file for file in files if "/IMG_DATA/" in file and file.lower().endswith(".jp2")]
