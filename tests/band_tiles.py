"""Small multi-band tiles: synthetic ones that can be learnt, and real ones."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

NAMES = ("B04", "B03", "B02", "B08", "B11")


def band_tile_folder(
    folder: Path,
    bands: Sequence[str] | None = NAMES,
    count: int = 5,
    each: int = 12,
    size: int = 16,
    dtype: str = "uint16",
) -> Path:
    """Write three class folders of GeoTIFFs.

    Classes differ in the bands after the third alone.

    Args:
        bands: descriptions of the bands; None for files without.
    """
    random = np.random.default_rng(0)
    scale = 1 if dtype == "uint8" else 20
    for label in range(3):
        for number in range(each):
            values = random.normal(100, 30, (count, size, size))
            values[3:] += 60 * (label - 1)
            values = (values.clip(0, 255) * scale).astype(dtype)
            write_bands(folder / f"class_{label}" / f"tile_{number}.tif", values, bands)
    return folder


def write_bands(
    path: Path, pixels: np.ndarray, bands: Sequence[str] | None = None, **profile: object
) -> Path:
    """Write (bands, H, W) as a GeoTIFF with these descriptions."""
    import rasterio
    from rasterio.transform import from_origin

    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = pixels.shape
    stated = {
        "driver": "GTiff",
        "count": count,
        "height": height,
        "width": width,
        "dtype": pixels.dtype,
        "crs": "EPSG:32632",
        "transform": from_origin(600_000, 5_500_000, 10, 10),
    }
    with rasterio.open(path, "w", **{**stated, **profile}) as file:
        file.write(pixels)
        if bands:
            file.descriptions = tuple(bands)
    return path


def cut_scene(scene: Path, folder: Path, labels: Sequence[str], side: int = 32, scale: float = 1.0) -> Path:
    """Cut a real scene into class folders of uint16 GeoTIFFs.

    The class of a tile is the rank of its mean near infrared.

    Args:
        labels: class names, from the darkest tiles to the brightest.
        scale: factor on the values, so that they are digital numbers.
    """
    import rasterio

    with rasterio.open(scene) as file:
        pixels, names = np.nan_to_num(file.read()), [name or "" for name in file.descriptions]
    rows, columns = (n // side for n in pixels.shape[1:])
    tiles = [
        pixels[:, side * r : side * (r + 1), side * c : side * (c + 1)]
        for r in range(rows)
        for c in range(columns)
    ]
    order = np.argsort([tile[3].mean() for tile in tiles], kind="stable")
    for rank, index in enumerate(order.tolist()):
        label = labels[rank * len(labels) // len(order)]
        values = (tiles[index] * scale).clip(0, 65535).astype(np.uint16)
        write_bands(folder / label / f"{label}_{index}.tif", values, names if any(names) else None)
    return folder
