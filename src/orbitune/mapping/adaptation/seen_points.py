"""Labelled points that a model has seen before: as tiles, or as points of an earlier adaptation."""

import numpy as np

from orbitune.mapping.adaptation.labelled_windows import LabelledWindows
from orbitune.mapping.nearby import from_degrees
from orbitune.mapping.worker import Worker
from orbitune.models.lineage.adaptation import Adaptation, LabelledPlace
from orbitune.models.lineage.overlap import Overlap
from orbitune.models.lineage.seen_file import read_seen
from orbitune.models.lineage.seen_tiles import tile_sums


def find_seen_windows(worker: Worker, windows: LabelledWindows) -> Overlap:
    """Return which windows of points have the pixels of tiles that the model, or one before it, has seen."""
    if (seen := read_seen(worker.bundle.place)) is None:
        return Overlap(np.zeros(len(windows.labels), bool), None)
    return seen.find(tile_sums(windows.tiles[:, 0]))


def earlier_places(adaptation: Adaptation | None, scene_sha256: str | None) -> tuple[LabelledPlace, ...]:
    """Return the points of a scene that a model was adapted to, in all of its adaptations.

    Args:
        adaptation: of the model; None for none.
        scene_sha256: digest of the scene's pixels.
    """
    if adaptation is None or scene_sha256 is None or adaptation.scene_sha256 != scene_sha256:
        return ()
    return (*adaptation.earlier, *adaptation.places)


def find_earlier(
    worker: Worker, windows: LabelledWindows, *, places: tuple[LabelledPlace, ...]
) -> np.ndarray:
    """Return which points have windows that overlap with those of other places, bool (N,)."""
    grid = worker.scene.grid
    known, _ = grid.locate(*from_degrees([place.degrees for place in places], grid.crs))
    return windows.near(known)
