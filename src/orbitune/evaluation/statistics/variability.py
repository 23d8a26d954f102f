"""How the runs of two methods vary: between seeds, and from image to image.

A run classifies an image correctly if its skill exceeds the image's difficulty, both normally distributed.
So the fraction of images on which two runs disagree follows from their accuracies and one correlation, the
tetrachoric one (Pearson 1900, doi:10.1098/rsta.1900.0022), which stays where accuracies change: that of a
pilot tells how often methods of another difference would disagree.

The spread between few seeds is badly known, and a plan that takes it as exact is too small half of the time.
So the spread of a pilot is its upper 80 % confidence limit (Browne 1995, doi:10.1002/sim.4780141709).
"""

from collections.abc import Sequence
from functools import cache
from math import sqrt
from statistics import fmean

import numpy as np

from orbitune.evaluation.statistics.paired import PairedTest, SeedVariance
from orbitune.records import Record

SPREAD_LIMIT = 0.8
_POINTS = 20_001  # of difficulty, in equal parts of the images


class Variability(Record):
    """How the runs of a method and of its reference vary, observed or assumed; all in 0..1.

    Attributes:
        accuracy: of the reference.
        spread: standard deviation between seeds of a method's accuracy, apart from that of the images; of a
            pilot the upper limit, see `limit_spread`.
        observed_spread: that which a pilot showed; None where the spread is stated.
        discordant: fraction of images on which one run of either method alone is correct, if both methods
            are as accurate as the reference.
        repeated: the same of two seeds of one method, at most `discordant`. Seeds average this part out, but
            not the rest, on which the methods differ with every seed.
    """

    accuracy: float
    spread: float
    discordant: float
    repeated: float
    observed_spread: float | None = None

    @classmethod
    def observe(cls, method: np.ndarray, reference: np.ndarray) -> "Variability":
        """Return how two methods varied in a pilot.

        With one seed of either, the spread is not known and taken as 0, which holds for the trained models.

        Args:
            method, reference: whether each seed is correct on each image, bool (S, N) and (R, N).
        """
        test = PairedTest.from_correct(method, reference)
        means = float(method.mean()), float(reference.mean())
        between = correlation(test.wins + test.losses, accuracies=means)
        accuracy = means[1]
        discordant = repeated = disagreement(accuracy, accuracy, correlated=between)
        spread = observed = 0.0
        if test.seeds:
            alike = [
                correlation(2 * each.noise * (each.df + 1), accuracies=(mean, mean))
                for each, mean in zip(test.seeds, means, strict=True)
            ]
            repeated = min(discordant, disagreement(accuracy, accuracy, correlated=fmean(alike)))
            observed = sqrt(fmean(each.between * (each.df + 1) for each in test.seeds))
            spread = limit_spread(test.seeds, test.images)
        return cls(
            accuracy=accuracy,
            spread=spread,
            discordant=discordant,
            repeated=repeated,
            observed_spread=observed,
        )

    def with_accuracy(self, accuracy: float) -> "Variability":
        """Return how runs of another accuracy would disagree, with the same tetrachoric correlations.

        Args:
            accuracy: of the reference, 0..1.
        """
        discordant, repeated = (
            disagreement(
                accuracy,
                accuracy,
                correlated=correlation(each, accuracies=(self.accuracy, self.accuracy)),
            )
            for each in (self.discordant, self.repeated)
        )
        changed = {"accuracy": accuracy, "discordant": discordant, "repeated": repeated}
        return self.model_copy(update=changed)

    def at(self, difference: float) -> tuple[float, float, float]:
        """Return what varies between images where the true difference is another, all in 0..1.

        Args:
            difference: accuracy of the method minus that of the reference, -1..1.

        Returns:
            The fraction of discordant images, and the variance from seed to seed of whether a run of the
            method, and of the reference, is correct on an image.
        """
        ours = self.accuracy + difference
        between, seeds = (
            correlation(each, accuracies=(self.accuracy, self.accuracy))
            for each in (self.discordant, self.repeated)
        )
        return (
            disagreement(ours, self.accuracy, correlated=between),
            disagreement(ours, ours, correlated=seeds) / 2,
            self.repeated / 2,
        )


def limit_spread(seeds: Sequence[SeedVariance], images: int, *, level: float = SPREAD_LIMIT) -> float:
    """Return the upper confidence limit of the spread between seeds, 0..1, of all methods together.

    The variance of accuracies between seeds, which includes that of the images, follows a chi-square
    distribution; its limit, less what the images add, is that of the spread.

    Args:
        seeds: variances of each method's seeds.
        images: number of test images.
        level: the spread is at most the limit with this confidence.
    """
    from scipy.stats import chi2

    df = sum(each.df for each in seeds)
    between = sum(each.df * (each.df + 1) * each.between for each in seeds) / df
    noise = sum(each.df * (each.df + 1) * each.noise / images for each in seeds) / df
    return sqrt(max(0.0, (between + noise) * df / float(chi2.ppf(1 - level, df)) - noise))


@cache
def disagreement(first: float, second: float, *, correlated: float) -> float:
    """Return the fraction of images on which one of two runs alone is correct.

    Args:
        first, second: their accuracies, 0..1.
        correlated: their tetrachoric correlation, 0..1: with 0 they err independently.
    """
    from scipy.special import ndtr, ndtri

    difficulty = ndtri((np.arange(_POINTS) + 0.5) / _POINTS)
    own = sqrt(max(1 - correlated, 1e-12))
    chances = [ndtr((ndtri(each) - sqrt(correlated) * difficulty) / own) for each in (first, second)]
    return max(0.0, float(first + second - 2 * (chances[0] * chances[1]).mean()))


@cache
def correlation(discordant: float, *, accuracies: tuple[float, float]) -> float:
    """Return the tetrachoric correlation of two runs, 0..1, see `disagreement`.

    Args:
        discordant: fraction of images on which one of them alone is correct.
        accuracies: of both, 0..1.
    """
    from scipy.optimize import brentq

    def excess(correlated: float) -> float:
        return disagreement(*accuracies, correlated=correlated) - discordant

    if excess(0) <= 0:
        return 0.0
    return 1.0 if excess(1) >= 0 else float(brentq(excess, 0, 1, xtol=1e-9))
