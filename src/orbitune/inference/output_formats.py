"""Predictions as text: a table for people, CSV and JSON lines for programs.

All are streams. Names of files and classes may hold anything: line breaks, terminal codes, formulas.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Protocol

from orbitune.errors import OrbituneError, printable
from orbitune.inference.prediction import Prediction
from orbitune.sources.labels.label_sets import SEPARATORS, join_labels
from orbitune.suggestions import unknown

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


class Formatter(Protocol):
    """Yields the lines of predictions of `count` labels each; of any number where it is None."""

    def __call__(
        self, predictions: Iterable[Prediction], classes: Sequence[str], *, count: int | None
    ) -> Iterator[str]: ...


def find_format(name: str) -> Formatter:
    """Return the formatter of a name.

    Args:
        name: table, csv or jsonl.

    Returns:
        A function that yields the lines.

    Raises:
        OrbituneError: there is none; the message lists them.
    """
    if name not in FORMATS:
        raise OrbituneError(unknown("format", name, known=FORMATS))
    return FORMATS[name]


def _table(predictions: Iterable[Prediction], classes: Sequence[str], *, count: int | None) -> Iterator[str]:
    """Yield one aligned line per prediction."""
    width = max(len(printable(name)) for name in classes) if count else 0
    for each in predictions:
        name = printable(str(each.input))
        if each.error:
            yield f"{name}: {printable(each.error)}"
            continue
        labels = "  ".join(
            f"{printable(label):<{width}} {probability:6.1%}" for label, probability in each.labels
        )
        yield f"{labels or 'no label'}  {'' if each.sure is not False else 'not sure':<8}  {name}"


def _csv(predictions: Iterable[Prediction], classes: Sequence[str], *, count: int | None) -> Iterator[str]:
    """Yield the lines of a CSV file."""
    if count is None:
        yield from _csv_of_sets(predictions)
        return
    ranked = [name for rank in range(1, count + 1) for name in (f"label_{rank}", f"probability_{rank}")]
    yield _csv_line(["input", *ranked, "sure", "distance", "error"])
    for each in predictions:
        labels: list[object] = [value for pair in each.labels for value in pair] or [None] * (2 * count)
        sure = None if each.sure is None else str(each.sure).lower()
        yield _csv_line([each.input, *labels, sure, each.distance, each.error])


def _csv_of_sets(predictions: Iterable[Prediction]) -> Iterator[str]:
    """Yield the lines of a CSV file with all labels of a tile in one cell, as `--data` reads them."""
    yield _csv_line(["input", "labels", "probabilities", "sure", "distance", "error"])
    for each in predictions:
        names = None if each.error else join_labels([label for label, _ in each.labels])
        known = SEPARATORS[0].join(str(probability) for _, probability in each.labels)
        sure = None if each.sure is None else str(each.sure).lower()
        yield _csv_line([each.input, names, known, sure, each.distance, each.error])


def _csv_line(values: Sequence[object]) -> str:
    """Return one line of a CSV file, without its end."""
    text = io.StringIO()
    # Only what is in the line's end is quoted: with another one, a name with a line break would be two rows.
    csv.writer(text, lineterminator="\r\n").writerow(map(cell, values))
    return text.getvalue().removesuffix("\r\n")


def cell(value: object) -> object:
    """Return a value for a table cell.

    Text that a spreadsheet would read as a formula is quoted.
    """
    if not isinstance(value, str):
        return value
    text = _encodable(value)
    return f"'{text}" if text.lstrip(" ")[:1] in _FORMULA else text


def _encodable(text: str) -> str:
    """Return text that can be written as UTF-8.

    Undecodable bytes of file names are escaped.
    """
    return text.encode("utf-8", "backslashreplace").decode()


def _jsonl(predictions: Iterable[Prediction], classes: Sequence[str], *, count: int | None) -> Iterator[str]:
    """Yield one JSON object per prediction."""
    for each in predictions:
        labels = [{"label": label, "probability": probability} for label, probability in each.labels]
        name = _encodable(each.input) if isinstance(each.input, str) else each.input
        yield json.dumps({**asdict(each), "input": name, "labels": labels})


FORMATS: dict[str, Formatter] = {"table": _table, "csv": _csv, "jsonl": _jsonl}
