"""Small real image files, made by the tests."""

import io
import struct
import zlib
from collections.abc import Sequence
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


def jp2(bands: np.ndarray, colours: Sequence[str] = ()) -> bytes:
    """A lossless JPEG 2000 of (bands, H, W), as GDAL writes it, and states the colour of each band."""
    from rasterio.enums import ColorInterp
    from rasterio.io import MemoryFile

    count, height, width = bands.shape
    profile = {"count": count, "height": height, "width": width, "dtype": bands.dtype}
    lossless = {"QUALITY": "100", "REVERSIBLE": "YES", "YCBCR420": "NO"}
    with MemoryFile(ext=".jp2") as file:
        with file.open(driver="JP2OpenJPEG", **lossless, **profile) as raster:
            raster.write(bands)
            if colours:
                raster.colorinterp = [ColorInterp[colour] for colour in colours]
        return file.read()


def paletted_jp2(indices: np.ndarray, colours: dict[int, tuple[int, int, int]]) -> bytes:
    """A lossless JPEG 2000 of boxes whose values (H, W) are indices into a palette."""
    from rasterio.io import MemoryFile
    from rasterio.shutil import copy

    height, width = indices.shape
    profile = {"driver": "GTiff", "count": 1, "height": height, "width": width, "dtype": indices.dtype}
    with MemoryFile() as source, MemoryFile(ext=".jp2") as file:
        with source.open(**profile, photometric="palette") as raster:
            raster.write(indices, 1)
            raster.write_colormap(1, colours)
        copy(source.name, file.name, driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")
        return file.read()


def codestream(
    side: int = 16,
    tile: int = 16,
    components: int = 1,
    *,
    bits: int = 8,
    main: bytes = b"",
    of_tile: bytes = b"",
) -> bytes:
    """A JPEG 2000 codestream of zeros, with these segments in the headers of the whole and of its tile."""
    size = struct.pack(">H8IH", 0, side, side, 0, 0, tile, tile, 0, 0, components)
    return (
        b"\xff\x4f"
        + segment(0xFF51, size + bytes([bits - 1, 1, 1]) * components)
        + (main or cod())
        + segment(0xFF5C, bytes([0x40, 8 << 3]))
        + segment(0xFF90, struct.pack(">HIBB", 0, 0, 0, 1))
        + of_tile
        + b"\xff\x93"
        + b"\0" * 100
        + b"\xff\xd9"
    )


def segment(marker: int, content: bytes) -> bytes:
    """A segment of the header of a JPEG 2000 codestream."""
    return struct.pack(">HH", marker, len(content) + 2) + content


def cod(block: int = 6, precincts: bytes = b"", layers: int = 1) -> bytes:
    """The segment that states the coding of all components; the side of code-blocks is an exponent of 2."""
    return segment(0xFF52, struct.pack(">BBHB", bool(precincts), 0, layers, 0) + _blocks(block) + precincts)


def coc(block: int = 6) -> bytes:
    """The segment that states the coding of the first component."""
    return segment(0xFF53, bytes(2) + _blocks(block))


def _blocks(side: int) -> bytes:
    return bytes([0, side - 2, side - 2, 0, 1])


def tile(value: int = 0, size: int = 8) -> np.ndarray:
    """uint8 (size, size, 3), red = value, with some green and blue."""
    pixels = np.empty((size, size, 3), np.uint8)
    pixels[:] = (value, 20, 40)
    return pixels


def stripes(size: int = 16) -> np.ndarray:
    """uint8 (size, size, 3), unlike any tile of the training: columns of white and black."""
    pixels = np.zeros((size, size, 3), np.uint8)
    pixels[:, ::2] = 255
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
