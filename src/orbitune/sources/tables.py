"""Tables of text: CSV, JSON lines and parquet as columns of values, or one line on what is wrong."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from orbitune.errors import DataError, first_line, printable

_MOST_ROWS = 10_000_000


@dataclass(frozen=True)
class Table:
    """Columns of a table by name, each with a value a row."""

    name: str
    columns: dict[str, list[Any]]

    def choose(self, chosen: str | None, usual: Sequence[str], what: str, option: str) -> str:
        """Return the name of the chosen column, or else of the one with a usual name.

        Raises:
            DataError: there is none, or several.
        """
        found = [name for name in ([chosen] if chosen else usual) if name in self.columns]
        if len(found) == 1:
            return found[0]
        there_is = ", ".join(map(printable, self.columns))
        missing = chosen if chosen else " or ".join(usual)
        problem = f"several columns of {what}" if found else f"no column {missing}"
        raise DataError(f"{self.name} has {problem} among {there_is}: choose one with {option}.")


def parse_table(name: str, data: bytes) -> Table:
    """Parse a table in the format that its ending names.

    Raises:
        DataError: it cannot be read as such a table.
    """
    ending = PurePosixPath(name).suffix.lower()
    try:
        rows = _parquet(data) if ending == ".parquet" else _PARSERS[ending](_decoded(data))
    except _TableError as error:
        raise DataError(f"{name} cannot be read as a table: {error}.") from None
    except (csv.Error, RecursionError) as error:
        raise DataError(f"{name} cannot be read as a table: {first_line(error)}.") from None
    if not any(map(len, rows.values())):
        raise DataError(f"{name} has no rows: expected a file name and a label in each.")
    return Table(name, rows)


class _TableError(Exception):
    """Why bytes are no table."""


def _decoded(data: bytes) -> str:
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        raise _TableError("it is not encoded in UTF-8; save it so") from None


def _csv(text: str) -> dict[str, list[Any]]:
    if "\0" in text:
        raise _TableError("it holds zero bytes")
    header = text.partition("\n")[0]
    separator = max(",;\t", key=header.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    names = [name.strip() for name in next(rows, [])]
    if len(set(names)) < len(names):
        raise _TableError("two columns have one name")
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for row in rows:
        if not row:
            continue
        if len(row) != len(names):
            raise _TableError(f"line {rows.line_num} has {len(row)} values for {len(names)} columns")
        for name, value in zip(names, row, strict=True):
            columns[name].append(value)
    return columns


def _jsonl(text: str) -> dict[str, list[Any]]:
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            raise _TableError(f"line {number} is no JSON") from None
        if not isinstance(row, dict):
            raise _TableError(
                f"line {number} is no object, such as " + '{"file_name": "a.png", "label": "Forest"}'
            )
        rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _parquet(data: bytes) -> dict[str, list[Any]]:
    from pyarrow import ArrowException, BufferReader
    from pyarrow.parquet import ParquetFile

    try:
        file = ParquetFile(BufferReader(data))
        if file.metadata.num_rows > _MOST_ROWS:
            raise _TableError(f"it has more than {_MOST_ROWS:,} rows")
        return file.read().to_pydict()
    except (ArrowException, OSError, ValueError):
        raise _TableError("it is damaged or no parquet file") from None


_PARSERS: dict[str, Callable[[str], dict[str, list[Any]]]] = {".csv": _csv, ".tsv": _csv, ".jsonl": _jsonl}
