"""Records of a merged adapter."""

from orbitune.models.lineage.scores import Fraction
from orbitune.records import Record


class MergeParent(Record):
    """One of the two adapters that a merged adapter was made of.

    Attributes:
        path: name of its run.
        weight: of its update in the mean, 0..1.
    """

    path: str
    weight: Fraction


class MergeScore(Record):
    """Accuracies, 0..1, on the validation tiles of one of two merged runs.

    Attributes:
        tiles: name of the run that the tiles belong to.
        one, other, merged: accuracy of each adapter.
    """

    tiles: str
    one: Fraction
    other: Fraction
    merged: Fraction
