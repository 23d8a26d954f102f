"""Geodesic lengths and areas on the ellipsoid, for any CRS.

Units of a projection are not metres on the ground: in Web Mercator at 50 degrees north a square unit covers
0.41 square metres. The area of a pixel is therefore measured at its place, by geodesics along its row and
column.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from orbitune.errors import DataError, first_line
from orbitune.extras import require

_NODES = 65  # pixels along a side that are measured; areas between them are interpolated


@dataclass(frozen=True)
class PixelAreas:
    """Pixel areas of a raster, interpolated bilinearly between measured pixels.

    Attributes:
        rows: float (H, n), interpolation weights of the measured rows for each row.
        values: float (n, m), square metres of the measured pixels.
        columns: float (m, W), interpolation weights of the measured columns for each column.
    """

    rows: np.ndarray
    values: np.ndarray
    columns: np.ndarray

    @classmethod
    def measure(cls, crs: str, transform: Any, *, height: int, width: int) -> "PixelAreas":
        """Measure the pixels of a raster.

        Args:
            crs: coordinate reference system, as WKT.
            transform: affine transform from pixels to the CRS.
            height, width: number of pixels.

        Raises:
            OrbituneError: pyproj is not installed or does not know the CRS, or no pixel lies on Earth.
        """
        rows, columns = _nodes(height), _nodes(width)
        x, y = (each.ravel() for each in np.meshgrid(columns + 0.5, rows + 0.5))
        across, down, angle = _pixel_sides(crs, transform, columns=x, rows=y)
        values = (across * down * np.abs(np.sin(angle))).reshape(len(rows), len(columns))
        return cls(_weights(rows, height), _fill_nearest(values), _weights(columns, width).T)

    def window(self, top: int, height: int) -> np.ndarray:
        """Return pixel areas of `height` rows from `top` on, m², float (height, W).

        Args:
            top: first row.
            height: number of rows.

        Returns:
            Square metres, float (height, W).
        """
        return (self.rows[top : top + height] @ self.values) @ self.columns

    def above_left(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return the total area above and left of pixel corners (a summed-area table).

        Args:
            rows, columns: int (K,), 0 to height and 0 to width.

        Returns:
            Square metres, float (K,).
        """
        above = np.pad(self.rows.cumsum(0), ((1, 0), (0, 0))) @ self.values
        left = np.pad(self.columns.cumsum(1), ((0, 0), (1, 0)))
        return np.concatenate(
            [np.einsum("ki,ik->k", above[rows[part]], left[:, columns[part]]) for part in _chunks(len(rows))]
        )


def pixel_size(crs: str, transform: Any, *, height: int, width: int) -> tuple[float, float]:
    """Return width and height of the central pixel of a raster, metres on the ground.

    Raises:
        OrbituneError: as `PixelAreas.measure`.
    """
    across, down, _ = _pixel_sides(crs, transform, columns=np.array([width / 2]), rows=np.array([height / 2]))
    if not (np.isfinite([across, down]).all() and across > 0 and down > 0):
        raise DataError("Its centre lies outside the area of its coordinate reference system: check its CRS.")
    return float(across[0]), float(down[0])


def size_range(crs: str, transform: Any, *, height: int, width: int) -> tuple[float, float]:
    """Return the smallest and largest pixel side relative to the central pixel."""
    grid = np.meshgrid(np.linspace(0.5, width - 0.5, 9), np.linspace(0.5, height - 0.5, 9))
    x, y = (each.ravel() for each in grid)
    across, down, _ = _pixel_sides(crs, transform, columns=x, rows=y)
    middle = len(across) // 2
    sides = np.concatenate([across / across[middle], down / down[middle]])
    known = sides[np.isfinite(sides)]
    return float(known.min()), float(known.max())


def _pixel_sides(
    crs: str, transform: Any, *, columns: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return width and height of pixels in metres, and the angle between them."""
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
            # Degrees from Greenwich on the same ellipsoid: a CRS may use other units and another meridian.
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
    """Return the indices of the pixels to measure along a side, evenly spread."""
    return np.unique(np.linspace(0, side - 1, min(side, _NODES)).round()).astype(int)


def _weights(nodes: np.ndarray, side: int) -> np.ndarray:
    """Return linear interpolation weights of the nodes, float (side, nodes)."""
    where = np.arange(side)
    return np.stack([np.interp(where, nodes, one) for one in np.eye(len(nodes))], axis=1)


def _fill_nearest(values: np.ndarray) -> np.ndarray:
    """Fill pixels outside the projection's domain from the nearest measured one."""
    known = np.isfinite(values)
    if known.all():
        return values
    if not known.any():
        raise DataError("It lies outside the area of its coordinate reference system: check its CRS.")
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    return values[tuple(nearest)]


def _chunks(count: int, size: int = 1 << 16) -> list[slice]:
    """Return slices of at most `size` that cover `count` items."""
    return [slice(start, start + size) for start in range(0, max(count, 1), size)]
