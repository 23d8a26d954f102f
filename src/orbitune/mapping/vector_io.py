"""Points and polygons of any vector file that GDAL opens, in the CRS of a raster."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.errors import DataError, first_line
from orbitune.extras import require


@dataclass(frozen=True)
class VectorLayer:
    """The first layer of a vector file.

    Attributes:
        path: of the file that it was read from, or is to be written to.
        crs: its coordinate reference system, as WKT or `AUTHORITY:CODE`.
        geometries: shapely geometries (N,).
        fields: values (N,) of each field.
    """

    path: Path
    crs: str
    geometries: np.ndarray
    fields: dict[str, np.ndarray]

    def project(self, crs: str) -> np.ndarray:
        """Return the geometries in another CRS, given as WKT."""
        import pyproj
        import shapely

        transformer = pyproj.Transformer.from_crs(self.crs, crs, always_xy=True)
        return shapely.transform(self.geometries, transformer.transform, interleaved=False)


def read_vector(path: str | Path, kinds: tuple[str, ...]) -> VectorLayer:
    """Read the features of a vector file.

    Args:
        path: any file that GDAL opens, such as a GeoPackage.
        kinds: geometry types that are expected, such as `Point`. Features without a geometry are left out.

    Raises:
        DataError: it cannot be read, has no CRS, or no features of these types.
    """
    require("geo", "pyogrio", "shapely", purpose="vector files")
    import pyogrio.raw
    import shapely
    from pyogrio.errors import DataLayerError, DataSourceError

    if not Path(path).exists():
        raise DataError(f"There is no file {path}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about layers beyond the first
            meta, _, stored, values = pyogrio.raw.read(path)
        geometries = np.array(shapely.from_wkb(stored) if stored is not None else [], object)
    except (DataSourceError, DataLayerError, shapely.errors.GEOSException, ValueError) as error:
        raise DataError(f"Cannot read {path}: {first_line(error)}.") from None
    kept = np.array([shape is not None and not shape.is_empty for shape in geometries], bool)
    found = sorted({shape.geom_type for shape in geometries[kept]})
    if not found or set(found) - set(kinds):
        named = " and ".join(found) or "no features"
        raise DataError(f"{path} holds {named}: expected features of type {' or '.join(kinds)}.")
    if not meta["crs"]:
        raise DataError(f"{path} has no coordinate reference system: set the one that it was drawn in.")
    fields = {str(name): column[kept] for name, column in zip(meta["fields"], values, strict=True)}
    return VectorLayer(Path(path), meta["crs"], geometries[kept], fields)


def write_vector(path: Path, layer: VectorLayer, *, kind: str, name: str) -> None:
    """Write a layer as a GeoPackage.

    Args:
        path: a temporary file, which GDAL writes in place.
        layer: what to write. None in a field is a missing value.
        kind: geometry type.
        name: of the layer.

    Raises:
        OSError: it cannot be written.
    """
    require("geo", "pyogrio", "shapely", purpose="vector files")
    import pyogrio.raw
    import shapely
    from pyogrio.errors import DataLayerError, DataSourceError, FeatureError

    options: dict[str, Any] = {"geometry_type": kind, "crs": layer.crs, "driver": "GPKG", "layer": name}
    fields, values = [*layer.fields], [*layer.fields.values()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the ending of a temporary name
            pyogrio.raw.write(path, shapely.to_wkb(layer.geometries), values, fields, **options)
            written = pyogrio.read_info(path)["features"]
    except (DataSourceError, DataLayerError, FeatureError) as error:
        raise OSError(first_line(error)) from None
    if written != len(layer.geometries):
        raise OSError("the file read back differs from what was written")
