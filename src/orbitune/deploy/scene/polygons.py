"""A map as polygons in a GeoPackage: one for each patch of cells of a class."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.deploy.scene.cells import NODATA
from orbitune.deploy.scene.layers import Layers
from orbitune.errors import DataError, OrbituneError, first_line
from orbitune.files import replacing


def write_polygons(layers: Layers, path: Path) -> None:
    """Write them with the fields code, class and hectares; nodata has none.

    Raises:
        OrbituneError: pyogrio is not installed, or the file cannot be written.
    """
    try:
        import pyogrio.raw
        import shapely
        from pyogrio.errors import DataLayerError, DataSourceError, FeatureError
    except ImportError:
        raise DataError("Polygons need pyogrio and shapely: pip install 'orbitune[geo]'.") from None
    codes, geometries = _shapes(layers.cells(), layers.cell_transform)
    pixels = shapely.area(geometries) / abs(layers.grid.transform.determinant)
    fields = {
        "code": codes,
        "class": np.array([layers.names[code] for code in codes.tolist()], object),
        "hectares": pixels * layers.grid.pixel_area / 1e4,
    }
    try:
        with replacing(path) as temporary, warnings.catch_warnings():
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


def _shapes(codes: np.ndarray, transform: Any) -> tuple[np.ndarray, np.ndarray]:
    """Codes, int32 (N,), and polygons (N,), of connected cells."""
    import shapely
    from rasterio.features import shapes

    found = [
        (int(code), shapely.Polygon(rings[0], rings[1:]))
        for shape, code in shapes(codes, codes != NODATA, transform=transform)
        for rings in [shape["coordinates"]]
    ]
    return np.array([code for code, _ in found], np.int32), np.array(
        [polygon for _, polygon in found], object
    )
