"""Area of interest: the polygons of a vector file that a map is confined to."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.errors import DataError
from orbitune.extras import require
from orbitune.mapping.scene.raster_grid import RasterGrid
from orbitune.mapping.scene.raster_io import short_name
from orbitune.mapping.vector_io import POLYGONS, VectorLayer, projection, read_vector

_SEGMENTS = 64  # that an edge as long as the scene is cut into, as straight lines bend in another CRS


@dataclass(frozen=True)
class AreaOfInterest:
    """Polygons in pixel coordinates of a grid.

    Attributes:
        name: of the file, for metadata.
        wkb: hexadecimal WKB of a (multi)polygon in (column, row) of the scene's grid at the training
            resolution; picklable, and the same for the same polygons.
    """

    name: str
    wkb: str

    @classmethod
    def load(cls, path: str | Path, grid: RasterGrid) -> "AreaOfInterest":
        """Read the polygons of a vector file in any CRS, and project them to a grid.

        Args:
            path: any file that GDAL's vector drivers open.
            grid: of the scene, at the training resolution.

        Raises:
            OrbituneError: pyogrio is not installed; the file cannot be read, or has no polygons or no CRS; or
                the polygons lie outside the grid.
        """
        require("geo", "pyogrio", "shapely", "pyproj", purpose="areas of interest")
        import shapely

        layer = read_vector(path, (*POLYGONS, "GeometryCollection"))
        found = _to_pixels(_union(layer), layer.crs, grid=grid, name=str(path))
        return cls(short_name(str(path)), shapely.to_wkb(found, hex=True))

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """Return the pixels of the area: top, left, and exclusive bottom, right."""
        import shapely

        left, top, right, bottom = shapely.bounds(shapely.from_wkb(self.wkb))
        return int(np.floor(top)), int(np.floor(left)), int(np.ceil(bottom)), int(np.ceil(right))

    def mask(self, shape: tuple[int, int], transform: Any, *, all_touched: bool = False) -> np.ndarray:
        """Return which pixels of a raster lie in the area, bool.

        Args:
            shape: height and width of the raster.
            transform: from its pixels to those of the grid.
            all_touched: whether pixels count that the area touches; if not, their centres must lie inside.
        """
        import shapely
        from rasterio.features import rasterize

        burned = rasterize(
            [shapely.from_wkb(self.wkb)], shape, transform=transform, all_touched=all_touched, dtype="uint8"
        )
        return burned.astype(bool)


def _union(layer: VectorLayer) -> Any:
    """Return the union of the polygons of a layer.

    Raises:
        DataError: they are empty.
    """
    import shapely

    parts = shapely.get_parts(shapely.get_parts(shapely.force_2d(layer.geometries)))
    whole = shapely.union_all(shapely.make_valid(parts[shapely.get_dimensions(parts) == 2]))
    if whole.is_empty:
        raise DataError(f"There are no polygons in {layer.path}.")
    return whole


def _to_pixels(polygons: Any, crs: str, *, grid: RasterGrid, name: str) -> Any:
    """Return the polygons within a grid in pixel coordinates, edges densified.

    Raises:
        DataError: there is no such part, or their CRS is unknown.
    """
    import pyproj
    import shapely

    a, b, c, d, e, f = grid.transform[:6]
    frame = shapely.box(0, 0, grid.width, grid.height)
    step = max(grid.height, grid.width) / _SEGMENTS
    forth, back = projection(grid.crs, crs, whose=name), projection(crs, grid.crs, whose=name)

    def to_crs(x: np.ndarray, y: np.ndarray) -> Any:
        return forth.transform(a * x + b * y + c, d * x + e * y + f)

    def to_pixels(x: np.ndarray, y: np.ndarray) -> Any:
        x, y = back.transform(x, y)
        return tuple(~grid.transform * (x, y))

    # What lies far outside may have no coordinates in the scene's CRS: cut it off first.
    around = shapely.transform(shapely.segmentize(frame.buffer(step), step), to_crs, interleaved=False)
    if not np.isfinite(shapely.get_coordinates(around)).all():
        raise DataError(
            f"The scene lies outside the coordinate system of {name}: give the area of interest in longitude "
            "and latitude."
        )
    if pyproj.CRS.from_user_input(crs).is_geographic:
        around, polygons = _unwrap(around, polygons)
    near = polygons.intersection(shapely.make_valid(around))
    longest = max(np.ptp(shapely.bounds(around).reshape(2, 2), axis=0)) / _SEGMENTS
    inside = shapely.make_valid(
        shapely.transform(shapely.segmentize(near, longest), to_pixels, interleaved=False)
    ).intersection(frame)
    if inside.area == 0:
        raise DataError(f"The area of interest {name} lies outside the scene.")
    return shapely.normalize(shapely.union_all([p for p in shapely.get_parts(inside) if p.area > 0]))


def _unwrap(around: Any, polygons: Any) -> tuple[Any, Any]:
    """Return the outline of a scene across the antimeridian in one piece, and polygons on every turn."""
    import shapely

    def span(shape: Any) -> float:
        left, _, right, _ = shapely.bounds(shape)
        return float(right - left)

    unwrapped = shapely.transform(around, lambda x, y: (x % 360, y), interleaved=False)
    if span(unwrapped) <= 180 < span(around):  # if both are wider, it is the whole globe
        around = unwrapped
    left, _, right, _ = shapely.bounds(around)
    if left >= -180 and right <= 180:
        return around, polygons
    turns = [
        shapely.transform(polygons, lambda x, y, turn=turn: (x + turn, y), interleaved=False)
        for turn in (-360, 0, 360)
    ]
    return around, shapely.union_all(turns)
