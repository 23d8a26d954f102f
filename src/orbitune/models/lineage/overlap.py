"""Tiles that a model is scored on, and that it or a model that it comes from has seen before.

They are no test of it: it was trained on them, or they chose its epoch and fitted its temperature, thresholds
and *not sure*. All scores say so in the words of this module, with the score of the other tiles beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import NonNegativeInt

from orbitune.errors import counted
from orbitune.records import Record

MODEL = "the model, or of one that it comes from"
ENOUGH = 10  # other tiles that give a score; with fewer, one tile is more than ten points


@dataclass(frozen=True)
class Overlap:
    """Which of n tiles were seen.

    Attributes:
        trained: tiles that were trained on, bool (n,).
        validated: other tiles that chose an epoch or fitted thresholds, bool (n,); None where not recorded.
    """

    trained: np.ndarray
    validated: np.ndarray | None

    @property
    def any(self) -> np.ndarray:
        """Return which tiles were seen in either way, bool (n,)."""
        return self.trained if self.validated is None else self.trained | self.validated


class OtherTiles(Record):
    """The main score on the tiles that were not seen.

    Attributes:
        count: number of these tiles.
        score: name of the score: accuracy, or mAP with several labels a tile.
        value: 0..1; None where there are fewer than `ENOUGH` tiles.
    """

    count: NonNegativeInt
    score: str
    value: float | None

    def describe(self) -> str:
        """Return the score in words, to be continued after a semicolon."""
        if self.value is None:
            return describe_too_few(self.count)
        return f"without them {self.score} is {self.text} ({counted(self.count, 'tile')})"

    @property
    def text(self) -> str:
        """Return the value as it is printed."""
        assert self.value is not None
        return f"{self.value:.2%}" if self.score == "accuracy" else f"{self.value:.4f}"


def describe_too_few(count: int) -> str:
    """Return why the tiles that were not seen have no score, to be continued after a semicolon."""
    if not count:
        return "there are no other tiles"
    return f"the {counted(count, 'other tile is', several='other tiles are')} too few to score"


class SeenCounts(Record):
    """Number of the scored tiles that the model, or one that it comes from, has seen.

    Attributes:
        trained: tiles that were training tiles.
        validated: other tiles that were validation tiles; None where an earlier version did not record them.
        others: the score of all other tiles; None where all scores wait for the end of a training.
    """

    trained: NonNegativeInt
    validated: NonNegativeInt | None = None
    others: OtherTiles | None = None

    @classmethod
    def of(cls, overlap: Overlap, others: OtherTiles | None = None) -> "SeenCounts":
        """Return the counts of an overlap."""
        validated = None if overlap.validated is None else int(overlap.validated.sum())
        return cls(trained=int(overlap.trained.sum()), validated=validated, others=others)

    @property
    def count(self) -> int:
        """Return the number of tiles that were seen in either way."""
        return self.trained + (self.validated or 0)

    def describe(self, tiles: str, whose: str) -> str:
        """Return the counts and what follows from them, in one line.

        Args:
            tiles: what was scored, with its number, such as "24 test tiles".
            whose: the models that have seen them, such as "the model".
        """
        line = describe_seen({tiles: self}, whose)
        return f"{line}; {self.others.describe()}" if self.others else line


def describe_seen(counts: Mapping[str, SeenCounts], whose: str) -> str:
    """Return how many tiles of some sets were seen, and what follows, in one line.

    Args:
        counts: by what the set is called, with its number of tiles.
        whose: the models that have seen them.
    """
    may_be = "are" if any(each.trained for each in counts.values()) else "may be"
    return f"{list_seen(counts, whose)}: the scores {may_be} too high"


def describe_unknown(tiles: str, whose: str) -> str:
    """Return that it is not known whether a set holds training tiles of some models, in one line."""
    return f"whether {tiles} were training tiles of {whose} is not known"


def describe_unrecorded(tiles: str, whose: str) -> str:
    """Return that it is not known whether tiles were validation tiles of some models, in one line."""
    return (
        f"an earlier version did not record the validation tiles of {whose}: whether {tiles} are among them "
        "is not known"
    )


def describe_trained(tiles: str, count: int | None, *, whose: str) -> str:
    """Return how many tiles of a set were training tiles of some models, in one line; empty where none.

    Args:
        tiles: what the set is called, with its number of tiles.
        count: of them; None where it is not known.
        whose: the models.
    """
    if count is None:
        return describe_unknown(tiles, whose)
    return list_seen({tiles: SeenCounts(trained=count)}, whose) if count else ""


def list_seen(counts: Mapping[str, SeenCounts], whose: str) -> str:
    """Return how many tiles of some sets were seen, see `describe_seen`; sets without any are left out."""
    ways = (
        ("training", "", {tiles: each.trained for tiles, each in counts.items()}),
        (
            "validation",
            ", which choose epochs and fit thresholds",
            {tiles: each.validated or 0 for tiles, each in counts.items()},
        ),
    )
    parts = []
    for way, why, found in ways:
        if seen := [f"{count:,} of {tiles}" for tiles, count in found.items() if count]:
            were = f"was a {way} tile" if sum(found.values()) == 1 else f"were {way} tiles"
            parts.append(f"{' and '.join(seen)} {were} of {whose}{why}")
    return ", and ".join(parts)


def count_by_split(seen: Mapping[str, Overlap] | None) -> dict[str, Any]:
    """Return the numbers of held-out tiles that were seen, as the fields of `RunData` state them."""
    if seen is None:
        return {"seen": None, "validated": None}
    counts = {split: SeenCounts.of(each) for split, each in seen.items()}
    known = all(each.validated is not None for each in counts.values())
    return {
        "seen": {split: each.trained for split, each in counts.items() if each.trained},
        "validated": {s: each.validated for s, each in counts.items() if each.validated} if known else None,
    }
