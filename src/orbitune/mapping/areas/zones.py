"""Zonal statistics: hectares of each class in each polygon."""

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.errors import DataError, OrbituneError
from orbitune.extras import require
from orbitune.files import replacing
from orbitune.mapping.areas.class_map import ClassMap, read_codes
from orbitune.mapping.grid import NODATA
from orbitune.mapping.outputs.table import check_files
from orbitune.mapping.scene.raster_io import gdal_environment, import_rasterio
from orbitune.mapping.vector_io import POLYGONS, VectorLayer, read_vector, write_vector

FORMATS = (".csv", ".gpkg")


def measure_zones(class_map: str | Path, zones: str | Path, *, out: str | Path) -> VectorLayer:
    """Measure the hectares of each class in each polygon, and write them to a file.

    Pixels count by the exact fraction that lies in the polygon.

    Examples:
        >>> from orbitune import measure_zones
        >>> measure_zones("landcover.tif", "fields.gpkg", out="hectares.csv").fields["not sure"]

    Args:
        class_map: a GeoTIFF that `map_scene` or `compare_maps` wrote.
        zones: polygons in any vector file and CRS.
        out: file to write: `.csv` for a table, `.gpkg` for the polygons. It has the fields of the zones, one
            field of hectares per class, and `not sure` and `no data`. What lies outside the map has none.

    Returns:
        The polygons with these fields.

    Raises:
        OrbituneError: an input cannot be used, no polygon overlaps the map, or the file cannot be written.
    """
    check_format(out)
    return write_zones(ClassMap.open(class_map), read_zones(zones), out=Path(out))


def read_zones(path: str | Path) -> VectorLayer:
    """Read the polygons of a vector file.

    Raises:
        DataError: there are none, or they have no CRS.
    """
    return read_vector(path, POLYGONS)


def check_format(out: str | Path) -> None:
    """Check that a file of zones has the ending of a format.

    Raises:
        DataError: it has not.
    """
    if Path(out).suffix.lower() not in FORMATS:
        raise DataError(f"{out} must end in {' or '.join(FORMATS)}.")


def check_fields(zones: VectorLayer, names: Iterable[str]) -> None:
    """Check that zones have no field of the name of a class, as the hectares are fields of these names.

    Raises:
        DataError: they have.
    """
    if taken := sorted(zones.fields.keys() & set(names)):
        raise DataError(f"{zones.path} already has a field {taken[0]}: rename or remove it.")


def write_zones(class_map: ClassMap, zones: VectorLayer, *, out: Path) -> VectorLayer:
    """Measure and write the zones of an open map, see `measure_zones`.

    Raises:
        OrbituneError: as `measure_zones`.
    """
    named = {**class_map.strata, NODATA: class_map.names.get(NODATA, "no data")}
    check_fields(zones, named.values())
    check_files([out], [zones.path, class_map.path])
    hectares = _hectares(class_map, zones)
    known = hectares[:, list(class_map.strata)]
    if not known.any():
        raise DataError(f"No polygon of {zones.path} overlaps {class_map.path} where it has data.")
    fields = {name: hectares[:, code] for code, name in named.items()}
    measured = VectorLayer(out, zones.crs, zones.geometries, {**zones.fields, **fields})
    try:
        with replacing(out) as temporary:
            if out.suffix.lower() == ".csv":
                _write_csv(temporary, measured)
            else:
                write_vector(temporary, measured, kind="Unknown", name="zones")
    except OSError as error:
        raise OrbituneError(f"Cannot write {out}: {error}.") from None
    return measured


def _hectares(class_map: ClassMap, zones: VectorLayer) -> np.ndarray:
    """Return hectares of each code in each polygon, float (N, 256)."""
    require("geo", "exactextract", purpose="statistics of zones")
    import shapely
    from exactextract import exact_extract

    # In pixel coordinates, rows negative: exactextract takes no rotated rasters.
    def to_pixels(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        column, row = class_map.to_pixels(x, y)
        return column, -row

    outlines = shapely.transform(zones.project(class_map.crs), to_pixels, interleaved=False)
    # Of a polygon that crosses itself, exactextract counts some ground twice, or less than none.
    crossed = ~shapely.is_valid(outlines)
    outlines[crossed] = shapely.buffer(shapely.make_valid(outlines[crossed]), 0)  # drops lines that are left
    shapes = [json.loads(each) for each in shapely.to_geojson(outlines)]
    features = [{"type": "Feature", "id": "", "properties": {}, "geometry": each} for each in shapes]
    codes, areas = _raster_sources(class_map)
    with gdal_environment(), import_rasterio().open(class_map.path) as file:
        codes.file = file
        fractions = exact_extract(codes, features, ["unique", "weighted_frac"], weights=areas)
        totals = exact_extract(areas, features, ["sum"])
    found = np.zeros((len(outlines), 256))
    for row, fraction, total in zip(found, fractions, totals, strict=True):
        parts, area = fraction["properties"], total["properties"]["sum"]
        row[np.asarray(parts["unique"], int)] = area * np.asarray(parts["weighted_frac"])
    return found / 1e4


def _raster_sources(class_map: ClassMap) -> tuple[Any, Any]:
    """Return codes and pixel areas as rasters that exactextract reads by window."""
    from exactextract.raster import RasterSource

    class Pixels(RasterSource):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.set_name(name)

        def res(self) -> tuple[float, float]:
            return 1.0, 1.0

        def extent(self) -> tuple[float, float, float, float]:
            return 0.0, -float(class_map.height), float(class_map.width), 0.0

        def nodata_value(self) -> None:
            return None

        def srs_wkt(self) -> None:
            return None

    class Codes(Pixels):
        file: Any = None

        def read_window(self, x0: int, y0: int, nx: int, ny: int) -> np.ndarray:
            return read_codes(self.file, ((y0, y0 + ny), (x0, x0 + nx)), whose=class_map.path)

    class Areas(Pixels):
        def read_window(self, x0: int, y0: int, nx: int, ny: int) -> np.ndarray:
            return np.ascontiguousarray(class_map.pixel_areas.window(y0, ny)[:, x0 : x0 + nx])

    return Codes("codes"), Areas("areas")


def _write_csv(path: Path, layer: VectorLayer) -> None:
    """Write the fields of a layer as a CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(layer.fields)
        writer.writerows(zip(*(column.tolist() for column in layer.fields.values()), strict=True))
