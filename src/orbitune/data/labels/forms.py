"""The form of labels, one a tile or several, that a recipe asks for."""

from dataclasses import replace

import numpy as np

from orbitune.data.tileset import TileSet
from orbitune.errors import DataError, printable
from orbitune.recipe_settings import TaskName
from orbitune.sources.labels.label_sets import is_divided


def with_label_form(tiles: TileSet, task: TaskName | None) -> TileSet:
    """Return tiles with the labels of a task.

    Args:
        tiles: labelled tiles.
        task: None for the one that the labels state.

    Raises:
        DataError: one label a tile is asked for, and a tile has several or none.
    """
    if task == "single-label" and tiles.multi_label:
        others = np.flatnonzero(tiles.labels.sum(1) != 1)
        if not len(others):
            return replace(tiles, labels=tiles.labels.argmax(1))
        such = f", such as {printable(tiles.names[others[0]])}"
        raise DataError(
            f"The labels of the data are lists, and {len(others):,} of {len(tiles.names):,} tiles have not "
            f"exactly one label{such}: choose task multi-label, or give each tile one label."
        )
    if task == "single-label" and (whole := [name for name in tiles.classes if is_divided(name)]):
        note = f"text with | or ; is one class, as task is single-label, such as {printable(whole[0])}"
        return replace(tiles, notes=(*tiles.notes, note))
    if task == "multi-label" and not tiles.multi_label:
        return replace(tiles, labels=tiles.membership.astype(np.uint8))
    return tiles
