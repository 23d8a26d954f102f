"""Finished maps, opened again: class codes, names, and areas on the ground."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.errors import DataError, first_line
from orbitune.mapping.grid import NODATA, NOT_SURE
from orbitune.mapping.map_report import MapMetadata
from orbitune.mapping.scene.geodesy import PixelAreas
from orbitune.mapping.scene.raster_io import gdal_environment, import_rasterio, open_raster
from orbitune.records import RecordError

_ROWS = 256  # rows of pixels read at a time


@dataclass(frozen=True, kw_only=True)
class ClassMap:
    """A GeoTIFF of class codes: a map, or the change between two maps.

    Attributes:
        path: of the GeoTIFF.
        names: name of each code, with those of no data and *not sure*.
        crs: coordinate reference system, as WKT.
        transform: affine transform from pixels to the CRS.
        height, width: number of pixels.
        tag: how the map was made, as its tag ORBITUNE says; None for a map of change.
        metadata: the same.
    """

    path: Path
    names: dict[int, str]
    crs: str
    transform: Any
    height: int
    width: int
    tag: str | None
    metadata: MapMetadata | None

    @classmethod
    def open(cls, path: str | Path) -> "ClassMap":
        """Open a map that `orbitune map` or `orbitune map-compare` wrote.

        Raises:
            OrbituneError: it cannot be opened, or is no such map.
        """
        with gdal_environment(), open_raster(str(path)) as file:
            tags = file.tags()
            if "THRESHOLDS" in tags:
                raise DataError(
                    f"{path} has several labels a pixel; areas, samples, zones and comparisons need one."
                )
            if "CLASSES" not in tags or file.crs is None:
                raise DataError(f"{path} is not a map of Orbitune: name a GeoTIFF that orbitune map wrote.")
            try:
                names = {int(code): str(name) for code, name in json.loads(tags["CLASSES"]).items()}
                tag = tags.get("ORBITUNE")
                metadata = MapMetadata.from_json(json.loads(tag)) if tag else None
            except RecordError as error:
                raise DataError(f"The tag ORBITUNE of {path} {error}") from None
            except (ValueError, AttributeError, TypeError):
                raise DataError(f"The tags of {path} are damaged: map the scene again.") from None
            return cls(
                path=Path(path),
                names=names,
                crs=file.crs.to_wkt(),
                transform=file.transform,
                height=file.height,
                width=file.width,
                tag=tag,
                metadata=metadata,
            )

    @property
    def classes(self) -> dict[int, str]:
        """Name of each code that is a class."""
        return {code: name for code, name in self.names.items() if code not in (NODATA, NOT_SURE)}

    @property
    def strata(self) -> dict[int, str]:
        """Name of each code with data: the classes and *not sure*."""
        return {**self.classes, NOT_SURE: self.names.get(NOT_SURE, "not sure")}

    @cached_property
    def pixel_areas(self) -> PixelAreas:
        """Area of each pixel on the ground."""
        return PixelAreas.measure(self.crs, self.transform, height=self.height, width=self.width)

    @cached_property
    def hectares(self) -> np.ndarray:
        """Area of the pixels of each code, float (256,); that of nodata too."""
        found = np.zeros(256)
        for top, codes in self.strips():
            areas = self.pixel_areas.window(top, len(codes))
            found += np.bincount(codes.ravel(), areas.ravel(), 256)
        return found / 1e4

    def strips(self, rows: int = _ROWS) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the first row and the codes, uint8 (h, W), of strips of `rows` rows."""
        yield from read_strips(self.path, rows)

    def codes_at(self, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the codes at pixel coordinates, uint8 (N,); nodata outside the map.

        Args:
            columns, rows: float (N,), from the map's upper left corner.
        """
        column, row = np.floor(columns).astype(int), np.floor(rows).astype(int)
        inside = (column >= 0) & (column < self.width) & (row >= 0) & (row < self.height)
        found = np.full(len(column), NODATA, np.uint8)
        for top, codes in self.strips():
            here = np.flatnonzero(inside & (row >= top) & (row < top + len(codes)))
            found[here] = codes[row[here] - top, column[here]]
        return found

    def to_pixels(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return columns and rows, float (N,), of coordinates in the map's CRS."""
        a, b, c, d, e, f = (~self.transform)[:6]
        return a * x + b * y + c, d * x + e * y + f


def read_strips(path: Path, rows: int = _ROWS) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the first row and the pixels (h, W) of strips of the first band.

    Raises:
        DataError: the file is damaged.
    """
    with gdal_environment():
        file = import_rasterio().open(path)
    with file:
        for top in range(0, file.height, rows):
            bottom = min(top + rows, file.height)
            yield top, read_codes(file, ((top, bottom), (0, file.width)), whose=path)


def read_codes(file: Any, window: tuple[tuple[int, int], tuple[int, int]], *, whose: Path) -> np.ndarray:
    """Read a window, rows and columns, of the first band of an open raster.

    Raises:
        DataError: the file `whose` pixels they are is damaged.
    """
    # Not across a yield: environments of two generators must not interleave.
    try:
        with gdal_environment():
            codes: np.ndarray = file.read(1, window=window)
    except import_rasterio().errors.RasterioError as error:
        reason = first_line(error.__cause__ or error)
        raise DataError(f"{whose} is damaged: {reason}. Map the scene again.") from None
    return codes
