"""Validation accuracy that a training has reached some seconds after its process started."""

import statistics
from pathlib import Path
from typing import Any

from orbitune.bench.figures.scored_tiles import describe_tiles
from orbitune.bench.figures.watched_training import describe_changes, seeded_recipes, watch_epochs
from orbitune.errors import OrbituneError
from orbitune.evaluation.run_result import RunResult
from orbitune.recipe import Recipe


def measure(
    run: str, *, seconds: float, seeds: int = 5, recipe: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the median over seeds of the accuracy of the best epoch that ended in time.

    So recipes with other costs per epoch are compared at equal time: give each as many epochs as fit. Tiles
    are already decoded.

    Args:
        run: a finished run, whose recipe is trained anew.
        seconds: from the start of the process.
        seeds: number of trainings, of seeds from 0.
        recipe: settings that replace those of the run.

    Raises:
        OrbituneError: a training has no epoch in time.
    """
    changes, result = recipe or {}, RunResult.load(Path(run))
    reached = [_best(each, seconds) for each in seeded_recipes(run, seeds=seeds, changes=changes)]
    each_seed = ", ".join(f"{best:.2%} after {taken:.0f} s" for taken, best in reached)
    value = statistics.median_low(best for _, best in reached)
    return {
        "value": value,
        "details": [["seeds", each_seed], describe_changes(changes), *describe_tiles(result, "validation")],
    }


def _best(recipe: Recipe, seconds: float) -> tuple[float, float]:
    """Return when the last epoch in time ended, and the best accuracy until then."""
    found = None
    for taken, best in watch_epochs(recipe):
        if taken > seconds:
            break
        found = taken, best
    if found is None:
        raise OrbituneError(f"No epoch ended within {seconds:g} s: allow more time.")
    return found
