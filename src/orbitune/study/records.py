"""Records of results.json: what a study measured and concluded."""

from typing import Any, ClassVar

from pydantic import Field

from orbitune.evaluation.run_result import RunData, RunResult
from orbitune.machine.environment import Environment
from orbitune.models.lineage.training_data import RENAMED_DATA
from orbitune.models.metadata import BackboneRecord, ParameterCounts, with_licence
from orbitune.recipe import Recipe, upgrade
from orbitune.records import Record, StoredRecord, rename_keys
from orbitune.study.design.fixed import Design
from orbitune.study.findings import (
    DisagreementRecord,
    GroupSummary,
    LeakageRecord,
    RobustnessRecord,
    SplitGap,
    SweepVerdict,
    VerdictRecord,
)
from orbitune.study.grid import Grid
from orbitune.study.older_results import outcome_of, standardised_of
from orbitune.study.status import Status
from orbitune.study.tune.records import SearchRecord, TrialRecord

_RENAMED = {"alarms": "leakage_checks", "engine": "executor"}  # in format 3


class StudyData(RunData):
    """Tiles of a study: name, fingerprint and origin."""

    name: str
    fingerprint: str
    synthetic: bool


class StudyBackbone(Record):
    """Pretrained checkpoint that runs start from, with its number of parameters."""

    name: str
    description: str
    parameters: int
    licence: str | None = None

    @property
    def summary(self) -> str:
        """Return the description with the licence."""
        return with_licence(self.description, self.licence)


class ExecutorRecord(Record):
    """Where the runs were executed.

    Attributes:
        jobs: number of runs at once.
        threads: number of threads of each run.
        timings_comparable: False where runs shared the machine, so that wall-clock times are not comparable.
    """

    name: str
    jobs: int
    threads: int
    timings_comparable: bool


class Plan(StoredRecord):
    """Expected cost of one run, see `orbitune.study.plan`.

    Attributes:
        train_seconds: of the whole run, with the activation cache if there is one.
        evaluation_seconds: of the whole run.
        start_seconds: from the start of a process that has loaded the libraries to the first step.
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

    FORMAT: ClassVar[int] = 2
    UNVERSIONED: ClassVar[int | None] = 1

    parameters: ParameterCounts
    seconds_per_epoch: float
    train_seconds: float
    evaluation_seconds: float
    start_seconds: float = 0.0
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

    @classmethod
    def upgrade(cls, values: dict[str, Any], version: int) -> dict[str, Any]:
        """Convert a plan of version 0.1, with other names of fields."""
        recipe, backbone, data = (values.get(key) for key in ("recipe", "backbone", "data"))
        if isinstance(recipe, dict):
            values["recipe"] = upgrade(recipe)
        if isinstance(backbone, dict):
            values["backbone"] = {"reference": backbone.get("name"), **backbone}
        if isinstance(data, dict):
            values["data"] = rename_keys(data, RENAMED_DATA)
        return rename_keys(values, {"prefix_bytes": "cache_bytes"})

    @property
    def seconds(self) -> float:
        """Duration of the whole run: training and evaluation."""
        return self.train_seconds + self.evaluation_seconds

    @property
    def epoch_seconds(self) -> float:
        """Duration of one more epoch, with its evaluation on validation."""
        sizes = self.data.sizes
        evaluated = (self.recipe.max_epochs + 1) * sizes["validation"] + sizes["test"]
        return self.seconds_per_epoch + sizes["validation"] / evaluated * self.evaluation_seconds


class RunRecord(Record):
    """One run of a study.

    Attributes:
        name: unique in the study; the run's folder.
        group: shared by the runs that differ only in seed and fold.
        fold: of a cross-validation, such as 2/5; None for an ordinary split.
        method: name of the method; METHOD@BACKBONE in a study of several backbones, here and in all records
            of results.json, see `orbitune.study.arms`.
        shots: training tiles per class; None for all.
        sweep: `shots`, `ranks` or `image_sizes` for a point of a sweep; None for the comparison.
        error: why it is not done.
        plan: expected cost; None for the points of a sweep.
        environment: versions, code and machine of a finished run; None in files of earlier versions.
    """

    name: str
    group: str
    method: str
    seed: int
    split: str
    fold: str | None = None
    shots: int | None = None
    rank: int | None = None
    image_size: int | str | None = None
    sweep: str | None = None
    status: Status
    error: str | None = None
    plan: Plan | None = None
    result: RunResult | None = None
    environment: Environment | None = None

    @property
    def finished(self) -> RunResult:
        """Result of a run that is done."""
        assert self.result is not None
        return self.result


class StudyResults(StoredRecord):
    """Everything a study measured and concluded, as results.json stores it.

    Attributes:
        command: reproduces the study.
        created: when it ended, ISO 8601.
        environment: versions, processor and memory of the machine.
        backbone: that of the first run.
        backbones: all backbones by label; empty in a study of one.
        recipe: resolved recipe of the first run.
        varied: fields of the recipe in which the runs differ.
        grid: values that were varied.
        executor: None in files of format 1.
        trials: of the searches for learning rates.
        searches: how each chose; empty without tuning, and in files of 0.2 and before.
        test_reads: how often each run has read the test split.
        sweep_verdicts: at the points of sweeps; empty in results of earlier versions.
        design: what was fixed beforehand; None in results of earlier versions.
    """

    FORMAT: ClassVar[int] = 5

    command: str
    created: str
    environment: Environment
    data: StudyData
    backbone: StudyBackbone
    backbones: dict[str, StudyBackbone] = Field(default_factory=dict)
    recipe: Recipe
    varied: list[str] = Field(default_factory=list)
    grid: Grid = Grid()
    executor: ExecutorRecord | None = None
    runs: list[RunRecord] = Field(min_length=1)
    trials: list[TrialRecord] = Field(default_factory=list)
    searches: list[SearchRecord] = Field(default_factory=list)
    test_reads: dict[str, int] = Field(default_factory=dict)
    summaries: list[GroupSummary] = Field(default_factory=list)
    gaps: list[SplitGap] = Field(default_factory=list)
    verdicts: list[VerdictRecord] = Field(default_factory=list)
    sweep_verdicts: list[SweepVerdict] = Field(default_factory=list)
    leakage_checks: list[LeakageRecord] = Field(default_factory=list)
    disagreements: list[DisagreementRecord] = Field(default_factory=list)
    robustness: list[RobustnessRecord] = Field(default_factory=list)
    design: Design | None = None

    @classmethod
    def upgrade(cls, values: dict[str, Any], version: int) -> dict[str, Any]:
        """Return the content of an older results.json in today's form."""
        values = rename_keys(values, _RENAMED)
        if isinstance(data := values.get("data"), dict):
            values["data"] = rename_keys(data, RENAMED_DATA)
        if isinstance(shared := values.get("recipe"), dict):
            values["recipe"] = shared = upgrade(shared)
        if isinstance(verdicts := values.get("verdicts"), list):
            values["verdicts"] = [{**outcome_of(each), **each} for each in verdicts]
        if not isinstance(runs := values.get("runs"), list):
            return values
        runs = [_upgrade_run(run, version) if isinstance(run, dict) else run for run in runs]
        finished = [run for run in runs if isinstance(run, dict) and isinstance(run.get("result"), dict)]
        if isinstance(gaps := values.get("gaps"), list):
            values["gaps"] = [{**standardised_of(gap, finished), **gap} for gap in gaps]
        if isinstance(shared, dict) and finished and "varied" not in values:
            # Up to format 3 it had only the settings that all runs share.
            values["recipe"] = {**upgrade(finished[0]["result"].get("recipe", {})), **shared}
            values["varied"] = [name for name in values["recipe"] if name not in shared]
        if version == 1:
            values["summaries"] = [_summarise_run(run) for run in finished]
        return {**values, "runs": runs}

    @property
    def shared_settings(self) -> dict[str, Any]:
        """Return the fields of the recipe that are equal in all runs."""
        return self.recipe.model_dump(mode="json", exclude=set(self.varied), exclude_unset=True)

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


def _upgrade_run(run: dict[str, Any], version: int) -> dict[str, Any]:
    """Convert a run of an older format; the first had one run per method."""
    for name in ("plan", "result"):
        if isinstance(run.get(name), dict):
            run = {**run, name: {"format": 1, **run[name]}}  # neither had a format at first
    if version > 1:
        return run
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
