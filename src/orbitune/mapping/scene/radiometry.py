"""Radiometry: reflectance scaling of scenes to the numbers of training tiles.

Each band is scaled linearly between two values, which the map's tags state. Tiles of EuroSAT RGB were made
from reflectance 0..0.275 of Sentinel-2 L1C (digital numbers 0..2750). The default maps the same reflectance
to 0..255, whatever the encoding of the scene: for digital numbers with the offset of baseline 04.00 this is
1000:3750. 16-bit tiles hold the numbers of their files, most often digital numbers, and scenes are scaled to
such numbers. `atmosphere_match` then adds the atmosphere that the scene lacks, unless the user asks for none.
A range given by the user is always in the values of the file.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import SerializerFunctionWrapHandler, model_serializer

from orbitune.data.transform import LARGEST
from orbitune.errors import DataError
from orbitune.mapping.scene.encoding import Encoding
from orbitune.mapping.scene.encoding_statistics import EUROSAT_WHITE, QUANTIFICATION
from orbitune.mapping.scene.tile_numbers import TileNumbers
from orbitune.records import JsonTuple, Record

MATCH, NONE = "match", "none"  # of `--scale`: by the encoding, with or without the tiles' atmosphere
SAMPLE_SIDE = 1024  # longest side in pixels of the overview for percentiles and statistics
TOP = {"uint8": LARGEST["uint8"], "uint16": QUANTIFICATION}  # what the end of a given range becomes


class ReflectanceScaling(Record):
    """A linear scaling of each band to the numbers of the training tiles.

    Attributes:
        low, high: the values of each band that become 0 and `top`, in the units of the file.
        source: where they come from, for messages.
        top: 255 for tiles of 8 bits, more for 16 bits, where numbers may be larger still.
    """

    low: JsonTuple[float]
    high: JsonTuple[float]
    source: str
    top: int = LARGEST["uint8"]

    @model_serializer(mode="wrap")
    def _without_default(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the top of 8 bits, as records without one mean the same."""
        values: dict[str, Any] = serialise(self)
        if self.dtype == "uint8":
            values.pop("top", None)
        return values

    @property
    def dtype(self) -> Literal["uint8", "uint16"]:
        """Return the dtype of scaled pixels."""
        return "uint8" if self.top == LARGEST["uint8"] else "uint16"

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Scale pixels (bands, H, W) to uint8 or uint16 (H, W, bands); NaN becomes 0."""
        if pixels.dtype == self.dtype and self.is_identity:
            return np.ascontiguousarray(pixels.transpose(1, 2, 0))
        scaled = np.empty((*pixels.shape[1:], len(pixels)), self.dtype)
        for band, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            # Clip first: the nodata value may be the largest number of the dtype, and would overflow.
            values = np.nan_to_num(pixels[band].astype(np.float32), nan=low).clip(low, self._end(low, high))
            numbers = (values - low) * (self.top / (high - low))
            # Tiles of floats that are 16-bit numbers are cut off where they are read, see `to_integers`.
            is_number = self.dtype == "uint16" and self.is_identity
            scaled[..., band] = numbers if is_number else numbers.round()
        return scaled

    @property
    def is_identity(self) -> bool:
        """Return whether numbers of the dtype stay as they are."""
        return set(self.low) == {0.0} and set(self.high) == {float(self.top)}

    def _end(self, low: float, high: float) -> float:
        """Return the value of a band that becomes the largest number of the dtype."""
        largest = LARGEST[self.dtype]
        return high if largest == self.top else low + (high - low) * (largest / self.top)


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
    """Return the scaling of a scene to tiles of 8 bits by its encoding.

    Args:
        encoding: of the scene.
        scale_max: the 16-bit value that became 255 in the training tiles; None if they had 8 bits.
    """
    white = white_reflectance(encoding, scale_max)
    source = f"reflectance 0 to {white:g}" + _stated_by(encoding)
    offsets = encoding.offset
    if encoding.kind == "8 bits":
        source = "as it is, 8 bits"
    elif scale_max and encoding.kind == "digital numbers":
        source = "that of the training tiles"
        # Nothing tells an offset of the training tiles: a scene of the same product has the same.
        offsets = encoding.offset if encoding.offset_stated else (0.0,) * len(encoding.offset)
    low, high = (_to_file(value, encoding.scale, offsets=offsets) for value in (0.0, white))
    return ReflectanceScaling(low=low, high=high, source=source)


def scale_to_numbers(encoding: Encoding, tiles: TileNumbers | None) -> ReflectanceScaling:
    """Return the scaling of a scene to tiles of 16 bits by its encoding.

    Args:
        encoding: of the scene.
        tiles: what the numbers of the training tiles stand for; None where it is not known.

    Returns:
        Numbers as they are where it is not known what those of the scene, or of the tiles, stand for.
    """
    if tiles is None or encoding.kind == "unknown":
        count = len(encoding.scale)
        top = TOP["uint16"]
        return ReflectanceScaling(
            low=(0.0,) * count, high=(float(top),) * count, source="as it is, 16 bits", top=top
        )
    source = f"to {tiles.kind} as in the training tiles" + _stated_by(encoding)
    low, high = (
        _to_file(value, encoding.scale, offsets=encoding.offset) for value in (tiles.black, tiles.white)
    )
    return ReflectanceScaling(low=low, high=high, source=source, top=tiles.top)


def _stated_by(encoding: Encoding) -> str:
    """Return what states an encoding, as text to append; empty if nothing does."""
    stated = encoding.certainty == "stated" or encoding.offset_stated
    return f", by {encoding.evidence[0]}" if stated else ""


def _to_file(value: float, scales: Sequence[float], *, offsets: Sequence[float]) -> tuple[float, ...]:
    """Return the number of each band for a reflectance."""
    return tuple(
        float(f"{(value - offset) / scale:.9g}") for scale, offset in zip(scales, offsets, strict=True)
    )


@dataclass(frozen=True)
class ScaleRange:
    """The values that become 0 and `TOP`, as a user gives them.

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


def parse_scale(asked: str, sample: np.ma.MaskedArray, *, top: int = TOP["uint8"]) -> ReflectanceScaling:
    """Return the scaling of a range that a user gives.

    Args:
        asked: see `ScaleRange.parse`.
        sample: an overview of the scene (bands, H, W), masked where it has no data.
        top: what `HIGH` becomes, see `TOP`.

    Raises:
        DataError: it cannot be parsed, there is no pixel to take percentiles from, or percentiles are given
            for tiles of 16 bits.
    """
    given = ScaleRange.parse(asked)
    low, high = given.low, given.high
    if not given.is_percentile:
        return ReflectanceScaling(
            low=(low,) * len(sample), high=(high,) * len(sample), source="given", top=top
        )
    if top != TOP["uint8"]:
        raise DataError(
            "A model of 16-bit tiles takes no percentiles: give the values of the file that become 0 and "
            f"{top} with --scale, such as 0:10000."
        )
    lows, highs = [], []
    for band in sample:
        values = band.compressed()
        if not values.size:
            raise DataError("The percentiles of --scale need pixels that are not nodata.")
        ends = np.percentile(values, (low, high))
        lows.append(float(ends[0]))
        highs.append(float(max(ends[1], ends[0] + 1e-6)))
    return ReflectanceScaling(low=tuple(lows), high=tuple(highs), source=f"percentiles {asked} of each band")
