"""Robustness of a study's methods: scores of first seeds on corrupted tiles."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from orbitune.evaluation.robustness import Robustness, pool_robustness
from orbitune.fold import Fold
from orbitune.study.executor import Executor, Outcome, Task, TaskObserver, run_tasks
from orbitune.study.findings import RobustnessRecord
from orbitune.study.grid import RunSpec


def score_corrupted(
    specs: Sequence[RunSpec],
    outcomes: Mapping[str, Outcome],
    *,
    folder: Path,
    tiles: int,
    executor: Executor,
    observer: TaskObserver,
) -> list[RobustnessRecord]:
    """Score the first finished seed of each method and split, in all of its folds.

    Failed tasks are left out.

    Args:
        specs: runs of the study.
        outcomes: how they ended, by name.
        folder: the study's folder.
        tiles: number of validation tiles of each run, and so of each fold; 0 for none.
        executor: runs the tasks.
        observer: shows the progress.

    Returns:
        Scores in the order of the study.
    """
    firsts = _first_seeds(specs, outcomes) if tiles else {}
    tasks = {
        _task(spec, folder, tiles=tiles): spec
        for spec in specs
        if spec.sweep is None and firsts.get((spec.arm, spec.split)) == spec.recipe.seed
    }
    records: dict[str, RobustnessRecord] = {}

    def store(task: Task, outcome: Outcome) -> None:
        spec = tasks[task]
        if outcome.value is not None:
            names = {
                "split": spec.split,
                "method": spec.arm,
                "seed": spec.recipe.seed,
                "fold": spec.fold,
            }
            records[spec.name] = RobustnessRecord.model_validate({**names, **outcome.value})

    run_tasks(executor, list(tasks), observer=observer, on_end=store)
    return [records[spec.name] for spec in tasks.values() if spec.name in records]


def may_be_scored(specs: Sequence[RunSpec], outcomes: Mapping[str, Outcome]) -> set[str]:
    """Return the names of the runs that `score_corrupted` may still need while others are trained.

    Of each arm and split, these are the runs of seeds up to the lowest of which every fold is finished.

    Args:
        specs: runs of the study.
        outcomes: how those that have ended did, by name.
    """
    first = _first_seeds(specs, outcomes)
    return {
        spec.name
        for spec in specs
        if spec.sweep is None and spec.recipe.seed <= first.get((spec.arm, spec.split), spec.recipe.seed)
    }


def _first_seeds(specs: Sequence[RunSpec], outcomes: Mapping[str, Outcome]) -> dict[tuple[str, str], int]:
    """Return the lowest seed of each arm and split of which every fold is finished."""
    finished: dict[tuple[str, str, int], bool] = {}
    for spec in specs:
        if spec.sweep is None:
            key = (spec.arm, spec.split, spec.recipe.seed)
            done = spec.name in outcomes and outcomes[spec.name].value is not None
            finished[key] = done and finished.get(key, True)
    firsts: dict[tuple[str, str], int] = {}
    for (arm, split, seed), done in finished.items():
        if done:
            firsts[arm, split] = min(seed, firsts.get((arm, split), seed))
    return firsts


def pool_folds(records: Sequence[RobustnessRecord]) -> list[RobustnessRecord]:
    """Return one record per method, seed and split: the scores of all its folds together.

    Methods of which a fold is missing are left out, as their other folds have other tiles.

    Args:
        records: of a study.
    """
    groups: dict[tuple[str, str, int], list[RobustnessRecord]] = {}
    for record in records:
        groups.setdefault((record.method, record.split, record.seed), []).append(record)
    pooled = []
    for (method, split, seed), own in groups.items():
        if own[0].fold is None:
            pooled += own
        elif len(own) == Fold.parse(own[0].fold).count:
            scores = pool_robustness(own).model_dump()
            names = {"split": split, "method": method, "seed": seed}
            pooled.append(RobustnessRecord.model_validate({**names, **scores}))
    return pooled


def _task(spec: RunSpec, folder: Path, *, tiles: int) -> Task:
    return Task(
        name=f"robustness of {spec.name}",
        arguments=("robustness", str(folder / spec.name), "--tiles", str(tiles), "--json"),
        describe_result=lambda value: Robustness.model_validate(value).describe(),
    )
