"""Class areas of a map, with stratified estimates and confidence intervals.

The estimates combine the mapped areas with the confusion matrix of the test tiles (Olofsson et al. 2014,
doi:10.1016/j.rse.2014.02.015). They assume that the model confuses classes in the scene as often as in the
test tiles, which need not hold in another country or season.
"""

import numpy as np

from orbitune.mapping.grid import NOT_SURE
from orbitune.mapping.map_report import ClassArea
from orbitune.mapping.outputs.rasters import MapRasters
from orbitune.mapping.scene.raster_io import gdal_environment, import_rasterio

_Z = 1.96  # standard errors of a 95 % interval
_ROWS = 256  # rows of pixels counted at a time


def estimate_areas(rasters: MapRasters, confusion: np.ndarray | None) -> list[ClassArea]:
    """Estimate the area of each class, and of `not sure`, from the map's pixels.

    Args:
        confusion: int (C, C), test tiles by true class (rows) and predicted class (columns); None if unknown,
            which leaves out the estimates.
    """
    classes = rasters.metadata.classes
    hectares = _mapped_square_metres(rasters) / 1e4
    total = hectares[1:].sum()
    mapped = hectares[1 : len(classes) + 1]
    estimates = None if confusion is None or not mapped.sum() else _stratified_estimate(mapped, confusion)
    rows = []
    for index, name in enumerate(classes):
        interval = {}
        if estimates:
            middle, error = (float(values[index]) for values in estimates)
            interval = {
                "estimated_hectares": middle,
                "low_hectares": max(0.0, middle - _Z * error),
                "high_hectares": middle + _Z * error,
            }
        fraction = float(mapped[index] / total) if total else 0.0
        rows.append(ClassArea(name=name, hectares=float(mapped[index]), fraction=fraction, **interval))
    unsure = float(hectares[NOT_SURE])
    return [*rows, ClassArea(name="not sure", hectares=unsure, fraction=unsure / total if total else 0.0)]


def _mapped_square_metres(rasters: MapRasters) -> np.ndarray:
    """Return the total area on the ground of the pixels of each code, float (256,)."""
    found = np.zeros(256)
    with gdal_environment(), import_rasterio().open(rasters.map_file) as file:
        for top in range(0, file.height, _ROWS):
            rows = min(_ROWS, file.height - top)
            codes = file.read(1, window=((top, top + rows), (0, file.width)))
            found += np.bincount(codes.ravel(), rasters.pixel_areas.window(top, rows).ravel(), 256)
    return found


def _stratified_estimate(mapped: np.ndarray, confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Estimate areas and standard errors (Olofsson et al. 2014, eqs. 9 and 10)."""
    predicted = confusion.T.astype(float)  # rows: predicted class
    counts = predicted.sum(1, keepdims=True)
    # A class never predicted in testing has no known confusion: assume its mapped pixels are right.
    fractions = np.where(counts > 0, predicted / np.maximum(counts, 1), np.eye(len(predicted)))
    variance = fractions * (1 - fractions) / np.maximum(counts - 1, 1)
    return mapped @ fractions, np.sqrt(mapped**2 @ variance)
