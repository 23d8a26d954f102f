"""Corruptions of satellite tiles, such as haze, sensor noise and blur.

Five severities each, as in ImageNet-C (Hendrycks and Dietterich 2019, arXiv:1903.12261), with corruptions
that are typical of satellite images: by the atmosphere, by the sensor, and by the radiometry and pixel size
of another product. The result depends on the seed and the tile's index, not on the batch.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from orbitune.data.transform import resize_matrix
from orbitune.sources.band_names import RGB_WAVELENGTHS

SEVERITIES = (1, 2, 3, 4, 5)

Array = np.ndarray
Rng = np.random.Generator


class CorruptTile(Protocol):
    """Corrupts a tile, see `Corruption`."""

    def __call__(self, tile: Array, level: float, /, *, random: Rng, wavelengths: Array) -> Array: ...


@dataclass(frozen=True)
class Corruption:
    """One kind of corruption.

    Attributes:
        levels: strength at severities 1 to 5, chosen by eye from barely visible to barely recognisable.
        apply: takes a tile, float (H, W, C) in which 0..1 is from black to the white of a band, a level, a
            random generator and the wavelengths of the bands in nanometres, float (C,); returns the corrupted
            tile, which is then clipped to the range of its dtype.
    """

    levels: tuple[float, float, float, float, float]
    apply: CorruptTile


def corrupt(
    tiles: Array,
    kind: str,
    *,
    severity: int,
    seed: int = 0,
    first: int = 0,
    wavelengths: Sequence[float | None] = RGB_WAVELENGTHS,
    white: float | Array = 255.0,
) -> Array:
    """Return corrupted copies of tiles.

    Args:
        tiles: uint8 or uint16 (B, H, W, C).
        kind: a key of CORRUPTIONS.
        severity: 1 to 5.
        seed: 0 or more.
        first: index of the first tile, so that the result does not depend on the batch size.
        wavelengths: of the C bands in nanometres; None counts as red.
        white: the value of each band that counts as white, such as the 99th percentile of 16-bit tiles.

    Returns:
        The same shape and dtype.
    """
    corruption = CORRUPTIONS[kind]
    level = corruption.levels[SEVERITIES.index(severity)]
    lengths = np.array([RGB_WAVELENGTHS[0] if each is None else each for each in wavelengths])
    white, largest = np.asarray(white, np.float64), np.iinfo(tiles.dtype).max
    corrupted = np.empty_like(tiles)
    for index, tile in enumerate(tiles):
        random = np.random.default_rng((seed, first + index))
        changed = corruption.apply(tile / white, level, random=random, wavelengths=lengths)
        corrupted[index] = np.rint(np.clip(changed, 0, largest / white) * white)
    return corrupted


def _haze(tile: Array, lost: float, *, random: Rng, wavelengths: Array) -> Array:
    """Add haze: airlight replaces a fraction of the ground's light.

    Koschmieder's law as in Narasimhan and Nayar (2002, doi:10.1023/A:1016328200723), with one transmission
    for all visible bands of the tile and a slightly blue airlight. Beyond red, less light is lost, by
    Angstrom's law with an exponent of 1.3.
    """
    # Not `atmosphere.Atmosphere`, the clear air that products differ in, which is additive and thin: this is
    # haze thick enough to hide the ground, and its levels are kept so that stored scores stay comparable.
    airlight = np.interp(wavelengths, RGB_WAVELENGTHS[::-1], (0.90, 0.85, 0.82))
    fraction = lost * np.minimum(1, (wavelengths / RGB_WAVELENGTHS[0]) ** -1.3)
    return tile * (1 - fraction) + airlight * fraction


def _sensor_noise(tile: Array, electrons: float, *, random: Rng, wavelengths: Array) -> Array:
    """Add shot noise for this many electrons at full scale, and read noise of 2.

    The Poisson-Gaussian model of Foi et al. (2008, doi:10.1109/TIP.2008.2001399).
    """
    counted = random.poisson(tile * electrons) + random.normal(0, 2, tile.shape)
    return np.asarray(counted / electrons)


def _blur(tile: Array, sigma: float, *, random: Rng, wavelengths: Array) -> Array:
    """Blur with a Gaussian of this standard deviation in pixels."""
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(tile, (sigma, sigma, 0)))


def _brightness(tile: Array, gain: float, *, random: Rng, wavelengths: Array) -> Array:
    """Multiply or divide all values by this gain, as under another sun."""
    return tile * gain if random.random() < 0.5 else tile / gain


def _missing_stripe(tile: Array, fraction: float, *, random: Rng, wavelengths: Array) -> Array:
    """Set a stripe of rows or columns to zero, this fraction of the tile."""
    axis = int(random.integers(2))
    side = tile.shape[axis]
    lines = max(1, round(fraction * side))
    start = int(random.integers(side - lines + 1))
    changed = tile.copy()
    changed.swapaxes(0, axis)[start : start + lines] = 0
    return changed


def _offset(tile: Array, level: float, *, random: Rng, wavelengths: Array) -> Array:
    """Add or subtract this fraction of white in all bands."""
    return tile + level if random.random() < 0.5 else tile - level


def _band_gain(tile: Array, gain: float, *, random: Rng, wavelengths: Array) -> Array:
    """Multiply each band by a log-uniform gain between this gain and its inverse."""
    return np.asarray(tile * gain ** random.uniform(-1, 1, tile.shape[-1]))


def _gamma(tile: Array, exponent: float, *, random: Rng, wavelengths: Array) -> Array:
    """Raise all values to this power or to its inverse, as another tone curve does."""
    return np.asarray(tile ** (exponent if random.random() < 0.5 else 1 / exponent))


def _resampling(tile: Array, factor: float, *, random: Rng, wavelengths: Array) -> Array:
    """Resample to pixels this many times as large, and back."""
    for axis, side in enumerate(tile.shape[:2]):
        tile = np.moveaxis(np.tensordot(_coarsening(side, factor), tile, axes=(1, axis)), 0, axis)
    return tile


@functools.lru_cache(maxsize=32)
def _coarsening(side: int, factor: float) -> Array:
    """Return the matrix that resamples an axis to coarser pixels and back, float64."""
    coarse = max(1, round(side / factor))
    there, back = (resize_matrix(*sides, resample="bilinear") for sides in ((side, coarse), (coarse, side)))
    return np.asarray(back.double().numpy() @ there.double().numpy())


CORRUPTIONS = {
    "haze": Corruption((0.15, 0.3, 0.45, 0.6, 0.75), _haze),
    "sensor noise": Corruption((1000, 400, 150, 60, 25), _sensor_noise),
    "blur": Corruption((0.5, 0.75, 1.0, 1.5, 2.5), _blur),
    "brightness": Corruption((1.1, 1.25, 1.45, 1.7, 2.0), _brightness),
    "missing stripe": Corruption((0.02, 0.05, 0.1, 0.2, 0.35), _missing_stripe),
    "offset": Corruption((0.02, 0.04, 0.08, 0.12, 0.18), _offset),
    "band gain": Corruption((1.05, 1.1, 1.2, 1.35, 1.6), _band_gain),
    "gamma": Corruption((1.1, 1.2, 1.4, 1.65, 2.0), _gamma),
    "resampling": Corruption((1.25, 1.6, 2.0, 3.0, 4.0), _resampling),
}
