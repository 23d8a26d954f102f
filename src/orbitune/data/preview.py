"""Tiles of any bands as images of red, green and blue, for people to look at."""

from collections.abc import Sequence

import numpy as np

from orbitune.sources.band_names import COLOURS, canonical_name

_PERCENTILES = (2, 98)  # of 16-bit values that become 0 and 255


def rgb_preview(pixels: np.ndarray, bands: Sequence[str]) -> np.ndarray:
    """Return pixels in red, green and blue.

    Without bands of these colours the first band is shown in grey. 16-bit values are stretched from the 2nd
    to the 98th percentile of what is shown.

    Args:
        pixels: uint8 or uint16 (..., H, W, C), possibly masked.
        bands: names of the C bands.

    Returns:
        uint8 (..., H, W, 3), masked like the pixels; 8-bit values as they are.
    """
    shown = pixels[..., preview_bands(bands)]
    if shown.dtype == np.uint8:
        return shown
    values = np.ma.compressed(shown)
    low, high = np.percentile(values, _PERCENTILES) if values.size else (0, 1)
    return ((shown.clip(low, high) - low) * (255 / max(high - low, 1))).round().astype(np.uint8)


def preview_bands(bands: Sequence[str]) -> list[int]:
    """Return the indices of the bands to show as red, green and blue."""
    known = [canonical_name(band) for band in bands]
    colours = [canonical_name(colour) for colour in COLOURS]
    if all(known.count(colour) == 1 for colour in colours):
        return [known.index(colour) for colour in colours]
    return [0] * len(COLOURS)
