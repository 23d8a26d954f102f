"""The tiles that a recipe names, and their splits."""

import numpy as np

from orbitune.data.labels.forms import with_label_form
from orbitune.data.splits import describe_origin, draw_shots, split_tiles
from orbitune.data.tileset import TileSet, load_tiles
from orbitune.recipe import Recipe
from orbitune.sources.manifest import ColumnSelection


def column_selection(recipe: Recipe) -> ColumnSelection:
    """Return the configuration and columns that a recipe selects."""
    return ColumnSelection(
        recipe.data_config,
        recipe.label_column,
        recipe.image_column,
        undivided=recipe.task == "single-label",
        group_column=recipe.group_column,
    )


def load_recipe_tiles(recipe: Recipe, progress: bool = True) -> TileSet:
    """Load the tiles of a recipe, and decode them into the cache the first time.

    Args:
        recipe: its settings of the data count.
        progress: show progress while decoding.

    Raises:
        DataError: see `orbitune.data.tileset.load_tiles` and `orbitune.data.labels.forms.with_label_form`.
    """
    tiles = load_tiles(
        recipe.data,
        recipe.on_bad_image,
        bands=recipe.bands,
        progress=progress,
        selection=column_selection(recipe),
    )
    return with_label_form(tiles, recipe.task)


def split_recipe_tiles(recipe: Recipe, tiles: TileSet) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Split the tiles of a recipe, and draw the shots of one that asks for them.

    Returns:
        Sorted indices of each split, and notes for the user, as `split_tiles`.

    Raises:
        DataError: see `split_tiles` and `draw_shots`.
    """
    splits, notes = split_tiles(
        tiles,
        recipe.split_files,
        seed=recipe.split_seed,
        split=recipe.split,
        block_size=recipe.block_size,
        group_pattern=recipe.group_pattern,
        group_column=recipe.group_column,
        fold=recipe.fold,
    )
    if not recipe.shots:
        return splits, notes
    train = draw_shots(tiles, splits["train"], shots=recipe.shots, seed=recipe.seed)
    drawn = (
        f"{recipe.shots:,} training tiles of each class, drawn with seed {recipe.seed}: {len(train):,} of "
        f"{len(splits['train']):,}"
    )
    return {**splits, "train": train}, (*notes, drawn)


def split_origin(recipe: Recipe, tiles: TileSet) -> str:
    """Return where the split of a recipe comes from, see `describe_origin`."""
    return describe_origin(
        tiles,
        recipe.split_files,
        seed=recipe.split_seed,
        split=recipe.split,
        block_size=recipe.block_size,
        fold=recipe.fold,
    )
