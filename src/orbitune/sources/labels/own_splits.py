"""The splits that a data set defines: by a column of its tables, or by folders."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from orbitune.errors import counted, printable
from orbitune.sources.labels.class_labels import is_empty
from orbitune.sources.manifest import SPLIT_NAMES
from orbitune.sources.tables import SourceTable

_COLUMN = "split"


def split_column(table: SourceTable, *, besides: str | None) -> str | None:
    """Return the column of a table that names splits; None if it has none.

    Args:
        table: its columns.
        besides: a column that was chosen for something else, if any.
    """
    found = [name for name in table.columns if name.strip().lower() == _COLUMN and name != besides]
    return next((name for name in found if any(map(_split_of, table.columns[name]))), None)


def own_splits(
    names: Sequence[str], values: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return the splits that a data set defines, and notes.

    Args:
        names: relative names of the tiles, with folders.
        values: of the column of splits by name, for the tiles in tables that have one. The split of the
            others is a folder above them.

    Returns:
        Indices of the tiles by split; empty if a tile without a value lies in no folder of a split. Notes for
        the user on the column.
    """
    stated = [_split_of(values[name]) if name in values else _folder_split(name) for name in names]
    splits = np.array(stated, dtype=object)
    outside = [name for name, split in zip(names, stated, strict=True) if not split]
    if not any(stated) or any(name not in values for name in outside):
        return {}, ()
    rows = {name: np.flatnonzero(splits == name) for name in dict.fromkeys(stated) if name}
    if not values:
        return rows, ()
    others = Counter("" if is_empty(values[name]) else str(values[name]).strip() for name in outside)
    named = [
        f"{printable(value) or 'no value'} ({counted(count, 'tile')})"
        for value, count in others.most_common(5)
    ]
    rest = f"; neither train, validation nor test: {', '.join(named)}" if named else ""
    return rows, (f"splits from the column {_COLUMN}{rest}",)


def _split_of(value: Any) -> str:
    """Return the split that a value names; an empty string for none."""
    return SPLIT_NAMES.get(str(value).strip().lower(), "")


def _folder_split(name: str) -> str:
    """Return the split that a folder above a tile is named after; an empty string for none."""
    return next(filter(None, map(_split_of, name.split("/")[:-1])), "")
