"""Test accuracy of whole trainings that end in time."""

import statistics
from typing import Any

from orbitune.bench.figures.scored_tiles import describe_tiles
from orbitune.bench.figures.watched_training import describe_changes, seeded_recipes, time_training
from orbitune.errors import OrbituneError
from orbitune.evaluation.run_result import RunResult
from orbitune.recipe import Recipe


def measure(
    run: str, *, seconds: float, seeds: int = 3, recipe: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the median over seeds of the test accuracy of a whole `orbitune train` command.

    The clock runs from the start of the process to its end: decoding of tiles that are not yet decoded,
    training, and the scores of the test split are in it.

    Args:
        run: a finished run, whose recipe is trained anew.
        seconds: that a command may take.
        seeds: number of trainings, of seeds from 0.
        recipe: settings that replace those of the run.

    Raises:
        OrbituneError: a command takes longer, or failed.
    """
    changes = recipe or {}
    reached = [_score(each, seconds) for each in seeded_recipes(run, seeds=seeds, changes=changes)]
    each_seed = ", ".join(f"{result.test.accuracy:.2%} after {taken:.0f} s" for result, taken in reached)
    tiles = describe_tiles(reached[0][0], "test")
    return {
        "value": statistics.median_low(result.test.accuracy for result, _ in reached),
        "details": [["seeds", each_seed], *tiles, describe_changes(changes)],
    }


def _score(recipe: Recipe, seconds: float) -> tuple[RunResult, float]:
    """Return the result of a training and the seconds it took."""
    result, taken = time_training(recipe)
    if taken > seconds:
        raise OrbituneError(
            f"The training with seed {recipe.seed} took {taken:.0f} s: allow more than {seconds:g} s."
        )
    return result, taken
