"""STAC items: the bands of a scene as assets, local or on a server.

Asset and band fields are those of STAC 1.0 with its extensions EO and Raster, and of STAC 1.1 (`bands`).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import URLError
from urllib.parse import urljoin
from urllib.request import urlopen

from orbitune.errors import DataError, as_written, first_line, one_line
from orbitune.mapping.scene.bands import BandTags
from orbitune.mapping.scene.containers import read_metadata
from orbitune.mapping.scene.products.band_files import BandFile, Product, sort_bands, stated_level
from orbitune.sources.band_names import canonical_name

T = TypeVar("T")

_TYPES: dict[type, str] = {dict: "an object", list: "a list", str: "text"}  # of JSON, for messages
_NAMES = ("name", "common_name", "eo:common_name")
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
    if kind != "Feature":
        raise DataError(f"{one_line(name)} is no STAC item but {kind or 'other JSON'}: name an item.")
    try:
        facts = _typed(item.get("properties", {}), dict, "properties")
        bands = _bands(_typed(item.get("assets"), dict, "assets"), facts, whose=name)
    except ValueError as error:
        raise DataError(
            f"Cannot read the STAC item {one_line(name)}: {first_line(error)}. Correct it, or get it again."
        ) from None
    if not bands:
        raise DataError(f"The STAC item {one_line(name)} has no raster of a band among its assets.")
    return Product(sort_bands(list(bands.values())), "of the STAC item", _level(item, facts))


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


def _typed(value: Any, kind: type[T], name: str) -> T:
    """Return a value of JSON; a ValueError with its name where it is missing or of another type."""
    if value is None:
        raise ValueError(f"{name} is missing")
    if not isinstance(value, kind):
        raise ValueError(f"{name} must be {_TYPES[kind]}, not {as_written(value)}")
    return value


def _number(values: Mapping[str, Any], field: str, *, whose: str) -> float | None:
    """Return a number of JSON as a float; None for none, and NaN for its name."""
    value = values.get(field)
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{whose}.{field} must be a number, not {as_written(value)}") from None


@dataclass(frozen=True)
class _Asset:
    """An asset of an item.

    Attributes:
        key: by which the item names it.
        fields: of the asset.
    """

    key: str
    fields: Mapping[str, Any]

    @classmethod
    def read(cls, key: str, value: Any) -> "_Asset":
        return cls(key, _typed(value, dict, f"assets.{one_line(key)}"))

    @property
    def name(self) -> str:
        """Return its name for messages."""
        return f"assets.{one_line(self.key)}"

    @property
    def media_type(self) -> str:
        """Return the media type; empty if it is not stated."""
        return _typed(self.fields.get("type") or "", str, f"{self.name}.type")

    @property
    def href(self) -> str:
        """Return the address."""
        return _typed(self.fields.get("href"), str, f"{self.name}.href")

    def objects(self, field: str) -> list[dict[str, Any]]:
        """Return the objects in a list; none where there is no list."""
        name = f"{self.name}.{field}"
        return [_typed(each, dict, name) for each in _typed(self.fields.get(field) or [], list, name)]

    def is_raster(self) -> bool:
        """Return whether it is a data raster, by media type, ending and roles."""
        roles = _typed(self.fields.get("roles") or ["data"], list, f"{self.name}.roles")
        kind = self.media_type or self.href.partition("?")[0].rpartition(".")[2].replace("tif", "tiff")
        hidden = {"thumbnail", "overview", "visual", "metadata"} & set(map(str, roles))
        return not hidden and any(word in kind.lower() for word in _RASTER_TYPES)

    def band_name(self, band: Mapping[str, Any], *, alone: bool) -> str | None:
        """Return the canonical name of a band; None for others, such as cloud masks."""
        stated = [value for field in _NAMES if (value := band.get(field))]
        names = [_typed(value, str, f"the name of a band of {self.name}") for value in stated]
        known = [name for text in [*names, *([self.key] * alone)] if (name := canonical_name(text))]
        return known[0] if known else (None if alone else band.get("name"))


def _bands(assets: Mapping[str, Any], facts: Mapping[str, Any], *, whose: str) -> dict[str, BandFile]:
    """Return the bands of an item by name; of several with a band, the first GeoTIFF.

    Args:
        assets: of the item.
        facts: its properties.
        whose: its file or URL.
    """
    found: dict[str, BandFile] = {}
    read = [_Asset.read(key, value) for key, value in assets.items()]
    read.sort(key=lambda asset: "tiff" not in (asset.media_type or "tiff"))
    # Assets of one band come first: a true-colour image has bands of the same names, but no reflectance.
    for many in (False, True):
        for asset in read:
            stated = asset.objects("bands") or asset.objects("eo:bands") or [{}]
            if many != (len(stated) > 1) or not asset.is_raster() or (many and found):
                continue
            raster = asset.objects("raster:bands") or [{}] * len(stated)
            for number, (band, values) in enumerate(zip(stated, raster, strict=False), 1):
                if title := asset.band_name(band, alone=not many):
                    values = {**values, **_without_prefix(asset.fields), **_without_prefix(band)}
                    tags = _tags(values, facts, whose=asset.name)
                    nodata = _number(values, "nodata", whose=asset.name)
                    file = BandFile(title, _address(asset.href, whose), number, tags, nodata)
                    found.setdefault(title, file)
    return found


def _without_prefix(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the Raster extension by their names of STAC 1.0."""
    return {key.removeprefix("raster:"): value for key, value in values.items()}


def _tags(values: Mapping[str, Any], facts: Mapping[str, Any], *, whose: str) -> BandTags | None:
    """Return scale and offset of a band; None if the item states neither.

    Earth Search states an offset of -0.1 even where `earthsearch:boa_offset_applied` says that the files hold
    numbers without it. Planetary Computer states the processing baseline alone.
    """
    scale, offset = (_number(values, field, whose=whose) for field in ("scale", "offset"))
    if facts.get("earthsearch:boa_offset_applied") is True:
        return BandTags(1e-4 if scale is None else scale, 0.0, "boa_offset_applied of the STAC item")
    if scale is not None:
        return BandTags(scale, offset or 0.0, "raster:bands of the STAC item")
    baseline = _number(facts, "s2:processing_baseline", whose="properties")
    if baseline is None:
        return None
    applied = _OFFSET if baseline >= _OFFSET_BASELINE else 0.0
    stated = facts["s2:processing_baseline"]
    return BandTags(1e-4, 1e-4 * applied, f"processing baseline {stated} of the STAC item")


def _address(href: str, item: str) -> str:
    """Return the name that opens an asset, whose address may be relative to the item."""
    if re.match(r"[a-z0-9+]+://", href, re.IGNORECASE) or href.startswith("/vsi"):
        return href
    return urljoin(item, href) if _URL.match(item) else str(Path(item).parent / href)


def _level(item: Mapping[str, Any], facts: Mapping[str, Any]) -> Any:
    """Return the processing level; None if it is not stated."""
    stated = str(facts.get("processing:level") or facts.get("s2:product_type") or "").upper()
    for text in (stated, str(item.get("collection", "")).upper()):
        for level in ("L1C", "L2A"):
            if level[1:] in text:
                return level
    return stated_level(str(item.get("id", "")))
