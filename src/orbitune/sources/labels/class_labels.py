"""Class labels from the values of a table's column."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from orbitune.errors import DataError, counted, printable

# Missing values as pandas reads them, and so the hub's data set viewer.
_MISSING = {"", "#N/A", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
_FEW = 20  # rows; in a smaller table every row may be a class of its own
_MAX_LENGTH = 200  # characters of a class name


def encode_labels(values: Sequence[Any], column: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Encode the values of a column as labels.

    Args:
        values: N strings or integers. None, the usual spellings of a missing value, and -1 among integers
            mean no label.
        column: names the column at the start of error messages.

    Returns:
        Labels, int64 (N,), -1 where there is none; and the class names, sorted, integers by value.

    Raises:
        DataError: the values are fractions, lists, objects or of several types, nearly all differ, or one
            integer is written in two ways, such as 1 and 01.
    """
    texts = [_text(value, column) for value in values]
    known = {text for text in texts if text is not None}
    kinds = {_kind(value) for value, text in zip(values, texts, strict=True) if text is not None}
    if len(kinds) > 1:
        mixed = " and ".join(sorted(kinds, reverse=True))
        raise DataError(f"{column} mixes {mixed}: write all classes the same way.")
    _check_spellings(known, column)
    if known and all(map(_is_number, known)):
        if odd := sorted(text for text in known if not _is_whole(text)):
            raise DataError(
                f"{column} holds numbers such as {odd[0]}: choose a column of words or whole "
                "numbers with --label-column."
            )
        known -= {"-1"}
        names = sorted(known, key=lambda text: (int(text), text))
    else:
        names = sorted(known)
    labelled = sum(text is not None for text in texts)
    if labelled >= _FEW and len(names) > labelled / 2:
        raise DataError(
            f"{column} holds {len(names):,} different values for {counted(labelled, 'tile')}, such as "
            f"{printable(names[0])[:60]!r}: choose the column of classes with --label-column."
        )
    index = {name: label for label, name in enumerate(names)}
    return np.array([index.get(text, -1) for text in texts], np.int64), tuple(names)  # type: ignore[arg-type]


def is_missing(value: Any) -> bool:
    """Return whether a value is None, not a number, or a usual spelling of a missing value."""
    return is_empty(value) or (isinstance(value, str) and value.strip() in _MISSING)


def is_empty(value: Any) -> bool:
    """Return whether a value is None, not a number, or blank; NA may be the name of a class."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float | np.floating) and bool(np.isnan(value)))


def _text(value: Any, column: str) -> str | None:
    """Return a value as a class name; None for a missing value."""
    if is_missing(value):
        return None
    if isinstance(value, list | tuple | dict | set | np.ndarray):
        raise DataError(f"{column} holds a {type(value).__name__} as a label: expected a word or a number.")
    if not isinstance(value, str | int | float):
        raise DataError(
            f"{column} holds a value of type {type(value).__name__}, which cannot be a class: choose another "
            "column with --label-column."
        )
    text = str(value).strip()
    if text[0] in "[{":
        raise DataError(f"{column} holds {printable(text)[:60]!r} as a label: expected a word or a number.")
    if len(text) > _MAX_LENGTH or printable(text) != text:
        raise DataError(
            f"{column} holds {printable(text)[:60]!r}, which cannot be a class name: use a "
            f"short one of printable characters."
        )
    return text


def _kind(value: Any) -> str:
    """Return the type of a value, in the words of error messages."""
    if isinstance(value, bool):
        return "true/false"
    return "words" if isinstance(value, str) else "numbers"


def _check_spellings(texts: set[str], column: str) -> None:
    """Raise a DataError if an integer is written in two ways, such as 1 and 01."""
    seen: dict[int, str] = {}
    for text in sorted(filter(_is_whole, texts)):
        other = seen.setdefault(int(text), text)
        if other != text:
            raise DataError(f"{column} holds {other} and {text}: write each class in one way only.")


def _is_number(text: str) -> bool:
    """Return whether a text is a number, with or without a fraction."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_whole(text: str) -> bool:
    """Return whether a text is an integer."""
    return text.removeprefix("-").isdecimal()
