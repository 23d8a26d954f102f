"""View model of a report: runs in groups, groups in one row per method."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from orbitune.evaluation.details.calibration_check import LEAST_TILES
from orbitune.models.metadata import ParameterCounts
from orbitune.study.arms import choose_reference, split_arm
from orbitune.study.corrupted_runs import pool_folds
from orbitune.study.display_names import method_name
from orbitune.study.findings import GroupSummary, RobustnessRecord
from orbitune.study.records import RunRecord, StudyResults
from orbitune.study.report.run_origins import run_origins

FEW = 3  # methods that fit side by side in a sentence, and whose every number can be shown


@dataclass(frozen=True)
class MeanCost:
    """Mean cost over runs; None if a run did not measure it."""

    seconds_per_epoch: float
    cpu_seconds: float
    peak_rss_bytes: float
    peak_cuda_bytes: float | None
    artefact_bytes: float
    energy_joules: float | None

    @classmethod
    def over(cls, runs: Sequence[RunRecord]) -> "MeanCost":
        """Return the mean cost over one or more runs."""
        costs = [run.finished.cost for run in runs]

        def mean(values: Sequence[float | None]) -> float | None:
            known = [value for value in values if value is not None]
            return fmean(known) if len(known) == len(values) else None

        return cls(
            seconds_per_epoch=fmean(cost.seconds_per_epoch for cost in costs),
            cpu_seconds=fmean(cost.cpu_seconds for cost in costs),
            peak_rss_bytes=fmean(cost.peak_rss_bytes for cost in costs),
            peak_cuda_bytes=mean([cost.peak_cuda_bytes for cost in costs]),
            artefact_bytes=fmean(cost.artefact_bytes for cost in costs),
            energy_joules=mean([cost.energy_joules for cost in costs]),
        )

    @property
    def peak_memory(self) -> float:
        """Peak bytes of the GPU where the runs used one, else of the process."""
        return self.peak_cuda_bytes or self.peak_rss_bytes


@dataclass(frozen=True)
class RunGroup:
    """Finished runs that differ only in seed and fold.

    Attributes:
        title: label of its row or line.
        summary: scores over the seeds.
        runs: one or more.
    """

    title: str
    summary: GroupSummary
    runs: list[RunRecord]

    @property
    def method(self) -> str:
        """Name of the method; of the arm in a study of several backbones."""
        return self.summary.method

    @property
    def split(self) -> str:
        """Name of the split."""
        return self.summary.split

    @property
    def accuracy(self) -> tuple[float, float, float]:
        """Mean test accuracy over the seeds and its 95 % interval, 0..1; folds are pooled."""
        accuracy = self.summary.accuracy
        return accuracy.mean, accuracy.low, accuracy.high

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the test accuracy, 0..1."""
        return self.accuracy[1:]

    @property
    def seeds(self) -> int:
        """Number of seeds."""
        return len(self.summary.seeds)


@dataclass(frozen=True)
class MethodRow:
    """An arm with its groups, one for each split on which it has finished runs.

    Attributes:
        title: of the arm.
        method: name of the arm: the method, on its backbone where there are several.
        groups: by split.
    """

    title: str
    method: str
    groups: dict[str, RunGroup]

    @property
    def is_full(self) -> bool:
        """Return whether its method is full fine-tuning."""
        return split_arm(self.method)[0] == "full"

    @property
    def backbone(self) -> str | None:
        """Label of its backbone; None in a study of one."""
        return split_arm(self.method)[1]

    @property
    def runs(self) -> list[RunRecord]:
        """Finished runs of the method, without sweeps."""
        return [run for group in self.groups.values() for run in group.runs]

    @property
    def cost(self) -> MeanCost:
        """Mean cost over the runs."""
        return MeanCost.over(self.runs)

    @property
    def image_size(self) -> int | str | None:
        """Input size of the first run, in pixels."""
        return self.runs[0].image_size

    @property
    def parameters(self) -> ParameterCounts:
        """Parameter counts of the first run."""
        return self.runs[0].finished.parameters


class ReportView:
    """A study as its report shows it.

    Attributes:
        results: content of results.json.
        groups: groups of finished runs, sweeps included.
        rows: compared methods in the order of the study, without sweeps.
        splits: splits that the methods are compared on.
        digits: decimals of a percentage; with fewer than 1,000 test tiles one tile is more than 0.1 %.
    """

    def __init__(self, results: StudyResults) -> None:
        self.results = results
        self.groups = [
            RunGroup(method_name(summary.method), summary, _runs_of(summary, results.done))
            for summary in results.summaries
        ]
        compared = [group for group in self.groups if group.summary.sweep is None]
        self.splits = list(dict.fromkeys(group.split for group in compared))
        self.rows = [
            MethodRow(title, own[0].method, {group.split: group for group in own})
            for title in dict.fromkeys(group.title for group in compared)
            for own in [[group for group in compared if group.title == title]]
        ]
        self._robustness = pool_folds(results.robustness)
        self.digits = 2 if not compared or compared[0].summary.test_tiles >= 1000 else 1

    @property
    def synthetic(self) -> bool:
        """Return whether the tiles are synthetic, as every figure says."""
        return self.results.data.synthetic

    @property
    def many(self) -> bool:
        """Return whether there are too many methods to show every number of each."""
        return len(self.rows) > FEW

    @property
    def backbones(self) -> list[str]:
        """Labels of the backbones in the order of the rows; none in a study of one."""
        return list(dict.fromkeys(row.backbone for row in self.rows if row.backbone))

    @property
    def reference(self) -> MethodRow | None:
        """Method that the others are compared with; None where no run is finished.

        With several backbones, that of the first one.
        """
        return self.reference_on(self.rows[0].backbone) if self.rows else None

    def reference_on(self, backbone: str | None) -> MethodRow:
        """Return the method that the others on a backbone are compared with."""
        own = [row for row in self.rows if row.backbone == backbone]
        design = self.results.design
        method = choose_reference([row.method for row in own], design.all_comparisons if design else ())
        return next(row for row in own if row.method == method)

    def full_on(self, backbone: str | None) -> MethodRow | None:
        """Return full fine-tuning on a backbone, the reference of costs; None where it was not run."""
        return next((row for row in self.rows if row.backbone == backbone and row.is_full), None)

    @property
    def folds(self) -> int | None:
        """Number of folds; None for ordinary splits."""
        return self.results.grid.folds

    @property
    def checks_first_fold(self) -> bool:
        """Return whether leakage checks and robustness are of the first fold alone.

        Those of earlier versions are, and their records have no fold.
        """
        folds = [each.fold for each in self.results.leakage_checks]
        return bool(self.folds) and None in [*folds, *(each.fold for each in self.results.robustness)]

    @property
    def checked_folds(self) -> str:
        """Return the folds that leakage checks and robustness are of; empty for ordinary splits."""
        if not self.folds:
            return ""
        return "the first fold" if self.checks_first_fold else f"{self.folds} folds"

    @cached_property
    def costs_comparable(self) -> bool:
        """Return whether no two runs are of different processors or versions of the code."""
        return not run_origins(self.results)

    @property
    def seed_counts(self) -> list[int]:
        """Return the numbers of seeds of the compared groups, rising."""
        return sorted({group.seeds for row in self.rows for group in row.groups.values()})

    @property
    def shared_machine(self) -> bool:
        """Return whether runs shared the machine, which makes their wall-clock times incomparable."""
        executor = self.results.executor
        return executor is not None and not executor.timings_comparable

    @property
    def timings_comparable(self) -> bool:
        """Return whether wall-clock times are comparable."""
        return self.costs_comparable and not self.shared_machine

    def groups_on(self, split: str) -> list[RunGroup]:
        """Return the groups of one split in the order of the rows."""
        return [row.groups[split] for row in self.rows if split in row.groups]

    def shows_calibration(self, split: str) -> bool:
        """Return whether a split has enough test tiles to judge calibration."""
        return self.groups_on(split)[0].summary.test_tiles >= LEAST_TILES

    def robustness_on(self, split: str) -> list[RobustnessRecord]:
        """Return the scores on corrupted tiles of one split, one per method; folds are pooled."""
        return [record for record in self._robustness if record.split == split]

    def split_name(self, split: str) -> str:
        """Return "NAME split" for a heading; empty where there is only one split."""
        return f"{split} split" if len(self.splits) > 1 else ""

    def with_split(self, text: str, split: str) -> str:
        """Return text followed by the name of the split, where there are several."""
        return ", ".join(filter(None, [text, self.split_name(split)]))


def _runs_of(summary: GroupSummary, done: Sequence[RunRecord]) -> list[RunRecord]:
    return [run for run in done if run.group == summary.group and run.seed in summary.seeds]
