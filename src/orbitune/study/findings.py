"""Findings of a study: records of statistics, leakage checks, disputed tiles."""

from statistics import fmean
from typing import Annotated, Any, ClassVar

from pydantic import Field, Strict

from orbitune.evaluation.baselines import Baseline
from orbitune.evaluation.calibration import Calibration
from orbitune.evaluation.details.class_intervals import Interval
from orbitune.evaluation.robustness import Robustness
from orbitune.evaluation.statistics.comparison import Comparison
from orbitune.evaluation.statistics.intervals import MeanAccuracy
from orbitune.records import Record, StoredRecord
from orbitune.study.design.fixed import Role


class ClassRecord(Record):
    """F1 of one class: mean over seeds, lowest and highest.

    Support is its number of test tiles.
    """

    name: str
    support: int
    f1: float
    low: float
    high: float


class SeedCalibration(Record):
    """Expected calibration error of one seed on test, before and after temperature scaling.

    Attributes:
        before, after: 0..1.
        before_if_calibrated, after_if_calibrated: 95 % intervals of perfectly calibrated models, see
            `orbitune.evaluation.calibration.Calibration`.
    """

    seed: int
    before: float
    after: float
    before_if_calibrated: Interval
    after_if_calibrated: Interval

    @classmethod
    def of(cls, seed: int, before: Calibration, *, after: Calibration) -> "SeedCalibration":
        """Return the errors of a seed's calibrations, which this version measured."""
        assert before.ece_if_calibrated and after.ece_if_calibrated
        return cls(
            seed=seed,
            before=before.ece,
            after=after.ece,
            before_if_calibrated=before.ece_if_calibrated,
            after_if_calibrated=after.ece_if_calibrated,
        )


class CalibrationRecord(Record):
    """Calibration on test before and after temperature scaling.

    Attributes:
        temperatures: one per run.
        before, after: of the tiles of all seeds together, for the reliability diagrams.
        seeds: of each seed; empty where an earlier version summarised.
    """

    temperatures: list[float]
    before: Calibration
    after: Calibration
    seeds: list[SeedCalibration] = Field(default_factory=list)

    def errors(self) -> tuple[float, float]:
        """Return the calibration errors before and after: means over seeds, where they are known."""
        if not self.seeds:
            return self.before.ece, self.after.ece
        return fmean(each.before for each in self.seeds), fmean(each.after for each in self.seeds)


class GroupSummary(Record):
    """Scores over the runs that differ only in seed and fold.

    Attributes:
        folds: number of folds, whose predictions are pooled; None for an ordinary split.
        seeds: of the finished runs; with folds, those whose folds are all finished.
        macro_f1: mean over seeds, on test, 0..1.
        macro_f1_interval: its 95 % interval over seeds and tiles; None in results of earlier versions.
        validation_accuracy: mean over seeds, 0..1.
    """

    group: str
    method: str
    split: str
    folds: int | None = None
    sweep: str | None
    shots: int | None
    rank: int | None
    image_size: int | str | None
    seeds: list[int]
    test_tiles: int
    accuracy: MeanAccuracy
    macro_f1: float
    macro_f1_interval: Interval | None = None
    validation_accuracy: float
    per_class: list[ClassRecord]
    calibration: CalibrationRecord | None = None


class StandardisedGap(Record):
    """A gap between two splits at one mix of classes, see `orbitune.evaluation.statistics.standardised`.

    Attributes:
        mix: split whose test tiles have this mix; None for equal weights, which compare macro recalls.
        difference: recalls of the first split at this mix minus those of the second, -1..1.
        interval: its 95 % interval; None where only the runs' confusions are known, as in results of earlier
            versions.
    """

    mix: str | None
    difference: float
    interval: Interval | None


class SplitGap(Record):
    """Accuracy of a method on one split minus another, -1..1, with 95 % interval.

    Attributes:
        difference, low, high: on the test tiles as they are, whose classes may be mixed otherwise on each.
        standardised: at the mix of the test tiles of `orbitune.evaluation.statistics.standardised.mix_split`.
        balanced: at equal weights of the classes.
        left_out: classes without test tiles on one of the splits, which these two leave out.
        over_folds: 95 % interval over the folds of both splits, see
            `orbitune.evaluation.statistics.resampled.unpaired_resampled_interval`; None for ordinary splits.
    """

    method: str
    splits: list[str]
    difference: float
    low: float
    high: float
    standardised: StandardisedGap | None = None
    balanced: StandardisedGap | None = None
    left_out: list[str] = Field(default_factory=list)
    over_folds: Interval | None = None

    @property
    def is_loss(self) -> bool:
        """Return whether the second split is harder by every interval."""
        return self.low > 0 and (self.over_folds is None or self.over_folds[0] > 0)


class VerdictRecord(Comparison):
    """Non-inferiority verdict on a method against the reference on one split.

    Attributes:
        role: of the comparison in the design; None in results of earlier versions.
    """

    split: str
    role: Role | None = None


SWEPT_FIELDS = {"shots": "shots", "ranks": "rank", "image_sizes": "image_size"}
"""Of each sweep, the field of a run and of a group with the value at its points."""


class SweepVerdict(VerdictRecord):
    """Verdict on a method against the reference at one point of a sweep.

    Attributes:
        sweep: key of `SWEPT_FIELDS`.
        value: of the swept setting; None for all training tiles. Full fine-tuning, which has no rank, is the
            same at all ranks.
    """

    sweep: str
    value: int | None


class LeakRecord(Record):
    """Near-duplicate tiles across two splits.

    Attributes:
        splits: the two splits.
        tiles: number of tiles of the second split.
        count: those of them with a near-duplicate in the first split.
        identical: those with a duplicate that is equal in every pixel.
        pairs: a few examples: a tile of each split, and their distance.
    """

    splits: list[str]
    tiles: int
    count: int
    identical: int
    pairs: list[Annotated[tuple[str, str, float], Strict(False)]]
    sentence: str


class LeakageRecord(Record):
    """Leakage checks of one split.

    Attributes:
        fold: of a cross-validation, such as 2/5; None for an ordinary split.
        no_coordinates: why there is no baseline of coordinates, where tiles have unusable ones.
    """

    split: str
    fold: str | None = None
    leaks: list[LeakRecord]
    baselines: list[Baseline]
    no_coordinates: str | None = None


class LeakageChecks(StoredRecord):
    """Leakage checks that were made so far: the content of leakage_checks.json.

    Attributes:
        checks: of each combination of tiles and splits, by their hashes.
    """

    FORMAT: ClassVar[int] = 2
    UNVERSIONED: ClassVar[int | None] = 1

    checks: dict[str, LeakageRecord] = Field(default_factory=dict)

    @classmethod
    def upgrade(cls, values: dict[str, Any], version: int) -> dict[str, Any]:
        """Convert a file that had the checks alone, without the names of their splits."""
        return {"checks": {key: {"split": "", **each} for key, each in values.items() if key != "format"}}


class DisputedTile(Record):
    """A test tile with its true class and the class that each method predicted."""

    name: str
    label: str
    predicted: dict[str, str]


class DisagreementRecord(Record):
    """Test tiles of one split on which the methods disagree most.

    Attributes:
        image: file of all tiles in a grid without gaps, relative to the study's folder.
        columns: tiles in a row of the image.
        tile_size: height and width in pixels.
        tiles: in the order of the image, row by row.
    """

    split: str
    image: str
    columns: int
    tile_size: list[int]
    tiles: list[DisputedTile]


class RobustnessRecord(Robustness):
    """Accuracy of one run on corrupted validation tiles.

    Attributes:
        fold: of a cross-validation, such as 2/5; None for an ordinary split, and for all folds together.
    """

    split: str
    method: str
    seed: int
    fold: str | None = None
