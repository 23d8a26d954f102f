"""Robustness of a study's methods: scores of first seeds on corrupted tiles."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from orbitune.evaluation.robustness import Robustness
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
    """Score the first finished seed of each method and split.

    Failed tasks are left out.

    Args:
        specs: runs of the study.
        outcomes: how they ended, by name.
        folder: the study's folder.
        tiles: number of validation tiles per run; 0 for none.
        executor: runs the tasks.
        observer: shows the progress.

    Returns:
        Scores in the order of the study.
    """
    tasks = {_task(spec, folder, tiles=tiles): spec for spec in _first_seeds(specs, outcomes) if tiles}
    records: dict[str, RobustnessRecord] = {}

    def store(task: Task, outcome: Outcome) -> None:
        spec = tasks[task]
        if outcome.value is not None:
            names = {"split": spec.split, "method": spec.arm, "seed": spec.recipe.seed}
            records[spec.name] = RobustnessRecord.model_validate({**names, **outcome.value})

    run_tasks(executor, list(tasks), observer=observer, on_end=store)
    return [records[spec.name] for spec in tasks.values() if spec.name in records]


def _first_seeds(specs: Sequence[RunSpec], outcomes: Mapping[str, Outcome]) -> list[RunSpec]:
    """Return the finished run with the lowest seed per arm and split, of the first fold."""
    done = [spec for spec in specs if spec.sweep is None and outcomes[spec.name].value is not None]
    firsts: dict[tuple[str, ...], RunSpec] = {}
    for spec in sorted(done, key=lambda spec: spec.recipe.seed):
        firsts.setdefault((spec.arm, spec.split), spec)
    return [spec for spec in done if firsts[spec.arm, spec.split] is spec]


def _task(spec: RunSpec, folder: Path, *, tiles: int) -> Task:
    return Task(
        name=f"robustness of {spec.name}",
        arguments=("robustness", str(folder / spec.name), "--tiles", str(tiles), "--json"),
        describe_result=lambda value: Robustness.model_validate(value).describe(),
    )
