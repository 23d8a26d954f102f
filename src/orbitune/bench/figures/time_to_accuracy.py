"""Seconds from the start of a training's process until it has reached a validation accuracy."""

import math
import statistics
from pathlib import Path
from typing import Any

from orbitune.bench.figures.scored_tiles import describe_tiles
from orbitune.bench.figures.watched_training import describe_changes, seeded_recipes, watch_epochs
from orbitune.errors import OrbituneError
from orbitune.evaluation.run_result import RunResult


def measure(
    run: str, *, accuracy: float, seeds: int = 5, recipe: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the median of the seconds over seeds; a training that never reaches it counts as infinite.

    The clock starts with the process and stops when the log has an epoch of that accuracy. Tiles are already
    decoded.

    Args:
        run: a finished run, whose recipe is trained anew.
        accuracy: accuracy to reach on the validation split, 0..1.
        seeds: number of trainings, of seeds from 0.
        recipe: settings that replace those of the run.

    Raises:
        OrbituneError: the median training does not reach it.
    """
    changes, result = recipe or {}, RunResult.load(Path(run))
    seconds = [
        next((taken for taken, best in watch_epochs(each) if best >= accuracy), math.inf)
        for each in seeded_recipes(run, seeds=seeds, changes=changes)
    ]
    value = statistics.median_low(seconds)
    if math.isinf(value):
        raise OrbituneError(f"The median of {seeds} trainings does not reach {accuracy:.1%}: train longer.")
    each_seed = ", ".join("not reached" if math.isinf(one) else f"{one:.0f} s" for one in seconds)
    return {
        "value": value,
        "details": [["seeds", each_seed], describe_changes(changes), *describe_tiles(result, "validation")],
    }
