"""The tiles that a recipe names."""

from orbitune.data.labels.forms import with_label_form
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
