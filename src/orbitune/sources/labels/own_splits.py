"""The splits that a data set defines: by a column of its tables, or by folders."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from orbitune.errors import counted
from orbitune.sources.manifest import SPLIT_NAMES
from orbitune.sources.tables import SourceTable

SPLIT = "split"
"""Name of the column."""


def has_splits(table: SourceTable) -> bool:
    """Return whether a table has a column of splits, with the name of one in some row."""
    return any(map(_split_of, table.columns.get(SPLIT, ())))


def split_rows(
    names: Sequence[str], values: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return the splits that the rows of tables name, and notes.

    Args:
        names: of the tiles.
        values: of the column, by the name of the tile.

    Returns:
        Indices of the tiles by split, and notes for the user.
    """
    splits = np.array([_split_of(values.get(name)) for name in names])
    unused = int((splits == "").sum())
    left_out = f", which names none for {counted(unused, 'tile')}: unused" if unused else ""
    rows = {name: np.flatnonzero(splits == name) for name in dict.fromkeys(splits.tolist()) if name}
    return rows, (f"splits from column {SPLIT}{left_out}",)


def _split_of(value: Any) -> str:
    """Return the split that a value names; an empty string for none."""
    return SPLIT_NAMES.get(str(value).strip().lower(), "")


def split_folders(names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the splits if every tile lies below a folder named after one.

    Args:
        names: relative names of the tiles, with folders.

    Returns:
        Indices of the tiles by split; empty if a tile lies in none.
    """
    splits = []
    for name in names:
        folders = [part for part in name.split("/")[:-1] if part.lower() in SPLIT_NAMES]
        splits.append(SPLIT_NAMES[folders[0].lower()] if folders else "")
    if not all(splits):
        return {}
    return {name: np.flatnonzero(np.array(splits) == name) for name in dict.fromkeys(splits)}
