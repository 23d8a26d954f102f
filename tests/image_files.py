"""Small real image files, made by the tests."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def encode(pixels: np.ndarray, kind: str = "PNG", mode: str | None = None) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(file, kind)
    return file.getvalue()


def tiff(bands: np.ndarray, **options: str) -> bytes:
    """A GeoTIFF of (bands, H, W), as GDAL writes it."""
    from rasterio.io import MemoryFile

    count, height, width = bands.shape
    with MemoryFile() as file:
        with file.open(
            driver="GTiff", count=count, height=height, width=width, dtype=bands.dtype, **options
        ) as raster:
            raster.write(bands)
        return file.read()


def jp2(bands: np.ndarray) -> bytes:
    """A lossless JPEG 2000 of (bands, H, W), as GDAL writes it."""
    from rasterio.io import MemoryFile

    count, height, width = bands.shape
    profile = {"count": count, "height": height, "width": width, "dtype": bands.dtype}
    lossless = {"QUALITY": "100", "REVERSIBLE": "YES", "YCBCR420": "NO"}
    with MemoryFile() as file:
        with file.open(driver="JP2OpenJPEG", **lossless, **profile) as raster:
            raster.write(bands)
        return file.read()


def tile(value: int = 0, size: int = 8) -> np.ndarray:
    """uint8 (size, size, 3), red = value, with some green and blue."""
    pixels = np.empty((size, size, 3), np.uint8)
    pixels[:] = (value, 20, 40)
    return pixels


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )
