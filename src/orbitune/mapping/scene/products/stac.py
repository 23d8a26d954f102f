"""STAC items: the bands of a scene as assets, local or on a server.

Asset and band fields are those of STAC 1.0 with its extensions EO and Raster, and of STAC 1.1 (`bands`).
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urljoin
from urllib.request import urlopen

from orbitune.errors import DataError, first_line, one_line
from orbitune.mapping.scene.bands import BandTags
from orbitune.mapping.scene.containers import read_metadata
from orbitune.mapping.scene.products.band_files import BandFile, Product, sort_bands, stated_level
from orbitune.sources.band_names import canonical_name

_URL = re.compile(r"https?://", re.IGNORECASE)
_ITEM_URL = re.compile(r"https?://[^?#]+(\.(geo)?json|/items/[^/?#]+/?)([?#].*)?", re.IGNORECASE)
_RASTER_TYPES = ("tiff", "jp2", "jpeg2000")
_TIMEOUT = 20  # seconds
_MAX_BYTES = 16 << 20  # of an item
_OFFSET_BASELINE = 4.0  # of Sentinel-2's processing, from which on digital numbers have an offset
_OFFSET = -1000.0  # of digital numbers


def is_stac_item(name: str) -> bool:
    """Return whether a name is a JSON file, its URL, or an item of a STAC API."""
    if _URL.match(name):
        return _ITEM_URL.fullmatch(name) is not None
    return name.lower().endswith((".json", ".geojson"))


def read_stac_item(name: str) -> Product:
    """Read the bands of an item.

    Args:
        name: a file, or an http or https URL.

    Raises:
        DataError: it cannot be read, is not an item, or has no raster as an asset.
    """
    data = _download(name) if _URL.match(name) else read_metadata(name)
    try:
        item = json.loads(data)
    except ValueError as error:
        raise DataError(f"{one_line(name)} is no STAC item: {first_line(error)}.") from None
    kind = item.get("type") if isinstance(item, dict) else None
    if kind != "Feature" or not isinstance(item.get("assets"), dict):
        raise DataError(f"{one_line(name)} is no STAC item but {kind or 'other JSON'}: name an item.")
    try:
        bands = _bands(item, name)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"Cannot read the assets of {one_line(name)}: {first_line(error)}.") from None
    if not bands:
        raise DataError(f"The STAC item {one_line(name)} has no raster of a band among its assets.")
    return Product(sort_bands(list(bands.values())), "of the STAC item", _level(item))


def _download(url: str) -> bytes:
    """Return the content of a URL."""
    try:
        with urlopen(url, timeout=_TIMEOUT) as answer:
            data: bytes = answer.read(_MAX_BYTES + 1)
    except (URLError, OSError, ValueError) as error:
        raise DataError(f"Cannot read {one_line(url)}: {first_line(error)}.") from None
    if len(data) > _MAX_BYTES:
        raise DataError(f"{one_line(url)} has more than {_MAX_BYTES:,} bytes, too many for a STAC item.")
    return data


def _bands(item: Mapping[str, Any], name: str) -> dict[str, BandFile]:
    """Return the bands of an item by name; of several with a band, the first GeoTIFF."""
    found: dict[str, BandFile] = {}
    assets = sorted(item["assets"].items(), key=lambda entry: "tiff" not in entry[1].get("type", "tiff"))
    # Assets of one band come first: a true-colour image has bands of the same names, but no reflectance.
    for many in (False, True):
        for key, asset in assets:
            stated = asset.get("bands") or asset.get("eo:bands") or [{}]
            if many != (len(stated) > 1) or not _is_raster(asset) or (many and found):
                continue
            raster = asset.get("raster:bands") or [{}] * len(stated)
            for number, (band, values) in enumerate(zip(stated, raster, strict=False), 1):
                if title := _band_name(key, band, alone=not many):
                    values = {**values, **_without_prefix(asset), **_without_prefix(band)}
                    tags, nodata = _tags(values, item), _number(values.get("nodata"))
                    file = BandFile(title, _address(asset["href"], name), number, tags, nodata)
                    found.setdefault(title, file)
    return found


def _without_prefix(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the Raster extension by their names of STAC 1.0."""
    return {key.removeprefix("raster:"): value for key, value in values.items()}


def _is_raster(asset: Mapping[str, Any]) -> bool:
    """Return whether an asset is a data raster, by media type, ending and roles."""
    roles = asset.get("roles") or ["data"]
    kind = asset.get("type") or asset["href"].partition("?")[0].rpartition(".")[2].replace("tif", "tiff")
    hidden = {"thumbnail", "overview", "visual", "metadata"} & set(roles)
    return not hidden and any(word in kind.lower() for word in _RASTER_TYPES)


def _band_name(key: str, band: Mapping[str, Any], *, alone: bool) -> str | None:
    """Return the canonical name of a band; None for others, such as cloud masks."""
    names = [band.get("name"), band.get("common_name"), band.get("eo:common_name"), key if alone else None]
    known = [name for text in names if text and (name := canonical_name(text))]
    return known[0] if known else (None if alone else band.get("name"))


def _tags(values: Mapping[str, Any], item: Mapping[str, Any]) -> BandTags | None:
    """Return scale and offset of a band; None if the item states neither.

    Earth Search states an offset of -0.1 even where `earthsearch:boa_offset_applied` says that the files hold
    numbers without it. Planetary Computer states the processing baseline alone.
    """
    facts = item.get("properties", {})
    scale, offset = _number(values.get("scale")), _number(values.get("offset"))
    if facts.get("earthsearch:boa_offset_applied") is True:
        return BandTags(1e-4 if scale is None else scale, 0.0, "boa_offset_applied of the STAC item")
    if scale is not None:
        return BandTags(scale, offset or 0.0, "raster:bands of the STAC item")
    baseline = facts.get("s2:processing_baseline")
    if baseline is None:
        return None
    applied = _OFFSET if float(baseline) >= _OFFSET_BASELINE else 0.0
    return BandTags(1e-4, 1e-4 * applied, f"processing baseline {baseline} of the STAC item")


def _number(value: Any) -> float | None:
    """Return a number of JSON as a float; None for none, and NaN for its name."""
    return None if value is None else float(value)


def _address(href: str, item: str) -> str:
    """Return the name that opens an asset, whose address may be relative to the item."""
    if re.match(r"[a-z0-9+]+://", href, re.IGNORECASE) or href.startswith("/vsi"):
        return href
    return urljoin(item, href) if _URL.match(item) else str(Path(item).parent / href)


def _level(item: Mapping[str, Any]) -> Any:
    """Return the processing level; None if it is not stated."""
    facts = item.get("properties", {})
    stated = str(facts.get("processing:level") or facts.get("s2:product_type") or "").upper()
    for text in (stated, str(item.get("collection", "")).upper()):
        for level in ("L1C", "L2A"):
            if level[1:] in text:
                return level
    return stated_level(str(item.get("id", "")))
