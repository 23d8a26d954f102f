"""What is measured on a finished map: its areas, with everything that the options name."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from orbitune.mapping.areas.area_records import AreaReport
from orbitune.mapping.areas.class_map import ClassMap
from orbitune.mapping.areas.estimation import estimate_areas
from orbitune.mapping.areas.reference_points import ReferencePoints
from orbitune.mapping.options import MapOptions


@dataclass(frozen=True)
class MapAnalysis:
    """The files that a map is analysed with, read and checked before it is computed.

    Attributes:
        points: reference points; None for none.
    """

    points: ReferencePoints | None

    @classmethod
    def open(cls, options: MapOptions) -> "MapAnalysis":
        """Read the files that the options name.

        Raises:
            OrbituneError: one cannot be used.
        """
        points = options.reference and ReferencePoints.read(options.reference, options.field)
        return cls(points or None)

    def check_classes(self, classes: Collection[str]) -> None:
        """Check that the reference points have classes of the model.

        Raises:
            DataError: they do not.
        """
        if self.points:
            self.points.check_classes(classes)

    def report(self, map_file: Path) -> AreaReport:
        """Analyse the finished map.

        Raises:
            OrbituneError: the points do not fit the map.
        """
        return estimate_areas(ClassMap.open(map_file), self.points)
