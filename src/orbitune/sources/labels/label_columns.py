"""The columns of a table that hold its labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orbitune.errors import first_names, printable
from orbitune.sources.labels.indicator_columns import chosen_columns, find_columns, read_sets
from orbitune.sources.tables import SourceTable

LABEL, SEVERAL = "label", "labels"
_NAMED = 20  # columns that a note names


@dataclass(frozen=True)
class ColumnLabels:
    """The labels of a table's rows.

    Attributes:
        values: a label, a list of them, or None for each row.
        column: name of their column or columns, for messages.
        class_columns: the columns of 0 and 1, one for each class; empty if one column holds the labels.
        origin: which columns they are from, for people.
    """

    values: Sequence[Any]
    column: str
    class_columns: list[str]
    origin: str


def read_labels(
    table: SourceTable, no_classes: Sequence[str], *, chosen: str | None, option: str
) -> ColumnLabels:
    """Return the labels of a table.

    Args:
        table: its columns.
        no_classes: columns with something else, such as file names, scenes and splits.
        chosen: the column or columns (A,B,C) that the user chose, if any.
        option: that chooses them, for error messages.

    Raises:
        DataError: there is no such column, or its values are no labels.
    """
    if columns := _class_columns(table, no_classes, chosen):
        origin = f"columns {first_names(columns, _NAMED)}"
        if not chosen:
            origin += (
                " of 0 and 1, each a class; if some are none, name the others with --label-column, such as "
                f"{','.join(map(printable, columns[:2]))}"
            )
        return ColumnLabels(read_sets(table, columns), ",".join(columns)[:60], columns, origin)
    usual = [SEVERAL if SEVERAL in table.columns and LABEL not in table.columns else LABEL]
    column = table.find_column(chosen, usual, content="labels", option=option)
    both = not chosen and SEVERAL in table.columns and column == LABEL
    other = f"; --label-column {SEVERAL} reads its column {SEVERAL} instead" if both else ""
    return ColumnLabels(table.columns[column], column, [], f"column {printable(column)}{other}")


def _class_columns(table: SourceTable, beside: Sequence[str], chosen: str | None) -> list[str]:
    """Return the columns of a table that has one of 0 and 1 for each class; else none."""
    if chosen:
        return chosen_columns(table, chosen)
    return [] if {LABEL, SEVERAL} & table.columns.keys() else find_columns(table, beside)
