"""Power of a comparison: the chance that a study decides, and the seeds and images that 80 % would take.

Studies are drawn at random and judged by the score test, as finished ones are
(`orbitune.evaluation.statistics.comparison`). Drawn are not single images but what the test reads of them:
the difference, the discordant images, and the variance between seeds. So a plan of a million images takes no
longer than one of a hundred; the tests compare it with studies that are drawn image by image.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from orbitune.evaluation.statistics.comparison import ALPHA, POWER, Comparison, Needed
from orbitune.evaluation.statistics.paired import PairedTest, SeedVariance
from orbitune.evaluation.statistics.variability import Variability

DRAWS = 4000  # a chance of 80 % is within 1.3 points, 95 % of the time
MOST_SEEDS = 1000
LEAST_IMAGES = 10
MOST_IMAGES = 10**7  # more than anybody labels
_SEED = 0


@dataclass(frozen=True)
class StudySize:
    """Size of a comparison, and what it is judged by.

    Attributes:
        seeds: number of seeds of each method. With one, a verdict is about the trained models alone.
        images: number of test images.
        margin: percentage points below the reference that still count as equally good.
        family: number of comparisons that are judged together.
    """

    seeds: int
    images: int
    margin: float
    family: int = 1


def simulate_chance(
    variability: Variability, size: StudySize, *, difference: float, draws: int = DRAWS
) -> float:
    """Return the chance that the outcome is the right one, 0..1, if the true difference is known.

    Args:
        variability: how the runs vary.
        size: of the study.
        difference: accuracy of the method minus that of the reference, in points. Above minus the margin, the
            right outcome is "within the margin" or better, else "worse by more than the margin".
        draws: number of studies that are drawn, always the same ones.
    """
    within, beyond = _draw(variability, size, difference / 100, draws=draws).tails(-size.margin / 100)
    right = within if difference > -size.margin else beyond
    return float((right <= ALPHA / size.family).mean())


def least_sizes(
    variability: Variability, size: StudySize, *, difference: float, power: float = POWER
) -> tuple[int | None, int | None]:
    """Return the least seeds, and the least images, with which the right outcome has a chance.

    Args:
        variability: how the runs vary.
        size: of the study.
        difference: as in `simulate_chance`.
        power: the chance, 0..1.

    Returns:
        The number of seeds, two or more, on the study's images; and that of images with its seeds, to two or
        three digits. None where `MOST_SEEDS` or `MOST_IMAGES` are not enough.
    """

    def enough(**changed: int) -> bool:
        return simulate_chance(variability, replace(size, **changed), difference=difference) >= power

    return (
        least_number(lambda seeds: enough(seeds=seeds), least=2, most=MOST_SEEDS),
        least_number(lambda images: enough(images=images), least=LEAST_IMAGES, most=MOST_IMAGES),
    )


def with_needed(
    compared: Comparison, *, method: np.ndarray, reference: np.ndarray, difference: float
) -> Comparison:
    """Return a comparison that leaves the margin open with what it would take to decide.

    Where the interval has shown that the difference that was set beforehand is not the true one, it is for a
    loss of half the margin, or else of one and a half: neither is taken from what was found.

    Args:
        compared: the comparison; unchanged if it is decided, or if all these differences lie outside its
            interval.
        method, reference: whether each seed is correct on each image, bool (S, N) and (R, N).
        difference: true difference in points that was set beforehand.
    """
    if not compared.leaves_margin_open:
        return compared
    observed = Variability.observe(method, reference)
    low, high = compared.interval
    possible = [
        each
        for each in (difference, -0.5 * compared.margin, -1.5 * compared.margin)
        if low <= each <= high and each != -compared.margin and 0 < observed.accuracy + each / 100 < 1
    ]
    if not possible:
        return compared
    seeds = min(compared.seeds, compared.reference_seeds)
    size = StudySize(seeds, compared.images, compared.margin, compared.family)
    least, images = least_sizes(observed, size, difference=possible[0])
    needed = Needed(difference=possible[0], seeds=least if seeds > 1 else None, images=images)
    return compared.model_copy(update={"needed": needed})


def least_number(enough: Callable[[int], bool], *, least: int, most: int) -> int | None:
    """Return the smallest number that is enough, to two or three digits; None if `most` is not."""
    low, high = least - 1, least
    while not enough(high):
        if high >= most:
            return None
        low, high = high, min(most, 2 * high)
    while high - low > max(1, high // 200):
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _draw(variability: Variability, size: StudySize, difference: float, *, draws: int) -> PairedTest:
    """Return the tests of drawn studies, with arrays (draws,) in place of the numbers."""
    random = np.random.default_rng(_SEED)
    seeds, images = size.seeds, size.images
    discordant, *noises = variability.at(difference)
    one_pair = discordant - difference**2
    lasting = max(0.0, one_pair - sum(noises))  # the methods differ here with every seed
    found: Any = np.full(draws, difference)
    seed_variances = []
    for sign, noise in zip((1, -1), noises, strict=True):
        one_run = variability.spread**2 + noise / images
        error = np.sqrt(one_run / seeds + lasting / 2 / images)
        found = found + sign * error * random.normal(size=draws)
        if df := seeds - 1:
            observed = one_run * random.chisquare(df, draws) / df
            between: Any = np.maximum(0, (observed - noise / images) / seeds)
            seed_variances.append(SeedVariance(between, noise / seeds, df))
    apart = np.maximum(random.binomial(images, discordant, draws) / images, abs(found))
    effect = min(1.0, (lasting + sum(noises) / seeds) / one_pair) if one_pair > 0 else 1.0
    return PairedTest(images, (apart + found) / 2, (apart - found) / 2, effect, tuple(seed_variances))
