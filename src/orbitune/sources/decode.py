"""Decoding of image files into RGB pixels.

Pillow decodes; rasterio reads what Pillow cannot (many bands, JPEG 2000) or would silently reduce to 8 bits
(16-bit RGB). Files are not trusted: what a header declares is checked before anything is decoded, that of a
JPEG 2000 before a library sees it, and only seven formats are opened.
"""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, UnidentifiedImageError

from orbitune.errors import DataError
from orbitune.extras import require
from orbitune.sources.codecs.jpeg2000 import HAS_PALETTE, find_fault
from orbitune.sources.codecs.jpeg2000_boxes import SIGNATURES as JPEG2000
from orbitune.sources.codecs.jpeg2000_boxes import read_boxes
from orbitune.sources.codecs.library_messages import library_reason, silence_libraries
from orbitune.sources.colour_order import colour_numbers, described_bands

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

DECODER_VERSION = 1  # to be raised when the same file decodes to other pixels: stores are then rebuilt
MAX_PIXELS = 89_478_485  # Pillow's own limit, at which it only warns, and which a process can switch off
MAX_VALUES = 3 * MAX_PIXELS  # in all bands
MAX_UPSCALING = 4  # an image may be this many times smaller than the tiles along a side,
MIN_SIDE = 16  # or have this many pixels; smaller ones show nothing of the ground

_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF")  # not EPS, which runs Ghostscript
_PNG = b"\x89PNG"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
STRIP_PIXELS = 2**22  # pixels converted at a time: two copies of a large image could fill the memory


class BadImageError(DataError):
    """A file is not a usable image; the message follows the file's name."""


@dataclass(frozen=True)
class Header:
    """The header of an image file.

    Attributes:
        width, height: in pixels.
        high_bit_depth: whether values have more than 8 bits.
    """

    width: int
    height: int
    high_bit_depth: bool


def read_header(data: bytes) -> Header:
    """Read size and bit depth without decoding the pixels.

    Args:
        data: content of the file.

    Raises:
        BadImageError: the file is empty, not an image, damaged, too large, or holds floating-point values.
        DataError: the file needs rasterio, which is not installed.
    """
    if (image := _open(data)) is not None:
        return Header(*image.size, high_bit_depth=image.mode.startswith("I"))
    with open_raster(data) as raster:
        _check_colours(raster, data)
        return Header(raster.width, raster.height, high_bit_depth=raster.dtypes[0] != "uint8")


def read_pixels(data: bytes) -> np.ndarray:
    """Decode a file into RGB.

    Bands of a TIFF with the names of colours are read by them, else the first three bands. Grey is repeated;
    alpha and other bands are dropped. The EXIF orientation is ignored, as
    satellite images have no upright.

    Args:
        data: content of the file.

    Returns:
        (H, W, 3), uint8, or uint16 if the file has more than 8 bits per value.

    Raises:
        BadImageError, DataError: as `read_header`; truncated files are found only here.
    """
    if (image := _open(data)) is None:
        with open_raster(data) as raster:
            _check_colours(raster, data)
            numbers = _colour_numbers(raster.descriptions) if raster.count > 2 else (1,)
            return _rgb(np.moveaxis(raster.read(numbers), 0, 2))
    return pixels_of_image(image)


def pixels_of_image(image: Image.Image) -> np.ndarray:
    """Return the pixels of a Pillow image, as `read_pixels` does for a file.

    Raises:
        BadImageError: the image is damaged, too large, or holds floating-point values.
    """
    _check_image(image)
    if (numbers := _colour_numbers(described_bands(image)[:3])) == (1, 2, 3):  # Pillow keeps no others
        return _decode(image)
    return _decode(image)[..., np.array(numbers) - 1]


def _decode(image: Image.Image) -> np.ndarray:
    """Return the pixels of an image with its first three bands, see `pixels_of_image`."""
    try:
        rows = max(1, STRIP_PIXELS // image.width)
        if image.height <= rows:
            return _convert_to_rgb(image)
        dtype = np.uint16 if image.mode.startswith("I") else np.uint8
        pixels = np.empty((image.height, image.width, 3), dtype)
        for top in range(0, image.height, rows):
            strip = image.crop((0, top, image.width, min(top + rows, image.height)))
            pixels[top : top + rows] = _convert_to_rgb(strip)
        return pixels
    except BadImageError:
        raise
    except Exception as error:  # Pillow raises a dozen types on damaged files
        raise _damaged(error) from None


def _colour_numbers(descriptions: Sequence[str | None]) -> tuple[int, ...]:
    """Return `colour_numbers`; a BadImageError where it returns None."""
    if numbers := colour_numbers(descriptions):
        return numbers
    named = ", ".join(map(str, descriptions[:3]))
    raise BadImageError(f"has the bands {named}, not red, green and blue: choose some with --bands")


def _convert_to_rgb(image: Image.Image) -> np.ndarray:
    """Return an image as uint8 or uint16 (H, W, 3)."""
    # `convert` would copy RGB images, and reduce 16 bits to 8.
    keep = image.mode == "RGB" or image.mode.startswith("I")
    return _rgb(np.asarray(image if keep else image.convert("RGB")))


def read_georeference(data: bytes) -> tuple[str, list[tuple[float, float]]] | None:
    """Read the georeference of a GeoTIFF or JPEG 2000.

    Args:
        data: content of the file.

    Returns:
        The coordinate reference system (WKT), and the (x, y) of the raster's centre, upper left, upper right
        and lower left corner in it. None for a file without georeference.

    Raises:
        DataError: rasterio is not installed.
    """
    if not is_raster(data):
        return None
    with open_raster(data) as raster:
        if raster.crs is None or raster.transform.is_identity:
            return None
        width, height = raster.width, raster.height
        places = [(height / 2, width / 2), (0, 0), (0, width), (height, 0)]  # row and column
        return raster.crs.to_wkt(), [raster.xy(*place, offset="ul") for place in places]


def to_uint8_tile(pixels: np.ndarray, size: tuple[int, int], *, scale_max: int) -> np.ndarray:
    """Scale pixels to 8 bits and resize them bilinearly.

    Args:
        pixels: uint8 or uint16 (H, W, 3).
        size: width and height of the tile in pixels.
        scale_max: 16-bit value that is scaled to 255; larger ones are clipped. Ignored for uint8.

    Returns:
        uint8 (size[1], size[0], 3).

    Raises:
        BadImageError: the image is far smaller than `size` (see `MIN_SIDE`): a single pixel, enlarged, looks
            like open water to any model.
    """
    check_side(pixels, size)
    if pixels.dtype == np.uint16:
        scale = np.minimum(np.arange(65536) * (255 / scale_max) + 0.5, 255).astype(np.uint8)
        pixels = scale[pixels]
    if pixels.shape[1::-1] != size:
        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    return pixels


def check_side(pixels: np.ndarray, size: tuple[int, int]) -> None:
    """Check that an image is not far smaller than the tiles, see `MIN_SIDE`.

    Args:
        pixels: (H, W, bands).
        size: width and height of the tiles in pixels.

    Raises:
        BadImageError: it is.
    """
    height, width = pixels.shape[:2]
    least = tuple(min(MIN_SIDE, -(-side // MAX_UPSCALING)) for side in size)
    if width < least[0] or height < least[1]:
        raise BadImageError(
            f"is {width}x{height} pixels, too small beside tiles of {size[0]}x{size[1]}: at least "
            f"{least[0]}x{least[1]} are needed"
        )


def to_integers(values: np.ndarray) -> np.ndarray:
    """Return integers of any type as uint8 or uint16.

    Raises:
        BadImageError: a value is outside 0..65535.
    """
    if values.dtype == np.uint8:
        return values
    if values.min() < 0 or values.max() > 65535:
        raise BadImageError("holds values outside 0..65535: save it with 8 or 16 bits")
    return values.astype(np.uint16, copy=False)


@contextmanager
def strict_decoding() -> Iterator[None]:
    """Turn Pillow's decompression bomb warning into an error, and silence others.

    Enter it in the main thread, around the threads that decode: warning filters apply to the whole process.
    """
    silence_libraries()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _open(data: bytes) -> Image.Image | None:
    """Open with Pillow and check the header; None if rasterio has to read the file."""
    if not data:
        raise BadImageError("is empty")
    silence_libraries()
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
        reduced = _reduced_to_8_bits(image, data)
    except UnidentifiedImageError:
        if is_raster(data):
            return None
        kinds = ", ".join((*_FORMATS, "JPEG 2000"))
        raise BadImageError(f"is no image of a known kind ({kinds})") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadImageError(f"has more than {MAX_PIXELS:,} pixels") from None
    except Exception as error:  # Pillow raises a dozen types on damaged files
        raise _damaged(error) from None
    _check_image(image)
    return None if reduced else image


def _reduced_to_8_bits(image: Image.Image, data: bytes) -> bool:
    """Return whether Pillow would reduce the file's values to 8 bits."""
    if image.mode.startswith("I"):
        return False
    if data.startswith(_PNG):
        return data[24] == 16  # the header chunk comes first and has a fixed layout
    return image.format == "TIFF" and max(image.tag_v2.get(258, (8,))) > 8  # type: ignore[attr-defined]


def is_raster(data: bytes) -> bool:
    """Return whether the content of a file is of a format of many bands: TIFF or JPEG 2000."""
    return data.startswith(_TIFF + JPEG2000)


def needs_rasterio(data: bytes) -> bool:
    """Return whether Pillow cannot read a file, and rasterio may.

    Raises:
        BadImageError: the file is empty, not an image, damaged or too large.
    """
    return _open(data) is None


@contextmanager
def open_raster(data: bytes) -> "Iterator[DatasetReader]":
    """Open a file with rasterio and a fixed driver, as a VRT could name other files.

    Raises:
        BadImageError: it is damaged, too large, or holds floating-point values.
        DataError: rasterio is not installed.
    """
    require("geo", "rasterio", purpose="tiles of 16-bit RGB, many bands or JPEG 2000, and for coordinates")
    from rasterio.io import MemoryFile

    packed = data.startswith(JPEG2000)
    driver = "JP2OpenJPEG" if packed else "PNG" if data.startswith(_PNG) else "GTiff"
    try:
        if packed and (fault := find_fault(data, most_values=MAX_VALUES // 4)):  # decoded to 4 bytes each
            raise BadImageError(fault)
        with MemoryFile(data) as file, file.open(driver=driver) as raster:
            _check(raster.width, raster.height, dtype=raster.dtypes[0])
            yield raster
    except BadImageError:
        raise
    except Exception as error:  # GDAL's, numpy's for damaged sizes, ...
        raise _damaged(error) from None


def _check_colours(raster: "DatasetReader", data: bytes) -> None:
    """Raise a BadImageError for bands that are neither grey nor RGB, in this order."""
    if raster.colorinterp[0].name == "palette":  # of 16 bits; Pillow reads those of 8
        raise BadImageError(HAS_PALETTE)
    if raster.colorinterp[0].name == "cyan":  # of 16 bits; those of 8 are converted
        raise BadImageError("has colours in CMYK: save it as RGB")
    if raster.count == 2 and raster.driver != "PNG":
        raise BadImageError("has 2 bands, not 1 (grey) or 3 and more (red, green, blue first)")
    if data.startswith(JPEG2000) and read_boxes(data).is_reordered:  # no fault where bands are read by name
        raise BadImageError("has its colours in another order: save it as RGB")


def _check_image(image: Image.Image) -> None:
    """Check a Pillow image as `_check` does."""
    kind = {"F": "float32", "I": "int32", "I;16": "uint16"}.get(image.mode, "uint8")
    # libwebp holds a second copy of the pixels.
    _check(image.width, image.height, dtype="uint16" if image.format == "WEBP" else kind)


def _check(width: int, height: int, *, dtype: str) -> None:
    """Raise a BadImageError for unsupported sizes and data types.

    The limit of pixels is for 1 byte per value, and is lowered for 2 and 4 bytes, so that no file takes more
    than about 600 MB of memory.
    """
    if width < 1 or height < 1:
        raise BadImageError("has no pixels")
    most = MAX_PIXELS if "8" in dtype else MAX_PIXELS // (2 if "16" in dtype else 4)
    if width * height > most:
        raise BadImageError(f"has {width * height:,} pixels, more than the {most:,} allowed")
    if dtype.startswith(("float", "complex")):
        raise BadImageError("holds floating-point values: save it with 8 or 16 bits")


def _rgb(values: np.ndarray) -> np.ndarray:
    """Return integers (H, W), (H, W, 1) or (H, W, 3) as uint8 or uint16 (H, W, 3)."""
    values = to_integers(values)
    if values.ndim == 2:
        values = values[..., None]
    return values if values.shape[2] == 3 else np.repeat(values, 3, axis=2)


def _damaged(error: Exception) -> BadImageError:
    """Return the error for a file that a library cannot decode."""
    return BadImageError(f"is damaged ({library_reason(error)})")
