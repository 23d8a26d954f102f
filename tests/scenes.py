"""Scenes on disk made of tiles, and maps read back."""

from pathlib import Path

import numpy as np

UTM = "EPSG:32632"


def mosaic(tiles: np.ndarray) -> np.ndarray:
    """Join tiles (rows, columns, S, S, C) to (rows * S, columns * S, C)."""
    rows, columns, side = tiles.shape[:3]
    return tiles.swapaxes(1, 2).reshape(rows * side, columns * side, -1)


def write_scene(path: Path, pixels: np.ndarray, metres: float = 10.0, **profile: object) -> Path:
    """Write (H, W, bands) as a GeoTIFF; `profile` overrides what it is written with."""
    import rasterio
    from rasterio.transform import from_origin

    height, width, bands = pixels.shape
    stated = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": bands,
        "dtype": pixels.dtype,
        "crs": UTM,
        "transform": from_origin(600_000, 5_500_000, metres, metres),
    }
    with rasterio.open(path, "w", **{**stated, **profile}) as file:
        file.write(pixels.transpose(2, 0, 1))
    return path


def write_labels(path: Path, pixels: object, labels: list, field: str = "true_class") -> Path:
    """Write labelled points in the middles of pixels of a `write_scene` scene.

    Pixels are (row, column) of 10 m.
    """
    import pyogrio.raw
    import shapely

    rows, columns = np.asarray(pixels, float).reshape(-1, 2).T
    places = shapely.to_wkb(shapely.points(600_005 + 10 * columns, 5_499_995 - 10 * rows))
    values = [np.array(labels, object)]
    pyogrio.raw.write(path, places, values, [field], geometry_type="Point", crs=UTM)
    return path


def label_cells(path: Path, rows: int = 4, columns: int = 4) -> Path:
    """Write two labelled points in each cell of 16 pixels of a scene."""
    cells = [(row, column) for row in range(rows) for column in range(columns)]
    pixels = [(16 * row + 8, 16 * column + right) for row, column in cells for right in (4, 11)]
    return write_labels(path, pixels, [f"class_{number // 2 % 2}" for number in range(len(pixels))])


def read_band(path: Path) -> np.ndarray:
    import rasterio

    with rasterio.open(path) as file:
        return file.read(1)


def small_scene(folder: Path) -> Path:
    """Write a scene of 64 x 64 random pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    return write_scene(folder / "scene.tif", pixels)
