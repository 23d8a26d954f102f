"""Suggestions for mistyped names and paths."""

import difflib
import os
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress

from orbitune.errors import as_written, printable

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


def did_you_mean(name: object, known: Iterable[str]) -> str | None:
    """Return the question for the nearest known names, such as "did you mean lora?"; None without one."""
    return ask(nearest(name, known)) if isinstance(name, str) else None


def asked_after(name: object, known: Iterable[str]) -> str:
    """Return that question as a sentence that follows another; empty without one."""
    question = did_you_mean(name, known)
    return f" {question[0].upper()}{question[1:]}" if question else ""


def ask(names: Sequence[str]) -> str | None:
    """Return the question for the first few of these names; None without any."""
    return f"did you mean {' or '.join(map(printable, names[:_MOST]))}?" if names else None


def unknown(what: str, name: object, *, known: Collection[str]) -> str:
    """Return the message for a name that is not among those known.

    Args:
        what: is named, such as method or --mode.
        name: as it was given.
        known: names that there are, in the order of the message.
    """
    return f"Unknown {what} {as_written(name)}.{asked_after(name, known)} Choose from: {', '.join(known)}."


def did_you_mean_path(path: str | os.PathLike[str], *, folders: bool = False) -> str | None:
    """Return the question for the files that are nearest to one that does not exist; None without any.

    Args:
        path: as it was given. Compared is the first part of it that does not exist, with what lies beside it.
        folders: whether folders may be meant too.
    """
    return ask(nearest_paths(os.fspath(path), files=True, folders=folders))


def cannot_read(content: str, path: str | os.PathLike[str], *, error: OSError) -> str:
    """Return the message for a file that cannot be read, with the nearest ones where it does not exist."""
    near = did_you_mean_path(path)
    return f"Cannot read the {content} {path}: {error.strerror}{f'; {near}' if near else '.'}"


def nearest_paths(path: str, *, files: bool, folders: bool) -> list[str]:
    """Return the paths nearest to one that does not exist; none for one that does.

    Those with the same ending are preferred. Folders and zips, of which one may replace the other, are taken
    with any.
    """
    if os.path.lexists(os.path.expanduser(path)):  # noqa: PTH111
        return []
    parent, last = os.path.split(path.rstrip("/"))
    while parent and not os.path.isdir(os.path.expanduser(parent)):  # noqa: PTH111, PTH112
        parent, last = os.path.split(parent)
        files, folders = False, True  # what contains the rest
    beside: dict[str, bool] = {}
    with suppress(OSError, ValueError), os.scandir(os.path.expanduser(parent or ".")) as entries:  # noqa: PTH111
        beside = {entry.name: entry.is_dir() for entry in entries}
    kept = [
        name
        for name, is_folder in sorted(beside.items())
        if name != last
        and (folders if is_folder else files)
        and (last.startswith(".") or not name.startswith("."))
    ]
    stem, ending = _split(last)
    alike = [name for name in kept if _split(name)[1] == ending]
    packed = [name for name in kept if folders and (beside[name] or _split(name)[1] == ".zip")]
    for names in (alike, packed):
        stems = {_split(name)[0]: name for name in names}
        if near := nearest(stem, stems):
            return [os.path.join(parent, stems[each]) for each in near]  # noqa: PTH118
    return []


def _split(name: str) -> tuple[str, str]:
    """Split the ending off a name, by which files of a kind would resemble each other."""
    stem, ending = os.path.splitext(name)  # noqa: PTH122
    return stem, ending.casefold()


def taken(path: str | os.PathLike[str]) -> str:
    """Return the message for an output folder or file that exists already."""
    return f"{path} exists; choose another --out, or remove it."


def missing(what: str, path: str | os.PathLike[str], *, advice: str = "", names: Sequence[str] = ()) -> str:
    """Return the message for a path that does not exist, or is a file in place of a folder.

    Args:
        what: should lie there: a file, a folder, or "folder or zip" for either.
        path: as it was given.
        advice: end of the message where nothing near is there.
        names: words that may be given in place of a path.
    """
    text = os.fspath(path)
    kinds = what.split(" or ")
    files, folders = (any(kind.endswith("folder") is each for kind in kinds) for each in (False, True))
    if not files and os.path.isfile(os.path.expanduser(text.rstrip("/"))):  # noqa: PTH111, PTH113
        return f"{printable(text)} is a file, not a folder{f': {advice}' if advice else ''}."
    named = f"There is no {what} {printable(text)}"
    near = nearest(text, names) if names else []
    if question := ask([*near, *nearest_paths(text, files=files, folders=folders)]):
        return f"{named}; {question}"
    return f"{named}: {advice}." if advice else f"{named}."
