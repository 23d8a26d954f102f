"""Statistics of a scene that tell its encoding where no metadata does.

The unit follows from the magnitude of the numbers and from the steps between them, the offset of Sentinel-2's
baseline 04.00 and the processing level from the darkest pixels: most scenes of some kilometres have shadow,
water or dense forest, which are dark in one of the bands even at the top of the atmosphere, where Rayleigh
scattering adds about 0.08 of reflectance to blue and 0.03 to red.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from orbitune.sources.band_names import RGB

QUANTIFICATION = 10_000  # Sentinel-2's digital number for a reflectance of 1
FRACTIONS = 65_535  # Sentinel Hub's uint16 for a reflectance of 1
EUROSAT_WHITE = 0.275  # reflectance that is 255 in EuroSAT RGB: digital number 2750 of L1C
BASELINE_OFFSET = 0.1  # added to the reflectance since baseline 04.00 (January 2022)

_MIN_REFLECTANCE = -0.2  # corrections for the atmosphere make dark pixels negative, but by less
_MAX_FLOAT = 2.0  # brightest reflectance as floats
_MAX_NUMBER = 22_000  # brightest digital number: clouds under a low sun reflect more than a white panel
_LOUD_NUMBER = 13_000  # brightest digital number of a scene without such clouds
_MIN_NUMBER = 100  # brightest digital number of the darkest scene; less are percent, decibel or classes
_MIN_WHITE = 250  # largest number of 8 bits in a wider dtype
_DARK = 0.095  # the darkest reflectance of a band is lower without the offset, and higher with it
_DARK_WITH_OFFSET = 0.16  # highest darkest reflectance of a scene with the offset and with dark pixels
_MAX_SLOPE = 0.015  # from blue to red, of dark pixels; soil rises more
_RAYLEIGH_SLOPE = -0.15  # from blue to red: no scene falls so much, but one whose unit is too large
_MAX_TAIL, _MIN_SPREAD = 0.25, 0.025  # of a band with an edge of dark pixels, see `_has_dark_edge`
_STEP_TOLERANCE, _STEP_FRACTION = 0.08, 0.9  # distance to a multiple of the step, and how many are so near
_L1C_BLUE, _L1C_SLOPE, _L1C_RED, _L2A_BLUE = 0.05, -0.015, 0.1, 0.045  # of the darkest pixels


@dataclass(frozen=True)
class BandStatistics:
    """Percentiles of the pixels of each band that are not 0, float (bands,).

    Attributes:
        dark, low, median, bright: percentiles 0.5, 5, 50 and 99.9.
        highest: largest number.
    """

    dark: np.ndarray
    low: np.ndarray
    median: np.ndarray
    bright: np.ndarray
    highest: np.ndarray

    @classmethod
    def measure(cls, sample: np.ma.MaskedArray) -> "BandStatistics | None":
        """Measure an overview (bands, H, W).

        A band of zeros counts as the others together. Returns None if no band has another number.
        """
        bands = [band.compressed().astype(np.float64) for band in sample]
        bands = [values[np.isfinite(values) & (values != 0)] for values in bands]
        if not (together := np.concatenate(bands)).size:
            return None
        levels = (0.5, 5, 50, 99.9, 100)
        ends = [np.percentile(values if values.size else together, levels) for values in bands]
        return cls(*np.array(ends).T)

    def linear(self, scale: float | np.ndarray, offset: float | np.ndarray) -> "BandStatistics":
        """Return the statistics of number * scale + offset, for scales above 0."""
        return BandStatistics(*(getattr(self, each.name) * scale + offset for each in fields(self)))


@dataclass(frozen=True)
class Finding:
    """One thing that was told from statistics.

    Attributes:
        kind: see `encoding.Encoding`.
        value: reflectance of the number 1, or offset of the reflectance.
        likely: False if the statistics do not tell it.
        evidence: in words.
    """

    kind: str
    value: float
    likely: bool
    evidence: str


def telling_bands(names: Sequence[str | None]) -> list[int]:
    """Return the indices of the bands whose statistics tell an encoding.

    They are red, green and blue where all are known, so that a scene has the same encoding whatever other
    bands are read; else the bands that are known, and all if none is.

    Args:
        names: canonical name of each band; None where it is not known.
    """
    if all(name in names for name in RGB):
        return [names.index(name) for name in RGB]
    return [index for index, name in enumerate(names) if name] or list(range(len(names)))


def find_unit(
    measured: BandStatistics, dtype: str, *, pixels: np.ndarray, names: Sequence[str | None]
) -> Finding:
    """Find the unit of numbers.

    Args:
        measured: of the overview.
        dtype: of the bands, as numpy names it.
        pixels: some numbers as they are in the file, float (bands, N).
        names: canonical name of each band; None where it is not known.
    """
    bright, highest = measured.bright.max(), measured.highest.max()
    if np.dtype(dtype).itemsize == 1:
        return Finding("8 bits", EUROSAT_WHITE / 255, True, "8 bits")
    if measured.median.min() < 0:
        return Finding("unknown", 1.0, False, "half of the numbers are below 0")
    if bright <= _MAX_FLOAT and np.dtype(dtype).kind == "f":
        if _has_steps(pixels, 1 / 255, tolerance=0.001):
            return Finding("8 bits", EUROSAT_WHITE, True, "floats in steps of 1/255")
        if (measured.highest == 1).all() and (measured.bright < 1).all() and (measured.dark < 0.03).all():
            return Finding("unknown", 1.0, False, "each band is stretched to 0 to 1")
        return Finding("reflectance", 1.0, True, f"floats up to {bright:.3g}")
    if bright < _MIN_NUMBER:
        return Finding("unknown", 1.0, False, f"numbers up to {bright:.3g}")
    if highest <= 255:
        likely = highest >= _MIN_WHITE  # else they may be digital numbers of dark water
        return Finding("8 bits", EUROSAT_WHITE / 255, likely, f"numbers up to {highest:g}")
    if highest > FRACTIONS:
        return Finding("unknown", 1 / QUANTIFICATION, False, f"numbers up to {highest:g}")
    if _has_steps(pixels, FRACTIONS / QUANTIFICATION, tolerance=_STEP_TOLERANCE):
        return Finding("16-bit fractions", 1 / FRACTIONS, True, "numbers in steps of 6.5535")
    slope = _slope(measured.dark / QUANTIFICATION, names)
    if bright > _MAX_NUMBER or (slope is not None and slope < _RAYLEIGH_SLOPE):
        return Finding("16-bit fractions", 1 / FRACTIONS, True, f"numbers up to {bright:,.0f}")
    dark = measured.dark.min() / QUANTIFICATION
    likely = bright < _LOUD_NUMBER or dark < _DARK / 2
    return Finding("digital numbers", 1 / QUANTIFICATION, likely, f"numbers up to {bright:,.0f}")


def find_offset(reflectance: BandStatistics, names: Sequence[str | None]) -> Finding:
    """Find the offset of the reflectance by its darkest pixels.

    Args:
        reflectance: statistics without an offset.
        names: canonical name of each band; None where it is not known.
    """
    slope = _slope(reflectance.dark, names)
    band = int(reflectance.dark.argmin())
    darkest = reflectance.dark[band]
    if darkest < _MIN_REFLECTANCE:
        why = f"darkest pixels {darkest:.3f}, which is no reflectance: perhaps a value for no data"
        return Finding("offset", 0.0, False, why)
    if darkest < _DARK:
        return Finding("offset", 0.0, True, f"darkest pixels {darkest:.3f}, no offset")
    flat = slope is None or slope <= _MAX_SLOPE
    if darkest <= _DARK_WITH_OFFSET and flat and _has_dark_edge(reflectance, band):
        why = f"darkest pixels {darkest:.3f}, so with the offset of baseline 04.00"
        return Finding("offset", -BASELINE_OFFSET, True, why)
    why = f"darkest pixels {darkest:.3f}, which may be an offset, or cloud, snow or bare ground"
    return Finding("offset", 0.0, False, why)


def find_level(dark: np.ndarray, names: Sequence[str | None]) -> str | None:
    """Return L1C or L2A by Rayleigh scattering over dark pixels; None if unclear.

    Args:
        dark: darkest reflectance of each band.
        names: canonical name of each band; None where it is not known.
    """
    slope = _slope(dark, names)
    if slope is None:
        return None
    blue = dark[names.index("B02")]
    if blue >= _L1C_BLUE and slope <= _L1C_SLOPE and blue + slope < _L1C_RED:
        return "L1C"
    return "L2A" if blue <= _L2A_BLUE else None


def _slope(dark: np.ndarray, names: Sequence[str | None]) -> float | None:
    """Return how much more red than blue the darkest pixels reflect; None if unknown."""
    if "B02" not in names or "B04" not in names:
        return None
    return float(dark[names.index("B04")] - dark[names.index("B02")])


def _has_steps(values: np.ndarray, step: float, *, tolerance: float) -> bool:
    """Return whether numbers are multiples of a step, rounded or cut off to integers."""
    known = values[np.isfinite(values) & (values != 0)]
    if np.unique(known).size < 20:
        return False
    for shift in (0.0, 0.5):
        steps = (known + shift) / step
        if (np.abs(steps - steps.round()) <= tolerance).mean() >= _STEP_FRACTION:
            return True
    return False


def _has_dark_edge(reflectance: BandStatistics, band: int) -> bool:
    """Return whether many pixels of a band are about as dark as the darkest.

    Shadow, water and forest have such an edge. Bare ground has a normal distribution instead, of which the
    fifth percentile lies 0.37 of the way from percentile 0.5 to the median.
    """
    spread = reflectance.median[band] - reflectance.dark[band]
    return bool(spread < _MIN_SPREAD or reflectance.low[band] - reflectance.dark[band] <= _MAX_TAIL * spread)
