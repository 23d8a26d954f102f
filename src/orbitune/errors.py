"""Errors that the user can fix.

The command line prints them as one line, with exit code 2.
"""

import json
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


class OrbituneError(Exception):
    """Invalid input or an unsuitable environment; the message says what to do.

    Attributes:
        kind: a word for programs, part of JSON output; None for most errors.
    """

    kind: str | None = None


class DataError(OrbituneError):
    """Tiles that cannot be found, read, labelled or split."""


class ModelError(OrbituneError):
    """A backbone, method or image size that does not fit the other settings."""


class RunError(OrbituneError):
    """A run folder that cannot be started, resumed or read."""


class DivergedError(RunError):
    """Training whose loss is no longer finite; the same recipe would fail again."""

    kind = "diverged"


class Interrupted(BaseException):
    """The user asked to stop.

    The message says how to continue. It is a BaseException, so that `except Exception` does not swallow it.
    """


CONTINUE = "Run the same command again to continue."
"""End of the message of an interrupted command that can resume."""


def one_line(text: str, limit: int = 300) -> str:
    """Return a text as one line of at most `limit` characters.

    Args:
        text: text of a file or another library.
        limit: largest number of characters.

    Returns:
        The text without line breaks, shortened with an ellipsis if needed.
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def as_written(value: object) -> str:
    """Return a value as YAML writes it, such as null for None; text in quotes."""
    if isinstance(value, str):
        return repr(value)
    if value is None or isinstance(value, bool | list | tuple | dict):
        return one_line(json.dumps(value, default=str, ensure_ascii=False), 80)
    return str(value)


def first_line(error: BaseException) -> str:
    """Return the first line of a library's error, without its closing dot."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def counted(count: int, one: str, *, several: str | None = None) -> str:
    """Return a number with what is counted, such as "1 file" or "2,000 files".

    Args:
        count: the number.
        one: of what, if it is one.
        several: otherwise; `one` with an s, or es after an s, by default.
    """
    return f"{count:,} {one if count == 1 else several or one + ('es' if one.endswith('s') else 's')}"


def find_repeated(values: Sequence[T]) -> list[T]:
    """Return the values that a sequence holds already before their place."""
    return [value for place, value in enumerate(values) if value in values[:place]]


def first_names(names: Iterable[str], most: int = 10) -> str:
    """Return the first names of many and the number of the others, so that a message stays readable."""
    shown = [printable(name) for name in names]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most:,} more" if len(shown) > most else "")


def printable(text: str) -> str:
    """Return a name as one printable line, with other characters escaped."""
    return "".join(
        c if c.isprintable() or unicodedata.category(c) == "Zs" else c.encode("unicode_escape").decode()
        for c in text
    )
