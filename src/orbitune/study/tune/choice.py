"""Choice among learning rates from their validation scores, with ties."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, median, variance


@dataclass(frozen=True)
class Choice:
    """The chosen learning rate, by its place on the lattice.

    Attributes:
        chosen: the middle of the tied places; between two of them, that nearer to the middle of all.
        best: place of the highest mean score; of equal ones the middle.
        tied: places within one standard error of the best, rising; the best is one of them.
        spread: standard deviation between the seeds of a rate; None with one seed.
        standard_error: of the best mean score.
    """

    chosen: int
    best: int
    tied: tuple[int, ...]
    spread: float | None
    standard_error: float


def choose(
    scores: Mapping[int, Sequence[float]], places: Sequence[int], *, sampling: Mapping[int, float]
) -> Choice | None:
    """Return the choice among the rates that were trained; None if there is none.

    The standard error adds two variances: between seeds, and of the choice of validation tiles. The first is
    the median over the rates, so that a rate at which training is unstable does not tie the others. The
    second is that of the best score. That of the difference between two rates, which share the tiles, is as
    large if they share half of their errors.

    Args:
        scores: score of each seed at each place; higher is better.
        places: all places that were tried, those without a score included.
        sampling: variance of the mean score at each place over the choice of validation tiles, which its
            seeds share.
    """
    if not scores:
        return None
    means = {place: fmean(each) for place, each in scores.items()}
    equal = [place for place in sorted(means) if means[place] == max(means.values())]
    best = equal[(len(equal) - 1) // 2]
    variances = [variance(each) for each in scores.values() if len(each) > 1]
    between = median(variances) if variances else 0.0
    error = sqrt(between / len(scores[best]) + sampling[best])
    tied = [place for place in sorted(means) if means[place] >= means[best] - error]
    middles = [(min(each) + max(each)) / 2 for each in (tied, places)]
    return Choice(
        chosen=min(tied, key=lambda place: (*(abs(place - each) for each in middles), -means[place], place)),
        best=best,
        tied=tuple(tied),
        spread=sqrt(between) if variances else None,
        standard_error=error,
    )


def binomial_variance(fraction: float, count: int) -> float:
    """Return the variance of a fraction of tiles; half an error is added, as none says little of others."""
    fraction = (fraction * count + 0.5) / (count + 1)
    return fraction * (1 - fraction) / count
