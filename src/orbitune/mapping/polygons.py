"""A map as polygons in a GeoPackage: one for each patch of pixels of a class."""

import warnings
from pathlib import Path

import numpy as np

from orbitune.errors import OrbituneError, first_line
from orbitune.extras import require
from orbitune.mapping.geodesy import PixelAreas
from orbitune.mapping.grid import NODATA
from orbitune.mapping.raster_source import gdal, import_rasterio
from orbitune.mapping.writer import MapRasters, staged


def write_polygons(layers: MapRasters, path: Path, land_cover: Path) -> None:
    """Write them with the fields code, class and hectares; nodata has none.

    Args:
        land_cover: the finished map, whose pixels they are made of.

    Raises:
        OrbituneError: pyogrio is not installed, or the file cannot be written.
    """
    require("geo", "pyogrio", "shapely", purpose="polygons")
    import pyogrio.raw
    import shapely
    from pyogrio.errors import DataLayerError, DataSourceError, FeatureError

    codes, outlines = _outlines(land_cover)
    a, b, c, d, e, f = layers.transform[:6]
    geometries = shapely.transform(
        outlines, lambda x, y: (a * x + b * y + c, d * x + e * y + f), interleaved=False
    )
    fields = {
        "code": codes,
        "class": np.array([layers.names[code] for code in codes.tolist()], object),
        "hectares": _square_metres(outlines, layers.pixel_areas) / 1e4,
    }
    try:
        with staged(layers, path) as temporary, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a temporary name has another ending
            pyogrio.raw.write(
                temporary,
                shapely.to_wkb(geometries),
                list(fields.values()),
                list(fields),
                geometry_type="Polygon",
                crs=layers.grid.crs,
                driver="GPKG",
                layer="landcover",
            )
            # On a full disk GDAL may say nothing: read again what was written.
            [written] = pyogrio.raw.read(temporary, columns=["code"], read_geometry=False)[3]
            indexed = pyogrio.read_info(temporary)["capabilities"]["fast_spatial_filter"]
            if not (indexed and np.array_equal(written, codes)):
                raise DataLayerError("What was written is not what is read")
    except (DataSourceError, DataLayerError, FeatureError) as error:
        raise OrbituneError(f"Cannot write {path}; is the disk full? {first_line(error)}.") from None


def _outlines(land_cover: Path) -> tuple[np.ndarray, np.ndarray]:
    """Codes, int32 (N,), and polygons (N,) of connected pixels, whose corners are (column, row)."""
    import shapely
    from rasterio.features import shapes

    with gdal(), import_rasterio().open(land_cover) as file:
        codes = file.read(1)
    found = [
        (int(code), shapely.Polygon(rings[0], rings[1:]))
        for shape, code in shapes(codes, codes != NODATA)
        for rings in [shape["coordinates"]]
    ]
    return np.array([code for code, _ in found], np.int32), np.array(
        [polygon for _, polygon in found], object
    )


def _square_metres(outlines: np.ndarray, areas: PixelAreas) -> np.ndarray:
    """The sum of the areas of the pixels in each polygon, float (N,).

    Green's theorem for pixels: what lies within a ring is the sum over its vertical sides of what lies left
    of them, downwards less upwards; holes are taken away.
    """
    import shapely

    rings, polygon = shapely.get_rings(outlines, return_index=True)
    corners, ring = shapely.get_coordinates(rings, return_index=True)
    columns, rows = corners.round().astype(int).T
    before = areas.before(rows, columns)
    upright = np.flatnonzero((ring[1:] == ring[:-1]) & (columns[1:] == columns[:-1]))
    within = np.abs(np.bincount(ring[upright], before[upright + 1] - before[upright], len(rings)))
    first = np.r_[True, polygon[1:] != polygon[:-1]] if len(rings) else np.zeros(0, bool)
    return np.bincount(polygon, np.where(first, within, -within), len(outlines))
