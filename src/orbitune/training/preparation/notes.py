"""Notes on how a run uses its training tiles and what makes its steps cheaper, kept in its record."""

from collections.abc import Iterator

import numpy as np

from orbitune.data.tileset import TileSet
from orbitune.recipe import Recipe
from orbitune.training.class_balance import BALANCED_SAMPLING, describe_weights
from orbitune.training.duration.defaults import describe_passes, steps_per_pass
from orbitune.training.schedule import freeze_phases, merged_steps, settled_epoch


def training_notes(
    recipe: Recipe, tiles: TileSet, *, train: np.ndarray, weights: np.ndarray | None
) -> Iterator[str]:
    """Yield what a user should know of how the training tiles are used.

    Args:
        recipe: resolved.
        tiles: the tiles.
        train: indices of the training tiles, int (N,).
        weights: of the classes in the loss, float32 (C,); None for equal ones.
    """
    if (recipe.passes or 1) > 1:
        yield describe_passes(recipe, len(train))
    if weights is not None:
        yield describe_weights(weights, tiles.classes)
    if recipe.sampling == "balanced":
        yield BALANCED_SAMPLING
    yield from cheaper_steps(recipe, len(train))


def cheaper_steps(recipe: Recipe, tiles: int) -> Iterator[str]:
    """Yield the settings in effect by which a step computes or stores less.

    Args:
        recipe: resolved.
        tiles: number of training tiles.
    """
    steps = recipe.max_epochs * (recipe.passes or 1) * steps_per_pass(recipe, tiles)
    if recipe.patch_dropout:
        yield f"patch dropout: a training step leaves out {recipe.patch_dropout:.0%} of a tile's patches"
    if recipe.merge_tokens:
        blocks = ", ".join(map(str, recipe.merge_tokens))
        yield (
            f"token merging: the first {merged_steps(recipe, steps)} of {steps} steps merge half of the "
            f"patches after block {blocks}; the others, validation, test and the saved model keep all"
        )
    if recipe.patience and (settled := settled_epoch(recipe, steps)):
        counts = f"counts from epoch {settled + 1}" if settled < recipe.max_epochs else "has no effect"
        yield f"patience {counts}: up to epoch {settled} steps merge patches or have smaller inputs"
    if recipe.freeze_layers:
        phases = ", ".join(f"{count} from step {first + 1}" for count, first in freeze_phases(recipe, steps))
        yield f"layer freezing: first layers that are trained no more: {phases} of {steps}"
    if recipe.cache_bits:
        yield f"activation cache: {recipe.cache_bits} bits a number, in which epochs are validated too"
