"""Lengths and areas on the ellipsoid, whatever the coordinate reference system: metres on the ground.

Units of a projection are no metres on the ground: in Web Mercator at 50 degrees north a square unit is 0.41
square metres. A pixel's area is measured where it lies, by geodesics along its row and its column.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from orbitune.errors import DataError, first_line
from orbitune.extras import require

_NODES = 65  # pixels along a side that are measured; between them areas are interpolated


@dataclass(frozen=True)
class PixelAreas:
    """The area of every pixel of a raster, bilinear between measured pixels.

    Attributes:
        rows: float (H, n), the weights of the measured rows in each row.
        values: float (n, m), square metres of the measured pixels.
        columns: float (m, W), the weights of the measured columns in each column.
    """

    rows: np.ndarray
    values: np.ndarray
    columns: np.ndarray

    @classmethod
    def measure(cls, crs: str, transform: Any, height: int, width: int) -> "PixelAreas":
        """Measure the pixels of a raster.

        Args:
            crs: coordinate reference system, as WKT.
            transform: rasterio's affine transform of the raster.

        Raises:
            DataError: pyproj is not installed or does not know the CRS, or no pixel lies on Earth.
        """
        rows, columns = _nodes(height), _nodes(width)
        grid = np.meshgrid(columns + 0.5, rows + 0.5)
        across, down, angle = _sides(crs, transform, *(each.ravel() for each in grid))
        values = (across * down * np.abs(np.sin(angle))).reshape(len(rows), len(columns))
        return cls(_weights(rows, height), _nearest(values), _weights(columns, width).T)

    def window(self, top: int, height: int) -> np.ndarray:
        """Return the areas of some whole rows in square metres, float (height, W)."""
        return (self.rows[top : top + height] @ self.values) @ self.columns

    def before(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return the area above and left of corners of pixels, float (K,), in square metres.

        Args:
            rows, columns: int (K,), from 0 to the height and to the width.
        """
        above = np.pad(self.rows.cumsum(0), ((1, 0), (0, 0))) @ self.values
        left = np.pad(self.columns.cumsum(1), ((0, 0), (1, 0)))
        return np.concatenate(
            [np.einsum("ki,ik->k", above[rows[part]], left[:, columns[part]]) for part in _chunks(len(rows))]
        )


def pixel_size(crs: str, transform: Any, height: int, width: int) -> tuple[float, float]:
    """Return the metres on the ground of the middle pixel of a raster, along its row and down its column.

    Raises:
        DataError: as `PixelAreas.measure`.
    """
    across, down, _ = _sides(crs, transform, np.array([width / 2]), np.array([height / 2]))
    if not (np.isfinite([across, down]).all() and across > 0 and down > 0):
        raise DataError("Its centre lies outside the area of its coordinate reference system: check its CRS.")
    return float(across[0]), float(down[0])


def size_range(crs: str, transform: Any, height: int, width: int) -> tuple[float, float]:
    """Return the smallest and the largest side of a pixel, in metres relative to that of the middle pixel."""
    grid = np.meshgrid(np.linspace(0.5, width - 0.5, 9), np.linspace(0.5, height - 0.5, 9))
    across, down, _ = _sides(crs, transform, *(each.ravel() for each in grid))
    middle = pixel_size(crs, transform, height, width)
    sides = np.concatenate([across / middle[0], down / middle[1]])
    known = sides[np.isfinite(sides)]
    return float(known.min()), float(known.max())


def _sides(
    crs: str, transform: Any, columns: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Width and height in metres and the angle between them, float (K,), of pixels around (column, row)."""
    require("geo", "pyproj", purpose="maps")
    import pyproj

    a, b, c, d, e, f = transform[:6]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            system = pyproj.CRS.from_wkt(crs)
            geod = system.get_geod()
            if geod is None:
                raise DataError("Its coordinate reference system has no ellipsoid: set one that has.")
            # Degrees from Greenwich on the same ellipsoid, whatever the units and the meridian of the datum.
            degrees = pyproj.CRS.from_dict({"proj": "longlat", "a": geod.a, "b": geod.b})
            to_degrees = pyproj.Transformer.from_crs(system, degrees, always_xy=True)
        middle, right, below = (
            to_degrees.transform(
                a * (columns + x) + b * (rows + y) + c, d * (columns + x) + e * (rows + y) + f
            )
            for x, y in ((0, 0), (0.5, 0), (0, 0.5))
        )
        eastward, _, across = geod.inv(*middle, *right)
        southward, _, down = geod.inv(*middle, *below)
    except (pyproj.exceptions.ProjError, ValueError) as error:
        raise DataError(f"Cannot measure in its coordinate reference system: {first_line(error)}.") from None
    return 2 * across, 2 * down, np.radians(eastward - southward)


def _nodes(side: int) -> np.ndarray:
    return np.unique(np.linspace(0, side - 1, min(side, _NODES)).round()).astype(int)


def _weights(nodes: np.ndarray, side: int) -> np.ndarray:
    """Weights of the nodes at 0 to side - 1, float (side, nodes): linear between two neighbours."""
    where = np.arange(side)
    return np.stack([np.interp(where, nodes, one) for one in np.eye(len(nodes))], axis=1)


def _nearest(values: np.ndarray) -> np.ndarray:
    """Values, with that of the nearest measured pixel where a projection has no place on Earth."""
    known = np.isfinite(values)
    if known.all():
        return values
    if not known.any():
        raise DataError("It lies outside the area of its coordinate reference system: check its CRS.")
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    return values[tuple(nearest)]


def _chunks(count: int, size: int = 1 << 16) -> list[slice]:
    return [slice(start, start + size) for start in range(0, max(count, 1), size)]
