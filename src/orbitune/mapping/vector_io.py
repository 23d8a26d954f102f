"""Points and polygons of any vector file that GDAL opens, in the CRS of a raster."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.errors import DataError, first_line
from orbitune.extras import require
from orbitune.mapping.scene.containers import path_exists
from orbitune.suggestions import missing

POINTS = ("Point",)
POLYGONS = ("Polygon", "MultiPolygon")
# Names for GDAL that are no path, such as `PG:dbname=a`, `https://a/b.gpkg` and `a.zip!b.gpkg`.
_GDAL_NAME = re.compile(r"/vsi|[A-Za-z][\w+]+:|.*!", re.DOTALL)

_DATE = "1970-01-01T00:00:00.000Z"
_TABLE = (
    ", which is a table without geometries: make a vector file of its columns, such as with ogr2ogr "
    "-oo X_POSSIBLE_NAMES=lon -oo Y_POSSIBLE_NAMES=lat -a_srs EPSG:4326 OUT.gpkg IN.csv"
)


@dataclass(frozen=True)
class VectorLayer:
    """A layer of a vector file.

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
        """Return the geometries in another CRS, given as WKT.

        Raises:
            DataError: they cannot be projected to it.
        """
        import shapely

        transformer = projection(self.crs, crs, whose=self.path)
        return shapely.transform(self.geometries, transformer.transform, interleaved=False)


def projection(source: str, target: str, *, whose: str | Path) -> Any:
    """Return the pyproj transformer from one CRS to another, in x and y.

    Args:
        source, target: WKT or `AUTHORITY:CODE`.
        whose: the vector file, for messages.

    Raises:
        DataError: there is no way from one to the other, as between planets.
    """
    import pyproj

    try:
        return pyproj.Transformer.from_crs(source, target, always_xy=True)
    except pyproj.exceptions.ProjError as error:
        reason = first_line(error)
        raise DataError(
            f"Cannot project {whose} to the raster: {reason}. Save it in the raster's coordinate system."
        ) from None


def read_vector(path: str | Path, kinds: tuple[str, ...]) -> VectorLayer:
    """Read the features of a vector file.

    Args:
        path: any file that GDAL opens, such as a GeoPackage.
        kinds: geometry types that are expected, such as `POINTS` or `POLYGONS`. Features without a geometry
            are left out, and so are layers that cannot hold such types.

    Raises:
        DataError: it cannot be read, has no CRS, features of other types, none of these, or several layers.
    """
    require("geo", "pyogrio", "shapely", "pyproj", purpose="vector files")
    if not _GDAL_NAME.match(str(path)):
        _check_exists(path)
    import pyogrio.raw
    import shapely
    from pyogrio.errors import DataLayerError, DataSourceError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of drivers about geometries they simplify
            layer = _choose_layer(pyogrio.list_layers(path), kinds, whose=path)
            meta, _, stored, values = pyogrio.raw.read(path, layer=layer)
        geometries = np.array([_single_point(shape) for shape in shapely.from_wkb(stored)], object)
    except (DataSourceError, DataLayerError, shapely.errors.GEOSException, ValueError) as error:
        if "://" not in str(path) and not str(path).startswith("/vsi"):
            _check_exists(path)
        raise DataError(f"Cannot read {path}: {_reason(error)}.") from None
    kept = np.array([shape is not None and not shape.is_empty for shape in geometries], bool)
    _check_kinds({shape.geom_type for shape in geometries[kept]}, kinds, whose=path)
    _check_crs(meta["crs"], whose=path)
    fields = {str(name): column[kept] for name, column in zip(meta["fields"], values, strict=True)}
    return VectorLayer(Path(path), meta["crs"], geometries[kept], fields)


def _check_exists(path: str | Path) -> None:
    """Raise a DataError if there is no such file."""
    if not path_exists(Path(path)):
        raise DataError(missing("file", path)) from None


def _reason(error: Exception) -> str:
    """Return why GDAL cannot read a file, without the advice that it gives programmers."""
    reason = first_line(error)
    return "it is no vector file, such as GeoPackage or GeoJSON" if "not recognized" in reason else reason


def _check_crs(crs: str | None, *, whose: str | Path) -> None:
    """Raise a DataError unless a layer has a CRS, and no local one without a place on a globe."""
    import pyproj

    with suppress(pyproj.exceptions.CRSError):
        if crs and pyproj.CRS.from_user_input(crs).geodetic_crs:
            return
    raise DataError(
        f"{whose} has no coordinate reference system{' that can be projected' if crs else ''}: set it first, "
        "such as with ogr2ogr -a_srs EPSG:32632 OUT.gpkg IN."
    )


def _single_point(shape: Any) -> Any:
    """Return the point of a multi-point of one; other geometries as they are."""
    return shape.geoms[0] if shape and shape.geom_type == "MultiPoint" and len(shape.geoms) == 1 else shape


def _choose_layer(layers: np.ndarray, kinds: tuple[str, ...], *, whose: str | Path) -> str:
    """Return the only layer whose geometry type can be one of these.

    Args:
        layers: name and geometry type of each, (N, 2); None for a table without geometries.
        kinds: geometry types that are expected.
        whose: the file, for messages.

    Raises:
        DataError: there is none, or several.
    """
    other = [word for word in ("Point", "LineString", "Polygon") if word not in kinds]
    found = [str(name) for name, kind in layers if kind and not any(word in kind for word in other)]
    if not found:
        advice = _TABLE if "Point" in kinds and len(layers) and not any(kind for _, kind in layers) else ""
        raise DataError(f"There are no {_noun(kinds)} in {whose}{advice}.")
    if len(found) > 1:
        raise DataError(
            f"{whose} has several layers of {_noun(kinds)} ({', '.join(found[:8])}): save the one to use as "
            "a file of its own."
        )
    return found[0]


def _check_kinds(found: set[str], kinds: tuple[str, ...], *, whose: str | Path) -> None:
    """Raise a DataError unless the geometries of a layer are of the expected types."""
    if not found:
        raise DataError(f"There are no {_noun(kinds)} in {whose}.")
    if found - set(kinds):
        raise DataError(f"{whose} holds {' and '.join(sorted(found))}: expected {_noun(kinds)} alone.")


def _noun(kinds: tuple[str, ...]) -> str:
    """Return geometry types for messages, such as points or polygons."""
    return " or ".join(noun for kind, noun in (("Point", "points"), ("Polygon", "polygons")) if kind in kinds)


@contextmanager
def without_date() -> Iterator[None]:
    """Write GeoPackages that do not state when, so that the same layer has the same bytes."""
    import pyogrio

    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": _DATE})
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})


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
        with without_date(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the ending of a temporary name
            pyogrio.raw.write(path, shapely.to_wkb(layer.geometries), values, fields, **options)
            written = pyogrio.read_info(path)["features"]
    except (DataSourceError, DataLayerError, FeatureError) as error:
        raise OSError(first_line(error)) from None
    if written != len(layer.geometries):
        raise OSError("the file read back differs from what was written")
