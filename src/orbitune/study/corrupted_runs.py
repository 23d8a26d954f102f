"""Robustness in a study: the first seed of each method and split is tried on corrupted tiles, as tasks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orbitune.evaluation.robustness import robustness_sentence
from orbitune.study.executor import Executor, Outcome, Task, TaskObserver, run_tasks
from orbitune.study.grid import RunSpec


def score_corrupted(
    specs: Sequence[RunSpec],
    outcomes: Mapping[str, Outcome],
    folder: Path,
    count: int,
    engine: Executor,
    watcher: TaskObserver,
) -> list[dict[str, Any]]:
    """Try the first finished seed of each method and split; a task that fails is left out.

    Args:
        specs: the runs of the study.
        outcomes: how they ended, by name.
        folder: of the study.
        count: validation tiles to try each on; with 0 nothing is tried.

    Returns:
        For each in the order of the study: split, method, seed and the scores, see
        `orbitune.evaluation.robustness.robustness`.
    """
    tasks = {_task(spec, folder, count): spec for spec in _firsts(specs, outcomes) if count}
    entries: dict[str, dict[str, Any]] = {}

    def take(task: Task, outcome: Outcome) -> None:
        spec = tasks[task]
        if outcome.value is not None:
            names = {"split": spec.split, "method": spec.recipe.method, "seed": spec.recipe.seed}
            entries[spec.name] = {**names, **outcome.value}

    run_tasks(engine, list(tasks), watcher, take)
    return [entries[spec.name] for spec in tasks.values() if spec.name in entries]


def _firsts(specs: Sequence[RunSpec], outcomes: Mapping[str, Outcome]) -> list[RunSpec]:
    """Of the comparison, the finished run with the lowest seed for each method and split."""
    done = [spec for spec in specs if spec.sweep is None and outcomes[spec.name].value is not None]
    firsts: dict[tuple[str, str], RunSpec] = {}
    for spec in sorted(done, key=lambda spec: spec.recipe.seed):
        firsts.setdefault(spec.tuning_key, spec)
    return [spec for spec in done if firsts[spec.tuning_key] is spec]


def _task(spec: RunSpec, folder: Path, count: int) -> Task:
    return Task(
        name=f"robustness of {spec.name}",
        arguments=("robustness", str(folder / spec.name), "--tiles", str(count), "--json"),
        describe_result=robustness_sentence,
    )
