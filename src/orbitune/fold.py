"""A fold of a cross-validation, as a recipe names it: 2/5 is the second of five."""

import re
from dataclasses import dataclass

LEAST = 3  # folds: one to test, one to validate, the others to train


@dataclass(frozen=True)
class Fold:
    """One fold of a cross-validation.

    Attributes:
        number: which fold is tested, from 1.
        count: number of folds, 3 or more.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Fold":
        """Return the fold in text such as "2/5".

        Raises:
            ValueError: the text is no fold.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        if not found:
            raise ValueError(f"must be a fold and their number, such as 2/5, not {text!r}")
        fold = cls(int(found[1]), int(found[2]))
        if fold.count < LEAST:
            raise ValueError(f"must be of {LEAST} folds or more, such as 2/5, not {text!r}")
        if not 1 <= fold.number <= fold.count:
            raise ValueError(
                f"must be one of the folds 1/{fold.count} to {fold.count}/{fold.count}, not {text!r}"
            )
        return fold

    @classmethod
    def all_of(cls, count: int) -> "list[Fold]":
        """Return all folds of a cross-validation, in order."""
        return [cls(number, count) for number in range(1, count + 1)]

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"
