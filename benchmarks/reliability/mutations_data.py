"""Targets for `mutations`: tile sources (images, parquet files, zips, tables)."""

import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from mutations import Target
from PIL import Image
from pyarrow.parquet import write_table

from orbitune.sources.decode import (
    BadImageError,
    read_georeference,
    read_header,
    read_pixels,
    strict_decoding,
    to_uint8_tile,
)
from orbitune.sources.registry import find_source

_SIDE = 24


def _pixels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (_SIDE, _SIDE, 3), np.uint8)


def _encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _geotiff(bands: np.ndarray, **options: object) -> bytes:
    from rasterio.io import MemoryFile
    from rasterio.transform import from_origin

    count, height, width = bands.shape
    profile = {"count": count, "height": height, "width": width, "dtype": bands.dtype, "crs": "EPSG:32632"}
    with MemoryFile() as file:
        with file.open(
            driver="GTiff", transform=from_origin(4e5, 5e6, 10, 10), **profile, **options
        ) as raster:
            raster.write(bands)
        return file.read()


def image_samples() -> dict[str, bytes]:
    """Return an image of every format, depth and compression, `_SIDE` pixels wide."""
    rgb = Image.fromarray(_pixels())
    grey16 = Image.fromarray(_pixels()[..., 0].astype(np.uint16) * 200)
    bands = np.moveaxis(_pixels().astype(np.uint16) * 100, 2, 0)
    samples = {kind.lower(): _encode(rgb, kind) for kind in ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF")}
    for name in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg"):
        samples[f"tiff-{name}"] = _encode(rgb, "TIFF", compression=name)
    return samples | {
        "png-16": _encode(grey16, "PNG"),
        "tiff-16": _encode(grey16, "TIFF"),
        "png-palette": _encode(rgb.quantize(16), "PNG"),
        "jpeg-progressive": _encode(rgb, "JPEG", progressive=True),
        "jpeg-cmyk": _encode(rgb.convert("CMYK"), "JPEG"),
        "jpeg-exif": _encode(rgb, "JPEG", exif=_exif()),
        "geotiff-16": _geotiff(bands),
        "geotiff-deflate": _geotiff(bands, compress="deflate"),
        "geotiff-bands": _geotiff(np.concatenate([bands] * 3), interleave="band"),
    }


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def read_image(name: str, data: bytes) -> None:
    """Read header, pixels and georeference, as training and prediction do."""
    with strict_decoding():
        read_header(data)
        to_uint8_tile(read_pixels(data), (_SIDE, _SIDE), scale_max=255)
        read_georeference(data)


def parquet_samples() -> dict[str, bytes]:
    """Return parquet files of six rows, an image and a label, in the hub's layout."""
    from datasets import ClassLabel, Dataset, Features, Value, disable_progress_bars
    from datasets import Image as ImageFeature

    disable_progress_bars()
    rows = {
        "image": [{"bytes": _encode(Image.fromarray(_pixels(i)), "PNG"), "path": None} for i in range(6)],
        "label": [i % 2 for i in range(6)],
        "filename": [f"tile_{i}.png" for i in range(6)],
    }
    features = {"image": ImageFeature(), "label": ClassLabel(names=["a", "b"]), "filename": Value("string")}
    file = io.BytesIO()
    Dataset.from_dict(rows, Features(features)).to_parquet(file)
    return {"train.parquet": file.getvalue()}


def zip_samples() -> dict[str, bytes]:
    """Return zips of two classes with two tiles each, stored and deflated."""
    samples = {}
    for name, method in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            for number in range(4):
                data = _encode(Image.fromarray(_pixels(number)), "PNG")
                archive.writestr(f"{'ab'[number % 2]}/tile_{number}.png", data)
        samples[f"{name}.zip"] = file.getvalue()
    return samples


def table_samples() -> dict[str, bytes]:
    """Return three file names and labels as each kind of table beside images."""
    rows = [{"file_name": f"{number}.png", "label": "ab"[number % 2]} for number in range(3)]
    lines = ["file_name,label", *(f'{row["file_name"]},"{row["label"]}"' for row in rows)]
    file = io.BytesIO()
    write_table(pa.Table.from_pylist(rows), file)
    return {
        "metadata.csv": "\n".join(lines).encode(),
        "metadata.jsonl": "\n".join(map(json.dumps, rows)).encode(),
        "metadata.parquet": file.getvalue(),
    }


def _beside_images(folder: Path, name: str) -> Path:
    for number in range(3):
        (folder / f"{number}.png").write_bytes(_encode(Image.fromarray(_pixels(number)), "PNG"))
    return folder / name


def _in(folder: Path, name: str) -> Path:
    return folder / name


def _read_source(place: Callable[[Path, str], Path], opened: Callable[[Path], Path]) -> Callable[..., None]:
    def read(name: str, data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as scratch:
            path = place(Path(folder), name)
            path.write_bytes(data)
            source = find_source(str(opened(path)))
            source.digest()
            with source.open(Path(scratch)) as listing, strict_decoding():
                for index in range(len(listing.names)):
                    try:
                        read_pixels(listing.read(index))
                    except BadImageError:
                        continue

    return read


TARGETS = [
    Target("images", image_samples, read_image),
    Target("parquet", parquet_samples, _read_source(_in, lambda path: path.parent)),
    Target("zips", zip_samples, _read_source(_in, lambda path: path)),
    Target("tables", table_samples, _read_source(_beside_images, lambda path: path.parent)),
]
