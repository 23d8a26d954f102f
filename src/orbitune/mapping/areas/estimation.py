"""Areas of a map: as mapped, and estimated from test tiles or a sample."""

from pathlib import Path
from typing import TypeVar

import numpy as np

from orbitune.mapping.areas.area_records import AreaReport, ClassArea
from orbitune.mapping.areas.calibrated import calibrated_fractions
from orbitune.mapping.areas.class_map import ClassMap
from orbitune.mapping.areas.reference_estimate import (
    estimate_from_reference,
    reference_notes,
    reference_warnings,
)
from orbitune.mapping.areas.reference_points import TRUE_CLASS, ReferencePoints, check_field

Report = TypeVar("Report", bound=AreaReport)

_MAX_UNSURE = 0.5  # fraction of the area; above it the test tiles say nothing about the whole


def map_areas(
    class_map: str | Path, reference: str | Path | None = None, *, field: str = TRUE_CLASS
) -> AreaReport:
    """Estimate the class areas of a finished map.

    Examples:
        >>> from orbitune import map_areas
        >>> report = map_areas("landcover.tif")  # or map_areas("landcover.tif", "points.gpkg")
        >>> {area.name: area.estimated_hectares for area in report.areas}

    Args:
        class_map: a GeoTIFF that `map_scene` or `compare_maps` wrote.
        reference: a vector file of labelled points, a random sample such as `draw_sample` draws; None for the
            estimate from the confusion of the test tiles alone.
        field: name of the field with the true class of a point.

    Returns:
        Areas as mapped, with the estimates and their 95 % intervals.

    Raises:
        OrbituneError: a file cannot be read, or the points do not fit the map.
    """
    check_field(field, reference)
    points = None if reference is None else ReferencePoints.read(reference, field)
    return estimate_areas(ClassMap.open(class_map), points)


def estimate_areas(class_map: ClassMap, points: ReferencePoints | None = None) -> AreaReport:
    """Estimate the class areas of an open map, see `map_areas`.

    Raises:
        DataError: the points do not fit the map.
    """
    areas, notes = _areas_from_test_tiles(class_map)
    report = AreaReport(areas=areas, notes=notes)
    return report if points is None else add_reference(report, class_map, points=points)


def add_reference(report: Report, class_map: ClassMap, *, points: ReferencePoints) -> Report:
    """Add the estimates from reference points to the report of a map.

    Raises:
        DataError: the points do not fit the map.
    """
    reference = estimate_from_reference(class_map, points)
    notes = (*report.notes, *reference_notes(class_map, reference))
    warnings = (*report.warnings, *reference_warnings(class_map, points))
    return report.model_copy(update={"reference": reference, "notes": notes, "warnings": warnings})


def _areas_from_test_tiles(class_map: ClassMap) -> tuple[tuple[ClassArea, ...], tuple[str, ...]]:
    """Return the mapped areas with estimates, and what the estimates rest on."""
    codes = [*class_map.strata]
    hectares = class_map.hectares[codes]
    total = float(hectares.sum())
    mapped = hectares[:-1]
    estimates, notes = _estimate(class_map, mapped, unsure=float(hectares[-1]))
    rows = []
    for index, name in enumerate(class_map.strata.values()):
        own = float(hectares[index])
        values = estimates[:, index].tolist() if estimates is not None and index < len(mapped) else [None] * 3
        named = zip(("estimated_hectares", "low_hectares", "high_hectares"), values, strict=True)
        rows.append(ClassArea(name=name, hectares=own, fraction=own / total if total else 0.0, **dict(named)))
    return tuple(rows), notes


def _estimate(
    class_map: ClassMap, mapped: np.ndarray, *, unsure: float
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Return hectares (3, C) with intervals, and notes; None without test tiles.

    Args:
        mapped: hectares of each class on the map.
        unsure: hectares without a class.
    """
    classified = float(mapped.sum())
    total = classified + unsure
    left_out = f"{unsure:,.0f} ha ({unsure / total:.1%}) are not sure" if unsure else ""
    metadata = class_map.metadata
    if not classified or metadata is None:
        return None, ()
    if metadata.confusion is None:
        missing = "the map does not state how its model confuses classes, as of an adapted bundle"
        return None, (f"no estimate from test tiles: {missing}; reference points give one",)
    if round(unsure / total, 2) > _MAX_UNSURE:  # pixels of a geographic grid differ in area: half stays half
        return None, (f"no estimate from test tiles: {left_out}, more than the model knows",)
    tested = metadata.confusion_tile or metadata.tile
    # Cells that are smaller than the tested tiles do not err independently, so they count as such tiles.
    hectares_of_tile = (tested * metadata.resolution_metres) ** 2 / 1e4
    fractions = calibrated_fractions(
        mapped / classified, np.array(metadata.confusion), tiles=classified / hectares_of_tile
    )
    notes = [
        "the estimate from test tiles holds only if the model errs on this scene as on the test tiles; one "
        "from reference points needs no such assumption (orbitune map-sample)"
    ]
    if metadata.tile < tested:
        how = "labelled by another head" if metadata.patch_head else "which the model confuses more often"
        notes.append(
            f"the test tiles have {tested} x {tested} pixels, the windows of this map {metadata.tile} x "
            f"{metadata.tile}, {how}: the estimate from test tiles is rough"
        )
    if unsure:
        notes.append(f"{left_out} and in no estimate from test tiles")
    return classified * fractions, tuple(notes)
