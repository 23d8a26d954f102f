"""Records of a benchmark's JSON file: measurements, ratios and figures."""

import re
from dataclasses import asdict
from typing import Any, ClassVar

from orbitune.bench.ratios import paired_ratio, verdict
from orbitune.bench.suites import ArmComparison, BenchFigure, Suite
from orbitune.evaluation.details.class_intervals import Interval
from orbitune.evaluation.run_result import RunData
from orbitune.exporting.validation import Latency
from orbitune.machine.environment import Environment
from orbitune.models.lineage.training_data import RENAMED_DATA
from orbitune.models.metadata import BackboneRecord
from orbitune.recipe import Recipe, upgrade
from orbitune.records import JsonTuple, Record, StoredRecord, rename_keys

_RENAMED_ARMS = {"ours": "candidate", "against": "baseline"}  # in format 2


class Measurement(Record):
    """Cost of one arm in one process.

    Attributes:
        images, steps, seconds: measured, after the warm-up.
        latency: of a step; None where an earlier version measured.
        cpu_seconds_per_image: over all threads.
        peak_rss_bytes: peak from before the model was loaded to the last step.
        imports_rss_bytes: resident before the data were opened.
        peak_cuda_bytes: peak GPU memory; None without a GPU.
        memory_bytes: the GPU's peak, or else the peak RSS minus that of the imports.
        compute: how the arm computed, for people.
        ceiling: speed of the machine's matrix products at the arm's precision, in operations per second.
        load: load average of the machine before the process.
    """

    images: int
    steps: int
    seconds: float
    latency: Latency | None = None
    images_per_second: float
    cpu_seconds_per_image: float
    peak_rss_bytes: int
    imports_rss_bytes: int
    peak_cuda_bytes: int | None
    memory_bytes: int
    compute: dict[str, str | int | bool | None]
    ceiling: float
    load: float = 0.0

    @property
    def median_seconds(self) -> float:
        """Return the median latency of a step; the mean where an earlier version measured."""
        return self.seconds / self.steps if self.latency is None else self.latency.p50 / 1000


class ArmRecord(Record):
    """An arm with its measurements.

    Attributes:
        name: unique in the suite; kind: see `orbitune.bench.suites`.
        recipe: resolved; of the training, or of the run that predicts.
        flop_per_image: useful floating point operations.
        measured: one per round.
    """

    name: str
    kind: str
    recipe: Recipe
    flop_per_image: float
    measured: JsonTuple[Measurement]


class RatioValues(Record):
    """A measured ratio; the attributes are those of `orbitune.bench.ratios.Ratio`."""

    rounds: JsonTuple[float]
    median: float
    low: float
    high: float
    coverage: float


class RatioRecord(RatioValues, ArmComparison):
    """A comparison with its measured ratio.

    Attributes:
        arms: names of the two arms.
        verdict: whether the targets are reached.
        whole_process: ratio of the peak memory of the whole processes, the imports included, beside one above
            the imports; else None.
    """

    arms: JsonTuple[str]
    verdict: str
    whole_process: RatioValues | None = None


def whole_process_ratio(baseline: ArmRecord, candidate: ArmRecord) -> RatioValues | None:
    """Return the ratio of the peak memory of two arms with their imports; None with a GPU."""
    if any(each.peak_cuda_bytes for arm in (baseline, candidate) for each in arm.measured):
        return None
    peaks = ([each.peak_rss_bytes for each in arm.measured] for arm in (baseline, candidate))
    return RatioValues(**asdict(paired_ratio(*peaks)))


class FigureValue(Record):
    """A measured figure.

    Attributes:
        value: in the unit of its kind.
        interval: its 95 % interval, where it has one.
        details: (name, text) pairs for the report.
        load: load average of the machine before the process.
    """

    value: float
    interval: Interval | None = None
    details: JsonTuple[JsonTuple[str]]
    load: float = 0.0


class FigureRecord(BenchFigure, FigureValue):
    """A figure of the suite with its measured value.

    Attributes:
        unit: see `orbitune.bench.figure_kinds.FIGURES`.
        verdict: whether the bounds are reached.
    """

    unit: str
    verdict: str


class BenchEnvironment(Environment):
    """Software and hardware of a benchmark.

    Attributes:
        code: hash of the sources of this package, 12 hex digits.
    """

    code: str


class Load(Record):
    """Load average before the first process, highest before any, after the last."""

    before: float
    highest: float
    after: float


class BenchResults(StoredRecord):
    """Everything a benchmark measured, as bench-NAME.json stores it.

    Attributes:
        command: reproduces the benchmark.
        created: when it ended, ISO 8601.
        run: recipe of the finished run that figures were measured on; None where there is none, or where an
            earlier version measured.
    """

    FORMAT: ClassVar[int] = 3

    command: str
    created: str
    suite: Suite
    environment: BenchEnvironment
    load: Load
    data: RunData
    backbone: BackboneRecord
    run: Recipe | None = None
    arms: JsonTuple[ArmRecord] = ()
    figures: JsonTuple[FigureRecord] = ()
    comparisons: JsonTuple[RatioRecord] = ()

    @classmethod
    def upgrade(cls, values: dict[str, Any], version: int) -> dict[str, Any]:
        """Convert results of formats 1 and 2.

        Format 1 had other names of arms and units. The intervals of both were bootstraps over the rounds,
        which held the median too rarely, and no ratio was of whole processes: both follow from the rounds.
        """
        if version == 1:
            values = cls._upgrade_names(values)
        arms = {each["name"]: ArmRecord.model_validate(each) for each in values["arms"]}
        compared = [_with_interval(each, arms=arms) for each in values["comparisons"]]
        return {**values, "comparisons": compared}

    @classmethod
    def _upgrade_names(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Convert results of format 1, with other names of arms and units."""
        suite, backbone = values["suite"], values["backbone"]
        compared = [_upgrade_comparison(each) for each in suite["comparisons"]]
        return {
            **values,
            "suite": {**suite, "comparisons": compared},
            "data": rename_keys(values["data"], RENAMED_DATA),
            "backbone": {"reference": backbone["name"], **backbone},
            "arms": [_upgrade_arm(each) for each in values["arms"]],
            "figures": [
                {**each, "unit": "fraction" if each["unit"] == "share" else each["unit"]}
                for each in values["figures"]
            ],
            "comparisons": [
                {**asked, **each, "arms": [_upgrade_name(name) for name in each["arms"]]}
                for asked, each in zip(compared, values["comparisons"], strict=True)
            ],
        }


def _with_interval(values: dict[str, Any], *, arms: dict[str, ArmRecord]) -> dict[str, Any]:
    """Return a comparison of format 2 with today's interval, and the ratio of the whole processes."""
    ratio = paired_ratio(values["rounds"], [1] * len(values["rounds"]))
    words = verdict(ratio, values["at_least"], aim=values["aim"])
    whole = None
    if values["measure"] == "memory":
        candidate, baseline = (arms[name] for name in values["arms"])
        whole = whole_process_ratio(baseline, candidate)
    return {**values, **asdict(ratio), "verdict": words, "whole_process": whole}


def _upgrade_comparison(values: dict[str, Any]) -> dict[str, Any]:
    """Return a comparison of a suite of format 1 in today's form."""
    renamed = rename_keys(values, _RENAMED_ARMS)
    for side in _RENAMED_ARMS.values():
        if renamed[side]["kind"] == "ours":
            renamed[side] = {**renamed[side], "kind": "orbitune"}
    return renamed


def _upgrade_arm(values: dict[str, Any]) -> dict[str, Any]:
    kind = "orbitune" if values["kind"] == "ours" else values["kind"]
    name, recipe = _upgrade_name(values["name"]), upgrade(values["recipe"])
    return {**values, "kind": kind, "name": name, "recipe": recipe}


def _upgrade_name(name: str) -> str:
    return re.sub(r"^ours\b", "orbitune", name)
