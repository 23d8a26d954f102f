"""Meaning of the numbers of training tiles, to which scenes are brought."""

from dataclasses import dataclass

import numpy as np

from orbitune.data.band_statistics import BandStatistics as TileStatistics
from orbitune.mapping.scene.encoding_statistics import (
    FRACTIONS,
    QUANTIFICATION,
    BandStatistics,
    find_offset,
    find_unit,
    telling_bands,
)
from orbitune.models.preprocessing import Preprocessing
from orbitune.sources.band_names import RGB, canonical_name

_KINDS = {"digital numbers": QUANTIFICATION, "16-bit fractions": FRACTIONS}


@dataclass(frozen=True)
class TileNumbers:
    """The reflectance that the numbers of 16-bit tiles stand for, linear in between.

    Attributes:
        black: reflectance of the number 0.
        white: reflectance of the number `top`.
        top: 10,000 or 65,535.
        kind: as in `Encoding`.
    """

    black: float
    white: float
    top: int
    kind: str

    @classmethod
    def recognise(cls, statistics: TileStatistics | None, used: Preprocessing) -> "TileNumbers | None":
        """Recognise the numbers of training tiles by magnitude and darkest pixels.

        Training tiles are thousands of places, some of which are dark.

        Args:
            statistics: of the training tiles.
            used: the bands that the model reads.

        Returns:
            None if the statistics do not tell.
        """
        if statistics is None:
            return None
        names = [canonical_name(band) for band in used.bands]
        telling = telling_bands(names)
        names = [names[band] for band in telling]
        low, median, high = (
            np.array(each)[telling] for each in (statistics.low, statistics.median, statistics.high)
        )
        measured = BandStatistics(dark=low, low=low, median=median, bright=high, highest=high)
        unit = find_unit(measured, used.dtype, pixels=np.empty((len(telling), 0)), names=names)
        if unit.kind not in _KINDS:
            return None
        black = find_offset(measured.linear(unit.value, 0), names).value
        top = _KINDS[unit.kind]
        return cls(black=black, white=black + unit.value * top, top=top, kind=unit.kind)


def are_colours(used: Preprocessing) -> bool:
    """Return whether a model reads red, green and blue, in any order."""
    return sorted(str(canonical_name(band)) for band in used.bands) == sorted(RGB)
