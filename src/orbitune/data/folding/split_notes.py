"""Where a split comes from, by the notes of results that do not state it."""

import re
from collections.abc import Sequence

OWN_LISTS = "that the data come with"

# What the notes of earlier versions say of the split that the data give.
_ORIGINS = {
    re.compile(r"own split: "): OWN_LISTS,
    re.compile(r"the data has no splits: .+ seed (\d+)"): r"drawn at random with seed \1",
    re.compile(r"the data has no (\w+) (?:and no (\w+) )?split: .+ seed (\d+)"): (
        rf"{OWN_LISTS}, some tiles drawn with seed \3"
    ),
}


def find_origin(notes: Sequence[str]) -> str | None:
    """Return where a split comes from, as `describe_origin` says it; None where no note tells."""
    found = ((pattern.match(note), origin) for note in notes for pattern, origin in _ORIGINS.items())
    return next((match.expand(origin) for match, origin in found if match), None)
