"""Pilot of a study: finished runs that show how others would vary."""

from dataclasses import dataclass
from pathlib import Path

from orbitune.errors import OrbituneError, RunError, find_repeated
from orbitune.evaluation.run_result import RunResult
from orbitune.evaluation.statistics.variability import Variability
from orbitune.study.arms import comparisons
from orbitune.study.own_lists import ALIKE
from orbitune.study.predictions import complete_runs, load_predictions
from orbitune.study.records import RunRecord
from orbitune.study.results import FILE, read_results
from orbitune.suggestions import missing


@dataclass(frozen=True)
class Pilot:
    """How the runs of a folder vary.

    Attributes:
        folder: of a study, or of runs.
        found: by split and comparison.
        seeds: of each method, by split.
    """

    folder: Path
    found: dict[str, dict[tuple[str, str], Variability]]
    seeds: dict[str, dict[str, int]]

    @classmethod
    def read(cls, folder: Path) -> "Pilot":
        """Read the pilot in a folder.

        Raises:
            RunError: it holds no two methods with two seeds each on one split, or files are damaged.
        """
        runs = [run for run in complete_runs(_runs(folder)) if run.sweep is None]
        found, seeds = {}, {}
        for split in dict.fromkeys(run.split for run in runs):
            correct = load_predictions(runs, folder, split=split).correct
            seeds[split] = {arm: len(rows) for arm, rows in correct.items()}
            several = [arm for arm, rows in correct.items() if len(rows) > 1]
            if pairs := comparisons(several):
                found[split] = {
                    (method, reference): Variability.observe(correct[method], correct[reference])
                    for method, reference in pairs
                }
        if not found:
            raise RunError(
                f"--pilot {folder} has no two methods with two seeds or more each on the same split."
            )
        return cls(folder, found, seeds)

    def variability(self, split: str, pair: tuple[str, str]) -> tuple[Variability, str]:
        """Return how the runs of a comparison vary, and where that was observed.

        A comparison that the pilot lacks is assumed to vary as its first one. A split that it lacks is
        assumed to vary as its only one, or as its default, random or redrawn one for another of these.

        Raises:
            OrbituneError: it has several splits, and not this one.
        """
        alike = [each for each in ALIKE if split in ALIKE and each in self.found]
        if split not in self.found and len(self.found) > 1 and not alike:
            raise OrbituneError(
                f"--pilot {self.folder} has no runs on split {split}, only on {', '.join(self.found)}."
            )
        name = split if split in self.found else [*alike, *self.found][0]
        own = self.found[name]
        used = pair if pair in own else next(iter(own))
        counts = " and ".join(str(self.seeds[name][arm]) for arm in used)
        where = f"{used[0]} against {used[1]} of {self.folder}, {counts} seeds"
        return own[used], where if name == split else f"{where}, split {name}"


def _runs(folder: Path) -> list[RunRecord]:
    """Return the runs of a study, or those that lie in a folder."""
    if not folder.is_dir():
        raise RunError(f"--pilot: {missing('folder', folder)}")
    if (folder / FILE).is_file():
        return read_results(folder).runs
    results = {file.parent.name: RunResult.load(file.parent) for file in sorted(folder.glob("*/result.json"))}
    runs = [
        RunRecord(
            name=name,
            group=f"{result.recipe.method}-{result.recipe.split}",
            method=result.recipe.method,
            seed=result.recipe.seed,
            split=result.recipe.split,
            status="done",
            result=result,
        )
        for name, result in results.items()
    ]
    if repeated := find_repeated([f"{run.group}, seed {run.seed}" for run in runs]):
        raise RunError(f"--pilot {folder}: two runs are of {repeated[0]}.")
    return runs
