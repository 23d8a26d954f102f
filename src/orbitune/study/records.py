"""Records of results.json: what a study measured and concluded."""

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from orbitune.evaluation.run_result import RunData, RunResult
from orbitune.models.metadata import BackboneRecord
from orbitune.recipe import Recipe, upgrade
from orbitune.records import Record, StoredRecord
from orbitune.study.findings import (
    DisagreementRecord,
    GroupSummary,
    LeakageRecord,
    RobustnessRecord,
    SplitGap,
    VerdictRecord,
)

Status = Literal["done", "failed", "diverged"]
_RENAMED = {"alarms": "leakage_checks", "engine": "executor"}  # in format 3


class StudyData(RunData):
    """Tiles of a study: name, fingerprint and origin."""

    name: str
    fingerprint: str
    synthetic: bool


class StudyBackbone(Record):
    """Pretrained checkpoint that all runs start from, with its number of parameters."""

    name: str
    description: str
    parameters: int


class ExecutorRecord(Record):
    """Where the runs were executed.

    Attributes:
        jobs: runs at once; threads: of each run.
        timings_comparable: False where runs shared the machine, so that wall-clock times are not comparable.
    """

    name: str
    jobs: int
    threads: int
    timings_comparable: bool


class Plan(Record):
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
    recipe: Recipe
    data: RunData
    backbone: BackboneRecord
    checkpoint_bytes: int = 0
    tiles_bytes: int = 0
    cache_bytes: int = 0
    steps_measured: int = 0
    seconds_measured: float = 0.0
    image_sizes: dict[str, int] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _upgrade(cls, values: Any) -> Any:
        """Read plans of version 0.1, which had other names."""
        if not isinstance(values, dict) or "cache_bytes" in values:
            return values
        values = {**values, "cache_bytes": values.get("prefix_bytes", 0)}
        if isinstance(values.get("recipe"), dict):
            values["recipe"] = upgrade(values["recipe"])
        if isinstance(backbone := values.get("backbone"), dict):
            values["backbone"] = {"reference": backbone.get("name"), **backbone}
        return values

    @property
    def seconds(self) -> float:
        """Duration of the whole run: training and evaluation."""
        return self.train_seconds + self.evaluation_seconds


class RunRecord(Record):
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


class TrialRecord(Record):
    """A learning rate tried for a method on a split; no scores if it failed."""

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


class StudyResults(StoredRecord):
    """Everything a study measured and concluded, as results.json stores it.

    Attributes:
        command: reproduces the study.
        created: when it ended, ISO 8601.
        environment: versions, processor and memory of the machine.
        recipe: settings that all runs share, as they were resolved.
        grid: values that were varied.
        executor: None in files of format 1.
        test_reads: how often each run has read the test split.
    """

    FORMAT: ClassVar[int] = 3

    command: str
    created: str
    environment: dict[str, Any]
    data: StudyData
    backbone: StudyBackbone
    recipe: dict[str, Any]
    grid: dict[str, list[Any]] = Field(default_factory=dict)
    executor: ExecutorRecord | None = None
    runs: list[RunRecord] = Field(min_length=1)
    trials: list[TrialRecord] = Field(default_factory=list)
    test_reads: dict[str, int] = Field(default_factory=dict)
    summaries: list[GroupSummary] = Field(default_factory=list)
    gaps: list[SplitGap] = Field(default_factory=list)
    verdicts: list[VerdictRecord] = Field(default_factory=list)
    leakage_checks: list[LeakageRecord] = Field(default_factory=list)
    disagreements: list[DisagreementRecord] = Field(default_factory=list)
    robustness: list[RobustnessRecord] = Field(default_factory=list)

    @classmethod
    def upgrade(cls, values: dict[str, Any], version: int) -> dict[str, Any]:
        """Return the content of an older results.json in today's form."""
        upgraded = {_RENAMED.get(name, name): value for name, value in values.items()}
        runs = values.get("runs")
        if isinstance(values.get("recipe"), dict):
            upgraded["recipe"] = upgrade(values["recipe"])
        if version == 1 and isinstance(runs, list):
            upgraded["runs"] = [_upgrade_run(run) if isinstance(run, dict) else run for run in runs]
            upgraded["summaries"] = [
                _summarise_run(run) for run in upgraded["runs"] if isinstance(run, dict) and run.get("result")
            ]
        return upgraded

    @property
    def done(self) -> list[RunRecord]:
        """Finished runs, sweeps included, in the order of the study."""
        return [run for run in self.runs if run.status == "done"]

    @property
    def failed(self) -> list[RunRecord]:
        """Return the runs that failed or diverged."""
        return [run for run in self.runs if run.status != "done"]

    @property
    def splits(self) -> list[str]:
        """Return the splits with a finished run of the comparison, in order."""
        splits = dict.fromkeys(run.split for run in self.runs)
        return [split for split in splits if self.compared(split)]

    def compared(self, split: str) -> list[RunRecord]:
        """Return the finished runs of the comparison on one split, without sweeps."""
        return [run for run in self.done if run.split == split and run.sweep is None]


def _upgrade_run(run: dict[str, Any]) -> dict[str, Any]:
    """Convert a run of format 1, which had one run per method."""
    method, result = run.get("method"), run.get("result")
    if isinstance(result, dict):
        result = {"compute": {"attention": ""}, **result}  # not recorded at first
    return {"name": method, "group": method, "seed": 0, "split": "default", **run, "result": result}


def _summarise_run(run: dict[str, Any]) -> dict[str, Any]:
    """Return the summary of a single run of format 1."""
    try:
        test, validation = run["result"]["test"], run["result"]["validation"]
        low, high = test["interval"]
        accuracy = test["accuracy"]
        return {
            **{name: run.get(name) for name in ("group", "method", "split", "sweep", "shots", "rank")},
            "image_size": run.get("image_size"),
            "seeds": [run["seed"]],
            "test_tiles": test["count"],
            "accuracy": {"mean": accuracy, "low": low, "high": high, "seeds": [accuracy]}
            | {"interval": "wilson"},
            "macro_f1": test["macro_f1"],
            "validation_accuracy": validation["accuracy"],
            "per_class": [{**row, "low": row["f1"], "high": row["f1"]} for row in test["per_class"]],
        }
    except (LookupError, TypeError, ValueError):
        return {}  # the run itself is reported as invalid
