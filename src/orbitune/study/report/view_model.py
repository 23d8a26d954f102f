"""What results.json says, lined up once for all of the report: runs in groups, groups in rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from orbitune.study.display_names import method_name, run_name
from orbitune.study.verdicts import choose_reference

Results = dict[str, Any]
Run = dict[str, Any]

FEW = 3  # methods that fit side by side in a sentence, and whose every figure can be shown
_SHARED = ("method", "split", "sweep", "shots", "rank", "image_size")


@dataclass(frozen=True)
class RunGroup:
    """Finished runs that differ in the seed alone.

    Attributes:
        title: what its row or line is called.
        summary: as results.json has it, over the seeds.
        runs: their entries in results.json, one or more.
    """

    title: str
    summary: dict[str, Any]
    runs: list[Run]

    @property
    def method(self) -> str:
        return str(self.summary["method"])

    @property
    def split(self) -> str:
        return str(self.summary["split"])

    @property
    def accuracy(self) -> tuple[float, float, float]:
        """Mean over the seeds, and the ends of its 95 % interval, shares in 0..1."""
        accuracy = self.summary["accuracy"]
        return accuracy["mean"], accuracy["low"], accuracy["high"]

    @property
    def interval(self) -> tuple[float, float]:
        return self.accuracy[1:]


@dataclass(frozen=True)
class MethodRow:
    """A method with its groups, one for each split that it has finished runs on."""

    title: str
    method: str
    groups: dict[str, RunGroup]

    @property
    def runs(self) -> list[Run]:
        return [run for group in self.groups.values() for run in group.runs]

    @property
    def cost(self) -> dict[str, Any]:
        """The mean over the runs of everything that all of them measured."""
        return mean_cost(self.runs)

    @property
    def parameters(self) -> dict[str, int]:
        return dict(self.runs[0]["result"]["parameters"])


class ReportView:
    """A study as its report looks at it.

    Attributes:
        results: what results.json holds.
        done, failed: the entries of the runs that were finished, and of the others.
        groups: of finished runs, sweeps included.
        rows: the methods that are compared, in the order of the study; sweeps are left out.
        splits: that they are compared on.
        digits: decimals of a percentage; one tile in fewer than 1,000 moves an accuracy by more than the
            second can fmt.
    """

    def __init__(self, results: Results) -> None:
        self.results = results
        self.done = [run for run in results["runs"] if run["status"] == "done"]
        self.failed = [run for run in results["runs"] if run["status"] != "done"]
        self.groups = _groups(results, self.done)
        compared = [group for group in self.groups if group.summary["sweep"] is None]
        self.splits = list(dict.fromkeys(group.split for group in compared))
        self.rows = [
            MethodRow(title, own[0].method, {group.split: group for group in own})
            for title in dict.fromkeys(group.title for group in compared)
            for own in [[group for group in compared if group.title == title]]
        ]
        self.digits = 2 if not compared or compared[0].summary["test_tiles"] >= 1000 else 1

    @property
    def many(self) -> bool:
        """Whether there are too many methods for every one to have every figure."""
        return len(self.rows) > FEW

    @property
    def reference(self) -> MethodRow | None:
        """The method that the others are compared with; None where no run was finished."""
        if not self.rows:
            return None
        method = choose_reference([row.method for row in self.rows])
        return next(row for row in self.rows if row.method == method)

    @property
    def full(self) -> MethodRow | None:
        """Full fine-tuning, to which costs are compared; None where it has no finished run."""
        return self.reference if self.reference and self.reference.method == "full" else None

    @property
    def timings_comparable(self) -> bool:
        """Whether the runs had the machine to themselves."""
        return bool(self.results.get("engine", {}).get("timings_comparable", True))

    def on(self, split: str) -> list[RunGroup]:
        """The groups of one split, in the order of the rows."""
        return [row.groups[split] for row in self.rows if split in row.groups]

    def split_name(self, split: str) -> str:
        """What a heading adds for a split; nothing where there is one only."""
        return f"{split} split" if len(self.splits) > 1 else ""

    def of(self, split: str, before: str) -> str:
        """Words that end with the name of the split, where there are several."""
        return ", ".join(filter(None, [before, self.split_name(split)]))


def mean_cost(runs: Sequence[Run]) -> dict[str, Any]:
    """The mean of each number that every run's cost has; what one of them lacks is None."""
    costs = [run["result"]["cost"] for run in runs]
    numbers = {name for cost in costs for name, value in cost.items() if not isinstance(value, str | None)}
    return {
        name: fmean(values) if all(value is not None for value in values) else None
        for name in sorted(numbers | {"peak_cuda_bytes", "energy_joules"})
        for values in [[cost.get(name) for cost in costs]]
    }


def _groups(results: Results, done: Sequence[Run]) -> list[RunGroup]:
    """Those of the summaries; of results from before there were any, each run by itself."""
    if not results.get("summaries"):
        return [RunGroup(run_name(run), _summary(run), [run]) for run in done]
    return [
        RunGroup(method_name(summary["method"]), summary, _runs_of(summary, done))
        for summary in results["summaries"]
    ]


def _runs_of(summary: dict[str, Any], done: Sequence[Run]) -> list[Run]:
    return [run for run in done if all(run[name] == summary[name] for name in _SHARED)]


def _summary(run: Run) -> dict[str, Any]:
    """A run alone, in the words of the summaries."""
    test = run["result"]["test"]
    low, high = test["interval"]
    return {
        "group": run.get("name", run["method"]),
        "method": run["method"],
        "split": run.get("split", "default"),
        "sweep": run.get("sweep"),
        **{name: run.get(name) for name in ("shots", "rank", "image_size")},
        "seeds": [run.get("seed", 0)],
        "test_tiles": test["count"],
        "accuracy": {"mean": test["accuracy"], "low": low, "high": high, "seeds": [test["accuracy"]]},
        "macro_f1": test["macro_f1"],
        "validation_accuracy": run["result"]["validation"]["accuracy"],
        "per_class": [{**row, "low": row["f1"], "high": row["f1"]} for row in test["per_class"]],
    }
