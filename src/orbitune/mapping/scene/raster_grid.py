"""Pixel grids of scenes: of a file, of another resolution, of several files."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from orbitune.errors import DataError, first_line
from orbitune.mapping.scene.geodesy import pixel_size

_MAX_DEVIATION = 0.02  # relative deviation from the training resolution that needs no resampling
_MAX_FACTOR = 200  # largest ratio of a pixel side to the training resolution, or its inverse
_MAX_SPREAD = 50  # pixels of a mosaic per pixel of its scenes, the rest being gaps
_EDGE_POINTS = 21  # along each side of a scene whose outline is projected
_ALIGNED = 1e-3  # pixels by which an edge may miss that of a grid


class PixelGrid(Protocol):
    """Anything with pixels on the ground, see `RasterGrid`."""

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def transform(self) -> Any: ...
    @property
    def crs(self) -> str: ...


@dataclass(frozen=True)
class RasterGrid:
    """A pixel grid on the ground.

    Attributes:
        height, width: number of pixels.
        transform: affine transform from pixels to the CRS.
        crs: coordinate reference system, as WKT.
        pixel_size: metres on the ground of the central pixel, along its row and its column.
        resampled_from: metres per pixel of the file, if it was resampled; else None.
    """

    height: int
    width: int
    transform: Any
    crs: str
    pixel_size: tuple[float, float]
    resampled_from: tuple[float, float] | None = None

    @classmethod
    def measured(cls, crs: str, transform: Any, *, height: int, width: int, name: str) -> "RasterGrid":
        """Return a grid with its pixels measured on the ground.

        Raises:
            DataError: they cannot be measured in the CRS of the scene `name`.
        """
        try:
            size = pixel_size(crs, transform, height=height, width=width)
        except DataError as error:
            raise DataError(f"Cannot tell where {name} lies: {first_line(error)}.") from None
        return cls(height, width, transform, crs, size)

    def resample(self, resolution: float, *, name: str) -> "RasterGrid":
        """Return the grid at a resolution in metres; this one if it is close to that.

        Raises:
            DataError: the resolution of the scene `name` is too far from that.
        """
        metres = self.pixel_size
        if all(abs(side / resolution - 1) <= _MAX_DEVIATION for side in metres):
            return self
        # Rounded: 2 resamples exactly, 2.001 does not.
        factors = [float(f"{side / resolution:.3g}") for side in metres]
        if max(factors) > _MAX_FACTOR or min(factors) * _MAX_FACTOR < 1:
            raise DataError(
                f"The pixels of {name} are {metres[0]:.4g} x {metres[1]:.4g} m on the ground, too far "
                f"from the {resolution:g} m of the training tiles: check its transform, or --resolution."
            )
        width, height = (
            max(1, round(side * factor))
            for side, factor in zip((self.width, self.height), factors, strict=True)
        )
        transform = self.transform * type(self.transform).scale(self.width / width, self.height / height)
        found = self.measured(self.crs, transform, height=height, width=width, name=name)
        return replace(found, resampled_from=metres)

    def locate(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the pixels that points lie in.

        Args:
            x, y: coordinates in the CRS of the grid, float (N,); not finite for points outside of it.

        Returns:
            Row and column, int (N, 2), 0 for points outside; and whether each lies in the grid, bool (N,).
        """
        finite = np.isfinite(x) & np.isfinite(y)
        columns, rows = ~self.transform * (np.where(finite, x, 0), np.where(finite, y, 0))
        inside = finite & (rows >= 0) & (rows < self.height) & (columns >= 0) & (columns < self.width)
        pixels = np.where(inside[:, None], np.floor(np.stack([rows, columns], 1)), 0)
        return pixels.astype(int), inside

    def outline(self, other: PixelGrid) -> np.ndarray:
        """Return edge points of another grid in pixels of this, (N, 2) of column, row."""
        from rasterio.warp import transform

        steps = np.linspace(0, 1, _EDGE_POINTS)
        sides = [(steps, 0 * steps), (steps, 0 * steps + 1), (0 * steps, steps), (0 * steps + 1, steps)]
        columns, rows = (np.concatenate(each) for each in zip(*sides, strict=True))
        x, y = other.transform * (columns * other.width, rows * other.height)
        x, y = (np.asarray(each) for each in transform(other.crs, self.crs, x, y))
        return np.stack(~self.transform * (x, y), axis=1)

    def overlaps(self, points: np.ndarray) -> np.ndarray:
        """Return whether the boxes around groups of points overlap the grid, bool (N,).

        Args:
            points: columns and rows, float (N, K, 2).
        """
        return np.asarray(((points.min(1) < (self.width, self.height)) & (points.max(1) > 0)).all(1))

    def union(self, others: Sequence["RasterGrid"], *, name: str) -> "RasterGrid":
        """Return this grid, extended by whole pixels to cover others in any CRS.

        Raises:
            DataError: one cannot be projected to the CRS of this one, or they lie too far apart.
        """
        points = np.concatenate([[(0, 0), (self.width, self.height)], *(self.outline(one) for one in others)])
        if not np.isfinite(points).all():
            raise DataError(
                "The scenes cannot be projected to the coordinate system of the first: map them one by one."
            )
        left, top = np.floor(points.min(0) + _ALIGNED).astype(int).tolist()
        right, bottom = np.ceil(points.max(0) - _ALIGNED).astype(int).tolist()
        height, width = bottom - top, right - left
        pixels = [one.height * one.width * np.prod(one.pixel_size) for one in (self, *others)]
        if height * width * np.prod(self.pixel_size) > _MAX_SPREAD * sum(pixels):
            raise DataError("The scenes lie too far apart for one map: map them one by one.")
        place = self.transform * type(self.transform).translation(left, top)
        return self.measured(self.crs, place, height=height, width=width, name=name)
