"""Record of a head that was taught in the browser."""

from pydantic import NonNegativeInt, PositiveInt

from orbitune.models.lineage.scores import Sha256
from orbitune.records import Record


class HeldOutPictures(Record):
    """Taught pictures, each labelled by a head that was fitted without it.

    Attributes:
        pictures: number of them.
        right_before, right_after: number that the model before, and the fitted heads labelled rightly.
    """

    pictures: NonNegativeInt
    right_before: NonNegativeInt
    right_after: NonNegativeInt


class TaughtHead(Record):
    """A head that was fitted on the page of `export --to web` to pictures whose class its user stated.

    Attributes:
        parent: name of the model that was taught.
        parent_sha256: of its orbitune.json.
        pictures: number of taught pictures of each class.
        held_out: scores of the taught pictures.
    """

    parent: str
    parent_sha256: Sha256
    pictures: dict[str, PositiveInt]
    held_out: HeldOutPictures

    def describe(self) -> str:
        """Return what was taught, and what it changed."""
        listed = ", ".join(f"{name} {count:,}" for name, count in self.pictures.items())
        held = self.held_out
        return (
            f"The head of `{self.parent}` (SHA-256 of its orbitune.json `{self.parent_sha256}`) was fitted "
            f"in the browser to pictures whose class its user stated: {listed}. All other weights are those "
            "of the parent, and the scores of the parent do not hold for this head. Of "
            f"{held.pictures:,} pictures, each held out in cross-validation, {held.right_after:,} were "
            f"labelled rightly, and {held.right_before:,} before."
        )
