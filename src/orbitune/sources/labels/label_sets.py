"""Several labels a tile: lists, or text such as Forest|River, of a table's column."""

import ast
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orbitune.errors import DataError, counted, printable
from orbitune.sources.labels.class_labels import encode_labels, is_missing

SEPARATORS = ("|", ";")  # of pandas' get_dummies, and of spreadsheets
_LONGEST = 20_000  # characters of a written list


@dataclass(frozen=True)
class EncodedLabels:
    """The labels of N tiles.

    Attributes:
        labels: int64 (N,), indices into `classes`; or, with several labels a tile, uint8 (N, classes), 1 for
            each class of a tile. Those of tiles that are not labelled have no meaning.
        classes: class names.
        labelled: bool (N,); a tile whose list is empty is labelled.
        notes: remarks for the user.
    """

    labels: np.ndarray
    classes: tuple[str, ...]
    labelled: np.ndarray
    notes: tuple[str, ...] = ()


def encode(values: Sequence[Any], column: str, *, undivided: bool = False) -> EncodedLabels:
    """Encode the values of a column as labels, several a tile if a tile has several or none.

    Args:
        values: N lists of strings or integers, or strings and integers as for `encode_labels`. Text is a list
            too: in brackets, as pandas writes one, or with `|`, else with `;`, between the labels.
        column: names the column at the start of error messages.
        undivided: take `|` and `;` in text as parts of a label.

    Raises:
        DataError: the values are no labels.
    """
    marks = () if undivided else SEPARATORS
    separator = next((mark for mark in marks if any(_divides(mark, value) for value in values)), None)
    if not (separator or any(_is_list(value) for value in values)):
        labels, classes = encode_labels(values, column)
        return EncodedLabels(labels, classes, labels >= 0)
    return encode_sets([_as_list(value, separator, column=column) for value in values], column)


def encode_sets(sets: Sequence[Sequence[Any] | None], column: str) -> EncodedLabels:
    """Encode lists of labels, as one label a tile where each has exactly one.

    Args:
        sets: labels of each tile, strings or integers; None for a tile that is not labelled.
        column: names the column at the start of error messages.

    Raises:
        DataError: a label is empty, or as `encode_labels`.
    """
    known = [each for each in sets if each is not None]
    if known and len({len(each) for each in known}) == 1 and len(known[0]) > 1 and _are_indicators(known):
        raise DataError(
            f"{column} holds lists of {len(known[0])} values of 0 and 1: write the names of a tile's classes"
            ", or a column of 0 and 1 for each class."
        )
    codes, classes = encode_labels([label for each in known for label in each], column)
    if len(codes) and codes.min() < 0:
        raise DataError(
            f"{column} has a list with an empty label: leave it out; the list of a tile without labels is []."
        )
    if marked := [name for name in classes if SEPARATORS[0] in name]:
        raise DataError(
            f"{column} holds the class {printable(marked[0])!r}: leave out {SEPARATORS[0]}, which separates "
            "the labels of a tile."
        )
    return from_codes(sets, codes, classes=classes)


def from_codes(
    sets: Sequence[Sequence[Any] | None], codes: np.ndarray, *, classes: tuple[str, ...]
) -> EncodedLabels:
    """Return lists of labels as a table of tiles by classes, or one label a tile where each has exactly one.

    Args:
        sets: labels of each tile, of which the lengths count; None for a tile that is not labelled.
        codes: int64, indices into `classes` of all labels, one list after the other.
        classes: class names.
    """
    labels = np.zeros((len(sets), len(classes)), np.uint8)
    labels[np.repeat(np.arange(len(sets)), [len(each or ()) for each in sets]), codes] = 1
    labelled = np.array([each is not None for each in sets], bool)
    if labelled.any() and (labels[labelled].sum(1) == 1).all():
        return EncodedLabels(labels.argmax(1), classes, labelled)
    return EncodedLabels(labels, classes, labelled, (describe_sets(labels[labelled]),))


def is_divided(text: str) -> bool:
    """Return whether a cell of this text is read as several labels."""
    return any(_divides(mark, text) for mark in SEPARATORS)


def describe_sets(labels: np.ndarray) -> str:
    """Return the numbers of labels a tile, uint8 (N, C), as a note for the user."""
    counts = labels.sum(1, dtype=np.int64)
    if not len(counts):
        return "several labels a tile"
    empty = int((counts == 0).sum())
    none = f"; {counted(empty, 'tile has', several='tiles have')} none" if empty else ""
    return f"several labels a tile: {counts.mean():.1f} on average, at most {counts.max()}{none}"


def join_labels(names: Sequence[str]) -> str:
    """Return labels as a cell that `encode` reads."""
    return SEPARATORS[0].join(names) or "[]"


def _are_indicators(sets: Sequence[Sequence[Any]]) -> bool:
    """Return whether lists hold 0 and 1 alone, and so no classes."""
    return {str(value) for each in sets for value in each} <= {"0", "1"}


def _divides(mark: str, value: Any) -> bool:
    """Return whether a value is text of two labels or more with a mark between them."""
    if not isinstance(value, str) or mark not in value or _is_written_list(value):
        return False
    return len({part.strip() for part in value.split(mark)} - {""}) > 1


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple | np.ndarray) or _is_written_list(value)


def _is_written_list(value: Any) -> bool:
    """Return whether a value is the text of a list, such as ['Forest', 'River']."""
    return isinstance(value, str) and value.strip()[:1] == "[" and value.strip()[-1:] == "]"


def _as_list(value: Any, separator: str | None, *, column: str) -> list[Any] | None:
    """Return the labels of a value; None for a missing value."""
    if isinstance(value, list | tuple | np.ndarray):
        return list(value)
    if is_missing(value):
        return None
    if _is_written_list(value):
        return _parse(value.strip(), column)
    if isinstance(value, str) and separator:
        return [part for part in map(str.strip, value.split(separator)) if part]
    return [value]


def _parse(text: str, column: str) -> list[Any]:
    """Parse the text of a list, as JSON or as Python and pandas write it."""
    for parse in (json.loads, ast.literal_eval):
        try:
            found = parse(text) if len(text) <= _LONGEST else None
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, list):
            return found
    raise DataError(f"{column} holds {printable(text)[:60]!r}, which is no list of labels.")
