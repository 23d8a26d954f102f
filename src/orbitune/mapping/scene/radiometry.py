"""Radiometry: reflectance scaling of a scene to the 0..255 of the training tiles.

Each band is scaled linearly between two values, which the map's tags state. Tiles of EuroSAT RGB were made
from reflectance 0..0.275 of Sentinel-2 L1C (digital numbers 0..2750). The default maps the same reflectance
to 0..255, whatever the encoding of the scene: for digital numbers with the offset of baseline 04.00 this is
1000:3750. `air_match` then adds the air that the scene lacks, unless the user asks for none. A range given by
the user is always in the values of the file.
"""

import re
from dataclasses import dataclass

import numpy as np

from orbitune.errors import DataError
from orbitune.mapping.scene.encoding import Encoding
from orbitune.mapping.scene.encoding_statistics import EUROSAT_WHITE, QUANTIFICATION
from orbitune.records import JsonTuple, Record

MATCH, NONE = "match", "none"  # of `--scale`: by the encoding, with or without the air of the training tiles
SAMPLE_SIDE = 1024  # longest side in pixels of the overview for percentiles and statistics


class ReflectanceScaling(Record):
    """A linear scaling of each band to 0..255.

    Attributes:
        low, high: the values of each band that become 0 and 255, in the units of the file.
        source: where they come from, for messages.
    """

    low: JsonTuple[float]
    high: JsonTuple[float]
    source: str

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Scale pixels (bands, H, W) to uint8 (H, W, bands); NaN becomes 0."""
        if pixels.dtype == np.uint8 and self.is_identity:
            return np.ascontiguousarray(pixels.transpose(1, 2, 0))
        scaled = np.empty((*pixels.shape[1:], len(pixels)), np.uint8)
        for band, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            # Clip first: the nodata value may be the largest number of the dtype, and would overflow.
            values = np.nan_to_num(pixels[band].astype(np.float32), nan=low).clip(low, high)
            scaled[..., band] = ((values - low) * (255 / (high - low))).round()
        return scaled

    @property
    def is_identity(self) -> bool:
        """Return whether 8-bit values stay as they are."""
        return set(self.low) == {0.0} and set(self.high) == {255.0}


def white_reflectance(encoding: Encoding, scale_max: int | None) -> float:
    """Return the reflectance that becomes 255 by default.

    Args:
        encoding: of the scene.
        scale_max: see `choose_scaling`.
    """
    if scale_max and encoding.kind == "digital numbers":
        return scale_max / QUANTIFICATION
    return EUROSAT_WHITE


def choose_scaling(encoding: Encoding, *, scale_max: int | None) -> ReflectanceScaling:
    """Return the scaling of a scene by its encoding.

    Args:
        encoding: of the scene.
        scale_max: the 16-bit value that became 255 in the training tiles; None if they had 8 bits.
    """
    white = white_reflectance(encoding, scale_max)
    source = f"reflectance 0 to {white:g}"
    if encoding.certainty == "stated" or encoding.offset_stated:
        source += f", by {encoding.evidence[0]}"
    offsets = encoding.offset
    if encoding.kind == "8 bits":
        source = "as it is, 8 bits"
    elif scale_max and encoding.kind == "digital numbers":
        source = "that of the training tiles"
        # Nothing tells an offset of the training tiles: a scene of the same product has the same.
        offsets = encoding.offset if encoding.offset_stated else (0.0,) * len(encoding.offset)
    low, high_ends = (
        tuple(
            float(f"{(value - offset) / scale:.9g}")
            for scale, offset in zip(encoding.scale, offsets, strict=True)
        )
        for value in (0.0, white)
    )
    return ReflectanceScaling(low=low, high=high_ends, source=source)


@dataclass(frozen=True)
class ScaleRange:
    """The values that become 0 and 255, as a user gives them.

    Attributes:
        low, high: in the units of the file, or percentiles of each band.
        is_percentile: which of the two.
    """

    low: float
    high: float
    is_percentile: bool

    @classmethod
    def parse(cls, asked: str) -> "ScaleRange":
        """Return the range in a text.

        Args:
            asked: `LOW:HIGH` in the units of the file, or percentiles such as `2%:98%`.

        Raises:
            DataError: it is neither.
        """
        number = r"(-?\d+(?:\.\d+)?)"
        found = re.fullmatch(rf"{number}(%?):{number}\2", asked)
        if not found or float(found[1]) >= float(found[3]):
            raise DataError(
                f"--scale takes LOW:HIGH in the units of the file, such as 0:2750, or 2%:98%, not {asked!r}; "
                f"or one of {MATCH} and {NONE}."
            )
        low, high = float(found[1]), float(found[3])
        if found[2] and not 0 <= low < high <= 100:
            raise DataError(f"The percentiles of --scale must be between 0 and 100, not {asked}.")
        return cls(low, high, bool(found[2]))


def parse_scale(asked: str, sample: np.ma.MaskedArray) -> ReflectanceScaling:
    """Return the scaling of a range that a user gives.

    Args:
        asked: see `ScaleRange.parse`.
        sample: an overview of the scene (bands, H, W), masked where it has no data.

    Raises:
        DataError: it cannot be parsed, or there is no pixel to take percentiles from.
    """
    given = ScaleRange.parse(asked)
    low, high = given.low, given.high
    if not given.is_percentile:
        return ReflectanceScaling(low=(low,) * len(sample), high=(high,) * len(sample), source="given")
    lows, highs = [], []
    for band in sample:
        values = band.compressed()
        if not values.size:
            raise DataError("The percentiles of --scale need pixels that are not nodata.")
        ends = np.percentile(values, (low, high))
        lows.append(float(ends[0]))
        highs.append(float(max(ends[1], ends[0] + 1e-6)))
    return ReflectanceScaling(low=tuple(lows), high=tuple(highs), source=f"percentiles {asked} of each band")
