"""Everything that a study concludes from its finished runs, as it goes into results.json beside them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from orbitune.errors import OrbituneError
from orbitune.study.disagreements import find_disagreements
from orbitune.study.leakage_checks import leakage_checks
from orbitune.study.results import compared_runs, compared_splits
from orbitune.study.summaries import split_gaps, summarise_groups
from orbitune.study.verdicts import compare_methods
from orbitune.training.evaluate import reopen


def analyse_results(results: dict[str, Any], folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Judge the runs, and look at their tiles.

    Where the tiles are no longer at hand it says so, and the alarms and disagreements of that split are left
    out: the runs themselves are finished and have their report.

    Args:
        results: what results.json holds of the runs.
        folder: of the study, with the runs below it.
        say: receives a line where something takes long or is left out.

    Returns:
        summaries, gaps, verdicts, alarms and disagreements.

    Raises:
        RunError: predictions are missing, or runs of a split were scored on different tiles.
    """
    found: dict[str, Any] = {
        "summaries": summarise_groups(results, folder),
        "gaps": split_gaps(results, folder),
        "verdicts": compare_methods(results, folder),
        "alarms": [],
        "disagreements": [],
    }
    for split in compared_splits(results):
        first = compared_runs(results, split)[0]
        try:
            say(f"checking the {split} split for leaks and shortcuts")
            _, job = reopen(folder / first["name"], progress=False)
            found["alarms"].append(leakage_checks(job, split, folder))
            disputed = find_disagreements(results, folder, split, job.tiles)
        except OrbituneError as error:
            say(f"  the tiles of the {split} split were not looked at: {error}")
            continue
        if disputed:
            found["disagreements"].append(disputed)
    return found
