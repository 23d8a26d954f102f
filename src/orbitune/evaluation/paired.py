"""The score test for the accuracies of two methods on the same images, with one seed each or with several.

With one seed each it is Tango's test for paired proportions (1998, Statistics in Medicine 17:891-908), which
stays honest where few images tell the methods apart, as near 100 %; against a difference of zero it is
McNemar's. With several seeds its variance is multiplied by the design effect of averaging over seeds on the
same images (Rao and Scott 1992, Biometrics 48:577-585), and what seeds differ by beyond that is added, as in
studies of several readers and many cases (Obuchowski and Rockette 1995, Communications in Statistics
24:285-308), with the degrees of freedom of Hillis (2007, Statistics in Medicine 26:596-619). Non-inferiority
in that setting is Chen, Petrick and Sahiner's (2012, Academic Radiology 19:1158-1165).
"""

from dataclasses import dataclass
from math import inf, sqrt

import numpy as np

from orbitune.evaluation.intervals import LEVEL, paired

_MOST_IMAGES = 10**7  # nobody has more labelled ones


@dataclass(frozen=True)
class SeedVariance:
    """What one method's seeds add to the variance of its mean accuracy.

    Attributes:
        between: the part that more images would not remove.
        noise: the part that falls with the number of images, times that number.
        df: degrees of freedom, the number of seeds less one.
    """

    between: float
    noise: float
    df: int

    @classmethod
    def of(cls, correct: np.ndarray) -> "SeedVariance":
        """From bool (S, N), S >= 2: the two-way analysis of variance without replication."""
        (seeds, images), accuracies = correct.shape, correct.mean(axis=1)
        residuals = correct - accuracies[:, None] - correct.mean(axis=0) + correct.mean()
        noise = float((residuals**2).sum() / ((seeds - 1) * max(1, images - 1)) / seeds)
        between = float(accuracies.var(ddof=1) / seeds) - noise / images
        return cls(max(0.0, between), noise, seeds - 1)


@dataclass(frozen=True)
class PairedTest:
    """Two methods on the same images; all in shares, 0..1.

    Attributes:
        images: their number.
        wins, losses: share of images that the method, or the reference, alone gets right; the mean over all
            pairs of their seeds.
        design: variance of the mean over seeds by that of one pair of seeds; 1 with one seed each.
        seeds: the spread of either method's seeds; empty where one has a single seed, whose spread nobody
            can know. What follows then holds for the trained models alone.
    """

    images: int
    wins: float
    losses: float
    design: float
    seeds: tuple[SeedVariance, ...]

    @classmethod
    def of(cls, method: np.ndarray, reference: np.ndarray) -> "PairedTest":
        """From bool (S, N) and (R, N), the images in the same order."""
        images = paired(method, reference)
        ours, theirs = method.mean(axis=0), reference.mean(axis=0)
        wins, losses = float((ours * (1 - theirs)).mean()), float((theirs * (1 - ours)).mean())
        seeds: tuple[SeedVariance, ...] = ()
        if min(len(method), len(reference)) > 1:
            seeds = SeedVariance.of(method), SeedVariance.of(reference)
        one_pair = wins + losses - (wins - losses) ** 2
        several = max(float((ours - theirs).var()), sum(spread.noise for spread in seeds))
        return cls(images, wins, losses, min(1.0, several / one_pair) if one_pair > 0 else 1.0, seeds)

    @property
    def difference(self) -> float:
        """Accuracy of the method minus that of the reference."""
        return self.wins - self.losses

    def standard_error(self, truth: float, images: int) -> tuple[float, float]:
        """Of the difference, were it truly `truth`, on so many images; and its degrees of freedom."""
        variance = self.design * restricted_variance(self.wins, self.losses, truth) / images
        variance += sum(spread.between for spread in self.seeds)
        known = sum((spread.between + spread.noise / images) ** 2 / spread.df for spread in self.seeds)
        if known == 0:
            return sqrt(variance), inf
        return sqrt(variance), max(variance**2 / known, min(spread.df for spread in self.seeds))

    def p_values(self, truth: float) -> tuple[float, float]:
        """One-sided p values against "the true difference is at most `truth`" and "it is at least `truth`".

        Args:
            truth: between -1 and 1, and not 0, where the statistic may be 0 / 0.
        """
        from scipy.stats import t

        error, df = self.standard_error(truth, self.images)
        statistic = (self.difference - truth) / error
        return float(t.sf(statistic, df)), float(t.cdf(statistic, df))

    def interval(self) -> tuple[float, float]:
        """The 95 % interval: the differences that the test does not reject, 2.5 % on either side."""
        from scipy.optimize import brentq
        from scipy.stats import t

        def beyond(truth: float) -> float:
            error, df = self.standard_error(truth, self.images)
            return abs(self.difference - truth) - float(t.ppf((1 + LEVEL) / 2, df)) * error

        # At the difference itself both terms can be zero, where no image tells the methods apart.
        low, high = self.difference - 1e-9, self.difference + 1e-9
        return (
            -1.0 if low <= -1 else float(brentq(beyond, -1, low)),
            1.0 if high >= 1 else float(brentq(beyond, high, 1)),
        )

    def images_needed(self, truth: float, alpha: float, power: float = 0.8) -> int | None:
        """Images for which the one-sided test against `truth` succeeds with this power.

        The true difference, the disagreement and the spread of the seeds are taken as observed. The size is
        Nam's (1997, Biometrics 53:1422-1430) for the score test, (z_alpha sqrt(v0) + z_beta sqrt(v1))^2 /
        (difference - truth)^2, where v0 and v1 are the variances of one image's difference under the null
        and as observed; with the seeds' share in both, the smallest such N is searched for.

        Returns:
            None where ten million are not enough: the seeds differ too much, or the difference lies on the
            bound.
        """
        from scipy.stats import norm, t

        one_image = self.design * (self.wins + self.losses - self.difference**2)
        between = sum(spread.between for spread in self.seeds)

        def enough(images: int) -> bool:
            error, df = self.standard_error(truth, images)
            miss = float(norm.ppf(power)) * sqrt(one_image / images + between)
            return abs(self.difference - truth) >= float(t.isf(alpha, df)) * error + miss

        most = 1
        while not enough(most):
            most *= 2
            if most > _MOST_IMAGES:
                return None
        least = most // 2
        while most - least > 1:
            middle = (least + most) // 2
            least, most = (least, middle) if enough(middle) else (middle, most)
        return most


def restricted_variance(wins: float, losses: float, truth: float) -> float:
    """Variance of one image's difference, from maximum likelihood under a true difference `truth` (Tango)."""
    linear = (2 - wins + losses) * truth - wins - losses
    lost = (sqrt(linear**2 + 8 * losses * truth * (1 - truth)) - linear) / 4
    return max(0.0, 2 * lost + truth * (1 - truth))
