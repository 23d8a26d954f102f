"""GeoTIFFs of a map with several labels a cell: one band a class, and one for *not sure*."""

import json
from pathlib import Path

from orbitune.mapping.label_sets.planes import NO_VALUE, label_planes, percent_planes
from orbitune.mapping.outputs.legend import class_colours
from orbitune.mapping.outputs.rasters import MapRasters
from orbitune.mapping.outputs.styles import write_qgis_gradient, write_qgis_style
from orbitune.mapping.outputs.writer import json_tag, write_cog

_ABSENT = (240, 240, 240)


def write_probabilities(rasters: MapRasters, path: Path) -> None:
    """Write the probability of each class as a GeoTIFF, in percent.

    Where a cell is *not sure*, its classes have no data. The last band is 100 there, and 0 elsewhere; a map
    in which no cell can be *not sure* is without it.

    Args:
        rasters: probabilities, grid and metadata of the map.
        path: GeoTIFF to write.

    Raises:
        OrbituneError: the file cannot be written.
    """
    planes = percent_planes(len(rasters.metadata.classes))
    names = _write_bands(rasters, path, planes=planes, tags={"UNIT": "percent"}, resampling="average")
    write_qgis_gradient(path, names[0], low=_ABSENT, high=class_colours(rasters.metadata.classes)[1])


def write_labels(rasters: MapRasters, path: Path) -> None:
    """Write which classes each cell has as a GeoTIFF: 1 where it reaches the threshold, else 0.

    Where a cell is *not sure*, its classes have no data; the last band is as in `write_probabilities`,
    with 1.

    Args:
        rasters: labels, grid and metadata of the map.
        path: GeoTIFF to write.

    Raises:
        OrbituneError: the file cannot be written.
    """
    planes = label_planes(len(rasters.metadata.classes))
    names = _write_bands(rasters, path, planes=planes, tags={}, resampling="nearest")
    colours = {0: _ABSENT, 1: class_colours(rasters.metadata.classes)[1]}
    write_qgis_style(path, {0: f"no {names[0]}", 1: names[0]}, colours=colours, nodata=NO_VALUE)


def _write_bands(
    rasters: MapRasters, path: Path, *, planes: list[int], tags: dict[str, str], resampling: str
) -> list[str]:
    """Write the planes of the classes and of *not sure*, and return the names of the bands."""
    names = [*rasters.metadata.classes, "not sure"]
    count = len(names) if rasters.metadata.not_sure else len(names) - 1
    write_cog(
        rasters,
        path,
        planes=planes[:count],
        names=names[:count],
        nodata=NO_VALUE,
        tags={**tags, "ORBITUNE": json_tag(rasters), "THRESHOLDS": _thresholds(rasters)},
        resampling=resampling,
    )
    return names[:count]


def _thresholds(rasters: MapRasters) -> str:
    """Return the probabilities, 0..1, from which a cell has each class, as JSON by class."""
    assert rasters.metadata.thresholds is not None  # of maps with several labels a cell alone
    named = zip(rasters.metadata.classes, rasters.metadata.thresholds, strict=True)
    return json.dumps(dict(named))
