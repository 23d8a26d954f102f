"""Records of the tiles that a model was trained on, and the name of their split."""

from typing import Annotated

from pydantic import Field, NonNegativeInt, Strict

from orbitune.data.band_statistics import BandStatistics
from orbitune.data.folding.split_notes import find_origin
from orbitune.models.preprocessing import Bands, Side
from orbitune.records import JsonTuple, Record

DEFAULT = "default"  # of a recipe: whatever the data give, so its name is where it comes from
RENAMED_DATA = {"white": "scale_max"}  # older names of the fields of `TrainingData`


def name_split(split: str | None, origin: str | None, *, fold: str | None = None) -> str:
    """Return what a split is called wherever scores on its tiles are shown.

    Args:
        split: as the recipe or the study names it.
        origin: where it comes from; None in results of earlier versions.
        fold: of a cross-validation.

    Returns:
        Such as "random split drawn with seed 42, fold 2/5", or "split that the data come with".
    """
    kind = "" if split == DEFAULT else split
    named = " ".join(filter(None, (kind, "split", origin)))
    return f"{named}, fold {fold}" if fold else named


class Brightness(Record):
    """Pixels of the training tiles.

    Attributes:
        mean, deviation: mean and standard deviation of each band, 0..255.
    """

    mean: Bands
    deviation: Bands


class TrainingData(Record):
    """The tiles that a model was trained on; what is not known is None.

    Attributes:
        name: what the user called the data set.
        source: where the tiles were read from, for people.
        fingerprint: hash of all tiles and labels.
        split, split_files: how the tiles were split, as in the recipe.
        split_origin: where the split comes from, such as "drawn with seed 42"; continues its name.
        fold: of a cross-validation, such as 2/5.
        splits_sha256: over the indices of all splits.
        tile_size: height and width in pixels.
        scale_max: 16-bit value that is scaled to 255; None for tiles of 8 bits.
        synthetic: whether a program drew the tiles.
        sizes: number of tiles by split.
        notes: what was done to the data that its user should know.
        statistics: of each band of the training tiles; of at most 2,048 of them for 8-bit red, green, blue.
        window: side in pixels of the smallest ground that the model was trained to label; None for the tile.
    """

    name: str | None = None
    source: str | None = None
    fingerprint: str | None = None
    split: str | None = None
    split_files: str | None = None
    split_origin: str | None = None
    fold: str | None = None
    splits_sha256: str | None = None
    tile_size: Annotated[tuple[Side, Side], Strict(False)] | None = None
    scale_max: Annotated[int, Field(ge=1, le=65535)] | None = None
    synthetic: bool | None = None
    sizes: dict[str, NonNegativeInt] = Field(default_factory=dict)
    notes: JsonTuple[str] = ()
    brightness: Brightness | None = None
    statistics: BandStatistics | None = None
    window: Side | None = None

    @property
    def origin(self) -> str | None:
        """Return where the split comes from; None where an earlier version did not note it."""
        if self.split_origin is None and self.split_files:
            return "of file lists"
        return self.split_origin or find_origin(self.notes)

    @property
    def split_name(self) -> str:
        """Return what the split is called, see `name_split`."""
        return name_split(self.split, self.origin, fold=self.fold)
