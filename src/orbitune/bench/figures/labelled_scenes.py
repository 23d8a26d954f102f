"""Labelled scenes: places whose true class is known, and what a map says there.

A folder of labelled scenes holds a folder per scene, and scenes.json, an object of scenes by the name of
their folder. Each has `file`, the raster; `bands`, its red, green and blue; `labels`, a vector file of points
or polygons with the label in `field`, or, with `field` null, a raster of labels on the pixels of the scene;
and `groups`, the coarse group of each label. Labels without a group are left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from orbitune.bench.figures.scenes import map_scene_with
from orbitune.errors import OrbituneError
from orbitune.integrity import read_json
from orbitune.mapping.grid import NODATA, NOT_SURE
from orbitune.mapping.map_report import MapMetadata
from orbitune.mapping.scene.raster_io import gdal_environment, open_raster
from orbitune.mapping.vector_io import VectorLayer, read_vector
from orbitune.records import first_fault
from orbitune.sources.band_names import BandChoice, parse_bands

INDEX = "scenes.json"
_SHAPES = ("Point", "MultiPoint", "Polygon", "MultiPolygon")
_STEP, _REACH = 8, 3  # pixels between places of a raster of labels, and on each side that share the label


class _Entry(BaseModel):
    """A scene in the index, see the top of this module."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    file: str
    bands: str
    labels: str
    field: str | None
    groups: dict[str, str]


@dataclass(frozen=True)
class LabelledScene:
    """A scene with places whose coarse group is known.

    Attributes:
        name: of its folder.
        raster: path of the scene.
        bands: its red, green and blue.
        places: points, with their group in the field `group`.
    """

    name: str
    raster: Path
    bands: Sequence[BandChoice]
    places: VectorLayer

    @property
    def truth(self) -> np.ndarray:
        """True group of each place, str (N,)."""
        return self.places.fields["group"]


@dataclass(frozen=True)
class Answers:
    """What a map says at the places of a labelled scene.

    Attributes:
        groups: group of the class of each place, str (N,); empty where it is *not sure* or without data.
        confidence: probability of that class in percent, int (N,).
        metadata: of the map.
    """

    groups: np.ndarray
    confidence: np.ndarray
    metadata: MapMetadata

    @property
    def given(self) -> np.ndarray:
        """Return which places have a class, bool (N,)."""
        return self.groups != ""


def read_labelled_scenes(folder: str | Path) -> list[LabelledScene]:
    """Read all scenes of a folder with their places.

    Raises:
        OrbituneError: the index or a file is missing or invalid, or a scene has no place with a group.
    """
    index = Path(folder) / INDEX
    try:
        entries = TypeAdapter(dict[str, _Entry]).validate_python(read_json(index))
    except ValidationError as error:
        raise OrbituneError(f"{index} is no index of labelled scenes: {first_fault(error)}.") from None
    if not entries:
        raise OrbituneError(f"{index} names no scene.")
    return [_read_scene(Path(folder) / name, entry) for name, entry in entries.items()]


def answer_places(
    bundle_folder: Path, scene: LabelledScene, *, groups: Mapping[str, Sequence[str]], **settings: Any
) -> Answers:
    """Map a scene, and return what the map says at its places.

    Args:
        bundle_folder: see `map_scene_with`.
        scene: the scene.
        groups: classes of the model by their coarse group.
        settings: see `orbitune.mapping.options.MapOptions`.

    Raises:
        OrbituneError: the scene cannot be mapped, or a class or a label has no group.
    """
    metadata = map_scene_with(bundle_folder, scene.raster, bands=scene.bands, **settings).metadata
    group_of = {name: group for group, names in groups.items() for name in names}
    if ungrouped := [name for name in metadata.classes if name not in group_of]:
        raise OrbituneError(f"The groups of the suite lack classes of the model: {', '.join(ungrouped)}.")
    if unknown := sorted(set(scene.truth) - set(groups)):
        raise OrbituneError(f"{INDEX} has groups that the suite lacks: {', '.join(unknown)}.")
    table = np.full(256, "", object)
    table[1 : len(metadata.classes) + 1] = [group_of[name] for name in metadata.classes]
    assert table[NODATA] == table[NOT_SURE] == ""
    codes, confidence = (
        _sample(bundle_folder / f"{name}.tif", scene.places) for name in ("map", "confidence")
    )
    return Answers(table[codes].astype(str), confidence, metadata)


def _sample(raster: Path, places: VectorLayer) -> np.ndarray:
    """Return the values of a raster of a map at some places, int (N,); 0 outside it."""
    with gdal_environment(), open_raster(str(raster)) as file:
        coordinates = shapely.get_coordinates(places.project(file.crs.to_wkt()))
        finite = np.isfinite(coordinates).all(1)
        values = np.zeros(len(coordinates), int)
        values[finite] = [value[0] for value in file.sample(coordinates[finite].tolist())]
    return values


def _read_scene(folder: Path, entry: _Entry) -> LabelledScene:
    places = _raster_places(folder, entry) if entry.field is None else _vector_places(folder, entry)
    grouped = np.isin(places.fields["label"], list(entry.groups))
    if not grouped.any():
        raise OrbituneError(f"No label in {places.path} has a group in {INDEX}.")
    truth = np.array([entry.groups[label] for label in places.fields["label"][grouped]])
    kept = VectorLayer(places.path, places.crs, places.geometries[grouped], {"group": truth})
    return LabelledScene(folder.name, folder / entry.file, parse_bands(entry.bands), kept)


def _vector_places(folder: Path, entry: _Entry) -> VectorLayer:
    """Return the points of a vector file, and a point within each polygon."""
    layer = read_vector(folder / entry.labels, _SHAPES)
    if entry.field not in layer.fields:
        raise OrbituneError(f"{layer.path} has no field {entry.field}, which {INDEX} names.")
    parts, origin = shapely.get_parts(layer.geometries, return_index=True)
    labels = np.array([str(label) for label in layer.fields[entry.field][origin]])
    return VectorLayer(layer.path, layer.crs, shapely.point_on_surface(parts), {"label": labels})


def _raster_places(folder: Path, entry: _Entry) -> VectorLayer:
    """Return the centres of squares of one label, on a regular grid of a raster."""
    path = folder / entry.labels
    with gdal_environment():
        with open_raster(str(folder / entry.file)) as scene:
            crs, transform, shape = scene.crs, scene.transform, scene.shape
        with open_raster(str(path)) as file:
            values = file.read(1)
    if values.shape != shape or crs is None:
        raise OrbituneError(f"{path} must have the pixels of {folder / entry.file}, which needs a CRS.")
    side = 2 * _REACH + 1
    if min(values.shape) < _STEP + _REACH + 1:
        raise OrbituneError(f"{path} is too small for squares of {side} pixels.")
    rows, columns = (np.arange(_STEP, count - _REACH, _STEP) for count in values.shape)
    squares = np.lib.stride_tricks.sliding_window_view(values, (side, side))
    squares = squares[np.ix_(rows - _REACH, columns - _REACH)]
    places = np.argwhere(squares.min((2, 3)) == squares.max((2, 3)))
    row, column = rows[places[:, 0]], columns[places[:, 1]]
    labels = np.array([str(label) for label in values[row, column]])
    points = shapely.points(*rasterio.transform.xy(transform, row, column))
    return VectorLayer(path, crs.to_wkt(), np.atleast_1d(points), {"label": labels})
