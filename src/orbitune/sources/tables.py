"""Tables in CSV, JSON lines or Parquet, read into columns of values."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from orbitune.errors import DataError, counted, first_line, printable

_MAX_ROWS = 10_000_000


@dataclass(frozen=True)
class SourceTable:
    """A table.

    Attributes:
        name: its file name.
        columns: the values of each column, one per row.
        lines: number of each row's last line in a text file, from 1; empty for a file without lines.
    """

    name: str
    columns: dict[str, list[Any]]
    lines: Sequence[int] = ()

    def place(self, row: int) -> str:
        """Return where a row is, such as line 17."""
        return f"line {self.lines[row]:,}" if self.lines else f"row {row + 1:,}"

    def find_column(self, chosen: str | None, usual: Sequence[str], *, content: str, option: str) -> str:
        """Return the name of the chosen column, or of the only one with a usual name.

        Args:
            chosen: name given by the user, if any.
            usual: names to look for otherwise.
            content: what the column holds, for error messages.
            option: the command line option that chooses it, for error messages.

        Raises:
            DataError: there is no such column, or several.
        """
        found = [name for name in ([chosen] if chosen else usual) if name in self.columns]
        if len(found) == 1:
            return found[0]
        there_is = ", ".join(map(printable, self.columns))
        missing = chosen if chosen else " or ".join(usual)
        problem = f"several columns of {content}" if found else f"no column {missing}"
        raise DataError(f"{self.name} has {problem} among {there_is}: choose one with {option}.")


def parse_table(name: str, data: bytes) -> SourceTable:
    """Parse the content of a table.

    Args:
        name: file name, whose suffix names the format.
        data: content of the file.

    Raises:
        DataError: the content is not a table of this format, or has no rows.
    """
    suffix = PurePosixPath(name).suffix.lower()
    try:
        lines: list[int] = []
        if suffix == ".parquet":
            rows = _parse_parquet(data)
        else:
            rows, lines = _PARSERS[suffix](_decode_text(data))
    except _TableError as error:
        raise DataError(f"{name} cannot be read as a table: {error}.") from None
    except (csv.Error, RecursionError) as error:
        raise DataError(f"{name} cannot be read as a table: {first_line(error)}.") from None
    if not any(map(len, rows.values())):
        raise DataError(f"{name} has no rows: expected a file name and a label in each.")
    return SourceTable(name, rows, lines)


class _TableError(Exception):
    """The reason why a file is not a table."""


def _decode_text(data: bytes) -> str:
    """Return the text of a file in UTF-8 or UTF-16, without byte order mark."""
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        raise _TableError("it is not encoded in UTF-8: save it as UTF-8") from None


def _parse_csv(text: str) -> tuple[dict[str, list[Any]], list[int]]:
    """Return the columns of comma, semicolon or tab separated values, and the line of each row."""
    if "\0" in text:
        raise _TableError("it holds zero bytes")
    header = text.partition("\n")[0]
    separator = max(",;\t", key=header.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    names = [name.strip() for name in next(rows, [])]
    if len(set(names)) < len(names):
        raise _TableError("two columns have the same name")
    columns: dict[str, list[Any]] = {name: [] for name in names}
    lines = []
    for row in rows:
        if not row:
            continue
        if len(row) != len(names):
            raise _TableError(
                f"line {rows.line_num} has {counted(len(row), 'value')} for {counted(len(names), 'column')}"
            )
        for name, value in zip(names, row, strict=True):
            columns[name].append(value)
        lines.append(rows.line_num)
    return columns, lines


def _parse_jsonl(text: str) -> tuple[dict[str, list[Any]], list[int]]:
    """Return the columns of JSON lines, None where a line lacks one, and the line of each row."""
    rows, lines = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            raise _TableError(f"line {number} is not JSON") from None
        if not isinstance(row, dict):
            raise _TableError(
                f"line {number} is not an object, such as " + '{"file_name": "a.png", "label": "Forest"}'
            )
        rows.append(row)
        lines.append(number)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}, lines


def _parse_parquet(data: bytes) -> dict[str, list[Any]]:
    """Return the columns of a Parquet file."""
    from pyarrow import ArrowException, BufferReader
    from pyarrow.parquet import ParquetFile

    try:
        file = ParquetFile(BufferReader(data))
        if file.metadata.num_rows > _MAX_ROWS:
            raise _TableError(f"it has more than {_MAX_ROWS:,} rows")
        return file.read().to_pydict()
    except (ArrowException, OSError, ValueError):
        raise _TableError("it is damaged or not a Parquet file") from None


_PARSERS: dict[str, Callable[[str], tuple[dict[str, list[Any]], list[int]]]] = {
    ".csv": _parse_csv,
    ".tsv": _parse_csv,
    ".jsonl": _parse_jsonl,
}
