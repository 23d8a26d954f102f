"""Records of the adaptation of a bundle to a scene."""

from typing import Annotated

from pydantic import Field, FiniteFloat, NonNegativeInt, Strict

from orbitune.errors import counted
from orbitune.models.lineage.overlap import MODEL, SeenCounts, list_seen
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
        seen: points whose windows have the pixels of tiles that the model, or one before it, has seen; None
            where there are none.
        refitted: points whose windows overlap with those of points that the model was adapted to before.
        unseen: scores of the other points; None where all are, or too few are left.
    """

    folds: NonNegativeInt
    before: Scores
    after: Scores
    gain: FiniteFloat
    gain_interval: Annotated[tuple[FiniteFloat, FiniteFloat], Strict(False)]
    seen: SeenCounts | None = None
    refitted: NonNegativeInt = 0
    unseen: "AdaptationScores | None" = None

    def warning(self) -> str:
        """Return how many of the points the model has seen, in one line; empty where none are known."""
        points = counted(self.after.count, "point")
        parts = [list_seen({f"{points} (their windows)": self.seen}, MODEL)] if self.seen else []
        if self.refitted:
            parts.append(f"{self.refitted:,} of {points} lie where the model was adapted to a point before")
        if not parts:
            return ""
        line = f"{', and '.join(parts)}: the accuracies are too high"
        rest = self.unseen
        if rest is None:
            return line
        accuracies = f"{rest.before.accuracy:.1%} before and {rest.after.accuracy:.1%} after"
        return f"{line}; without them {accuracies} ({counted(rest.after.count, 'point')})"


class LabelledPlace(Record):
    """A labelled point of a scene.

    Attributes:
        longitude, latitude: degrees of WGS 84 (EPSG:4326); beyond 180 in a scene that counts to 360.
        label: its true class.
    """

    longitude: Annotated[FiniteFloat, Field(ge=-180, le=360)]
    latitude: Annotated[FiniteFloat, Field(ge=-90, le=90)]
    label: str

    @property
    def degrees(self) -> tuple[float, float]:
        """Longitude and latitude."""
        return self.longitude, self.latitude


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
        earlier: points of the same scene that the parent was adapted to.
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
    earlier: JsonTuple[LabelledPlace] = ()
    scores: AdaptationScores

    @property
    def count(self) -> int:
        """Number of labelled points."""
        return sum(self.points.values())
