"""Checks of recipes against the labels of their data, before a tile is decoded."""

from collections.abc import Callable, Iterable
from typing import Any

from orbitune.data.bad_files import BadFiles
from orbitune.data.folding.group_split import check_groups, find_groups
from orbitune.data.folding.parts import check_counts
from orbitune.data.labels.membership import membership
from orbitune.data.recipe_tiles import column_selection, load_recipe_tiles, split_recipe_tiles
from orbitune.data.tileset import TileSet
from orbitune.errors import DataError, OrbituneError
from orbitune.files import scratch
from orbitune.fold import Fold
from orbitune.recipe import Recipe
from orbitune.recipe_paths import is_synthetic
from orbitune.sources.manifest import Manifest
from orbitune.sources.registry import Source, find_source

SEVERAL_LABELS = (
    "Studies compare methods on tiles of one label each, and these have several: train each method with "
    "`orbitune train`, and score it with `orbitune evaluate`."
)


def check_labels(
    recipes: Iterable[Recipe],
    *,
    one_label: bool = False,
    check_settings: Callable[[Recipe, Manifest], None],
) -> None:
    """Check what recipes ask of the labels, each data set once; of formats whose labels are quick to read.

    Images that cannot be read are found later, so that splitting the decoded tiles checks again.

    Args:
        recipes: of one study, or of one run.
        one_label: whether each tile has to have one label.
        check_settings: checks the other settings that depend on the labels.

    Raises:
        DataError: there are too few tiles or groups for the folds, no such groups, or several labels a tile.
    """
    recipes = [recipe for recipe in recipes if not is_synthetic(recipe.data)]
    if one_label and any(recipe.task == "multi-label" for recipe in recipes):
        raise OrbituneError(SEVERAL_LABELS)
    asked = {_needs(recipe): recipe for recipe in recipes}
    for data in dict.fromkeys((recipe.data, column_selection(recipe)) for recipe in recipes):
        own = [each for each in asked.values() if (each.data, column_selection(each)) == data]
        source = find_source(*data)
        if not source.format.quick_labels:
            continue
        with scratch() as place, source.open(place) as manifest:
            if one_label and manifest.labels.ndim == 2:
                raise OrbituneError(SEVERAL_LABELS)
            for recipe in own:
                BadFiles(stop=recipe.on_bad_image == "stop").add_all(manifest.unlabelled)
                _check_split(recipe, manifest, source=source)
                check_settings(recipe, manifest)


def asks_of_tiles(recipe: Recipe) -> bool:
    """Return whether a recipe chooses what the tiles may lack: bands, coordinates, listed names, or shots."""
    return recipe.split == "spatial" or any((recipe.bands, recipe.split_files, recipe.shots))


def check_tiles(recipes: Iterable[Recipe], *, progress: bool) -> None:
    """Check what recipes choose of their tiles, which are decoded for it; nothing else that takes long.

    Args:
        recipes: of one study, or of one run.
        progress: show progress while tiles are decoded for the first time.

    Raises:
        DataError: the tiles lack the bands, or cannot be split so; or see `load_recipe_tiles`.
    """
    asked: dict[tuple[Any, ...], Recipe] = {}
    for recipe in filter(asks_of_tiles, recipes):
        read = (recipe.data, column_selection(recipe), recipe.task, recipe.bands, recipe.on_bad_image)
        split = (recipe.split, recipe.split_files, recipe.fold, recipe.block_size, recipe.split_seed)
        asked[read, split, recipe.group_pattern, recipe.shots] = recipe
    tiles: dict[Any, TileSet] = {}
    for (read, *_), recipe in asked.items():
        if read not in tiles:
            tiles[read] = load_recipe_tiles(recipe, progress)
        split_recipe_tiles(recipe, tiles[read])


def _needs(recipe: Recipe) -> tuple[object, ...]:
    """Return the settings that the checks depend on."""
    fold = recipe.fold and Fold.parse(recipe.fold).count
    split = (recipe.split, fold, recipe.group_pattern, recipe.group_column)
    settings = (recipe.task, recipe.loss, recipe.best_by, recipe.augment, str(recipe.class_weights))
    return recipe.data, column_selection(recipe), *split, *settings


def _check_split(recipe: Recipe, manifest: Manifest, *, source: Source) -> None:
    """Raise a DataError if a recipe has no split into groups or folds."""
    members = membership(manifest.labels, len(manifest.classes))
    fold = Fold.parse(recipe.fold) if recipe.fold else None
    if fold and recipe.split == "random":
        check_counts(members, manifest.classes, count=fold.count)
    elif fold and len(members) < fold.count:
        raise DataError(f"Too few tiles for {fold.count} folds: {len(members):,} in all. Ask for fewer.")
    if recipe.split == "group":
        groups, origin = find_groups(
            manifest.names, source, pattern=recipe.group_pattern, column=recipe.group_column
        )
        check_groups(members, groups, origin=origin, fold=fold)
