"""Measurements on a finished map: areas, change and zones."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orbitune.errors import DataError
from orbitune.mapping.areas.area_records import AreaReport, ChangeReport
from orbitune.mapping.areas.change import compare_class_maps, open_classes
from orbitune.mapping.areas.class_map import ClassMap
from orbitune.mapping.areas.estimation import estimate_areas
from orbitune.mapping.areas.reference_points import ReferencePoints
from orbitune.mapping.areas.zones import check_fields, read_zones, write_zones
from orbitune.mapping.grid import code_names
from orbitune.mapping.options import MapOptions
from orbitune.mapping.scene.raster_grid import RasterGrid
from orbitune.mapping.vector_io import VectorLayer


@dataclass(frozen=True)
class MapAnalysis:
    """The files that a map is analysed with, read and checked before it is computed.

    Attributes:
        points: reference points; None for none.
        before: an earlier map to compare with; None for none.
        zones: polygons to measure the classes in; None for none.
    """

    points: ReferencePoints | None
    before: ClassMap | None
    zones: VectorLayer | None

    @classmethod
    def open(cls, options: MapOptions) -> "MapAnalysis":
        """Read the files that the options name.

        Raises:
            OrbituneError: one cannot be used.
        """
        points = options.reference and ReferencePoints.read(options.reference, options.field)
        before = options.compare and open_classes(options.compare)
        zones = options.zones and read_zones(options.zones)
        return cls(points or None, before or None, zones or None)

    def check_classes(self, classes: Collection[str]) -> None:
        """Check that the points have classes of the model, and that no field of the zones has such a name.

        Raises:
            DataError: they do not, or one has.
        """
        if self.points:
            self.points.check_classes(classes)
        if self.zones:
            check_fields(self.zones, code_names(classes).values())

    def check_places(self, grid: RasterGrid) -> None:
        """Check that each file has a place in the scene, before hours are spent on its map.

        Args:
            grid: pixel grid of the scene.

        Raises:
            DataError: one has none.
        """
        if self.points and not grid.locate(*self.points.coordinates(grid.crs))[1].any():
            raise DataError(f"No point of {self.points.layer.path} lies in the scene.")
        if self.zones and not grid.overlaps(_corners(self.zones, grid)).any():
            raise DataError(f"No polygon of {self.zones.path} overlaps the scene.")
        if self.before and not grid.overlaps(grid.outline(self.before)[None]).any():
            raise DataError(f"{self.before.path} and the scene do not overlap: name an earlier map of it.")

    def report(self, map_file: Path) -> tuple[AreaReport, ChangeReport | None]:
        """Analyse the finished map.

        The map of change and the zones go to files beside the map: `NAME-change.tif` and `NAME-zones.csv`.

        Raises:
            OrbituneError: a file does not fit the map, or cannot be written.
        """
        class_map = ClassMap.open(map_file)
        change = None
        if self.before:
            change = compare_class_maps(self.before, class_map, out=change_file(map_file))
        if self.zones:
            write_zones(class_map, self.zones, out=zones_file(map_file))
        return estimate_areas(class_map, self.points), change


def _corners(zones: VectorLayer, grid: RasterGrid) -> np.ndarray:
    """Return the corners of the box around each polygon in pixels, float (N, 4, 2) of column, row."""
    import shapely

    left, low, right, high = shapely.bounds(zones.project(grid.crs)).T
    x, y = np.stack([left, right, left, right], 1), np.stack([low, low, high, high], 1)
    return np.stack(~grid.transform * (x, y), -1)


def derived_files(options: MapOptions, outputs: Mapping[str, Path]) -> list[Path]:
    """Return the files that an analysis with these options writes beside the map."""
    asked = ((options.compare, change_file), (options.zones, zones_file))
    return [name(outputs["map"]) for option, name in asked if option is not None]


def change_file(map_file: Path) -> Path:
    """Return the file of the change of a map."""
    return map_file.with_name(f"{map_file.stem}-change.tif")


def zones_file(map_file: Path) -> Path:
    """Return the file of the hectares in zones of a map."""
    return map_file.with_name(f"{map_file.stem}-zones.csv")
