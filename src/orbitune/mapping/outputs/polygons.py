"""Polygons of a map as a GeoPackage, one per connected area of a class."""

import warnings
from pathlib import Path

import numpy as np

from orbitune.errors import OrbituneError, first_line
from orbitune.extras import require
from orbitune.mapping.grid import NODATA
from orbitune.mapping.outputs.rasters import MapRasters
from orbitune.mapping.scene.geodesy import PixelAreas
from orbitune.mapping.scene.raster_io import gdal_environment, import_rasterio
from orbitune.mapping.vector_io import without_date


def write_polygons(rasters: MapRasters, path: Path) -> None:
    """Write polygons with the fields code, class and hectares; nodata has no polygon.

    Args:
        rasters: the finished map, whose file is already written.

    Raises:
        OrbituneError: pyogrio is not installed, or the file cannot be written.
    """
    require("geo", "pyogrio", "shapely", purpose="polygons")
    import pyogrio.raw
    import shapely
    from pyogrio.errors import DataLayerError, DataSourceError, FeatureError

    codes, outlines = _outlines(rasters.map_file)
    a, b, c, d, e, f = rasters.transform[:6]
    geometries = shapely.transform(
        outlines, lambda x, y: (a * x + b * y + c, d * x + e * y + f), interleaved=False
    )
    fields = {
        "code": codes,
        "class": np.array([rasters.names[code] for code in codes.tolist()], object),
        "hectares": _square_metres(outlines, rasters.pixel_areas) / 1e4,
    }
    try:
        with rasters.staged(path) as temporary, without_date(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the extension of the temporary name
            pyogrio.raw.write(
                temporary,
                shapely.to_wkb(geometries),
                list(fields.values()),
                list(fields),
                geometry_type="Polygon",
                crs=rasters.grid.crs,
                driver="GPKG",
                layer="landcover",
            )
            # GDAL may not report a full disk: read back what was written.
            [written] = pyogrio.raw.read(temporary, columns=["code"], read_geometry=False)[3]
            indexed = pyogrio.read_info(temporary)["capabilities"]["fast_spatial_filter"]
            if not (indexed and np.array_equal(written, codes)):
                raise DataLayerError("the file read back differs from what was written")
    except (DataSourceError, DataLayerError, FeatureError) as error:
        raise OrbituneError(f"Cannot write {path}; is the disk full? {first_line(error)}.") from None


def _outlines(map_file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return codes, int32 (N,), and polygons (N,) in (column, row) coordinates."""
    import shapely
    from rasterio.features import shapes

    with gdal_environment(), import_rasterio().open(map_file) as file:
        codes = file.read(1)
    found = [
        (int(code), shapely.Polygon(rings[0], rings[1:]))
        for shape, code in shapes(codes, codes != NODATA)
        for rings in [shape["coordinates"]]
    ]
    polygons = np.array([polygon for _, polygon in found], object)
    return np.array([code for code, _ in found], np.int32), polygons


def _square_metres(outlines: np.ndarray, areas: PixelAreas) -> np.ndarray:
    """Return the total area of the pixels in each polygon, float (N,).

    By Green's theorem, the area inside a ring is the sum of the areas left of its vertical edges, counted
    positive downwards and negative upwards. Holes are subtracted.
    """
    import shapely

    rings, polygon = shapely.get_rings(outlines, return_index=True)
    corners, ring = shapely.get_coordinates(rings, return_index=True)
    columns, rows = corners.round().astype(int).T
    above_left = areas.above_left(rows, columns)
    vertical = np.flatnonzero((ring[1:] == ring[:-1]) & (columns[1:] == columns[:-1]))
    left = above_left[vertical + 1] - above_left[vertical]
    inside = np.abs(np.bincount(ring[vertical], left, len(rings)))
    is_shell = np.r_[True, polygon[1:] != polygon[:-1]] if len(rings) else np.zeros(0, bool)
    return np.bincount(polygon, np.where(is_shell, inside, -inside), len(outlines))
