"""Standard clear atmosphere over a dark target: what it adds, and what it takes.

Reflectance at the top of the atmosphere is path + transmittance * surface reflectance, with single scattering
by air (Hansen and Travis 1974, doi:10.1007/BF00168069) and by continental haze of optical depth 0.1 at 550 nm
with Angstrom exponent 1.3 (Angstrom 1929). Sensor at nadir, sun 40 degrees from the zenith.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_SUN = math.cos(math.radians(40))
_HAZE_DEPTH, _ANGSTROM_EXPONENT = 0.1, 1.3
_AIR_PHASE = 0.75 * (1 + _SUN**2)  # Rayleigh's phase function towards the sensor
_HAZE_PHASE, _HAZE_ALBEDO = 0.2, 0.95  # of continental haze towards the sensor
_AIR_BACKWARD, _HAZE_BACKWARD = 0.5, 0.16  # fraction of the scattered light that is lost upwards


@dataclass(frozen=True)
class Atmosphere:
    """The standard atmosphere in some bands.

    Attributes:
        path: reflectance that the atmosphere adds, float64 (bands,), 0..1.
        transmittance: fraction of the surface's reflectance that reaches the sensor, float64 (bands,), 0..1.
    """

    path: np.ndarray
    transmittance: np.ndarray

    @classmethod
    def at(cls, wavelengths: Sequence[float] | np.ndarray) -> "Atmosphere":
        """Return the standard atmosphere at wavelengths in nm; none at infinite ones."""
        micrometres = np.asarray(wavelengths, np.float64) / 1000
        air = 0.008569 * micrometres**-4 * (1 + 0.0113 * micrometres**-2 + 0.00013 * micrometres**-4)
        haze = _HAZE_DEPTH * (micrometres / 0.55) ** -_ANGSTROM_EXPONENT
        path = (_AIR_PHASE * air + _HAZE_ALBEDO * _HAZE_PHASE * haze) / (4 * _SUN)
        lost = (_AIR_BACKWARD * air + _HAZE_BACKWARD * haze) * (1 / _SUN + 1)
        return cls(path, np.exp(-lost))

    def amount_between(self, dark: np.ndarray, reference: np.ndarray) -> float:
        """Return the fraction of this atmosphere between two dark reflectances.

        Least squares over the bands of the reference minus the dark reflectance seen through the amount.
        This is dark-object subtraction (Chavez 1988, doi:10.1016/0034-4257(88)90019-3) with one unknown for
        all bands.

        Args:
            dark: reflectance of the darkest pixels of a scene, float (bands,).
            reference: the same of other images, float (bands,).

        Returns:
            0 for none, to 1 for all of it. Scenes that are brighter than the reference get 0: they may lack
            dark objects.
        """
        effect = self.path - (1 - self.transmittance) * dark
        return float(np.clip(effect @ (reference - dark) / (effect @ effect), 0, 1))
