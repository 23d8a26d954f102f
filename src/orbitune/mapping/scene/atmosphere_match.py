"""Match of a scene's atmosphere to that of the training tiles.

EuroSAT's tiles are reflectance at the top of the atmosphere (L1C). Surface reflectance (L2A) lacks the light
that the atmosphere scatters, most of it in blue, so a model that was trained on one confuses the colours of
the other. The darkest pixels of a scene tell how much atmosphere lies between the two. The visible bands are
used, where scattering is strongest. The other bands get the effect of that amount at their own wavelength,
and bands of unknown wavelength none.
"""

from collections.abc import Sequence

import numpy as np

from orbitune.data.sensor.atmosphere import Atmosphere
from orbitune.mapping.scene.encoding import Encoding
from orbitune.mapping.scene.radiometry import (
    NONE,
    TOP,
    ReflectanceScaling,
    choose_scaling,
    parse_scale,
    scale_to_numbers,
    white_reflectance,
)
from orbitune.mapping.scene.tile_numbers import TileNumbers, are_colours
from orbitune.models.lineage.training_data import TrainingData
from orbitune.models.preprocessing import Preprocessing
from orbitune.sources.band_names import wavelength

_DARK = 1.0  # percentile of the darkest pixels, as `BandStatistics.low`
_NEGLIGIBLE = 0.05  # of the standard atmosphere
_VISIBLE = 700.0  # longest wavelength in nanometres of a band that tells the amount of atmosphere


def scale_scene(
    scale: str,
    encoding: Encoding | None,
    *,
    sample: np.ma.MaskedArray,
    training: TrainingData,
    used: Preprocessing,
) -> ReflectanceScaling:
    """Return the scaling of a scene that an option asks for.

    Args:
        scale: see `MapOptions`.
        encoding: of the scene; None if the scale is a range.
        sample: an overview of the scene in the units of the file (bands, H, W), masked where it has no data.
        training: the tiles; without their statistics the scene keeps its atmosphere.
        used: bands and dtype of the tiles.

    Raises:
        DataError: there is no pixel to take percentiles from, or the tiles have 16 bits.
    """
    if encoding is None:
        return parse_scale(scale, sample, top=TOP[used.dtype])
    if used.dtype == "uint16":
        tiles = TileNumbers.recognise(training.statistics, used)
        scaling = scale_to_numbers(encoding, tiles)
        is_reflectance = tiles is not None and encoding.kind != "unknown"
        black, white = (tiles.black, tiles.white) if tiles else (0.0, 1.0)
    else:
        scaling = choose_scaling(encoding, scale_max=training.scale_max)
        is_reflectance = are_colours(used)  # what other bands reflect at 255 is not known
        black, white = 0.0, white_reflectance(encoding, training.scale_max)
    if scale == NONE or not is_reflectance or training.statistics is None:
        return scaling
    return match_atmosphere(
        scaling,
        sample,
        wavelengths=[wavelength(band) for band in used.bands],
        dark=training.statistics.low,
        white=white,
        black=black,
    )


def match_atmosphere(
    scaling: ReflectanceScaling,
    sample: np.ma.MaskedArray,
    *,
    wavelengths: Sequence[float | None],
    dark: Sequence[float],
    white: float,
    black: float = 0.0,
) -> ReflectanceScaling:
    """Add the atmosphere that a scene lacks, compared with the training tiles.

    A scene with more atmosphere is left as it is: its darkest pixels may be of brighter ground. No label is
    used, and one number is estimated for all bands.

    Args:
        scaling: of the scene, from reflectance `black` to `white`.
        sample: an overview of the scene in the units of the file (bands, H, W), masked where it has no data.
        wavelengths: of the bands, in nanometres; None where one is not known.
        dark: 1st percentile of each band of the training tiles, in their numbers.
        white: reflectance that becomes `scaling.top`.
        black: reflectance that becomes 0.

    Returns:
        The new scaling; the same one if there is nothing to add, or no visible band.
    """
    low, high = np.array(scaling.low), np.array(scaling.high)
    lengths = np.array([np.inf if each is None else each for each in wavelengths])  # inf for no effect
    valid, visible = ~np.ma.getmaskarray(sample).any(0), lengths <= _VISIBLE
    if not valid.any() or not visible.any():
        return scaling
    span = white - black
    darkest = black + (np.percentile(sample.data[:, valid], _DARK, axis=1) - low) / (high - low) * span
    reference = black + np.array(dark) / scaling.top * span
    atmosphere = Atmosphere.at(lengths)
    amount = Atmosphere.at(lengths[visible]).amount_between(darkest[visible], reference[visible])
    if amount < _NEGLIGIBLE:
        return scaling
    transmitted = 1 - amount * (1 - atmosphere.transmittance)
    # Reflectance r becomes transmitted * r + amount * path: solve for the r of both ends.
    ends = (
        low + ((value - amount * atmosphere.path) / transmitted - black) / span * (high - low)
        for value in (black, white)
    )
    first, last = (tuple(float(f"{value:.6g}") for value in end) for end in ends)
    source = f"{scaling.source}, with {amount:.0%} of a clear atmosphere added"
    return ReflectanceScaling(low=first, high=last, source=source, top=scaling.top)
