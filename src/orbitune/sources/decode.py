"""Decoding: the bytes of one image file into RGB pixels, or the reason why that cannot be.

Pillow does the work; rasterio reads what Pillow cannot (many bands) or would silently cut to 8 bits (16-bit
RGB). No file is trusted: pixels are counted on the header, and only six kinds of file are opened.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, UnidentifiedImageError

from orbitune.errors import DataError, first_line
from orbitune.extras import require
from orbitune.sources.library_messages import silence_libraries

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

DECODING = 1  # raise it whenever the same file comes out as other pixels: stores are then built anew
MAX_PIXELS = 89_478_485  # Pillow's own limit, at which it only warns and which a process can switch off
SHRINKING = 4  # times smaller than the tiles an image may be along a side,
SMALLEST = 16  # or else as many pixels: below, nothing of the ground is left to see

_KINDS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF")  # not EPS, which runs Ghostscript
_PNG = b"\x89PNG"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_AT_ONCE = 2**22  # pixels converted in one go: a large image and two copies of it would fill the memory


class BadImageError(DataError):
    """One file is no usable image; the message is the reason, to follow the file's name."""


@dataclass(frozen=True)
class Header:
    """What a file says of itself: width and height in pixels, and whether values have more than 8 bits."""

    width: int
    height: int
    deep: bool


def read_header(data: bytes) -> Header:
    """Read size and depth without decoding the pixels.

    Raises:
        BadImageError: the file is empty, no image, damaged, too large, or holds no brightness values.
        DataError: only rasterio can read the file, and it is not installed.
    """
    image = _open(data)
    if image is not None:
        return Header(*image.size, deep=image.mode.startswith("I"))
    with _raster(data) as raster:
        return Header(raster.width, raster.height, deep=raster.dtypes[0] != "uint8")


def read_pixels(data: bytes) -> np.ndarray:
    """Decode a file into RGB: grey is repeated, alpha and bands after the third are dropped.

    The EXIF orientation is ignored: what lies below a satellite has no upright.

    Returns:
        (H, W, 3), uint8, or uint16 where the file has more than 8 bits a value.

    Raises:
        BadImageError, DataError: as `read_header`; a file cut short is found only here.
    """
    image = _open(data)
    if image is None:
        with _raster(data) as raster:
            return _rgb(np.moveaxis(raster.read([1, 2, 3] if raster.count > 2 else [1]), 0, 2))
    return pixels_of_image(image)


def pixels_of_image(image: Image.Image) -> np.ndarray:
    """The pixels of an image of Pillow, as `read_pixels` gives those of a file.

    Raises:
        BadImageError: it is damaged, too large, or holds no brightness values.
    """
    _check_image(image)
    try:
        rows = max(1, _AT_ONCE // image.width)
        if image.height <= rows:
            return _converted(image)
        deep = image.mode.startswith("I")
        pixels = np.empty((image.height, image.width, 3), np.uint16 if deep else np.uint8)
        for top in range(0, image.height, rows):
            strip = image.crop((0, top, image.width, min(top + rows, image.height)))
            pixels[top : top + rows] = _converted(strip)
        return pixels
    except BadImageError:
        raise
    except Exception as error:  # Pillow raises a dozen types on damaged files
        raise _damaged(error) from None


def _converted(image: Image.Image) -> np.ndarray:
    # `convert` would copy what is RGB already, and make 8 bits of 16.
    keep = image.mode == "RGB" or image.mode.startswith("I")
    return _rgb(np.asarray(image if keep else image.convert("RGB")))


def read_georeference(data: bytes) -> tuple[str, list[tuple[float, float]]] | None:
    """Where a GeoTIFF lies; None for a file that does not say so.

    Returns:
        Its coordinate system (WKT), and in it the (x, y) of the raster's centre, upper left, upper right and
        lower left.

    Raises:
        DataError: only rasterio can read this, and it is not installed.
    """
    if not data.startswith(_TIFF):
        return None
    with _raster(data) as raster:
        if raster.crs is None or raster.transform.is_identity:
            return None
        width, height = raster.width, raster.height
        places = [(height / 2, width / 2), (0, 0), (0, width), (height, 0)]  # row and column
        return raster.crs.to_wkt(), [raster.xy(*place, offset="ul") for place in places]


def fit(pixels: np.ndarray, size: tuple[int, int], white: int) -> np.ndarray:
    """Bring pixels to 8 bits and to one size.

    Args:
        pixels: uint8 or uint16 (H, W, 3).
        size: width and height in pixels; other sizes are resized bilinearly.
        white: the 16-bit value that becomes 255; higher ones are clipped. No matter for 8 bits.

    Returns:
        uint8 (size[1], size[0], 3).

    Raises:
        BadImageError: the image is far smaller than `size`, see `SMALLEST`: one pixel, enlarged, looks like
            open water to any model.
    """
    height, width = pixels.shape[:2]
    least = tuple(min(SMALLEST, -(-side // SHRINKING)) for side in size)
    if width < least[0] or height < least[1]:
        raise BadImageError(
            f"is {width}x{height} pixels, too small beside tiles of {size[0]}x{size[1]}: at least "
            f"{least[0]}x{least[1]} are needed"
        )
    if pixels.dtype == np.uint16:
        scale = np.minimum(np.arange(65536) * (255 / white) + 0.5, 255).astype(np.uint8)
        pixels = scale[pixels]
    if pixels.shape[1::-1] != size:
        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    return pixels


@contextmanager
def strict_decoding() -> Iterator[None]:
    """Make Pillow's bomb warning an error, and keep the libraries' own remarks on single files quiet.

    Enter it in the main thread around the threads that decode: warning filters are the process's.
    """
    silence_libraries()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _open(data: bytes) -> Image.Image | None:
    """Open with Pillow as far as the header; None where rasterio has to read the file."""
    if not data:
        raise BadImageError("is empty")
    silence_libraries()
    try:
        image = Image.open(io.BytesIO(data), formats=_KINDS)
        cut = _would_be_cut(image, data)
    except UnidentifiedImageError:
        if data.startswith(_TIFF):
            return None
        raise BadImageError(f"is no image of a known kind ({', '.join(_KINDS)})") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadImageError(f"has more than {MAX_PIXELS:,} pixels") from None
    except Exception as error:  # Pillow raises a dozen types on damaged files
        raise _damaged(error) from None
    _check_image(image)
    return None if cut else image


def _would_be_cut(image: Image.Image, data: bytes) -> bool:
    """Whether the file has more than 8 bits a value where Pillow gives 8."""
    if image.mode.startswith("I"):
        return False
    if data.startswith(_PNG):
        return data[24] == 16  # the header chunk comes first and has a fixed layout
    return image.format == "TIFF" and max(image.tag_v2.get(258, (8,))) > 8  # type: ignore[attr-defined]


@contextmanager
def _raster(data: bytes) -> "Iterator[DatasetReader]":
    """Open with rasterio, without letting the file choose the driver (a VRT could name other files)."""
    require("geo", "rasterio", purpose="tiles of 16-bit RGB or many bands, and for coordinates")
    from rasterio.io import MemoryFile

    driver = "PNG" if data.startswith(_PNG) else "GTiff"
    try:
        with MemoryFile(data) as file, file.open(driver=driver) as raster:
            _check(raster.width, raster.height, raster.dtypes[0])
            if raster.count == 2 and driver == "GTiff":
                raise BadImageError("has 2 bands, not 1 (grey) or 3 and more (red, green, blue first)")
            yield raster
    except BadImageError:
        raise
    except Exception as error:  # GDAL's, numpy's for damaged sizes, ...
        raise _damaged(error) from None


def _check_image(image: Image.Image) -> None:
    """As `_check`, of an image of Pillow."""
    kind = {"F": "float32", "I": "int32", "I;16": "uint16"}.get(image.mode, "uint8")
    # libwebp holds all pixels a second time.
    _check(image.width, image.height, "uint16" if image.format == "WEBP" else kind)


def _check(width: int, height: int, dtype: str) -> None:
    """Raise a BadImageError for sizes and types of values that are not read.

    Values of 2 or 4 bytes may have as many pixels less, so that no file takes more than some 600 MB.
    """
    if width < 1 or height < 1:
        raise BadImageError("has no pixels")
    most = MAX_PIXELS if "8" in dtype else MAX_PIXELS // (2 if "16" in dtype else 4)
    if width * height > most:
        raise BadImageError(f"has {width * height:,} pixels, more than the {most:,} allowed")
    if dtype.startswith(("float", "complex")):
        raise BadImageError("holds floating-point values: save it with 8 or 16 bits")


def _rgb(values: np.ndarray) -> np.ndarray:
    """Integers (H, W), (H, W, 1) or (H, W, 3) as uint8 or uint16 (H, W, 3)."""
    if values.dtype != np.uint8:
        if values.min() < 0 or values.max() > 65535:
            raise BadImageError("holds values outside 0..65535: save it with 8 or 16 bits")
        values = values.astype(np.uint16, copy=False)
    if values.ndim == 2:
        values = values[..., None]
    return values if values.shape[2] == 3 else np.repeat(values, 3, axis=2)


def _damaged(error: Exception) -> BadImageError:
    return BadImageError(f"is damaged ({first_line(error)})")
