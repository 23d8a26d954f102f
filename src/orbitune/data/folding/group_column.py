"""Groups of tiles from a column of the data set, such as the scene that each was cut from."""

from collections.abc import Sequence

from orbitune.errors import DataError, counted, printable
from orbitune.sources.labels.class_labels import is_missing
from orbitune.sources.registry import Source


def groups_in_column(names: Sequence[str], origin: Source | None, *, column: str) -> list[str]:
    """Return the group of each tile that a column names: of metadata files, a list or a parquet data set.

    Args:
        names: of the tiles.
        origin: that they are read from; None for synthetic tiles.
        column: name of the column; its values are compared as text.

    Raises:
        DataError: the data set has no such column, or it has no value for a tile.
    """
    if origin is None:
        raise DataError("Synthetic tiles have no columns: leave out --group-column.")
    known: dict[str, str] = {}
    for name, value in origin.column(column):
        text = "" if is_missing(value) else str(value).strip()
        if known.setdefault(name, text) != text:
            raise DataError(f"--group-column {column} has two values for tiles named {printable(name)}.")
    groups = [known.get(name, "") for name in names]
    lost = [name for name, group in zip(names, groups, strict=True) if not group]
    if lost:
        raise DataError(
            f"--group-column {column} has no value for {len(lost):,} of {counted(len(groups), 'tile')}, such "
            f"as {printable(lost[0])}."
        )
    return groups
