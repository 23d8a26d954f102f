"""Schedules over the steps of a run: learning rate and input size."""

import math

from orbitune.recipe import Recipe


def step_image_size(recipe: Recipe, step: int, *, steps: int) -> int:
    """Return the input size of a step in pixels."""
    return next(size for size, first in reversed(size_phases(recipe, steps)) if step >= first)


def size_phases(recipe: Recipe, steps: int) -> list[tuple[int, int]]:
    """Return the input sizes of a run in pixels, each with its first step."""
    assert isinstance(recipe.image_size, int)
    phases, done = [], 0.0
    for size, fraction in recipe.sizes or ((recipe.image_size, 1.0),):
        phases.append((size, round(done * steps)))
        done += fraction
    return phases


def learning_rate(recipe: Recipe, step: int, *, steps: int) -> float:
    """Return a step's learning rate: linear warm-up, then cosine or constant.

    Args:
        recipe: resolved recipe.
        step: step, from 0.
        steps: number of steps of the run.

    Returns:
        Learning rate of the first parameter group.
    """
    assert recipe.learning_rate is not None
    warmup = round(recipe.warmup * steps)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    if recipe.schedule == "constant":
        return recipe.learning_rate
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
