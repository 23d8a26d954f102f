"""Estimates from a stratified random sample, with standard errors.

Where the strata are the classes of the map, these are the estimators of Olofsson et al. (2014,
doi:10.1016/j.rse.2014.02.015, eqs. 1 to 11); where the sample was drawn from another map, those of Stehman
(2014, doi:10.1080/01431161.2014.930207), of which they are a special case.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class StratifiedSample:
    """A random sample of each stratum.

    Attributes:
        stratum: int (N,), the stratum of each point.
        weights: float (H,), fraction of the area in each stratum; they sum to 1.
    """

    stratum: np.ndarray
    weights: np.ndarray

    def mean(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Estimate means over the area.

        Args:
            values: float (N, K), K values of each point.

        Returns:
            float (K,) each: the means and their standard errors. A stratum with a single point adds no
            variance, so it should consist of that point.
        """
        estimate, variance = np.zeros(values.shape[1]), np.zeros(values.shape[1])
        for index, weight in enumerate(self.weights):
            inside = values[self.stratum == index]
            estimate += weight * inside.mean(0)
            if len(inside) > 1:
                variance += weight**2 * inside.var(0, ddof=1) / len(inside)
        return estimate, np.sqrt(variance)

    def ratio(self, parts: np.ndarray, wholes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Estimate ratios of means over the area.

        Args:
            parts, wholes: float (N, K), numerators and denominators of each point.

        Returns:
            float (K,) each: the ratios and their standard errors; NaN where no point has a denominator.
        """
        whole = self.mean(wholes)[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = self.mean(parts)[0] / whole
            return ratio, self.mean(parts - np.nan_to_num(ratio) * wholes)[1] / whole
