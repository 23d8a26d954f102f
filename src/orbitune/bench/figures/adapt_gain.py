"""Right answers that `orbitune adapt` gains on held-out places of scenes."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from orbitune.bench.figures.labelled_scenes import (
    Answers,
    LabelledScene,
    answer_places,
    read_labelled_scenes,
)
from orbitune.bench.figures.scenes import describe_map, temporary_bundle
from orbitune.errors import OrbituneError
from orbitune.mapping.adaptation.adapt import adapt
from orbitune.mapping.areas.reference_points import TRUE_CLASS
from orbitune.mapping.nearby import near_any
from orbitune.mapping.vector_io import VectorLayer, write_vector

_DRAWS = 8  # of the points to adapt to, in each scene: a draw leaves few places far from all its points
_OF_EACH = 2  # places of each group that a draw begins with: a class without points is hardly predicted after


def measure(
    run: str,
    labelled_scenes: str,
    *,
    groups: Mapping[str, Sequence[str]],
    classes: Mapping[str, str],
    points: int,
    stride: int | None = None,
) -> dict[str, Any]:
    """Return the mean gain on held-out places over scenes, in points.

    Each draw adapts the bundle to some places: two of each group, and others at random. The maps before and
    after, without *not sure*, are compared at the other places whose windows overlap with none of the drawn.
    Each such place of each draw counts alike within a scene.

    Args:
        run, labelled_scenes, groups, stride: as in `orbitune.bench.figures.scene_accuracy`.
        classes: class that the places of each coarse group are labelled with.
        points: number of places to adapt to.

    Raises:
        OrbituneError: a group has no class, or a scene no place apart from the drawn ones.
    """
    if missing := sorted(set(groups) - set(classes)):
        raise OrbituneError(f"`classes` of adapt-gain lacks a class for {', '.join(missing)}.")
    settings: dict[str, Any] = {"groups": groups, "stride": stride, "not_sure": False}
    gains, seconds, details = [], [], []
    with temporary_bundle(run) as folder:
        for scene in read_labelled_scenes(labelled_scenes):
            before = answer_places(folder, scene, **settings)
            right = []
            for seed in range(_DRAWS):
                place = folder / f"{scene.name}-{seed}"
                drawn = draw_points(scene, points, seed=seed)
                seconds.append(_adapt(folder / "bundle", scene, drawn=drawn, classes=classes, place=place))
                after = answer_places(place, scene, **settings)
                held_out = _held_out(scene, drawn, answers=before)
                right.append(np.stack([each.groups == scene.truth for each in (before, after)])[:, held_out])
            old, new = _mean_right(right, scene)
            gains.append(100 * (new - old))
            places = f"{sum(each.shape[1] for each in right)} held-out places in {_DRAWS} draws"
            details.append([scene.name, f"{old:.2f} right before, {new:.2f} after, {places}"])
    taken = f"{np.mean(seconds):.0f}, at most {max(seconds):.0f}"
    details += [["seconds of adapt", taken], ["maps", describe_map(after.metadata)]]
    return {"value": float(np.mean(gains)), "details": details}


def draw_points(scene: LabelledScene, points: int, *, seed: int) -> np.ndarray:
    """Return places to label, int (points,): `_OF_EACH` of every group, then any."""
    order = np.random.default_rng(seed).permutation(len(scene.truth))
    earlier = [(scene.truth[order[:place]] == scene.truth[index]).sum() for place, index in enumerate(order)]
    return order[np.argsort(np.array(earlier) >= _OF_EACH, kind="stable")][:points]


def _adapt(
    bundle: Path, scene: LabelledScene, *, drawn: np.ndarray, classes: Mapping[str, str], place: Path
) -> float:
    """Write the bundle adapted to some places to `place`/bundle; return the seconds."""
    place.mkdir()
    names = np.array([classes[group] for group in scene.truth[drawn]], object)
    layer = VectorLayer(place, scene.places.crs, scene.places.geometries[drawn], {TRUE_CLASS: names})
    file = place / "points.gpkg"
    write_vector(file, layer, kind="Point", name="points")
    start = time.perf_counter()
    adapt(bundle, scene.raster, points=file, out=place / "bundle", bands=scene.bands, progress=False)
    return time.perf_counter() - start


def _held_out(scene: LabelledScene, drawn: np.ndarray, *, answers: Answers) -> np.ndarray:
    """Return the places whose windows overlap with no fitted one, int (N,)."""
    longitude, latitude = shapely.get_coordinates(scene.places.project("EPSG:4326")).mean(0)
    metres = scene.places.project(f"+proj=aeqd +lat_0={latitude} +lon_0={longitude} +datum=WGS84")
    places = shapely.get_coordinates(metres)
    side = answers.metadata.tile * answers.metadata.resolution_metres
    return np.flatnonzero(~near_any(places, places[drawn], side=side))


def _mean_right(right: Sequence[np.ndarray], scene: LabelledScene) -> tuple[float, float]:
    """Return the fractions of right answers before and after.

    Args:
        right: of each draw, whether the answers at held-out places are right, bool (2, N).
        scene: the scene.

    Raises:
        OrbituneError: there is no held-out place.
    """
    together = np.concatenate(right, axis=1)
    if not together.size:
        raise OrbituneError(f"{scene.name} has no place apart from the drawn ones: use fewer `points`.")
    before, after = together.mean(1).tolist()
    return before, after
