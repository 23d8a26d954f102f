"""Score test for the accuracies of two methods on the same images.

With one seed it is Tango's test for paired proportions (1998, Statistics in Medicine 17:891-908), which keeps
its level if few images tell the methods apart, as near 100 %; against a difference of zero it is McNemar's
test. With several seeds the variance is multiplied by the design effect of averaging over seeds on the same
images (Rao and Scott 1992, Biometrics 48:577-585), and the remaining variance between seeds is added, as in
multi-reader multi-case studies (Obuchowski and Rockette 1995, Communications in Statistics 24:285-308), with
the degrees of freedom of Hillis (2007, Statistics in Medicine 26:596-619). Non-inferiority in that setting
follows Chen, Petrick and Sahiner (2012, Academic Radiology 19:1158-1165).
"""

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from orbitune.evaluation.statistics.intervals import LEVEL, count_paired

_MAX_IMAGES = 10**7  # more than anybody labels


@dataclass(frozen=True)
class SeedVariance:
    """Contribution of one method's seeds to the variance of its mean accuracy.

    Attributes:
        between: variance component that more images do not reduce.
        noise: component that falls with the number of images, times that number.
        df: degrees of freedom, the number of seeds minus 1.
    """

    between: float
    noise: float
    df: int

    @classmethod
    def estimate(cls, correct: np.ndarray) -> "SeedVariance":
        """Estimate the components by two-way analysis of variance without replication.

        Args:
            correct: bool (S, N), S >= 2.
        """
        (seeds, images), accuracies = correct.shape, correct.mean(axis=1)
        residuals = correct - accuracies[:, None] - correct.mean(axis=0) + correct.mean()
        noise = float((residuals**2).sum() / ((seeds - 1) * max(1, images - 1)) / seeds)
        between = float(accuracies.var(ddof=1) / seeds) - noise / images
        return cls(max(0.0, between), noise, seeds - 1)


@dataclass(frozen=True)
class PairedTest:
    """The score test of a method against a reference; accuracies are in 0..1.

    `difference`, `standard_error`, `degrees_of_freedom` and `tails` also take arrays in place of the numbers,
    one element for each of many simulated studies.

    Attributes:
        images: number of images.
        wins, losses: fraction of images on which only the method, or only the reference, is correct; the mean
            over all pairs of their seeds.
        design_effect: variance of the mean over seeds divided by that of one pair of seeds; 1 with one seed.
        seeds: variances of both methods' seeds. Empty if one has a single seed: the test then holds for the
            trained models alone, not for other seeds.
    """

    images: int
    wins: float
    losses: float
    design_effect: float
    seeds: tuple[SeedVariance, ...]

    @classmethod
    def from_correct(cls, method: np.ndarray, reference: np.ndarray) -> "PairedTest":
        """Summarise which images were classified correctly.

        Args:
            method: bool (S, N).
            reference: bool (R, N), the images in the same order.
        """
        images = count_paired(method, reference)
        ours, theirs = method.mean(axis=0), reference.mean(axis=0)
        wins, losses = float((ours * (1 - theirs)).mean()), float((theirs * (1 - ours)).mean())
        seeds: tuple[SeedVariance, ...] = ()
        if min(len(method), len(reference)) > 1:
            seeds = SeedVariance.estimate(method), SeedVariance.estimate(reference)
        one_pair = wins + losses - (wins - losses) ** 2
        several = max(float((ours - theirs).var()), sum(spread.noise for spread in seeds))
        return cls(images, wins, losses, min(1.0, several / one_pair) if one_pair > 0 else 1.0, seeds)

    @property
    def difference(self) -> float:
        """Accuracy of the method minus that of the reference, in -1..1."""
        return self.wins - self.losses

    def standard_error(self, truth: float, images: int) -> float:
        """Return the standard error of the difference under a hypothesis.

        Args:
            truth: the true difference.
            images: number of test images.
        """
        variance = self.design_effect * restricted_variance(self.wins, self.losses, truth=truth) / images
        return np.sqrt(variance + sum(spread.between for spread in self.seeds))

    def degrees_of_freedom(self, images: int) -> float:
        """Return the degrees of freedom of the standard error; infinite without seeds.

        They are taken at the observed difference, not at each hypothesis: so p values rise towards the
        observed difference, and an interval and the p values never contradict each other.

        Args:
            images: number of test images.
        """
        variance = self.design_effect * (self.wins + self.losses - self.difference**2) / images
        variance = variance + sum(spread.between for spread in self.seeds)
        known = sum((spread.between + spread.noise / images) ** 2 / spread.df for spread in self.seeds)
        least = min((spread.df for spread in self.seeds), default=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            df: Any = np.where(known == 0, np.inf, np.maximum(np.divide(variance**2, known), least))
        return df[()]

    def p_values(self, truth: float) -> tuple[float, float]:
        """Return one-sided p values of a true difference <= `truth` and >= `truth`.

        Args:
            truth: in -1..1 and not 0, where the statistic may be 0 / 0.
        """
        above, below = self.tails(truth)
        return float(above), float(below)

    def tails(self, truth: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the p values of `p_values` as arrays."""
        from scipy.special import stdtr

        df = self.degrees_of_freedom(self.images)
        statistic = (self.difference - truth) / self.standard_error(truth, self.images)
        return stdtr(df, -statistic), stdtr(df, statistic)

    def p_equal(self) -> float:
        """Return the two-sided p value of equal accuracies; 1 if no image tells the methods apart."""
        return 2 * min(self.p_values(0)) if self.wins + self.losses > 0 else 1.0

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Return the interval: differences that the two-sided test does not reject.

        Args:
            level: of confidence, 0..1.
        """
        from scipy.optimize import brentq
        from scipy.stats import t

        quantile = float(t.ppf((1 + level) / 2, self.degrees_of_freedom(self.images)))

        def beyond(truth: float) -> float:
            return abs(self.difference - truth) - quantile * self.standard_error(truth, self.images)

        def end(bound: int) -> float:
            # At the difference itself both terms are zero if no image tells the methods apart.
            start = self.difference + 1e-9 * bound
            # Few seeds that differ much reject no difference at all.
            if start * bound >= 1 or beyond(bound) <= 0:
                return float(bound)
            return float(brentq(beyond, *sorted((start, bound))))

        return end(-1), end(1)

    def images_needed(self, truth: float, alpha: float, *, power: float = 0.8) -> int | None:
        """Return the sample size of the one-sided test with this power.

        The true difference, the disagreement and the variance of the seeds are taken as observed. The size is
        Nam's (1997, Biometrics 53:1422-1430) for the score test, (z_alpha sqrt(v0) + z_beta sqrt(v1))^2 /
        (difference - truth)^2, with the variances v0 and v1 of one image's difference under the null
        hypothesis and as observed. As both include the seeds' variance, the smallest N is found by bisection.

        Args:
            truth: as in `p_values`.
            alpha: level of the test.
            power: probability of success.

        Returns:
            Number of images. None if ten million are not enough: the seeds differ too much, or the difference
            lies on the bound.
        """
        from scipy.stats import norm, t

        one_image = self.design_effect * (self.wins + self.losses - self.difference**2)
        between = sum(spread.between for spread in self.seeds)

        def enough(images: int) -> bool:
            error = float(t.isf(alpha, self.degrees_of_freedom(images))) * self.standard_error(truth, images)
            miss = float(norm.ppf(power)) * sqrt(one_image / images + between)
            return abs(self.difference - truth) >= error + miss

        most = 1
        while not enough(most):
            most *= 2
            if most > _MAX_IMAGES:
                return None
        least = most // 2
        while most - least > 1:
            middle = (least + most) // 2
            least, most = (least, middle) if enough(middle) else (middle, most)
        return most


def restricted_variance(wins: float, losses: float, *, truth: float) -> float:
    """Return the variance of one image's difference under `truth` (Tango).

    By maximum likelihood, with `truth` as the true difference.
    """
    linear = (2 - wins + losses) * truth - wins - losses
    lost = (np.sqrt(linear**2 + 8 * losses * truth * (1 - truth)) - linear) / 4
    return np.maximum(0.0, 2 * lost + truth * (1 - truth))
