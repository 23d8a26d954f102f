"""From what a scene's file holds to the 0..255 of the training tiles.

Every band is scaled alike to a straight line between two values, which are stated in the map's tags. Tiles of
EuroSAT RGB were made from Sentinel-2 L1C by 0..2750 of its digital numbers (10,000 for a reflectance of 1);
that is the default for 16 bits, and its reflectance for floats. Products since January 2022 (baseline 04.00)
and some L2A add 1,000 to the numbers: for these `1000:3750` is the same.

A scale and an offset in a raster's tags say what its numbers mean, and shift the default: with a scale of
0.0001 and an offset of -0.1 it is 1000:3750. What the user asks for is in the numbers of the file.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orbitune.errors import DataError
from orbitune.mapping.bands import Tagged

_NUMBERS = (0.0, 2750.0)
_REFLECTANCE = (0.0, 0.275)
_QUANTIFICATION = 10_000  # digital numbers of Sentinel-2 for a reflectance of 1
_MOST_OF_REFLECTANCE = 0.01  # scales in tags up to this make reflectance of numbers, larger ones others
SAMPLE_SIDE = 1024  # pixels of the overview that percentiles and statistics are taken from, at most


@dataclass(frozen=True)
class Scaling:
    """A straight line for each band.

    Attributes:
        low, high: what becomes 0 and 255, of each band.
        source: where they come from, in words.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    source: str

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """(bands, H, W) of any dtype to uint8 (H, W, bands); what is no number becomes 0."""
        if pixels.dtype == np.uint8 and self.is_identity:
            return np.ascontiguousarray(pixels.transpose(1, 2, 0))
        scaled = np.empty((*pixels.shape[1:], len(pixels)), np.uint8)
        for band, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            # Clipped first: what stands for no data may be the largest number there is.
            values = np.nan_to_num(pixels[band].astype(np.float32), nan=low).clip(low, high)
            scaled[..., band] = ((values - low) * (255 / (high - low))).round()
        return scaled

    @property
    def is_identity(self) -> bool:
        """Whether nothing changes."""
        return set(self.low) == {0.0} and set(self.high) == {255.0}


def choose_scaling(
    asked: str | None,
    dtype: str,
    bands: int,
    sample: np.ma.MaskedArray,
    white: int | None,
    tags: Sequence[Tagged] = (),
) -> Scaling:
    """The scaling that was asked for, or the default of the dtype.

    Args:
        asked: `LOW:HIGH` in the file's units, or `2%:98%`, percentiles of each band; None for the default.
        sample: some of the scene's pixels (bands, H, W), masked where there is nothing.
        white: what became 255 in the training tiles, where they had 16 bits.
        tags: what the file says of the numbers of each band; nothing if there are none.

    Raises:
        DataError: it is no scaling, or there is no pixel to take percentiles from.
    """
    if asked:
        return _parse(asked, bands, sample)
    lows, highs, sources = [], [], []
    for tag in tags or [Tagged()] * bands:
        (low, high), source = _default(dtype, white, tag.scale)
        lows.append(_number(low, tag))
        highs.append(_number(high, tag))
        sources.append(f"{source}, by {tag.source}" if tag.source else source)
    return Scaling(tuple(lows), tuple(highs), "; ".join(dict.fromkeys(sources)))


def _default(dtype: str, white: int | None, scale: float) -> tuple[tuple[float, float], str]:
    """Return the values that become 0 and 255, for numbers of this dtype and scale."""
    if scale != 1 and abs(scale) <= _MOST_OF_REFLECTANCE:
        return (0.0, white / _QUANTIFICATION) if white else _REFLECTANCE, "default for reflectance"
    if dtype == "uint8":
        return (0.0, 255.0), "as it is, 8 bits"
    if np.dtype(dtype).kind == "f":
        return _REFLECTANCE, "default for reflectance as floats"
    if white:
        return (0.0, float(white)), "that of the training tiles"
    return _NUMBERS, "default for Sentinel-2 L1C digital numbers"


def _number(value: float, tag: Tagged) -> float:
    """Return a value as a number of the file; rounded, as tags have few digits."""
    return float(f"{(value - tag.offset) / tag.scale:.9g}")


def _parse(asked: str, bands: int, sample: np.ma.MaskedArray) -> Scaling:
    number = r"(-?\d+(?:\.\d+)?)"
    found = re.fullmatch(rf"{number}(%?):{number}\2", asked)
    if not found or float(found[1]) >= float(found[3]):
        raise DataError(
            f"--scale is LOW:HIGH in the units of the file, such as 0:2750, or 2%:98%, not {asked!r}."
        )
    low, high = float(found[1]), float(found[3])
    if not found[2]:
        return Scaling((low,) * bands, (high,) * bands, "given")
    lows, highs = [], []
    for band in sample:
        values = band.compressed()
        if not (values.size and 0 <= low < high <= 100):
            raise DataError("Percentiles lie between 0 and 100, and need pixels that are not nodata.")
        ends = np.percentile(values, (low, high))
        lows.append(float(ends[0]))
        highs.append(float(max(ends[1], ends[0] + 1e-6)))
    return Scaling(tuple(lows), tuple(highs), f"percentiles {asked} of each band")
