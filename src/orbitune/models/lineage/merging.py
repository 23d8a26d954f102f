"""Records of a merged adapter."""

from pydantic import NonNegativeInt

from orbitune.errors import counted
from orbitune.models.lineage.overlap import SeenCounts, describe_seen, describe_too_few
from orbitune.models.lineage.scores import Fraction
from orbitune.records import JsonTuple, Record


class MergeParent(Record):
    """One of the two adapters that a merged adapter was made of.

    Attributes:
        path: name of its run.
        weight: of its update in the mean, 0..1.
    """

    path: str
    weight: Fraction


class MergeScore(Record):
    """Scores, 0..1, on the validation tiles of one of two merged runs.

    Attributes:
        tiles: name of the run that the tiles belong to.
        one, other, merged: accuracy of each adapter.
        macro_f1: of each adapter in this order; empty in adapters of earlier versions.
        split: name of the split of the tiles; None, like the next, in adapters of earlier versions.
        count: number of tiles.
        seen: number of the tiles that an adapter was trained on; None where it is not known.
        unseen: the accuracies on the other tiles; None where none were seen, or too few are left.
    """

    tiles: str
    one: Fraction
    other: Fraction
    merged: Fraction
    macro_f1: JsonTuple[Fraction] = ()
    split: str | None = None
    count: NonNegativeInt | None = None
    seen: NonNegativeInt | None = None
    unseen: "MergeScore | None" = None

    def warning(self) -> str:
        """Return how many of the tiles an adapter was trained on, in one line; empty where none."""
        if self.seen is None:
            return f"whether an adapter was trained on the validation tiles of {self.tiles} is not known"
        if not self.seen:
            return ""
        tiles = counted(self.count or 0, "validation tile")
        counts = {f"{tiles} of {self.tiles}": SeenCounts(trained=self.seen)}
        line = describe_seen(counts, "the other run, or of one that the two come from")
        rest = self.unseen
        if rest is None:
            return f"{line}; {describe_too_few((self.count or 0) - self.seen)}"
        accuracies = ", ".join(f"{each:.2%}" for each in (rest.one, rest.other, rest.merged))
        macro_f1 = f", macro-F1 {', '.join(f'{each:.4f}' for each in rest.macro_f1)}" if rest.macro_f1 else ""
        tiles = counted(rest.count or 0, "tile")
        return f"{line}; without them accuracy is {accuracies}{macro_f1} ({tiles})"
