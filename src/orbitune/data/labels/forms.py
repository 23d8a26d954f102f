"""The form of labels, one a tile or several, that a recipe asks for."""

from dataclasses import replace

import numpy as np

from orbitune.data.tileset import TileSet
from orbitune.errors import DataError, printable
from orbitune.recipe_settings import TaskName
from orbitune.sources.labels.label_sets import is_divided


def with_label_form(tiles: TileSet, task: TaskName | None) -> TileSet:
    """Return tiles with the labels of a task, and a note where a class may be several labels with commas.

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
            f"exactly one label{such}: choose --task multi-label, or give each tile one label."
        )
    if task == "single-label" and (whole := [name for name in tiles.classes if is_divided(name)]):
        note = f"text with | or ; is one class, as --task is single-label, such as {printable(whole[0])}"
        return replace(tiles, notes=(*tiles.notes, note))
    if task == "multi-label" and not tiles.multi_label:
        tiles = replace(tiles, labels=tiles.membership.astype(np.uint8))
    if task != "single-label" and (commas := _note_on_commas(tiles)):
        return replace(tiles, notes=(*tiles.notes, commas))
    return tiles


def _note_on_commas(tiles: TileSet) -> str | None:
    """Return a note if names with commas, such as "Forest, River", look like several labels a tile."""
    with_comma = [name for name in tiles.classes if "," in name]
    of_classes = [
        name for name in with_comma if {part.strip() for part in name.split(",")} <= set(tiles.classes)
    ]
    if of_classes:
        return (
            f"warning: {printable(of_classes[0])!r} is one class, although its parts are classes too: | or ; "
            "separate the labels of a tile, commas do not"
        )
    if with_comma and tiles.multi_label and tiles.labels.sum(1).max(initial=0) <= 1:
        return (
            f"warning: no tile has more than one label, and {printable(with_comma[0])!r} is one class: | or "
            "; separate the labels of a tile, commas do not"
        )
    return None
