"""How large the land of each class is, and how sure that is.

The areas are stratified estimates from the map and the confusion of test tiles (Olofsson et al. 2014,
doi:10.1016/j.rse.2014.02.015): what the model confuses in testing is taken to be confused as often here. They
hold as far as the scene is like the test tiles; where it is another country or season, it need not be.
"""

from pathlib import Path
from typing import Any

import numpy as np

from orbitune.mapping.grid import UNSURE
from orbitune.mapping.raster_source import gdal, import_rasterio
from orbitune.mapping.writer import MapRasters

_NORMAL = 1.96  # of a 95 % interval
_ROWS = 256  # of pixels that are counted at a time


def areas(layers: MapRasters, confusion: np.ndarray | None, land_cover: Path) -> list[dict[str, Any]]:
    """Return one row for each class, and one for what is not sure, counted from the pixels of the map's file.

    Args:
        land_cover: the finished map.
        confusion: int (C, C), tiles by true class (rows) and answer (columns); None where it is not known.

    Returns:
        name, hectares on the map, share of what is not nodata, and where the confusion is known, the
        estimate with its 95 % interval: estimated_hectares, low_hectares and high_hectares.
    """
    hectares = _square_metres(layers, land_cover) / 1e4
    there = hectares[1:].sum()
    mapped = hectares[1 : len(layers.classes) + 1]
    rows = []
    estimates = None if confusion is None or not mapped.sum() else _estimate(mapped, confusion)
    for number, name in enumerate(layers.classes):
        row: dict[str, Any] = {"name": name, "hectares": float(mapped[number])}
        row["share"] = float(mapped[number] / there) if there else 0.0
        if estimates:
            middle, error = (float(values[number]) for values in estimates)
            row |= {
                "estimated_hectares": middle,
                "low_hectares": max(0.0, middle - _NORMAL * error),
                "high_hectares": middle + _NORMAL * error,
            }
        rows.append(row)
    unsure = float(hectares[UNSURE])
    return [*rows, {"name": "not sure", "hectares": unsure, "share": unsure / there if there else 0.0}]


def _square_metres(layers: MapRasters, land_cover: Path) -> np.ndarray:
    """The area on the ground of the pixels of each code, float (256,)."""
    found = np.zeros(256)
    with gdal(), import_rasterio().open(land_cover) as file:
        for top in range(0, file.height, _ROWS):
            rows = min(_ROWS, file.height - top)
            codes = file.read(1, window=((top, top + rows), (0, file.width)))
            found += np.bincount(codes.ravel(), layers.pixel_areas.window(top, rows).ravel(), 256)
    return found


def _estimate(mapped: np.ndarray, confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Estimated area of each class and its standard error; Olofsson's equations 9 and 10."""
    answers = confusion.T.astype(float)  # rows: what the map says
    counts = answers.sum(1, keepdims=True)
    # What the model never answered in testing says nothing about itself: it is taken at its word.
    shares = np.where(counts > 0, answers / np.maximum(counts, 1), np.eye(len(answers)))
    variance = shares * (1 - shares) / np.maximum(counts - 1, 1)
    return mapped @ shares, np.sqrt(mapped**2 @ variance)
