"""Test accuracy of whole trainings that end in time."""

import statistics
from typing import Any

from orbitune.bench.figures.watched_training import describe_changes, seeded_recipes, time_training
from orbitune.errors import OrbituneError
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
    each_seed = ", ".join(f"{accuracy:.2%} after {taken:.0f} s" for accuracy, taken, _ in reached)
    details = [["seeds", each_seed], ["test tiles", f"{reached[0][2]:,}"], describe_changes(changes)]
    return {"value": statistics.median_low(accuracy for accuracy, _, _ in reached), "details": details}


def _score(recipe: Recipe, seconds: float) -> tuple[float, float, int]:
    """Return the test accuracy, the seconds it took, and the number of test tiles."""
    result, taken = time_training(recipe)
    if taken > seconds:
        raise OrbituneError(
            f"The training with seed {recipe.seed} took {taken:.0f} s: allow more than {seconds:g} s."
        )
    return result.test.accuracy, taken, result.test.count
