"""Statistics of each band over the training tiles, in one pass."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, FiniteFloat

from orbitune.records import JsonTuple, Record

if TYPE_CHECKING:
    import numpy as np

PERCENTILES = (1.0, 50.0, 99.0)
_MIN_STD = 1.0  # of pixel values, so that a constant band can be divided by it

Positive = Annotated[FiniteFloat, Field(gt=0)]


class BandStatistics(Record):
    """Statistics of the pixels of each band, in the units of the tiles.

    Attributes:
        mean, std: mean and standard deviation; a standard deviation is at least 1.
        low, median, high: the 1st, 50th and 99th percentile.
        tiles: number of tiles.
    """

    mean: JsonTuple[FiniteFloat]
    std: JsonTuple[Positive]
    low: JsonTuple[FiniteFloat]
    median: JsonTuple[FiniteFloat]
    high: JsonTuple[FiniteFloat]
    tiles: int = Field(ge=1)


def to_grey_levels(pixels: "np.ndarray", statistics: BandStatistics) -> "np.ndarray":
    """Return tiles with the 99th percentile of each band scaled to 255, uint8.

    Args:
        pixels: uint8 or uint16 (B, H, W, C).
        statistics: of the C bands.
    """
    import numpy as np

    white = np.maximum(statistics.high, 1).astype(np.float32)
    return np.minimum(pixels * (255 / white) + 0.5, 255).astype(np.uint8)


def compute_statistics(batches: "Iterable[np.ndarray]") -> BandStatistics:
    """Return the exact statistics of tiles, from one histogram per band.

    Args:
        batches: uint8 or uint16 (B, H, W, C); at least one tile in all.
    """
    import numpy as np

    counts: np.ndarray | None = None
    tiles = 0
    for batch in batches:
        levels = np.iinfo(batch.dtype).max + 1
        bands = [np.bincount(batch[..., band].ravel(), minlength=levels) for band in range(batch.shape[3])]
        counts = np.stack(bands) if counts is None else counts + np.stack(bands)
        tiles += len(batch)
    assert counts is not None
    values, total = np.arange(counts.shape[1], dtype=np.float64), counts.sum(1)
    mean = counts @ values / total
    variance = counts @ values**2 / total - mean**2
    below = counts.cumsum(1)
    low, median, high = (
        tuple(float(np.searchsorted(row, percent / 100 * row[-1])) for row in below)
        for percent in PERCENTILES
    )
    return BandStatistics(
        mean=tuple(mean.tolist()),
        std=tuple(np.maximum(np.sqrt(np.maximum(variance, 0)), _MIN_STD).tolist()),
        low=low,
        median=median,
        high=high,
        tiles=tiles,
    )
