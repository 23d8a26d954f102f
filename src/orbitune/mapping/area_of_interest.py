"""Area of interest: the polygons of a vector file that a map is confined to."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.errors import DataError, first_line
from orbitune.extras import require
from orbitune.mapping.scene.raster_grid import RasterGrid
from orbitune.mapping.scene.raster_io import short_name

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

        name = os.fspath(path)
        polygons, crs = _read_polygons(name)
        found = _to_pixels(polygons, crs, grid, name=name)
        return cls(short_name(name), shapely.to_wkb(found, hex=True))

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """Return the pixels that hold the area: top, left, bottom and right, the last two exclusive."""
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


def _read_polygons(name: str) -> tuple[Any, str]:
    """Return the union of all polygons of a file, and their CRS.

    Raises:
        DataError: it cannot be read, or has no polygons, several layers of them, or no CRS.
    """
    import pyogrio.raw
    import shapely
    from pyogrio.errors import DataLayerError, DataSourceError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of drivers about geometries they simplify
            layers = [
                str(layer)
                for layer, kind in pyogrio.list_layers(name)
                if kind and "Point" not in kind and "LineString" not in kind
            ]
            if len(layers) > 1:
                raise DataError(
                    f"{name} has several layers of polygons ({', '.join(layers[:8])}): save the area of "
                    "interest as a file of its own."
                )
            meta, _, geometry, _ = (
                pyogrio.raw.read(name, layer=layers[0], columns=[]) if layers else ({}, None, [], None)
            )
    except (DataSourceError, DataLayerError, ValueError) as error:
        raise DataError(f"Cannot read the area of interest {name}: {first_line(error)}.") from None
    parts = shapely.get_parts(shapely.get_parts(shapely.force_2d(shapely.from_wkb(geometry))))
    polygons = [part for part in parts if shapely.get_dimensions(part) == 2]
    whole = shapely.union_all(shapely.make_valid(polygons)) if polygons else None
    if whole is None or whole.is_empty:
        raise DataError(f"There are no polygons in {name}: the area of interest is given by polygons.")
    if not meta["crs"]:
        raise DataError(
            f"{name} has no coordinate reference system: set it first, such as with "
            "ogr2ogr -a_srs EPSG:32632 OUT.gpkg IN."
        )
    return whole, meta["crs"]


def _to_pixels(polygons: Any, crs: str, grid: RasterGrid, *, name: str) -> Any:
    """Return the part of the polygons within a grid in pixel coordinates, with edges densified.

    Raises:
        DataError: there is no such part, or their CRS is unknown.
    """
    import pyproj
    import shapely

    a, b, c, d, e, f = grid.transform[:6]
    frame = shapely.box(0, 0, grid.width, grid.height)
    step = max(grid.height, grid.width) / _SEGMENTS
    try:
        here, there = pyproj.CRS.from_user_input(grid.crs), pyproj.CRS.from_user_input(crs)
        forth = pyproj.Transformer.from_crs(here, there, always_xy=True)
        back = pyproj.Transformer.from_crs(there, here, always_xy=True)
    except pyproj.exceptions.ProjError as error:
        raise DataError(f"Cannot project {name} to the scene: {first_line(error)}.") from None

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
    near = polygons.intersection(shapely.make_valid(around))
    longest = max(np.ptp(shapely.bounds(around).reshape(2, 2), axis=0)) / _SEGMENTS
    inside = shapely.make_valid(
        shapely.transform(shapely.segmentize(near, longest), to_pixels, interleaved=False)
    ).intersection(frame)
    if inside.area == 0:
        raise DataError(f"The area of interest {name} lies outside the scene.")
    return shapely.normalize(shapely.union_all([p for p in shapely.get_parts(inside) if p.area > 0]))
