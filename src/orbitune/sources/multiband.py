"""Tiles of any number of bands, read by band name through rasterio."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from orbitune.errors import DataError
from orbitune.sources.band_names import COLOURS, BandChoice, band_in_text, find_bands
from orbitune.sources.colour_order import colour_numbers, described_bands
from orbitune.sources.decode import (
    MAX_VALUES,
    BadImageError,
    Header,
    check_side,
    is_raster,
    needs_rasterio,
    open_raster,
    read_header,
    read_pixels,
    to_integers,
)

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

# The order of the bands in the published 13-band GeoTIFFs of EuroSAT, which hold no names.
EUROSAT_BANDS = (
    *("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12"),
    "B8A",
)


@dataclass(frozen=True)
class BandHeader(Header):
    """The header of a tile of any number of bands.

    Attributes:
        bands: names of all bands in their order; numbers, from 1 on, for those without a name.
    """

    bands: tuple[str, ...] = COLOURS


def has_many_bands(data: bytes) -> bool:
    """Return whether a file has more than three bands, not counting alpha.

    Args:
        data: content of the file.

    Raises:
        BadImageError, DataError: as `orbitune.sources.decode.read_header`.
    """
    if not (is_raster(data) and needs_rasterio(data)):
        return False
    with open_raster(data) as raster:
        return sum(each.name != "alpha" for each in raster.colorinterp) > len(COLOURS)


def is_reordered(data: bytes) -> bool:
    """Return whether a file's first bands are not red, green and blue in this order, by their names.

    Args:
        data: content of the file.

    Raises:
        BadImageError, DataError: as `orbitune.sources.decode.read_header`.
    """
    if not is_raster(data):
        return False
    if needs_rasterio(data):
        with open_raster(data) as raster:
            return colour_numbers(raster.descriptions) != (1, 2, 3)
    with Image.open(io.BytesIO(data)) as image:
        return colour_numbers(described_bands(image)[:3]) != (1, 2, 3)


def read_band_header(data: bytes) -> BandHeader:
    """Read size, bit depth and names of the bands without decoding the pixels.

    Names come from the band descriptions, else from the colour interpretation; 13 bands without a name are
    those of EuroSAT. Files other than TIFF and JPEG 2000 have the bands red, green and blue.

    Args:
        data: content of the file.

    Raises:
        BadImageError, DataError: as `orbitune.sources.decode.read_header`.
    """
    if not is_raster(data):
        header = read_header(data)
        return BandHeader(header.width, header.height, header.high_bit_depth)
    with open_raster(data) as raster:
        _check_size(raster.width * raster.height * raster.count)
        deep = raster.dtypes[0] != "uint8"
        return BandHeader(raster.width, raster.height, deep, _band_names(raster))


def read_bands(data: bytes, asked: Sequence[BandChoice]) -> np.ndarray:
    """Decode the chosen bands of a file.

    Args:
        data: content of the file.
        asked: names or numbers of bands, see `find_bands`.

    Returns:
        (H, W, bands), uint8, or uint16 if the file has more than 8 bits per value.

    Raises:
        BadImageError: a band is missing, or as `read_band_header`.
        DataError: rasterio is not installed.
    """
    numbers = choose_band_numbers(read_band_header(data), asked)
    if not is_raster(data):
        return read_pixels(data)[..., [number - 1 for number in numbers]]
    with open_raster(data) as raster:
        return np.moveaxis(to_integers(raster.read(list(numbers))), 0, 2)


def choose_band_numbers(header: BandHeader, asked: Sequence[BandChoice]) -> tuple[int, ...]:
    """Return the numbers of the chosen bands of a file, see `find_bands`.

    Raises:
        BadImageError: the file lacks one; the message lists those there are.
    """
    try:
        return find_bands(asked, header.bands, whose="it")
    except DataError as error:
        raise BadImageError(str(error).removeprefix("it ").rstrip(".")) from None


def resize_bands(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a tile of any number of bands bilinearly, with antialiasing.

    Args:
        pixels: uint8 or uint16 (H, W, bands).
        size: width and height in pixels.

    Returns:
        The same dtype, (size[1], size[0], bands).

    Raises:
        BadImageError: the tile is far smaller than `size`, see `orbitune.sources.decode.check_side`.
    """
    check_side(pixels, size)
    if pixels.shape[1::-1] == size:
        return pixels
    resized = [
        np.asarray(Image.fromarray(band).resize(size, Image.Resampling.BILINEAR))
        for band in np.moveaxis(pixels, 2, 0).astype(np.float32)
    ]
    return np.stack(resized, 2).round().astype(pixels.dtype)


def _band_names(raster: "DatasetReader") -> tuple[str, ...]:
    """Return the names of an open raster's bands."""
    names = [band_in_text(text or "") or "" for text in raster.descriptions]
    if not any(names):
        if len(names) == len(EUROSAT_BANDS):
            return EUROSAT_BANDS
        names = [each.name if each.name in COLOURS else "" for each in raster.colorinterp]
    return tuple(
        name if name and names.count(name) == 1 else str(number) for number, name in enumerate(names, 1)
    )


def _check_size(values: int) -> None:
    """Raise a BadImageError for a file with too many values in all its bands."""
    if values > MAX_VALUES:
        raise BadImageError(f"has {values:,} values in all bands, more than the {MAX_VALUES:,} allowed")
