"""Areas and accuracies of a map from a reference sample."""

import numpy as np

from orbitune.errors import DataError, counted
from orbitune.mapping.areas.area_records import ReferenceClass, ReferenceEstimate
from orbitune.mapping.areas.class_map import ClassMap
from orbitune.mapping.areas.reference_points import ReferencePoints
from orbitune.mapping.areas.stratified import StratifiedSample
from orbitune.mapping.grid import NODATA, NOT_SURE
from orbitune.mapping.nearby import from_degrees, near_any
from orbitune.mapping.scene.geodesy import pixel_size

_Z = 1.96  # standard errors of a 95 % interval
_MAX_DIFFERENCE = 0.25  # between the areas with data of two maps of one place, as of clouds
_MIN_POINTS = 2  # in a stratum, to estimate its variance


def estimate_from_reference(class_map: ClassMap, points: ReferencePoints) -> ReferenceEstimate:
    """Estimate areas and accuracies from a random sample of labelled points.

    The strata are those that the sample was drawn from, if its file states them, else the classes of the map.

    Raises:
        DataError: a label is no class of the map, no point lies on it, two of different classes lie at one
            place, or a stratum has too few points.
    """
    names = list(class_map.classes.values())
    points.check_classes(names)
    codes = points.codes_on(class_map)
    inside = codes != NODATA
    if not inside.any():
        raise DataError(f"No point of {points.layer.path} lies on {class_map.path} where it has data.")
    used = inside & _first_of_each_place(points)
    strata = class_map.strata
    mapped_hectares = float(class_map.hectares[list(strata)].sum())
    _check_extent(class_map, points, hectares=mapped_hectares)
    weights = points.weights or _map_weights(class_map)
    drawn = points.stratum if points.stratum is not None else np.array([strata.get(c, "") for c in codes])
    drawn = drawn[used]
    weights = _check_strata(class_map, drawn, weights=weights)
    order = list(weights)
    covered = sum(weights.values())
    sample = StratifiedSample(
        np.array([order.index(name) for name in drawn]), np.array([*weights.values()]) / covered
    )
    mapped = codes[used, None] == np.array(list(class_map.classes))
    true = points.labels[used, None] == np.array(names)
    return _estimate(
        sample,
        mapped,
        true=true,
        names=names,
        hectares=mapped_hectares * covered,
        unlabelled=points.unlabelled,
        repeated=int((inside & ~used).sum()),
        outside=int((~inside).sum()),
    )


def _first_of_each_place(points: ReferencePoints) -> np.ndarray:
    """Return which points no earlier one repeats, bool (N,): a file can be merged with itself.

    Raises:
        DataError: two points at one place have different classes.
    """
    x, y = points.coordinates(points.layer.crs)
    _, first, place = np.unique(x + 1j * y, return_index=True, return_inverse=True)
    earlier = points.labels[first][place]
    for one, other in zip(earlier, points.labels, strict=True):
        if one != other:
            raise DataError(
                f"{points.layer.path} has points of the classes {one} and {other} at one place: keep one."
            )
    return np.isin(np.arange(len(place)), first)


def _check_extent(class_map: ClassMap, points: ReferencePoints, *, hectares: float) -> None:
    """Raise a DataError if points were drawn from a map of another area, whose fractions they estimate."""
    drawn = points.map_hectares
    if drawn is not None and abs(hectares - drawn) > _MAX_DIFFERENCE * drawn:
        raise DataError(
            f"{points.layer.path} was drawn from a map of {drawn:,.0f} ha, and {class_map.path} has "
            f"{hectares:,.0f} ha with data: draw a sample of this map with orbitune map-sample."
        )


def _estimate(
    sample: StratifiedSample,
    mapped: np.ndarray,
    *,
    true: np.ndarray,
    names: list[str],
    hectares: float,
    **left_out: int,
) -> ReferenceEstimate:
    """Return the estimates of a checked sample.

    Args:
        sample: the points in their strata.
        mapped, true: bool (N, C).
        names: of the classes.
        hectares: that the sample stands for.
        **left_out: numbers of points, see `ReferenceEstimate`.
    """
    right = (mapped & true).any(1, keepdims=True).astype(float)
    overall, overall_error = sample.ratio(right, mapped.any(1, keepdims=True).astype(float))
    return ReferenceEstimate(
        points=len(true),
        **left_out,
        not_sure=int((~mapped.any(1)).sum()),
        hectares=hectares,
        overall_accuracy=float(overall[0]),
        overall_error=float(overall_error[0]),
        classes=_estimate_classes(sample, mapped, true=true, names=names, hectares=hectares),
    )


def _estimate_classes(
    sample: StratifiedSample, mapped: np.ndarray, *, true: np.ndarray, names: list[str], hectares: float
) -> tuple[ReferenceClass, ...]:
    """Return area and accuracies of each class, see `_estimate`."""
    right = (mapped & true).astype(float)
    area, area_error = sample.mean(true.astype(float))
    users, producers = (sample.ratio(right, each.astype(float)) for each in (mapped, true))
    rows = []
    for index, name in enumerate(names):
        middle, error = hectares * float(area[index]), hectares * float(area_error[index])
        interval = {
            "low_hectares": max(0.0, middle - _Z * error),
            "high_hectares": min(hectares, middle + _Z * error),
        }
        rows.append(
            ReferenceClass(
                name=name,
                points=int(true[:, index].sum()),
                estimated_hectares=middle,
                standard_error=error,
                **(interval if error else {}),
                **_accuracy("users", users, index=index),
                **_accuracy("producers", producers, index=index),
            )
        )
    return tuple(rows)


def _accuracy(kind: str, estimates: tuple[np.ndarray, np.ndarray], *, index: int) -> dict[str, float]:
    """Return an accuracy and its error as fields of a record; none if it is unknown."""
    value, error = (float(each[index]) for each in estimates)
    return {f"{kind}_accuracy": value, f"{kind}_error": error} if np.isfinite(value) else {}


def _map_weights(class_map: ClassMap) -> dict[str, float]:
    """Return the fraction of the area of each class on the map, and of *not sure*."""
    hectares = {name: float(class_map.hectares[code]) for code, name in class_map.strata.items()}
    total = sum(hectares.values())
    return {name: own / total for name, own in hectares.items() if own}


def _check_strata(class_map: ClassMap, drawn: np.ndarray, *, weights: dict[str, float]) -> dict[str, float]:
    """Return the weights of the sampled strata: all but an unsampled *not sure*.

    Raises:
        DataError: a stratum has too few points. One of a single pixel needs only one.
    """
    counts = {name: int((drawn == name).sum()) for name in weights}
    unsure = class_map.strata[NOT_SURE]
    hectares = float(class_map.hectares[list(class_map.strata)].sum())
    pixel = float(class_map.hectares.sum()) / (class_map.height * class_map.width)
    few = [
        name
        for name, count in counts.items()
        if count < _MIN_POINTS
        and not (count == 0 and name == unsure)
        and not (count == 1 and weights[name] * hectares < 1.5 * pixel)
    ]
    if few:
        found = ", ".join(f"{name} ({counts[name]})" for name in few)
        raise DataError(
            f"Too few labelled points in classes of the map: {found}. Label at least {_MIN_POINTS} in each."
        )
    return {name: weight for name, weight in weights.items() if counts[name]}


def reference_warnings(class_map: ClassMap, points: ReferencePoints) -> list[str]:
    """Return a line on points near those that the model was adapted to; none where there are none."""
    metadata = class_map.metadata
    if metadata is None or not metadata.adapted_at:
        return []
    known, places = (
        np.stack(class_map.to_pixels(x, y), axis=1)
        for x, y in (points.coordinates(class_map.crs), from_degrees(metadata.adapted_at, class_map.crs))
    )
    shape = {"height": class_map.height, "width": class_map.width}
    pixel = np.array(pixel_size(class_map.crs, class_map.transform, **shape))
    near = near_any(known, places, side=metadata.tile * metadata.resolution_metres / pixel)
    near &= points.codes_on(class_map) != NODATA
    if not near.any():
        return []
    return [
        f"{near.sum():,} of {counted(len(near), 'reference point')} lie where the model was adapted to a "
        "labelled point: the accuracies are too high, and the estimated areas too near to those of the map; "
        "label a sample that the model has not seen"
    ]


def reference_notes(class_map: ClassMap, reference: ReferenceEstimate) -> list[str]:
    """Return lines about points and areas that the estimates leave out."""
    notes = []
    if reference.unlabelled:
        notes.append(f"{reference.unlabelled:,} points have no class and are left out")
    if reference.repeated:
        notes.append(f"{reference.repeated:,} points repeat others and are left out")
    if reference.outside:
        notes.append(f"{reference.outside:,} points lie where the map has no data and are left out")
    unsure = float(class_map.hectares[NOT_SURE])
    total = float(class_map.hectares[list(class_map.strata)].sum())
    if unsure and reference.hectares < total - unsure / 2:
        notes.append(f"no labelled point lies where the map is not sure: {unsure:,.0f} ha are left out")
    if any(row.low_hectares is None for row in reference.classes):
        notes.append("no interval for classes in which the points show no error: label more points")
    return notes
