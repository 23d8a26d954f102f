"""Tables with one column of zeros and ones for each class."""

from collections.abc import Sequence
from typing import Any

from orbitune.errors import DataError, as_written, counted, printable
from orbitune.sources.labels.class_labels import is_missing
from orbitune.sources.tables import SourceTable

_MOSTLY = 0.5  # of the values of a column of 0 and 1, some of whose cells may be wrong
_VALUES: dict[Any, bool] = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}


def chosen_columns(table: SourceTable, chosen: str | None) -> list[str]:
    """Return the class columns that an option names, as A,B,C; empty if it names a single column."""
    if not chosen or chosen in table.columns or "," not in chosen:
        return []
    names = [name.strip() for name in chosen.split(",")]
    if unknown := [name for name in names if name not in table.columns]:
        raise DataError(
            f"{table.name} lacks {len(unknown):,} of the {len(names):,} columns of --label-column, such as "
            f"{printable(unknown[0])}: it has {', '.join(map(printable, table.columns))}."
        )
    for name in names:
        _expect_indicators(table, name)
    return names


def find_columns(table: SourceTable, beside: Sequence[str]) -> list[str]:
    """Return the class columns of a table without a column of labels; empty if it has no two.

    Args:
        table: its columns.
        beside: columns that are no classes: of file names, and of groups.

    Raises:
        DataError: beside them and the file names there are other columns, one has no name, or some cells of a
            column that else holds 0 and 1 are wrong.
    """
    others = [name for name in table.columns if name not in beside]
    fractions = {name: _fraction(table.columns[name]) for name in others}
    found = [name for name in others if fractions[name] == 1]
    if len(found) < 2:
        return []
    if any(not name.strip() for name in others):
        raise DataError(
            f"{table.name} has a column without a name: name the class, or remove the column, such as the "
            "index that pandas writes without index=False."
        )
    some_classes = f"--label-column, such as {','.join(map(printable, found[:2]))}"
    if unknown := [name for name in others if fractions[name] <= _MOSTLY]:
        some = f"{len(unknown):,} columns that are" if len(unknown) > 1 else "a column that is"
        raise DataError(
            f"{table.name} has {some} neither file names nor 0 and 1, such as {printable(unknown[0])}: "
            f"remove such columns, or choose those of the classes with {some_classes}."
        )
    for name in others:
        _expect_indicators(
            table, name, otherwise=f", or choose the columns of the classes with {some_classes}"
        )
    return found


def read_sets(table: SourceTable, columns: Sequence[str]) -> list[list[str] | None]:
    """Return the classes of each row; None for a row without any value.

    Raises:
        DataError: a row has values for some of the classes only.
    """
    rows = list(zip(*(map(_read, table.columns[name]) for name in columns), strict=True))
    partial = [number for number, row in enumerate(rows) if None in row and any(v is not None for v in row)]
    if partial:
        raise DataError(
            f"{table.name} has {counted(len(partial), 'row')} with 0 or 1 for some classes only, such as "
            f"{table.place(partial[0])}: fill in all of their classes, or none."
        )
    return [
        None if None in row else [name for name, value in zip(columns, row, strict=True) if value]
        for row in rows
    ]


def _fraction(values: Sequence[Any]) -> float:
    """Return the fraction of zeros and ones among the known values of a column; 0 without any."""
    known = [_key(value) in _VALUES for value in values if not is_missing(value)]
    return sum(known) / len(known) if known else 0.0


def _expect_indicators(table: SourceTable, name: str, *, otherwise: str = "") -> None:
    """Raise a DataError if a column holds other values than 0 and 1, or none at all.

    Args:
        table: its columns.
        name: of the column.
        otherwise: what else helps, for the message.
    """
    values = table.columns[name]
    wrong = [row for row, each in enumerate(values) if not is_missing(each) and _key(each) not in _VALUES]
    if wrong or all(map(is_missing, values)):
        holds = f"{as_written(values[wrong[0]])} in {table.place(wrong[0])}" if wrong else "no value"
        more = f", and {counted(len(wrong) - 1, 'other such value')}" if len(wrong) > 1 else ""
        raise DataError(
            f"The column {printable(name)} of {table.name} holds {holds}{more}: write 0 or 1 in each row of "
            f"the column of a class{otherwise}."
        )


def _read(value: Any) -> bool | None:
    return None if is_missing(value) else _VALUES[_key(value)]


def _key(value: Any) -> str:
    return str(value).strip().lower()
