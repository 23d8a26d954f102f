"""Records of evaluation.json: what an assessment measured."""

from typing import ClassVar

from pydantic import NonNegativeInt

from orbitune.errors import counted
from orbitune.evaluation.details.score_details import ScoreDetails
from orbitune.evaluation.tasks.label_set_scores import AnySplitScores, LabelSetScores
from orbitune.models.lineage.overlap import MODEL, OtherTiles, SeenCounts, describe_unrecorded, list_seen
from orbitune.models.lineage.scores import Fraction
from orbitune.records import JsonTuple, Record, StoredRecord


class NotSure(Record):
    """How the tiles divide by the out-of-distribution detector.

    Attributes:
        count: tiles that are *not sure*.
        fraction: of all tiles.
        accuracy_of_sure, accuracy_of_not_sure: accuracy on each part, with several labels a tile that of
            whole sets; None where it has no tiles.
    """

    count: NonNegativeInt
    fraction: Fraction
    accuracy_of_sure: Fraction | None
    accuracy_of_not_sure: Fraction | None


class TrainingCopies(Record):
    """Tiles that are near-duplicates of tiles that the model was trained on.

    Attributes:
        compared_with: what they were compared with, for people.
        count, identical: number of such tiles, and of those that are the same to the pixel.
        accuracy_without: accuracy, with several labels a tile of whole sets, on the tiles that are neither
            these nor seen in training; None where there are none.
        examples: (tile, training tile) of a few.
    """

    compared_with: str
    count: NonNegativeInt
    identical: NonNegativeInt
    accuracy_without: Fraction | None
    examples: JsonTuple[JsonTuple[str]]


class Assessment(ScoreDetails, StoredRecord):
    """Scores of a model on new labelled data: the content of evaluation.json.

    Attributes:
        model: name of the run or bundle.
        recipe_hash: of its run; None where it is not known.
        data: name of the data.
        source: what it is, for people.
        split: the split of the data that was read; None for all tiles.
        notes: remarks on how the data was read.
        skipped: number of files that were left out.
        absent_classes: classes of the model that no tile has.
        one_label: whether each tile has one label, and the model gives several.
        not_sure: None where the model has no out-of-distribution detector.
        copies: None where the training tiles could not be compared.
        not_compared: why not; None where they were.
        seen: number of tiles with the pixels of a training tile of the model, or of one that it comes from;
            None where these are not recorded.
        validated: number of others with the pixels of a validation tile of theirs, which chose their epochs
            and fitted their temperatures, thresholds and *not sure*; None likewise.
        others: the tiles that are neither near-duplicates of training tiles nor seen; None where all are.
        synthetic: whether the model was trained on synthetic tiles.
    """

    model: str
    recipe_hash: str | None
    data: str
    source: str
    split: str | None
    notes: JsonTuple[str]
    skipped: NonNegativeInt
    absent_classes: JsonTuple[str]
    one_label: bool = False
    not_sure: NotSure | None
    copies: TrainingCopies | None
    not_compared: str | None
    seen: NonNegativeInt | None = None
    validated: NonNegativeInt | None = None
    others: OtherTiles | None = None
    synthetic: bool

    FORMAT: ClassVar[int] = 1

    @property
    def accuracy(self) -> float:
        """Return the accuracy, 0..1; of several labels a tile, that of the whole set."""
        return self.scores.accuracy

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % Wilson interval of the accuracy."""
        return self.scores.interval

    @property
    def macro_f1(self) -> float:
        """Return macro-F1, 0..1, the mean over the classes that have tiles."""
        return self.scores.macro_f1

    @property
    def split_name(self) -> str:
        """Return what the tiles are called: all of the data, or a split that it comes with."""
        part = "whole of" if self.split is None else f"{self.split} split that comes with"
        return f"{part} {self.data}"

    def warnings(self) -> list[str]:
        """Return what makes the scores wrong or may do so, a line each."""
        lines = []
        if known := self._known_tiles():
            lines.append(f"warning: {known}{'; ' + self.others.describe() if self.others else ''}")
        if self.copies is None:
            lines.append(f"warning: {self.not_compared}")
        if self.seen is not None and self.validated is None:
            lines.append(f"warning: {describe_unrecorded('these tiles', MODEL)}")
        if self.one_label:
            lines.append(
                "warning: each tile of the data has one label, and the model gives several: all other labels "
                "count as absent"
            )
        return lines

    def remarks(self) -> list[str]:
        """Return what the reader of the scores has to know, a line each, the warnings first."""
        lines = [*self.warnings(), *self.notes]
        if self.skipped:
            lines.append(counted(self.skipped, "file was skipped", several="files were skipped"))
        if self.absent_classes:
            lines.append(f"no tile is of {', '.join(self.absent_classes)}: means over classes leave them out")
        if self.not_sure:
            lines.append(_not_sure_line(self.not_sure, self.scores))
        if self.copies and not self._known_tiles():
            lines.append(f"no tile is a near-duplicate of {self.copies.compared_with}")
        return lines

    def _known_tiles(self) -> str:
        """Return which tiles are copies of tiles that the model has seen; empty where none are.

        Checksums also know tiles that near-duplicates were not searched among, such as those of a run that
        the model started from.
        """
        found, seen = self.copies, SeenCounts(trained=self.seen or 0, validated=self.validated)
        parts = []
        if found and found.count:
            copies = counted(found.count, "tile is a near-duplicate", several="tiles are near-duplicates")
            parts.append(
                f"{copies} of {found.compared_with} ({found.identical:,} identical), such as "
                f"{found.examples[0][0]} of {found.examples[0][1]}"
            )
        if seen.count > (found.identical if found else 0):
            parts.append(list_seen({counted(self.scores.count, "tile"): seen}, MODEL))
        return ", and ".join(parts)


def _not_sure_line(found: NotSure, scores: AnySplitScores) -> str:
    right = "have all labels right" if isinstance(scores, LabelSetScores) else "are correct"
    parts = [
        f"{accuracy:.2%} of {name} {right}"
        for name, accuracy in (("these", found.accuracy_of_not_sure), ("the others", found.accuracy_of_sure))
        if accuracy is not None
    ]
    of_all = f"{found.count:,} of {counted(scores.count, 'tile')} ({found.fraction:.1%})"
    return f"not sure about {of_all}: {', '.join(parts)}"
