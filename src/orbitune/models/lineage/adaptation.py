"""Records of the adaptation of a bundle to a scene."""

from collections.abc import Collection
from typing import Annotated

from pydantic import FiniteFloat, NonNegativeInt, Strict

from orbitune.models.lineage.scores import Scores, Sha256
from orbitune.models.preprocessing import Side
from orbitune.records import JsonTuple, Record


class AdaptationScores(Record):
    """Scores before and after an adaptation, on points that were held out.

    Attributes:
        folds: number of folds of the cross-validation.
        before, after: scores of the parent's head, and of heads fitted without the point that they label.
        gain: accuracy after minus before, -1..1.
        gain_interval: its paired 95 % interval.
    """

    folds: NonNegativeInt
    before: Scores
    after: Scores
    gain: FiniteFloat
    gain_interval: Annotated[tuple[FiniteFloat, FiniteFloat], Strict(False)]


class LabelledPlace(Record):
    """A labelled point of a scene.

    Attributes:
        longitude, latitude: degrees of WGS 84 (EPSG:4326).
        label: its true class.
    """

    longitude: FiniteFloat
    latitude: FiniteFloat
    label: str


class Adaptation(Record):
    """How the head of a bundle was refitted to labelled points of a scene.

    Attributes:
        parent: name of the bundle that it started from.
        parent_sha256: SHA-256 of its orbitune.json, which holds those of its weights.
        scene: name of the scene.
        window: side in pixels of the ground around a point that was labelled.
        points: number of labelled points by class; classes without points are left out.
        left_out: number of points without a class, outside the scene, or where it has too little data.
        places: the labelled points; empty in older bundles.
        scores: measured by cross-validation.
    """

    parent: str
    parent_sha256: Sha256
    scene: str
    window: Side
    points: dict[str, NonNegativeInt]
    left_out: NonNegativeInt = 0
    places: JsonTuple[LabelledPlace] = ()
    scores: AdaptationScores

    @property
    def count(self) -> int:
        """Number of labelled points."""
        return sum(self.points.values())

    def places_in(self, scenes: Collection[str]) -> tuple[LabelledPlace, ...]:
        """Return the labelled points if their scene is among these, else none."""
        return self.places if self.scene in scenes else ()
