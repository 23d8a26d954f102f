"""Validation accuracy that a recipe reaches for a given number of CPU seconds."""

import statistics
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from orbitune.bench.figures.scored_tiles import describe_tiles
from orbitune.bench.figures.watched_training import describe_changes, seeded_recipes, time_training
from orbitune.errors import OrbituneError
from orbitune.evaluation.run_result import RunResult
from orbitune.recipe import Recipe


class Training(NamedTuple):
    """A whole training of one epoch.

    Attributes:
        cpu_seconds: of training and evaluation.
        accuracy: of the validation split, 0..1.
        passes: over the training tiles.
    """

    cpu_seconds: float
    accuracy: float
    passes: int

    def __str__(self) -> str:
        return f"{self.accuracy:.2%} for {self.cpu_seconds:.0f} s ({self.passes} passes)"


def measure(
    run: str, *, cpu_seconds: float, passes: int = 1, seeds: int = 1, recipe: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the median over seeds of the accuracy for these CPU seconds of training and evaluation.

    So recipes with other costs per step are compared at equal cost. The schedule of each training ends with
    its last pass. As a whole number of passes rarely costs what is asked, accuracy is interpolated between
    the two numbers of passes whose costs enclose it.

    Args:
        run: a finished run, whose recipe is trained anew.
        cpu_seconds: of training and evaluation, of all threads.
        passes: number of passes to try first.
        seeds: number of trainings, of seeds from 0.
        recipe: settings that replace those of the run.

    Raises:
        OrbituneError: a single pass costs more, or a training failed.
    """
    changes = recipe or {}
    found, tiles = [], []
    for each in seeded_recipes(run, seeds=seeds, changes=changes):

        @cache
        def train(number: int, each: Recipe = each) -> tuple[RunResult, Training]:
            result, _ = time_training(each.replace(epochs=1, passes=number))
            accuracy = result.history[-1].validation_accuracy
            return result, Training(result.cost.cpu_seconds, accuracy, number)

        pair = enclose(lambda number: train(number)[1], cpu_seconds, first=passes)
        found.append((interpolate(*pair, cpu_seconds=cpu_seconds), pair))
        tiles = describe_tiles(train(pair[0].passes)[0], "validation")
    each_seed = "; ".join(f"{value:.2%}, between {' and '.join(map(str, pair))}" for value, pair in found)
    return {
        "value": statistics.median_low(value for value, _ in found),
        "details": [["seeds", each_seed], *tiles, describe_changes(changes)],
    }


def enclose(train: Callable[[int], Training], cpu_seconds: float, *, first: int) -> tuple[Training, Training]:
    """Return trainings of n and n + 1 passes that cost at most, and more than, `cpu_seconds`.

    Args:
        train: trains a number of passes; called again with the same number, it must return the same training.
        cpu_seconds: cost to enclose.
        first: number of passes to try first.

    Raises:
        OrbituneError: a single pass costs more.
    """
    passes = first
    while train(passes).cpu_seconds > cpu_seconds:
        passes -= 1
        if passes == 0:
            raise OrbituneError(
                f"One pass costs {train(1).cpu_seconds:.0f} CPU seconds: allow more than {cpu_seconds:g}."
            )
    while train(passes + 1).cpu_seconds <= cpu_seconds:
        passes += 1
    return train(passes), train(passes + 1)


def interpolate(before: Training, after: Training, *, cpu_seconds: float) -> float:
    """Return the accuracy at these CPU seconds on the line between two trainings."""
    place = (cpu_seconds - before.cpu_seconds) / (after.cpu_seconds - before.cpu_seconds)
    return before.accuracy + place * (after.accuracy - before.accuracy)
