"""Reference points: places whose true class a person has labelled."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orbitune.errors import DataError
from orbitune.mapping.areas.class_map import ClassMap
from orbitune.mapping.grid import NODATA
from orbitune.mapping.vector_io import POINTS, VectorLayer, read_vector
from orbitune.sources.labels.class_labels import is_empty
from orbitune.suggestions import asked_after

TRUE_CLASS = "true_class"
"""Field that the true class of a point is read from, unless another is named."""
MAP_HECTARES = "map_hectares"
"""Field of the area of the map that a point was drawn from."""


@dataclass(frozen=True)
class ReferencePoints:
    """Labelled points of a vector file.

    Attributes:
        layer: the labelled points.
        labels: str (N,), the true class of each.
        unlabelled: number of points of the file without a class.
        stratum: str (N,), the stratum that each point was drawn from; None if the file does not state it.
        weights: fraction of the area in each stratum, see `sampling.draw_sample`; None as `stratum`.
        map_hectares: area with data of the map that the points were drawn from; None if it is not stated.
    """

    layer: VectorLayer
    labels: np.ndarray
    unlabelled: int
    stratum: np.ndarray | None = None
    weights: dict[str, float] | None = None
    map_hectares: float | None = None

    @classmethod
    def read(cls, path: str | Path, field: str = TRUE_CLASS, *, sample: bool = True) -> "ReferencePoints":
        """Read the points of a vector file.

        Args:
            path: any file that GDAL opens. Points whose field is empty are counted and left out.
            field: name of the field with the true class.
            sample: whether the points must be a random sample, which estimates areas. If not, their strata
                are not read.

        Raises:
            DataError: it cannot be read, has no such field, no labelled points, or is a sample of the places
                where a map is least sure in place of a random one.
        """
        layer = read_vector(path, POINTS)
        if field not in layer.fields:
            named = ", ".join(layer.fields) or "none"
            raise DataError(f"{path} has no field {field}; its fields are: {named}. Name one with --field.")
        if sample and "uncertainty" in layer.fields.get("sampling", ()):
            raise DataError(
                f"The points of {path} were drawn where the map is least sure, not at random, so they do not "
                "estimate areas: draw others with orbitune map-sample."
            )
        labels = np.array(["" if is_empty(value) else str(value).strip() for value in layer.fields[field]])
        stratum, weights = (_strata(layer) if sample else None) or (None, None)
        labelled = labels != ""
        if not labelled.any():
            raise DataError(f"No point of {path} has a class: fill its field {field}, in QGIS for instance.")
        kept = {name: values[labelled] for name, values in layer.fields.items()}
        layer = VectorLayer(layer.path, layer.crs, layer.geometries[labelled], kept)
        stratum = None if stratum is None else stratum[labelled]
        hectares = None
        if weights and MAP_HECTARES in kept:
            hectares = float(np.nanmedian(_numbers(layer, MAP_HECTARES)))
        return cls(layer, labels[labelled], int((~labelled).sum()), stratum, weights, hectares)

    def check_classes(self, known: Collection[str]) -> None:
        """Check that every label is a class of a map or a model.

        Raises:
            DataError: one is not; the message names the classes.
        """
        if unknown := sorted(set(self.labels.tolist()) - set(known)):
            named = ", ".join(map(repr, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
            raise DataError(
                f"{self.layer.path} has points of unknown class {named}.{asked_after(unknown[0], known)} "
                f"Rename them to classes of the model: {', '.join(known)}."
            )

    def coordinates(self, crs: str) -> np.ndarray:
        """Return x and y in a CRS (WKT), float (2, N); not finite outside of it."""
        import shapely

        return np.asarray(shapely.get_coordinates(self.layer.project(crs)).T)

    def codes_on(self, class_map: ClassMap) -> np.ndarray:
        """Return the map's code at each point, uint8 (N,); nodata outside the map."""
        x, y = self.coordinates(class_map.crs)
        finite = np.isfinite(x) & np.isfinite(y)
        columns, rows = class_map.to_pixels(np.where(finite, x, 0), np.where(finite, y, 0))
        return np.where(finite, class_map.codes_at(columns, rows), NODATA)


def check_field(field: str, reference: str | Path | None) -> None:
    """Check that a field is named of points that are given.

    Raises:
        DataError: there are no points.
    """
    if reference is None and field != TRUE_CLASS:
        raise DataError(f"--field {field} is of reference points: give their file with --reference.")


def _strata(layer: VectorLayer) -> tuple[np.ndarray, dict[str, float]] | None:
    """Return the stratum of each point, str (N,), and the weight of each stratum.

    Returns None if the file does not state how its points were drawn.

    Raises:
        DataError: a point has no stratum, or the points of a stratum state different weights.
    """
    if not {"map_class", "weight"} <= layer.fields.keys():
        return None
    names = np.array(["" if is_empty(name) else str(name) for name in layer.fields["map_class"]])
    stated = _numbers(layer, "weight")
    weights = dict(zip(names.tolist(), stated.tolist(), strict=True))
    if "" in weights or any(not 0 < weights[n] == w for n, w in zip(names.tolist(), stated, strict=True)):
        raise DataError(
            f"{layer.path} has points without the map_class and weight of orbitune map-sample: remove points "
            "that were added to the sample, or both fields if the points were drawn in another way."
        )
    return names, weights


def _numbers(layer: VectorLayer, field: str) -> np.ndarray:
    """Return the numbers in a field of a sample, float64 (N,)."""
    try:
        return layer.fields[field].astype(np.float64)
    except (TypeError, ValueError):
        raise DataError(
            f"The field {field} of {layer.path} holds text: restore the numbers of orbitune map-sample."
        ) from None
