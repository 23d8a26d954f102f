"""Radiometry: reflectance scaling of a scene to the 0..255 of the training tiles.

Each band is scaled linearly between two values, which the map's tags state. Tiles of EuroSAT RGB were made
from digital numbers 0..2750 of Sentinel-2 L1C (10,000 is a reflectance of 1). That is the default for 16-bit
scenes, and the equivalent reflectance 0..0.275 for floats. Products since January 2022 (baseline 04.00) and
some L2A products add 1,000 to the digital numbers: the equivalent range is 1000:3750.

Scale and offset tags of a raster shift the default accordingly: a scale of 0.0001 with an offset of -0.1
gives 1000:3750. A range given by the user is always in the values of the file.
"""

import re
from collections.abc import Sequence

import numpy as np

from orbitune.errors import DataError
from orbitune.mapping.scene.bands import BandTags
from orbitune.records import JsonTuple, Record

_DIGITAL_NUMBERS = (0.0, 2750.0)
_REFLECTANCE = (0.0, 0.275)
_QUANTIFICATION = 10_000  # Sentinel-2's digital number for a reflectance of 1
_MAX_REFLECTANCE_SCALE = 0.01  # tagged scales up to this yield reflectance, larger ones other units
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


def choose_scaling(
    asked: str | None,
    dtype: str,
    *,
    sample: np.ma.MaskedArray,
    scale_max: int | None,
    tags: Sequence[BandTags] = (),
) -> ReflectanceScaling:
    """Return the scaling that was asked for, or the default for the dtype and tags.

    Args:
        asked: `LOW:HIGH` in the units of the file, or percentiles of each band such as `2%:98%`; None for
            the default.
        dtype: of the bands, as numpy names it.
        sample: an overview of the scene (bands, H, W), masked where it has no data.
        scale_max: 16-bit value that was scaled to 255 in the training tiles; None if they had 8 bits.
        tags: scale and offset of each band; empty to ignore them.

    Raises:
        DataError: `asked` cannot be parsed, or there is no pixel to take percentiles from.
    """
    if asked:
        return _parse(asked, sample)
    lows, highs, sources = [], [], []
    for tag in tags or [BandTags()] * len(sample):
        (low, high), source = _default_range(dtype, scale_max, tag.scale)
        lows.append(_to_file_units(low, tag))
        highs.append(_to_file_units(high, tag))
        sources.append(f"{source}, by {tag.source}" if tag.source else source)
    return ReflectanceScaling(low=tuple(lows), high=tuple(highs), source="; ".join(dict.fromkeys(sources)))


def _default_range(dtype: str, scale_max: int | None, scale: float) -> tuple[tuple[float, float], str]:
    """Return the default range of physical values and its source."""
    if scale != 1 and abs(scale) <= _MAX_REFLECTANCE_SCALE:
        return (0.0, scale_max / _QUANTIFICATION) if scale_max else _REFLECTANCE, "default for reflectance"
    if dtype == "uint8":
        return (0.0, 255.0), "as it is, 8 bits"
    if np.dtype(dtype).kind == "f":
        return _REFLECTANCE, "default for reflectance as floats"
    if scale_max:
        return (0.0, float(scale_max)), "that of the training tiles"
    return _DIGITAL_NUMBERS, "default for Sentinel-2 L1C digital numbers"


def _to_file_units(value: float, tag: BandTags) -> float:
    """Convert a physical value to the file's units, rounded to few digits."""
    return float(f"{(value - tag.offset) / tag.scale:.9g}")


def _parse(asked: str, sample: np.ma.MaskedArray) -> ReflectanceScaling:
    """Return the scaling that a user's `LOW:HIGH` or `LOW%:HIGH%` asks for."""
    number = r"(-?\d+(?:\.\d+)?)"
    found = re.fullmatch(rf"{number}(%?):{number}\2", asked)
    if not found or float(found[1]) >= float(found[3]):
        raise DataError(
            f"--scale takes LOW:HIGH in the units of the file, such as 0:2750, or 2%:98%, not {asked!r}."
        )
    low, high = float(found[1]), float(found[3])
    if not found[2]:
        return ReflectanceScaling(low=(low,) * len(sample), high=(high,) * len(sample), source="given")
    lows, highs = [], []
    for band in sample:
        values = band.compressed()
        if not (values.size and 0 <= low < high <= 100):
            raise DataError("Percentiles must be between 0 and 100, and need pixels that are not nodata.")
        ends = np.percentile(values, (low, high))
        lows.append(float(ends[0]))
        highs.append(float(max(ends[1], ends[0] + 1e-6)))
    return ReflectanceScaling(low=tuple(lows), high=tuple(highs), source=f"percentiles {asked} of each band")
