"""Runs of a study that were computed by different code, on different processors or with different threads."""

from collections.abc import Callable

from orbitune.errors import counted
from orbitune.machine.environment import Environment
from orbitune.reporting import formatting as fmt
from orbitune.study.display_names import run_name
from orbitune.study.records import StudyResults


def run_origins(results: StudyResults) -> list[str]:
    """Return a sentence for each kind of difference between the environments of the finished runs."""
    lines = []
    if versions := _grouped(results, lambda each: f"{each.orbitune} (code {each.code})"):
        lines += [
            f"The runs are of several versions of the code, which a comparison should not mix: {versions}."
        ]
    if processors := _grouped(results, lambda each: each.gpu or each.processor):
        lines += [f"The runs are of several processors, so their costs are not comparable: {processors}."]
    # A run on two threads takes more CPU time than the same run on one.
    elif threads := _grouped(results, lambda each: counted(each.threads, "thread")):
        lines += [f"The runs had unlike numbers of threads, so their costs are not comparable: {threads}."]
    return lines


def _grouped(results: StudyResults, origin: Callable[[Environment], str]) -> str | None:
    """Return the finished runs of each origin in words; None where there is one or none is known."""
    runs: dict[str, list[str]] = {}
    for run in results.done:
        if run.environment:
            runs.setdefault(origin(run.environment), []).append(run_name(run))
    if len(runs) < 2:
        return None
    return "; ".join(f"{each}: {_named(names)}" for each, names in runs.items())


def _named(names: list[str]) -> str:
    """Return the names of a few runs, or the number of many with the first."""
    return fmt.listed(names) if len(names) <= 3 else f"{len(names)} runs such as {names[0]}"
