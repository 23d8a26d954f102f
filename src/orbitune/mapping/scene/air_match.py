"""Match of a scene's air to that of the training tiles.

EuroSAT's tiles show the top of the atmosphere (L1C). A product at the surface (L2A) lacks the light that air
scatters, most of it in blue, and a model that was trained on one takes the colours of the other for other
classes. The darkest pixels of a scene tell how much air lies between the two.
"""

from collections.abc import Sequence

import numpy as np

from orbitune.data.sensor.atmosphere import Atmosphere
from orbitune.mapping.scene.encoding import Encoding
from orbitune.mapping.scene.radiometry import (
    NONE,
    ReflectanceScaling,
    choose_scaling,
    parse_scale,
    white_reflectance,
)
from orbitune.models.metadata import TrainingData
from orbitune.sources.band_names import RGB, RGB_WAVELENGTHS

_DARK = 1.0  # percentile of the darkest pixels, as `BandStatistics.low`
_NEGLIGIBLE = 0.05  # of the standard atmosphere


def scale_scene(
    scale: str, encoding: Encoding | None, *, sample: np.ma.MaskedArray, training: TrainingData
) -> ReflectanceScaling:
    """Return the scaling of a scene that an option asks for.

    Args:
        scale: see `MapOptions`.
        encoding: of the scene; None if the scale is a range.
        sample, training: see `match_radiometry`.

    Raises:
        DataError: there is no pixel to take percentiles from.
    """
    if encoding is None:
        return parse_scale(scale, sample)
    if scale == NONE:
        return choose_scaling(encoding, scale_max=training.scale_max)
    return match_radiometry(encoding, sample=sample, training=training)


def match_radiometry(
    encoding: Encoding, *, sample: np.ma.MaskedArray, training: TrainingData
) -> ReflectanceScaling:
    """Return the scaling of a scene to the reflectance, and to the air, of the training tiles.

    Args:
        encoding: of the scene.
        sample: an overview of the scene in the units of the file (bands, H, W), masked where it has no data.
        training: the tiles; without their statistics the scene keeps its air.
    """
    scaling = choose_scaling(encoding, scale_max=training.scale_max)
    if training.statistics is None or len(training.statistics.low) != len(RGB):
        return scaling
    return match_air(
        scaling,
        sample,
        wavelengths=RGB_WAVELENGTHS,
        dark=training.statistics.low,
        white=white_reflectance(encoding, training.scale_max),
    )


def match_air(
    scaling: ReflectanceScaling,
    sample: np.ma.MaskedArray,
    *,
    wavelengths: Sequence[float],
    dark: Sequence[float],
    white: float,
) -> ReflectanceScaling:
    """Add the air that a scene lacks, compared with the training tiles.

    Air that a scene has more of is not taken away: its darkest pixels may be of brighter ground. No class and
    no label is used, one number is estimated for all bands.

    Args:
        scaling: of the scene, from reflectance 0 to `white`.
        sample: an overview of the scene in the units of the file (bands, H, W), masked where it has no data.
        wavelengths: of the bands, in nanometres.
        dark: 1st percentile of each band of the training tiles, 0..255.
        white: reflectance that becomes 255.

    Returns:
        The scaling after the air; the same one if there is none to add.
    """
    low, high = np.array(scaling.low), np.array(scaling.high)
    valid = ~np.ma.getmaskarray(sample).any(0)
    if not valid.any():
        return scaling
    darkest = (np.percentile(sample.data[:, valid], _DARK, axis=1) - low) / (high - low) * white
    atmosphere = Atmosphere.at(wavelengths)
    amount = atmosphere.amount_between(darkest, np.array(dark) / 255 * white)
    if amount < _NEGLIGIBLE:
        return scaling
    transmitted = 1 - amount * (1 - atmosphere.transmittance)
    # Reflectance r becomes transmitted * r + amount * path: solve for the r of both ends.
    ends = (
        low + (value - amount * atmosphere.path) / transmitted / white * (high - low)
        for value in (0.0, white)
    )
    first, last = (tuple(float(f"{value:.6g}") for value in end) for end in ends)
    source = f"{scaling.source}, with {amount:.0%} of a clear atmosphere added"
    return ReflectanceScaling(low=first, high=last, source=source)
