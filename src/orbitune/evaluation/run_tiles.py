"""The tiles that a finished run was trained, validated and tested on."""

from orbitune.data.labels.forms import with_label_form
from orbitune.data.recipe_tiles import load_recipe_tiles
from orbitune.data.tileset import TileSet, find_tiles
from orbitune.errors import OrbituneError
from orbitune.evaluation.run_result import RunResult


def find_run_tiles(result: RunResult, progress: bool = True) -> TileSet | None:
    """Return the tiles of a run, from the cache or its data.

    Args:
        result: of the run.
        progress: show progress on stderr, where tiles have to be decoded again.

    Returns:
        The tiles; None where the data is gone or has changed.
    """
    fingerprint = result.data.fingerprint
    if fingerprint and (found := find_tiles(fingerprint)):
        return with_label_form(found, result.data_recipe.task)
    try:
        tiles = load_recipe_tiles(result.data_recipe, progress)
    except OrbituneError:
        return None
    return tiles if tiles.fingerprint == fingerprint else None
