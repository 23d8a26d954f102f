"""Suggestions for mistyped names and paths."""

import difflib
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress

from orbitune.errors import printable

_CONTAINED = 2  # characters; a shorter name is part of many others
_MOST = 3  # names that a question lists


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Return the known name that a name is nearest to, or those that contain it; none where all are far."""
    names = {each.casefold(): each for each in reversed([*known])}
    typed = name.strip().casefold()
    close = difflib.get_close_matches(typed, names, n=1)
    if not close and len(typed) >= _CONTAINED:
        close = [each for each in reversed(names) if typed in each]
    return [names[each] for each in close]


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """Return the question for the nearest known names, such as "did you mean lora?"; None without one."""
    near = nearest(name, known)
    return f"did you mean {' or '.join(map(printable, near[:_MOST]))}?" if near else None


def unknown(what: str, name: object, *, known: Iterable[str] | Mapping[str, object]) -> str:
    """Return the message for a name that is not among those known.

    Args:
        what: is named, such as method or --mode.
        name: as it was given.
        known: names that there are, in the order of the message.
    """
    names = [*known]
    question = did_you_mean(name, names) if isinstance(name, str) else None
    asked = f" {question[0].upper()}{question[1:]}" if question else ""
    return f"Unknown {what} {name!r}.{asked} Choose from: {', '.join(names)}."


def did_you_mean_path(path: str | os.PathLike[str]) -> str | None:
    """Return the question for the paths that are nearest to one that does not exist; None without any.

    Compared is the first part of the path that does not exist, with what lies beside it.
    """
    parent, last = os.path.split(os.fspath(path).rstrip("/"))
    while parent and not os.path.isdir(os.path.expanduser(parent)):  # noqa: PTH111, PTH112
        parent, last = os.path.split(parent)
    beside: list[str] = []
    with suppress(OSError, ValueError):
        beside = sorted(os.listdir(os.path.expanduser(parent or ".")))  # noqa: PTH111, PTH208
    stems = {_stem(name): name for name in beside if last.startswith(".") or not name.startswith(".")}
    paths = [printable(os.path.join(parent, stems[near])) for near in nearest(_stem(last), stems)]  # noqa: PTH118
    return f"did you mean {' or '.join(paths[:_MOST])}?" if paths else None


def _stem(name: str) -> str:
    """Return a name without its ending, by which files of a kind would resemble each other."""
    return os.path.splitext(name)[0]  # noqa: PTH122


def missing(what: str, path: str | os.PathLike[str], *, advice: str = "") -> str:
    """Return the message for a path that does not exist.

    Args:
        what: lies there, such as folder.
        path: as it was given.
        advice: end of the message where nothing near is there.
    """
    named = f"There is no {what} {printable(os.fspath(path))}"
    if question := did_you_mean_path(path):
        return f"{named}; {question}"
    return f"{named}: {advice}." if advice else f"{named}."
