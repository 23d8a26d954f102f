"""Suggestions for mistyped names."""

import difflib
from collections.abc import Iterable, Mapping

from orbitune.errors import printable

_CONTAINED = 2  # characters; a shorter name is part of many others


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
    return f"did you mean {' or '.join(map(printable, near))}?" if near else None


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
