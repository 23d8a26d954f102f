"""Records of results.json: what a study measured and concluded, see `orbitune.study.results`."""

from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, PositiveInt

from orbitune.evaluation.run_result import RunResult

FORMAT = 3

Status = Literal["done", "failed", "diverged"]
Verdict = Literal["yes", "no", "cannot be told"]
Interval = list[float]  # [low, high]


class StudyRecord(BaseModel):
    """Base class of all records: immutable; unknown fields are kept."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())


class DataRecord(StudyRecord):
    """Tiles that the study was run on.

    Attributes:
        tile_size: height and width in pixels.
        sizes: number of tiles in each split.
        notes: what was done to the data that a reader should know.
    """

    name: str
    source: str
    fingerprint: str
    classes: list[str]
    tile_size: list[int]
    synthetic: bool
    sizes: dict[str, int]
    notes: list[str]


class BackboneRecord(StudyRecord):
    """Pretrained checkpoint that all runs start from."""

    name: str
    description: str
    parameters: int


class ExecutorRecord(StudyRecord):
    """Where the runs were executed.

    Attributes:
        jobs: runs at once; threads: of each run.
        timings_comparable: False where runs shared the machine, so that wall-clock times are not comparable.
    """

    name: str
    jobs: int
    threads: int
    timings_comparable: bool


class Plan(StudyRecord):
    """Expected cost of one run, see `orbitune.study.plan`.

    Attributes:
        parameters: counts per part, see `orbitune.models.methods.count_parameters`.
        train_seconds: of the whole run, with the activation cache if there is one.
        evaluation_seconds: of the whole run.
        images_per_second: training speed in tiles.
        peak_rss_bytes: peak resident memory of the training process.
        peak_cuda_bytes: peak GPU memory; None without a GPU.
        artefact_bytes: size of the saved weights.
        checkpoint_bytes: largest further size of the run folder while it trains.
        tiles_bytes: size of the decoded tiles.
        cache_bytes: size of the activation cache, 0 without one.
        steps_measured: training steps that the times rest on.
        seconds_measured: duration of the measurement.
        image_sizes: pixels that the sizes `auto` and `native` stand for.
    """

    parameters: dict[str, int]
    seconds_per_epoch: float
    train_seconds: float
    evaluation_seconds: float
    images_per_second: float
    peak_rss_bytes: int
    peak_cuda_bytes: int | None
    artefact_bytes: int
    recipe: dict[str, Any] = {}
    data: dict[str, Any] = {}
    backbone: dict[str, Any] = {}
    checkpoint_bytes: int = 0
    tiles_bytes: int = 0
    cache_bytes: int = Field(0, validation_alias=AliasChoices("cache_bytes", "prefix_bytes"))  # until 0.1
    steps_measured: int = 0
    seconds_measured: float = 0.0
    image_sizes: dict[str, int] = {}

    @property
    def seconds(self) -> float:
        """Duration of the whole run: training and evaluation."""
        return self.train_seconds + self.evaluation_seconds


class RunRecord(StudyRecord):
    """One run of a study.

    Attributes:
        name: unique in the study; the run's folder.
        group: shared by the runs that differ only in their seed.
        shots: training tiles per class; None for all.
        sweep: `shots`, `ranks` or `image_sizes` for a point of a sweep; None for the comparison.
        error: why it is not done.
        plan: expected cost; None for the points of a sweep.
    """

    name: str
    group: str
    method: str
    seed: int
    split: str
    shots: int | None = None
    rank: int | None = None
    image_size: int | str | None = None
    sweep: str | None = None
    status: Status
    error: str | None = None
    plan: Plan | None = None
    result: RunResult | None = None

    @property
    def finished(self) -> RunResult:
        """Result of a run that is done."""
        assert self.result is not None
        return self.result


class TrialRecord(StudyRecord):
    """One learning rate tried for a method on a split; no value is known where it failed."""

    method: str
    split: str
    seed: int
    learning_rate: float
    epochs: int
    validation_accuracy: float | None
    seconds: float | None
    test_reads: int | None
    chosen: bool
    status: Status
    error: str | None = None


class AccuracyRecord(StudyRecord):
    """Mean test accuracy over seeds with its 95 % interval, 0..1.

    Attributes:
        seeds: accuracy with each seed.
        interval: `bootstrap` over several seeds, `wilson` for one.
    """

    mean: float
    low: float
    high: float
    seeds: list[float]
    interval: str = ""


class ClassRecord(StudyRecord):
    """F1 of one class: mean over seeds, lowest and highest; support is its number of test tiles."""

    name: str
    support: int
    f1: float
    low: float
    high: float


class ReliabilityBin(StudyRecord):
    """Tiles of similar confidence: their number, mean confidence and accuracy, 0..1."""

    count: int
    confidence: float
    accuracy: float


class CalibrationScores(StudyRecord):
    """Calibration on one split, see `orbitune.evaluation.calibration.calibration`."""

    ece: float
    ece_equal_width: float
    brier: float
    loss: float
    reliability: list[ReliabilityBin]


class CalibrationRecord(StudyRecord):
    """Calibration on test before and after temperature scaling; one temperature per seed."""

    temperatures: list[float]
    before: CalibrationScores
    after: CalibrationScores


class GroupSummary(StudyRecord):
    """Scores over the runs that differ only in their seed.

    Attributes:
        seeds: of the finished runs.
        macro_f1: mean over seeds, on test, 0..1.
        validation_accuracy: mean over seeds, 0..1.
    """

    group: str
    method: str
    split: str
    sweep: str | None
    shots: int | None
    rank: int | None
    image_size: int | str | None
    seeds: list[int]
    test_tiles: int
    accuracy: AccuracyRecord
    macro_f1: float
    validation_accuracy: float
    per_class: list[ClassRecord]
    calibration: CalibrationRecord | None = None


class SplitGap(StudyRecord):
    """Accuracy of a method on the first split minus that on the second, -1..1, with its 95 % interval."""

    method: str
    splits: list[str]
    difference: float
    low: float
    high: float


class VerdictRecord(StudyRecord):
    """A method against the reference on one split, see `orbitune.evaluation.significance.Comparison`."""

    split: str
    method: str
    reference: str
    images: int
    seeds: int
    reference_seeds: int
    margin: float
    difference: float
    low: float
    high: float
    bootstrap_low: float
    bootstrap_high: float
    wins: float
    losses: float
    within: float
    beyond: float
    differ: float
    family: int
    verdict: Verdict
    images_needed: int | None
    sentences: list[str]


class LeakRecord(StudyRecord):
    """Near-duplicate tiles across two splits.

    Attributes:
        splits: the two splits.
        tiles: tiles of the second split; count: those that have a near-duplicate in the first.
        identical: those that are equal in every pixel.
        pairs: a few examples.
    """

    splits: list[str]
    tiles: int
    count: int
    identical: int
    pairs: list[Any]
    sentence: str


class BaselineRecord(StudyRecord):
    """Test scores of a classifier without a network; chance is the share of the commonest class."""

    name: str
    chance: float
    sentence: str
    test: dict[str, Any]


class LeakageRecord(StudyRecord):
    """Leakage checks of one split.

    Attributes:
        no_coordinates: why there is no baseline of coordinates, where tiles have unusable ones.
    """

    split: str
    leaks: list[LeakRecord]
    baselines: list[BaselineRecord]
    no_coordinates: str | None = None


class DisputedTile(StudyRecord):
    """A test tile with its true class and the class that each method predicted."""

    name: str
    label: str
    predicted: dict[str, str]


class DisagreementRecord(StudyRecord):
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


class AccuracyPoint(StudyRecord):
    """Accuracy with its 95 % Wilson interval, 0..1."""

    accuracy: float
    interval: Interval


class SeverityPoint(AccuracyPoint):
    """Accuracy at one severity of a corruption, 1 to 5."""

    severity: int


class CorruptionRecord(StudyRecord):
    """Accuracy under one kind of corruption: at each severity and their mean."""

    name: str
    mean: float
    severities: list[SeverityPoint]


class RobustnessRecord(StudyRecord):
    """Accuracy of one run on corrupted validation tiles, see `orbitune.evaluation.robustness`."""

    split: str
    method: str
    seed: int
    count: int
    clean: AccuracyPoint
    corruptions: list[CorruptionRecord]
    mean: float


class StudyResults(StudyRecord):
    """Everything a study measured and concluded, as results.json stores it.

    Attributes:
        format: version of the file.
        command: reproduces the study.
        created: when it ended, ISO 8601.
        environment: versions, processor and memory of the machine.
        recipe: settings that all runs share, as they were resolved.
        grid: values that were varied.
        executor: None in files of format 1.
        test_reads: how often each run has read the test split.
    """

    format: PositiveInt = FORMAT
    command: str
    created: str
    environment: dict[str, Any]
    data: DataRecord
    backbone: BackboneRecord
    recipe: dict[str, Any]
    grid: dict[str, list[Any]] = {}
    executor: ExecutorRecord | None = None
    runs: list[RunRecord] = Field(min_length=1)
    trials: list[TrialRecord] = []
    test_reads: dict[str, int] = {}
    summaries: list[GroupSummary] = []
    gaps: list[SplitGap] = []
    verdicts: list[VerdictRecord] = []
    leakage_checks: list[LeakageRecord] = []
    disagreements: list[DisagreementRecord] = []
    robustness: list[RobustnessRecord] = []

    @property
    def done(self) -> list[RunRecord]:
        """Finished runs, sweeps included, in the order of the study."""
        return [run for run in self.runs if run.status == "done"]

    @property
    def failed(self) -> list[RunRecord]:
        """Runs that failed or diverged."""
        return [run for run in self.runs if run.status != "done"]

    @property
    def splits(self) -> list[str]:
        """Splits on which the comparison has a finished run, in the order of the study."""
        splits = dict.fromkeys(run.split for run in self.runs)
        return [split for split in splits if self.compared(split)]

    def compared(self, split: str) -> list[RunRecord]:
        """Return the finished runs of the comparison on one split, without sweeps."""
        return [run for run in self.done if run.split == split and run.sweep is None]
