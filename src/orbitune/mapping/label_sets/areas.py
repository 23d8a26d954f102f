"""Areas of a map with several labels a cell."""

import numpy as np

from orbitune.mapping.areas.area_records import AreaReport, ClassArea
from orbitune.mapping.label_sets.planes import NO_VALUE, label_planes
from orbitune.mapping.outputs.rasters import MapRasters

_NOTES = (
    "a cell has each class that its window shows some of: these are the hectares of such cells, not those "
    "that a class covers, and do not add up",
    "they follow from the model's thresholds and are not corrected for its errors",
)


def label_set_areas(rasters: MapRasters) -> AreaReport:
    """Return the hectares of the cells that have each class, and of those that are *not sure*.

    They are not corrected for the errors of the model.
    """
    names = [*rasters.metadata.classes, "not sure"]
    square_metres, with_data = np.zeros(len(names)), 0.0
    for ((top, bottom), _), labels in rasters.windows(label_planes(len(names) - 1), nodata=NO_VALUE):
        areas = rasters.pixel_areas.window(top, bottom - top)
        square_metres += [float(areas[each == 1].sum()) for each in labels]
        with_data += float(areas[labels[-1] != NO_VALUE].sum())
    rows = [
        ClassArea(name=name, hectares=own / 1e4, fraction=own / with_data if with_data else 0.0)
        for name, own in zip(names, square_metres.tolist(), strict=True)
    ]
    return AreaReport(areas=tuple(rows), notes=_NOTES)
