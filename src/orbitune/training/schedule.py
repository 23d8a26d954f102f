"""What changes from step to step of a run: the learning rate, and the size at which tiles are seen."""

import math

from orbitune.recipe import Recipe


def image_size(recipe: Recipe, step: int, steps: int) -> int:
    """The size in pixels at which this step trains."""
    return next(size for size, first in reversed(size_phases(recipe, steps)) if step >= first)


def size_phases(recipe: Recipe, steps: int) -> list[tuple[int, int]]:
    """The sizes in pixels that a run trains at in turn, each with its first step."""
    assert isinstance(recipe.image_size, int)
    phases, done = [], 0.0
    for size, share in recipe.sizes or ((recipe.image_size, 1.0),):
        phases.append((size, round(done * steps)))
        done += share
    return phases


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """The rate of one step: a linear rise over the warm-up, then a cosine to zero, or constant."""
    assert recipe.learning_rate is not None
    warmup = round(recipe.warmup * steps)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    if recipe.schedule == "constant":
        return recipe.learning_rate
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
