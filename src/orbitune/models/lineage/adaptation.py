"""Records of the adaptation of a bundle to a scene."""

from typing import Annotated

from pydantic import Field, FiniteFloat, NonNegativeInt, Strict

from orbitune.models.lineage.scores import Scores, Sha256
from orbitune.models.preprocessing import Side
from orbitune.records import JsonTuple, Record

MAX_PLACES = 10_000
"""Largest number of labelled points of an adaptation."""


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
        longitude, latitude: degrees of WGS 84 (EPSG:4326); beyond 180 in a scene that counts to 360.
        label: its true class.
    """

    longitude: Annotated[FiniteFloat, Field(ge=-180, le=360)]
    latitude: Annotated[FiniteFloat, Field(ge=-90, le=90)]
    label: str


class Adaptation(Record):
    """How the head of a bundle was refitted to labelled points of a scene.

    Attributes:
        parent: name of the bundle that it started from.
        parent_sha256: SHA-256 of its orbitune.json, which holds those of its weights.
        scene: name of the scene.
        scene_sha256: digest of its pixels, see `Scene.digest`; None if it is not known.
        window: side in pixels of the ground around a point that was labelled.
        points: number of labelled points by class; classes without points are left out.
        left_out: number of points without a class, outside the scene, or where it has too little data.
        places: the labelled points, at most `MAX_PLACES`; empty in older bundles.
        scores: measured by cross-validation.
    """

    parent: str
    parent_sha256: Sha256
    scene: str
    scene_sha256: Sha256 | None = None
    window: Side
    points: dict[str, NonNegativeInt]
    left_out: NonNegativeInt = 0
    places: Annotated[JsonTuple[LabelledPlace], Field(max_length=MAX_PLACES)] = ()
    scores: AdaptationScores

    @property
    def count(self) -> int:
        """Number of labelled points."""
        return sum(self.points.values())
